//! Plain descriptors among what is watched: an epoll that keeps its registrations.
//!
//! The epoll tells of changes. A descriptor that was ready is asked about again by registering it anew; one that was
//! not costs nothing. A descriptor that was closed leaves the epoll without a word: when somebody looks, all are
//! registered anew if that was not done for a second, so that it is found, or what has its number now. One that was
//! closed while a copy of it lives on stays in the epoll, out of reach: each registration has a token of its own, and
//! what comes under an old one is not listened to.

use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};

use crate::error::Result;
use crate::signals::{POLLERR, POLLIN, POLLOUT, POLLPRI};
use crate::sync::{Woken, lock};

/// How long a descriptor that was closed may go unnoticed.
const TRUST: Duration = Duration::from_secs(1);

const WAKE: Token = Token(usize::MAX);

/// Descriptors that are watched together.
pub(crate) struct Descriptors {
    registry: Registry,
    table: Mutex<Table>,
    sleeper: Mutex<Sleeper>,
}

#[derive(Default)]
struct Table {
    watched: HashMap<RawFd, Watched>,
    tokens: Tokens,
    /// Those to ask about at the next look: new, changed, or ready the last time.
    again: Vec<RawFd>,
}

/// The registrations that count.
#[derive(Default)]
struct Tokens {
    of: HashMap<Token, RawFd>,
    /// Never used twice; never reaches WAKE.
    next: usize,
}

#[derive(Default)]
struct Watched {
    /// Who wants what, by the keys of who watches.
    wanted: Vec<(usize, i32)>,
    /// What its registration in the epoll is called, if it has one.
    token: Option<Token>,
    /// Bits that are there without the epoll: plain files are always ready, closed descriptors in error.
    constant: i32,
    /// It stands among those to ask about.
    listed: bool,
}

/// The side of who waits.
pub(crate) struct Sleeper {
    poll: Poll,
    events: Events,
    /// When all were registered anew.
    checked: Instant,
}

impl Descriptors {
    /// None yet; and what wakes who sleeps here.
    pub(crate) fn new() -> Result<(Self, mio::Waker)> {
        let poll = Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), WAKE)?;
        let descriptors = Self {
            registry: poll.registry().try_clone()?,
            table: Mutex::default(),
            sleeper: Mutex::new(Sleeper {
                poll,
                events: Events::with_capacity(256),
                checked: Instant::now(),
            }),
        };
        Ok((descriptors, waker))
    }

    /// Watches `fd` for `events` (as well) for `key`, or for other events than before. A negative one is never ready.
    pub(crate) fn want(&self, fd: RawFd, key: usize, events: i32) {
        if fd < 0 {
            return;
        }
        let mut table = lock(&self.table);
        let watched = table.watched.entry(fd).or_default();
        watched.wanted.retain(|(known, _)| *known != key);
        watched.wanted.push((key, events));
        table.list(fd);
    }

    /// `key` wants nothing more of `fd`.
    pub(crate) fn forget(&self, fd: RawFd, key: usize) {
        let mut guard = lock(&self.table);
        let table = &mut *guard;
        let Some(watched) = table.watched.get_mut(&fd) else {
            return;
        };
        watched.wanted.retain(|(known, _)| *known != key);
        if watched.wanted.is_empty() {
            // It may be closed, and its number another's, which then is not in this epoll.
            let _ = self.registry.deregister(&mut SourceFd(&fd));
            table.tokens.forget(watched.token);
            table.watched.remove(&fd);
        } else {
            table.list(fd);
        }
    }

    /// The right to wait here; `None` while another thread does.
    pub(crate) fn sleeper(&self) -> Option<MutexGuard<'_, Sleeper>> {
        self.sleeper.try_lock().ok()
    }

    /// What is ready, by key. Waits for it, and for the waker, until `deadline`; not at all once `stay_awake` says so.
    pub(crate) fn look(
        &self,
        sleeper: &mut Sleeper,
        deadline: Option<Instant>,
        stay_awake: impl Fn() -> bool,
    ) -> Result<(Vec<(usize, i32)>, Woken)> {
        let mut constant = lock(&self.table).ask_again(&self.registry);
        let now = Instant::now();
        let mut until = deadline;
        if now.saturating_duration_since(sleeper.checked) >= TRUST {
            constant = lock(&self.table).check(&self.registry);
            sleeper.checked = now;
        } else {
            let check = sleeper.checked + TRUST;
            until = Some(deadline.map_or(check, |deadline| deadline.min(check)));
        }
        let timeout = if constant || stay_awake() {
            Some(Duration::ZERO)
        } else {
            until.map(|until| until.saturating_duration_since(now))
        };
        match sleeper.poll.poll(&mut sleeper.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return Ok((Vec::new(), Woken::Interrupted));
            }
            Err(error) => return Err(error.into()),
        }
        let ready = lock(&self.table).collect(&sleeper.events);
        let timed_out = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        Ok((
            ready,
            if timed_out {
                Woken::TimedOut
            } else {
                Woken::Signalled
            },
        ))
    }
}

impl Table {
    fn list(&mut self, fd: RawFd) {
        if let Some(watched) = self.watched.get_mut(&fd)
            && !watched.listed
        {
            watched.listed = true;
            self.again.push(fd);
        }
    }

    /// Registers anew those to ask about. True: one is ready without the epoll.
    fn ask_again(&mut self, registry: &Registry) -> bool {
        let mut constant = false;
        for fd in std::mem::take(&mut self.again) {
            if let Some(watched) = self.watched.get_mut(&fd) {
                watched.listed = false;
                watched.register(registry, fd, &mut self.tokens);
                if watched.is_constant() {
                    constant = true;
                    self.list(fd); // it may be another file by then
                }
            }
        }
        constant
    }

    /// Registers all anew. True: one is ready without the epoll.
    fn check(&mut self, registry: &Registry) -> bool {
        let all: Vec<RawFd> = self.watched.keys().copied().collect();
        for fd in all {
            self.list(fd);
        }
        self.ask_again(registry)
    }

    /// What the epoll has found, and what needs none, by key.
    fn collect(&mut self, events: &Events) -> Vec<(usize, i32)> {
        let mut ready = Vec::new();
        // Listed here are those that need no epoll, and those that have just been asked for by another thread.
        for fd in &self.again {
            if let Some(watched) = self.watched.get(fd) {
                watched.share_out(watched.constant, &mut ready);
            }
        }
        for event in events {
            let Some(&fd) = self.tokens.of.get(&event.token()) else {
                continue; // the waker, or a registration that no longer counts
            };
            if let Some(watched) = self.watched.get(&fd) {
                let before = ready.len();
                watched.share_out(bits(event), &mut ready);
                if ready.len() > before {
                    self.list(fd); // else nobody wants it: asked again it would only answer the same
                }
            }
        }
        ready
    }
}

impl Tokens {
    fn name(&mut self, fd: RawFd) -> Token {
        let token = Token(self.next);
        self.next += 1;
        self.of.insert(token, fd);
        token
    }

    fn forget(&mut self, token: Option<Token>) {
        if let Some(token) = token {
            self.of.remove(&token);
        }
    }
}

impl Watched {
    fn register(&mut self, registry: &Registry, fd: RawFd, tokens: &mut Tokens) {
        let events = self.wanted.iter().fold(0, |all, (_, events)| all | events);
        // Errors and hang-ups are told whatever is asked for, but something has to be.
        let interest = interest(events).unwrap_or(Interest::PRIORITY);
        let register = |token| registry.register(&mut SourceFd(&fd), token, interest);
        let reregister = |token| registry.reregister(&mut SourceFd(&fd), token, interest);
        let mut outcome = Err(io::ErrorKind::NotFound.into());
        if let Some(token) = self.token {
            outcome = reregister(token); // fails if it was closed, even if its number is another's now
        }
        if outcome.is_err() {
            tokens.forget(self.token.take());
            let token = tokens.name(fd);
            outcome = match register(token) {
                // It was here, was closed, and is here again.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => reregister(token),
                outcome => outcome,
            };
            self.token = Some(token);
        }
        if outcome.is_err() {
            tokens.forget(self.token.take());
        }
        self.constant = match outcome {
            Ok(()) => 0,
            // epoll does not take plain files, which never block.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => POLLIN | POLLOUT,
            Err(_) => POLLERR,
        };
    }

    fn is_constant(&self) -> bool {
        let wanted = |(_, events): &(usize, i32)| self.constant & (events | POLLERR) != 0;
        self.wanted.iter().any(wanted)
    }

    fn share_out(&self, bits: i32, ready: &mut Vec<(usize, i32)>) {
        for &(key, events) in &self.wanted {
            let there = bits & (events | POLLERR);
            if there != 0 {
                ready.push((key, there));
            }
        }
    }
}

fn interest(events: i32) -> Option<Interest> {
    [
        (POLLIN, Interest::READABLE),
        (POLLOUT, Interest::WRITABLE),
        (POLLPRI, Interest::PRIORITY),
    ]
    .into_iter()
    .filter(|(bit, _)| events & bit != 0)
    .map(|(_, interest)| interest)
    .reduce(Interest::add)
}

fn bits(event: &mio::event::Event) -> i32 {
    [
        (event.is_readable(), POLLIN),
        (event.is_writable(), POLLOUT),
        (event.is_priority(), POLLPRI),
        (
            event.is_error() || (event.is_read_closed() && event.is_write_closed()),
            POLLERR,
        ),
    ]
    .into_iter()
    .filter(|(there, _)| *there)
    .fold(0, |bits, (_, bit)| bits | bit)
}
