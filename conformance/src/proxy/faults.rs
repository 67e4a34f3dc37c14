use std::time::Duration;

use super::Direction;

/// What is broken now. The arrays have an element for each [`Direction`].
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// Counts [`Proxy::reset`](super::Proxy::reset): a link that sees it grow ends.
    pub(super) resets: u64,
    pub(super) refuse: bool,
    pub(super) blackhole: [bool; 2],
    /// How many bytes may still pass before a cut.
    pub(super) cut: [Option<u64>; 2],
    pub(super) cuts: u64,
    /// At least, and how much more at most.
    pub(super) delay: (Duration, Duration),
    pub(super) slice: bool,
    pub(super) garble: bool,
}

impl Faults {
    pub(super) fn heal(&mut self) {
        *self = Self {
            resets: self.resets,
            cuts: self.cuts,
            ..Self::default()
        };
    }

    /// Takes leave for up to `wanted` bytes, at least one.
    pub(super) fn pass(&mut self, direction: Direction, wanted: usize) -> Leave {
        let wanted = if self.slice { wanted.min(1) } else { wanted };
        let mut leave = Leave {
            bytes: wanted,
            cut: false,
            garble: self.garble && direction == Direction::FromBroker,
        };
        let cut = &mut self.cut[direction as usize];
        if let Some(left) = cut {
            leave.bytes = usize::try_from(*left).unwrap_or(usize::MAX).min(wanted);
            leave.cut = leave.bytes < wanted;
            *left -= leave.bytes as u64;
        }
        if leave.cut {
            *cut = None;
            self.cuts += 1;
        }
        leave
    }
}

/// What may pass now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Leave {
    pub(super) bytes: usize,
    /// The connection ends with them.
    pub(super) cut: bool,
    /// They arrive as something else.
    pub(super) garble: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(faults: &mut Faults, direction: Direction, wanted: usize) -> (usize, bool) {
        let leave = faults.pass(direction, wanted);
        (leave.bytes, leave.cut)
    }

    #[test]
    fn a_cut_comes_with_the_byte_after_the_last_that_may_pass() {
        let mut faults = Faults::default();
        faults.cut[Direction::ToBroker as usize] = Some(10);
        assert_eq!(pass(&mut faults, Direction::FromBroker, 100), (100, false));
        assert_eq!(pass(&mut faults, Direction::ToBroker, 7), (7, false));
        assert_eq!(pass(&mut faults, Direction::ToBroker, 3), (3, false));
        assert_eq!(pass(&mut faults, Direction::ToBroker, 1), (0, true));
        assert_eq!(pass(&mut faults, Direction::ToBroker, 1), (1, false));
        assert_eq!(faults.cuts, 1);
    }

    #[test]
    fn a_cut_in_the_middle_of_what_was_sent_lets_the_first_part_pass() {
        let mut faults = Faults::default();
        faults.cut[Direction::FromBroker as usize] = Some(4);
        assert_eq!(pass(&mut faults, Direction::FromBroker, 100), (4, true));
    }

    #[test]
    fn healing_keeps_counts() {
        let mut faults = Faults {
            cuts: 2,
            resets: 3,
            slice: true,
            ..Faults::default()
        };
        faults.heal();
        assert_eq!((faults.cuts, faults.resets, faults.slice), (2, 3, false));
    }
}
