//! The names that the native module and the package share, once.
//!
//! Classes that Python defines and native code raises or makes, flag bits, and the names of properties.

use mqcore::OptionKind;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// Do not wait.
pub(crate) const DONTWAIT: i32 = 1;
/// More parts of the message follow.
pub(crate) const SNDMORE: i32 = 2;

/// Option number: how long a closed socket goes on sending, in milliseconds.
pub(crate) const LINGER: i32 = 17;
/// Context option number: how many I/O threads.
pub(crate) const IO_THREADS: i32 = 1;

/// Frame option number: whether other parts follow.
pub(crate) const MORE: i32 = 1;
/// Frame option number: the descriptor that the message came over.
pub(crate) const SRCFD: i32 = 2;
/// Frame option number: whether the payload is shared.
pub(crate) const SHARED: i32 = 3;

/// A payload of at least so many bytes is kept by reference when Python's object cannot change.
pub(crate) const KEPT_BY_REFERENCE: usize = 8 * 1024;

/// `sizeof(sockaddr_un.sun_path) - 1`.
pub(crate) const IPC_PATH_MAX_LEN: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// The property with the descriptor that the message came over.
pub(crate) const SOURCE_FD: &str = "__fd";

macro_rules! python_names {
    ($($(#[$doc:meta])* $function:ident: $kind:ty = $module:literal . $name:literal;)*) => {
        $($(#[$doc])*
        pub(crate) fn $function(py: Python<'_>) -> PyResult<&Bound<'_, $kind>> {
            static CELL: PyOnceLock<Py<$kind>> = PyOnceLock::new();
            CELL.import(py, $module, $name)
        })*
    };
}

python_names! {
    /// Every other error number.
    zmq_error: PyType = "mqcore.error" . "ZMQError";
    /// EAGAIN.
    again: PyType = "mqcore.error" . "Again";
    /// ETERM.
    context_terminated: PyType = "mqcore.error" . "ContextTerminated";
    /// Watches when a buffer may be changed again.
    message_tracker: PyType = "mqcore.tracker" . "MessageTracker";
    /// How many references to an object there are.
    getrefcount: PyAny = "sys" . "getrefcount";
    /// What tells the loop that runs on this thread.
    running_loop: PyAny = "asyncio" . "_get_running_loop";
    /// The tracker of what was copied: always done.
    finished_tracker: PyAny = "mqcore.tracker" . "_FINISHED_TRACKER";
}

/// `mqcore.COPY_THRESHOLD` as it stands: users may assign it.
pub(crate) fn copy_threshold(py: Python<'_>) -> PyResult<usize> {
    py.import(pyo3::intern!(py, "mqcore"))?
        .getattr(pyo3::intern!(py, "COPY_THRESHOLD"))?
        .extract()
}

/// A flag argument, by Python's rules of truth.
#[inline]
pub(crate) fn truth(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    object.is_truthy()
}

/// How the value of a socket option looks; unknown numbers are taken for integers, which the engine refuses.
pub(crate) fn kind_of(option: i32) -> OptionKind {
    mqcore::options::kind_of(option).unwrap_or(OptionKind::Int)
}
