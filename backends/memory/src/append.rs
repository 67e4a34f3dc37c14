//! Append: recognise a repetition, number, keep, hand out.

use scaleout_core::{Appended, Arrival, EncodedFrame, LogName, Position, Result};
use tokio::time::Instant;

use crate::{broker::Broker, config::Config, publishers::Repetition};

impl Broker {
    pub(crate) fn append(
        &self,
        name: &LogName,
        frame: &EncodedFrame,
        config: &Config,
        now: Instant,
    ) -> Result<Appended> {
        frame.check_size(config.max_frame_bytes)?;
        let mut state = self.lock();
        let log = state.log(name, config, now);
        let life = &mut log.life;
        let epoch = life.epoch;
        let first = match life.publishers.check(frame.publisher(), frame.counter()) {
            Repetition::OfLast(first) => Some(first),
            Repetition::OfOlder => None,
            Repetition::None => {
                let stored = life.push(frame, config, now);
                let first = stored.first;
                life.publishers
                    .remember(frame.publisher(), frame.counter(), first);
                // Under the lock, so that listeners get frames in the order of their sequences. It
                // never waits: a listener that is full ends, one that is gone is taken out.
                log.listeners.retain(|listener| {
                    let frame = stored.clone();
                    listener.sender.send(Arrival::Frame { epoch, frame })
                });
                Some(first)
            }
        };
        Ok(Appended {
            first: first.map(|first| Position::new(epoch, first)),
        })
    }
}
