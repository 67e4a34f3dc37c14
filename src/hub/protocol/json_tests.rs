use proptest::prelude::*;

use super::*;
use crate::hub::protocol::{InputBuffer, Protocol};

fn read(record: &'static str) -> Result<Option<Message>, String> {
    decode(&Bytes::from_static(record.as_bytes())).map_err(|error| error.0)
}

fn json(text: &'static str) -> Value {
    Value::Json(Bytes::from_static(text.as_bytes()))
}

fn invocation_of(id: Option<&str>, target: &str, arguments: Vec<Value>) -> Invocation {
    Invocation {
        id: id.map(Into::into),
        target: target.into(),
        arguments,
        stream_ids: Vec::new(),
        streaming: false,
    }
}

#[test]
fn an_invocation_may_order_its_members_as_it_likes() {
    let expected = invocation_of(Some("7"), "Send", vec![json("1"), json(r#"{"a": [2]}"#)]);
    for record in [
        r#"{"type":1,"invocationId":"7","target":"Send","arguments":[1,{"a": [2]}]}"#,
        r#"{"arguments":[1, {"a": [2]}],"target":"Send","invocationId":"7","type":1}"#,
        r#"{"x":{"type":9},"arguments":[1,{"a": [2]}],"target":"Send","invocationId":"7","type":1,"headers":{"h":"v"}}"#,
        r#" {"type":6,"type":1,"target":"No","target":"Send","\u0069nvocationId":"7","arguments":[1,{"a": [2]}]} "#,
    ] {
        assert_eq!(
            read(record),
            Ok(Some(Message::Invocation(expected.clone()))),
            "{record}"
        );
    }
}

#[test]
fn an_invocation_without_an_id_or_with_an_empty_one_wants_no_answer() {
    for record in [
        r#"{"type":1,"target":"Send","arguments":[]}"#,
        r#"{"type":1,"invocationId":"","target":"Send","arguments":[]}"#,
    ] {
        let expected = invocation_of(None, "Send", vec![]);
        assert_eq!(read(record), Ok(Some(Message::Invocation(expected))));
    }
}

#[test]
fn every_other_type_is_read() {
    let id = || String::from("1");
    for (record, message) in [
        (
            r#"{"type":2,"item":null,"invocationId":"1"}"#,
            Message::StreamItem {
                id: id(),
                item: json("null"),
            },
        ),
        (
            r#"{"type":3,"invocationId":"1"}"#,
            Message::Completion {
                id: id(),
                outcome: Outcome::Nothing,
            },
        ),
        (
            r#"{"type":3,"result":10,"invocationId":"1"}"#,
            Message::Completion {
                id: id(),
                outcome: Outcome::Value(json("10")),
            },
        ),
        (
            r#"{"type":3,"invocationId":"1","error":"no"}"#,
            Message::Completion {
                id: id(),
                outcome: Outcome::Error("no".into()),
            },
        ),
        (
            r#"{"type":4,"invocationId":"1","target":"T","arguments":[],"streamIds":["2"]}"#,
            Message::Invocation(Invocation {
                stream_ids: vec!["2".into()],
                streaming: true,
                ..invocation_of(Some("1"), "T", vec![])
            }),
        ),
        (
            r#"{"type":5,"invocationId":"1"}"#,
            Message::CancelInvocation { id: id() },
        ),
        (r#"{"type":6}"#, Message::Ping),
        (
            r#"{"type":7,"allowReconnect":true}"#,
            Message::Close {
                error: None,
                allow_reconnect: true,
            },
        ),
        (
            r#"{"type":7,"error":"bye"}"#,
            Message::Close {
                error: Some("bye".into()),
                allow_reconnect: false,
            },
        ),
        (
            r#"{"type":8,"sequenceId":4}"#,
            Message::Ack { sequence_id: 4 },
        ),
        (
            r#"{"type":9,"sequenceId":5}"#,
            Message::Sequence { sequence_id: 5 },
        ),
    ] {
        assert_eq!(read(record), Ok(Some(message)), "{record}");
    }
}

#[test]
fn an_unknown_type_is_skipped() {
    assert_eq!(read(r#"{"type":99}"#), Ok(None));
    let mut input = InputBuffer::default();
    input.push(b"{\"type\":99}\x1e{\"type\":-1}\x1e{\"type\":6}\x1e");
    assert_eq!(
        Protocol::Json.decode(&mut input, None),
        Ok(Some(Message::Ping))
    );
}

#[test]
fn what_breaks_the_protocol_is_named_as_the_reference_server_names_it() {
    for (record, text) in [
        ("", "Error reading JSON."),
        ("{", "Error reading JSON."),
        ("{}}", "Error reading JSON."),
        (r#"{"type":6,}"#, "Error reading JSON."),
        (
            "[]",
            "Unexpected JSON Token Type 'Array'. Expected a JSON Object.",
        ),
        (
            "6",
            "Unexpected JSON Token Type 'Number'. Expected a JSON Object.",
        ),
        ("{}", "Missing required property 'type'."),
        (r#"{"type":"1"}"#, "Expected 'type' to be of type Number."),
        (
            r#"{"type":1,"arguments":[]}"#,
            "Missing required property 'target'.",
        ),
        (
            r#"{"type":1,"target":"","arguments":[]}"#,
            "Missing required property 'target'.",
        ),
        (
            r#"{"type":1,"target":1,"arguments":[]}"#,
            "Expected 'target' to be of type String.",
        ),
        (
            r#"{"type":1,"target":"a"}"#,
            "Missing required property 'arguments'.",
        ),
        (
            r#"{"type":1,"target":"a","arguments":{}}"#,
            "Expected 'arguments' to be of type Array.",
        ),
        (
            r#"{"type":1,"invocationId":null,"target":"a","arguments":[]}"#,
            "Expected 'invocationId' to be of type String.",
        ),
        (
            r#"{"type":1,"invocationId":1,"target":"a","arguments":[]}"#,
            "Expected 'invocationId' to be of type String.",
        ),
        (
            r#"{"type":1,"target":"a","arguments":[],"streamIds":null}"#,
            "Expected 'streamIds' to be of type Array.",
        ),
        (
            r#"{"type":1,"target":"a","arguments":[],"headers":{"a":1}}"#,
            "Expected header 'a' to be of type String.",
        ),
        (
            r#"{"type":2,"invocationId":"1"}"#,
            "Missing required property 'item'.",
        ),
        (r#"{"type":3}"#, "Missing required property 'invocationId'."),
        (
            r#"{"type":3,"invocationId":"1","error":"x","result":null}"#,
            "The 'error' and 'result' properties are mutually exclusive.",
        ),
        (
            r#"{"type":4,"target":"a","arguments":[]}"#,
            "Missing required property 'invocationId'.",
        ),
        (
            r#"{"type":8,"sequenceId":"1"}"#,
            "Expected 'sequenceId' to be of type Number.",
        ),
    ] {
        assert_eq!(read(record), Err(text.into()), "{record}");
    }
}

#[test]
fn what_the_server_says_is_what_clients_read() {
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!(
        text(invocation(None, "a\"b", br#"["x",1]"#)),
        "{\"type\":1,\"target\":\"a\\\"b\",\"arguments\":[\"x\",1]}\x1e"
    );
    assert_eq!(
        text(completion(
            "1",
            &Outcome::Value(Protocol::Json.value(&()).unwrap())
        )),
        "{\"type\":3,\"invocationId\":\"1\",\"result\":null}\x1e"
    );
    assert_eq!(
        text(completion("1", &Outcome::Error("é<&\x1e".into()))),
        "{\"type\":3,\"invocationId\":\"1\",\"error\":\"é<&\\u001e\"}\x1e"
    );
    assert_eq!(
        text(completion("1", &Outcome::Nothing)),
        "{\"type\":3,\"invocationId\":\"1\"}\x1e"
    );
    assert_eq!(text(close(None, false)), "{\"type\":7}\x1e");
    assert_eq!(
        text(close(Some("e"), true)),
        "{\"type\":7,\"error\":\"e\",\"allowReconnect\":true}\x1e"
    );
}

/// Records that are nearly messages, so that random input gets past the outermost brace.
fn record() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("null".to_owned()),
        (0..10_i64).prop_map(|n| n.to_string()),
        "\"[a-z]{0,3}\"",
        "\\[(1|\"a\")?\\]",
        Just("{\"h\":\"v\"}".to_owned()),
    ];
    let name = prop_oneof![
        Just("type"),
        Just("invocationId"),
        Just("target"),
        Just("arguments"),
        Just("streamIds"),
        Just("headers"),
        Just("item"),
        Just("result"),
        Just("error"),
        Just("sequenceId"),
        Just("other"),
    ];
    proptest::collection::vec((name, value), 0..6).prop_map(|members| {
        let members: Vec<_> = members
            .iter()
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        format!("{{{}}}", members.join(","))
    })
}

fn decode_all(input: &mut InputBuffer, out: &mut Vec<Message>) -> Result<(), ProtocolError> {
    while let Some(message) = Protocol::Json.decode(input, Some(1_000))? {
        out.push(message);
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes.into());
    }

    #[test]
    fn splitting_the_stream_anywhere_gives_the_same_messages(records in proptest::collection::vec(record(), 0..5)) {
        let stream: Vec<u8> = records.iter().flat_map(|r| [r.as_bytes(), b"\x1e"].concat()).collect();
        let run = |pieces: &[&[u8]]| {
            let (mut input, mut messages) = (InputBuffer::default(), Vec::new());
            for piece in pieces {
                input.push(piece);
                if let Err(error) = decode_all(&mut input, &mut messages) {
                    return (messages, Some(error));
                }
            }
            (messages, None)
        };
        let whole = run(&[&stream]);
        for at in 0..=stream.len() {
            let (head, tail) = stream.split_at(at);
            prop_assert_eq!(&run(&[head, tail]), &whole);
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(&run(&bytes), &whole);
    }

    #[test]
    fn an_invocation_that_is_written_is_read_back(target in ".{1,20}", arguments: Vec<String>) {
        let array = Protocol::Json.value(&arguments).unwrap();
        let mut input = InputBuffer::default();
        input.push(&Protocol::Json.invocation(None, &target, array.as_bytes()));
        let Some(Message::Invocation(read)) = Protocol::Json.decode(&mut input, None).unwrap() else {
            panic!("not an invocation");
        };
        let back: Vec<String> = read.arguments.iter().map(|value| value.bind().unwrap()).collect();
        prop_assert_eq!((read.target, back), (target, arguments));
        prop_assert!(input.is_empty());
    }
}
