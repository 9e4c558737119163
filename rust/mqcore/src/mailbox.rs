//! News for one owner from any thread: a queue that costs one atomic load while it is empty.
//!
//! The queue wakes nobody; whoever posts also signals what the owner sleeps on, after the post.

use std::sync::Mutex;

use crate::sync::{AtomicBool, Ordering, lock};

/// A queue of `T` that any thread posts to and that is emptied by one thread at a time.
pub(crate) struct Mailbox<T> {
    queue: Mutex<Vec<T>>,
    /// True from a post until everything posted was handled, not only taken: who finds it false may
    /// rely on the effects.
    pending: AtomicBool,
    /// Held while items are handled; keeps the capacity of the last batch.
    handling: Mutex<Vec<T>>,
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Self {
        Self {
            queue: Mutex::new(Vec::new()),
            pending: AtomicBool::new(false),
            handling: Mutex::new(Vec::new()),
        }
    }

    /// Adds `item` at the end.
    pub(crate) fn post(&self, item: T) {
        let mut queue = lock(&self.queue);
        queue.push(item);
        self.pending.store(true, Ordering::Release);
    }

    /// Whether there is something that was not handled yet.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// Handles everything, in order. If another thread is at it, waits until it has finished.
    pub(crate) fn drain(&self, mut handle: impl FnMut(T)) {
        let mut batch = lock(&self.handling);
        loop {
            {
                let mut queue = lock(&self.queue);
                if queue.is_empty() {
                    self.pending.store(false, Ordering::Release);
                    return;
                }
                std::mem::swap(&mut *queue, &mut *batch);
            }
            batch.drain(..).for_each(&mut handle);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn items_come_out_in_order_and_once() {
        let mailbox = Mailbox::new();
        assert!(!mailbox.is_pending());
        mailbox.post(1);
        mailbox.post(2);
        assert!(mailbox.is_pending());
        let mut taken = Vec::new();
        mailbox.drain(|item| {
            assert!(mailbox.is_pending(), "pending until it was handled");
            taken.push(item);
        });
        assert_eq!(taken, [1, 2]);
        assert!(!mailbox.is_pending());
    }
}
