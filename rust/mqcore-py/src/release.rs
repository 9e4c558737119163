//! Telling Python that the engine no longer needs a buffer.
//!
//! The last reference may go on an I/O thread, which never enters the interpreter: it sets a flag, and only
//! a waiter, if there is one, costs a pipe.

use std::io::{PipeReader, PipeWriter, Write};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use mqcore::{POLLIN, PollItem, Pollable};
use pyo3::prelude::*;

use crate::poll;

#[derive(Default)]
struct State {
    released: bool,
    /// The pipe that waiters watch.
    bell: Option<(Arc<PipeReader>, PipeWriter)>,
}

#[derive(Default)]
struct Shared(Mutex<State>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Set when the last reference to a tracked payload is gone. Works like `threading.Event`.
#[pyclass(module = "mqcore._core", frozen, weakref)]
pub(crate) struct Release(Arc<Shared>);

#[pymethods]
impl Release {
    /// Whether the payload was released.
    fn is_set(&self) -> bool {
        let released = self.0.lock().released;
        if released {
            // What was let go of on another thread is given back now, if it was not before.
            Python::attach(|_| ());
        }
        released
    }

    /// Waits for the release, at most `timeout` seconds (None: for ever); whether it came.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let deadline = poll::deadline_in(timeout);
        let reader = {
            let mut state = self.0.lock();
            if state.released {
                drop(state);
                return Ok(self.is_set());
            }
            match &state.bell {
                Some((reader, _)) => Arc::clone(reader),
                None => {
                    let (reader, writer) = std::io::pipe()?;
                    let reader = Arc::new(reader);
                    state.bell = Some((Arc::clone(&reader), writer));
                    reader
                }
            }
        };
        let mut watched = [PollItem {
            target: Pollable::Fd(reader.as_raw_fd()),
            events: POLLIN,
            ready: 0,
        }];
        poll::wait(py, &mut watched, deadline)?;
        Ok(self.is_set())
    }
}

/// Owns a payload; its drop is the release.
struct Tracked<T> {
    /// `None` only in the drop.
    payload: Option<T>,
    shared: Arc<Shared>,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Tracked<T> {
    fn as_ref(&self) -> &[u8] {
        self.payload.as_ref().map_or(&[], T::as_ref)
    }
}

impl<T> Drop for Tracked<T> {
    fn drop(&mut self) {
        self.payload = None; // before it is said
        let mut state = self.shared.lock();
        state.released = true;
        if let Some((_, mut writer)) = state.bell.take() {
            // The pipe is empty: it takes a byte. Its end, right after, would wake the waiters too.
            let _ = writer.write(&[1]);
        }
    }
}

/// `payload` as a shared buffer, and the event that is set when its last reference goes.
pub(crate) fn tracked(payload: impl AsRef<[u8]> + Send + 'static) -> (Bytes, Release) {
    let shared = Arc::<Shared>::default();
    let release = Release(Arc::clone(&shared));
    let payload = Some(payload);
    (Bytes::from_owner(Tracked { payload, shared }), release)
}
