//! Read: what a log holds after a position.

use scaleout_core::{LogName, Page, Position, Sequence};
use tokio::time::Instant;

use crate::{broker::Broker, config::Config};

impl Broker {
    pub(crate) fn read(
        &self,
        name: &LogName,
        after: Option<Position>,
        limit: usize,
        config: &Config,
        now: Instant,
    ) -> Page {
        let mut state = self.lock();
        let life = &state.log(name, config, now).life;
        let after = after
            .filter(|position| position.epoch == life.epoch)
            .map_or(Sequence::ZERO, |position| position.sequence);
        let mut messages = 0;
        let frames = life
            .after(after)
            .take_while(|frame| {
                let more = messages < limit;
                messages += frame.len as usize;
                more
            })
            .cloned()
            .collect();
        Page {
            epoch: life.epoch,
            floor: life.floor(),
            head: life.head,
            frames,
        }
    }
}
