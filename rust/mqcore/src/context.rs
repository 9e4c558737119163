//! Contexts.
use crate::error::Result;
use crate::socket::Socket;
use std::time::Instant;

/// A context: the I/O threads, the inproc names and the sockets of one application. Clones share it.
#[derive(Clone)]
pub struct Context(());

impl Context {
    /// A context with the default options; threads start with the first socket that needs one.
    pub fn new() -> Self {
        todo!()
    }
    /// Sets a context option (numbers of zmq.h). EINVAL for unknown ones and bad values.
    pub fn set_option(&self, _option: i32, _value: i32) -> Result<()> {
        todo!()
    }
    /// Reads a context option.
    pub fn option(&self, _option: i32) -> Result<i32> {
        todo!()
    }
    /// A new socket of type `kind` (number of zmq.h). EINVAL, EMFILE, ETERM.
    pub fn socket(&self, _kind: i32) -> Result<Socket> {
        todo!()
    }
    /// Wakes every waiting call with ETERM; nothing but closing works afterwards. Does not wait.
    pub fn shutdown(&self) {
        todo!()
    }
    /// Shuts down and waits until every socket is closed and has lingered. EINTR (call again), EAGAIN
    /// when `deadline` passes (the text names the sockets that hold it).
    pub fn term(&self, _deadline: Option<Instant>) -> Result<()> {
        todo!()
    }
    /// Whether term has completed.
    pub fn is_terminated(&self) -> bool {
        todo!()
    }
}
impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}
