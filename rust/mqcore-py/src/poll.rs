//! Waiting: for sockets and descriptors, until a deadline, with an ear for signals.

use std::time::{Duration, Instant};

use mqcore::{PollItem, Pollable};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyList};

use crate::socket::Socket;
use crate::waiting::interruptible;

/// Waits until one of `items` is ready; the count.
pub(crate) fn wait(
    py: Python<'_>,
    items: &mut [PollItem],
    deadline: Option<Instant>,
) -> PyResult<usize> {
    interruptible(py, || mqcore::poll(items, deadline))
}

/// When a call with `timeout` in milliseconds gives up; `None` and negative: never.
pub(crate) fn deadline(timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Instant>> {
    let Some(timeout) = timeout else {
        return Ok(None);
    };
    let milliseconds: f64 = timeout.extract()?;
    if milliseconds.is_nan() {
        return Err(PyValueError::new_err("the timeout is not a number"));
    }
    if milliseconds > f64::from(i32::MAX) {
        return Err(PyOverflowError::new_err(format!(
            "a timeout of {milliseconds} ms is too long; the longest is {} ms, None waits for ever",
            i32::MAX
        )));
    }
    Ok(deadline_in(Some(milliseconds / 1_000.0)))
}

/// `seconds` from now; `None`, negative and too far away: never.
pub(crate) fn deadline_in(seconds: Option<f64>) -> Option<Instant> {
    let span = Duration::try_from_secs_f64(seconds?).ok()?;
    Instant::now().checked_add(span)
}

/// What to poll for `object`: a socket, or the descriptor that stands for it.
fn pollable(object: &Bound<'_, PyAny>) -> PyResult<Pollable> {
    let py = object.py();
    if let Ok(socket) = object.cast::<Socket>() {
        return Ok(Pollable::Socket(socket.get().engine(py)?.clone()));
    }
    if object.is_instance_of::<PyInt>() {
        return Ok(Pollable::Fd(object.extract()?));
    }
    let Ok(fileno) = object.getattr(intern!(py, "fileno")) else {
        let shown = object.repr()?;
        return Err(PyTypeError::new_err(format!(
            "Socket must be a 0MQ socket, an integer fd or have a fileno() method: {shown}"
        )));
    };
    let fd = fileno.call0()?;
    match fd.extract() {
        Ok(fd) => Ok(Pollable::Fd(fd)),
        Err(_) => Err(PyValueError::new_err(
            "fileno() must return a valid integer fd",
        )),
    }
}

/// Polls sockets and descriptors.
///
/// `sockets` is a list of pairs: a socket, descriptor or object with fileno(), and the events wanted of it
/// (POLLIN, POLLOUT, POLLERR, POLLPRI). Waits at most `timeout` milliseconds, which may be a fraction; -1
/// and None are for ever. Returns the ready ones as pairs in the order given: the socket or the descriptor
/// number, and its events as an int. An empty list returns at once.
///
/// Raises ZMQError(ENOTSOCK) for a closed socket, ContextTerminated, TypeError for what cannot be polled, OverflowError
/// for a timeout above 2**31-1.
#[pyfunction]
#[pyo3(signature = (sockets, timeout=None))]
pub(crate) fn zmq_poll<'py>(
    py: Python<'py>,
    sockets: &Bound<'py, PyAny>,
    timeout: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyList>> {
    let deadline = deadline(timeout)?;
    let mut objects = Vec::new();
    let mut items = Vec::new();
    for pair in sockets.try_iter()? {
        let (object, events): (Bound<'py, PyAny>, i32) = pair?.extract()?;
        items.push(PollItem {
            target: pollable(&object)?,
            events,
            ready: 0,
        });
        objects.push(object);
    }
    let found = PyList::empty(py);
    if items.is_empty() || wait(py, &mut items, deadline)? == 0 {
        return Ok(found);
    }
    for (object, item) in objects.iter().zip(&items) {
        if item.ready == 0 {
            continue;
        }
        match &item.target {
            Pollable::Socket(_) => found.append((object, item.ready))?,
            Pollable::Fd(fd) => found.append((fd, item.ready))?,
        }
    }
    Ok(found)
}
