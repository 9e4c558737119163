//! Lent: a caller that has just sent, by its own hand, and waits for the answer, waits at the connection.
//!
//! ```text
//!   lend ──▶ the poll stops watching for input ──▶ the caller polls the stream and a bell
//!                                                     │ something came        │ bell, deadline, signal
//!                                                     ▼                       │
//!                                                  take_in                    │
//!                                                     └──────────┬────────────┘
//!                                                                ▼
//!                                  drop: the poll watches again; what came meanwhile is an event
//! ```
//!
//! The I/O thread keeps everything else: it sends, keeps the timers, connects again. It may even read, if
//! an event was on its way when the connection was lent: both do so under the lock of the session.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::{Core, Link, Phase, Session, traffic};
use crate::signals::{Bell, Lease, Signals};
use crate::sync::{Woken, lock};
use crate::transport::Stream;

/// What a caller reads at once: answers are short, and a longer one takes several reads.
const LENT_BUFFER: usize = 4096;

/// How long a caller looks on before it sleeps: a sleep and a wake-up cost as much, on both sides.
const GLANCE: Duration = Duration::from_micros(40);

/// See the head of this file.
pub(super) struct StreamLease {
    session: Arc<Session>,
    /// Keeps the descriptor from being closed, and its number from being used again, during the wait.
    stream: Arc<Stream>,
}

impl Core {
    fn linked_mut(&mut self) -> Option<&mut Link> {
        match &mut self.phase {
            Phase::Linked(link) => Some(link),
            _ => None,
        }
    }
}

impl StreamLease {
    /// Takes the connection of `session`, if it is idle, healthy and used in lockstep.
    pub(super) fn take(session: Arc<Session>) -> Option<Self> {
        // A session that is busy just now is not idle, and may have brought what is waited for.
        let mut core = session.core.try_lock().ok()?;
        if core.ending.is_some() || core.found.is_some() {
            return None;
        }
        let link = core.linked_mut()?;
        let idle = link.lockstep
            && link.handshake_done
            && link.registered
            && link.ready.writable
            && !link.ready.readable
            && !link.ready.hangup
            && !link.paused
            && link.connection.transmit_len() == 0;
        let over = link.eof || link.write_failed || link.outward_closed || link.farewell.is_some();
        if !idle || over || link.lent {
            return None;
        }
        link.lent = true;
        // Room to write is there, and would only be news to the poll each time it is told anew.
        link.watches_room = false;
        link.rewatch(&session);
        let stream = Arc::clone(&link.stream);
        drop(core);
        Some(Self { session, stream })
    }

    /// Calls `with` for the connection, unless it was lost in the meantime.
    fn with_link(&self, with: impl FnOnce(&mut Core)) {
        let mut core = lock(&self.session.core);
        if core
            .linked_mut()
            .is_some_and(|link| Arc::ptr_eq(&link.stream, &self.stream))
        {
            with(&mut core);
        }
    }
}

impl Lease for StreamLease {
    fn wait(&self, bell: &Bell, signals: &Signals, deadline: Option<Instant>) -> Option<Woken> {
        let mut watched = [
            PollFd::from_borrowed_fd(self.stream.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(bell.as_fd(), PollFlags::IN),
        ];
        let at_once = Timespec::default();
        let mut polled = Ok(0);
        let seen = signals.look_on(GLANCE, deadline, || {
            polled = poll(&mut watched, Some(&at_once));
            polled != Ok(0)
        });
        if seen == Some(Woken::Interrupted) || polled == Err(Errno::INTR) {
            return Some(Woken::Interrupted);
        }
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            // A duration too long for the kernel is as good as no deadline.
            let timeout = left.and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut watched, timeout.as_ref()) {
                Err(Errno::INTR) => return Some(Woken::Interrupted),
                Ok(0) if left.is_some_and(|left| left.is_zero()) => return Some(Woken::TimedOut),
                Ok(0) => {} // the kernel's clock was early
                Ok(_) if watched[0].revents().is_empty() => return Some(Woken::Signalled),
                // Whatever else is wrong, the read will tell.
                Ok(_) | Err(_) => return None,
            }
        }
    }

    fn take_in(&self) {
        self.with_link(|core| {
            if let Some(link) = core.linked_mut() {
                link.ready.readable = true;
            }
            let batch = traffic::in_batch(&self.session).min(LENT_BUFFER);
            let mut buffer = [0; LENT_BUFFER];
            let taken = core.pump_in(&self.session, &mut buffer[..batch], Instant::now());
            let more = taken.unwrap_or_else(|loss| {
                core.found = Some(loss);
                true
            });
            // What else there is to do is for the I/O thread: the end, answers to commands.
            let due = core
                .linked_mut()
                .is_some_and(|link| link.eof || link.connection.transmit_len() > 0);
            if more || due {
                self.session.schedule();
            }
        });
    }
}

impl Drop for StreamLease {
    fn drop(&mut self) {
        self.with_link(|core| {
            if let Some(link) = core.linked_mut() {
                link.lent = false;
                link.rewatch(&self.session);
            }
        });
    }
}
