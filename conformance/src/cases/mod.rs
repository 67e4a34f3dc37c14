//! All cases, a list for each idea.

mod access;
mod batches;
mod cancel;
mod clocks;
mod common;
mod connection;
mod dedup;
mod dropped;
mod exhausted;
mod gaps;
mod history;
mod live;
mod lives;
mod load;
mod meta;
mod metered;
mod model;
mod names;
mod order;
mod outage;
mod payloads;
mod proxied;
mod receipts;
mod replies;
mod restart;
mod retention;
mod shutdown;
mod slow;
mod storm;
mod unsubscribe;
mod workload;

use crate::Case;

const LISTS: &[&[Case]] = &[
    receipts::CASES,
    batches::CASES,
    payloads::CASES,
    names::CASES,
    live::CASES,
    history::CASES,
    gaps::CASES,
    lives::CASES,
    dedup::CASES,
    replies::CASES,
    order::CASES,
    model::CASES,
    storm::CASES,
    slow::CASES,
    connection::CASES,
    outage::CASES,
    restart::CASES,
    access::CASES,
    unsubscribe::CASES,
    shutdown::CASES,
    cancel::CASES,
    dropped::CASES,
    clocks::CASES,
    retention::CASES,
    exhausted::CASES,
    meta::CASES,
];

/// All cases.
pub fn all() -> impl Iterator<Item = &'static Case> {
    LISTS.iter().copied().flatten()
}

/// The case of that id.
pub fn find(id: &str) -> Option<&'static Case> {
    all().find(|case| case.id == id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn every_id_is_used_once_and_looks_like_one() {
        let mut ids = BTreeSet::new();
        for case in super::all() {
            let (group, number) = case.id.split_at(1);
            assert!(group.bytes().all(|b| b.is_ascii_uppercase()), "{}", case.id);
            assert!(
                number.len() == 2 && number.bytes().all(|b| b.is_ascii_digit()),
                "{}",
                case.id
            );
            assert!(ids.insert(case.id), "{} is used twice", case.id);
            assert!(
                !case.title.is_empty() && !case.title.ends_with('.'),
                "{}",
                case.id
            );
        }
    }
}
