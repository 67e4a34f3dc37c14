//! Follows one topic for as long as somebody here is interested in it.

use std::time::Duration;

use super::lost::LostReason;
use crate::{Backplane, Entry, ErrorKind, Event, Position, Sequence, Start, Subscription, Topic};

/// The wait before a topic is subscribed to anew after its subscription ended with an error. The
/// backplane reconnects by itself, so such errors are not about a broker that is away.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// What a topic brings.
#[derive(Debug)]
pub(super) enum Heard<'a> {
    Message(&'a Entry),
    /// The topic stands here now, and something before that is lost.
    Lost(Position, LostReason),
}

/// Hands every message of the topic to `hear`, until the backplane is closed.
///
/// What the backplane says it cannot deliver is logged, counted, and told to `hear`. It ends nothing:
/// clients that need every message resume by cursor.
pub(super) async fn follow(
    backplane: &Backplane,
    topic: &Topic,
    mut subscription: Subscription,
    mut hear: impl FnMut(Heard<'_>),
) {
    loop {
        // A topic that always has a message must not keep this thread from everything else.
        tokio::task::coop::consume_budget().await;
        match subscription.next().await {
            Some(Event::Message(entry)) => hear(Heard::Message(&entry)),
            Some(Event::Gap(gap)) => {
                metrics::counter!("scaleout_hub_gaps_total").increment(1);
                tracing::warn!(%topic, first = %gap.first, last = %gap.last, "clients of this hub missed messages");
                hear(Heard::Lost(
                    Position::new(gap.epoch, gap.last),
                    LostReason::Gap,
                ));
            }
            Some(Event::Reset(reset)) => {
                metrics::counter!("scaleout_hub_resets_total").increment(1);
                tracing::warn!(%topic, reason = ?reset.reason, "the broker began anew; clients of this hub may have missed messages");
                hear(Heard::Lost(
                    Position::new(reset.epoch, Sequence::ZERO),
                    LostReason::Reset,
                ));
            }
            Some(Event::Closed(Some(error))) => {
                tracing::error!(%topic, %error, "a hub lost its subscription; subscribing again");
                match subscribe_again(backplane, topic, &subscription).await {
                    Some(again) => subscription = again,
                    None => return,
                }
            }
            Some(Event::Closed(None)) | None => return,
            Some(Event::Unreadable(skipped)) => {
                metrics::counter!("scaleout_hub_unreadable_total").increment(1);
                tracing::warn!(%topic, reason = ?skipped.reason, "a hub skipped what it cannot read");
                hear(Heard::Lost(
                    Position::new(skipped.epoch, skipped.last),
                    LostReason::Unreadable,
                ));
            }
            Some(event) => tracing::warn!(%topic, ?event, "a hub skipped what it cannot read"),
        }
    }
}

/// Subscribes just after what was read last; `None` if the backplane is closed.
async fn subscribe_again(
    backplane: &Backplane,
    topic: &Topic,
    ended: &Subscription,
) -> Option<Subscription> {
    let mut wait = RETRY;
    loop {
        tokio::time::sleep(wait).await;
        let start = Start::After(ended.cursor());
        match backplane.subscribe(topic, start).await {
            Ok(subscription) => return Some(subscription),
            Err(error) if error.kind() == ErrorKind::Closed => return None,
            Err(error) => tracing::error!(%topic, %error, "a hub cannot subscribe"),
        }
        wait = (wait * 2).min(RETRY_MAX);
    }
}
