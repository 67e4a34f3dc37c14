//! [`Waiting`]: who waits for which answer.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::mpsc;

/// Those who wait for answers, by the number of what they asked. `F` is whom they asked, `A` an answer.
#[derive(Debug)]
pub(super) struct Waiting<F, A> {
    next: AtomicU64,
    askers: Mutex<HashMap<u64, Asker<F, A>>>,
}

#[derive(Debug)]
struct Asker<F, A> {
    asked: F,
    answers: mpsc::UnboundedSender<A>,
}

/// A place among those who wait. Dropping it gives it up.
#[derive(Debug)]
pub(super) struct Place<'a, F, A> {
    pub(super) number: u64,
    pub(super) answers: mpsc::UnboundedReceiver<A>,
    waiting: &'a Waiting<F, A>,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    /// Nobody waits for it, or nobody does any more.
    Nobody,
    /// Somebody else was asked.
    NotAsked,
}

impl<F, A> Default for Waiting<F, A> {
    fn default() -> Self {
        Self {
            next: AtomicU64::new(1),
            askers: Mutex::default(),
        }
    }
}

impl<F: PartialEq, A> Waiting<F, A> {
    pub(super) fn wait(&self, asked: F) -> Place<'_, F, A> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answers) = mpsc::unbounded_channel();
        let asker = Asker {
            asked,
            answers: sender,
        };
        self.askers().insert(number, asker);
        Place {
            number,
            answers,
            waiting: self,
        }
    }

    pub(super) fn answer(&self, number: u64, by: &F, answer: A) -> Taken {
        match self.askers().get(&number) {
            None => Taken::Nobody,
            Some(asker) if asker.asked != *by => Taken::NotAsked,
            Some(asker) => {
                let _ = asker.answers.send(answer);
                Taken::Yes
            }
        }
    }
}

impl<F, A> Waiting<F, A> {
    fn askers(&self) -> MutexGuard<'_, HashMap<u64, Asker<F, A>>> {
        // Nothing that runs under the lock leaves the table half changed.
        self.askers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F, A> Drop for Place<'_, F, A> {
    fn drop(&mut self) {
        self.waiting.askers().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_finds_who_asked_for_it() {
        let waiting = Waiting::default();
        let mut place = waiting.wait("ada");
        assert_eq!(waiting.answer(place.number, &"bob", 1), Taken::NotAsked);
        assert_eq!(waiting.answer(place.number, &"ada", 2), Taken::Yes);
        assert_eq!(place.answers.try_recv(), Ok(2));
        let number = place.number;
        drop(place);
        assert_eq!(waiting.answer(number, &"ada", 3), Taken::Nobody);
    }
}
