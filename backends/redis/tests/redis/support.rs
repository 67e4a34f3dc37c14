//! A Redis server that a test owns, and shorthands.

use std::{
    future::poll_fn,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    pin::Pin,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    task::Poll,
};

use scaleout_core::{
    AnyBackend, Arrival, Backend, EncodedFrame, Epoch, FrameBuilder, Listener, LogName, Message,
    Namespace, Partitioning, PublisherId, StoredFrame, Topic,
};

/// A `redis-server` on a free port, in a directory of its own, killed when it is dropped.
pub(crate) struct Server {
    process: Child,
    port: u16,
    directory: PathBuf,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With further arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("scaleout-redis-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let port = free_port();
        let process = launch(port, &directory, arguments);
        Self {
            process,
            port,
            directory,
        }
    }

    /// Kills the server and starts it again on the same port and directory.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.process = launch(self.port, &self.directory, &[]);
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// What an operator types.
    pub(crate) async fn command(&self, words: &[&str]) -> redis::Value {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await.unwrap()
    }

    /// How many subscriptions of a log's channel the server has.
    pub(crate) async fn subscriptions(&self, log: &LogName) -> i64 {
        let channel = format!("so:{{{log}}}");
        let answer = self.command(&["PUBSUB", "NUMSUB", &channel]).await;
        let (_, count): (String, i64) = redis::from_redis_value(answer).unwrap();
        count
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

pub(crate) fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

fn launch(port: u16, directory: &Path, arguments: &[&str]) -> Child {
    let mut process = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--dir", directory.to_str().unwrap()])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-server is installed");
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    loop {
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("redis-server ended: {said:?}"))
            .unwrap();
        if line.contains("Ready to accept connections") {
            break;
        }
        said.push(line);
    }
    // The pipe must not fill up.
    std::thread::spawn(move || lines.for_each(drop));
    process
}

pub(crate) fn backend(url: &str) -> AnyBackend {
    scaleout_redis::connector(url).unwrap().backend
}

pub(crate) fn log(topic: &str) -> LogName {
    let topic = Topic::new(topic).unwrap();
    LogName::of_topic(&Namespace::default(), &topic, Partitioning::PerTopic)
}

/// A frame of messages that all have this payload.
pub(crate) fn frame_of(
    publisher: PublisherId,
    counter: u64,
    len: usize,
    payload: &str,
) -> EncodedFrame {
    let mut builder = FrameBuilder::new();
    for _ in 0..len {
        builder.push(None, &Message::new(payload.to_owned()));
    }
    builder.finish(publisher, counter)
}

pub(crate) fn frame(payload: &str) -> EncodedFrame {
    frame_of(PublisherId::random(), 1, 1, payload)
}

/// Appends a frame of one message, and tells where it stands.
pub(crate) async fn append(backend: &AnyBackend, log: &LogName, payload: &str) -> (Epoch, u64) {
    let appended = backend.append(log, &frame(payload)).await.unwrap();
    let first = appended.first.unwrap();
    (first.epoch, first.sequence.get())
}

pub(crate) async fn arrival(listener: &mut Listener) -> (Epoch, StoredFrame) {
    match listener.next().await.unwrap() {
        Arrival::Frame { epoch, frame } => (epoch, frame),
        other => panic!("redis delivers frames, not {other:?}"),
    }
}

/// Polls a future once.
pub(crate) async fn is_done(future: &mut (impl Future + Unpin)) -> bool {
    let mut future = Pin::new(future);
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}
