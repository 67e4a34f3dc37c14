use proptest::prelude::*;

use super::*;

fn read(hex: &str) -> Result<Option<Message>, String> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
    let body: Vec<u8> = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    decode(&body.into()).map_err(|error| error.0)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn value(bytes: &'static [u8]) -> Value {
    Value::MessagePack(Bytes::from_static(bytes))
}

#[test]
fn an_invocation_has_five_or_six_elements() {
    let expected = |stream_ids: &[&str]| {
        Ok(Some(Message::Invocation(Invocation {
            id: Some("xyz".into()),
            target: "method".into(),
            arguments: vec![value(b"\x2a")],
            stream_ids: stream_ids.iter().map(|&id| id.to_owned()).collect(),
            streaming: false,
        })))
    };
    assert_eq!(
        read("96 01 80 a3 78797a a6 6d6574686f64 91 2a 90"),
        expected(&[])
    );
    assert_eq!(
        read("95 01 80 a3 78797a a6 6d6574686f64 91 2a"),
        expected(&[])
    );
    assert_eq!(
        read("97 cc 01 81 a1 61 a1 62 a3 78797a a6 6d6574686f64 91 2a 91 a1 31 c0"),
        expected(&["1"])
    );
}

#[test]
fn an_empty_id_wants_no_answer() {
    for id in ["a0", "c0"] {
        let Ok(Some(Message::Invocation(invocation))) = read(&format!("95 01 80 {id} a1 6d 90"))
        else {
            panic!("no invocation")
        };
        assert_eq!(invocation.id, None);
        assert!(read(&format!("95 04 80 {id} a1 6d 90")).is_err());
    }
}

#[test]
fn a_completion_is_of_three_kinds() {
    let completion = |outcome| {
        Ok(Some(Message::Completion {
            id: "xyz".into(),
            outcome,
        }))
    };
    assert_eq!(read("94 03 80 a3 78797a 02"), completion(Outcome::Nothing));
    assert_eq!(
        read("95 03 80 a3 78797a 03 2a"),
        completion(Outcome::Value(value(b"\x2a")))
    );
    assert_eq!(
        read("95 03 80 a3 78797a 01 a5 4572726f72"),
        completion(Outcome::Error("Error".into()))
    );
    assert_eq!(
        read("95 03 80 a3 78797a 04 2a"),
        Err("Invalid invocation result kind.".into())
    );
}

#[test]
fn the_other_messages() {
    let id = || "xyz".to_owned();
    for (bytes, message) in [
        (
            "94 02 80 a3 78797a 81 a1 61 93 01 02 c7 01 05 ff",
            Message::StreamItem {
                id: id(),
                item: value(b"\x81\xa1\x61\x93\x01\x02\xc7\x01\x05\xff"),
            },
        ),
        ("93 05 80 a3 78797a", Message::CancelInvocation { id: id() }),
        ("91 06", Message::Ping),
        (
            "92 07 c0",
            Message::Close {
                error: None,
                allow_reconnect: false,
            },
        ),
        (
            "93 07 a1 78 c3",
            Message::Close {
                error: Some("x".into()),
                allow_reconnect: true,
            },
        ),
        ("92 08 24", Message::Ack { sequence_id: 36 }),
        ("92 08 cc 24", Message::Ack { sequence_id: 36 }),
        ("92 09 01", Message::Sequence { sequence_id: 1 }),
    ] {
        assert_eq!(read(bytes), Ok(Some(message)), "{bytes}");
    }
    assert_eq!(read("91 7f"), Ok(None));
}

#[test]
fn what_is_wrong_with_a_message_is_said_as_dotnet_says_it() {
    for (bytes, error) in [
        ("c0", "Reading array length for 'message' failed."),
        ("91 a1 78", "Reading 'messageType' as Int32 failed."),
        ("95 01 c0", "Reading map length for 'headers' failed."),
        ("95 01 80 2a", "Reading 'invocationId' as String failed."),
        ("95 01 80 a1 78 2a", "Reading 'target' as String failed."),
        (
            "95 01 80 a1 78 a1 79 2a",
            "Reading array length for 'arguments' failed.",
        ),
        (
            "94 02 80 a0 2a",
            "Null or empty invocation ID for StreamItem message.",
        ),
        ("92 08 a1 78", "Reading 'sequenceId' as Int64 failed."),
        (
            "95 01 80 a1 78 a1 79 92 2a",
            "The message ends in the middle of a value.",
        ),
        (
            "95 01 80 a1 78 a1 79 91 db ffffffff 00",
            "The message ends in the middle of a value.",
        ),
    ] {
        assert_eq!(read(bytes), Err(error.into()), "{bytes}");
    }
}

#[test]
fn what_the_server_writes() {
    let framed = |body: &str| format!("{:02x}{body}", body.len() / 2);
    assert_eq!(
        hex(&invocation(None, "method", b"\x91\x2a")),
        framed("960180c0a66d6574686f64912a90")
    );
    assert_eq!(
        hex(&invocation(Some("xyz"), "method", b"\x91\x2a")),
        framed("960180a378797aa66d6574686f64912a90")
    );
    assert_eq!(
        hex(&completion("xyz", &Outcome::Nothing)),
        framed("940380a378797a02")
    );
    assert_eq!(
        hex(&completion("xyz", &Outcome::Value(value(b"\x2a")))),
        framed("950380a378797a032a")
    );
    assert_eq!(
        hex(&completion("xyz", &Outcome::Error("Error".into()))),
        framed("950380a378797a01a54572726f72")
    );
    assert_eq!(
        hex(&stream_item("xyz", b"\x2a")),
        framed("940280a378797a2a")
    );
    assert_eq!(hex(&close(None, false)), framed("9307c0c2"));
    assert_eq!(hex(&close(Some("x"), true)), framed("9307a178c3"));
    assert_eq!(hex(&numbered(8, 36)), framed("920824"));
    assert_eq!(hex(&PING), framed("9106"));
}

#[test]
fn an_argument_is_added_behind_the_others() {
    assert_eq!(with_argument(b"\x90", b"\x2a"), b"\x91\x2a".as_slice());
    let fifteen = [&[0x9f][..], &[1; 15]].concat();
    let sixteen = [&[0xdc, 0, 16][..], &[1; 15], &[0x2a]].concat();
    assert_eq!(with_argument(&fifteen, b"\x2a"), sixteen);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = decode(&bytes.into());
    }

    #[test]
    fn any_end_of_a_message_is_read_or_refused(
        kind in 1_u8..10,
        bytes in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let body = [&[0x96, kind, 0x80, 0xa1, b'x', 0xa1, b'y'][..], &bytes].concat();
        let _ = decode(&body.into());
    }
}
