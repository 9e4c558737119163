//! The ZeroMQ engine of mqcore: contexts, sockets, patterns and transports, without libzmq.

mod context;
mod descriptors;
pub mod endpoint;
mod error;
pub mod io;
mod loop_set;
mod mailbox;
mod monitor;
pub mod options;
mod patience;
pub mod pattern;
pub mod pipe;
mod poll;
mod poll_set;
mod port;
mod proxy;
mod signals;
mod socket;
mod sync;
pub mod transport;
mod vessel;

pub use context::Context;
pub use error::{Errno, Error, Result};
pub use loop_set::LoopSet;
pub use mqcore_proto::{Frame, Message, ShortMessage, SocketType};
pub use options::{OptionKind, OptionValue};
pub use poll::{POLLERR, POLLIN, POLLOUT, POLLPRI, PollItem, Pollable, poll};
pub use poll_set::PollSet;
pub use proxy::{Flow, Proxy};
pub use signals::{HeldWakes, hold_wakes, hold_writes};
pub use socket::{NotSent, Received, SendBatch, Socket};
pub use vessel::{ReadInto, Vessel};
