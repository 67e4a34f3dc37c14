use proptest::prelude::*;

use crate::entity::Property;

use super::*;

fn message() -> Message {
    let mut message = Message {
        properties: [
            ("color".to_owned(), Property::from("red")),
            ("size".to_owned(), Property::Int(3)),
            ("weight".to_owned(), Property::Float(1.5)),
            ("big".to_owned(), Property::Bool(true)),
            ("two words".to_owned(), Property::Int(2)),
        ]
        .into(),
        ..Message::default()
    };
    message.system.label = Some("news".into());
    message
}

fn holds(text: &str) -> bool {
    Condition::parse(text).unwrap().holds(&message())
}

#[test]
fn conditions_that_hold() {
    for text in [
        "1=1",
        "color = 'red'",
        "COLOR = 'red' and size > 2",
        "user.size >= 3 AND NOT size < 3",
        "size + 1 = 4 and size * 2 = 6 and size % 2 = 1 and -size = 0 - 3",
        "weight < 2 AND weight = 1.5 and size > weight",
        "color <> 'blue' and color != 'green'",
        "color IN ('blue', 'red')",
        "color NOT IN ('blue')",
        "color LIKE 'r%' and color like '_e_' and color not like 'x%'",
        "'50%' LIKE '50!%' ESCAPE '!' and not '505' LIKE '50!%' ESCAPE '!'",
        "sys.Label = 'news'",
        "missing IS NULL and color IS NOT NULL",
        "EXISTS(color) AND NOT EXISTS(missing)",
        "big",
        "big = TRUE and (size = 4 or size = 3)",
        "[two words] = 2 and \"two words\" = 2",
        "'it''s' = 'it''s'",
        "1e+2 = 100",
    ] {
        assert!(holds(text), "{text}");
    }
}

#[test]
fn conditions_that_do_not_hold() {
    for text in [
        "1=0",
        "color = 'RED'",
        "missing = 1",
        "NOT missing = 1",
        "missing <> 1",
        "color > 1",
        "size IN (1, 2, missing)",
        "size NOT IN (1, 2, missing)",
        "color",
        "size / 0 = 1",
        "9223372036854775807 + 1 > 0",
    ] {
        assert!(!holds(text), "{text}");
    }
}

#[test]
fn what_is_not_a_condition_is_refused_in_one_line() {
    for text in [
        "",
        "color =",
        "color = 'red",
        "(1=1",
        "1=1)",
        "color NOT 'red'",
        "@p = 1",
        "newid() = 1",
        "a b",
        "1..2 = 3",
        "EXISTS(1)",
        "x IN ()",
        "NOT",
        "sys.",
    ] {
        let Err(error) = Condition::parse(text) else {
            panic!("{text} was taken");
        };
        assert!(!error.to_string().contains('\n'));
    }
}

#[test]
fn deep_nesting_is_refused() {
    let text = format!("{}1=1{}", "(".repeat(300), ")".repeat(300));
    assert!(Condition::parse(&text).is_err());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[a-z0-9'\\[\\]()%_=<>!. ,\"+*/-]{0,60}|\\PC{0,60}") {
        if let Ok(condition) = Condition::parse(&text) {
            let _ = condition.holds(&message());
        }
    }
}
