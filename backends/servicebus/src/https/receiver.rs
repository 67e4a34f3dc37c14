//! [`Puller`]: several requests for a message under way at once, and the completions beside them.

use azure_core::{StatusCode, headers::Headers};
use azure_messaging_servicebus::service_bus::{PeekLockResponse, SubscriptionReceiver};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use scaleout_core::{Error, ErrorKind, Result};
use serde_json::Value;
use tokio::{
    runtime::Handle,
    task::{JoinError, JoinSet},
    time::{Duration, Instant, sleep_until, timeout},
};

use super::{
    client::{OURS, is_missing, without_outcome},
    no_message,
};
use crate::transport::{Incoming, Receiver};

/// Requests for a message that are under way at once while messages come. One while none do: each that
/// finds nothing costs, too.
const MAX_PULLS: usize = 32;
/// Completions that are under way at once.
const MAX_COMPLETIONS: usize = 64;
/// How long it is tried to give a message back that nobody wants, and to get those that are on their way when
/// it ends.
const PATIENCE: Duration = Duration::from_secs(2);

type Pulled = Result<Option<(Incoming, Lock)>>;

/// A subscription that is received from.
///
/// Its requests are tasks, which end with it: they go on while nobody asks for a message, so that no
/// answer is overdue only because nobody looked.
pub(crate) struct Puller {
    receiver: SubscriptionReceiver,
    /// What the service is asked to wait for a message.
    wait: Duration,
    /// What came with the request that asked whether there is such a subscription.
    first: Option<(Incoming, Lock)>,
    pulls: JoinSet<Pulled>,
    completions: JoinSet<Result<()>>,
    /// How many pulls there are to be.
    want: usize,
    /// What a pull failed with, and until when the others may still come back: their messages are locked.
    failed: Option<(Error, Instant)>,
}

impl Puller {
    /// Asks once, without waiting. `None` if there is no such subscription.
    pub(super) async fn open(
        receiver: SubscriptionReceiver,
        liveness: Duration,
    ) -> Result<Option<Self>> {
        let first = match pull(&receiver, Duration::ZERO).await {
            Ok(first) => first,
            Err(Failed::Missing) => return Ok(None),
            Err(Failed::Error(error)) => return Err(error),
        };
        Ok(Some(Self {
            receiver,
            // A connection that is dead shows when the answer is overdue, and that within the
            // liveness time.
            wait: Duration::from_secs((liveness.as_secs() / 2).max(1)),
            first,
            pulls: JoinSet::new(),
            completions: JoinSet::new(),
            want: 1,
            failed: None,
        }))
    }

    /// Sends the pulls that there are to be.
    fn fill(&mut self) {
        while self.failed.is_none() && self.pulls.len() < self.want {
            let (receiver, wait) = (self.receiver.clone(), self.wait);
            self.pulls.spawn(async move {
                pull(&receiver, wait).await.map_err(|failed| match failed {
                    Failed::Missing => Error::new(
                        ErrorKind::Broker,
                        "servicebus: the subscription was deleted",
                    ),
                    Failed::Error(error) => error,
                })
            });
        }
    }

    /// Takes what a pull came back with.
    fn pulled(&mut self, pulled: Result<Pulled, JoinError>) -> Option<(Incoming, Lock)> {
        match pulled.map_err(broke).and_then(|pulled| pulled) {
            Ok(Some(message)) => {
                self.want = (self.want * 2).min(MAX_PULLS);
                Some(message)
            }
            Ok(None) => {
                self.want = 1;
                None
            }
            Err(error) => {
                let until = Instant::now() + PATIENCE;
                self.failed.get_or_insert((error, until));
                None
            }
        }
    }

    /// Why it ends, once nothing comes back any more.
    fn take_failed(&mut self) -> Option<Error> {
        let (_, until) = self.failed.as_ref()?;
        let over = self.pulls.is_empty() || Instant::now() >= *until;
        over.then(|| self.failed.take().map(|(error, _)| error))?
    }
}

impl Receiver for Puller {
    type Lock = Lock;

    async fn next(&mut self) -> Result<(Incoming, Lock)> {
        if let Some(first) = self.first.take() {
            self.want = 2;
            return Ok(first);
        }
        loop {
            self.fill();
            if let Some(error) = self.take_failed() {
                return Err(error);
            }
            let until = self.failed.as_ref().map(|(_, until)| *until);
            tokio::select! {
                biased;
                Some(completed) = self.completions.join_next() => completed.map_err(broke)??,
                Some(pulled) = self.pulls.join_next() => {
                    if let Some(message) = self.pulled(pulled) {
                        return Ok(message);
                    }
                }
                () = reached(until) => {}
            }
        }
    }

    fn more(&mut self) -> Option<Result<(Incoming, Lock)>> {
        self.fill();
        let pulled = self.pulls.try_join_next()?;
        self.pulled(pulled).map(Ok)
    }

    async fn complete(&mut self, locks: Vec<Lock>) -> Result<()> {
        for lock in locks {
            self.completions.spawn(lock.complete());
        }
        // They go on beside the next pulls, until there are too many of them.
        while self.completions.len() > MAX_COMPLETIONS
            && let Some(completed) = self.completions.join_next().await
        {
            completed.map_err(broke)??;
        }
        Ok(())
    }

    async fn peek(&mut self, _: i64, _: i64) -> Result<Option<Vec<Incoming>>> {
        Ok(None)
    }
}

/// A message that is locked. If it is dropped without having been completed, it is given back, so that
/// whoever receives next need not wait until the lock ends.
pub(crate) struct Lock {
    response: Option<PeekLockResponse>,
}

impl Lock {
    async fn complete(mut self) -> Result<()> {
        let Some(response) = &self.response else {
            return Ok(());
        };
        let deleted = response.delete_message().await;
        // Whatever came of it: giving it back would not help.
        self.response = None;
        match deleted {
            Ok(_) => Ok(()),
            // The lock had ended. The message comes again, and is known.
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => match without_outcome(error) {
                // Refused, as by a service that is busy: likewise, when the lock ends. To end what receives would
                // cost it more requests.
                error if error.kind() == ErrorKind::Broker => {
                    tracing::debug!(%error, "a message could not be completed, and will come again");
                    Ok(())
                }
                error => Err(error),
            },
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let (Some(response), Ok(runtime)) = (self.response.take(), Handle::try_current()) {
            runtime.spawn(async move {
                // If this does not work, the lock ends by itself.
                let _ = timeout(PATIENCE, response.unlock_message()).await;
            });
        }
    }
}

/// Resolves at this time, or never.
async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// A request that did not come to its end: the runtime does, or there is a defect.
fn broke(error: JoinError) -> Error {
    Error::new(ErrorKind::Unavailable, "a request to servicebus broke off").with_source(error)
}

enum Failed {
    /// There is no such subscription.
    Missing,
    Error(Error),
}

/// Asks for a message.
async fn pull(
    receiver: &SubscriptionReceiver,
    wait: Duration,
) -> Result<Option<(Incoming, Lock)>, Failed> {
    let response = match receiver.peek_lock_message2(Some(wait)).await {
        Ok(response) => response,
        Err(error) if is_missing(&error) => return Err(Failed::Missing),
        Err(error) => return Err(Failed::Error(without_outcome(error))),
    };
    if *response.status() == StatusCode::NoContent {
        return Ok(None);
    }
    let incoming = read(&response).map_err(Failed::Error)?;
    let lock = Lock {
        response: Some(response),
    };
    Ok(Some((incoming, lock)))
}

fn read(response: &PeekLockResponse) -> Result<Incoming> {
    // Headers from headers: that cannot fail.
    let headers: Headers = response
        .custom_properties()
        .map_err(|_| no_message("has no properties"))?;
    let properties = headers.get_optional_str(&OURS.into());
    let properties: Value = properties
        .and_then(|text| serde_json::from_str(text).ok())
        .ok_or_else(|| no_message("has no properties"))?;
    let number = |name: &str| properties.get(name).and_then(Value::as_i64);
    let body = STANDARD.decode(response.body());
    Ok(Incoming {
        number: number("EnqueuedSequenceNumber")
            .ok_or_else(|| no_message("has no number of its topic"))?,
        sequence: number("SequenceNumber").ok_or_else(|| no_message("has no number"))?,
        // Counted with this one here, and without it in AMQP.
        deliveries: number("DeliveryCount")
            .and_then(|count| u32::try_from(count - 1).ok())
            .unwrap_or(0),
        body: Bytes::from(body.map_err(|_| no_message("has no body"))?),
    })
}
