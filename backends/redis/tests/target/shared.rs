//! The Redis server that tests share.

use crate::target::RedisTarget;

/// The server that `SCALEOUT_REDIS_URL` names, or the local one.
pub(crate) fn shared() -> RedisTarget {
    let url = std::env::var("SCALEOUT_REDIS_URL");
    RedisTarget::new(url.unwrap_or_else(|_| "redis://127.0.0.1:6379/".to_owned()))
}
