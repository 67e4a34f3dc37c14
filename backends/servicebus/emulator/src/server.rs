//! The running emulator.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

use crate::{
    amqp,
    broker::Broker,
    config::{Config, POLICY, QueueConfig},
    entity::{Condition, Filter, Namespace, Refusal, Rule},
    faults::Faults,
    http,
    sas::{Policies, Rights},
};

/// How exact locks and other timers are.
const TICK: Duration = Duration::from_millis(10);

/// How long a client may take to say what it speaks.
const FIRST_WORDS: Duration = Duration::from_secs(60);

/// A running emulator. It stops when this is dropped.
pub struct Emulator {
    address: SocketAddr,
    key: String,
    broker: Arc<Broker>,
    stop: watch::Sender<bool>,
    listening: JoinHandle<()>,
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Emulator {
    /// Starts an emulator with the entities of the configuration. It is ready when this resolves.
    ///
    /// # Errors
    ///
    /// If it cannot listen, or an entity of the configuration is not allowed.
    pub async fn start(config: Config) -> io::Result<Self> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
        let mut policies = Policies::default();
        policies.insert(POLICY, &config.key, Rights::ALL);
        for policy in &config.policies {
            let rights = Rights::parse(&policy.rights).ok_or_else(|| {
                invalid(format!(
                    "policy '{}': its rights are not known",
                    policy.name
                ))
            })?;
            policies.insert(&policy.name, &policy.key, rights);
        }
        let prefix = getrandom::u64().map_err(io::Error::other)?;
        let broker = Arc::new(Broker::new(
            Namespace::new(config.tier, prefix),
            policies,
            Faults::default(),
        ));
        populate(&broker, &config).map_err(|refusal| invalid(refusal.to_string()))?;
        let listener = TcpListener::bind(config.listen).await.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cannot listen on {}: {error}", config.listen),
            )
        })?;
        let (stop, stopped) = watch::channel(false);
        Ok(Self {
            address: listener.local_addr()?,
            key: config.key,
            listening: tokio::spawn(run(Arc::clone(&broker), listener, stopped)),
            broker,
            stop,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connection string for clients, with the key in it.
    #[must_use]
    pub fn connection_string(&self) -> String {
        format!(
            "Endpoint=sb://{};SharedAccessKeyName={POLICY};SharedAccessKey={};UseDevelopmentEmulator=true;",
            self.address, self.key
        )
    }

    /// The faults that it can be made to have.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.broker.faults
    }

    /// Does something with the entities, as a client or an administrator might.
    pub fn with<T>(&self, act: impl FnOnce(&mut Namespace, crate::clock::Moment) -> T) -> T {
        self.broker.with(act)
    }

    /// Ends all connections and stops listening.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // It ends when it is told; what it returns says nothing.
        let _ = (&mut self.listening).await;
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

fn populate(broker: &Broker, config: &Config) -> Result<(), Refusal> {
    broker.with(|namespace, now| {
        for queue in &config.queues {
            namespace.create_queue(now, &queue.name, queue.settings())?;
        }
        for topic in &config.topics {
            namespace.create_topic(now, &topic.name, topic.settings())?;
            for subscription in &topic.subscriptions {
                let (name, rule) = (&subscription.name, rule(subscription)?);
                namespace.create_subscription(
                    now,
                    &topic.name,
                    name,
                    subscription.settings(),
                    rule,
                )?;
            }
        }
        Ok(())
    })
}

fn rule(config: &QueueConfig) -> Result<Rule, Refusal> {
    let Some(filter) = &config.filter else {
        return Ok(Rule::everything());
    };
    Ok(Rule {
        filter: Filter::Sql(Condition::parse(filter)?),
        ..Rule::everything()
    })
}

/// Accepts connections and lets timers run, until it is told to stop. Connections end with it.
async fn run(broker: Arc<Broker>, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
    tokio::select! {
        () = accept(&broker, &listener) => {}
        () = run_timers(&broker) => {}
        // What it returns borrows from the channel, and must not be held.
        () = async { let _ = stopped.wait_for(|stopped| *stopped).await; } => {}
    }
}

async fn accept(broker: &Arc<Broker>, listener: &TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(Arc::clone(broker), stream));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(TICK).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn run_timers(broker: &Broker) {
    loop {
        sleep(TICK).await;
        broker.faults.running().await;
        broker.with(|namespace, now| {
            if namespace.deadline().is_some_and(|at| at <= now) {
                namespace.advance(now);
            }
        });
    }
}

/// AMQP begins with its name, everything else is HTTP.
async fn connection(broker: Arc<Broker>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut first = [0; 4];
    let peeked = timeout(FIRST_WORDS, async {
        loop {
            match stream.peek(&mut first).await {
                Ok(0) | Err(_) => return false,
                Ok(4..) => return true,
                // Part of the first word: more of it is on its way. Peeking does not wait for it.
                Ok(_) => sleep(TICK).await,
            }
        }
    });
    if peeked.await != Ok(true) {
        return;
    }
    let result = if &first == b"AMQP" {
        amqp::serve(broker, stream).await
    } else {
        http::serve(broker, stream).await
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended");
    }
}
