//! Atomics for the rest of the engine (loom's under `cfg(loom)`), and the one way to sleep.
//!
//! An [`Event`] sleeps on a futex: no descriptor, no timer ticks, and a signal ends the sleep at once. Before it
//! sleeps it looks on for a moment, as long as that pays: where threads answer each other in turn, most
//! answers come sooner than a sleep and a wake-up would take.

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

use std::cell::Cell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
    luck: Luck,
}

/// How long a waiter looks on before it sleeps: about what sleeping and waking cost.
const GLANCE: Duration = Duration::from_micros(10);

/// Whether it pays to look on for a moment before sleeping, learnt from the last waits.
///
/// Several waiters count together, and may overwrite each other's counting: it is a guess in any case.
#[derive(Debug, Default)]
pub(crate) struct Luck {
    /// Waits in a row that were not over within a glance.
    vain: std::sync::atomic::AtomicU32,
}

impl Luck {
    /// So many waits in vain, and waiters sleep at once...
    const TRUST: u32 = 2;

    /// ...but for one in so many.
    const RETRY: u32 = 64;

    /// Looks on for `patience`, or without any for a `glance` if that has paid lately; at most until
    /// `deadline`. `None`: go to sleep now.
    ///
    /// Who was patient in vain is as good as interrupted first, once: a signal handler that ran meanwhile
    /// would not end the sleep. A glance is too short to ask for that.
    pub(crate) fn look_on(
        &self,
        glance: Duration,
        patience: Duration,
        deadline: Option<Instant>,
        mut look: impl FnMut() -> bool,
    ) -> Option<Woken> {
        use std::sync::atomic::Ordering::Relaxed;
        thread_local! {
            static PATIENCE_USED_UP: Cell<bool> = const { Cell::new(false) };
        }
        if !patience.is_zero() {
            if PATIENCE_USED_UP.take() {
                return None;
            }
            if look_until(patience, deadline, look) {
                return Some(Woken::Signalled);
            }
            PATIENCE_USED_UP.set(true);
            return Some(Woken::Interrupted);
        }
        let vain = self.vain.load(Relaxed);
        let found = (vain < Self::TRUST || vain.is_multiple_of(Self::RETRY))
            && look_until(glance, deadline, &mut look);
        let vain = if found { 0 } else { vain.wrapping_add(1) };
        self.vain.store(vain, Relaxed);
        found.then_some(Woken::Signalled)
    }
}

/// Whether there is a single processor, so that nothing happens while a thread looks on.
fn is_alone() -> bool {
    use std::sync::atomic::Ordering::Relaxed;
    /// 0 until somebody asked: then the number of processors. No lock: a process that forks while another of its
    /// threads asks would leave it locked in the child.
    static PROCESSORS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let mut count = PROCESSORS.load(Relaxed);
    if count == 0 {
        count = std::thread::available_parallelism().map_or(usize::MAX, usize::from);
        PROCESSORS.store(count, Relaxed);
    }
    count == 1
}

/// Calls `look` again and again, for `span` but at most until `deadline`: whether it said true.
fn look_until(span: Duration, deadline: Option<Instant>, mut look: impl FnMut() -> bool) -> bool {
    /// Looks between two looks at the clock.
    const LOOKS: u32 = 16;
    if is_alone() {
        return false;
    }
    let until = Instant::now() + span;
    let until = deadline.map_or(until, |deadline| deadline.min(until));
    loop {
        for _ in 0..LOOKS {
            if look() {
                return true;
            }
            std::hint::spin_loop();
        }
        if Instant::now() >= until {
            return false;
        }
    }
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
        self.wait_patiently(seen, Duration::ZERO, deadline)
    }

    /// The same, but looks on for `patience` before it sleeps, and is as good as interrupted in between.
    pub(crate) fn wait_patiently(
        &self,
        seen: u32,
        patience: Duration,
        deadline: Option<Instant>,
    ) -> Woken {
        use rustix::io::Errno;
        use std::sync::atomic::Ordering::SeqCst;
        let look = || self.epoch() != seen;
        if let Some(woken) = self.luck.look_on(GLANCE, patience, deadline, look) {
            return woken;
        }
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

    #[test]
    fn waiters_that_looked_on_in_vain_sleep_at_once_until_a_glance_pays_again() {
        let luck = Luck::default();
        let mut looks = 0;
        let mut wait = |there| {
            let before = looks;
            let woken = luck.look_on(GLANCE, Duration::ZERO, None, || {
                looks += 1;
                there
            });
            (woken, looks > before)
        };
        if !wait(true).1 {
            return; // a single processor
        }
        for waits in 0..2 * Luck::RETRY {
            let looked = waits < Luck::TRUST || waits == Luck::RETRY;
            assert_eq!(wait(false), (None, looked), "wait {waits}");
        }
        assert_eq!(wait(true), (Some(Woken::Signalled), true));
        assert_eq!(wait(false), (None, true), "trusted again");
    }

    #[test]
    fn looking_on_ends_with_the_deadline() {
        let event = Event::default();
        let (start, long) = (Instant::now(), Duration::from_secs(3600));
        let deadline = start + Duration::from_millis(2);
        let wait = || event.wait_patiently(event.epoch(), long, Some(deadline));
        assert_eq!(wait(), Woken::Interrupted, "looked on in vain");
        assert_eq!(wait(), Woken::TimedOut);
        assert!(start.elapsed() < long);
    }

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
