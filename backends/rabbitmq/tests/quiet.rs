//! What an operator finds in the log when all is well: nothing.

mod target;

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use scaleout_conformance::{
    Broker, Setup,
    broker::{RabbitMq, Server},
    libtest,
};
use scaleout_core::{Backplane, Event, Start};
use tracing::Level;

use self::target::RabbitMqTarget;

const CLOSE: Duration = Duration::from_secs(10);

/// The only test of its process: the log is everybody's.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_use_of_a_namespace_logs_neither_errors_nor_warnings() {
    if !RabbitMq::is_installed() && !libtest::required("rabbitmq") {
        eprintln!("note: no RabbitMQ here, so nothing is tested");
        return;
    }
    let server = RabbitMqTarget::server(Setup::volatile());
    let server = Server::start(server).await.unwrap();
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(Level::WARN)
        .with_writer(move || writer.clone())
        .init();

    for namespace in ["one", "two"] {
        for _ in ["the node that makes it", "a node that finds it"] {
            let target = server.target();
            let url = format!("{}?namespace={namespace}", target.url());
            let node = Backplane::connect(target.connector(&url).unwrap()).await;
            let node = node.unwrap();
            let mut tail = node.subscribe("t", Start::Latest).await.unwrap();
            node.publish("t", "m").await.unwrap();
            let event = tail.next().await;
            assert!(matches!(event, Some(Event::Message(_))), "{event:?}");
            drop(tail);
            node.close(CLOSE).await.unwrap();
        }
    }
    assert_eq!(log.text(), "");

    // What is logged is noticed: somebody else's connection fails.
    let url = server.target().url().replace("c0nf0rmance", "wrong");
    let node = Backplane::connect(server.target().connector(&url).unwrap());
    node.await.unwrap_err();
    assert_ne!(log.text(), "");
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
