//! Calls of the engine: tried with the interpreter held, waited for without it, with an ear for signals.

use mqcore::{Errno, hold_wakes, hold_writes};
use pyo3::prelude::*;

use crate::error::raise;
use crate::types::DONTWAIT;

/// Whether a call that failed so should wait.
#[inline]
pub(crate) fn may_wait(flags: i32, error: &mqcore::Error) -> bool {
    flags & DONTWAIT == 0 && error.errno() == Errno::AGAIN
}

/// Tries with the interpreter held; the threads that this wakes are woken without it, since they want it.
#[inline]
pub(crate) fn at_once<R>(py: Python<'_>, attempt: impl FnOnce() -> R) -> R {
    let (result, wakes) = hold_wakes(attempt);
    if let Some(wakes) = wakes {
        py.detach(|| drop(wakes));
    }
    result
}

/// The same for a receiving call: one that does not wait looks twice, if a call before left something to be read.
#[inline]
pub(crate) fn receive_at_once<R>(
    py: Python<'_>,
    socket: &mqcore::Socket,
    flags: i32,
    attempt: impl Fn() -> mqcore::Result<R>,
) -> mqcore::Result<R> {
    let result = at_once(py, &attempt);
    match &result {
        Err(error) if flags & DONTWAIT != 0 && error.errno() == Errno::AGAIN => {
            look_twice(py, socket, &attempt).unwrap_or(result)
        }
        _ => result,
    }
}

/// Tries once more, if that is worth it.
#[cold]
fn look_twice<R>(
    py: Python<'_>,
    socket: &mqcore::Socket,
    attempt: &dyn Fn() -> mqcore::Result<R>,
) -> Option<mqcore::Result<R>> {
    at_once(py, || socket.look_behind()).then(|| at_once(py, attempt))
}

/// The same for a sending call: it may write what is long by itself, and gives a peer that is behind a moment to come after, if
/// `flags` allow it.
#[inline]
pub(crate) fn send_at_once<E>(
    py: Python<'_>,
    socket: &mqcore::Socket,
    flags: i32,
    attempt: impl FnOnce() -> Result<(), E>,
) -> Result<(), E> {
    let may_wait = flags & DONTWAIT == 0;
    let (result, held) = hold_writes(attempt);
    if let Some(held) = held {
        py.detach(|| socket.settle(held, may_wait));
    }
    if result.is_ok() && may_wait && socket.is_laden() {
        py.detach(|| socket.pace(socket.send_deadline()));
    }
    result
}

/// Sends by `attempt`, without the interpreter, which gives back what it could not send, and why.
///
/// After a signal it goes on, unless the handler raised.
#[cold]
pub(crate) fn wait_to_send<T: Send>(
    py: Python<'_>,
    mut unsent: T,
    attempt: impl Fn(T) -> Result<(), (mqcore::Error, T)> + Sync,
) -> PyResult<Result<(), (mqcore::Error, T)>> {
    loop {
        match py.detach(|| attempt(unsent)) {
            Err((error, back)) if error.errno() == Errno::INTR => {
                py.check_signals()?;
                unsent = back;
            }
            ended => return Ok(ended),
        }
    }
}

/// Calls what may wait, without the interpreter; signal handlers of Python run in between.
///
/// `call` keeps its own deadline, so that a signal does not lengthen it.
pub(crate) fn interruptible<T: Send>(
    py: Python<'_>,
    mut call: impl FnMut() -> mqcore::Result<T> + Send,
) -> PyResult<T> {
    loop {
        match py.detach(&mut call) {
            Err(error) if error.errno() == Errno::INTR => py.check_signals()?,
            result => return result.map_err(|error| raise(py, &error)),
        }
    }
}
