//! A private cluster, and the backend against it.

use std::sync::Arc;

use scaleout_conformance::{
    Broker, Target, UrlTarget,
    broker::{Postgres, Server},
};
use scaleout_core::{
    AnyBackend, Arrival, Backend, EncodedFrame, Epoch, FrameBuilder, Listener, LogName, Message,
    Namespace, Partitioning, PublisherId, StoredFrame, Topic,
};
use tokio_postgres::{Client, NoTls};

/// A cluster of the test's own, as its users see it.
pub(crate) struct Cluster {
    server: Server<Postgres>,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(config: &[(&str, &str)]) -> Self {
        let target = |url: String| {
            Arc::new(UrlTarget::new(url, scaleout_postgres::connector)) as Arc<dyn Target>
        };
        let mut postgres = Postgres::new(target);
        for (name, value) in config {
            postgres = postgres.with_config(*name, *value);
        }
        let server = Server::start(postgres).await.unwrap();
        Self { server }
    }

    /// Of a user who may make the schema.
    pub(crate) fn url(&self) -> String {
        self.server.target().url()
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.port()
    }

    pub(crate) fn backend(&self) -> AnyBackend {
        backend(&self.url())
    }

    pub(crate) async fn client(&self) -> Client {
        let (client, driver) = tokio_postgres::connect(&self.url(), NoTls).await.unwrap();
        tokio::spawn(driver);
        client
    }

    /// Runs SQL as the administrator.
    pub(crate) async fn sql(&self, statements: &str) -> String {
        let program = self.server.program();
        program.sql(self.port(), statements).await.unwrap()
    }
}

pub(crate) fn backend(url: &str) -> AnyBackend {
    scaleout_postgres::connector(url).unwrap().backend
}

pub(crate) fn log(topic: &str) -> LogName {
    let topic = Topic::new(topic).unwrap();
    LogName::of_topic(&Namespace::default(), &topic, Partitioning::PerTopic)
}

pub(crate) fn frame(publisher: PublisherId, counter: u64, payload: &str) -> EncodedFrame {
    let mut builder = FrameBuilder::new();
    builder.push(None, &Message::new(payload.to_owned()));
    builder.finish(publisher, counter)
}

/// Appends a frame of one message, and tells where it stands.
pub(crate) async fn append(backend: &AnyBackend, log: &LogName, payload: &str) -> (Epoch, u64) {
    let frame = frame(PublisherId::random(), 1, payload);
    let first = backend.append(log, &frame).await.unwrap().first.unwrap();
    (first.epoch, first.sequence.get())
}

pub(crate) async fn arrival(listener: &mut Listener) -> StoredFrame {
    match listener.next().await.unwrap() {
        Arrival::Frame { frame, .. } => frame,
        other => panic!("{other:?} in place of a frame"),
    }
}
