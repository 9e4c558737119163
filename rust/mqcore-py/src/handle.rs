//! The engine's objects as Python objects hold them: shared with shadows, numbered, and dead after a fork.
//!
//! A forked child has the parent's memory but none of its threads: a lock that one of them held stays
//! locked for ever. So nothing inherited is called or dropped in a child; it is left where it is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use pyo3::prelude::*;

/// Grows with every fork, in the child.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Tells the native module that this process is a forked child.
#[pyfunction]
pub(crate) fn _after_fork_in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// The number of forks that led to this process.
#[inline]
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// What the engine has, and what happens when no Python object refers to it any more.
pub(crate) trait Numbered: Sized + 'static {
    /// The live ones by number, for `shadow(number)`.
    fn registry() -> &'static Registry<Self>;
    /// Ends it, when the last reference goes.
    fn end(&self);
}

/// The live objects by number.
type Live<T> = Option<HashMap<usize, Weak<Handle<T>>>>;

/// Numbers that stand for objects, as libzmq's addresses do. A number is never used again.
pub(crate) struct Registry<T: Numbered> {
    /// One for each generation, in turn: a thread of the parent may have held the lock when this process was forked.
    live: [Mutex<Live<T>>; 4],
}

impl<T: Numbered> Registry<T> {
    pub(crate) const fn new() -> Self {
        Self {
            live: [const { Mutex::new(None) }; 4],
        }
    }

    fn lock(&self) -> MutexGuard<'_, Live<T>> {
        let turn = generation() as usize % self.live.len();
        self.live[turn]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The object that `number` stands for, if it is still there.
    pub(crate) fn find(&self, number: usize) -> Option<Arc<Handle<T>>> {
        self.lock().as_ref()?.get(&number)?.upgrade()
    }
}

/// One object of the engine.
pub(crate) struct Handle<T: Numbered> {
    /// Invariant: `Some` until the drop.
    object: Option<T>,
    number: usize,
    generation: u32,
}

impl<T: Numbered> Handle<T> {
    pub(crate) fn new(object: T) -> Arc<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        Arc::new(Self {
            object: Some(object),
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            generation: GENERATION.load(Ordering::Relaxed),
        })
    }

    /// The object; `None` in a child of the process that made it.
    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        if self.is_inherited() {
            return None;
        }
        self.object.as_ref()
    }

    /// Whether another process made this.
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        self.generation != GENERATION.load(Ordering::Relaxed)
    }

    /// The number that stands for this; it can be looked up from now on.
    pub(crate) fn number(self: &Arc<Self>) -> usize {
        T::registry()
            .lock()
            .get_or_insert_default()
            .entry(self.number)
            .or_insert_with(|| Arc::downgrade(self));
        self.number
    }
}

impl<T: Numbered> Drop for Handle<T> {
    fn drop(&mut self) {
        if self.is_inherited() {
            std::mem::forget(self.object.take());
            return;
        }
        if let Some(live) = T::registry().lock().as_mut() {
            live.remove(&self.number);
        }
        if let Some(object) = &self.object {
            object.end();
        }
    }
}
