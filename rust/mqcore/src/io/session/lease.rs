//! Lent: whoever has just sent, by its own hand, and waits for the answer, reads it itself.
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
//! An event loop cannot wait here: it watches the stream beside everything else, and keeps it from one answer to
//! the next. It may also be busy with other things for as long as it likes, while the peer wants to hear that we
//! live. So the I/O thread takes the connection back from a loop that has not read for a while.
//!
//! The I/O thread keeps everything else: it sends, keeps the timers, connects again. It may even read, if
//! an event was on its way when the connection was lent: both do so under the lock of the session.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::{Core, Link, Phase, Session, traffic};
use crate::signals::{Bell, Lease, LoopLease, LoopWatch, Signals};
use crate::sync::{Woken, lock};
use crate::transport::Stream;

/// What a borrower reads at once: answers are short, and a longer one takes several reads.
const LENT_BUFFER: usize = 4096;

/// How long a caller looks on before it sleeps: a sleep and a wake-up cost as much, on both sides.
const GLANCE: Duration = Duration::from_micros(40);

/// How long a loop may leave a connection unread. One that wants it less often gets none: lending it and taking it back
/// costs more than the hand-over of an answer.
const TRUST: Duration = Duration::from_millis(10);

/// How long a connection is not lent to a loop that it did not suit: answers are long, or several for one question.
const PAUSE: Duration = Duration::from_millis(100);

/// Who reads what comes, in place of the I/O thread.
pub(super) enum Borrower {
    /// A call that waits.
    Caller,
    /// An event loop.
    Loop(Loan),
}

/// A connection in the epoll of a loop, until this is dropped.
pub(super) struct Loan {
    /// Invariant: in `watch`.
    stream: Arc<Stream>,
    watch: Arc<LoopWatch>,
    /// When the loop last read.
    used: Instant,
    /// Shared with the lease.
    over: Arc<AtomicBool>,
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.watch.unwatch(&*self.stream);
        self.over.store(true, Ordering::Release);
    }
}

impl Core {
    fn linked_mut(&mut self) -> Option<&mut Link> {
        match &mut self.phase {
            Phase::Linked(link) => Some(link),
            _ => None,
        }
    }

    /// The connection, if it is idle, healthy and used in lockstep.
    fn lendable(&mut self) -> Option<&mut Link> {
        if self.ending.is_some() || self.found.is_some() {
            return None;
        }
        let link = self.linked_mut()?;
        let idle = link.lockstep
            && link.unanswered == 0
            && link.handshake_done
            && link.registered
            && link.ready.writable
            && !link.ready.readable
            && !link.ready.hangup
            && !link.paused
            && link.connection.transmit_len() == 0;
        let over = link.eof || link.write_failed || link.outward_closed || link.farewell.is_some();
        (idle && !over).then_some(link)
    }

    /// Moves what came into the pipe, for who has borrowed the connection. False: it is the I/O thread's turn.
    fn take_in(&mut self, session: &Arc<Session>, now: Instant) -> bool {
        if let Some(link) = self.linked_mut() {
            link.ready.readable = true;
        }
        let batch = traffic::in_batch(session).min(LENT_BUFFER);
        let mut buffer = [0; LENT_BUFFER];
        let taken = self.pump_in(session, &mut buffer[..batch], now);
        let more = taken.unwrap_or_else(|loss| {
            self.found = Some(loss);
            true
        });
        let Some(link) = self.linked_mut() else {
            return false;
        };
        // What else there is to do is for the I/O thread: the end, answers to commands.
        let due = link.connection.transmit_len() > 0 || link.patient_until.is_some();
        if more || link.eof || due {
            session.schedule();
        }
        !more && !link.eof
    }

    /// Takes the connection back from a loop that does not use it as it should. When to look again, if it does.
    pub(super) fn review_loan(&mut self, session: &Session, now: Instant) -> Option<Instant> {
        let ending = self.ending.is_some();
        let link = self.linked_mut()?;
        let Some(Borrower::Loop(loan)) = &link.lent else {
            return None;
        };
        let until = loan.used + TRUST;
        if now >= until || ending || !link.suits_a_loop() {
            link.give_back(session);
            link.ready.readable = true;
            return None;
        }
        // Before the peer's silence is judged, what it has said is read.
        let timeout = link.connection.poll_timeout();
        link.ready.readable |= timeout.is_some_and(|timeout| timeout <= now);
        Some(until)
    }
}

impl Link {
    fn lend(&mut self, session: &Session, to: Borrower) {
        self.lent = Some(to);
        // Room to write is there, and would only be news to the poll each time it is told anew.
        self.watches_room = false;
        self.rewatch(session);
    }

    /// The I/O thread reads again.
    fn give_back(&mut self, session: &Session) {
        self.lent = None;
        self.rewatch(session);
    }

    /// Whether a loop should go on to read.
    fn suits_a_loop(&mut self) -> bool {
        let over = self.outward_closed || self.write_failed || self.ready.hangup || self.paused;
        // Of a long message the loop would see each piece as it comes.
        self.lockstep && self.unanswered <= 1 && !over && self.connection.body_buffer().is_none()
    }
}

/// The connection is a waiting call's.
pub(super) struct InCall {
    session: Arc<Session>,
    /// Keeps the descriptor from being closed, and its number from being used again, during the wait.
    stream: Arc<Stream>,
}

impl InCall {
    /// Takes the connection of `session`, from a loop too.
    pub(super) fn take(session: Arc<Session>) -> Option<Self> {
        // A session that is busy just now is not idle, and may have brought what is waited for.
        let mut core = session.core.try_lock().ok()?;
        let link = core.lendable()?;
        if matches!(link.lent, Some(Borrower::Caller)) {
            return None;
        }
        link.lend(&session, Borrower::Caller);
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

impl Lease for InCall {
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
            core.take_in(&self.session, Instant::now());
        });
    }
}

impl Drop for InCall {
    fn drop(&mut self) {
        self.with_link(|core| {
            if let Some(link) = core.linked_mut() {
                link.give_back(&self.session);
            }
        });
    }
}

/// The connection is an event loop's.
pub(super) struct InLoop {
    /// Weak: the loop may keep the lease for long after the end of both.
    session: Weak<Session>,
    over: Arc<AtomicBool>,
}

impl InLoop {
    /// Takes the connection of `session`, which the loop watches under `key` from now on.
    pub(super) fn take(session: &Arc<Session>, watch: &Arc<LoopWatch>, key: usize) -> Option<Self> {
        let mut core = session.core.try_lock().ok()?;
        let link = core.lendable()?;
        let now = Instant::now();
        if link.lent.is_some() || link.not_for_loops_until > now {
            return None;
        }
        let before = std::mem::replace(&mut link.wanted_by_loop, now);
        if now > before + TRUST || !watch.watch(&*link.stream, key) {
            return None;
        }
        let over = Arc::new(AtomicBool::new(false));
        let loan = Loan {
            stream: Arc::clone(&link.stream),
            watch: Arc::clone(watch),
            used: now,
            over: Arc::clone(&over),
        };
        link.lend(session, Borrower::Loop(loan));
        drop(core);
        session.schedule(); // to be reviewed
        Some(Self {
            session: Arc::downgrade(session),
            over,
        })
    }

    /// Calls `with` for the connection, unless the lease is over.
    fn with_link(&self, with: impl FnOnce(&Arc<Session>, &mut Core)) {
        if let Some(session) = self.session.upgrade() {
            let mut core = lock(&session.core);
            if !self.is_over() {
                with(&session, &mut core);
            }
        }
    }
}

impl LoopLease for InLoop {
    fn take_in(&self) {
        self.with_link(|session, core| {
            let now = Instant::now();
            let went_well = core.take_in(session, now);
            if let Some(link) = core.linked_mut() {
                if !went_well || !link.suits_a_loop() {
                    link.give_back(session);
                    link.not_for_loops_until = now + PAUSE;
                } else if let Some(Borrower::Loop(loan)) = &mut link.lent {
                    loan.used = now;
                }
            }
        });
    }

    fn end(&self) {
        if self.is_over() {
            return;
        }
        self.with_link(|session, core| {
            if let Some(link) = core.linked_mut() {
                link.give_back(session);
            }
        });
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

impl Drop for InLoop {
    fn drop(&mut self) {
        self.end();
    }
}
