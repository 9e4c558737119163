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
//!                                   or: after a long message nobody watches until the caller is back, but for ABSENCE
//! ```
//!
//! So does who waits for one long message after the other: the kernel copies each into memory that this thread looks at
//! next, and no other thread must be woken for it. Between two of them the connection stays lent, since the next has come
//! already, more often than not.
//!
//! An event loop cannot wait here: it watches the stream beside everything else, and keeps it from one answer to
//! the next. It may also be busy with other things for as long as it likes, while the peer wants to hear that we
//! live. So the I/O thread takes the connection back from a loop that has not read for a while.
//!
//! The I/O thread keeps everything else: it sends, keeps the timers, connects again. It may even read, before it judges the
//! peer's silence: all do so under the lock of the session.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::{Core, Link, Phase, Session, traffic};
use crate::signals::{Bell, Lease, LoopLease, LoopWatch, Returning, Signals};
use crate::sync::{Woken, lock};
use crate::transport::Stream;
use crate::vessel::Vessel;

/// What a borrower reads at once: answers are short, and a longer one takes several reads.
const LENT_BUFFER: usize = 4096;

/// How long a caller looks on before it sleeps: a sleep and a wake-up cost as much, on both sides.
const GLANCE: Duration = Duration::from_micros(40);

/// How long a loop may leave a connection unread. One that wants it less often gets none: lending it and taking it back
/// costs more than the hand-over of an answer.
const TRUST: Duration = Duration::from_millis(10);

/// How long who comes back for the next long message may stay away: as long as that costs no more than some of them.
const ABSENCE: Duration = Duration::from_millis(2);

/// How long a connection is not lent to a loop that it did not suit: answers are long, or several for one question.
const PAUSE: Duration = Duration::from_millis(100);

/// Who reads what comes, in place of the I/O thread.
pub(super) enum Borrower {
    /// A call that waits.
    Caller,
    /// Whoever received a long message then, and comes back for the next.
    Returning(Instant),
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

    /// The connection, if it is idle and healthy.
    fn lendable(&mut self) -> Option<&mut Link> {
        if self.ending.is_some() || self.found.is_some() {
            return None;
        }
        let link = self.linked_mut()?;
        let idle = link.handshake_done
            && link.registered
            && link.ready.writable
            && link.connection.transmit_len() == 0;
        (idle && !link.needs_io_thread()).then_some(link)
    }

    /// Moves what came into the pipe, for who has borrowed the connection: all of it, or no more than it takes for `one`
    /// message.
    fn take_in(&mut self, session: &Arc<Session>, one: bool, now: Instant) -> TakenIn {
        if let Some(link) = self.linked_mut() {
            link.ready.readable = true;
        }
        let batch = traffic::in_batch(session).min(LENT_BUFFER);
        let mut buffer = [0; LENT_BUFFER];
        let taken = self.pump_in(session, &mut buffer[..batch], one, now);
        let mut over = taken.is_err();
        let more = taken.unwrap_or_else(|loss| {
            self.found = Some(loss);
            true
        });
        let Some(link) = self.linked_mut() else {
            return TakenIn::Trouble;
        };
        over |= link.eof;
        // What else there is to do is for the I/O thread: the end, answers to commands.
        let due = link.connection.transmit_len() > 0 || link.patient.is_some();
        if over || due || more && !one {
            session.schedule();
        }
        if over || more && !one {
            TakenIn::Trouble
        } else if link.brought {
            TakenIn::Messages
        } else {
            TakenIn::Nothing
        }
    }

    /// Leaves the rest to who wanted to read by itself, did not get at the connection while the I/O thread was reading, and
    /// has got a long message since.
    pub(super) fn leave_rest_to_caller(&mut self, session: &Session) {
        session.wanted.store(false, Ordering::Relaxed);
        let signals = &session.config.port.signals;
        let lendable = self.lendable();
        let Some(link) = lendable.filter(|link| link.brings_long && link.lent.is_none()) else {
            return;
        };
        if signals.is_watched() {
            return;
        }
        let now = Instant::now(); // the turn may be an old one
        link.lend(session, Borrower::Returning(now));
        link.ready.readable = false;
        link.review_at = Some(now + ABSENCE);
        if !signals.expect_back(session.me.clone()) {
            link.give_back(session);
            link.ready.readable = true;
        }
    }

    /// Takes the connection back from who does not use it as it should; notes when to look again, if it does.
    pub(super) fn review_loan(&mut self, session: &Session, now: Instant) {
        let ending = self.ending.is_some();
        let Some(link) = self.linked_mut() else {
            return;
        };
        link.review_at = None;
        let recalled = session.recalled.swap(false, Ordering::Relaxed);
        let (until, suitable) = match &link.lent {
            None if link.watched || !link.registered => return,
            None => {
                link.give_back(session); // once more
                link.ready.readable = true;
                return;
            }
            Some(Borrower::Caller) => return,
            Some(Borrower::Returning(since)) => (*since + ABSENCE, !recalled),
            Some(Borrower::Loop(loan)) => (loan.used + TRUST, link.suits_a_loop()),
        };
        if now >= until || ending || !suitable || link.needs_io_thread() {
            link.give_back(session);
            link.ready.readable = true;
            return;
        }
        link.review_at = Some(until);
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
        if !self.watched {
            self.review_at = Some(Instant::now() + TRUST); // the system had no room for it
        }
    }

    /// The same on another thread.
    fn give_back_from_elsewhere(&mut self, session: &Session) {
        self.give_back(session);
        if !self.watched {
            session.schedule();
        }
    }

    /// Whether it is left to a call to read, which does so now or when it is back.
    pub(super) fn is_read_by_call(&self) -> bool {
        let borrowed = matches!(self.lent, Some(Borrower::Caller | Borrower::Returning(_)));
        borrowed && !self.needs_io_thread()
    }

    /// Whether there is something that only the I/O thread can do.
    fn needs_io_thread(&self) -> bool {
        self.outward_closed || self.write_failed || self.ready.hangup || self.paused || self.eof
    }

    /// Whether a loop should go on to read.
    fn suits_a_loop(&self) -> bool {
        // Of a long message the loop would see each piece as it comes.
        self.lockstep && self.unanswered <= 1 && !self.connection.is_in_body()
    }

    /// Whether what comes is an answer.
    fn is_in_lockstep(&self) -> bool {
        self.lockstep && self.unanswered == 0
    }
}

/// What a borrower has got.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TakenIn {
    /// Nothing, or a piece of a message.
    Nothing,
    Messages,
    /// Maybe messages too; it is the I/O thread's turn.
    Trouble,
}

/// The connection is a waiting call's.
pub(super) struct InCall {
    session: Arc<Session>,
    /// Keeps the descriptor from being closed, and its number from being used again, during the wait.
    stream: Arc<Stream>,
    began: Instant,
    /// Nobody has looked behind the message that was read last.
    may_have_come: bool,
}

impl InCall {
    /// Takes the connection of `session`, from a loop too.
    pub(super) fn take(session: Arc<Session>) -> Option<Self> {
        // A session that is busy just now may have brought what is waited for.
        let Ok(mut core) = session.core.try_lock() else {
            session.wanted.store(true, Ordering::Relaxed);
            return None;
        };
        let link = core.lendable()?;
        let returned = matches!(link.lent, Some(Borrower::Returning(_)));
        let lendable = link.brings_long || link.is_in_lockstep() && !link.ready.readable;
        if !lendable || matches!(link.lent, Some(Borrower::Caller)) {
            return None;
        }
        let may_have_come = returned || link.ready.readable;
        if returned {
            link.lent = Some(Borrower::Caller);
        } else {
            link.lend(&session, Borrower::Caller);
        }
        let stream = Arc::clone(&link.stream);
        drop(core);
        Some(Self {
            session,
            stream,
            began: Instant::now(),
            may_have_come,
        })
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

    fn offer(&self, mut vessel: Option<Box<dyn Vessel>>) -> Option<Box<dyn Vessel>> {
        self.with_link(|core| {
            if let Some(link) = core.linked_mut()
                && link.vessel.as_ref().is_none_or(|old| old.filled() == 0)
            {
                std::mem::swap(&mut link.vessel, &mut vessel);
            }
        });
        vessel
    }

    fn take_in(&self) -> bool {
        let mut taken = TakenIn::Trouble;
        self.with_link(|core| taken = core.take_in(&self.session, true, Instant::now()));
        taken != TakenIn::Nothing
    }

    fn take_in_before(&self) -> bool {
        self.may_have_come && self.take_in()
    }
}

impl Drop for InCall {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut returns = false;
        self.with_link(|core| {
            let ending = core.ending.is_some() || core.found.is_some();
            let Some(link) = core.linked_mut() else {
                return;
            };
            returns = link.brings_long
                && now < self.began + ABSENCE
                && !ending
                && !link.needs_io_thread();
            if !returns {
                link.give_back_from_elsewhere(&self.session);
                return;
            }
            link.lent = Some(Borrower::Returning(now));
            link.ready.readable = false; // who comes back looks in any case
            if link.review_at.is_none() {
                link.review_at = Some(now + ABSENCE);
                self.session.schedule();
            }
        });
        if returns {
            let signals = &self.session.config.port.signals;
            if !signals.expect_back(self.session.me.clone()) {
                signals.expect_nobody();
            }
        }
    }
}

impl Returning for Session {
    fn take_back(&self) -> bool {
        let Some(me) = self.me.upgrade() else {
            return false;
        };
        // The caller may hold locks that others want.
        let Ok(mut core) = self.core.try_lock() else {
            self.recalled.store(true, Ordering::Relaxed);
            self.schedule();
            return false;
        };
        let returning = |link: &Link| matches!(link.lent, Some(Borrower::Returning(_)));
        if !core.linked_mut().is_some_and(|link| returning(link)) {
            return false;
        }
        let taken = core.take_in(&me, true, Instant::now());
        if let Some(link) = core.linked_mut() {
            link.give_back_from_elsewhere(self);
        }
        taken == TakenIn::Messages
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
        let idle = link.lent.is_none() && !link.ready.readable;
        if !idle || !link.is_in_lockstep() || link.not_for_loops_until > now {
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
            let went_well = core.take_in(session, false, now) != TakenIn::Trouble;
            if let Some(link) = core.linked_mut() {
                if !went_well || link.needs_io_thread() || !link.suits_a_loop() {
                    link.give_back_from_elsewhere(session);
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
                link.give_back_from_elsewhere(session);
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
