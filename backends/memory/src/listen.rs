//! Listen: a place in a log's list of listeners, held by a guard.

use std::sync::{Arc, Weak};

use scaleout_core::{Listener, LogName};
use tokio::time::Instant;

use crate::{broker::Broker, config::Config, log::Subscriber};

impl Broker {
    pub(crate) fn listen(
        self: &Arc<Self>,
        name: &LogName,
        node: u64,
        config: &Config,
        now: Instant,
    ) -> Listener {
        let (sender, listener) = Listener::channel();
        let mut state = self.lock();
        let id = state.next_listener();
        let log = state.log(name, config, now);
        log.listeners.push(Subscriber { id, node, sender });
        drop(state);
        listener.with_guard(Guard {
            broker: Arc::downgrade(self),
            name: name.clone(),
            id,
        })
    }
}

/// Takes the listener out of the log when it is dropped. Weak, so that a forgotten listener does not
/// keep the broker.
struct Guard {
    broker: Weak<Broker>,
    name: LogName,
    id: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(broker) = self.broker.upgrade() else {
            return;
        };
        let mut state = broker.lock();
        if let Some(log) = state.logs.get_mut(&self.name) {
            log.listeners.retain(|listener| listener.id != self.id);
        }
    }
}
