//! Polling sockets and descriptors.
use crate::error::Result;
use crate::socket::Socket;
use std::time::Instant;

/// Bits of `PollItem::events`.
pub const POLLIN: i32 = 1;
/// See POLLIN.
pub const POLLOUT: i32 = 2;
/// Only in results, for descriptors.
pub const POLLERR: i32 = 4;
/// Urgent data, for descriptors.
pub const POLLPRI: i32 = 8;

/// What to watch.
pub enum Pollable {
    /// A socket.
    Socket(Socket),
    /// A descriptor.
    Fd(i32),
}

/// One watched thing.
pub struct PollItem {
    /// What.
    pub target: Pollable,
    /// Wanted bits.
    pub events: i32,
    /// Result bits.
    pub ready: i32,
}

/// Waits until an item is ready; returns how many are. 0 at the deadline, EINTR after a signal, ETERM, ENOTSOCK.
pub fn poll(_items: &mut [PollItem], _deadline: Option<Instant>) -> Result<usize> {
    todo!()
}
