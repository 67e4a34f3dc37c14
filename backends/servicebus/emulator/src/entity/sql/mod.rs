//! The conditions of SQL rules, such as `color = 'red' AND sys.Label LIKE 'a%'`.
//!
//! The language is the service's: comparison, `AND OR NOT`, `LIKE`, `IN`, `IS NULL`, `EXISTS`, arithmetic, and
//! properties with and without `sys.` or `user.`. Like there, what is compared with an absent property is unknown,
//! neither true nor false. Parameters (`@name`) and functions are refused.

mod lexer;
mod parser;
mod value;

use std::fmt;

use crate::entity::{Message, Refusal};

use self::{parser::Expression, value::Truth};

/// Bytes that a condition may have (from the service's documentation).
const MAX_LENGTH: usize = 1024;

/// A condition that was understood.
#[derive(Clone, PartialEq)]
pub struct Condition {
    text: String,
    expression: Expression,
}

impl Condition {
    /// Understands a condition.
    ///
    /// # Errors
    ///
    /// `Refusal::Invalid` says what is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let parsed = if text.len() > MAX_LENGTH {
            Err(format!("it is longer than {MAX_LENGTH} bytes"))
        } else {
            lexer::tokens(text).and_then(parser::parse)
        };
        match parsed {
            Ok(expression) => Ok(Self {
                text: text.into(),
                expression,
            }),
            Err(why) => Err(Refusal::Invalid(format!(
                "the SQL filter is not valid: {why}"
            ))),
        }
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it holds for the message. What is unknown does not hold.
    #[must_use]
    pub fn holds(&self, message: &Message) -> bool {
        value::truth(&self.expression, message) == Truth::True
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.text).finish()
    }
}

#[cfg(test)]
mod tests;
