//! HTTP: management in Atom, messages in REST, and faults.

mod answer;
mod atom;
mod faults;
mod messages;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode, Uri, body::Incoming, header, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::{net::TcpStream, time::sleep};

use crate::{
    broker::Broker,
    entity::path,
    faults::{BUSY, Strike},
    sas::Rights,
};

use self::answer::{Answer, Failure, refused};

/// What is said of a token that is too old.
const EXPIRED: &str = "ExpiredToken: The token is expired.";

/// Bytes that the body of a request may have beyond the largest message.
const BODY_OVERHEAD: usize = 64 * 1024;

/// A request with its whole body.
struct Call {
    broker: Arc<Broker>,
    method: Method,
    uri: Uri,
    headers: hyper::HeaderMap,
    body: Bytes,
}

impl Call {
    /// The path, decoded, without slashes around it.
    fn path(&self) -> String {
        let path = percent_decode_str(self.uri.path()).decode_utf8_lossy();
        path.trim_matches('/').into()
    }

    /// A parameter of the query.
    fn query(&self, name: &str) -> Option<String> {
        let mut fields = self
            .uri
            .query()?
            .split('&')
            .filter_map(|field| field.split_once('='));
        // Some clients encode the `$` of `$skip`, some do not.
        let (_, value) = fields.find(|(found, _)| {
            percent_decode_str(found)
                .decode_utf8_lossy()
                .eq_ignore_ascii_case(name)
        })?;
        let value = value.replace('+', " ");
        Some(percent_decode_str(&value).decode_utf8_lossy().into_owned())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The URL that the client reaches us by.
    fn base(&self) -> String {
        format!("http://{}", self.header("host").unwrap_or("localhost"))
    }

    /// What the token in the request allows at its path.
    fn rights(&self) -> Result<Rights, Failure> {
        let unauthorized = |why: &str| answer::error(StatusCode::UNAUTHORIZED, why);
        let token = self.header("authorization");
        let token = token
            .ok_or_else(|| unauthorized("MissingToken: The authorization header was not found."))?;
        let now = self.broker.now();
        let grant = self.broker.verify(token).map_err(unauthorized)?;
        if !grant.covers(&path(&self.path()).to_ascii_lowercase(), now) {
            return Err(unauthorized(
                "InvalidAudience: The token is for another resource.",
            ));
        }
        Ok(grant.rights)
    }
}

/// What befalls a connection.
#[derive(Default)]
struct Connection {
    /// It asked to drop all of them, and must live to hear the answer.
    strikes_itself: AtomicBool,
    /// The token of its next request is too old.
    expired: AtomicBool,
}

/// Serves one HTTP connection until either side ends it.
pub(crate) async fn serve(broker: Arc<Broker>, stream: TcpStream) -> io::Result<()> {
    let mut strikes = broker.faults.strikes();
    let connection = Connection::default();
    let service = service_fn(|request| respond(&broker, &connection, request));
    let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let struck = async {
        loop {
            match strikes.recv().await {
                Ok(Strike::ExpireTokens) => connection.expired.store(true, Ordering::Relaxed),
                Ok(Strike::Drop) if !connection.strikes_itself.swap(false, Ordering::Relaxed) => {
                    return;
                }
                _ => {}
            }
        }
    };
    tokio::select! {
        served = serving => served.map_err(io::Error::other),
        () = struck => Ok(()),
    }
}

async fn respond(
    broker: &Arc<Broker>,
    connection: &Connection,
    request: Request<Incoming>,
) -> io::Result<Response<Full<Bytes>>> {
    let limit = broker.with(|namespace, _| namespace.tier().max_message_size()) + BODY_OVERHEAD;
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, limit).collect().await else {
        let why = "The body is too large, or did not come whole.";
        return answer::error(StatusCode::PAYLOAD_TOO_LARGE, why).response();
    };
    let call = Call {
        broker: Arc::clone(broker),
        method: parts.method,
        uri: parts.uri,
        headers: parts.headers,
        body: body.to_bytes(),
    };
    match dispatch(&call, connection).await {
        Ok(response) => Ok(response),
        Err(failure) => failure.response(),
    }
}

async fn dispatch(call: &Call, connection: &Connection) -> Answer {
    let path = call.path();
    if let Some(fault) = path.strip_prefix("$emulator/faults/") {
        // A page in a browser on the same machine must not break anything.
        if call.headers.contains_key(header::ORIGIN) {
            return Err(answer::error(
                StatusCode::FORBIDDEN,
                "Faults cannot be had from a page.",
            ));
        }
        let drops = fault == "drop";
        connection.strikes_itself.store(drops, Ordering::Relaxed);
        return faults::perform(call, fault);
    }
    call.broker.faults.running().await;
    sleep(call.broker.faults.delay()).await;
    if !call.broker.faults.pay(1) {
        return Err(answer::error(StatusCode::SERVICE_UNAVAILABLE, BUSY));
    }
    let rights = call.rights()?;
    if let Some((entity, rest)) = messages::split(&path) {
        // Not for management: its clients ask with a token of their own each time, and give up.
        if connection.expired.swap(false, Ordering::Relaxed) {
            return Err(answer::error(StatusCode::UNAUTHORIZED, EXPIRED));
        }
        return messages::perform(call, rights, entity, rest).await;
    }
    if !rights.manage {
        return Err(refused("Manage"));
    }
    atom::perform(call, &path)
}
