//! ZMTP as a value: what a ZeroMQ peer says and hears, without sockets, clocks or threads.
#![forbid(unsafe_code)]

mod frame;
mod message;
mod socket_type;

pub use frame::{Frame, INLINE_CAPACITY};
pub use message::Message;
pub use socket_type::SocketType;
