//! One connection: bytes in, bytes out.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::BytesMut;
use fe2o3_amqp_types::sasl::SaslCode;
use fe2o3_amqp_types::{
    definitions::{Error, Handle, Role},
    performatives::{ChannelMax, Close, Detach, End as EndSession, MaxFrameSize, Open},
};
use tokio::sync::Notify;

use crate::{broker::Broker, entity::path, faults::Strike};

use super::{
    claims::Claims,
    frame::{self, Frame, MAX_FRAME_SIZE},
    link::Link,
    node::Node,
    performative::{Performative, error},
    sasl,
    session::Session,
    shape::Malformed,
};

/// How long a client may be silent (the service allows as much), in milliseconds.
const IDLE_TIME_OUT: u32 = 240_000;

/// The highest session that a connection may begin.
const MAX_CHANNEL: u16 = 255;

const AMQP_HEADER: [u8; 8] = *b"AMQP\x00\x01\x00\x00";
const SASL_HEADER: [u8; 8] = *b"AMQP\x03\x01\x00\x00";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A protocol header is expected.
    Header,
    Sasl,
    /// The header was exchanged, and `open` is expected.
    Opening,
    Open,
    Closed,
}

pub(super) struct Connection {
    pub(super) broker: Arc<Broker>,
    pub(super) id: u64,
    pub(super) waker: Arc<Notify>,
    input: BytesMut,
    pub(super) output: BytesMut,
    phase: Phase,
    pub(super) claims: Claims,
    pub(super) sessions: BTreeMap<u16, Session>,
    /// Bytes that the client takes in one frame.
    pub(super) max_frame: usize,
    /// How long the client bears silence.
    patience: Option<Duration>,
    /// Whether something was not delivered for lack of credits.
    pub(super) throttled: bool,
}

impl Connection {
    pub(super) fn new(broker: Arc<Broker>) -> Self {
        Self {
            id: broker.next_connection(),
            broker,
            waker: Arc::default(),
            input: BytesMut::new(),
            output: BytesMut::new(),
            phase: Phase::Header,
            claims: Claims::default(),
            sessions: BTreeMap::new(),
            max_frame: MAX_FRAME_SIZE as usize,
            patience: None,
            throttled: false,
        }
    }

    /// Takes what the client sent.
    pub(super) fn input(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while self.phase != Phase::Closed {
            match self.step() {
                Ok(true) => {}
                Ok(false) => break,
                Err(Malformed(why)) => self.close(Some(error("amqp:decode-error", why))),
            }
        }
        for session in self.sessions.values_mut() {
            session.flush_accepted(&mut self.output);
        }
    }

    /// Whether nothing more will come of it.
    pub(super) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// How often the client wants to hear something.
    pub(super) fn heartbeat(&self) -> Option<Duration> {
        self.patience.map(|patience| patience / 3)
    }

    /// Shows the client that we are there.
    pub(super) fn beat(&mut self) {
        if self.phase == Phase::Open {
            frame::put_empty(&mut self.output);
        }
    }

    /// Ends links whose token has expired.
    pub(super) fn check_claims(&mut self) {
        let now = self.broker.now();
        let claims = &self.claims;
        let expired = |link: &Link| {
            let sends = matches!(link.end, super::link::End::Inbound(_));
            let path = link.node.path();
            path.is_some_and(|path| !link.node.allows(claims.at(&path, now), sends))
        };
        let why = error(
            "amqp:unauthorized-access",
            "ExpiredToken: The token is expired.",
        );
        for (channel, handle) in self.find(expired) {
            self.detach(channel, handle, true, Some(why.clone()));
        }
    }

    /// Suffers a fault.
    pub(super) fn strike(&mut self, strike: &Strike) {
        match strike {
            Strike::Drop => {
                self.output.clear();
                self.phase = Phase::Closed;
            }
            Strike::ExpireTokens => {
                self.claims.expire();
                self.check_claims();
            }
            Strike::Detach { entity, closed } => {
                let wanted = entity
                    .as_deref()
                    .map(|entity| path(entity).to_ascii_lowercase());
                let meant = |link: &Link| match &link.node {
                    Node::Entity { address, .. } => wanted
                        .as_ref()
                        .is_none_or(|wanted| *wanted == address.to_string()),
                    Node::Cbs | Node::Management(_) => false,
                };
                let why = error(
                    "amqp:link:detach-forced",
                    "The link is force detached by the broker due to errors occurred in consumer.",
                );
                for (channel, handle) in self.find(meant) {
                    self.detach(channel, handle, *closed, Some(why.clone()));
                }
            }
        }
    }

    /// Detaches a link on our own account.
    pub(super) fn detach(&mut self, channel: u16, handle: u32, closed: bool, why: Option<Error>) {
        let Some(session) = self.sessions.get_mut(&channel) else {
            return;
        };
        session.flush_accepted(&mut self.output);
        if let Some(link) = session.remove(handle) {
            session.gone.insert(handle);
            self.release(&link);
        }
        self.put_detach(channel, handle, closed, why);
    }

    pub(super) fn put_detach(
        &mut self,
        channel: u16,
        handle: u32,
        closed: bool,
        error: Option<Error>,
    ) {
        let detach = Detach {
            handle: Handle(handle),
            closed,
            error,
        };
        self.put(channel, &detach);
    }

    pub(super) fn put(&mut self, channel: u16, body: &impl serde::Serialize) {
        frame::put(&mut self.output, false, channel, body, &[]);
    }

    /// Takes the next thing out of the input. False if there is none.
    fn step(&mut self) -> Result<bool, Malformed> {
        if self.phase == Phase::Header {
            let Some(header) = self.input.first_chunk::<8>().copied() else {
                return Ok(false);
            };
            let _ = self.input.split_to(8);
            self.header(header);
            return Ok(true);
        }
        let Some(Frame {
            sasl,
            channel,
            body,
        }) = frame::next(&mut self.input)?
        else {
            return Ok(false);
        };
        match (self.phase, sasl) {
            (Phase::Sasl, true) => {
                let (outcome, rights) = sasl::answer(&self.broker, &body)?;
                let accepted = outcome.code == SaslCode::Ok;
                frame::put(&mut self.output, true, 0, &outcome, &[]);
                self.claims.plain = rights;
                self.phase = if accepted {
                    Phase::Header
                } else {
                    Phase::Closed
                };
            }
            (Phase::Opening | Phase::Open, false) => {
                if !body.is_empty() {
                    self.perform(channel, Performative::read(&body)?)?;
                }
            }
            _ => return Err(Malformed("a frame of another layer came")),
        }
        Ok(true)
    }

    fn header(&mut self, header: [u8; 8]) {
        match header {
            SASL_HEADER => {
                self.output.extend_from_slice(&SASL_HEADER);
                frame::put(&mut self.output, true, 0, &sasl::mechanisms(), &[]);
                self.phase = Phase::Sasl;
            }
            AMQP_HEADER => {
                self.output.extend_from_slice(&AMQP_HEADER);
                self.phase = Phase::Opening;
            }
            // The specification wants the header that we would like, and the end.
            _ => {
                self.output.extend_from_slice(&SASL_HEADER);
                self.phase = Phase::Closed;
            }
        }
    }

    fn perform(&mut self, channel: u16, performative: Performative) -> Result<(), Malformed> {
        match (self.phase, performative) {
            (Phase::Opening, Performative::Open(open)) => self.open(&open),
            (Phase::Opening, _) => return Err(Malformed("open is expected first")),
            (_, Performative::Open(_)) => return Err(Malformed("the connection is open already")),
            (_, Performative::Close) => self.close(None),
            (_, Performative::Begin(begin)) => {
                if channel > MAX_CHANNEL || self.sessions.contains_key(&channel) {
                    return Err(Malformed("the channel cannot be used"));
                }
                let session = Session::begin(channel, &begin, &mut self.output);
                self.sessions.insert(channel, session);
            }
            (_, performative) => {
                let Some(session) = self.sessions.get_mut(&channel) else {
                    // A session that we ended may still be talked to.
                    return Ok(());
                };
                match performative {
                    Performative::Attach(attach) => self.attach(channel, &attach),
                    Performative::Transfer(transfer, payload) => {
                        self.transfer(channel, &transfer, &payload);
                    }
                    // What a sender says about its own messages changes nothing here.
                    Performative::Disposition(disposition)
                        if disposition.role == Role::Receiver =>
                    {
                        self.settle(channel, &disposition);
                    }
                    Performative::Flow(flow) => {
                        session.take_window(&flow);
                        session.flush_backlog(&mut self.output);
                        self.flow(channel, &flow);
                    }
                    Performative::Detach(detach) => {
                        session.flush_accepted(&mut self.output);
                        let handle = detach.handle.0;
                        // The answer to our own detach is the end of it.
                        if session.gone.remove(&handle) {
                            return Ok(());
                        }
                        match session.remove(handle) {
                            Some(link) => {
                                self.release(&link);
                                self.put_detach(channel, handle, detach.closed, None);
                            }
                            None => self.unattached(channel),
                        }
                    }
                    Performative::End => {
                        self.end(channel, None);
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn open(&mut self, open: &Open) {
        // Less than 512 bytes is not allowed, and would leave no room for a performative.
        self.max_frame = (open.max_frame_size.0.clamp(512, MAX_FRAME_SIZE)) as usize;
        let patience = open.idle_time_out.filter(|millis| *millis > 0);
        self.patience = patience.map(|millis| Duration::from_millis(millis.into()));
        self.phase = Phase::Open;
        let answer = Open {
            container_id: env!("CARGO_PKG_NAME").into(),
            hostname: None,
            max_frame_size: MaxFrameSize(MAX_FRAME_SIZE),
            channel_max: ChannelMax(MAX_CHANNEL),
            idle_time_out: Some(IDLE_TIME_OUT),
            outgoing_locales: None,
            incoming_locales: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        self.put(0, &answer);
    }

    /// A frame came for a handle that no link has: the session ends.
    pub(super) fn unattached(&mut self, channel: u16) {
        let why = error(
            "amqp:session:unattached-handle",
            "The handle is not attached.",
        );
        self.end(channel, Some(why));
    }

    /// Ends a session, with what is on it.
    pub(super) fn end(&mut self, channel: u16, error: Option<Error>) {
        if let Some(mut session) = self.sessions.remove(&channel) {
            session.flush_accepted(&mut self.output);
            for link in session.links.values() {
                self.release(link);
            }
            self.put(channel, &EndSession { error });
        }
    }

    fn close(&mut self, error: Option<Error>) {
        for session in self.sessions.values_mut() {
            session.flush_accepted(&mut self.output);
        }
        if matches!(self.phase, Phase::Opening | Phase::Open) {
            self.put(0, &Close { error });
        }
        self.phase = Phase::Closed;
    }

    /// Ends the connection at once, without an answer to what came last.
    pub(super) fn abort(&mut self) {
        self.strike(&Strike::Drop);
    }

    /// Counts a link off at the entity that it received from.
    fn release(&self, link: &Link) {
        if let Some((address, life)) = link.receives_from() {
            self.broker.unwatch(address, self.id);
            self.broker
                .with(|namespace, now| namespace.detach(now, address, life));
        }
    }

    fn find(&self, wanted: impl Fn(&Link) -> bool) -> Vec<(u16, u32)> {
        let links = self.sessions.iter().flat_map(|(channel, session)| {
            session
                .links
                .iter()
                .map(|(handle, link)| (*channel, *handle, link))
        });
        let found = links.filter(|(_, _, link)| wanted(link));
        found
            .map(|(channel, handle, _)| (channel, handle))
            .collect()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        for session in self.sessions.values() {
            for link in session.links.values() {
                self.release(link);
            }
        }
    }
}
