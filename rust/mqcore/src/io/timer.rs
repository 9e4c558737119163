//! Deadlines of one I/O thread.
//!
//! A deadline is never taken back: when it fires, its session says whether it still means anything.
//! Moving a deadline later, which every received message does to a heartbeat, thus costs nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// A min-heap of deadlines, each with the key of who set it.
#[derive(Default)]
pub(super) struct Timers(BinaryHeap<Reverse<(Instant, usize)>>);

impl Timers {
    pub(super) fn set(&mut self, deadline: Instant, key: usize) {
        self.0.push(Reverse((deadline, key)));
    }

    /// Takes a key whose deadline has come, and that deadline.
    pub(super) fn poll_due(&mut self, now: Instant) -> Option<(Instant, usize)> {
        let Reverse((deadline, _)) = *self.0.peek()?;
        if deadline > now {
            return None;
        }
        self.0.pop().map(|Reverse(due)| due)
    }

    /// How long until the next deadline.
    pub(super) fn until_next(&self, now: Instant) -> Option<Duration> {
        self.0
            .peek()
            .map(|Reverse((deadline, _))| deadline.saturating_duration_since(now))
    }
}

/// The deadlines in the heap under one key, the earliest last. One that was overtaken by an earlier one is still there
/// when that has come, and is not set again.
#[derive(Default)]
pub(super) struct Pending(Vec<Instant>);

impl Pending {
    /// Whether a deadline must be set, for all that are set are later; it counts as set then.
    pub(super) fn must_set(&mut self, deadline: Instant) -> bool {
        let first = self.0.last().is_none_or(|&set| deadline < set);
        if first {
            self.0.push(deadline);
        }
        first
    }

    /// A deadline was taken from the heap.
    pub(super) fn came(&mut self, deadline: Instant) {
        if self.0.last() == Some(&deadline) {
            self.0.pop();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_due_in_order_of_time() {
        let now = Instant::now();
        let mut timers = Timers::default();
        timers.set(now + Duration::from_secs(2), 2);
        timers.set(now + Duration::from_secs(1), 1);
        assert_eq!(timers.poll_due(now), None);
        assert_eq!(timers.until_next(now), Some(Duration::from_secs(1)));
        let later = now + Duration::from_secs(3);
        assert_eq!(timers.poll_due(later).map(|due| due.1), Some(1));
        assert_eq!(timers.poll_due(later).map(|due| due.1), Some(2));
        assert_eq!(timers.poll_due(later), None);
    }

    #[test]
    fn deadline_that_was_overtaken_is_set_once() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut pending = Pending::default();
        assert!(pending.must_set(at(30)));
        for second in 1..30 {
            assert!(pending.must_set(at(second)));
            assert!(!pending.must_set(at(second + 1)));
            pending.came(at(second));
            assert!(!pending.must_set(at(30)));
        }
        pending.came(at(30));
        assert!(pending.must_set(at(60)));
    }
}
