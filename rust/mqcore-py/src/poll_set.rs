//! `_core.PollSet`: the sockets and descriptors of a `Poller`, watched by the engine.

use mqcore::Errno;
use pyo3::prelude::*;

use crate::handle::generation;
use crate::poll::deadline;
use crate::socket::Socket;
use crate::waiting::interruptible;

/// Sockets and descriptors that are watched together; see `mqcore.Poller`.
#[pyclass(frozen, module = "mqcore._core")]
pub(crate) struct PollSet {
    /// Invariant: `Some` until the drop.
    set: Option<mqcore::PollSet>,
    generation: u32,
}

impl PollSet {
    /// The engine's set; `None` in a child of the process that made it.
    fn set(&self) -> Option<&mqcore::PollSet> {
        if self.generation == generation() {
            self.set.as_ref()
        } else {
            None
        }
    }
}

#[pymethods]
impl PollSet {
    #[new]
    fn new() -> Self {
        Self {
            set: Some(mqcore::PollSet::new()),
            generation: generation(),
        }
    }

    /// Watches a socket for the events `flags`; the key that stands for it, or None if it cannot be watched.
    /// Keys rise.
    fn insert(&self, py: Python<'_>, socket: &Socket, flags: i32) -> Option<usize> {
        let engine = socket.engine(py).ok()?;
        Some(self.set()?.insert(engine.clone(), flags))
    }

    /// Watches a descriptor for the events `flags`, in the same way.
    fn insert_fd(&self, fd: i32, flags: i32) -> Option<usize> {
        self.set()?.insert_fd(fd, flags).ok()
    }

    /// Wants other events of what `key` stands for.
    fn modify(&self, key: usize, flags: i32) {
        if let Some(set) = self.set() {
            set.modify(key, flags);
        }
    }

    /// Watches it no more.
    fn remove(&self, key: usize) {
        if let Some(set) = self.set() {
            set.remove(key);
        }
    }

    /// Waits at most `timeout` milliseconds (None: for ever): keys and events, in the order of the keys. None
    /// in a forked child, and while another thread waits for the descriptors.
    #[pyo3(signature = (timeout=None))]
    fn poll(
        &self,
        py: Python<'_>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<Vec<(usize, i32)>>> {
        let deadline = deadline(timeout)?;
        match self.set() {
            Some(set) => interruptible(py, || match set.poll(deadline) {
                Err(error) if error.errno() == Errno::BUSY => Ok(None),
                result => result.map(Some),
            }),
            None => Ok(None),
        }
    }
}

impl Drop for PollSet {
    fn drop(&mut self) {
        if self.generation != generation() {
            // Its locks may be held by threads that are not here: it is left where it is.
            std::mem::forget(self.set.take());
        }
    }
}
