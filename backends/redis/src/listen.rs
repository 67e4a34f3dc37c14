//! Listen: one connection carries the subscriptions of a node to all its logs.

use std::sync::Arc;

use redis::{RedisResult, aio::MultiplexedConnection};
use scaleout_core::{Alive, Listener, Result};
use tokio::time::timeout;

use crate::{
    channels::{Changes, Channels, Name},
    config::Config,
    connection::Push,
    error::{is_refusal, lost, of_client, timed_out},
    keys::Key,
    link::{Link, Pulse},
};

/// Channels in one command: enough that 100,000 take little time, few enough that Redis serves
/// others in between.
const AT_ONCE: usize = 1_000;

/// A connection for subscriptions.
pub(crate) struct Subscriptions {
    pub(crate) link: Link,
    pub(crate) channels: Arc<Channels>,
}

impl Subscriptions {
    pub(crate) async fn open(config: Arc<Config>) -> Result<Self> {
        let channels = Arc::new(Channels::default());
        let pulse = Arc::new(Pulse::default());
        let push: Push = Box::new({
            let (channels, pulse) = (channels.clone(), pulse.clone());
            move |push| {
                pulse.beat();
                channels.deliver(push);
                Ok(())
            }
        });
        let ended = {
            let channels = channels.clone();
            move |error| channels.end(&error)
        };
        let link = Link::open(&config, pulse, Some(push), ended).await?;
        link.spawn(keep_told(config, link.connection.clone(), channels.clone()));
        Ok(Self { link, channels })
    }

    /// Subscribes to a log's channel; resolves when the server has confirmed it.
    pub(crate) async fn listen(&self, config: &Config, key: &Key) -> Result<Listener> {
        let (listener, confirmation) = self.channels.add(key.meta())?;
        let Some(confirmation) = confirmation else {
            return Ok(listener);
        };
        // Where this ends early, the listener is dropped and called off.
        match timeout(config.request_timeout, confirmation).await {
            Ok(Ok(confirmed)) => confirmed.map(|()| listener),
            Ok(Err(_)) => Err(lost()),
            Err(_) => Err(timed_out("SUBSCRIBE", config.request_timeout)),
        }
    }
}

impl Alive for Subscriptions {
    fn is_alive(&self) -> bool {
        self.link.pulse.is_alive()
    }
}

/// Tells the server who listens, as long as it answers.
async fn keep_told(
    config: Arc<Config>,
    mut connection: MultiplexedConnection,
    channels: Arc<Channels>,
) {
    loop {
        let changes = channels.changes().await;
        if let Err(error) = tell(&config, &mut connection, &channels, changes).await {
            tracing::debug!(%error, "the connection for subscriptions is gone");
            return;
        }
    }
}

async fn tell(
    config: &Config,
    connection: &mut MultiplexedConnection,
    channels: &Channels,
    changes: Changes,
) -> RedisResult<()> {
    for names in changes.unsubscribe.chunks(AT_ONCE) {
        connection.unsubscribe(bytes(names)).await?;
        channels.unsubscribed(names);
    }
    for names in changes.subscribe.chunks(AT_ONCE) {
        match connection.subscribe(bytes(names)).await {
            Ok(()) => channels.subscribed(names),
            // One channel that is not permitted refuses all that were asked for with it.
            Err(error) if is_refusal(&error) => {
                for name in names.chunks(1) {
                    match connection.subscribe(bytes(name)).await {
                        Ok(()) => channels.subscribed(name),
                        Err(error) if is_refusal(&error) => {
                            let error = of_client(&error, config.password.as_ref());
                            channels.refused(&name[0], &error);
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn bytes(names: &[Name]) -> Vec<&[u8]> {
    names.iter().map(|name| &name[..]).collect()
}
