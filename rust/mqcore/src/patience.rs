//! How long it pays to wait for who is behind with long messages.
//!
//! A queue of long messages that grows beyond the caches makes every step of their way slower. Whoever writes them can
//! wait instead, and if the reader does nothing but read, that costs nothing: it would have been waited for later. But if
//! the reader has other things to do, who waits for it loses the time that the queue is there to save. So what is written
//! pays for the waiting: no more, on the average, than a reader would need that does nothing else.

use std::time::Duration;

/// What a kilobyte is worth: some times as long as it takes to read it.
const KILOBYTE: Duration = Duration::from_micros(1);

/// What can be saved up, for a time in which the machine does other things.
const MOST: Duration = Duration::from_millis(2);

/// A shorter wait costs more than it can bring.
const LEAST: Duration = Duration::from_micros(20);

/// The time that may be spent waiting.
#[derive(Debug, Default)]
pub(crate) struct Patience(Duration);

impl Patience {
    /// So many bytes were written.
    #[inline]
    pub(crate) fn earn(&mut self, bytes: usize) {
        let kilobytes = u32::try_from(bytes / 1024).unwrap_or(u32::MAX);
        self.0 = KILOBYTE
            .saturating_mul(kilobytes)
            .saturating_add(self.0)
            .min(MOST);
    }

    /// How long to wait now, if at all.
    pub(crate) fn left(&self) -> Option<Duration> {
        (self.0 >= LEAST).then_some(self.0)
    }

    /// So long was waited.
    pub(crate) fn spend(&mut self, span: Duration) {
        self.0 = self.0.saturating_sub(span);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn waits_are_paid_by_what_was_written() {
        let mut patience = Patience::default();
        assert_eq!(patience.left(), None);
        patience.earn(100 * 1024);
        assert_eq!(patience.left(), Some(Duration::from_micros(100)));
        patience.spend(Duration::from_micros(70));
        assert_eq!(patience.left(), Some(Duration::from_micros(30)));
        patience.spend(Duration::from_micros(11));
        assert_eq!(patience.left(), None);
        patience.spend(MOST);
        patience.earn(1000);
        assert_eq!(patience.left(), None, "it is never less than nothing");
        patience.earn(usize::MAX);
        assert_eq!(patience.left(), Some(MOST));
    }
}
