//! What the rest of the engine may touch of a socket: where news goes, who its peers are, what happened.
//!
//! A [`Port`] outlives neither side's view of the other: sessions and inproc peers hold it, the socket
//! holds it, and it holds the pipes only while they are on their way into the pattern.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use mqcore_proto::{Frame, SocketType};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::Result;
use crate::mailbox::Mailbox;
use crate::monitor::Monitor;
use crate::pattern::{Command, Drops, Peer, PipeId, is_split};
use crate::pipe::{PipeEnd, Wake};
use crate::sync::{Event, Luck, Woken, lock};

/// Something can be received.
pub const POLLIN: i32 = 1;
/// Something can be sent.
pub const POLLOUT: i32 = 2;
/// Only in results, and for descriptors: an error or a hang-up.
pub const POLLERR: i32 = 4;
/// For descriptors: urgent data.
pub const POLLPRI: i32 = 8;

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
    alarm: Alarm,
}

/// What a watcher is woken by, beside its event.
#[derive(Debug)]
pub(crate) enum Alarm {
    /// Nothing: it sleeps on the event.
    None,
    /// It sleeps in an epoll, for descriptors too.
    Epoll(mio::Waker),
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
    /// The longest patience of a watched socket, in microseconds.
    patience: AtomicU32,
}

impl NewsList {
    /// Takes the list. Who is on it stays marked as listed until [`Watcher::unlist`].
    pub(crate) fn take(&self) -> Vec<usize> {
        std::mem::take(&mut lock(&self.keys))
    }

    /// How long a waiter looks on before it sleeps.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_micros(self.patience.load(Ordering::Relaxed).into())
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
            list.event.signal();
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
        self.event.signal();
        match &self.alarm {
            Alarm::List { .. } => self.list(),
            Alarm::None => {}
            // Fails only when the epoll is gone, and the poller with it.
            Alarm::Epoll(waker) => drop(waker.wake()),
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
    fd: OnceLock<Bell>,
    /// Who waits for an answer at the connection itself; made for the first, gone with the close.
    lessee: Mutex<Option<Arc<Watcher>>>,
    /// The lessee's.
    luck: Luck,
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

    /// A list is as patient as its most patient socket.
    fn share_patience(&self, watcher: &Watcher) {
        if let Alarm::List { list, .. } = &watcher.alarm {
            let micros = self.patience.load(Ordering::Relaxed);
            list.patience.fetch_max(micros, Ordering::Relaxed);
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
            let _watchers = lock(&self.watchers);
            self.watched.store(true, Ordering::SeqCst);
            self.followed.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
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
        let woken = self.wait_with(&watcher, lease, seen, deadline);
        *lock(&self.lessee) = Some(watcher);
        Ok(woken)
    }

    fn wait_with(
        &self,
        watcher: &Arc<Watcher>,
        lease: &dyn Lease,
        seen: u32,
        deadline: Option<Instant>,
    ) -> Woken {
        let Alarm::Bell(bell) = &watcher.alarm else {
            return Woken::Signalled;
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
        woken.unwrap_or_else(|| {
            lease.take_in();
            Woken::Signalled
        })
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

/// Threads that wait for a socket.
struct Sleepers {
    signals: Arc<Signals>,
    readable: bool,
    writable: bool,
}

/// What one thread keeps back.
struct Hold {
    active: Cell<bool>,
    // Empty whenever no hold is active, so a thread that ends has nothing to drop here; without a
    // destructor the variable costs one look-up.
    held: ManuallyDrop<RefCell<Vec<Sleepers>>>,
}

thread_local! {
    static HOLD: Hold = const {
        Hold {
            active: Cell::new(false),
            held: ManuallyDrop::new(RefCell::new(Vec::new())),
        }
    };
}

/// Threads to be woken; dropping it wakes them.
pub struct HeldWakes(Vec<Sleepers>);

/// Calls `attempt`, and only notes the threads that it would wake; whoever is to be woken is returned.
///
/// For a caller that holds a lock which the woken thread will want (Python's): a thread woken under it
/// runs into it at once, and two more switches of threads follow. Nothing else is kept back: a thread
/// that looks for itself sees the news at once. Not to be nested.
#[inline]
pub fn hold_wakes<R>(attempt: impl FnOnce() -> R) -> (R, Option<HeldWakes>) {
    /// Ends the hold, also when `attempt` panics: then whoever was held is woken here.
    struct Active<'a>(&'a Hold);
    impl Drop for Active<'_> {
        #[inline]
        fn drop(&mut self) {
            self.0.active.set(false);
            if !self.0.held.borrow().is_empty() {
                drop(HeldWakes(self.0.held.take()));
            }
        }
    }
    HOLD.with(|hold| {
        hold.active.set(true);
        let active = Active(hold);
        let result = attempt();
        let held = if hold.held.borrow().is_empty() {
            None
        } else {
            Some(HeldWakes(hold.held.take()))
        };
        drop(active);
        (result, held)
    })
}

impl Drop for HeldWakes {
    fn drop(&mut self) {
        for sleepers in self.0.drain(..) {
            if sleepers.readable {
                sleepers.signals.readable.wake();
            }
            if sleepers.writable {
                sleepers.signals.writable.wake();
            }
        }
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
    pub(crate) fn post(&self, command: Command) {
        self.commands.post(command);
        if HOLD.with(|hold| hold.active.get()) {
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
            HOLD.with(|hold| hold.held.borrow_mut().push(sleepers));
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

/// What stands behind a pipe on the far side: a session, or another socket of the process.
pub(crate) trait Link: Send + Sync {
    /// Ends the peer: what was sent to it goes out until `deadline` (`None` is for ever), no more is
    /// received.
    fn end(&self, deadline: Option<Instant>);

    /// Lends the connection to a caller that would wait for the answer to what it has just sent: it reads
    /// the answer itself, and the two hand-overs by the I/O thread fall away. `None` if that cannot be, or
    /// would not pay.
    fn lend(&self) -> Option<Box<dyn Lease>> {
        None
    }
}

/// What comes over a connection is one caller's to wait for, until this is dropped. Everything else (what
/// is sent, timers, the end) stays with the I/O thread.
pub(crate) trait Lease {
    /// Waits until something came (`None`), `bell` rings or the deadline has passed.
    /// Looks on before it sleeps, as `signals` says.
    fn wait(&self, bell: &Bell, signals: &Signals, deadline: Option<Instant>) -> Option<Woken>;

    /// Moves what came into the socket's pipe.
    fn take_in(&self);
}

/// A socket that can be made to take in its news while the application does something else: a new
/// peer must get the subscriptions at once, not when the application happens to call next.
pub(crate) trait Tend: Send + Sync {
    fn tend(&self);
}

/// A live pipe of a socket.
struct Entry {
    link: Arc<dyn Link>,
    /// The bind or connect it came from.
    endpoint: u64,
    /// The routing id it owns.
    name: Frame,
}

/// Routing ids in use, and the next automatic one.
struct RoutingIds {
    owners: HashMap<Frame, PipeId>,
    next: u32,
}

impl RoutingIds {
    /// The next automatic id that nobody uses: a zero byte, which no peer may begin its own with, and
    /// a number.
    fn automatic(&mut self) -> Frame {
        loop {
            let mut name = [0; 5];
            name[1..].copy_from_slice(&self.next.to_be_bytes());
            self.next = self.next.wrapping_add(1);
            let name = Frame::from(&name);
            if !self.owners.contains_key(&name) {
                return name;
            }
        }
    }
}

/// The names of pipes and endpoints are never used twice in a process.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A name for a pipe or an endpoint.
pub(crate) fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

/// See the head of this file.
pub(crate) struct Port {
    pub(crate) kind: SocketType,
    /// News for the receiving half; for a type that is not split, for both.
    pub(crate) inbox: Arc<Inbox>,
    /// News for the sending half; for a type that is not split, the same as `inbox`.
    pub(crate) outbox: Arc<Inbox>,
    pub(crate) signals: Arc<Signals>,
    pub(crate) monitor: Monitor,
    pub(crate) drops: Arc<Drops>,
    /// ROUTER: a newcomer takes the routing id of a live peer over.
    pub(crate) handover: AtomicBool,
    tender: OnceLock<Weak<dyn Tend>>,
    ids: Mutex<RoutingIds>,
    peers: Mutex<HashMap<PipeId, Entry>>,
    closed: AtomicBool,
}

impl Port {
    pub(crate) fn new(kind: SocketType) -> Arc<Self> {
        let signals = Arc::new(Signals::default());
        let split = is_split(kind);
        let inbox = |readable, writable| {
            Arc::new(Inbox {
                commands: Mailbox::new(),
                signals: Arc::clone(&signals),
                readable,
                writable,
            })
        };
        let (incoming, outgoing) = if split {
            (inbox(true, false), inbox(false, true))
        } else {
            let both = inbox(true, true);
            (Arc::clone(&both), both)
        };
        Arc::new(Self {
            kind,
            inbox: incoming,
            outbox: outgoing,
            signals,
            monitor: Monitor::default(),
            drops: Arc::default(),
            handover: AtomicBool::new(false),
            tender: OnceLock::new(),
            ids: Mutex::new(RoutingIds {
                owners: HashMap::new(),
                next: rand::random(),
            }),
            peers: Mutex::new(HashMap::new()),
            closed: AtomicBool::new(false),
        })
    }

    /// Whether peers have names here.
    pub(crate) fn names_peers(&self) -> bool {
        matches!(self.kind, SocketType::Router | SocketType::Stream)
    }

    /// Reserves a routing id for `pipe`: `wanted`, or an automatic one if that is empty. `None` if it is
    /// in use and not to be handed over. Types that do not name their peers answer with an empty one.
    pub(crate) fn claim(&self, wanted: &Frame, pipe: PipeId) -> Option<Frame> {
        if !self.names_peers() {
            return Some(Frame::empty());
        }
        let mut ids = lock(&self.ids);
        let name = if wanted.is_empty() {
            ids.automatic()
        } else {
            wanted.clone()
        };
        if let Some(&owner) = ids.owners.get(&name) {
            if !self.handover.load(Ordering::Relaxed) {
                return None;
            }
            ids.owners.insert(name.clone(), pipe);
            drop(ids);
            self.end(owner, Some(Instant::now()));
        } else {
            ids.owners.insert(name.clone(), pipe);
        }
        Some(name)
    }

    /// An automatic routing id for a connection that is yet to be made.
    pub(crate) fn automatic_id(&self) -> Frame {
        lock(&self.ids).automatic()
    }

    /// Gives a routing id back, if `pipe` still owns it.
    pub(crate) fn release(&self, name: &Frame, pipe: PipeId) {
        let mut ids = lock(&self.ids);
        if ids.owners.get(name) == Some(&pipe) {
            ids.owners.remove(name);
        }
    }

    /// Hands a new peer's pipe to the pattern, and lets it take it in. `false` (and the pipe is dropped)
    /// after the close. Takes the locks of the socket's halves for a moment; nobody who holds one waits
    /// for a lock of the caller.
    pub(crate) fn attach(
        &self,
        peer: Arc<Peer>,
        end: PipeEnd,
        link: Arc<dyn Link>,
        endpoint: u64,
    ) -> bool {
        // Posted under the lock: the close, which takes it too, then finds and drops what was posted.
        let mut peers = lock(&self.peers);
        if self.is_closed() {
            return false;
        }
        let name = peer.routing_id.clone();
        peers.insert(
            peer.id,
            Entry {
                link,
                endpoint,
                name,
            },
        );
        let attach = |reader, writer| Command::Attach {
            peer: Arc::clone(&peer),
            reader,
            writer,
        };
        if is_split(self.kind) {
            self.outbox.post(attach(None, Some(end.writer)));
            self.inbox.post(attach(Some(end.reader), None));
        } else {
            self.inbox.post(attach(Some(end.reader), Some(end.writer)));
        }
        drop(peers);
        self.tend();
        true
    }

    /// Names the socket behind this port; once.
    pub(crate) fn set_tender(&self, socket: Weak<dyn Tend>) {
        let _ = self.tender.set(socket);
    }

    /// Tells what stands behind a pipe from now on.
    pub(crate) fn relink(&self, pipe: PipeId, link: Arc<dyn Link>) {
        if let Some(entry) = lock(&self.peers).get_mut(&pipe) {
            entry.link = link;
        }
    }

    /// Forgets a pipe whose far side has ended; its routing id is free again.
    pub(crate) fn forget(&self, pipe: PipeId) {
        let entry = lock(&self.peers).remove(&pipe);
        if let Some(entry) = entry {
            self.release(&entry.name, pipe);
        }
    }

    /// Ends the far side of a pipe.
    pub(crate) fn end(&self, pipe: PipeId, deadline: Option<Instant>) {
        let link = lock(&self.peers)
            .get(&pipe)
            .map(|entry| Arc::clone(&entry.link));
        if let Some(link) = link {
            link.end(deadline);
        }
    }

    /// Tells the pattern to send no more to the peers of `endpoint`, and ends their far sides.
    pub(crate) fn detach_endpoint(&self, endpoint: u64, deadline: Option<Instant>) {
        let links: Vec<_> = lock(&self.peers)
            .iter()
            .filter(|(_, entry)| entry.endpoint == endpoint)
            .map(|(&pipe, entry)| (pipe, Arc::clone(&entry.link)))
            .collect();
        for (pipe, link) in links {
            self.detach(pipe);
            link.end(deadline);
        }
    }

    /// Makes the pattern send no more to a peer. The caller holds no lock of a session or a half.
    pub(crate) fn detach(&self, pipe: PipeId) {
        if self.is_closed() {
            return;
        }
        self.outbox.post(Command::Detach(pipe));
        if is_split(self.kind) {
            self.inbox.post(Command::Detach(pipe));
        }
        self.tend();
    }

    /// Lets the socket take in its news, if it is still there.
    fn tend(&self) {
        if let Some(socket) = self.tender.get().and_then(Weak::upgrade) {
            socket.tend();
        }
    }

    /// Whether a pipe is live.
    pub(crate) fn has(&self, pipe: PipeId) -> bool {
        lock(&self.peers).contains_key(&pipe)
    }

    /// Forgets the pipes of an endpoint.
    pub(crate) fn forget_endpoint(&self, endpoint: u64) {
        let pipes: Vec<PipeId> = lock(&self.peers)
            .iter()
            .filter(|(_, entry)| entry.endpoint == endpoint)
            .map(|(&pipe, _)| pipe)
            .collect();
        for pipe in pipes {
            self.forget(pipe);
        }
    }

    /// The connection of the only peer, if it can be lent.
    pub(crate) fn lend(&self) -> Option<Box<dyn Lease>> {
        let link = {
            let peers = lock(&self.peers);
            let mut links = peers.values().map(|entry| &entry.link);
            links.next().filter(|_| peers.len() == 1).map(Arc::clone)
        };
        link?.lend()
    }

    /// Peers whose pipes are live.
    pub(crate) fn peer_count(&self) -> usize {
        lock(&self.peers).len()
    }

    /// Takes no further peers and ends those there are.
    pub(crate) fn close(&self, deadline: Option<Instant>) {
        let links: Vec<_> = {
            let mut peers = lock(&self.peers);
            self.closed.store(true, Ordering::SeqCst);
            peers.drain().map(|(_, entry)| entry.link).collect()
        };
        for link in links {
            link.end(deadline);
        }
        self.signals.notify(true, true);
        self.signals.close_lessee();
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn automatic_ids_are_never_taken_over_and_never_repeat() {
        let port = Port::new(SocketType::Router);
        let first = port.claim(&Frame::empty(), 1).unwrap();
        assert_eq!((first.len(), first[0]), (5, 0));
        assert_eq!(port.claim(&first, 2), None);
        assert_ne!(port.claim(&Frame::empty(), 3).unwrap(), first);
    }

    #[test]
    fn released_id_is_free_again_and_only_its_owner_releases_it() {
        let port = Port::new(SocketType::Router);
        let name = Frame::from("a");
        assert_eq!(port.claim(&name, 1), Some(name.clone()));
        assert_eq!(port.claim(&name, 2), None);
        port.release(&name, 2);
        assert_eq!(port.claim(&name, 2), None);
        port.release(&name, 1);
        assert_eq!(port.claim(&name, 2), Some(name));
    }

    #[test]
    fn types_without_names_share_the_empty_one() {
        let port = Port::new(SocketType::Dealer);
        assert_eq!(port.claim(&Frame::from("x"), 1), Some(Frame::empty()));
        assert_eq!(port.claim(&Frame::from("x"), 2), Some(Frame::empty()));
    }
}
