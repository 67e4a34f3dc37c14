//! Reading a topic's history at the caller's own pace.

use std::sync::Arc;

use crate::{
    Backend, Entry, Error, Event, Gap, Position, Result, Topic, Unreadable,
    link::within,
    node::Node,
    order::{Item, Order},
};

/// Reads up to `limit` messages of `topic` after a position, gaps and resets among them.
pub(crate) async fn read(
    node: &Node,
    topic: &Topic,
    after: Position,
    limit: usize,
) -> Result<Vec<Event>> {
    let log = node.log_of(topic);
    let mut order = Order::resume(node.rules.clone(), after);
    let mut events = Events {
        topic,
        position: after,
        left: limit,
        events: Vec::new(),
    };
    let mut items = Vec::new();
    while events.left > 0 && order.wants() {
        if node.is_closing() {
            return Err(Error::closed());
        }
        // Where frames of other topics and older ones come along, a small page may hold nothing of it.
        let limit = match node.names_topics() || node.rules.lookback > 0 {
            true => node.options.page_messages,
            false => events.left.min(node.options.page_messages),
        };
        let read = node.backend.read(&log, Some(order.read_from()), limit);
        let page = within(node.options.request_timeout, read).await?;
        order.page(page, &mut items);
        items.drain(..).for_each(|item| events.take(item));
    }
    Ok(events.events)
}

struct Events<'t> {
    topic: &'t Topic,
    position: Position,
    left: usize,
    events: Vec<Event>,
}

impl Events<'_> {
    fn take(&mut self, item: Item) {
        let settles = item.settles();
        if self.left == 0 {
            return;
        }
        match item {
            Item::Frame(epoch, placed) => {
                let Ok(frame) = placed.frame else { return };
                for index in 0..placed.len {
                    let position = Position::new(epoch, placed.first.plus(u64::from(index)));
                    let other_topic = frame
                        .topic(index as usize)
                        .is_some_and(|topic| topic != self.topic);
                    if position.sequence <= self.position.sequence || other_topic {
                        continue;
                    }
                    if self.left == 0 {
                        return;
                    }
                    self.left -= 1;
                    let entry = Entry::new(self.topic.clone(), position, Arc::clone(&frame), index);
                    self.events.push(Event::Message(entry));
                }
            }
            Item::Gap(gap) => self
                .events
                .push(Event::Gap(Gap::new(gap.epoch, gap.first, gap.last))),
            Item::Reset(reset, _) => self.events.push(Event::Reset(reset)),
            Item::Unreadable(frame) => self.events.push(Event::Unreadable(Unreadable::new(
                frame.epoch,
                frame.first.max(self.position.sequence.next()),
                frame.last,
                frame.reason,
            ))),
        }
        self.position = settles;
    }
}
