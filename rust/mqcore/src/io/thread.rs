//! The I/O thread: waits for readiness, deadlines and commands, and gives each session its turn.
//!
//! ```text
//!   commands ─┐
//!   epoll ────┼─> run list ─> Session::turn (bounded work) ─> again? back on the run list
//!   timers ───┘
//! ```
//!
//! mio is edge-triggered: a session that stops before it ran dry stays on the run list, everybody else
//! is waited for. The thread takes no Python lock, blocks all signals and ends only when told.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use slab::Slab;

use super::command::Command;
use super::listener::Acceptor;
use super::resolver::Resolver;
use super::session::Session;
use super::timer::{Pending, Timers};
use crate::error::{Errno, Error, Result};
use crate::mailbox::Mailbox;
use crate::options::ContextOptions;
use crate::sync::lock;

/// Bytes read from a stream at once, into one buffer that the thread's sessions share.
pub(super) const READ_BUFFER: usize = 64 * 1024;

const WAKE: Token = Token(usize::MAX);

/// The I/O threads of a context, started with the first endpoint that needs one.
pub(crate) struct IoPool {
    threads: Vec<Arc<IoThread>>,
    joins: Mutex<Vec<JoinHandle<()>>>,
}

/// One I/O thread, as other threads see it.
pub(crate) struct IoThread {
    commands: Mailbox<Command>,
    /// Of its poll: for whoever changes what is watched of a connection.
    pub(super) registry: Registry,
    waker: mio::Waker,
    /// The thread is in, or about to enter, a wait that only its waker or an event ends.
    asleep: AtomicBool,
    /// Sessions and listeners that live here.
    load: AtomicUsize,
    resolver: Arc<Resolver>,
}

/// What a session may use during its turn.
pub(super) struct Turn<'a> {
    pub(super) now: Instant,
    pub(super) buffer: &'a mut Vec<u8>,
    pub(super) registry: &'a Registry,
    pub(super) key: usize,
    pub(super) thread: &'a Arc<IoThread>,
}

/// What is known to be possible on a stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ready {
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The peer has closed its side, or the stream is broken: read on until that is seen.
    pub(super) hangup: bool,
}

/// What a turn left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There is more to do at once.
    Again,
    /// Nothing until an event, a command, or this deadline.
    Wait(Option<Instant>),
    /// It has ended.
    Dead,
}

impl IoPool {
    /// Starts the threads.
    pub(crate) fn start(options: &ContextOptions, resolver: &Arc<Resolver>) -> Result<Self> {
        let mut pool = Self {
            threads: Vec::with_capacity(options.io_threads),
            joins: Mutex::default(),
        };
        for index in 0..options.io_threads {
            if let Err(error) = pool.add(index, options, resolver) {
                pool.stop();
                return Err(error);
            }
        }
        Ok(pool)
    }

    fn add(
        &mut self,
        index: usize,
        options: &ContextOptions,
        resolver: &Arc<Resolver>,
    ) -> Result<()> {
        let poll = Poll::new()?;
        let thread = Arc::new(IoThread {
            commands: Mailbox::new(),
            registry: poll.registry().try_clone()?,
            waker: mio::Waker::new(poll.registry(), WAKE)?,
            asleep: AtomicBool::new(false),
            load: AtomicUsize::new(0),
            resolver: Arc::clone(resolver),
        });
        let own = Arc::clone(&thread);
        let wanted = options.threads.clone();
        let (settled, outcome) = mpsc::sync_channel(1);
        let waits = !wanted.is_default();
        let join = std::thread::Builder::new()
            .name(options.io_thread_name(index))
            .spawn(move || {
                let result = wanted.settle_current_thread();
                let runs = result.is_ok();
                let _ = settled.send(result); // nobody listens where nothing can fail
                if runs {
                    Loop::new(own, poll).run();
                }
            })?;
        if waits {
            outcome
                .recv()
                .unwrap_or_else(|_| Err(Errno::AGAIN.into()))?;
        }
        self.threads.push(thread);
        lock(&self.joins).push(join);
        Ok(())
    }

    /// The least loaded thread that `affinity` (a bit for each, 0 for all) allows.
    pub(crate) fn choose(&self, affinity: u64) -> Result<&Arc<IoThread>> {
        self.threads
            .iter()
            .enumerate()
            .filter(|(index, _)| affinity == 0 || (*index < 64 && affinity >> index & 1 == 1))
            .map(|(_, thread)| thread)
            .min_by_key(|thread| thread.load.load(Ordering::Relaxed))
            .ok_or_else(|| {
                Error::new(
                    Errno::MTHREAD,
                    format!(
                        "none of the context's {} I/O threads is in AFFINITY {affinity:#x}; \
                         IO_THREADS must be at least 1 for tcp and ipc",
                        self.threads.len()
                    ),
                )
            })
    }

    /// A listener was closed.
    pub(super) fn unlisten(&self, acceptor: &Arc<Acceptor>, deadline: Option<Instant>) {
        for thread in &self.threads {
            thread.post(Command::Unlisten(Arc::clone(acceptor), deadline));
        }
    }

    /// Ends the threads and waits for them.
    pub(crate) fn stop(&self) {
        for thread in &self.threads {
            thread.post(Command::Stop);
        }
        for join in lock(&self.joins).drain(..) {
            // The last handle of a context may be let go of on one of its own threads, which then ends by
            // itself. A thread that panicked has nothing left to give.
            if join.thread().id() != std::thread::current().id() {
                let _ = join.join();
            }
        }
    }
}

impl IoThread {
    pub(super) fn post(&self, command: Command) {
        self.commands.post(command);
        fence(Ordering::SeqCst); // against the fence in `Loop::run`
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            // Fails only if the thread's poll is gone, and the thread with it.
            let _ = self.waker.wake();
        }
    }

    /// A session lives on this thread from now on.
    pub(crate) fn adopt(&self, session: Arc<Session>) {
        self.load.fetch_add(1, Ordering::Relaxed);
        self.post(Command::Adopt(session));
    }

    /// A listener lives on this thread from now on.
    pub(crate) fn listen(&self, acceptor: Arc<Acceptor>) {
        self.load.fetch_add(1, Ordering::Relaxed);
        self.post(Command::Listen(acceptor));
    }

    /// Has a host name looked up, and the answer sent to `session`.
    pub(super) fn resolve(
        self: &Arc<Self>,
        session: Arc<Session>,
        host: &str,
        port: u16,
        ipv6: bool,
    ) {
        let thread = Arc::clone(self);
        let done = move |answer: io::Result<Vec<SocketAddr>>| {
            thread.post(Command::Resolved(session, answer));
        };
        self.resolver.resolve(host, port, ipv6, Box::new(done));
    }
}

/// Registers a descriptor for reading and, if `write`, writing, edge-triggered.
pub(super) fn register(registry: &Registry, fd: RawFd, key: usize, write: bool) -> io::Result<()> {
    let interest = if write {
        Interest::READABLE | Interest::WRITABLE
    } else {
        Interest::READABLE
    };
    registry.register(&mut SourceFd(&fd), Token(key), interest)
}

/// Changes what a descriptor is watched for, which is something if `watched`; an event follows for what is
/// there already. Returns whether it is watched now.
pub(super) fn rewatch(
    registry: &Registry,
    fd: RawFd,
    key: usize,
    watched: bool,
    (read, write): (bool, bool),
) -> bool {
    let interest = match (read, write) {
        (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
        (true, false) => Some(Interest::READABLE),
        (false, true) => Some(Interest::WRITABLE),
        (false, false) => None,
    };
    let mut source = SourceFd(&fd);
    let changed = match (interest, watched) {
        (Some(interest), true) => registry.reregister(&mut source, Token(key), interest),
        (Some(interest), false) => registry.register(&mut source, Token(key), interest),
        // Out it goes: watched for the least, it would still wake the thread for what comes.
        (None, true) => registry.deregister(&mut source),
        (None, false) => Ok(()),
    };
    changed.is_ok() && (read || write)
}

/// Takes a descriptor out again, before it is closed.
pub(super) fn deregister(registry: &Registry, fd: &impl AsRawFd) {
    // It fails only for a descriptor that is not registered, which is what is wanted.
    let _ = registry.deregister(&mut SourceFd(&fd.as_raw_fd()));
}

#[derive(Clone)]
enum Resident {
    Session(Arc<Session>),
    Acceptor(Arc<Acceptor>),
}

struct Entry {
    resident: Resident,
    ready: Ready,
    /// On the run list.
    queued: bool,
    timers: Pending,
}

struct Loop {
    thread: Arc<IoThread>,
    poll: Poll,
    entries: Slab<Entry>,
    run: VecDeque<usize>,
    timers: Timers,
    buffer: Vec<u8>,
}

impl Loop {
    fn new(thread: Arc<IoThread>, poll: Poll) -> Self {
        Self {
            thread,
            poll,
            entries: Slab::new(),
            run: VecDeque::new(),
            timers: Timers::default(),
            buffer: vec![0; READ_BUFFER],
        }
    }

    fn run(mut self) {
        self.work();
        // Whoever is left belongs to a context that was dropped, not ended.
        for (_, entry) in &self.entries {
            if let Resident::Session(session) = &entry.resident {
                session.abandon();
            }
        }
        self.thread.commands.drain(drop);
    }

    fn work(&mut self) {
        // Signals are for the application's threads: a system call there must be interrupted, not here.
        let _ = nix::sys::signal::SigSet::all().thread_block();
        let mut events = Events::with_capacity(256);
        let thread = Arc::clone(&self.thread);
        let mut stopped = false;
        while !stopped {
            let timeout = if self.run.is_empty() {
                self.thread.asleep.store(true, Ordering::Relaxed);
                fence(Ordering::SeqCst); // against the fence in `IoThread::post`
                if self.thread.commands.is_pending() {
                    Some(Duration::ZERO)
                } else {
                    self.timers.until_next(Instant::now())
                }
            } else {
                Some(Duration::ZERO)
            };
            // EINTR happens only to a process that was stopped and goes on (signals are blocked). Whatever happens, the
            // loop looks at its commands and goes on.
            let _ = self.poll.poll(&mut events, timeout);
            self.thread.asleep.store(false, Ordering::Relaxed);
            for event in &events {
                let Token(key) = event.token();
                if let Some(entry) = self.entries.get_mut(key) {
                    let ready = &mut entry.ready;
                    ready.readable |= event.is_readable() || event.is_read_closed();
                    ready.writable |= event.is_writable() || event.is_write_closed();
                    ready.hangup |= event.is_read_closed() || event.is_error();
                    self.enqueue(key);
                }
            }
            if thread.commands.is_pending() {
                thread
                    .commands
                    .drain(|command| stopped |= !self.obey(command));
            }
            let now = Instant::now();
            while let Some((deadline, key)) = self.timers.poll_due(now) {
                // A reused key gets a turn too many, which does nothing.
                if let Some(entry) = self.entries.get_mut(key) {
                    entry.timers.came(deadline);
                    self.enqueue(key);
                }
            }
            // Those who ask for more get it in the next round, after a look at everybody else.
            for _ in 0..self.run.len() {
                if let Some(key) = self.run.pop_front() {
                    self.turn(key, now);
                }
            }
        }
    }

    fn enqueue(&mut self, key: usize) {
        if let Some(entry) = self.entries.get_mut(key)
            && !entry.queued
        {
            entry.queued = true;
            self.run.push_back(key);
        }
    }

    fn admit(&mut self, resident: Resident) -> usize {
        self.entries.insert(Entry {
            resident,
            ready: Ready::default(),
            queued: false,
            timers: Pending::default(),
        })
    }

    /// False to stop.
    fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Adopt(session) => {
                let key = self.admit(Resident::Session(Arc::clone(&session)));
                session.set_key(key);
                self.enqueue(key);
            }
            Command::Listen(acceptor) => {
                let key = self.admit(Resident::Acceptor(Arc::clone(&acceptor)));
                if acceptor.register(self.poll.registry(), key) {
                    self.enqueue(key);
                } else {
                    self.remove(key); // closed before it came here
                }
            }
            Command::Run(session) => {
                session.running();
                self.wake(&session);
            }
            Command::Resolved(session, answer) => {
                session.resolved(answer);
                self.wake(&session);
            }
            Command::End(session, deadline) => {
                session.set_ending(deadline);
                self.wake(&session);
            }
            Command::Unlisten(acceptor, deadline) => {
                let (own, children): (Vec<usize>, Vec<usize>) = {
                    let is_own = |entry: &Entry| matches!(&entry.resident, Resident::Acceptor(one) if Arc::ptr_eq(one, &acceptor));
                    let is_child = |entry: &Entry| matches!(&entry.resident, Resident::Session(one) if one.endpoint() == acceptor.id());
                    (self.keys(is_own), self.keys(is_child))
                };
                for key in own {
                    self.remove(key);
                }
                for key in children {
                    if let Some(Entry {
                        resident: Resident::Session(session),
                        ..
                    }) = self.entries.get(key)
                    {
                        session.orphaned(deadline);
                    }
                    self.enqueue(key);
                }
            }
            Command::Stop => return false,
        }
        true
    }

    fn keys(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<usize> {
        self.entries
            .iter()
            .filter(|(_, entry)| wanted(entry))
            .map(|(key, _)| key)
            .collect()
    }

    fn wake(&mut self, session: &Arc<Session>) {
        if let Some(key) = session.key()
            && matches!(self.entries.get(key), Some(Entry { resident: Resident::Session(one), .. }) if Arc::ptr_eq(one, session))
        {
            self.enqueue(key);
        }
    }

    fn turn(&mut self, key: usize, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        entry.queued = false;
        let ready = std::mem::take(&mut entry.ready);
        let resident = entry.resident.clone();
        let mut turn = Turn {
            now,
            buffer: &mut self.buffer,
            registry: self.poll.registry(),
            key,
            thread: &self.thread,
        };
        let next = match &resident {
            Resident::Session(session) => session.turn(&mut turn, ready),
            Resident::Acceptor(acceptor) => acceptor.turn(&mut turn),
        };
        match next {
            Next::Again => self.enqueue(key),
            Next::Wait(None) => {}
            Next::Wait(Some(deadline)) => {
                if self.entries[key].timers.must_set(deadline) {
                    self.timers.set(deadline, key);
                }
            }
            Next::Dead => self.remove(key),
        }
    }

    fn remove(&mut self, key: usize) {
        if self.entries.try_remove(key).is_some() {
            self.thread.load.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
