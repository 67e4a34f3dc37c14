//! Listen: one connection carries the subscriptions of a node to all its logs.

use std::{sync::Arc, time::Duration};

use scaleout_core::{Alive, Error, Listener, LogName, Result};
use tokio::time::{Instant, interval, timeout};
use tokio_postgres::{Client, Notification};

use crate::{
    channels::{Changes, Channels, Head},
    config::Config,
    error::{lacks_schema, lost, timed_out},
    link::{Hears, Link, Pulse},
    name::Name,
    place::{epoch, sequence},
};

/// Channels in one transaction: enough that many take little time, few enough that notifications
/// come in between.
const AT_ONCE: usize = 1_000;
/// Logs in one comparison: its answer takes memory for as long as it is looked at.
const COMPARED: usize = 1_000;

/// A connection for subscriptions.
pub(crate) struct Subscriptions {
    pub(crate) link: Link,
    pulse: Arc<Pulse>,
    channels: Arc<Channels>,
}

impl Hears for Arc<Channels> {
    fn hear(&self, notification: Notification) {
        self.deliver(notification.channel(), notification.payload());
    }

    fn gone(&self, error: Error) {
        self.end(&error);
    }
}

impl Subscriptions {
    pub(crate) async fn open(config: Arc<Config>) -> Result<Self> {
        let channels = Arc::new(Channels::default());
        let pulse = Arc::new(Pulse::default());
        let link = Link::open(&config, pulse.clone(), channels.clone()).await?;
        link.spawn(keep_told(link.client.clone(), channels.clone()));
        link.spawn(keep_compared(
            config.poll,
            link.client.clone(),
            channels.clone(),
            pulse.clone(),
        ));
        Ok(Self {
            link,
            pulse,
            channels,
        })
    }

    /// Subscribes to a log's channel; resolves when the server has confirmed it.
    pub(crate) async fn listen(&self, config: &Config, log: &LogName) -> Result<Listener> {
        let (listener, confirmation) = self.channels.add(Name::of(log), log)?;
        let Some(confirmation) = confirmation else {
            return Ok(listener);
        };
        // Where this ends early, the listener is dropped and called off.
        match timeout(config.request_timeout, confirmation).await {
            Ok(Ok(())) => Ok(listener),
            Ok(Err(_)) => Err(lost()),
            Err(_) => Err(timed_out("LISTEN", config.request_timeout)),
        }
    }

    pub(crate) async fn close(&self, deadline: Instant) {
        self.pulse.die();
        self.link.close(deadline).await;
        self.channels.end(&Error::closed());
    }
}

impl Alive for Subscriptions {
    fn is_alive(&self) -> bool {
        self.pulse.is_alive()
    }
}

/// Tells the server who listens, as long as it answers. When it does not, the connection ends, and
/// with it every listener.
async fn keep_told(client: Arc<Client>, channels: Arc<Channels>) {
    loop {
        let Changes { listen, unlisten } = channels.changes().await;
        for (command, names) in [("UNLISTEN", unlisten), ("LISTEN", listen)] {
            for names in names.chunks(AT_ONCE) {
                let commands: String = names
                    .iter()
                    .map(|name| format!("{command} {name};"))
                    .collect();
                // Where they stand now need not be compared: whoever listens reads after this.
                let logs = match command {
                    "LISTEN" => channels.names(names),
                    _ => Vec::new(),
                };
                let logs: Vec<&[u8]> = logs.iter().map(|log| &log[..]).collect();
                let (told, heads) =
                    tokio::join!(client.batch_execute(&commands), heads(&client, &logs));
                if let Err(error) = told {
                    let closed = error.is_closed();
                    let error = crate::error::of(&error);
                    if !closed {
                        tracing::warn!(%error, "cannot tell postgres who listens");
                    }
                    channels.end(&error);
                    return;
                }
                if let Ok(heads) = heads {
                    channels.begin(names, &heads);
                }
                channels.told(names, command == "LISTEN");
            }
        }
    }
}

/// Compares the logs with what was heard of them, again and again. Nothing should ever be missing;
/// where something is, a read gets it.
async fn keep_compared(
    poll: Duration,
    client: Arc<Client>,
    channels: Arc<Channels>,
    pulse: Arc<Pulse>,
) {
    let mut ticks = interval(poll);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let logs = channels.logs();
        for logs in logs.chunks(COMPARED) {
            let names: Vec<&[u8]> = logs.iter().map(|(_, name)| &name[..]).collect();
            match heads(&client, &names).await {
                Ok(heads) => channels.compare(logs, &heads),
                Err(error) if lacks_schema(&error) => {
                    let error = crate::error::of(&error);
                    pulse.die();
                    return channels.end(&error);
                }
                Err(error) if error.is_closed() => return,
                Err(error) => tracing::debug!(%error, "cannot compare the logs"),
            }
        }
    }
}

/// Where these logs stand. What they had before the answer was notified before it, on this
/// connection.
async fn heads(client: &Client, names: &[&[u8]]) -> Result<Vec<Head>, tokio_postgres::Error> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let query = "SELECT * FROM scaleout.heads($1)";
    let rows = client.query(query, &[&names]).await?;
    // The server sends notifications when it is done with a request: this one's are here now.
    client.batch_execute("").await?;
    let head = |row: &tokio_postgres::Row| {
        Some(Head {
            name: row.try_get(0).ok()?,
            epoch: epoch(row.try_get(1).ok()?)?,
            head: sequence(row.try_get(2).ok()?)?,
        })
    };
    Ok(rows.iter().filter_map(head).collect())
}
