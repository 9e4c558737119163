//! What a thread puts off while it holds a lock that others want (Python's): waking them, and writing what is long.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Duration;

use super::Signals;

/// Threads that wait for a socket.
pub(super) struct Sleepers {
    pub(super) signals: Arc<Signals>,
    pub(super) readable: bool,
    pub(super) writable: bool,
}

/// What is put off while a thread holds locks that others want.
#[derive(Default)]
struct Held {
    sleepers: Vec<Sleepers>,
    /// A connection with something to be written that takes its time.
    writer: Option<Arc<dyn ByHand>>,
}

/// A connection that the caller writes to by its own hand.
pub(crate) trait ByHand: Send + Sync {
    /// Writes what was sent; it may wait for room, for `longest`. How long it has waited.
    fn write(&self, longest: Duration) -> Duration;
}

/// What a thread puts off now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Nothing,
    Wakes,
    WakesAndWrites,
}

/// What one thread keeps back.
struct Hold {
    holds: Cell<Holds>,
    /// Something is held.
    any: Cell<bool>,
    // Empty whenever no hold is active, so a thread that ends has nothing to drop here; without a
    // destructor the variable costs one look-up.
    held: ManuallyDrop<RefCell<Held>>,
}

impl Hold {
    /// Ends the hold; what was held.
    #[inline]
    fn end(&self) -> Option<HeldWakes> {
        self.holds.set(Holds::Nothing);
        self.any.replace(false).then(|| HeldWakes(self.held.take()))
    }
}

thread_local! {
    static HOLD: Hold = const {
        Hold {
            holds: Cell::new(Holds::Nothing),
            any: Cell::new(false),
            held: ManuallyDrop::new(RefCell::new(Held {
                sleepers: Vec::new(),
                writer: None,
            })),
        }
    };
}

/// Threads to be woken, and a long message to be written; dropping it does so.
pub struct HeldWakes(Held);

impl HeldWakes {
    /// Wakes and writes; if there is something to be written, the caller may wait for room as long as `longest` says. How
    /// long it has waited.
    pub(crate) fn settle(&mut self, longest: impl FnOnce() -> Duration) -> Duration {
        for sleepers in self.0.sleepers.drain(..) {
            if sleepers.readable {
                sleepers.signals.readable.wake();
            }
            if sleepers.writable {
                sleepers.signals.writable.wake();
            }
        }
        let writer = self.0.writer.take();
        writer.map_or(Duration::ZERO, |writer| writer.write(longest()))
    }
}

/// Calls `attempt`, and only notes the threads that it would wake; whoever is to be woken is returned.
///
/// For a caller that holds a lock which the woken thread will want (Python's): a thread woken under it
/// runs into it at once, and two more switches of threads follow. Nothing else is kept back: a thread that looks for
/// itself sees the news at once. Not to be nested.
#[inline]
pub fn hold_wakes<R>(attempt: impl FnOnce() -> R) -> (R, Option<HeldWakes>) {
    hold(Holds::Wakes, attempt)
}

/// The same for the sending of one message: if it is long, it may be left to the caller to write it afterwards.
#[inline]
pub fn hold_writes<R>(attempt: impl FnOnce() -> R) -> (R, Option<HeldWakes>) {
    hold(Holds::WakesAndWrites, attempt)
}

#[inline]
fn hold<R>(holds: Holds, attempt: impl FnOnce() -> R) -> (R, Option<HeldWakes>) {
    /// Ends the hold when `attempt` panics: then whoever was held is woken here.
    struct Panics<'a>(&'a Hold);
    impl Drop for Panics<'_> {
        fn drop(&mut self) {
            drop(self.0.end());
        }
    }
    HOLD.with(|hold| {
        hold.holds.set(holds);
        let panics = Panics(hold);
        let result = attempt();
        std::mem::forget(panics);
        (result, hold.end())
    })
}

impl Drop for HeldWakes {
    fn drop(&mut self) {
        self.settle(|| Duration::ZERO);
    }
}

/// Has `writer` called when this thread holds no lock any more that others want. False if it does not write, or has
/// another to call already: of a message to many each would delay the next.
pub(crate) fn put_off<W: ByHand + 'static>(writer: impl FnOnce() -> Option<Arc<W>>) -> bool {
    HOLD.with(|hold| {
        let mut held = hold.held.borrow_mut();
        if hold.holds.get() != Holds::WakesAndWrites || held.writer.is_some() {
            return false;
        }
        held.writer = writer().map(|writer| writer as Arc<dyn ByHand>);
        hold.any.set(true);
        held.writer.is_some()
    })
}

/// Whether this thread puts off waking others.
pub(super) fn is_holding() -> bool {
    HOLD.with(|hold| hold.holds.get() != Holds::Nothing)
}

/// Leaves sleepers to whoever holds the wakes of this thread.
pub(super) fn hold_back(sleepers: Sleepers) {
    HOLD.with(|hold| {
        hold.held.borrow_mut().sleepers.push(sleepers);
        hold.any.set(true);
    });
}
