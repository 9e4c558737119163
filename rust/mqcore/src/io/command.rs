//! What other threads ask of an I/O thread.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::listener::Acceptor;
use super::session::Session;

/// A request to an I/O thread, handled in the order of posting.
pub(super) enum Command {
    /// A new session lives here from now on.
    Adopt(Arc<Session>),
    /// A new listener lives here from now on.
    Listen(Arc<Acceptor>),
    /// A session has something to do.
    Run(Arc<Session>),
    /// The names of a session's endpoint, or why there are none.
    Resolved(Arc<Session>, io::Result<Vec<SocketAddr>>),
    /// A session shall end: what is queued goes out until the deadline (`None`: for ever).
    End(Arc<Session>, Option<Instant>),
    /// A listener was closed: sessions that came from it end, by the deadline at the latest; those still
    /// in their handshake at once.
    Unlisten(Arc<Acceptor>, Option<Instant>),
    /// The thread shall end.
    Stop,
}
