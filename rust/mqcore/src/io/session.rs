//! A session: the way to one peer. One pipe end, one codec, one byte stream; [`Core::pump_out`] and
//! [`Core::pump_in`] alone move messages.
//!
//! ```text
//!            connect                                     accept
//!               v                                          |
//!   Waiting -> Resolving -> Dialing -> Linked <------------+      (through a proxy: Dialing -> Negotiating -> Linked)
//!      ^           |           |         |
//!      +-----------+-----------+---------+--> Dead      (accepted: always; connecting: when it ends)
//! ```
//!
//! A session is driven by turns on its I/O thread. Some of it may happen elsewhere, which saves the hand-off: the
//! application's own thread writes an answer, or something long, to the idle connection (see `by_hand.rs`), and it, or
//! its event loop, may read what it waits for (see `lease.rs`). All of it happens under the lock of the session, which nobody
//! holds for longer than one bounded read or write. Nothing else is waited for on the I/O thread, a lock of a socket least
//! of all.
//!
//! Who keeps its pipe while there is no connection: types that queue for a peer that is not there yet
//! (PAIR, DEALER, REQ, PUSH, and ROUTER with CONNECT_ROUTING_ID). SUB and XSUB get a new one when a
//! connection is lost, and with it send their subscriptions again. All others, and everybody with
//! IMMEDIATE, get a new pipe with each connection, so that routing ids start afresh.

mod by_hand;
mod dialing;
mod lease;
mod notices;
mod traffic;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use mqcore_proto::{Connection, Frame, PeerInfo, ProtocolError, SocketType};

use lease::Borrower;

use super::command::Command;
use super::thread::{IoThread, Next, Ready, Turn, deregister};
use crate::endpoint::{Endpoint, TcpAddress};
use crate::error::Errno;
use crate::monitor::{Counters, Ends, EventKind};
use crate::options::SocketOptions;
use crate::patience::Patience;
use crate::pattern::{Peer, PipeId, Properties};
use crate::pipe::{Bound, PipeEnd, Wake, Waker, pipe_pair};
use crate::port::{Link as PeerLink, Port, name_in_use, next_id};
use crate::signals::{Lease, LoopLease, LoopWatch, put_off};
use crate::sync::{Alive, Tally, lock};
use crate::transport::socks::Negotiation;
use crate::transport::{ResolvedAddress, Stream};
use crate::vessel::Vessel;

/// The names a session gives to its pipe ends.
const OUTWARD: u64 = 0;
const INWARD: u64 = 1;

/// A message of so many bytes is written by whoever sends it, and read by whoever waits for it, if that can be done at once.
const LONG: usize = 16 * 1024;

/// What every session of an endpoint shares.
#[derive(Clone)]
pub(crate) struct SessionConfig {
    pub(crate) port: Arc<Port>,
    /// The socket's options as they were at bind or connect.
    pub(crate) options: Arc<SocketOptions>,
    /// The id of the bind or connect.
    pub(crate) endpoint: u64,
    /// Its text, for events.
    pub(crate) address: Arc<str>,
    /// Bytes that a message of several parts may have, from the context's MAX_MSGSZ.
    pub(crate) max_message: i32,
    /// What `term` waits for.
    pub(crate) tally: Arc<Tally>,
}

/// See the head of this file.
pub(crate) struct Session {
    me: Weak<Session>,
    config: SessionConfig,
    /// The peer connected to us.
    accepted: bool,
    thread: Arc<IoThread>,
    /// Its place on the I/O thread; `NOWHERE` until it was adopted.
    key: AtomicUsize,
    /// A command to run it is on its way.
    scheduled: AtomicBool,
    /// A caller wanted to read by itself, and came while the I/O thread was reading.
    wanted: AtomicBool,
    /// Who was to read when it comes back shall not be waited for.
    recalled: AtomicBool,
    /// The application has left the endpoint; the command to end may still be on its way.
    leaving: AtomicBool,
    core: Mutex<Core>,
}

const NOWHERE: usize = usize::MAX;

/// Bits of RECONNECT_STOP: a connecting session ends when its connection was refused, when it was lost before
/// the handshake was done, when it is lost after `disconnect`.
const STOP_CONN_REFUSED: i32 = 1;
const STOP_HANDSHAKE_FAILED: i32 = 2;
const STOP_AFTER_DISCONNECT: i32 = 4;

struct Core {
    phase: Phase,
    /// How to connect again; `None` for an accepted connection.
    dialer: Option<Dialer>,
    pipe: Option<PipeEnd>,
    /// The pipe's id at the port; that of the last one if there is none, 0 before the first.
    pipe_id: PipeId,
    /// What the socket knows of the peer of the pipe.
    peer: Option<Arc<Peer>>,
    /// Asked to end, by this time at the latest (`None` inside: whenever everything is sent).
    ending: Option<Option<Instant>>,
    /// A caller that took something in found that the connection is over.
    found: Option<Loss>,
    alive: Option<Alive>,
}

enum Phase {
    /// Until the next attempt.
    Waiting {
        until: Instant,
    },
    /// Until the resolver answers.
    Resolving,
    /// Until the stream is connected.
    Dialing {
        stream: Stream,
        deadline: Option<Instant>,
    },
    /// Until the proxy has connected to the peer.
    Negotiating {
        stream: Stream,
        negotiation: Box<Negotiation>,
        deadline: Option<Instant>,
        /// An event has told of an end, and will not come again.
        hangup: bool,
    },
    Linked(Box<Link>),
    Dead,
}

struct Dialer {
    target: Endpoint,
    /// Addresses not yet tried in this attempt.
    addresses: VecDeque<ResolvedAddress>,
    /// Where to connect from, for the addresses that the resolver finds.
    source: Option<TcpAddress>,
    answer: Option<io::Result<Vec<SocketAddr>>>,
    /// Attempts since the last completed handshake.
    failures: u32,
    /// An address of this attempt refused.
    refused: bool,
}

/// A connection: the stream, the codec, and how far both are.
struct Link {
    stream: Arc<Stream>,
    connection: Connection,
    /// Received but not decoded, because the pipe was full. Invariant: at most one read buffer.
    input: Vec<u8>,
    ready: Ready,
    /// With the I/O thread's poll.
    registered: bool,
    /// STREAM, and ROUTER with ROUTER_RAW: no ZMTP.
    raw: bool,
    /// The inward pipe has no room, or much to be read; its reader calls when that has changed.
    paused: bool,
    /// For the reader of a laden pipe, and since and until when that is waited for.
    patience: Patience,
    patient: Option<(Instant, Instant)>,
    /// The peer will send no more.
    eof: bool,
    write_failed: bool,
    handshake_done: bool,
    /// The socket will send no more.
    outward_closed: bool,
    /// Messages that came in since the last one went out: if it is one, the application's answer to it
    /// goes out by its own hand, while several are better answered together.
    unanswered: u32,
    /// What went out last went out by the application's own hand: it may wait for the answer itself.
    lockstep: bool,
    /// Somebody does (see `lease.rs`), and the poll does not watch for what comes.
    lent: Option<Borrower>,
    /// When the I/O thread looks whether who has borrowed it still uses it.
    review_at: Option<Instant>,
    /// What a borrower wants the next long message to be read into; once that was begun, it stays until it is full.
    vessel: Option<Box<dyn Vessel>>,
    /// A message has come since a borrower began to read.
    brought: bool,
    /// What came last was a long message.
    brings_long: bool,
    /// When an event loop last wanted to, and until when none may.
    wanted_by_loop: Instant,
    not_for_loops_until: Instant,
    /// The poll watches for room to write. Invariant: if not, `ready.writable` or `awaits_room` holds.
    watches_room: bool,
    /// A caller that has written what is long waits itself for room for the rest, a moment (see `by_hand.rs`).
    awaits_room: bool,
    /// The poll watches for something.
    watched: bool,
    /// Everything is sent and our side is shut; wait for the peer's until then.
    farewell: Option<Instant>,
}

/// Why a connection is over.
enum Loss {
    /// The peer closed it, or the network did.
    Gone(io::Error),
    /// The peer broke the protocol, or did not answer in time.
    Peer(ProtocolError),
    /// The socket does not take this peer.
    Refused,
    /// Everything was sent and the socket wants no more.
    Finished,
}

impl Session {
    fn new(
        config: &SessionConfig,
        thread: Arc<IoThread>,
        phase: Phase,
        dialer: Option<Dialer>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            accepted: dialer.is_none(),
            thread,
            key: AtomicUsize::new(NOWHERE),
            scheduled: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            recalled: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            core: Mutex::new(Core {
                phase,
                dialer,
                pipe: None,
                pipe_id: 0,
                peer: None,
                ending: None,
                found: None,
                alive: Some(config.tally.enter()),
            }),
            config: config.clone(),
        })
    }

    /// A session for an accepted connection.
    pub(super) fn accepted(
        config: &SessionConfig,
        stream: Stream,
        thread: Arc<IoThread>,
        now: Instant,
    ) -> Arc<Self> {
        let link = Link::new(stream, config, true, now);
        Self::new(config, thread, Phase::Linked(Box::new(link)), None)
    }

    /// A session that connects to `target`, from when it is adopted by `thread`. The pipe is attached
    /// now if the socket may queue for a peer that is not there yet.
    pub(crate) fn connecting(
        config: &SessionConfig,
        target: Endpoint,
        thread: Arc<IoThread>,
    ) -> crate::error::Result<Arc<Self>> {
        let dialer = Dialer {
            target,
            addresses: VecDeque::new(),
            source: None,
            answer: None,
            failures: 0,
            refused: false,
        };
        let phase = Phase::Waiting {
            until: Instant::now(),
        };
        let session = Self::new(config, thread, phase, Some(dialer));
        if pipe_life(config.port.kind, &config.options) != PipeLife::Connection {
            let mut core = lock(&session.core);
            match core.attach(&session, &given_name(&config.options)) {
                Ok(()) => {}
                Err(Loss::Refused) => return Err(name_in_use()),
                Err(_) => return Err(Errno::NOTSOCK.into()),
            }
        }
        Ok(session)
    }

    /// Asks it to end: what is queued goes out until `deadline` (`None`: for ever).
    pub(crate) fn end_by(self: &Arc<Self>, deadline: Option<Instant>) {
        self.thread.post(Command::End(Arc::clone(self), deadline));
    }

    /// The application leaves the endpoint, and will ask it to end: no further attempt without need.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Begins to live on its thread.
    pub(crate) fn start(self: &Arc<Self>) {
        self.thread.adopt(Arc::clone(self));
    }

    pub(super) fn endpoint(&self) -> u64 {
        self.config.endpoint
    }

    pub(super) fn key(&self) -> Option<usize> {
        Some(self.key.load(Ordering::Relaxed)).filter(|&key| key != NOWHERE)
    }

    pub(super) fn set_key(&self, key: usize) {
        self.key.store(key, Ordering::Relaxed);
    }

    pub(super) fn resolved(&self, answer: io::Result<Vec<SocketAddr>>) {
        if let Some(dialer) = &mut lock(&self.core).dialer {
            dialer.answer = Some(answer);
        }
    }

    pub(super) fn set_ending(&self, deadline: Option<Instant>) {
        let attached = {
            let mut core = lock(&self.core);
            core.ending = match core.ending {
                Some(Some(earlier)) if deadline.is_none_or(|deadline| earlier < deadline) => {
                    Some(Some(earlier))
                }
                _ => Some(deadline),
            };
            core.pipe.is_some().then_some(core.pipe_id)
        };
        // Whoever asked may not have known of a pipe that was attached in the meantime.
        if let Some(pipe) = attached {
            self.config.port.detach(pipe);
        }
    }

    /// The listener it came from is closed: if the socket does not know it yet, it ends at once, else as
    /// the others that it accepted.
    pub(super) fn orphaned(&self, deadline: Option<Instant>) {
        let unknown = lock(&self.core).pipe.is_none();
        self.set_ending(if unknown {
            Some(Instant::now())
        } else {
            deadline
        });
    }

    /// Its thread ends, or it never begins: let go of everything.
    pub(crate) fn abandon(&self) {
        let mut core = lock(&self.core);
        core.phase = Phase::Dead;
        core.pipe = None;
        core.peer = None;
        core.alive = None;
    }

    /// The command to run it has arrived; the next wake posts another.
    pub(super) fn running(&self) {
        self.scheduled.store(false, Ordering::SeqCst);
    }

    fn schedule(&self) {
        if !self.scheduled.swap(true, Ordering::SeqCst)
            && let Some(me) = self.me.upgrade()
        {
            self.thread.post(Command::Run(me));
        }
    }

    /// Does what can be done now, within the bounds of a turn.
    pub(super) fn turn(self: &Arc<Self>, turn: &mut Turn<'_>, ready: Ready) -> Next {
        let mut core = lock(&self.core);
        let next = core.turn(self, turn, ready);
        match (next, core.ending) {
            (Next::Wait(deadline), Some(Some(linger))) => Next::Wait(Some(
                deadline.map_or(linger, |deadline| deadline.min(linger)),
            )),
            (next, _) => next,
        }
    }
}

impl PeerLink for Session {
    fn end(&self, deadline: Option<Instant>) {
        if let Some(me) = self.me.upgrade() {
            me.end_by(deadline);
        }
    }

    fn lend(&self) -> Option<Box<dyn Lease>> {
        let lease = lease::InCall::take(self.me.upgrade()?)?;
        Some(Box::new(lease))
    }

    fn lend_to_loop(&self, watch: &Arc<LoopWatch>, key: usize) -> Option<Arc<dyn LoopLease>> {
        let lease = lease::InLoop::take(&self.me.upgrade()?, watch, key)?;
        Some(Arc::new(lease))
    }

    fn ends(&self) -> Ends {
        match &lock(&self.core).phase {
            Phase::Linked(link) => self.ends_of(Some(&link.stream)),
            _ => self.ends_of(None),
        }
    }
}

impl Wake for Session {
    /// The socket wrote, or took what it had no room for.
    ///
    /// An answer to what just came in is written by the caller itself if the connection is idle: each
    /// hand-off to the I/O thread costs more than the write. A stream of messages goes to the I/O
    /// thread, which batches it: only the first message after a received one goes the short way. But of long messages each
    /// does, since there is nothing to batch, and another core would have to fetch them first.
    fn wake(&self, token: u64) {
        if token == OUTWARD
            && let Ok(mut core) = self.core.try_lock()
            && (core.can_write_long() && put_off(|| self.me.upgrade()) || core.answer(self))
        {
            return;
        }
        self.schedule();
    }
}

/// What the socket shall call the peer it connects to; empty if the peer says it.
fn given_name(options: &SocketOptions) -> Frame {
    Frame::from(options.connect_routing_id.as_deref().unwrap_or_default())
}

/// How long the pipe of a connecting session lives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PipeLife {
    /// As long as the session: what is queued waits for the next connection.
    Session,
    /// From one loss of the connection to the next: a new one takes its place at once, so that what the
    /// socket subscribes to, and sends, in the meantime goes to the next connection.
    UntilLoss,
    /// As long as a connection.
    Connection,
}

fn pipe_life(kind: SocketType, options: &SocketOptions) -> PipeLife {
    if options.immediate {
        return PipeLife::Connection;
    }
    match kind {
        SocketType::Pair | SocketType::Dealer | SocketType::Req | SocketType::Push => {
            PipeLife::Session
        }
        SocketType::Router if options.connect_routing_id.is_some() => PipeLife::Session,
        SocketType::Sub | SocketType::Xsub => PipeLife::UntilLoss,
        _ => PipeLife::Connection,
    }
}

impl Core {
    fn turn(&mut self, session: &Arc<Session>, turn: &mut Turn<'_>, ready: Ready) -> Next {
        if let Some(Some(deadline)) = self.ending
            && turn.now >= deadline
        {
            return self.die(session, turn);
        }
        match &mut self.phase {
            Phase::Dead => Next::Dead,
            Phase::Waiting { until } => {
                let until = *until;
                if self.has_nothing_to_send() {
                    self.die(session, turn)
                } else if turn.now < until {
                    Next::Wait(Some(until))
                } else {
                    self.dial(session, turn)
                }
            }
            Phase::Resolving => {
                if self.has_nothing_to_send() {
                    return self.die(session, turn);
                }
                match self.dialer.as_mut().and_then(|dialer| dialer.answer.take()) {
                    None => Next::Wait(None),
                    Some(Ok(addresses)) => {
                        if let Some(dialer) = &mut self.dialer {
                            let source = &dialer.source;
                            dialer.addresses = addresses
                                .into_iter()
                                .map(|address| ResolvedAddress::Tcp {
                                    address,
                                    source: source.clone(),
                                })
                                .collect();
                        }
                        self.dial_next(session, turn)
                    }
                    Some(Err(_)) => self.wait(session, turn),
                }
            }
            Phase::Dialing { .. } => self.dialing(session, turn, ready),
            Phase::Negotiating { .. } => self.negotiate(session, turn, ready),
            Phase::Linked(link) => {
                link.ready.readable |= ready.readable;
                link.ready.writable |= ready.writable;
                link.ready.hangup |= ready.hangup;
                match self.linked(session, turn) {
                    Ok(next) => next,
                    Err(loss) => self.lose(session, turn, loss),
                }
            }
        }
    }

    /// Asked to end, and nothing is left that should go out first.
    fn has_nothing_to_send(&mut self) -> bool {
        match &mut self.pipe {
            None => self.ending.is_some(),
            Some(pipe) => pipe.reader.is_closed() && !pipe.reader.has_message(),
        }
    }

    /// The handshake is done: the peer joins the socket's others.
    fn greet(&mut self, session: &Arc<Session>, info: PeerInfo) -> Result<(), Loss> {
        let config = &session.config;
        let Phase::Linked(link) = &mut self.phase else {
            return Ok(());
        };
        link.handshake_done = true;
        if let Some(dialer) = &mut self.dialer {
            dialer.failures = 0;
        }
        Counters::count(&config.port.monitor.counters.handshakes);
        session.emit_at(EventKind::HandshakeSucceeded, 0, Some(&link.stream));
        let metadata = traffic::metadata(&link.stream, &info);
        if !config.options.hello_msg.is_empty() {
            link.connection
                .send(Frame::from(&config.options.hello_msg[..]).into());
        }
        if self.pipe.is_some() {
            self.describe(metadata);
            self.tell_of_arrival(config);
            return Ok(());
        }
        if self.ending.is_some() {
            return Err(Loss::Finished);
        }
        let given = given_name(&config.options);
        let wanted = if self.dialer.is_some() && !given.is_empty() {
            given
        } else {
            info.routing_id
        };
        self.attach(session, &wanted)?;
        self.describe(metadata);
        self.tell_of_arrival(config);
        Ok(())
    }

    fn describe(&mut self, metadata: Properties) {
        if let Some(peer) = &self.peer {
            *lock(&peer.metadata) = metadata;
        }
    }

    /// Makes a pipe and hands its other end to the socket.
    fn attach(&mut self, session: &Arc<Session>, wanted: &Frame) -> Result<(), Loss> {
        let SessionConfig {
            port,
            options,
            endpoint,
            ..
        } = &session.config;
        let id = next_id();
        let Some(name) = port.claim(wanted, id) else {
            return Err(Loss::Refused);
        };
        let conflate = options.conflates(port.kind);
        let outward = Bound {
            send: Some(options.sndhwm),
            receive: None,
            conflate,
        };
        let inward = Bound {
            send: None,
            receive: Some(options.rcvhwm),
            conflate,
        };
        let (near, mut far) = pipe_pair(outward, inward);
        far.reader
            .set_waker(Waker::new(Arc::clone(session) as Arc<dyn Wake>, OUTWARD));
        far.writer
            .set_waker(Waker::new(Arc::clone(session) as Arc<dyn Wake>, INWARD));
        let peer = Arc::new(Peer {
            id,
            routing_id: name,
            follows: (self.pipe_id != 0).then_some(self.pipe_id),
            metadata: Mutex::default(),
        });
        self.pipe = Some(far);
        self.pipe_id = id;
        self.peer = Some(Arc::clone(&peer));
        if port.attach(
            peer,
            near,
            Arc::clone(session) as Arc<dyn PeerLink>,
            *endpoint,
        ) {
            Ok(())
        } else {
            self.pipe = None; // its waker knows the session: together they would live for ever
            self.peer = None;
            Err(Loss::Finished)
        }
    }

    // Endings.

    /// The connection is over: say why, and connect again if that is this session's part.
    fn lose(&mut self, session: &Arc<Session>, turn: &mut Turn<'_>, loss: Loss) -> Next {
        let waiting = Phase::Waiting { until: turn.now };
        let Phase::Linked(mut link) = std::mem::replace(&mut self.phase, waiting) else {
            return self.die(session, turn);
        };
        self.found = None;
        if matches!(loss, Loss::Peer(_)) {
            link.say_goodbye();
        }
        deregister(turn.registry, &*link.stream);
        session.emit_loss(&link, &loss);
        let handshake_done = link.handshake_done;
        // The peer's end may be seen first: its answer to ours.
        let asked_for =
            matches!(loss, Loss::Finished) || link.outward_closed || self.ending.is_some();
        let raw = link.raw;
        drop(link);
        if handshake_done {
            self.tell_of_loss(&session.config, asked_for);
        }
        if self.was_the_last(session, &loss, raw) {
            return self.die(session, turn);
        }
        let config = &session.config;
        if !handshake_done && config.options.reconnect_stop & STOP_HANDSHAKE_FAILED != 0 {
            return self.die(session, turn);
        }
        let life = pipe_life(config.port.kind, &config.options);
        if life != PipeLife::Session {
            self.drop_pipe(session);
        }
        if life == PipeLife::UntilLoss
            && self.ending.is_none()
            && self.attach(session, &given_name(&config.options)).is_err()
        {
            return self.die(session, turn);
        }
        self.wait(session, turn)
    }

    /// Whether no connection shall follow the one that was lost.
    fn was_the_last(&mut self, session: &Session, loss: &Loss, raw: bool) -> bool {
        if self.dialer.is_none() {
            return true;
        }
        let config = &session.config;
        let left = session.leaving.load(Ordering::Relaxed);
        match loss {
            // A pattern that refused the peer for what it sent closes the pipe too: the endpoint lives on.
            Loss::Finished => {
                let lasting = pipe_life(config.port.kind, &config.options) == PipeLife::Session;
                left || lasting || raw || self.ending.is_some() || config.port.is_closed()
            }
            _ => left && self.has_nothing_to_send(),
        }
    }

    fn drop_pipe(&mut self, session: &Session) {
        // Closing the pipe wakes who sends: by then the socket shall know of one peer less.
        session.config.port.forget(self.pipe_id);
        self.pipe = None;
        self.peer = None;
    }

    fn die(&mut self, session: &Arc<Session>, turn: &mut Turn<'_>) -> Next {
        match std::mem::replace(&mut self.phase, Phase::Dead) {
            Phase::Linked(link) => deregister(turn.registry, &*link.stream),
            Phase::Dialing { stream, .. } | Phase::Negotiating { stream, .. } => {
                deregister(turn.registry, &stream);
            }
            Phase::Waiting { .. } | Phase::Resolving | Phase::Dead => {}
        }
        self.drop_pipe(session);
        self.alive = None;
        Next::Dead
    }
}
