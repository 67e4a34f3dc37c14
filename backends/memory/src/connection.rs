//! Which broker a name stands for.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
};

use crate::broker::Broker;

/// The brokers of this process. It holds them weakly: a broker lives as long as a node or an admin
/// handle does, and its memory goes with the last of them.
static BROKERS: LazyLock<Mutex<HashMap<String, Weak<Broker>>>> = LazyLock::new(Mutex::default);

/// The broker of that name; a new one if nobody holds it.
pub(crate) fn connect(name: &str) -> Arc<Broker> {
    // A panic cannot leave the map half changed, so a poisoned one is as good as any.
    let mut brokers = BROKERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(broker) = brokers.get(name).and_then(Weak::upgrade) {
        return broker;
    }
    // Names that tests make up would otherwise stay for ever.
    brokers.retain(|_, broker| broker.strong_count() > 0);
    let broker = Arc::new(Broker::default());
    brokers.insert(name.to_owned(), Arc::downgrade(&broker));
    broker
}
