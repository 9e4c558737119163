//! `_core.LoopSet`: what an event loop needs of its sockets: one descriptor, and futures that are done.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use mqcore::Errno;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::raise;
use crate::handle::generation;
use crate::socket::Socket;
use crate::types::{again, getrefcount};

/// So many operations in a row are done at once. Then one waits for the loop's next turn, so that sockets that are
/// always ready let the loop's other tasks run.
const TURN: u32 = 256;

/// The sockets of an event loop: LoopSet(future_class, loop).
#[pyclass(frozen, weakref, module = "mqcore._core")]
pub(crate) struct LoopSet {
    /// Invariant: `Some` until the drop.
    set: Option<mqcore::LoopSet>,
    generation: u32,
    future_class: Py<PyAny>,
    /// What a future is made with: the loop.
    keywords: Py<PyDict>,
    /// Operations since the loop's last turn that is known of.
    done: AtomicU32,
    /// The last future that was done with None.
    of_none: Mutex<Option<Py<PyAny>>>,
}

impl Drop for LoopSet {
    fn drop(&mut self) {
        if self.generation != generation() {
            // Its locks may be held by threads that are not here: it is left where it is.
            std::mem::forget(self.set.take());
        }
    }
}

impl LoopSet {
    fn set(&self, py: Python<'_>) -> PyResult<&mqcore::LoopSet> {
        if self.generation != generation() {
            let detail =
                "the event loop was made before fork(); make a new one in the child process";
            return Err(raise(py, &mqcore::Error::new(Errno::NOTSOCK, detail)));
        }
        Ok(self.set.as_ref().expect("there until the drop"))
    }

    /// A future that is done with the outcome; `None` if that is Again.
    pub(crate) fn future<'py>(
        &self,
        py: Python<'py>,
        outcome: PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (setter, value) = match outcome {
            Ok(value) if value.is_none() => return self.future_of_none(py).map(Some),
            Ok(value) => (intern!(py, "set_result"), value),
            Err(error) if error.is_instance(py, again(py)?) => return Ok(None),
            Err(error) => (
                intern!(py, "set_exception"),
                error.into_value(py).into_bound(py).into_any(),
            ),
        };
        let future = self.new_future(py)?;
        future.call_method1(setter, (value,))?;
        Ok(Some(future))
    }

    /// A future that is done with None: the last one again, if nobody has it any more, so that nobody can tell.
    fn future_of_none<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let last = self
            .of_none
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let future = match last {
            Some(last) if references(py, &last)? == 1 => last.into_bound(py),
            _ => {
                let future = self.new_future(py)?;
                future.call_method1(intern!(py, "set_result"), (py.None(),))?;
                future
            }
        };
        let kept = future.clone().unbind();
        *self.of_none.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(future)
    }
}

/// How many references to an object there are.
fn references(py: Python<'_>, object: &Py<PyAny>) -> PyResult<isize> {
    getrefcount(py)?.call1((object,))?.extract()
}

#[pymethods]
impl LoopSet {
    #[new]
    fn new(py: Python<'_>, future_class: Py<PyAny>, r#loop: Py<PyAny>) -> PyResult<Self> {
        let keywords = PyDict::new(py);
        keywords.set_item("loop", r#loop)?;
        Ok(Self {
            set: Some(mqcore::LoopSet::new().map_err(|error| raise(py, &error))?),
            generation: generation(),
            future_class,
            keywords: keywords.unbind(),
            done: AtomicU32::new(0),
            of_none: Mutex::default(),
        })
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.future_class)?;
        visit.call(&self.keywords)
    }

    /// A future of the loop.
    fn new_future<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.future_class
            .bind(py)
            .call((), Some(self.keywords.bind(py)))
    }

    /// What the loop watches: readable when there is something to take.
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        Ok(self.set(py)?.fd().as_raw_fd())
    }

    /// Takes a socket in, for which nobody waits yet; the key that stands for it.
    fn insert(&self, py: Python<'_>, socket: &Socket) -> PyResult<usize> {
        Ok(self.set(py)?.insert(socket.engine(py)?.clone()))
    }

    /// Forgets a socket.
    fn remove(&self, py: Python<'_>, key: usize) {
        if let Ok(set) = self.set(py) {
            set.remove(key);
        }
    }

    /// Waits for `events` (POLLIN, POLLOUT; 0: for nothing) of a socket, once. Returns what is there already, POLLERR
    /// for a socket that has ended; then nothing is waited for.
    fn arm(&self, py: Python<'_>, key: usize, events: i32) -> PyResult<i32> {
        Ok(self.set(py)?.arm(key, events))
    }

    /// Waits for `events` of a socket, once, and tells of them after the next news even if they are there already.
    fn listen(&self, py: Python<'_>, key: usize, events: i32) -> PyResult<()> {
        self.set(py)?.listen(key, events);
        Ok(())
    }

    /// The loop has taken a turn: the keys of the sockets that are ready, with what is there. Nothing is waited for of
    /// these any more.
    fn take(&self, py: Python<'_>) -> PyResult<Vec<(usize, i32)>> {
        self.turn();
        Ok(self.set(py)?.take())
    }

    /// Whether the next operation, which is counted, shall wait for the loop's turn.
    pub(crate) fn is_spent(&self) -> bool {
        let done = self.done.load(Ordering::Relaxed);
        self.done.store(done.wrapping_add(1), Ordering::Relaxed);
        done >= TURN
    }

    /// The loop has taken a turn.
    fn turn(&self) {
        self.done.store(0, Ordering::Relaxed);
    }
}
