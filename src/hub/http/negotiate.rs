//! Negotiation: the client learns its connection and which transports it may use.

use axum::http::Uri;
use bytes::Bytes;
use serde::Serialize;

use super::{Birth, Endpoint, Transport, User, query};

/// The newest version of the answer that the hub gives.
const NEWEST: i64 = 1;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    use_stateful_reconnect: bool,
    negotiate_version: i64,
    connection_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_token: Option<&'a str>,
    available_transports: Vec<AvailableTransport>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AvailableTransport {
    transport: &'static str,
    transfer_formats: &'static [&'static str],
}

#[derive(Serialize)]
struct Refusal<'a> {
    error: &'a str,
}

/// Creates a connection and tells the client of it; or tells it why not, without creating one.
pub(super) fn negotiate(endpoint: &Endpoint, uri: &Uri, user: User) -> Bytes {
    let options = &endpoint.options;
    let version = query(uri, "negotiateVersion");
    let version = match choose(version.as_deref(), options.minimum_protocol_version) {
        Ok(version) => version,
        Err(error) => return json(&Refusal { error: &error }),
    };
    let id_is_token = version == 0;
    let stateful = options.allow_stateful_reconnects
        && query(uri, "useStatefulReconnect")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let birth = Birth {
        id_is_token,
        stateful,
        user,
    };
    let connection = endpoint.connections.create(&endpoint.node, options, birth);
    let offered = Transport::ALL.into_iter();
    let offered = offered.filter(|transport| options.transports.contains(transport));
    json(&Answer {
        use_stateful_reconnect: stateful,
        negotiate_version: version,
        connection_id: connection.id().as_str(),
        connection_token: (!id_is_token).then_some(connection.token()),
        available_transports: offered
            .map(|transport| AvailableTransport {
                transport: transport.name(),
                transfer_formats: transport.transfer_formats(),
            })
            .collect(),
    })
}

fn choose(requested: Option<&str>, minimum: u32) -> Result<i64, String> {
    let requested = match requested {
        None => 0,
        Some(text) => text
            .trim()
            .parse::<i32>()
            .map(i64::from)
            .map_err(|_| "The client requested a non-integer protocol version.".to_owned())?,
    };
    if requested < i64::from(minimum) {
        return Err(format!(
            "The client requested version '{requested}', but the server does not support this version."
        ));
    }
    Ok(requested.min(NEWEST))
}

fn json(answer: &impl Serialize) -> Bytes {
    // Text and lists of text always can be written as JSON.
    serde_json::to_vec(answer).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_that_both_know_is_chosen() {
        assert_eq!(choose(None, 0), Ok(0));
        assert_eq!(choose(Some("0"), 0), Ok(0));
        assert_eq!(choose(Some("1"), 0), Ok(1));
        assert_eq!(choose(Some("7"), 1), Ok(1));
    }

    #[test]
    fn a_version_that_is_not_known_is_refused_in_the_clients_words() {
        let unsupported = |version: &str| {
            Err(format!(
                "The client requested version '{version}', but the server does not support this version."
            ))
        };
        assert_eq!(choose(Some("-1"), 0), unsupported("-1"));
        assert_eq!(choose(None, 1), unsupported("0"));
        for version in ["", "x", "1.5"] {
            assert_eq!(
                choose(Some(version), 0),
                Err("The client requested a non-integer protocol version.".into())
            );
        }
    }
}
