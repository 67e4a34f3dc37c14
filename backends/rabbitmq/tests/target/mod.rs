//! A RabbitMQ broker as the conformance suite sees it.

use std::{fmt, sync::Arc, time::Duration};

use lapin::{Connection, ConnectionProperties, options::QueueDeleteOptions};
use scaleout_conformance::{
    Admin, BoxFuture, Broker, Need, Params, Setup, Target,
    broker::{RabbitMq, Server},
};
use scaleout_core::{Backend, Carries, Connector, Error, ErrorKind, LogName, Namespace, Result};
use scaleout_rabbitmq::connector;
use tokio::time::Instant;

/// The password of the brokers that cases own.
const PASSWORD: &str = "c0nf0rmance-s3cret";

/// A broker, and the way past the nodes.
pub(crate) struct RabbitMqTarget {
    url: String,
    addr: String,
}

impl RabbitMqTarget {
    /// The broker at `amqp://USER:PASSWORD@HOST:PORT/`.
    pub(crate) fn new(url: impl Into<String>) -> Self {
        let url = url.into();
        let authority = url.split('/').nth(2).unwrap_or_default();
        let addr = authority.rsplit('@').next().unwrap_or_default().to_owned();
        Self { url, addr }
    }

    /// How to run a broker of one's own.
    pub(crate) fn server(setup: Setup) -> RabbitMq {
        RabbitMq::new(PASSWORD, |url| Arc::new(Self::new(url)) as Arc<dyn Target>)
            .persistent(setup.persistent)
    }

    /// The URL for one namespace.
    fn url_of(&self, namespace: &Namespace) -> String {
        let (base, query) = self.url.split_once('?').unwrap_or((&self.url, ""));
        format!("{base}?namespace={namespace}&{query}")
    }

    /// The stream that is the present life of a log.
    async fn stream(&self, log: &LogName) -> Result<String> {
        let Connector { backend, .. } = connector(&self.url_of(log.namespace()))?;
        let page = backend.read(log, None, 0).await?;
        backend.close(Instant::now()).await?;
        let Carries::Share { index, .. } = log.carries() else {
            return Err(Error::new(ErrorKind::InvalidInput, "not a share"));
        };
        Ok(format!(
            "scaleout/{}/{index}/{}",
            log.namespace(),
            page.epoch
        ))
    }
}

impl fmt::Debug for RabbitMqTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitMqTarget")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

impl Target for RabbitMqTarget {
    fn url(&self) -> String {
        self.url.clone()
    }

    fn connector(&self, url: &str) -> Result<Connector> {
        connector(url)
    }

    fn addr(&self) -> Option<String> {
        Some(self.addr.clone())
    }

    fn takes_several_addresses(&self) -> bool {
        true
    }

    /// RabbitMQ drops whole segments, and keeps one at least. A small frame takes some 300 bytes of it.
    fn retention_frames(&self, frames: usize) -> Option<Params> {
        let segment = frames * 400;
        Some(vec![
            ("segment_bytes".to_owned(), segment.to_string()),
            ("retention_bytes".to_owned(), (2 * segment).to_string()),
        ])
    }

    /// It looks at the age when a segment is full: some ten small frames here.
    fn retention_age(&self, age: Duration) -> Option<Params> {
        Some(vec![
            ("retention_age".to_owned(), format!("{}s", age.as_secs())),
            ("segment_bytes".to_owned(), "4000".to_owned()),
        ])
    }

    fn admin(&self) -> Option<&dyn Admin> {
        Some(self)
    }

    fn offers_broker(&self, need: Need) -> bool {
        need != Need::Acl && RabbitMq::is_installed()
    }

    fn broker(&self, setup: Setup) -> BoxFuture<'_, Result<Box<dyn Broker>>> {
        Box::pin(async move {
            let server = Self::server(setup);
            let server = if setup.tls {
                server.with_tls()?
            } else {
                server
            };
            let server = Server::start(server).await?;
            Ok(Box::new(server) as Box<dyn Broker>)
        })
    }
}

impl Admin for RabbitMqTarget {
    fn offers(&self, need: Need) -> bool {
        need == Need::DeleteLog
    }

    fn delete_log<'a>(&'a self, log: &'a LogName) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let stream = self.stream(log).await?;
            let (base, _) = self.url.split_once('?').unwrap_or((&self.url, ""));
            // lapin takes the slash at the end for a virtual host without a name.
            let url = base.trim_end_matches('/').to_owned();
            // On a runtime of its own, as lapin leaves a task on it for seconds.
            let delete = move || {
                let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
                let delete = delete_stream(&url, &stream);
                runtime.block_on(delete).map_err(|error| error.to_string())
            };
            let deleted = tokio::task::spawn_blocking(delete).await;
            let failed = |error: String| Error::new(ErrorKind::Broker, error);
            deleted
                .map_err(|error| failed(error.to_string()))?
                .map_err(failed)
        })
    }

    fn clean<'a>(&'a self, namespace: &'a Namespace) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { scaleout_rabbitmq::remove(&self.url_of(namespace)).await })
    }
}

async fn delete_stream(url: &str, stream: &str) -> lapin::Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let options = QueueDeleteOptions::default();
    channel.queue_delete(stream.into(), options).await?;
    connection.close(200, "done".into()).await
}
