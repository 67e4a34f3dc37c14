//! [`TestClientBuilder`]: who a test client is, and how it speaks.

use std::{sync::Arc, time::Duration};

use axum::http::{HeaderName, HeaderValue, Request, header};
use tokio::time::timeout;

use super::{
    Line, TestClient,
    error::{Closed, TestError},
};
use crate::hub::{
    auth::{self, User},
    connection::{self, Birth},
    hub::Hub,
    protocol::{InputBuffer, Protocol},
    transport::{Next, Transport},
};

/// How long a test client waits for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// A method that no hub has. Its failure comes after all that happens when a client connects.
const NO_METHOD: &str = "scaleout/connected?";

/// Makes a [`TestClient`]: [`TestClient::builder`].
#[derive(Debug)]
#[must_use = "a client comes into being with `connect`"]
pub struct TestClientBuilder {
    user: Option<User>,
    uri: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    protocol: Protocol,
    patience: Duration,
}

impl Default for TestClientBuilder {
    fn default() -> Self {
        Self {
            user: None,
            uri: "/".to_owned(),
            headers: Vec::new(),
            protocol: Protocol::Json,
            patience: PATIENCE,
        }
    }
}

impl TestClientBuilder {
    /// Who the client is. Whatever the hub does to authenticate clients is not asked.
    pub fn user(mut self, user: User) -> Self {
        self.user = Some(user);
        self
    }

    /// The bearer token that the client shows to the hub's
    /// [`authenticate`](crate::hub::HubBuilder::authenticate).
    ///
    /// # Panics
    ///
    /// If the token cannot be part of a header.
    pub fn token(self, token: impl AsRef<str>) -> Self {
        let value = format!("Bearer {}", token.as_ref());
        self.header(header::AUTHORIZATION.as_str(), value)
    }

    /// A header of the request that opens the connection.
    ///
    /// # Panics
    ///
    /// If there can be no such header.
    #[expect(
        clippy::expect_used,
        reason = "a test fails by panicking, and the docs say so"
    )]
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let name = HeaderName::try_from(name.as_ref()).expect("not the name of a header");
        let value = HeaderValue::try_from(value.as_ref()).expect("not the value of a header");
        self.headers.push((name, value));
        self
    }

    /// Path and query of the request that opens the connection. Default: `/`.
    pub fn uri(mut self, uri: impl Into<String>) -> Self {
        self.uri = uri.into();
        self
    }

    /// The protocol that the client speaks. Default: JSON.
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// How long the client waits for anything. Default: 10 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Connects to a hub: [`TestClient::connect`].
    ///
    /// # Errors
    ///
    /// As [`TestClient::connect`].
    ///
    /// # Panics
    ///
    /// If the URI is none.
    ///
    /// # Cancellation
    ///
    /// As [`TestClient::connect`].
    #[expect(
        clippy::expect_used,
        reason = "a test fails by panicking, and the docs say so"
    )]
    pub async fn connect(self, hub: &Hub) -> Result<TestClient, TestError> {
        let endpoint = hub.endpoint();
        let mut parts = Request::get(self.uri)
            .body(())
            .expect("not a path and query")
            .into_parts()
            .0;
        parts.headers.extend(self.headers);
        let user = match self.user {
            Some(user) => user,
            None => auth::authenticate(endpoint.authenticate.as_ref(), &parts)
                .await
                .map_err(TestError::TurnedAway)?,
        };
        if endpoint.lifecycle.is_closing() {
            return Err(TestError::Closed(Closed::default()));
        }
        let birth = Birth {
            user: user.clone(),
            ..Birth::default()
        };
        let connection = endpoint
            .connections
            .create(&endpoint.node, &endpoint.options, birth);
        let request = connection::Request {
            uri: parts.uri,
            headers: parts.headers,
            user,
        };
        // The connection is new: nobody else has attached to it.
        let Ok((_, Some(reader))) = connection.attach(Transport::WebSockets, request) else {
            return Err(TestError::Closed(Closed::default()));
        };
        let (line, outgoing) =
            Line::new(endpoint.clone(), connection, self.protocol, self.patience);
        // From here on a future that is dropped loses the connection.
        let client = TestClient { line };
        client.line.start(reader, outgoing);
        let buffer = timeout(self.patience, shake_hands(&client.line))
            .await
            .map_err(|_| client.line.timed_out("the handshake"))??;
        client.line.listen(buffer);
        match client.invoke::<()>(NO_METHOD, ()).await {
            Ok(()) | Err(TestError::Hub(_)) => Ok(client),
            Err(error) => Err(error),
        }
    }
}

/// Speaks the first words, and returns what came behind the hub's.
async fn shake_hands(line: &Arc<Line>) -> Result<InputBuffer, TestError> {
    let name = line.protocol.name();
    let request = format!("{{\"protocol\":\"{name}\",\"version\":1}}\x1e");
    line.write(request.into()).await?;
    let mut buffer = InputBuffer::default();
    loop {
        if let Ok(Some(answer)) = buffer.next_record(None) {
            return match &answer[..] {
                b"{}" => Ok(buffer),
                refusal => Err(TestError::Handshake(
                    String::from_utf8_lossy(refusal).into_owned(),
                )),
            };
        }
        match line.connection.outbound().next().await {
            Next::Unit(unit) => buffer.push(&unit),
            Next::Finish | Next::Abort => return Err(TestError::Closed(Closed::default())),
        }
    }
}
