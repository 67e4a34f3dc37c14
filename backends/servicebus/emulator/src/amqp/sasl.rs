//! The SASL exchange before AMQP begins.

use fe2o3_amqp_types::sasl::{SaslCode, SaslInit, SaslMechanisms, SaslOutcome};
use serde_amqp::primitives::{Array, Symbol};

use crate::{broker::Broker, sas::Rights};

use super::{
    performative::decode,
    shape::{self, Malformed},
};

pub(super) fn mechanisms() -> SaslMechanisms {
    let names = ["MSSBCBS", "PLAIN", "ANONYMOUS", "EXTERNAL"];
    SaslMechanisms {
        sasl_server_mechanisms: Array(names.map(Symbol::from).to_vec()),
    }
}

/// Answers the client's choice. With PLAIN it is given the rights of its policy; with the others none, until it
/// sends tokens.
pub(super) fn answer(
    broker: &Broker,
    body: &[u8],
) -> Result<(SaslOutcome, Option<Rights>), Malformed> {
    let length = shape::length(body)?;
    let init: SaslInit = decode(&body[..length])?;
    let (code, rights) = match init.mechanism.as_str() {
        "ANONYMOUS" | "MSSBCBS" | "EXTERNAL" => (SaslCode::Ok, None),
        "PLAIN" => {
            let response = init
                .initial_response
                .map(|bytes| bytes.into_vec())
                .unwrap_or_default();
            match plain(broker, &response) {
                Some(rights) => (SaslCode::Ok, Some(rights)),
                None => (SaslCode::Auth, None),
            }
        }
        _ => (SaslCode::Auth, None),
    };
    let outcome = SaslOutcome {
        code,
        additional_data: None,
    };
    Ok((outcome, rights))
}

/// `[identity] NUL name NUL key`
fn plain(broker: &Broker, response: &[u8]) -> Option<Rights> {
    let text = str::from_utf8(response).ok()?;
    let mut parts = text.splitn(3, '\0').skip(1);
    broker.with_key(parts.next()?, parts.next()?)
}
