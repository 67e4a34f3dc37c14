//! Sending: a task for each topic, which owns the link and is fed by a queue. So an append that is
//! given up half way leaves no half message on the link.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use fe2o3_amqp::{
    Sender,
    link::{SendError, delivery::DeliveryFut},
};
use fe2o3_amqp_types::{
    definitions::SenderSettleMode,
    messaging::{Data, Message, Outcome},
};
use scaleout_core::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot};

use super::{
    error::{Refused, of_peer, of_send, of_sender_attach},
    link::Link,
    message,
    request::link_name,
};
use crate::{
    error::lost,
    transport::{Outgoing, Sent},
};

/// Messages that may wait for one link. The core has one frame of a log on its way.
const QUEUE: usize = 64;

/// The tasks' queues, by topic.
#[derive(Default)]
pub(super) struct Senders(Mutex<HashMap<String, mpsc::Sender<Job>>>);

struct Job {
    message: Message<Data>,
    reply: oneshot::Sender<Result<Pending, Refused>>,
}

/// A message on its way, and the answer to it.
type Pending = DeliveryFut<Result<Outcome, SendError>>;

impl Link {
    /// Sends a message, and waits for the service's answer.
    pub(super) async fn send(self: &Arc<Self>, topic: &str, message: Outgoing) -> Result<Sent> {
        let (reply, sent) = oneshot::channel();
        let job = Job {
            message: message::outgoing(message),
            reply,
        };
        // A queue that is closed belongs to a link that has ended since: once more, with another one.
        let job = match self.sender(topic).send(job).await {
            Ok(()) => None,
            Err(mpsc::error::SendError(job)) => Some(job),
        };
        if let Some(job) = job
            && self.sender(topic).send(job).await.is_err()
        {
            return Err(lost());
        }
        let pending = match sent.await {
            Ok(Ok(pending)) => pending,
            Ok(Err(Refused::Missing)) => return Ok(Sent::NoTopic),
            Ok(Err(Refused::Other(error))) => return Err(error),
            Err(_) => return Err(lost().with_unknown_outcome()),
        };
        let outcome = pending.await;
        of_outcome(outcome.map_err(|error| of_send(&error).with_unknown_outcome())?)
    }

    /// The queue of a topic's task, which is started if it does not run.
    fn sender(self: &Arc<Self>, topic: &str) -> mpsc::Sender<Job> {
        let mut senders = self
            .senders
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = senders.get(topic)
            && !sender.is_closed()
        {
            return sender.clone();
        }
        let (sender, jobs) = mpsc::channel(QUEUE);
        senders.insert(topic.to_owned(), sender.clone());
        drop(senders);
        let (link, topic) = (Arc::downgrade(self), topic.to_owned());
        self.spawn(async move { run(link, topic, jobs).await });
        sender
    }
}

/// Sends what comes, until the link ends.
async fn run(link: Weak<Link>, topic: String, mut jobs: mpsc::Receiver<Job>) {
    let Some(strong) = link.upgrade() else { return };
    let attached = attach(&strong, &topic).await;
    drop(strong);
    let mut sender = match attached {
        Ok(sender) => sender,
        Err(refused) => {
            jobs.close();
            while let Some(job) = jobs.recv().await {
                let _ = job.reply.send(Err(refused.duplicate()));
            }
            return;
        }
    };
    loop {
        let job = tokio::select! {
            // The service ended the link. What is on its way fails when it is dropped.
            _ = sender.on_detach() => return,
            job = jobs.recv() => job,
        };
        let Some(job) = job else { return };
        let sent = sender.send_batchable(job.message).await;
        let ended = match &sent {
            Ok(_) | Err(SendError::MessageSizeExceeded(_)) => false,
            Err(_) => true,
        };
        let sent = sent.map_err(|error| {
            let told = of_send(&error);
            Refused::Other(match ended {
                true => told.with_unknown_outcome(),
                false => told,
            })
        });
        // Whoever waited may have gone.
        let _ = job.reply.send(sent);
        if ended {
            return;
        }
    }
}

async fn attach(link: &Link, topic: &str) -> Result<Sender, Refused> {
    link.sending.claim(topic).await?;
    let mut session = link.sending.session().await?;
    Sender::builder()
        .name(link_name("sender"))
        .sender_settle_mode(SenderSettleMode::Unsettled)
        .target(topic)
        .attach(&mut session)
        .await
        .map_err(|error| of_sender_attach(&error))
}

fn of_outcome(outcome: Outcome) -> Result<Sent> {
    let why = match outcome {
        Outcome::Accepted(_) => return Ok(Sent::Stored),
        Outcome::Rejected(rejected) => match rejected.error {
            Some(error) => return Err(of_peer(&error)),
            None => "rejected",
        },
        Outcome::Released(_) => "released",
        Outcome::Modified(_) => "modified",
    };
    Err(Error::new(
        ErrorKind::Broker,
        format!("servicebus did not take the message: {why}"),
    ))
}
