//! A bound endpoint: accepts connections and makes a session of each.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mio::Registry;

use super::session::{Session, SessionConfig};
use super::thread::{IoPool, IoThread, Next, Turn, register};
use crate::error::Errno;
use crate::monitor::{Counters, Ends, EventKind};
use crate::sync::lock;
use crate::transport::Listener;

/// Connections taken in one turn, so that a flood of them leaves the others their time.
const PER_TURN: usize = 64;

/// How long accepting pauses after a failure that is the machine's, as when no descriptor is left.
const FAILED_PAUSE: Duration = Duration::from_millis(100);

/// A listening endpoint. Closing is at once and from any thread; the I/O thread tidies up afterwards.
pub(crate) struct Acceptor {
    config: SessionConfig,
    thread: Arc<IoThread>,
    pool: Arc<IoPool>,
    state: Mutex<State>,
}

struct State {
    /// `None` after the close.
    listener: Option<Listener>,
    paused_until: Option<Instant>,
}

impl Acceptor {
    pub(crate) fn new(
        listener: Listener,
        config: SessionConfig,
        thread: Arc<IoThread>,
        pool: Arc<IoPool>,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            thread,
            pool,
            state: Mutex::new(State {
                listener: Some(listener),
                paused_until: None,
            }),
        })
    }

    /// Begins to accept.
    pub(crate) fn start(self: &Arc<Self>) {
        self.thread.listen(Arc::clone(self));
    }

    /// The endpoint's id.
    pub(crate) fn id(&self) -> u64 {
        self.config.endpoint
    }

    /// Frees the address at once, and ends the connections that were accepted: what is queued for them
    /// goes out until `deadline` (`None`: for ever).
    pub(crate) fn close(self: &Arc<Self>, deadline: Option<Instant>) {
        let listener = lock(&self.state).listener.take();
        if let Some(listener) = listener {
            let fd = listener.as_raw_fd();
            drop(listener);
            self.emit(EventKind::Closed, fd, || Ends::bound(&self.config.address));
            // Its children may live on any of the threads.
            self.pool.unlisten(self, deadline);
        }
    }

    /// Registers with the I/O thread; false if it was closed before.
    pub(super) fn register(&self, registry: &Registry, key: usize) -> bool {
        match &lock(&self.state).listener {
            Some(listener) => register(registry, listener.as_raw_fd(), key, false).is_ok(),
            None => false,
        }
    }

    fn emit(&self, kind: EventKind, value: i32, ends: impl FnOnce() -> Ends) {
        let address = &self.config.address;
        self.config
            .port
            .monitor
            .emit(kind, value as u32, address, ends);
    }

    pub(super) fn turn(&self, turn: &mut Turn<'_>) -> Next {
        let mut state = lock(&self.state);
        if let Some(until) = state.paused_until {
            if turn.now < until {
                return Next::Wait(Some(until));
            }
            state.paused_until = None;
        }
        let Some(listener) = &state.listener else {
            return Next::Wait(None); // the command to remove this entry is on its way
        };
        let address = &*self.config.address;
        for _ in 0..PER_TURN {
            match listener.accept() {
                Ok(Some(stream)) => {
                    Counters::count(&self.config.port.monitor.counters.accepted);
                    self.emit(EventKind::Accepted, stream.as_raw_fd(), || Ends {
                        local: stream.local_endpoint(),
                        remote: stream.remote_endpoint(),
                    });
                    if let Ok(thread) = self.pool.choose(self.config.options.affinity) {
                        let session =
                            Session::accepted(&self.config, stream, Arc::clone(thread), turn.now);
                        thread.adopt(session);
                    }
                }
                Ok(None) => {
                    let refused = Errno::ACCESS.0;
                    self.emit(EventKind::AcceptFailed, refused, || Ends::bound(address));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Next::Wait(None);
                }
                Err(error) => {
                    let number = error.raw_os_error().unwrap_or(0);
                    self.emit(EventKind::AcceptFailed, number, || Ends::bound(address));
                    // Trying again at once would only spin, most of all without descriptors left.
                    let until = turn.now + FAILED_PAUSE;
                    state.paused_until = Some(until);
                    return Next::Wait(Some(until));
                }
            }
        }
        Next::Again
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        // The thread drops an acceptor that was never closed only when it stops: nothing to tell then.
        let _ = lock(&self.state).listener.take();
    }
}
