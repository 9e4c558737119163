//! The one place that raises: the engine's errors as the exceptions of `mqcore.error`.
//!
//! Instances are made without running a line of Python, so that `Again` stays cheap in polling loops.

use std::cell::Cell;

use mqcore::{Errno, Error};
use pyo3::exceptions::PyBaseException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::types;

thread_local! {
    /// The number of the error raised last on this thread.
    static LAST: Cell<i32> = const { Cell::new(0) };
}

/// Returns the number of the error that this thread saw last; 0 if there was none.
#[pyfunction]
pub(crate) fn zmq_errno() -> i32 {
    LAST.get()
}

/// Returns the text of the error number `errno`, of the system or of ZeroMQ; "Unknown error 9999" for one of neither.
#[pyfunction]
pub(crate) fn strerror(errno: i32) -> String {
    match errno {
        // Rust's own text for "no error" is the C library's as well.
        0 => "Success".to_owned(),
        _ => Errno(errno).text().into_owned(),
    }
}

/// The exception for `error`.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    let text = error.detail().map(|_| error.to_string());
    exception(py, error.errno(), text).unwrap_or_else(|failure| failure)
}

/// The exception for an error of bind, connect and their opposites, with the address behind the text.
pub(crate) fn raise_for_address(
    py: Python<'_>,
    error: &Error,
    address: &Bound<'_, PyAny>,
) -> PyErr {
    let mut text = error.to_string();
    if error.errno() == Errno::NAMETOOLONG {
        text += " (zmq.IPC_PATH_MAX_LEN)";
    }
    match address.repr() {
        Ok(address) => text += &format!(" (addr={address})"),
        Err(failure) => return failure,
    }
    exception(py, error.errno(), Some(text)).unwrap_or_else(|failure| failure)
}

/// An exception with `args == (errno,)` and the attributes `errno` and `strerror`.
fn exception(py: Python<'_>, errno: Errno, text: Option<String>) -> PyResult<PyErr> {
    static NEW: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let new = NEW.get_or_try_init(py, || {
        py.get_type::<PyBaseException>()
            .getattr("__new__")
            .map(Bound::unbind)
    })?;
    LAST.set(errno.0);
    // Again and ContextTerminated have their number and text as class attributes.
    let (class, text) = match errno {
        Errno::AGAIN => (types::again(py)?, text),
        Errno::TERM => (types::context_terminated(py)?, text),
        _ => {
            let text = text.unwrap_or_else(|| errno.text().into_owned());
            (types::zmq_error(py)?, Some(text))
        }
    };
    let value = new.bind(py).call1((class, errno.0))?;
    if let Some(text) = text {
        value.setattr(intern!(py, "errno"), errno.0)?;
        value.setattr(intern!(py, "strerror"), text)?;
    }
    Ok(PyErr::from_value(value))
}
