//! Claims-based security: clients send tokens to `$cbs`.

use bytes::Bytes;
use serde_amqp::Value;

use crate::faults::BUSY;

use super::{connection::Connection, request::Request};

/// Verifies the token that came, and notes what it allows.
pub(super) fn answer(connection: &mut Connection, request: &Request) -> Bytes {
    let (code, description) = match put(connection, request) {
        Ok(()) => (202, "Accepted"),
        Err((code, why)) => (code, why),
    };
    request.reply(
        vec![
            ("status-code", Value::Int(code)),
            ("status-description", Value::String(description.into())),
        ],
        None,
    )
}

fn put(connection: &mut Connection, request: &Request) -> Result<(), (i32, &'static str)> {
    if request.property("operation") != Some("put-token") {
        return Err((400, "The operation is not known."));
    }
    // The type is not looked at: clients do not agree on how to write it, and the token shows what it is.
    let token = request.body_text().ok_or((400, "The token is missing."))?;
    let broker = &connection.broker;
    if broker.faults.is_busy() {
        return Err((503, BUSY));
    }
    let grant = broker.verify(token).map_err(|why| (401, why))?;
    connection.claims.put(grant);
    Ok(())
}
