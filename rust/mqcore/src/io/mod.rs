//! The I/O threads and what lives on them: sessions, listeners, timers, name resolution.

mod command;
mod listener;
pub mod resolver;
mod session;
mod thread;
mod timer;

pub(crate) use listener::Acceptor;
pub(crate) use resolver::Resolver;
pub(crate) use session::{Session, SessionConfig};
pub(crate) use thread::IoPool;
