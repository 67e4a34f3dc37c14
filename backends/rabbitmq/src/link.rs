//! [`Link`]: a node's connections to the broker, with the directory of its namespace.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use lapin::{
    Channel, ChannelStatus, Connection,
    options::{BasicQosOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};
use scaleout_core::{Alive, Error, ErrorKind, Result};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    append::Flights,
    config::Config,
    connection::{Engine, Pulse, dial, open_channel, watch},
    directory::Directory,
    error::{is_missing, lost, of_client, timed_out},
    read::Floors,
};

/// How often a directory that cannot be read yet is tried.
const LOOK: Duration = Duration::from_millis(50);
/// How often channels that are being closed are looked at.
const LOOK_CLOSED: Duration = Duration::from_millis(2);
/// For how long.
const CLOSING: Duration = Duration::from_secs(1);

/// Two connections, as RabbitMQ stops to read one that publishes while it is short of memory or disk:
/// what is consumed goes on meanwhile. Tasks end with it.
pub(crate) struct Link {
    pub(crate) config: Arc<Config>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) pulse: Arc<Pulse>,
    publishing: Connection,
    consuming: Connection,
    /// A channel on each, for round trips.
    controls: [Channel; 2],
    /// The channels of requests, those that are closed excepted.
    requests: Mutex<Vec<ChannelStatus>>,
    /// The channel of all appends.
    appends: tokio::sync::Mutex<Option<Channel>>,
    pub(crate) flights: Flights,
    pub(crate) floors: Floors,
    /// Held while a log's life begins.
    pub(crate) creating: tokio::sync::Mutex<()>,
    tasks: Mutex<JoinSet<()>>,
    /// Last, so that all else is gone before it.
    pub(crate) engine: Engine,
}

impl Alive for Link {
    fn is_alive(&self) -> bool {
        self.pulse.is_alive()
    }
}

impl Link {
    /// Connects, and reads the directory. `known` says whether there is one, as far as this node knows.
    pub(crate) async fn open(config: Arc<Config>, known: &AtomicBool) -> Result<Arc<Self>> {
        let limit = config.request_timeout;
        match timeout(limit, Self::open_patiently(config, known)).await {
            Ok(link) => link,
            Err(_) => Err(timed_out("the first requests", limit)),
        }
    }

    /// Another node may be making the directory just now, or the broker has just started. Then the
    /// directory is there and cannot be read, and RabbitMQ (3.10) may even fall over who tries, and
    /// close the connection.
    async fn open_patiently(config: Arc<Config>, known: &AtomicBool) -> Result<Arc<Self>> {
        let patience = Instant::now() + config.request_timeout.mul_f32(0.75);
        loop {
            let link = Self::connect(config.clone()).await?;
            match link.read_directory(known.load(Ordering::Relaxed)).await {
                Ok(()) => {
                    known.store(true, Ordering::Relaxed);
                    return Ok(link);
                }
                Err(error)
                    if error.kind() == ErrorKind::Unavailable && Instant::now() < patience =>
                {
                    tracing::debug!(%error, "cannot read the directory yet");
                    sleep(LOOK).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn connect(config: Arc<Config>) -> Result<Arc<Self>> {
        let engine = Engine::start()?;
        // To the end of both: lapin's thread panics if the engine goes while it looks up a host.
        let (publishing, consuming) = tokio::join!(
            dial(&config, &engine, "publish"),
            dial(&config, &engine, "consume")
        );
        let (publishing, consuming) = (publishing?, consuming?);
        let pulse = Arc::new(Pulse::new());
        let mut tasks = JoinSet::new();
        for connection in [&publishing, &consuming] {
            let (events, status) = (connection.events_listener(), connection.status().clone());
            let pulse = pulse.clone();
            tasks.spawn(async move { watch(events, &status, &pulse).await });
        }
        let controls = tokio::try_join!(publishing.create_channel(), consuming.create_channel())
            .map_err(|error| of_client(&error))?;
        let link = Arc::new(Self {
            config,
            directory: Arc::new(Directory::new()),
            pulse,
            publishing,
            consuming,
            controls: controls.into(),
            requests: Mutex::default(),
            appends: tokio::sync::Mutex::default(),
            flights: Flights::default(),
            floors: Floors::default(),
            creating: tokio::sync::Mutex::default(),
            tasks: Mutex::new(tasks),
            engine,
        });
        Ok(link)
    }

    /// # Errors
    ///
    /// [`ErrorKind::Incompatible`] if the namespace has another number of logs than this node's.
    pub(crate) fn check_logs(&self) -> Result<()> {
        let count = self.config.logs.get();
        match self.directory.logs() {
            Some(logs) if logs == count => Ok(()),
            Some(logs) => Err(Error::new(
                ErrorKind::Incompatible,
                format!(
                    "namespace {} has {logs} logs and this node is set to {count}: all nodes of a \
                     namespace need the same partitioning",
                    self.config.namespace
                ),
            )),
            None => Err(lost()),
        }
    }

    /// Deletes a stream.
    pub(crate) async fn delete_stream(&self, name: &str) -> Result<()> {
        let delete = async {
            let channel = self.channel().await?;
            channel
                .queue_delete(name.into(), QueueDeleteOptions::default())
                .await
        };
        // Deleting what is not there succeeds.
        delete.await.map(drop).map_err(|error| of_client(&error))
    }

    /// Whether there is such a stream.
    pub(crate) async fn has_stream(&self, name: &str) -> lapin::Result<bool> {
        let passive = QueueDeclareOptions {
            passive: true,
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let there = async {
            let channel = self.channel().await?;
            channel
                .queue_declare(name.into(), passive, FieldTable::default())
                .await
        };
        match there.await {
            Ok(_) => Ok(true),
            Err(error) if is_missing(&error, name) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes a stream. If it is there already, nothing happens. Returns how many messages RabbitMQ
    /// believes are in it: none, if it has just been made, or if this node of the broker does not know.
    pub(crate) async fn declare_stream(
        &self,
        name: &str,
        mut arguments: FieldTable,
    ) -> lapin::Result<u32> {
        let durable = QueueDeclareOptions {
            durable: true,
            ..QueueDeclareOptions::default()
        };
        arguments.insert(
            "x-queue-type".into(),
            AMQPValue::LongString("stream".into()),
        );
        let channel = self.channel().await?;
        let declared = channel.queue_declare(name.into(), durable, arguments);
        Ok(declared.await?.message_count())
    }

    /// A channel for one request that does not publish.
    pub(crate) async fn channel(&self) -> lapin::Result<Channel> {
        let channel = open_channel(&self.consuming).await?;
        let mut requests = lock(&self.requests);
        requests.retain(is_open);
        requests.push(channel.status().clone());
        Ok(channel)
    }

    /// The channel of appends, which confirms what is published on it.
    pub(crate) async fn publisher(&self) -> lapin::Result<Channel> {
        let mut appends = self.appends.lock().await;
        if let Some(channel) = &*appends
            && channel.status().connected()
        {
            return Ok(channel.clone());
        }
        let channel = open_channel(&self.publishing).await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        *appends = Some(channel.clone());
        Ok(channel)
    }

    /// A round trip on each connection.
    pub(crate) async fn ping(&self) -> Result<()> {
        self.pulse.check_unblocked()?;
        // As long as a live connection may take to answer.
        let limit = self.config.request_timeout.min(self.config.liveness / 2);
        let error = match timeout(limit, self.round_trip()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => of_client(&error),
            Err(_) => Error::new(
                ErrorKind::Unavailable,
                format!("rabbitmq has not answered for {limit:?}"),
            ),
        };
        // It may have begun to block meanwhile, which answers nothing.
        self.pulse.check_unblocked()?;
        self.pulse.die(error.duplicate());
        Err(error)
    }

    async fn round_trip(&self) -> lapin::Result<()> {
        let [one, other] = &self.controls;
        let qos = BasicQosOptions::default;
        tokio::try_join!(one.basic_qos(1, qos()), other.basic_qos(1, qos())).map(drop)
    }

    /// Runs a task until the link is dropped.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task)
    }

    /// Stops the tasks and closes the connections, by the deadline.
    pub(crate) async fn close(&self, deadline: Instant) {
        self.pulse.die(Error::closed());
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        let ended = async {
            tasks.shutdown().await;
            // Unless somebody else is still using one.
            let _ = timeout(CLOSING, self.channels_closed()).await;
            // One that has died need not be closed, and cannot.
            let _ = tokio::join!(
                self.publishing.close(200, "closed".into()),
                self.consuming.close(200, "closed".into())
            );
        };
        // At the deadline the rest is dropped, which ends it all the same.
        let _ = timeout_at(deadline, ended).await;
    }

    /// Waits until the server has closed the channels of requests. lapin closes one in the background
    /// when it is dropped, and logs an error if the connection is closed before that is done.
    async fn channels_closed(&self) {
        while self.consuming.status().connected() && lock(&self.requests).iter().any(is_open) {
            // Nothing tells when.
            sleep(LOOK_CLOSED).await;
        }
    }
}

fn is_open(channel: &ChannelStatus) -> bool {
    channel.initializing() || channel.connected() || channel.closing()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
