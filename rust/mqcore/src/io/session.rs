//! A session: the way to one peer. One pipe end, one codec, one byte stream; [`Core::pump_out`] and
//! [`Core::pump_in`] alone move messages.
//!
//! ```text
//!            connect                                     accept
//!               v                                          |
//!   Waiting -> Resolving -> Dialing -> Linked <------------+
//!      ^           |           |         |
//!      +-----------+-----------+---------+--> Dead      (accepted: always; connecting: when it ends)
//! ```
//!
//! A session is driven by turns on its I/O thread. One thing may happen elsewhere: when the application
//! answers what it has just received, its own thread writes the answer to the idle connection, which
//! saves the hand-off (see [`Session::wake`]). Nothing in here ever waits, for a lock of a socket least
//! of all.
//!
//! Who keeps its pipe while there is no connection: types that queue for a peer that is not there yet
//! (PAIR, DEALER, REQ, PUSH, and ROUTER with CONNECT_ROUTING_ID). SUB and XSUB get a new one when a
//! connection is lost, and with it send their subscriptions again. All others, and everybody with
//! IMMEDIATE, get a new pipe with each connection, so that routing ids start afresh.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use mqcore_proto::{
    Config, Connection, Event, Frame, Heartbeat, Limits, Message, PeerInfo, ProtocolError,
    SocketType,
};

use super::command::Command;
use super::thread::{IoThread, Next, READ_BUFFER, Ready, Turn, deregister, register};
use crate::endpoint::{Endpoint, TcpAddress};
use crate::error::Errno;
use crate::monitor::{Counters, EventKind};
use crate::options::SocketOptions;
use crate::pattern::{Peer, PipeId, Properties};
use crate::pipe::{Bound, PipeEnd, Read, Wake, Waker, pipe_pair};
use crate::port::{Link as PeerLink, Port, next_id};
use crate::sync::{Alive, Tally, lock};
use crate::transport::{ResolvedAddress, Stream, Target, finish_connect, start_connect};

/// Bytes encoded before they are written: enough for large writes, little enough to stay in the cache.
const OUT_BATCH: usize = 64 * 1024;

/// Bytes moved in each direction in one turn: a busy session leaves the others their time.
const TURN_BYTES: usize = 1024 * 1024;

/// Slices of one vectored write.
const SLICES: usize = 32;

/// With MAXMSGSIZE set, a message of several parts may be so many times as large.
const PARTS_AT_MAXMSGSIZE: u64 = 64;

/// How long a session that has sent everything waits for the peer to close first. Closing while the peer
/// still sends would reset the connection and could lose what it has not read.
const FAREWELL: Duration = Duration::from_secs(1);

/// The names a session gives to its pipe ends.
const OUTWARD: u64 = 0;
const INWARD: u64 = 1;

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
    id: PipeId,
    config: SessionConfig,
    thread: Arc<IoThread>,
    /// Its place on the I/O thread; `NOWHERE` until it was adopted.
    key: AtomicUsize,
    /// A command to run it is on its way.
    scheduled: AtomicBool,
    core: Mutex<Core>,
}

const NOWHERE: usize = usize::MAX;

struct Core {
    phase: Phase,
    /// How to connect again; `None` for an accepted connection.
    dialer: Option<Dialer>,
    pipe: Option<PipeEnd>,
    /// What the socket knows of the peer of the pipe.
    peer: Option<Arc<Peer>>,
    /// Asked to end, by this time at the latest (`None` inside: whenever everything is sent).
    ending: Option<Option<Instant>>,
    _alive: Option<Alive>,
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
}

/// A connection: the stream, the codec, and how far both are.
struct Link {
    stream: Stream,
    connection: Connection,
    /// Received but not decoded, because the pipe was full. Invariant: at most one read buffer.
    input: Vec<u8>,
    ready: Ready,
    /// With the I/O thread's poll.
    registered: bool,
    /// STREAM: no ZMTP.
    raw: bool,
    /// The inward pipe has no room; its reader calls when it has.
    paused: bool,
    /// The peer will send no more.
    eof: bool,
    write_failed: bool,
    handshake_done: bool,
    /// The socket will send no more.
    outward_closed: bool,
    /// A message came in since the last one went out by the application's own hand.
    answerable: bool,
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
            id: next_id(),
            thread,
            key: AtomicUsize::new(NOWHERE),
            scheduled: AtomicBool::new(false),
            core: Mutex::new(Core {
                phase,
                dialer,
                pipe: None,
                peer: None,
                ending: None,
                _alive: Some(config.tally.enter()),
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
    ) -> Option<Arc<Self>> {
        let dialer = Dialer {
            target,
            addresses: VecDeque::new(),
            source: None,
            answer: None,
            failures: 0,
        };
        let phase = Phase::Waiting {
            until: Instant::now(),
        };
        let session = Self::new(config, thread, phase, Some(dialer));
        if pipe_life(config.port.kind, &config.options) != PipeLife::Connection {
            let mut core = lock(&session.core);
            core.attach(&session, &given_name(&config.options)).ok()?;
        }
        Some(session)
    }

    /// Asks it to end: what is queued goes out until `deadline` (`None`: for ever).
    pub(crate) fn end_by(self: &Arc<Self>, deadline: Option<Instant>) {
        self.thread.post(Command::End(Arc::clone(self), deadline));
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
        let mut core = lock(&self.core);
        core.ending = match core.ending {
            Some(Some(earlier)) if deadline.is_none_or(|deadline| earlier < deadline) => {
                Some(Some(earlier))
            }
            _ => Some(deadline),
        };
    }

    /// The listener it came from is closed: if the socket does not know it yet, it ends.
    pub(super) fn orphaned(&self) {
        let mut core = lock(&self.core);
        if core.pipe.is_none() {
            core.ending = Some(Some(Instant::now()));
        }
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

    fn emit(&self, kind: EventKind, value: u32) {
        self.config
            .port
            .monitor
            .emit(kind, value, &self.config.address);
    }
}

impl PeerLink for Session {
    fn end(&self, deadline: Option<Instant>) {
        if let Some(me) = self.me.upgrade() {
            me.end_by(deadline);
        }
    }
}

impl Wake for Session {
    /// The socket wrote, or took what it had no room for.
    ///
    /// An answer to what just came in is written by the caller itself if the connection is idle: each
    /// hand-off to the I/O thread costs more than the write. A stream of messages goes to the I/O
    /// thread, which batches it: only the first message after a received one goes the short way.
    fn wake(&self, token: u64) {
        if token == OUTWARD
            && let Ok(mut core) = self.core.try_lock()
            && core.answer()
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

    // Connecting.

    fn dial(&mut self, session: &Arc<Session>, turn: &mut Turn<'_>) -> Next {
        let Some(dialer) = &mut self.dialer else {
            return self.die(session, turn);
        };
        dialer.addresses.clear();
        match Target::of(&dialer.target) {
            Ok(Target::Resolved(address)) => dialer.addresses.push_back(address),
            Ok(Target::Lookup { host, port, source }) => {
                dialer.source = source;
                self.phase = Phase::Resolving;
                let ipv6 = session.config.options.ipv6;
                turn.thread.resolve(Arc::clone(session), &host, port, ipv6);
                return Next::Wait(None);
            }
            Err(_) => {} // an interface that may come yet: an attempt that failed
        }
        self.dial_next(session, turn)
    }

    /// Tries the addresses in turn until one connects, or is on its way to.
    fn dial_next(&mut self, session: &Arc<Session>, turn: &mut Turn<'_>) -> Next {
        let options = &session.config.options;
        while let Some(dialer) = &mut self.dialer
            && let Some(address) = dialer.addresses.pop_front()
        {
            let Ok((stream, in_progress)) = start_connect(&address, options) else {
                continue;
            };
            if register(turn.registry, stream.as_raw_fd(), turn.key, true).is_err() {
                continue;
            }
            if !in_progress {
                return self.link(session, turn, stream);
            }
            session.emit(EventKind::ConnectDelayed, Errno::INPROGRESS.0 as u32);
            let deadline = options.connect_timeout.map(|limit| turn.now + limit);
            self.phase = Phase::Dialing { stream, deadline };
            return Next::Wait(deadline);
        }
        self.wait(session, turn)
    }

    fn dialing(&mut self, session: &Arc<Session>, turn: &mut Turn<'_>, ready: Ready) -> Next {
        if self.has_nothing_to_send() {
            return self.die(session, turn);
        }
        let Phase::Dialing { stream, deadline } = &self.phase else {
            return Next::Wait(None);
        };
        let deadline = *deadline;
        let failed = if ready.writable || ready.hangup {
            match finish_connect(stream) {
                Ok(()) => false,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Next::Wait(deadline);
                }
                Err(_) => true,
            }
        } else if deadline.is_some_and(|deadline| turn.now >= deadline) {
            true
        } else {
            return Next::Wait(deadline);
        };
        let waiting = Phase::Waiting { until: turn.now };
        let Phase::Dialing { stream, .. } = std::mem::replace(&mut self.phase, waiting) else {
            return Next::Wait(None);
        };
        if failed {
            let fd = stream.as_raw_fd();
            deregister(turn.registry, &stream);
            drop(stream);
            session.emit(EventKind::Closed, fd as u32);
            self.dial_next(session, turn)
        } else {
            self.link(session, turn, stream)
        }
    }

    fn link(&mut self, session: &Arc<Session>, turn: &mut Turn<'_>, stream: Stream) -> Next {
        let config = &session.config;
        Counters::count(&config.port.monitor.counters.connected);
        session.emit(EventKind::Connected, stream.as_raw_fd() as u32);
        let mut link = Link::new(stream, config, false, turn.now);
        link.ready.readable = true;
        link.ready.writable = true;
        self.phase = Phase::Linked(Box::new(link));
        match self.linked(session, turn) {
            Ok(next) => next,
            Err(loss) => self.lose(session, turn, loss),
        }
    }

    /// Waits before the next attempt, with the back-off of the options and jitter on it; a session that
    /// shall not try again ends.
    fn wait(&mut self, session: &Arc<Session>, turn: &mut Turn<'_>) -> Next {
        let options = &session.config.options;
        let (Some(dialer), Some(base)) = (&mut self.dialer, options.reconnect_delay()) else {
            return self.die(session, turn);
        };
        if self.ending.is_some() && has_nothing_left(&mut self.pipe) {
            return self.die(session, turn);
        }
        let delay = backoff(base, options.reconnect_ivl_max, dialer.failures);
        dialer.failures = dialer.failures.saturating_add(1);
        session.emit(EventKind::ConnectRetried, delay.as_millis() as u32);
        let until = turn.now + delay;
        self.phase = Phase::Waiting { until };
        Next::Wait(Some(until))
    }

    // Connected.

    fn linked(&mut self, session: &Arc<Session>, turn: &mut Turn<'_>) -> Result<Next, Loss> {
        let Phase::Linked(link) = &mut self.phase else {
            return Ok(Next::Wait(None));
        };
        if !link.registered {
            // An accepted stream comes here unregistered: its thread was not known before.
            register(turn.registry, link.stream.as_raw_fd(), turn.key, true).map_err(Loss::Gone)?;
            link.registered = true;
            link.ready.readable = true;
            link.ready.writable = true;
        }
        if self.pipe.is_none() && self.ending.is_some() {
            return Err(Loss::Finished);
        }
        // Read first: what waits in the stream is a sign of life.
        let more_in = self.pump_in(session, turn)?;
        self.look_at_the_clock(turn.now)?;
        let more_out = self.pump_out()?;
        let Phase::Linked(link) = &mut self.phase else {
            return Ok(Next::Wait(None));
        };
        if link.eof && !link.paused && !more_in {
            return Err(Loss::Gone(io::ErrorKind::UnexpectedEof.into()));
        }
        if link.write_failed && !link.ready.readable && !link.paused {
            return Err(Loss::Gone(io::ErrorKind::BrokenPipe.into()));
        }
        if let Some(until) = link.farewell {
            if turn.now >= until {
                return Err(Loss::Finished);
            }
            return Ok(if more_in {
                Next::Again
            } else {
                Next::Wait(Some(until))
            });
        }
        if link.outward_closed && link.connection.transmit_len() == 0 {
            if !link.handshake_done || link.stream.shutdown_write().is_err() {
                return Err(Loss::Finished);
            }
            if matches!(session.config.port.kind, SocketType::Push | SocketType::Pub) {
                return Err(Loss::Finished); // its peers do not talk
            }
            let until = turn.now + FAREWELL;
            link.farewell = Some(until);
            return Ok(Next::Again);
        }
        if more_in || more_out {
            Ok(Next::Again)
        } else {
            Ok(Next::Wait(link.connection.poll_timeout()))
        }
    }

    fn look_at_the_clock(&mut self, now: Instant) -> Result<(), Loss> {
        let Phase::Linked(link) = &mut self.phase else {
            return Ok(());
        };
        if link
            .connection
            .poll_timeout()
            .is_some_and(|deadline| deadline <= now)
        {
            if link.paused {
                // It is we who do not read: the peer's silence says nothing about it.
                link.connection.handle_back_pressure(now);
            }
            link.connection.handle_timeout(now).map_err(Loss::Peer)?;
        }
        Ok(())
    }

    /// Moves what the socket wrote into the stream. True if it stopped for fairness.
    fn pump_out(&mut self) -> Result<bool, Loss> {
        let Phase::Linked(link) = &mut self.phase else {
            return Ok(false);
        };
        let mut moved = 0;
        loop {
            if link.handshake_done
                && !link.outward_closed
                && let Some(pipe) = &mut self.pipe
            {
                while link.connection.transmit_len() < OUT_BATCH {
                    match pipe.reader.read() {
                        Read::Message(message) => {
                            if link.raw && message.byte_len() == 0 {
                                link.outward_closed = true; // STREAM: an empty message closes
                                break;
                            }
                            link.connection.send(message);
                        }
                        Read::Empty => break,
                        Read::Closed => {
                            link.outward_closed = true;
                            break;
                        }
                    }
                }
            }
            if link.write_failed {
                link.connection.transmitted(link.connection.transmit_len());
                return Ok(false);
            }
            if link.connection.transmit_len() == 0 || !link.ready.writable {
                return Ok(false);
            }
            let written = {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let count = link.connection.transmit_slices(&mut slices);
                link.stream.write_vectored(&slices[..count])
            };
            match written {
                Ok(count) => {
                    link.connection.transmitted(count);
                    moved += count;
                    if moved >= TURN_BYTES {
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    link.ready.writable = false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    // The peer reads no more, but what it sent is still ours: read on until its end.
                    link.write_failed = true;
                    link.ready.readable = true;
                }
            }
        }
    }

    /// Moves what the stream has into the pipe. True if it stopped for fairness.
    fn pump_in(&mut self, session: &Arc<Session>, turn: &mut Turn<'_>) -> Result<bool, Loss> {
        let mut moved = 0;
        if !self.decode(session, None, turn.now)? {
            return Ok(false);
        }
        let mut more = false;
        loop {
            let Phase::Linked(link) = &mut self.phase else {
                return Ok(false);
            };
            if !link.ready.readable || link.eof {
                break;
            }
            if moved >= TURN_BYTES {
                more = true;
                break;
            }
            let body = match link.farewell {
                None => link.connection.body_buffer(),
                Some(_) => None, // nobody is interested any more
            };
            let (read, wanted, into_body) = match body {
                Some(body) => {
                    let wanted = body.capacity() - body.len();
                    (link.stream.read_into_spare(body), wanted, true)
                }
                None => (link.stream.read(turn.buffer), READ_BUFFER, false),
            };
            match read {
                Ok(0) => link.eof = true,
                Ok(count) => {
                    moved += count;
                    if count < wanted && !link.ready.hangup {
                        // A short read emptied the stream; more of it is a new edge.
                        link.ready.readable = false;
                    }
                    let bytes = if into_body {
                        &[][..]
                    } else {
                        &turn.buffer[..count]
                    };
                    if !self.decode(session, Some(bytes), turn.now)? {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    link.ready.readable = false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => link.eof = true,
            }
        }
        Ok(more)
    }

    /// Decodes `fresh` bytes (or what was left over when the pipe was full) into the pipe. False if the
    /// pipe is full: the rest is kept, and the pipe's reader calls when there is room.
    fn decode(
        &mut self,
        session: &Arc<Session>,
        fresh: Option<&[u8]>,
        now: Instant,
    ) -> Result<bool, Loss> {
        let Phase::Linked(link) = &mut self.phase else {
            return Ok(true);
        };
        let mut kept = match fresh {
            Some(_) => Vec::new(),
            None => std::mem::take(&mut link.input),
        };
        link.paused = false;
        let mut input = fresh.unwrap_or(&kept);
        let mut unflushed = false;
        let outcome = loop {
            let Phase::Linked(link) = &mut self.phase else {
                break Ok(true);
            };
            if link.farewell.is_some() {
                break Ok(true); // nobody is interested any more
            }
            if let Some(pipe) = &mut self.pipe
                && link.handshake_done
                && !pipe.writer.has_room()
                && !pipe.writer.is_closed()
            {
                link.paused = true;
                let rest = input.len();
                link.input = match fresh {
                    Some(fresh) => fresh[fresh.len() - rest..].to_vec(),
                    None => {
                        kept.drain(..kept.len() - rest);
                        kept
                    }
                };
                break Ok(false);
            }
            match link.connection.receive(&mut input, now) {
                Ok(None) => break Ok(true),
                Ok(Some(Event::Message(message))) => {
                    if let Some(pipe) = &mut self.pipe
                        && !pipe.writer.is_closed()
                    {
                        link.answerable = true;
                        pipe.writer.write(message);
                        unflushed = true;
                    }
                }
                Ok(Some(Event::Ready(info))) => {
                    if let Err(loss) = self.greet(session, info) {
                        break Err(loss);
                    }
                }
                Err(error) => break Err(Loss::Peer(error)),
            }
        };
        if unflushed && let Some(pipe) = &mut self.pipe {
            pipe.writer.flush();
        }
        if let Phase::Linked(link) = &mut self.phase {
            let ignored = link.connection.take_ignored();
            if ignored > 0 {
                let unexpected = &session.config.port.drops.unexpected;
                unexpected.fetch_add(ignored, Ordering::Relaxed);
            }
        }
        outcome
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
        session.emit(EventKind::HandshakeSucceeded, 0);
        let metadata = metadata(&link.stream, &info);
        if self.pipe.is_some() {
            self.describe(metadata);
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
        if config.port.kind == SocketType::Stream
            && config.options.stream_notify
            && let Some(pipe) = &mut self.pipe
        {
            pipe.writer.write(Message::from(Frame::empty()));
            pipe.writer.flush();
        }
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
        let Some(name) = port.claim(wanted, session.id) else {
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
            id: session.id,
            routing_id: name,
            metadata: Mutex::default(),
        });
        self.pipe = Some(far);
        self.peer = Some(Arc::clone(&peer));
        if port.attach(
            peer,
            near,
            Arc::clone(session) as Arc<dyn PeerLink>,
            *endpoint,
        ) {
            Ok(())
        } else {
            Err(Loss::Finished)
        }
    }

    /// Writes an answer at once, on the application's thread; false if the I/O thread must do it.
    fn answer(&mut self) -> bool {
        let Phase::Linked(link) = &mut self.phase else {
            return false;
        };
        if !link.answerable
            || !link.handshake_done
            || !link.ready.writable
            || link.farewell.is_some()
            || link.connection.transmit_len() > 0
        {
            return false;
        }
        link.answerable = false;
        match self.pump_out() {
            // Whatever is left is for the I/O thread: the end of the pipe, a failure, a full stream's
            // next edge comes to it by itself.
            Ok(more) => {
                let Phase::Linked(link) = &self.phase else {
                    return false;
                };
                !more && !link.outward_closed && !link.write_failed
            }
            Err(_) => false,
        }
    }

    // Endings.

    /// The connection is over: say why, and connect again if that is this session's part.
    fn lose(&mut self, session: &Arc<Session>, turn: &mut Turn<'_>, loss: Loss) -> Next {
        let waiting = Phase::Waiting { until: turn.now };
        let Phase::Linked(mut link) = std::mem::replace(&mut self.phase, waiting) else {
            return self.die(session, turn);
        };
        let monitor = &session.config.port.monitor;
        let counters = &monitor.counters;
        match &loss {
            Loss::Finished => {}
            Loss::Gone(error) => {
                if !link.handshake_done {
                    let number = error.raw_os_error().unwrap_or(Errno::CONNRESET.0);
                    session.emit(EventKind::HandshakeFailedNoDetail, number as u32);
                }
            }
            Loss::Refused => {
                Counters::count(&counters.refused);
                session.emit(
                    EventKind::HandshakeFailedNoDetail,
                    Errno::ADDRINUSE.0 as u32,
                );
            }
            Loss::Peer(error) => {
                link.say_goodbye();
                if error.is_timeout() {
                    Counters::count(&counters.timeouts);
                    if !link.handshake_done {
                        session.emit(EventKind::HandshakeFailedNoDetail, Errno::AGAIN.0 as u32);
                    }
                } else {
                    Counters::count(&counters.protocol_errors);
                    session.emit(EventKind::HandshakeFailedProtocol, error.monitor_code());
                }
            }
        }
        Counters::count(&counters.disconnected);
        deregister(turn.registry, &link.stream);
        session.emit(EventKind::Disconnected, link.stream.as_raw_fd() as u32);
        let raw = link.raw && session.config.options.stream_notify;
        drop(link);
        if raw && let Some(pipe) = &mut self.pipe {
            pipe.writer.write(Message::from(Frame::empty()));
            pipe.writer.flush();
        }
        if self.dialer.is_none() || matches!(loss, Loss::Finished) {
            return self.die(session, turn);
        }
        let config = &session.config;
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

    fn drop_pipe(&mut self, session: &Session) {
        self.pipe = None;
        self.peer = None;
        session.config.port.forget(session.id);
    }

    fn die(&mut self, session: &Arc<Session>, turn: &mut Turn<'_>) -> Next {
        match std::mem::replace(&mut self.phase, Phase::Dead) {
            Phase::Linked(link) => deregister(turn.registry, &link.stream),
            Phase::Dialing { stream, .. } => deregister(turn.registry, &stream),
            Phase::Waiting { .. } | Phase::Resolving | Phase::Dead => {}
        }
        self.drop_pipe(session);
        self._alive = None;
        Next::Dead
    }
}

/// The properties of a connection, for the messages that come over it: what the peer may say of itself,
/// and what only we say.
fn metadata(stream: &Stream, info: &PeerInfo) -> Properties {
    let mut properties: Vec<(String, String)> = info
        .properties
        .iter()
        .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into_owned()))
        .collect();
    properties.push(("Peer-Address".into(), stream.peer_description()));
    properties.push(("__fd".into(), stream.as_raw_fd().to_string()));
    properties.into()
}

/// Nothing in the pipe, or nobody who would write into it.
fn has_nothing_left(pipe: &mut Option<PipeEnd>) -> bool {
    match pipe {
        None => true,
        Some(pipe) => pipe.reader.is_closed() && !pipe.reader.has_message(),
    }
}

/// The delay before attempt `failures + 1`: `base`, doubled each time up to `most` if there is one, and
/// up to as much again at random, so that the clients of a restarted server do not come all at once.
fn backoff(base: Duration, most: Option<Duration>, failures: u32) -> Duration {
    let delay = match most {
        None => base,
        Some(most) => base
            .saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX))
            .min(most),
    };
    let jitter = delay.mul_f64(rand::random::<f64>());
    match most {
        None => delay + jitter,
        Some(most) => (delay / 2 + jitter).min(most),
    }
}

impl Link {
    fn new(stream: Stream, session: &SessionConfig, accepted: bool, now: Instant) -> Self {
        let options = &session.options;
        let kind = session.port.kind;
        let mut config = Config::new(kind);
        config.routing_id = Frame::from(&options.routing_id[..]);
        config.properties.clone_from(&options.metadata);
        config.as_server = accepted;
        // Parts add up: who bounds one of them gets all of them bounded, with room for many.
        let max_message = u64::try_from(session.max_message).unwrap_or(0);
        config.limits = Limits {
            max_frame: options.maxmsgsize,
            max_message: match options.maxmsgsize {
                None => max_message,
                Some(part) => max_message.min(part.saturating_mul(PARTS_AT_MAXMSGSIZE)),
            },
            ..Limits::default()
        };
        config.heartbeat = options.heartbeat_ivl.map(|interval| Heartbeat {
            interval,
            timeout: options.heartbeat_patience().unwrap_or(interval),
            ttl: options.heartbeat_ttl,
        });
        config.handshake_timeout = options.handshake_ivl;
        Self {
            stream,
            connection: Connection::new(config, now),
            input: Vec::new(),
            ready: Ready::default(),
            registered: !accepted,
            raw: kind == SocketType::Stream,
            paused: false,
            eof: false,
            write_failed: false,
            handshake_done: false,
            outward_closed: false,
            answerable: false,
            farewell: None,
        }
    }

    /// Tries once to send what is encoded: an ERROR command that tells the peer why.
    fn say_goodbye(&mut self) {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = self.connection.transmit_slices(&mut slices);
        if count > 0 {
            let _ = self.stream.write_vectored(&slices[..count]);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn backoff_without_a_maximum_is_the_interval_and_up_to_as_much_again() {
        let base = Duration::from_millis(100);
        for failures in [0, 1, 40] {
            let delay = backoff(base, None, failures);
            assert!(delay >= base && delay <= 2 * base, "{delay:?}");
        }
    }

    #[test]
    fn backoff_doubles_with_jitter_and_never_exceeds_the_maximum() {
        let base = Duration::from_millis(100);
        let most = Duration::from_secs(1);
        for failures in [0, 1, 3, 31, 32, 1000] {
            let delay = backoff(base, Some(most), failures);
            assert!(delay <= most && delay >= base / 2, "{failures} {delay:?}");
        }
        let far = (0..100).map(|_| backoff(base, Some(most), 10)).max();
        assert!(far > Some(most / 2));
    }
}
