//! Atomics for the rest of the engine (loom's under `cfg(loom)`), and the one way to sleep.
//!
//! An [`Event`] sleeps on a futex: no descriptor, no timer ticks, and a signal ends the sleep at once.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, fence};

/// Shared ownership that loom follows, for what it shall check.
#[cfg(loom)]
pub(crate) use loom::sync::Arc as CheckedArc;
#[cfg(not(loom))]
pub(crate) use std::sync::Arc as CheckedArc;

/// A cell that loom watches for concurrent access.
#[cfg(loom)]
pub(crate) use loom::cell::UnsafeCell as CheckedCell;

#[cfg(not(loom))]
pub(crate) struct CheckedCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> CheckedCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline]
    pub(crate) fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
        access(self.0.get())
    }
}

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Locks `mutex`, also after a panic in another holder: every critical section here leaves its data
/// whole at each step that could panic.
#[inline]
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// The event was signalled, or might have been: look again.
    Signalled,
    /// The deadline has passed.
    TimedOut,
    /// A signal handler ran on this thread.
    Interrupted,
}

/// Something that threads wait for, as a number that grows with every signal.
///
/// A waiter reads [`epoch`](Self::epoch), looks for work, and only then waits with the epoch it read:
/// a signal in between is never missed.
#[derive(Debug, Default)]
pub(crate) struct Event {
    epoch: std::sync::atomic::AtomicU32,
    sleepers: std::sync::atomic::AtomicU32,
}

impl Event {
    #[inline]
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Wakes every waiter; costs one atomic addition when there is none.
    #[inline]
    pub(crate) fn signal(&self) {
        if self.announce() {
            self.wake();
        }
    }

    /// The first half of a signal: who looks from now on sees it. True if somebody sleeps and must be
    /// woken.
    #[inline]
    pub(crate) fn announce(&self) -> bool {
        use std::sync::atomic::Ordering::SeqCst;
        self.epoch.fetch_add(1, SeqCst);
        self.sleepers.load(SeqCst) > 0
    }

    /// The second half: wakes who slept when it was announced.
    pub(crate) fn wake(&self) {
        let private = rustix::thread::futex::Flags::PRIVATE;
        let _ = rustix::thread::futex::wake(&self.epoch, private, i32::MAX as u32);
    }

    /// Sleeps until the epoch differs from `seen`, the deadline passes or a signal arrives.
    pub(crate) fn wait(&self, seen: u32, deadline: Option<Instant>) -> Woken {
        use rustix::io::Errno;
        use std::sync::atomic::Ordering::SeqCst;
        self.sleepers.fetch_add(1, SeqCst);
        let woken = loop {
            if self.epoch.load(SeqCst) != seen {
                break Woken::Signalled;
            }
            let timeout = match deadline {
                None => None,
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break Woken::TimedOut;
                    }
                    // A duration too long for the kernel is as good as no deadline.
                    rustix::time::Timespec::try_from(left).ok()
                }
            };
            let flags = rustix::thread::futex::Flags::PRIVATE;
            let slept = rustix::thread::futex::wait(&self.epoch, flags, seen, timeout.as_ref());
            if slept == Err(Errno::INTR) {
                break Woken::Interrupted;
            }
            // Woken, changed or timed out: the loop looks again.
        };
        self.sleepers.fetch_sub(1, SeqCst);
        woken
    }
}

/// Counts what is alive, so that somebody can wait until nothing is.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    count: std::sync::atomic::AtomicUsize,
    event: Event,
}

/// One that is alive; dropping it takes it off the tally.
#[derive(Debug)]
pub(crate) struct Alive(Arc<Tally>);

impl Tally {
    pub(crate) fn enter(self: &Arc<Self>) -> Alive {
        self.count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Alive(Arc::clone(self))
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Waits until the count is zero.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Woken {
        loop {
            let seen = self.event.epoch();
            if self.count() == 0 {
                return Woken::Signalled;
            }
            match self.event.wait(seen, deadline) {
                Woken::Signalled => {}
                ended => return ended,
            }
        }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        if self
            .0
            .count
            .fetch_sub(1, std::sync::atomic::Ordering::SeqCst)
            == 1
        {
            self.0.event.signal();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn signal_between_look_and_wait_is_not_missed() {
        let event = Event::default();
        let seen = event.epoch();
        event.signal();
        assert_eq!(event.wait(seen, None), Woken::Signalled);
    }

    #[test]
    fn waiter_sleeps_until_another_thread_signals() {
        let event = Arc::new(Event::default());
        let seen = event.epoch();
        let other = Arc::clone(&event);
        let thread = std::thread::spawn(move || other.signal());
        assert_eq!(event.wait(seen, None), Woken::Signalled);
        thread.join().unwrap();
    }

    #[test]
    fn deadline_ends_the_wait() {
        let event = Event::default();
        let deadline = Instant::now() + Duration::from_millis(2);
        assert_eq!(event.wait(event.epoch(), Some(deadline)), Woken::TimedOut);
        assert!(Instant::now() >= deadline);
    }
}
