//! [`Received`]: an invocation by the hub.

use std::{fmt, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::{Line, TestError};
use crate::hub::protocol::{Invocation, Outcome, Value};

/// What the hub invoked on a test client.
pub struct Received {
    line: Arc<Line>,
    method: String,
    arguments: Value,
    /// If the hub waits for a result.
    id: Option<String>,
}

impl Received {
    pub(super) fn new(line: Arc<Line>, invocation: Invocation) -> Self {
        Self {
            arguments: Value::array(line.protocol, &invocation.arguments),
            line,
            method: invocation.target,
            id: invocation.id,
        }
    }

    /// The client's method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The arguments, as a tuple or a list.
    ///
    /// # Errors
    ///
    /// [`TestError::Unreadable`] if they are no `A`.
    pub fn arguments<A: DeserializeOwned>(&self) -> Result<A, TestError> {
        let bound = self.arguments.bind();
        bound.map_err(|error| TestError::Unreadable(format!("{:?}: {error}", self.method)))
    }

    /// Whether the hub waits for a result.
    pub fn awaits_result(&self) -> bool {
        self.id.is_some()
    }

    /// Answers with a result. If the hub does not wait for one, this does nothing.
    ///
    /// # Errors
    ///
    /// [`TestError::Unwritable`].
    pub fn answer<R: Serialize>(self, result: R) -> Result<(), TestError> {
        let result = self.line.protocol.value(&result);
        self.complete(&Outcome::Value(result.map_err(TestError::Unwritable)?));
        Ok(())
    }

    /// Answers with an error, as a client does whose method failed. If the hub does not wait for an
    /// answer, this does nothing.
    ///
    /// # Errors
    ///
    /// None so far.
    pub fn refuse(self, error: impl Into<String>) -> Result<(), TestError> {
        self.complete(&Outcome::Error(error.into()));
        Ok(())
    }

    fn complete(&self, outcome: &Outcome) {
        if let Some(id) = &self.id {
            self.line.tell(self.line.protocol.completion(id, outcome));
        }
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("method", &self.method)
            .field("awaits_result", &self.awaits_result())
            .finish_non_exhaustive()
    }
}
