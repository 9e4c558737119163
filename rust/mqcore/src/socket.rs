//! Sockets.
use crate::error::{Error, Result};
use crate::options::OptionValue;
use mqcore_proto::{Frame, Message, SocketType};
use std::time::Instant;

/// A socket; clones are the same socket. Any thread may call anything at any time.
#[derive(Clone)]
pub struct Socket(());

impl Socket {
    /// The socket's type.
    pub fn kind(&self) -> SocketType {
        todo!()
    }
    /// Binds to an endpoint. EINVAL, EADDRINUSE, ENODEV, EPROTONOSUPPORT...
    pub fn bind(&self, _endpoint: &str) -> Result<()> {
        todo!()
    }
    /// Connects to an endpoint; the connection itself is made in the background.
    pub fn connect(&self, _endpoint: &str) -> Result<()> {
        todo!()
    }
    /// Ends a bind and the connections accepted through it. ENOENT.
    pub fn unbind(&self, _endpoint: &str) -> Result<()> {
        todo!()
    }
    /// Ends a connect. ENOENT.
    pub fn disconnect(&self, _endpoint: &str) -> Result<()> {
        todo!()
    }
    /// Sets a socket option. EINVAL; ENOTSUP with a sentence for what mqcore does not have yet.
    pub fn set_option(&self, _option: i32, _value: OptionValue) -> Result<()> {
        todo!()
    }
    /// Reads a socket option.
    pub fn option(&self, _option: i32) -> Result<OptionValue> {
        todo!()
    }
    /// Sends a whole message if it can be done now; else the error (EAGAIN, EFSM, EHOSTUNREACH, ENOTSUP,
    /// ETERM, ENOTSOCK) and the message back.
    pub fn try_send(&self, _message: Message) -> std::result::Result<(), (Error, Message)> {
        todo!()
    }
    /// Sends one part (`more`: others follow). EAGAIN and its kin come at the first part only.
    pub fn try_send_part(
        &self,
        _part: Frame,
        _more: bool,
    ) -> std::result::Result<(), (Error, Frame)> {
        todo!()
    }
    /// Takes a whole message (the rest of one, after `try_recv_part`). EAGAIN, EFSM, ENOTSUP...
    pub fn try_recv(&self) -> Result<Message> {
        todo!()
    }
    /// Takes the next part, and whether more parts of its message follow.
    pub fn try_recv_part(&self) -> Result<(Frame, bool)> {
        todo!()
    }
    /// Sleeps until a send may succeed. EAGAIN at the deadline, EINTR after a signal handler ran on this
    /// thread, ETERM, ENOTSOCK (closed by another thread). No wake-up between a failed try and this is lost.
    pub fn wait_writable(&self, _deadline: Option<Instant>) -> Result<()> {
        todo!()
    }
    /// Sleeps until a receive may succeed.
    pub fn wait_readable(&self, _deadline: Option<Instant>) -> Result<()> {
        todo!()
    }
    /// When a blocking send that starts now gives up (SNDTIMEO); None: never.
    pub fn send_deadline(&self) -> Option<Instant> {
        todo!()
    }
    /// When a blocking receive that starts now gives up (RCVTIMEO).
    pub fn receive_deadline(&self) -> Option<Instant> {
        todo!()
    }
    /// POLLIN (1) and POLLOUT (2), as they stand.
    pub fn events(&self) -> Result<i32> {
        todo!()
    }
    /// Metadata of the message received last: `Socket-Type`, `Peer-Address`, `Identity`, `X-...`.
    pub fn last_property(&self, _name: &str) -> Option<String> {
        todo!()
    }
    /// Starts (or replaces) a monitor at an inproc endpoint; `None` stops it.
    pub fn monitor(&self, _endpoint: Option<&str>, _events: i32) -> Result<()> {
        todo!()
    }
    /// Closes the socket at once; unsent messages linger in the background. Wakes waiting calls (ENOTSOCK).
    pub fn close(&self) {
        todo!()
    }
    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        todo!()
    }
    /// What was counted so far: (name, value), e.g. ("dropped_full", 3).
    pub fn statistics(&self) -> Vec<(&'static str, u64)> {
        todo!()
    }
}
