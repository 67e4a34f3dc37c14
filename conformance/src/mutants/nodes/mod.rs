//! Mutants of the node itself: what a careless core would do above a sound backend.

mod calls;
mod lockstep;
mod pumps;
mod readers;
mod tails;

use std::sync::atomic::AtomicUsize;

use self::{
    calls::{Closes, Publishes, Slow},
    lockstep::Lockstep,
    pumps::{Buffer, Pumps},
    readers::{Competing, Entangled, WaitsForReaders},
    tails::{Fault, Tails},
};
use super::{Mutant, MutantTarget, hook::hooked};

pub(super) const MUTANTS: &[Mutant] = &[
    Mutant::new(
        "silent-floor-jump",
        "goes on at the oldest message without a word about those that are gone",
        &["E08", "F01", "I13", "P03", "P07"],
        |target| MutantTarget::layer(target, Tails(Fault::NoGaps)),
    ),
    Mutant::new(
        "gap-off-by-one",
        "ends a gap one message early",
        &["E08", "F01", "P03"],
        |target| MutantTarget::layer(target, Tails(Fault::ShortGaps)),
    ),
    Mutant::new(
        "silent-reset",
        "does not say that the sequence starts anew",
        &["E09", "E10", "J07", "P08"],
        |target| MutantTarget::layer(target, Tails(Fault::NoResets)),
    ),
    Mutant::new(
        "swap-adjacent",
        "gives two neighbouring messages the wrong way round",
        &["C05", "G02", "G03", "G04", "G11", "H05"],
        |target| MutantTarget::layer(target, Tails(Fault::Swaps)),
    ),
    Mutant::new(
        "drop-first",
        "loses the first message of a subscription",
        &[
            "D01", "D03", "D04", "D06", "D09", "D10", "E07", "E12", "L05", "L06", "L09", "M08",
            "N08", "N09",
        ],
        |target| MutantTarget::layer(target, Tails(Fault::NoFirst)),
    ),
    Mutant::new(
        "drop-on-slow",
        "drops what does not fit into a slow subscription's buffer, silently",
        &["H04", "H05"],
        |target| MutantTarget::layer(target, Pumps(Buffer::Drops)),
    ),
    Mutant::new(
        "unbounded-buffer",
        "keeps everything for a slow subscription, however much that is",
        &["H03"],
        |target| MutantTarget::layer(target, Pumps(Buffer::Grows)),
    ),
    Mutant::new(
        "lose-on-cancelled-next",
        "takes an event before it can be given, and forgets it when the wait is given up",
        &["N04"],
        |target| MutantTarget::layer(target, Tails(Fault::LosesOnCancel)),
    ),
    Mutant::new(
        "in-lockstep",
        "makes every subscription wait for the slowest",
        &["H01"],
        |target| MutantTarget::layer(target, Lockstep::readers()),
    ),
    Mutant::new(
        "publishers-wait",
        "makes publishers wait for the slowest subscription",
        &["H02", "H09"],
        |target| MutantTarget::layer(target, Lockstep::publishers()),
    ),
    Mutant::new(
        "competing-readers",
        "shares the messages out among the subscriptions of a topic",
        &["D04", "D09"],
        |target| MutantTarget::layer(target, Competing::default()),
    ),
    Mutant::new(
        "unsubscribe-all",
        "ends every subscription of a topic when one is dropped",
        &["L02", "L07", "L09", "D09"],
        |target| MutantTarget::layer(target, Entangled::default()),
    ),
    Mutant::new(
        "hang-on-close",
        "waits until every subscription is dropped before it closes",
        &["M02", "M05"],
        |target| MutantTarget::layer(target, WaitsForReaders::default()),
    ),
    Mutant::new(
        "close-drops-queue",
        "closes without flushing",
        &["M01"],
        // Over a backend that takes its time, or there is nothing left to flush.
        |target| hooked(target, Slow).with_layer(Closes::Abruptly),
    ),
    Mutant::new(
        "zombie",
        "goes on after it was closed",
        &["M03", "M06"],
        |target| MutantTarget::layer(target, Closes::Never),
    ),
    Mutant::new(
        "closes-once",
        "fails when it is closed again",
        &["M04"],
        |target| MutantTarget::layer(target, Closes::Once(AtomicUsize::new(0))),
    ),
    Mutant::new(
        "vague-errors",
        "reports every failure as the broker's, with an unknown outcome",
        &["A08", "C04", "H07", "M03"],
        |target| MutantTarget::layer(target, Publishes::Vaguely),
    ),
    Mutant::new(
        "eager-publish",
        "publishes before the future is polled",
        &["N01"],
        |target| MutantTarget::layer(target, Publishes::Eagerly),
    ),
];
