//! What a condition makes of a message.

use std::cmp::Ordering;

use crate::entity::{Message, Property};

use super::parser::Expression;

/// SQL's three values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    True,
    False,
    Unknown,
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

impl Truth {
    fn not(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            Self::Unknown => Self::Unknown,
        }
    }
}

pub(super) fn truth(expression: &Expression, message: &Message) -> Truth {
    match expression {
        Expression::Not(inner) => truth(inner, message).not(),
        Expression::And(left, right) => match (truth(left, message), truth(right, message)) {
            (Truth::False, _) | (_, Truth::False) => Truth::False,
            (Truth::True, Truth::True) => Truth::True,
            _ => Truth::Unknown,
        },
        Expression::Or(left, right) => match (truth(left, message), truth(right, message)) {
            (Truth::True, _) | (_, Truth::True) => Truth::True,
            (Truth::False, Truth::False) => Truth::False,
            _ => Truth::Unknown,
        },
        Expression::Exists(name) => (value(name, message) != Property::Null).into(),
        Expression::IsNull(inner) => (value(inner, message) == Property::Null).into(),
        Expression::Like {
            value: text,
            pattern,
            escape,
        } => match (value(text, message), value(pattern, message)) {
            (Property::Text(text), Property::Text(pattern)) => {
                like(&text, &pattern, *escape).into()
            }
            _ => Truth::Unknown,
        },
        Expression::In(one, list) => one_of(&value(one, message), list, message),
        Expression::Binary(sign, left, right) => {
            match ordering(&value(left, message), &value(right, message)) {
                Some(ordering) => compared(sign, ordering),
                None => Truth::Unknown,
            }
        }
        Expression::Literal(_) | Expression::Name { .. } => match value(expression, message) {
            Property::Bool(value) => value.into(),
            _ => Truth::Unknown,
        },
    }
}

fn one_of(one: &Property, list: &[Expression], message: &Message) -> Truth {
    let mut found = Truth::False;
    for other in list {
        match ordering(one, &value(other, message)) {
            Some(Ordering::Equal) => return Truth::True,
            Some(_) => {}
            None => found = Truth::Unknown,
        }
    }
    found
}

fn compared(sign: &str, ordering: Ordering) -> Truth {
    match sign {
        "=" => ordering.is_eq(),
        "<>" => ordering.is_ne(),
        "<" => ordering.is_lt(),
        "<=" => ordering.is_le(),
        ">" => ordering.is_gt(),
        ">=" => ordering.is_ge(),
        // Arithmetic is no condition.
        _ => return Truth::Unknown,
    }
    .into()
}

fn value(expression: &Expression, message: &Message) -> Property {
    match expression {
        Expression::Literal(literal) => literal.clone(),
        Expression::Name { system: true, name } => system(name, message),
        Expression::Name {
            system: false,
            name,
        } => user(name, message),
        Expression::Binary(sign, left, right) if "+-*/%".contains(sign) => {
            arithmetic(sign, &value(left, message), &value(right, message))
        }
        condition => match truth(condition, message) {
            Truth::True => Property::Bool(true),
            Truth::False => Property::Bool(false),
            Truth::Unknown => Property::Null,
        },
    }
}

/// Application properties are found whatever their case.
fn user(name: &str, message: &Message) -> Property {
    if let Some(value) = message.properties.get(name) {
        return value.clone();
    }
    let mut properties = message.properties.iter();
    let found = properties.find(|(other, _)| other.eq_ignore_ascii_case(name));
    found.map_or(Property::Null, |(_, value)| value.clone())
}

fn system(name: &str, message: &Message) -> Property {
    let system = &message.system;
    let value = match name.to_ascii_lowercase().as_str() {
        "messageid" => &system.message_id,
        "correlationid" => &system.correlation_id,
        "to" => &system.to,
        "replyto" => &system.reply_to,
        "label" | "subject" => &system.label,
        "sessionid" => &system.session_id,
        "replytosessionid" => &system.reply_to_session_id,
        "contenttype" => &system.content_type,
        _ => &None,
    };
    value.clone().map_or(Property::Null, Property::Text)
}

fn arithmetic(sign: &str, left: &Property, right: &Property) -> Property {
    match (left, right) {
        (Property::Int(a), Property::Int(b)) => {
            let result = match sign {
                "+" => a.checked_add(*b),
                "-" => a.checked_sub(*b),
                "*" => a.checked_mul(*b),
                "/" => a.checked_div(*b),
                _ => a.checked_rem(*b),
            };
            result.map_or(Property::Null, Property::Int)
        }
        (Property::Text(a), Property::Text(b)) if sign == "+" => Property::Text(format!("{a}{b}")),
        _ => match (float(left), float(right)) {
            (Some(a), Some(b)) => Property::Float(match sign {
                "+" => a + b,
                "-" => a - b,
                "*" => a * b,
                "/" => a / b,
                _ => a % b,
            }),
            _ => Property::Null,
        },
    }
}

/// How two values compare; nothing if they do not.
fn ordering(left: &Property, right: &Property) -> Option<Ordering> {
    match (left, right) {
        (Property::Text(a), Property::Text(b)) => Some(a.cmp(b)),
        (Property::Int(a), Property::Int(b)) => Some(a.cmp(b)),
        (Property::Bool(a), Property::Bool(b)) => Some(a.cmp(b)),
        (Property::Time(a), Property::Time(b)) => Some(a.cmp(b)),
        (Property::Binary(a), Property::Binary(b)) => Some(a.cmp(b)),
        (Property::Uuid(a), Property::Uuid(b)) => Some(a.cmp(b)),
        _ => float(left)?.partial_cmp(&float(right)?),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "numbers of different kinds are compared as floats, as the service does"
)]
fn float(value: &Property) -> Option<f64> {
    match value {
        Property::Int(value) => Some(*value as f64),
        Property::Float(value) => Some(*value),
        _ => None,
    }
}

/// `%` stands for anything and `_` for one character. It needs no more than the product of both lengths,
/// whatever the pattern.
fn like(text: &str, pattern: &str, escape: Option<char>) -> bool {
    let text: Vec<char> = text.chars().collect();
    // reached[i]: the pattern so far matches the first i characters.
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    let mut pattern = pattern.chars();
    while let Some(c) = pattern.next() {
        if Some(c) != escape && c == '%' {
            let first = reached.iter().position(|is| *is).unwrap_or(reached.len());
            reached[first..].fill(true);
            continue;
        }
        let wanted = match c {
            _ if Some(c) == escape => pattern.next(),
            '_' => None,
            _ => Some(c),
        };
        for end in (1..=text.len()).rev() {
            reached[end] = reached[end - 1] && wanted.is_none_or(|wanted| wanted == text[end - 1]);
        }
        reached[0] = false;
    }
    reached[text.len()]
}
