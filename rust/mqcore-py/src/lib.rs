//! The native module `mqcore._core`: the engine's contexts, sockets and frames as Python objects.
//!
//! As thin as it can be: convert, release the interpreter if the call may wait, call, convert. What would
//! also be true without Python belongs into the engine; what need not be fast belongs into the package.
#![deny(unsafe_code)]

mod async_socket;
mod batch;
mod buffer;
mod context;
mod error;
mod frame;
mod handle;
mod loop_set;
mod poll;
mod poll_set;
mod proxy;
mod release;
mod socket;
mod types;
mod waiting;

use pyo3::prelude::*;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The native half of mqcore. Use `mqcore`, not this module.
#[pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use super::async_socket::AsyncSocket;
    #[pymodule_export]
    use super::context::Context;
    #[pymodule_export]
    use super::error::{strerror, zmq_errno};
    #[pymodule_export]
    use super::frame::Frame;
    #[pymodule_export]
    use super::handle::_after_fork_in_child;
    #[pymodule_export]
    use super::has;
    #[pymodule_export]
    use super::loop_set::LoopSet;
    #[pymodule_export]
    use super::poll::zmq_poll;
    #[pymodule_export]
    use super::poll_set::PollSet;
    #[pymodule_export]
    use super::proxy::{proxy, proxy_steerable};
    #[pymodule_export]
    use super::release::Release;
    #[pymodule_export]
    use super::socket::Socket;

    /// The version of mqcore itself.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    /// The longest path of an `ipc://` endpoint, in bytes.
    #[pymodule_export]
    const IPC_PATH_MAX_LEN: usize = super::types::IPC_PATH_MAX_LEN;
}

/// Whether mqcore was built with `capability`: 'ipc', 'curve', 'draft', ... False for unknown names. Raises TypeError
/// for what is no text.
#[pyfunction]
fn has(capability: &str) -> bool {
    matches!(capability, "ipc")
}
