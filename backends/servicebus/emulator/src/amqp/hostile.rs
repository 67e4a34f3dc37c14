//! Bytes that no honest client sends: whatever comes, a connection neither panics nor answers without end.

use std::sync::Arc;

use bytes::BytesMut;
use fe2o3_amqp_types::{
    definitions::{Handle, ReceiverSettleMode, Role, SenderSettleMode},
    performatives::{Begin, ChannelMax, Flow, MaxFrameSize, Open, Transfer},
    sasl::SaslInit,
};
use proptest::prelude::*;
use serde_amqp::{Value, primitives::Symbol};

use crate::{
    broker::Broker,
    entity::{Address, Namespace, QueueSettings, Tier},
    faults::Faults,
    sas::{Policies, Rights},
};

use super::{
    connection::Connection,
    frame,
    message::{self, DATA},
    performative::{Attach, Disposition, describe},
};

const QUEUE: u32 = 0;
const FROM_QUEUE: u32 = 1;
const MANAGEMENT: u32 = 2;
const FROM_MANAGEMENT: u32 = 3;

fn broker() -> Arc<Broker> {
    let mut policies = Policies::default();
    policies.insert("root", "key", Rights::ALL);
    let broker = Broker::new(
        Namespace::new(Tier::Standard, 1),
        policies,
        Faults::default(),
    );
    broker.with(|namespace, now| {
        namespace
            .create_queue(now, "q", QueueSettings::default())
            .unwrap();
    });
    Arc::new(broker)
}

fn waiting(broker: &Broker) -> usize {
    let queue = Address::parse("q").unwrap();
    broker
        .with(|namespace, _| namespace.counts(&queue))
        .unwrap()
        .active
}

/// What an honest client sends, in pieces: headers first, then frames.
fn conversation() -> Vec<BytesMut> {
    let mut pieces = vec![BytesMut::from(&b"AMQP\x03\x01\x00\x00"[..])];
    let mut put = |sasl, body: &dyn Fn(&mut BytesMut, bool)| {
        let mut piece = BytesMut::new();
        body(&mut piece, sasl);
        pieces.push(piece);
    };
    let init = SaslInit {
        mechanism: Symbol::from("PLAIN"),
        initial_response: Some(b"\0root\0key".to_vec().into()),
        hostname: None,
    };
    put(true, &|piece, sasl| frame::put(piece, sasl, 0, &init, &[]));
    put(false, &|piece, _| {
        piece.extend_from_slice(b"AMQP\x00\x01\x00\x00");
    });
    let open = Open {
        container_id: "hostile".into(),
        hostname: None,
        max_frame_size: MaxFrameSize(65_536),
        channel_max: ChannelMax(10),
        idle_time_out: None,
        outgoing_locales: None,
        incoming_locales: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    };
    put(false, &|piece, sasl| frame::put(piece, sasl, 0, &open, &[]));
    let begin = Begin {
        remote_channel: None,
        next_outgoing_id: 0,
        incoming_window: 100,
        outgoing_window: 100,
        handle_max: Handle(100),
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    };
    put(false, &|piece, sasl| {
        frame::put(piece, sasl, 0, &begin, &[]);
    });
    for (handle, address) in [
        (QUEUE, "q"),
        (FROM_QUEUE, "q"),
        (MANAGEMENT, "q/$management"),
        (FROM_MANAGEMENT, "q/$management"),
    ] {
        let attach = attach(handle, address);
        put(false, &|piece, sasl| {
            frame::put(piece, sasl, 0, &attach, &[]);
        });
    }
    for handle in [FROM_QUEUE, FROM_MANAGEMENT] {
        let flow = credit(handle);
        put(false, &|piece, sasl| frame::put(piece, sasl, 0, &flow, &[]));
    }
    let mut body = Vec::new();
    message::put_described(&mut body, DATA, Value::Binary(b"body".to_vec().into()));
    put(false, &|piece, sasl| {
        frame::put(piece, sasl, 0, &transfer(QUEUE, 0), &body);
    });
    put(false, &|piece, sasl| {
        frame::put(piece, sasl, 0, &transfer(MANAGEMENT, 1), &peek());
    });
    let accepted = Disposition {
        role: Role::Receiver,
        first: 0,
        last: Some(u32::MAX),
        settled: false,
        state: Some(describe(0x24, Vec::new())),
        batchable: false,
    };
    put(false, &|piece, sasl| {
        frame::put(piece, sasl, 0, &accepted, &[]);
    });
    pieces
}

fn attach(handle: u32, address: &str) -> Attach {
    let sends = handle.is_multiple_of(2);
    let end = |code| Some(describe(code, vec![Value::String(address.into())]));
    Attach {
        name: format!("link-{handle}"),
        handle: Handle(handle),
        role: if sends { Role::Sender } else { Role::Receiver },
        snd_settle_mode: SenderSettleMode::Unsettled,
        rcv_settle_mode: ReceiverSettleMode::Second,
        source: end(0x28),
        target: end(0x29),
        unsettled: None,
        incomplete_unsettled: None,
        initial_delivery_count: sends.then_some(0),
        max_message_size: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    }
}

fn credit(handle: u32) -> Flow {
    Flow {
        next_incoming_id: Some(0),
        incoming_window: 100,
        next_outgoing_id: 0,
        outgoing_window: 100,
        handle: Some(Handle(handle)),
        delivery_count: Some(0),
        link_credit: Some(10),
        available: None,
        drain: false,
        echo: true,
        properties: None,
    }
}

fn transfer(handle: u32, id: u32) -> Transfer {
    Transfer {
        handle: Handle(handle),
        delivery_id: Some(id),
        delivery_tag: Some(id.to_be_bytes().to_vec().into()),
        message_format: Some(0),
        settled: Some(false),
        more: false,
        rcv_settle_mode: None,
        state: None,
        resume: false,
        aborted: false,
        batchable: false,
    }
}

fn peek() -> Vec<u8> {
    let entry = |name: &str, value| (Value::String(name.into()), value);
    let mut request = Vec::new();
    let operation = Value::String("com.microsoft:peek-message".into());
    message::put_map(
        &mut request,
        0x74,
        [entry("operation", operation)].into_iter().collect(),
    );
    let fields = [
        entry("from-sequence-number", Value::Long(1)),
        entry("message-count", Value::Int(5)),
    ];
    message::put_described(&mut request, 0x77, Value::Map(fields.into_iter().collect()));
    request
}

/// Feeds a connection, and returns how many bytes it answered.
fn feed(connection: &mut Connection, pieces: &[BytesMut]) -> usize {
    let mut answered = 0;
    for piece in pieces {
        connection.input(piece);
        connection.pump();
        connection.check_claims();
        answered += connection.output.split().len();
    }
    answered
}

#[test]
fn the_conversation_is_honest_before_it_is_spoilt() {
    let broker = broker();
    let mut connection = Connection::new(Arc::clone(&broker));
    let pieces = conversation();
    let before_settling = pieces.len() - 1;
    feed(&mut connection, &pieces[..before_settling]);
    assert_eq!(waiting(&broker), 1);
    feed(&mut connection, &pieces[before_settling..]);
    assert_eq!(
        waiting(&broker),
        0,
        "the message was received and completed"
    );
    assert!(!connection.is_closed());
}

proptest! {
    #[test]
    fn a_spoilt_conversation_harms_nobody_else(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..6),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let broker = broker();
        let mut pieces = conversation();
        // The beginning stays, or hardly anything would be reached.
        const BEGINNING: usize = 5;
        for (piece, at, value) in changes {
            let piece = BEGINNING + piece.index(pieces.len() - BEGINNING);
            let at = at.index(pieces[piece].len());
            pieces[piece][at] = value;
        }
        for again in order {
            let piece = pieces[BEGINNING + again.index(pieces.len() - BEGINNING)].clone();
            pieces.push(piece);
        }
        if let Some(last) = pieces.last_mut() {
            last.truncate(cut.index(last.len()) + 1);
        }
        let mut connection = Connection::new(Arc::clone(&broker));
        prop_assert!(feed(&mut connection, &pieces) < 1_000_000);
        drop(connection);
        let mut honest = Connection::new(broker);
        feed(&mut honest, &conversation());
        prop_assert!(!honest.is_closed());
    }

    #[test]
    fn arbitrary_frames_harm_nobody_else(frames in prop::collection::vec((0_u8..0x20, any::<Vec<u8>>()), 0..8)) {
        let broker = broker();
        let mut pieces = conversation();
        for (code, body) in frames {
            let mut piece = BytesMut::new();
            let size = u32::try_from(8 + 3 + body.len()).unwrap();
            piece.extend_from_slice(&size.to_be_bytes());
            piece.extend_from_slice(&[2, 0, 0, 0, 0x00, 0x53, code]);
            piece.extend_from_slice(&body);
            pieces.push(piece);
        }
        prop_assert!(feed(&mut Connection::new(broker), &pieces) < 1_000_000);
    }

    #[test]
    fn arbitrary_bytes_harm_nobody(bytes: Vec<u8>) {
        let mut connection = Connection::new(broker());
        feed(&mut connection, &[BytesMut::from(&bytes[..])]);
    }
}
