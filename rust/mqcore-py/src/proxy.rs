//! `mqcore.proxy` and `mqcore.proxy_steerable`: the engine's proxy, run without the interpreter.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::socket::Socket;
use crate::waiting::interruptible;

/// The engine's socket of an argument.
fn engine_of(name: &str, object: &Bound<'_, PyAny>) -> PyResult<mqcore::Socket> {
    let Ok(socket) = object.cast::<Socket>() else {
        return Err(PyTypeError::new_err(format!(
            "Argument '{name}' has incorrect type (expected a mqcore Socket, got {})",
            object.get_type().name()?
        )));
    };
    Ok(socket.get().engine(object.py())?.clone())
}

fn run(
    frontend: &Bound<'_, PyAny>,
    backend: &Bound<'_, PyAny>,
    capture: Option<&Bound<'_, PyAny>>,
    control: Option<&Bound<'_, PyAny>>,
) -> PyResult<i32> {
    let mut proxy = mqcore::Proxy::new(
        engine_of("frontend", frontend)?,
        engine_of("backend", backend)?,
        capture.map(|it| engine_of("capture", it)).transpose()?,
        control.map(|it| engine_of("control", it)).transpose()?,
    );
    interruptible(frontend.py(), || proxy.run())?;
    Ok(0)
}

/// Passes messages on between two sockets, in both directions, until the context ends.
///
/// `frontend` and `backend` may be the same socket: then it gets back what it brings. `capture`, if given, is
/// sent a copy of every message, and holds the proxy up while it has no room. A message is taken only when the
/// socket it goes to has room. The GIL is not held.
///
/// Does not return; raises ContextTerminated when the context ends, ZMQError(ENOTSOCK) when one of the sockets
/// is closed, TypeError for what is no socket, and what a signal handler raises.
#[pyfunction]
#[pyo3(signature = (frontend, backend, capture=None))]
pub(crate) fn proxy(
    frontend: &Bound<'_, PyAny>,
    backend: &Bound<'_, PyAny>,
    capture: Option<&Bound<'_, PyAny>>,
) -> PyResult<i32> {
    run(frontend, backend, capture, None)
}

/// As `proxy`, and `control`, if given, steers it: PAUSE, RESUME, TERMINATE and STATISTICS, each a message.
///
/// STATISTICS is answered with eight frames of a native u64: frames and bytes received from the frontend, frames
/// and bytes sent by it, and the same of the backend. If `control` is a REP, everything else is answered with an
/// empty frame.
///
/// Returns 0 after TERMINATE; raises what `proxy` raises.
#[pyfunction]
#[pyo3(signature = (frontend, backend, capture=None, control=None))]
pub(crate) fn proxy_steerable(
    frontend: &Bound<'_, PyAny>,
    backend: &Bound<'_, PyAny>,
    capture: Option<&Bound<'_, PyAny>>,
    control: Option<&Bound<'_, PyAny>>,
) -> PyResult<i32> {
    run(frontend, backend, capture, control)
}
