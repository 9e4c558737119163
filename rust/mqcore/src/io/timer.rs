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
}
