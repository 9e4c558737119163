//! `_core.AsyncSocket`: sends and receives that return futures. What can be done at once is done here; what must wait
//! is Python's, in `mqcore._future`.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::loop_set::LoopSet;
use crate::socket::Socket;
use crate::types::{DONTWAIT, running_loop, truth};

/// A socket in an event loop; see `mqcore._future`.
#[pyclass(extends = Socket, subclass, frozen, module = "mqcore._core")]
pub(crate) struct AsyncSocket {
    place: Mutex<Option<Arc<Place>>>,
}

/// Where a socket is used.
struct Place {
    in_loop: Py<PyAny>,
    /// The thread on which the loop ran when the socket moved to it, as the loop itself names it: an object that the
    /// loop has for as long as it runs. `None` if it does not tell.
    run: Option<(ThreadId, Py<PyAny>)>,
    set: Py<LoopSet>,
    /// Those who wait to receive and to send: who comes now is not served before them.
    receiving: Py<PyAny>,
    sending: Py<PyAny>,
}

impl Place {
    /// Whether its loop is the one that runs on this thread.
    fn is_here(&self, py: Python<'_>) -> PyResult<bool> {
        if let Some((thread, run)) = &self.run {
            // Asking for the running loop is a system call in Python 3.11: a sixth of a profile of sends and receives.
            let same = self.in_loop.getattr(py, intern!(py, "_thread_id"))?.is(run);
            return Ok(same && *thread == thread::current().id());
        }
        Ok(running_loop(py)?.call0()?.is(&self.in_loop))
    }
}

/// The outcome of an attempt.
type Outcome<'py> = PyResult<Bound<'py, PyAny>>;

impl AsyncSocket {
    /// A future that is done with the outcome of `attempt`, if that need not wait. It is not made if others wait, if it
    /// is time for the loop's other tasks, or if the loop is another than before.
    #[inline]
    fn at_once<'py>(
        &self,
        py: Python<'py>,
        queue: impl FnOnce(&Place) -> &Py<PyAny>,
        attempt: impl FnOnce() -> Outcome<'py>,
    ) -> PyResult<AtOnce<'py>> {
        // Not locked in what follows, which may run Python code.
        let place = self
            .place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(place) = place else {
            return Ok(AtOnce::NotTried);
        };
        let set = place.set.get();
        if !place.is_here(py)? || queue(&place).bind(py).len()? > 0 || set.is_spent() {
            return Ok(AtOnce::NotTried);
        }
        let future = set.future(py, attempt())?;
        Ok(future.map_or(AtOnce::Tried, AtOnce::Done))
    }

    /// The same for a receive, but what a closed socket says is not for a future.
    #[inline]
    fn receive_at_once<'py>(
        slf: &Bound<'py, Self>,
        flags: i32,
        receive: impl FnOnce(&Socket) -> Outcome<'py>,
    ) -> PyResult<AtOnce<'py>> {
        let socket = slf.as_super().get();
        if flags & DONTWAIT != 0 || socket._closed() {
            return Ok(AtOnce::NotTried);
        }
        let attempt = || receive(socket);
        slf.get()
            .at_once(slf.py(), |place| &place.receiving, attempt)
    }

    /// The same for a send, unless there is a future in any case.
    #[inline]
    fn send_at_once<'py>(
        slf: &Bound<'py, Self>,
        flags: i32,
        send: impl FnOnce(&Socket) -> PyResult<Option<Py<PyAny>>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        if flags & DONTWAIT != 0 {
            return Ok(None);
        }
        let py = slf.py();
        let attempt = || send(slf.as_super().get()).map(|tracker| or_none(py, tracker));
        match slf.get().at_once(py, |place| &place.sending, attempt)? {
            AtOnce::Done(future) => Ok(Some(future)),
            AtOnce::Tried | AtOnce::NotTried => Ok(None),
        }
    }
}

/// What came of an attempt at once.
enum AtOnce<'py> {
    Done(Bound<'py, PyAny>),
    Tried,
    NotTried,
}

/// The object, or Python's None.
fn or_none(py: Python<'_>, object: Option<Py<PyAny>>) -> Bound<'_, PyAny> {
    object.map_or_else(|| py.None().into_bound(py), |object| object.into_bound(py))
}

#[pymethods]
impl AsyncSocket {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyClassInitializer<Self> {
        let place = Mutex::default();
        PyClassInitializer::from(Socket::default()).add_subclass(Self { place })
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        if let Ok(place) = self.place.try_lock()
            && let Some(place) = &*place
        {
            for object in [&place.in_loop, &place.receiving, &place.sending] {
                visit.call(object)?;
            }
            visit.call(&place.set)?;
            if let Some((_, run)) = &place.run {
                visit.call(run)?;
            }
        }
        Ok(())
    }

    /// Moves to a loop, with its set and the queues of those who wait to receive and to send.
    fn _settle_in(
        &self,
        py: Python<'_>,
        in_loop: Py<PyAny>,
        set: Py<LoopSet>,
        receiving: Py<PyAny>,
        sending: Py<PyAny>,
    ) -> PyResult<()> {
        let run = in_loop.getattr(py, intern!(py, "_thread_id")).ok();
        let runs_here = running_loop(py)?.call0()?.is(&in_loop);
        let place = Place {
            in_loop,
            run: run
                .filter(|run| runs_here && !run.is_none(py))
                .map(|run| (thread::current().id(), run)),
            set,
            receiving,
            sending,
        };
        let before = {
            let mut current = self.place.lock().unwrap_or_else(PoisonError::into_inner);
            current.replace(Arc::new(place))
        };
        drop(before); // which may run Python code
        Ok(())
    }

    /// Receives the next part of a message; see `mqcore.Socket.recv`. Returns a future of it.
    ///
    /// Errors are the future's, but ENOTSOCK for a closed socket is raised at once. RCVTIMEO counts. With
    /// DONTWAIT the future is done in any case.
    #[pyo3(signature = (flags=0, copy=true, track=false))]
    fn recv<'py>(
        slf: &Bound<'py, Self>,
        flags: i32,
        #[pyo3(from_py_with = truth)] copy: bool,
        #[pyo3(from_py_with = truth)] track: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let receive = |socket: &Socket| socket.recv(py, DONTWAIT, copy, track);
        let tried = match Self::receive_at_once(slf, flags, receive)? {
            AtOnce::Done(future) => return Ok(future),
            AtOnce::Tried => true,
            AtOnce::NotTried => false,
        };
        slf.call_method1(intern!(py, "_recv_later"), (flags, copy, track, tried))
    }

    /// Receives a whole message; see `mqcore.Socket.recv_multipart`. Returns a future of the list of its parts.
    ///
    /// Errors are those of `recv`.
    #[pyo3(signature = (flags=0, copy=true, track=false))]
    fn recv_multipart<'py>(
        slf: &Bound<'py, Self>,
        flags: i32,
        #[pyo3(from_py_with = truth)] copy: bool,
        #[pyo3(from_py_with = truth)] track: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let receive = |socket: &Socket| {
            let parts = socket.recv_multipart(py, DONTWAIT, copy, track);
            parts.map(Bound::into_any)
        };
        let tried = match Self::receive_at_once(slf, flags, receive)? {
            AtOnce::Done(future) => return Ok(future),
            AtOnce::Tried => true,
            AtOnce::NotTried => false,
        };
        let arguments = (flags, copy, track, tried);
        slf.call_method1(intern!(py, "_recv_multipart_later"), arguments)
    }

    /// Sends one part; see `mqcore.Socket.send`. Returns a future of what that returns, done when it is queued.
    ///
    /// Errors are the future's. SNDTIMEO counts. With DONTWAIT the future is done in any case.
    #[pyo3(signature = (data, flags=0, copy=true, track=false, routing_id=None, group=None))]
    fn send<'py>(
        slf: &Bound<'py, Self>,
        data: &Bound<'py, PyAny>,
        flags: i32,
        #[pyo3(from_py_with = truth)] copy: bool,
        #[pyo3(from_py_with = truth)] track: bool,
        routing_id: Option<&Bound<'py, PyAny>>,
        group: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let send =
            |socket: &Socket| socket.send(data, flags | DONTWAIT, copy, track, routing_id, group);
        if let Some(done) = Self::send_at_once(slf, flags, send)? {
            return Ok(done);
        }
        let arguments = (data, flags, copy, track, routing_id, group);
        slf.call_method1(intern!(py, "_send_later"), arguments)
    }

    /// Sends a message of several parts; see `mqcore.Socket.send_multipart`. Returns a future, as `send` does.
    #[pyo3(signature = (msg_parts, flags=0, copy=true, track=false, routing_id=None, group=None))]
    fn send_multipart<'py>(
        slf: &Bound<'py, Self>,
        msg_parts: &Bound<'py, PyAny>,
        flags: i32,
        #[pyo3(from_py_with = truth)] copy: bool,
        #[pyo3(from_py_with = truth)] track: bool,
        routing_id: Option<&Bound<'py, PyAny>>,
        group: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let send = |socket: &Socket| {
            socket.send_multipart(msg_parts, flags | DONTWAIT, copy, track, routing_id, group)
        };
        if let Some(done) = Self::send_at_once(slf, flags, send)? {
            return Ok(done);
        }
        let arguments = (msg_parts, flags, copy, track, routing_id, group);
        slf.call_method1(intern!(py, "_send_multipart_later"), arguments)
    }
}
