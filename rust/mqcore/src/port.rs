//! What the rest of the engine may touch of a socket: where news goes, who its peers are, what happened.
//!
//! A [`Port`] outlives neither side's view of the other: sessions and inproc peers hold it, the socket
//! holds it, and it holds the pipes only while they are on their way into the pattern.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Instant;

use mqcore_proto::{Frame, SocketType};

use crate::error::{Errno, Error, Result};
use crate::monitor::{Ends, EventKind, Monitor};
use crate::pattern::{Command, Drops, Peer, PipeId, is_split};
use crate::pipe::{Gauge, PipeEnd};
use crate::signals::{Inbox, Lease, LoopLease, LoopWatch, Signals};
use crate::sync::lock;

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

    /// The same for an event loop, which watches the connection under `key` from one answer to the next.
    fn lend_to_loop(&self, _watch: &Arc<LoopWatch>, _key: usize) -> Option<Arc<dyn LoopLease>> {
        None
    }

    /// Both addresses of the connection.
    fn ends(&self) -> Ends;
}

/// A socket that can be made to take in its news while the application does something else: a new
/// peer must get the subscriptions at once, not when the application happens to call next.
pub(crate) trait Tend: Send + Sync {
    fn tend(&self);

    /// Where it is bound and connected.
    fn endpoints(&self) -> Vec<String>;
}

/// A live pipe of a socket.
struct Entry {
    link: Arc<dyn Link>,
    /// The bind or connect it came from.
    endpoint: u64,
    /// The routing id it owns.
    name: Frame,
    /// What waits in the pipe, for the peer and from it.
    outbound: Gauge,
    inbound: Gauge,
}

/// A pipe of a closed socket that still has something to send.
struct Leaving {
    /// Weak: it holds the port.
    link: Weak<dyn Link>,
    outbound: Gauge,
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

/// What a connect says whose CONNECT_ROUTING_ID cannot be claimed.
pub(crate) fn name_in_use() -> Error {
    Error::new(
        Errno::ADDRINUSE,
        "CONNECT_ROUTING_ID is the routing id of a live peer; choose another",
    )
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
    leaving: Mutex<HashMap<PipeId, Leaving>>,
    closed: AtomicBool,
}

impl Port {
    pub(crate) fn new(kind: SocketType) -> Arc<Self> {
        let signals = Arc::new(Signals::default());
        let split = is_split(kind);
        let inbox =
            |readable, writable| Arc::new(Inbox::new(Arc::clone(&signals), readable, writable));
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
            peers: Mutex::default(),
            leaving: Mutex::default(),
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

    /// EADDRINUSE if `name` is a routing id in use that is not to be handed over.
    pub(crate) fn check_free(&self, name: &[u8]) -> Result<()> {
        if self.names_peers()
            && !self.handover.load(Ordering::Relaxed)
            && lock(&self.ids).owners.contains_key(&Frame::from(name))
        {
            return Err(name_in_use());
        }
        Ok(())
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
        let entry = Entry {
            link,
            endpoint,
            name: peer.routing_id.clone(),
            outbound: end.writer.gauge(),
            inbound: end.reader.gauge(),
        };
        peers.insert(peer.id, entry);
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
        lock(&self.leaving).remove(&pipe);
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
        self.only_link()?.lend()
    }

    /// The same for an event loop, which watches it under `key`.
    pub(crate) fn lend_to_loop(
        &self,
        watch: &Arc<LoopWatch>,
        key: usize,
    ) -> Option<Arc<dyn LoopLease>> {
        let lend = || self.only_link()?.lend_to_loop(watch, key);
        self.signals.lend_to_loop(lend)
    }

    fn only_link(&self) -> Option<Arc<dyn Link>> {
        let peers = lock(&self.peers);
        let mut links = peers.values().map(|entry| &entry.link);
        links.next().filter(|_| peers.len() == 1).map(Arc::clone)
    }

    /// Peers whose pipes are live.
    pub(crate) fn peer_count(&self) -> usize {
        lock(&self.peers).len()
    }

    /// Reports the queue lengths of each peer to the monitor; how many there were. `None`: it did not ask for them.
    pub(crate) fn report_queues(&self) -> Option<usize> {
        if !self.monitor.wants(EventKind::PipesStats) {
            return None;
        }
        let queues: Vec<_> = lock(&self.peers)
            .values()
            .map(|entry| {
                let (outbound, inbound) = (entry.outbound.queued(), entry.inbound.queued());
                (Arc::clone(&entry.link), outbound as u64, inbound as u64)
            })
            .collect();
        for (link, outbound, inbound) in &queues {
            self.monitor.emit_queues(*outbound, *inbound, &link.ends());
        }
        Some(queues.len())
    }

    /// What peers have not been sent yet, for people: "3 messages for tcp://127.0.0.1:5555". A SUB sends its
    /// subscriptions. A closed socket has something for each connection that is left, be it what the kernel holds for a slow peer.
    pub(crate) fn unsent(&self) -> Vec<String> {
        let mut waiting: Vec<_> = lock(&self.peers)
            .values()
            .map(|entry| (Arc::clone(&entry.link), entry.outbound.queued()))
            .filter(|(_, queued)| *queued > 0)
            .collect();
        waiting.extend(
            lock(&self.leaving)
                .values()
                .filter_map(|leaving| Some((leaving.link.upgrade()?, leaving.outbound.queued()))),
        );
        let what = match self.kind {
            SocketType::Sub => "subscription",
            _ => "message",
        };
        let mut unsent: Vec<String> = waiting
            .into_iter()
            .map(|(link, queued)| {
                let Ends { local, remote } = link.ends();
                let place = [remote, local].into_iter().find(|end| !end.is_empty());
                let place = place.unwrap_or_else(|| "a peer in this process".to_owned());
                match queued {
                    0 => format!("the rest for {place}"),
                    1 => format!("1 {what} for {place}"),
                    _ => format!("{queued} {what}s for {place}"),
                }
            })
            .collect();
        unsent.sort();
        unsent
    }

    /// The endpoints of the socket, while it is open.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        let socket = self.tender.get().and_then(Weak::upgrade);
        socket.map(|socket| socket.endpoints()).unwrap_or_default()
    }

    /// Takes no further peers and ends those there are.
    pub(crate) fn close(&self, deadline: Option<Instant>) {
        let links: Vec<_> = {
            let mut peers = lock(&self.peers);
            self.closed.store(true, Ordering::SeqCst);
            let mut leaving = lock(&self.leaving);
            let leave = |(pipe, entry): (PipeId, Entry)| {
                let link = Arc::downgrade(&entry.link);
                let outbound = entry.outbound;
                leaving.insert(pipe, Leaving { link, outbound });
                entry.link
            };
            peers.drain().map(leave).collect()
        };
        for link in links {
            link.end(deadline);
        }
        // An inproc pipe has gone with its link: nobody will say so later.
        lock(&self.leaving).retain(|_, leaving| leaving.link.strong_count() > 0);
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
