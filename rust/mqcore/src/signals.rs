//! Who is told when a socket may have become ready: threads that sleep, pollers, event loops.
//!
//! News comes as a command into an [`Inbox`]; its [`Signals`] tell everybody who waits.

mod held;

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::Result;
use crate::mailbox::Mailbox;
use crate::pattern::Command;
use crate::pipe::Wake;
use crate::sync::{Event, Luck, Woken, lock};
use crate::vessel::Vessel;
use held::Sleepers;
pub(crate) use held::{ByHand, put_off};
pub use held::{HeldWakes, hold_wakes, hold_writes};

/// Something can be received.
pub const POLLIN: i32 = 1;
/// Something can be sent.
pub const POLLOUT: i32 = 2;
/// Only in results, and for descriptors: an error or a hang-up.
pub const POLLERR: i32 = 4;
/// For descriptors: urgent data.
pub const POLLPRI: i32 = 8;

/// A call that waits, and never sleeps, lets signal handlers run after so long.
const HEARING: Duration = Duration::from_millis(50);

/// An eventfd that a poller or an event loop of somebody else can watch.
#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

impl Bell {
    pub(crate) fn new() -> Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self(eventfd(0, flags)?))
    }

    /// Makes the descriptor readable.
    pub(crate) fn ring(&self) {
        // The only failure is a counter at its maximum: it is readable then.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Makes the descriptor unreadable until the next ring.
    pub(crate) fn silence(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8][..]);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What somebody sleeps on who waits for more than one socket's events.
#[derive(Debug)]
pub(crate) struct Watcher {
    pub(crate) event: Event,
    pub(crate) alarm: Alarm,
}

/// What a watcher is woken by, beside its event.
#[derive(Debug)]
pub(crate) enum Alarm {
    /// Nothing: it sleeps on the event.
    None,
    /// It sleeps in a poll, for a connection too.
    Bell(Bell),
    /// It watches many sockets, and only wants to look at those with news: this one's place on its list.
    List {
        list: Arc<NewsList>,
        key: usize,
        listed: AtomicBool,
    },
}

/// Of many watched sockets those that may have become ready, each once, by the keys of who watches them.
#[derive(Debug, Default)]
pub(crate) struct NewsList {
    pub(crate) event: Event,
    keys: Mutex<Vec<usize>>,
    /// Whether a watched socket has ever been patient: then ask them.
    patient: AtomicBool,
    /// Who does not sleep on the event says where, and when.
    alarm: OnceLock<Elsewhere>,
    asleep: AtomicBool,
}

/// Where somebody sleeps who waits for more than news.
#[derive(Debug)]
pub(crate) enum Elsewhere {
    /// In an epoll of ours.
    Epoll(mio::Waker),
    /// In an event loop of the application, which watches this.
    Loop(Arc<LoopWatch>),
}

impl NewsList {
    /// Takes the list. Who is on it stays marked as listed until [`Watcher::unlist`].
    pub(crate) fn take(&self) -> Vec<usize> {
        std::mem::take(&mut lock(&self.keys))
    }

    /// From now on who sleeps may do so there.
    pub(crate) fn set_alarm(&self, alarm: Elsewhere) {
        let _ = self.alarm.set(alarm);
    }

    /// Tells whether somebody sleeps where the alarm wakes. Look at the event afterwards.
    pub(crate) fn set_asleep(&self, asleep: bool) {
        self.asleep.store(asleep, Ordering::SeqCst);
        fence(Ordering::SeqCst); // against the one in `signal`
    }

    /// Wakes who sleeps.
    pub(crate) fn signal(&self) {
        self.event.signal();
        if let Some(alarm) = self.alarm.get() {
            fence(Ordering::SeqCst);
            if self.asleep.swap(false, Ordering::SeqCst) {
                match alarm {
                    // Fails only when the epoll is gone, and the poller with it.
                    Elsewhere::Epoll(waker) => drop(waker.wake()),
                    Elsewhere::Loop(watch) => watch.bell.ring(),
                }
            }
        }
    }

    /// Whether one of the sockets may want that a waiter looks on before it sleeps.
    pub(crate) fn may_be_patient(&self) -> bool {
        self.patient.load(Ordering::Relaxed)
    }
}

impl Watcher {
    pub(crate) fn new(alarm: Alarm) -> Self {
        Self {
            event: Event::default(),
            alarm,
        }
    }

    /// Notes that its socket may have become ready.
    pub(crate) fn list(&self) {
        if let Alarm::List { list, key, listed } = &self.alarm
            && !listed.swap(true, Ordering::SeqCst)
        {
            lock(&list.keys).push(*key);
            list.signal();
        }
    }

    /// News that come from now on do not put it on the list, until [`unlist`](Self::unlist).
    pub(crate) fn mute(&self) {
        if let Alarm::List { listed, .. } = &self.alarm {
            listed.store(true, Ordering::SeqCst);
        }
    }

    /// News that come from now on put it on the list again. Look at its socket afterwards.
    pub(crate) fn unlist(&self) {
        if let Alarm::List { listed, .. } = &self.alarm {
            listed.store(false, Ordering::SeqCst);
            fence(Ordering::SeqCst); // against the one in `Signals::ring_if_watched`
        }
    }

    fn wake(&self) {
        if let Alarm::List { .. } = self.alarm {
            return self.list(); // nobody sleeps on its own event
        }
        self.event.signal();
        match &self.alarm {
            Alarm::None | Alarm::List { .. } => {}
            Alarm::Bell(bell) => bell.ring(),
        }
    }
}

/// Who is told when a socket may have become ready.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    pub(crate) readable: Event,
    pub(crate) writable: Event,
    watched: AtomicBool,
    watchers: Mutex<Vec<Arc<Watcher>>>,
    /// Somebody must hear of what the application does with the socket itself: who watches the descriptor,
    /// and who has it on a list.
    followed: AtomicBool,
    /// How long waiters look on before they sleep (SPIN), in microseconds.
    patience: AtomicU32,
    /// The public descriptor. It stays open until the last face of the socket is gone, not only until the close: a
    /// loop that still watches it must not find another one under its number.
    fd: OnceLock<Bell>,
    /// Who waits for an answer at the connection itself; made for the first, gone with the close.
    lessee: Mutex<Option<Arc<Watcher>>>,
    /// The lessee's.
    luck: Luck,
    /// The lease of an event loop that reads the connection itself.
    loan: Mutex<Option<Weak<dyn LoopLease>>>,
    /// Who reads it itself when it comes back.
    returning: Mutex<Option<Weak<dyn Returning>>>,
    is_expected_back: AtomicBool,
    /// Calls that wait to receive.
    receivers: AtomicUsize,
}

/// A call that waits to receive, until this is dropped.
pub(crate) struct Receiver<'a>(&'a Signals);

impl Drop for Receiver<'_> {
    fn drop(&mut self) {
        self.0.receivers.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Signals {
    /// Sets how long waiters look on before they sleep; to the microsecond.
    pub(crate) fn set_patience(&self, patience: Duration) {
        let micros = u32::try_from(patience.as_micros()).unwrap_or(u32::MAX);
        self.patience.store(micros, Ordering::Relaxed);
        for watcher in &*lock(&self.watchers) {
            self.share_patience(watcher);
        }
    }

    /// Tells a list that there is patience to ask for.
    fn share_patience(&self, watcher: &Watcher) {
        if let Alarm::List { list, .. } = &watcher.alarm
            && self.patience.load(Ordering::Relaxed) > 0
        {
            list.patient.store(true, Ordering::Relaxed);
        }
    }

    /// Whether to call [`follow_up`](Self::follow_up) after an operation of the application.
    #[inline]
    pub(crate) fn is_followed(&self) -> bool {
        self.followed.load(Ordering::Relaxed)
    }

    /// The application has done something with the socket, which may be ready for something else now.
    #[cold]
    pub(crate) fn follow_up(&self) {
        for watcher in &*lock(&self.watchers) {
            watcher.list();
        }
    }

    /// How long a waiter looks on before it sleeps.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_micros(self.patience.load(Ordering::Relaxed).into())
    }

    /// Looks on before the lessee sleeps; see [`Luck::look_on`].
    pub(crate) fn look_on(
        &self,
        glance: Duration,
        deadline: Option<Instant>,
        look: impl FnMut() -> bool,
    ) -> Option<Woken> {
        self.luck.look_on(glance, self.patience(), deadline, look)
    }

    /// Tells everybody who waits for the directions named.
    #[inline]
    pub(crate) fn notify(&self, readable: bool, writable: bool) {
        if readable {
            self.readable.signal();
        }
        if writable {
            self.writable.signal();
        }
        self.ring_if_watched();
    }

    #[inline]
    fn ring_if_watched(&self) {
        // A watcher that is not seen here finds the news when it looks after registering.
        fence(Ordering::SeqCst);
        if self.watched.load(Ordering::SeqCst) {
            self.ring();
        }
    }

    #[cold]
    fn ring(&self) {
        if let Some(bell) = self.fd.get() {
            bell.ring();
        }
        for watcher in &*lock(&self.watchers) {
            watcher.wake();
        }
    }

    /// Tells `watcher` from now on. Look at the socket afterwards.
    pub(crate) fn watch(&self, watcher: &Arc<Watcher>) {
        lock(&self.watchers).push(Arc::clone(watcher));
        if let Alarm::List { .. } = watcher.alarm {
            self.share_patience(watcher);
            self.followed.store(true, Ordering::Relaxed);
        }
        self.watched.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst); // against the one in `ring_if_watched`
        self.end_loan();
    }

    pub(crate) fn unwatch(&self, watcher: &Arc<Watcher>) {
        let mut watchers = lock(&self.watchers);
        if let Some(index) = watchers.iter().position(|one| Arc::ptr_eq(one, watcher)) {
            watchers.swap_remove(index);
        }
        let public = self.fd.get().is_some();
        self.watched
            .store(!watchers.is_empty() || public, Ordering::SeqCst);
        let listed = |watcher: &Arc<Watcher>| matches!(watcher.alarm, Alarm::List { .. });
        let followed = public || watchers.iter().any(listed);
        self.followed.store(followed, Ordering::Relaxed);
    }

    /// The socket's public descriptor, made at the first call.
    pub(crate) fn fd(&self) -> Result<&Bell> {
        if self.fd.get().is_none() {
            let bell = Bell::new()?;
            // Somebody may have been quicker: then this one is closed again.
            let _ = self.fd.set(bell);
            let watchers = lock(&self.watchers);
            self.watched.store(true, Ordering::SeqCst);
            self.followed.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            drop(watchers);
            self.end_loan();
        }
        Ok(self.fd.get().expect("set above and never taken"))
    }

    /// Waits at the connection that is lent until something came over it and was taken in, until the
    /// signals for reading have moved on from `seen`, or until the deadline. Look afterwards whether the
    /// socket was closed meanwhile: then [`close_lessee`](Self::close_lessee).
    pub(crate) fn wait_at(
        &self,
        lease: &dyn Lease,
        seen: u32,
        deadline: Option<Instant>,
    ) -> Result<Woken> {
        let kept = lock(&self.lessee).take(); // there is one lessee at a time
        let watcher = match kept {
            Some(watcher) => watcher,
            None => Arc::new(Watcher::new(Alarm::Bell(Bell::new()?))),
        };
        let mut pieces_since = None;
        let woken = loop {
            match self.wait_with(&watcher, lease, seen, deadline) {
                Some(woken) => break woken,
                None if lease.take_in() => break Woken::Signalled,
                None => {}
            }
            // A piece of it: who never gets to sleep would miss its deadline, and signals.
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                break Woken::TimedOut;
            }
            if now > *pieces_since.get_or_insert(now) + HEARING {
                break Woken::Interrupted;
            }
        };
        *lock(&self.lessee) = Some(watcher);
        Ok(woken)
    }

    fn wait_with(
        &self,
        watcher: &Arc<Watcher>,
        lease: &dyn Lease,
        seen: u32,
        deadline: Option<Instant>,
    ) -> Option<Woken> {
        let Alarm::Bell(bell) = &watcher.alarm else {
            return Some(Woken::Signalled);
        };
        let before = watcher.event.epoch();
        self.watch(watcher);
        let woken = if self.readable.epoch() == seen {
            lease.wait(bell, self, deadline)
        } else {
            Some(Woken::Signalled)
        };
        self.unwatch(watcher); // from here on nobody rings, least of all what is taken in
        if watcher.event.epoch() != before {
            bell.silence();
        }
        woken
    }

    /// A call begins to wait to receive. Try to borrow the connection afterwards.
    pub(crate) fn receiver(&self) -> Receiver<'_> {
        self.receivers.fetch_add(1, Ordering::SeqCst);
        Receiver(self)
    }

    /// Notes who reads the connection itself when it comes back. False if somebody else waits for the socket meanwhile: then
    /// it must not be left unread.
    pub(crate) fn expect_back(&self, reader: Weak<dyn Returning>) -> bool {
        *lock(&self.returning) = Some(reader);
        self.is_expected_back.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst); // against those in `watch` and `fd`
        self.receivers.load(Ordering::SeqCst) <= 1 && !self.is_watched()
    }

    /// The I/O thread reads again, for somebody looks who does not read the connection itself. True if it is worth a
    /// second look.
    #[inline]
    pub(crate) fn expect_nobody(&self) -> bool {
        self.is_expected_back.load(Ordering::SeqCst) && self.take_back()
    }

    #[cold]
    fn take_back(&self) -> bool {
        self.is_expected_back.store(false, Ordering::SeqCst);
        let reader = lock(&self.returning).take();
        let reader = reader.and_then(|reader| reader.upgrade());
        reader.is_some_and(|reader| reader.take_back())
    }

    /// Whether somebody wants to hear of news who does not read the connection itself.
    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::SeqCst)
    }

    /// Has `lend` lend a connection to the event loop that watches, unless somebody else waits for the socket too, and
    /// would have to wait for the loop.
    pub(crate) fn lend_to_loop(
        &self,
        lend: impl FnOnce() -> Option<Arc<dyn LoopLease>>,
    ) -> Option<Arc<dyn LoopLease>> {
        if self.is_watched_by_several() {
            return None;
        }
        let lease = lend()?;
        *lock(&self.loan) = Some(Arc::downgrade(&lease));
        if self.is_watched_by_several() {
            self.end_loan(); // who has come meanwhile may have seen none
        }
        Some(lease)
    }

    fn is_watched_by_several(&self) -> bool {
        lock(&self.watchers).len() > 1 || self.fd.get().is_some()
    }

    /// The I/O thread reads again, for somebody begins to wait who does not know when the loop runs.
    pub(crate) fn end_loan(&self) {
        let lease = lock(&self.loan).take();
        if let Some(lease) = lease.and_then(|lease| lease.upgrade()) {
            lease.end();
        }
        self.expect_nobody();
    }

    /// Gives back what only waiting needs, for the socket is closed.
    pub(crate) fn close_lessee(&self) {
        *lock(&self.lessee) = None;
    }

    /// The public descriptor, if anybody asked for it.
    #[inline]
    pub(crate) fn public_fd(&self) -> Option<&Bell> {
        self.fd.get()
    }
}

/// Commands for a half of the pattern, and whom to tell.
pub(crate) struct Inbox {
    commands: Mailbox<Command>,
    signals: Arc<Signals>,
    readable: bool,
    writable: bool,
}

impl Inbox {
    /// An inbox whose news may make a socket readable, writable or both.
    pub(crate) fn new(signals: Arc<Signals>, readable: bool, writable: bool) -> Self {
        Self {
            commands: Mailbox::new(),
            signals,
            readable,
            writable,
        }
    }

    pub(crate) fn post(&self, command: Command) {
        self.commands.post(command);
        if held::is_holding() {
            self.announce();
        } else {
            self.signals.notify(self.readable, self.writable);
        }
    }

    /// Tells everybody, but leaves the sleepers to whoever holds the wakes of this thread.
    fn announce(&self) {
        let readable = self.readable && self.signals.readable.announce();
        let writable = self.writable && self.signals.writable.announce();
        if readable || writable {
            let sleepers = Sleepers {
                signals: Arc::clone(&self.signals),
                readable,
                writable,
            };
            held::hold_back(sleepers);
        }
        self.signals.ring_if_watched();
    }

    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.commands.is_pending()
    }

    /// Handles what is there; waits for another thread that is handling something already.
    pub(crate) fn drain(&self, handle: impl FnMut(Command)) {
        self.commands.drain(handle);
    }
}

impl Wake for Inbox {
    fn wake(&self, token: u64) {
        self.post(Command::Wake(token));
    }
}

/// What comes over a connection is one caller's to wait for, until this is dropped. Everything else (what
/// is sent, timers, the end) stays with the I/O thread.
pub(crate) trait Lease {
    /// Waits until something came (`None`), `bell` rings or the deadline has passed.
    /// Looks on before it sleeps, as `signals` says.
    fn wait(&self, bell: &Bell, signals: &Signals, deadline: Option<Instant>) -> Option<Woken>;

    /// What the next long message is to be read into, if it fits; or not any more: then it comes back, unless it was begun.
    fn offer(&self, vessel: Option<Box<dyn Vessel>>) -> Option<Box<dyn Vessel>>;

    /// Moves what came into the socket's pipe, one message at the most if others stand behind it. Whether to look there.
    fn take_in(&self) -> bool;

    /// The same before the wait, if something may have come already that is nobody's news.
    fn take_in_before(&self) -> bool;
}

/// Who has taken a message off a connection, and leaves it unread until it comes back for the next one.
pub(crate) trait Returning: Send + Sync {
    /// The I/O thread reads again, unless it is back; what has come before is taken in. Whether that was a message.
    fn take_back(&self) -> bool;
}

/// The same as a [`Lease`] for an event loop, which watches the connection by a [`LoopWatch`]; the I/O thread may end it too.
pub(crate) trait LoopLease: Send + Sync {
    /// Moves what came into the socket's pipe. Look afterwards whether it is over.
    fn take_in(&self);

    /// The I/O thread reads again.
    fn end(&self);

    fn is_over(&self) -> bool;
}

/// What an event loop of the application watches: an epoll of a bell and of the connections that are lent to the loop.
/// Nobody sleeps here: it is in the loop's own epoll.
#[derive(Debug)]
pub(crate) struct LoopWatch {
    epoll: OwnedFd,
    bell: Bell,
    connections: AtomicUsize,
}

/// What there is to do for an event loop.
#[derive(Debug)]
pub(crate) struct LoopNews {
    /// The bell was rung.
    pub(crate) rung: bool,
    /// Connections with something to read, by key, and whether that is more than input: an end, an error.
    pub(crate) connections: Vec<(usize, bool)>,
}

impl LoopWatch {
    /// What the bell is called in the epoll; connections have their keys.
    const BELL: u64 = u64::MAX;

    pub(crate) fn new() -> Result<Self> {
        let watch = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            bell: Bell::new()?,
            connections: AtomicUsize::new(0),
        };
        watch.add(&watch.bell, Self::BELL)?;
        Ok(watch)
    }

    fn add(&self, source: impl AsFd, name: u64) -> rustix::io::Result<()> {
        let data = epoll::EventData::new_u64(name);
        epoll::add(&self.epoll, source, data, epoll::EventFlags::IN)
    }

    /// Watches a connection. False if the kernel has no room for that.
    pub(crate) fn watch(&self, stream: impl AsFd, key: usize) -> bool {
        let added = self.add(stream, key as u64).is_ok();
        self.connections.fetch_add(added.into(), Ordering::Relaxed);
        added
    }

    /// Watches a connection no more. It is still open: afterwards its number may be another's, and a copy of it that
    /// a forked process has would stay in the epoll.
    pub(crate) fn unwatch(&self, stream: impl AsFd) {
        let _ = epoll::delete(&self.epoll, stream); // it is there
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Why the descriptor is readable. Not all of it if that is much: it stays readable then.
    pub(crate) fn news(&self) -> LoopNews {
        let mut news = LoopNews {
            rung: true,
            connections: Vec::new(),
        };
        if self.connections.load(Ordering::Relaxed) == 0 {
            return news; // what else could it be
        }
        let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; 16];
        let at_once = rustix::time::Timespec::default();
        if let Ok((events, _)) = epoll::wait(&self.epoll, &mut events, Some(&at_once)) {
            news.rung = false;
            for event in events {
                let (name, flags) = (event.data.u64(), event.flags);
                if name == Self::BELL {
                    news.rung = true;
                } else {
                    let more = flags != epoll::EventFlags::IN;
                    news.connections.push((name as usize, more));
                }
            }
        }
        news
    }

    pub(crate) fn silence(&self) {
        self.bell.silence();
    }
}

impl AsFd for LoopWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
