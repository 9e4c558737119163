//! Connected: messages between the pipe and the stream, through the codec.
//!
//! [`Core::pump_out`] and [`Core::pump_in`] alone move messages, each within the bounds of a turn.

use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mqcore_proto::{Config, Connection, Event, Frame, Heartbeat, Limits, PeerInfo, SocketType};

use super::super::thread::{Next, READ_BUFFER, Ready, Turn, register, rewatch};
use super::{Core, LONG, Link, Loss, Phase, Session, SessionConfig};
use crate::patience::Patience;
use crate::pattern::Properties;
use crate::pipe::{PipeWriter, Queued, Read};
use crate::transport::Stream;

/// Bytes encoded before they are written: enough for large writes, little enough to stay in the cache.
const OUT_BATCH: usize = 256 * 1024;

/// No kernel holds more for one connection; IN_BATCH_SIZE above it has no effect.
const LARGEST_READ: usize = 16 << 20;

/// Bytes moved in each direction in one turn: a busy session leaves the others their time.
const TURN_BYTES: usize = 1024 * 1024;

/// So many headers are read by themselves before the body that shall go into a vessel must have begun: those of short parts
/// before it. Of other things there may be as many as the peer likes.
const HEADERS_ALONE: u32 = 4;

/// Slices of one vectored write.
const SLICES: usize = 32;

/// With MAXMSGSIZE set, a message of several parts may be so many times as large.
const PARTS_AT_MAXMSGSIZE: u64 = 64;

/// How long a session that has sent everything waits for the peer's kernel to take it, or for the peer to
/// close, where LINGER does not say. A connection that is closed before is reset by whatever the peer still
/// sends (a PING will do), and what our kernel holds for a slow peer is lost.
const FAREWELL: Duration = Duration::from_secs(30);

/// How often the kernel is asked meanwhile; it gives no sign by itself.
const FAREWELL_LOOK: Duration = Duration::from_millis(10);

impl Core {
    pub(super) fn linked(
        &mut self,
        session: &Arc<Session>,
        turn: &mut Turn<'_>,
    ) -> Result<Next, Loss> {
        let Phase::Linked(link) = &mut self.phase else {
            return Ok(Next::Wait(None));
        };
        if let Some(loss) = self.found.take() {
            return Err(loss);
        }
        if !link.registered {
            // An accepted stream comes here unregistered: its thread was not known before.
            register(turn.registry, link.stream.as_raw_fd(), turn.key, true).map_err(Loss::Gone)?;
            link.registered = true;
            link.ready.readable = true;
            link.ready.writable = true;
        }
        if !link.handshake_done && self.has_nothing_to_send() {
            return Err(Loss::Finished); // there is nothing to shake hands for
        }
        self.review_loan(session, turn.now);
        // Read first: what waits in the stream is a sign of life, whoever was to read it. What a call has borrowed is not
        // read for any other reason: it would have to wait for the lock.
        if let Phase::Linked(link) = &mut self.phase {
            let timeout = link.connection.poll_timeout();
            link.ready.readable &= !link.is_read_by_call();
            link.ready.readable |= timeout.is_some_and(|timeout| timeout <= turn.now);
        }
        let batch = in_batch(session);
        if turn.buffer.len() < batch {
            turn.buffer.resize(batch, 0);
        }
        let more_in = self.pump_in(session, &mut turn.buffer[..batch], false, turn.now)?;
        let mut more_out = false;
        if !self.says_goodbye() {
            self.look_at_the_clock(turn.now)?;
            more_out = self.pump_out(session)?;
        }
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
            if turn.now >= until || link.stream.is_delivered() == Some(true) {
                return Err(Loss::Finished);
            }
            return Ok(if more_in {
                Next::Again
            } else {
                Next::Wait(Some(until.min(turn.now + FAREWELL_LOOK)))
            });
        }
        if link.outward_closed && link.connection.transmit_len() == 0 {
            if !link.handshake_done || link.stream.shutdown_write().is_err() {
                return Err(Loss::Finished);
            }
            link.farewell = Some(match self.ending {
                Some(Some(linger)) => linger,
                Some(None) | None => turn.now + FAREWELL,
            });
            return Ok(Next::Again);
        }
        if more_in || more_out {
            Ok(Next::Again)
        } else {
            let timeout = link.connection.poll_timeout();
            let patience = link.patient.filter(|_| link.paused).map(|(_, until)| until);
            let others = link.review_at.into_iter().chain(patience);
            Ok(Next::Wait(timeout.into_iter().chain(others).min()))
        }
    }

    /// Our side is shut: nothing more goes out, and the peer owes us nothing but its end.
    fn says_goodbye(&self) -> bool {
        matches!(&self.phase, Phase::Linked(link) if link.farewell.is_some())
    }

    pub(super) fn look_at_the_clock(&mut self, now: Instant) -> Result<(), Loss> {
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
    pub(super) fn pump_out(&mut self, session: &Session) -> Result<bool, Loss> {
        let Phase::Linked(link) = &mut self.phase else {
            return Ok(false);
        };
        if link.write_failed {
            link.connection.transmitted(link.connection.transmit_len());
            if self.dialer.is_some() {
                return Ok(false); // what is queued waits for the next connection
            }
        }
        let out_batch = session.config.options.out_batch_size.unwrap_or(OUT_BATCH);
        let mut moved = 0;
        loop {
            if link.handshake_done
                && !link.outward_closed
                && let Some(pipe) = &mut self.pipe
            {
                let (raw, connection) = (link.raw, &mut link.connection);
                while connection.transmit_len() < out_batch {
                    let read = pipe.reader.read_many(|queued| match queued {
                        Queued::Message(message) => {
                            let ends = raw && message.byte_len() == 0;
                            if !ends {
                                connection.send_from(message);
                            }
                            ends
                        }
                        Queued::Run(run) => {
                            connection.send_run(std::mem::take(run));
                            false
                        }
                    });
                    match read {
                        Read::Message(false) => {
                            link.lockstep = false;
                            link.unanswered = 0;
                        }
                        Read::Empty => break,
                        // STREAM: an empty message closes.
                        Read::Message(true) | Read::Closed => {
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
                    if !link.awaits_room {
                        link.watch_room(session);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    // The peer reads no more, but what it sent is still ours: read on until its end.
                    link.write_failed = true;
                    link.ready.readable = true;
                    return Ok(true);
                }
            }
        }
    }

    /// Moves what the stream has into the pipe. True if it stopped for fairness, or because a message has come and `one` is
    /// enough.
    pub(super) fn pump_in(
        &mut self,
        session: &Arc<Session>,
        buffer: &mut [u8],
        one: bool,
        now: Instant,
    ) -> Result<bool, Loss> {
        let mut moved = 0;
        let mut headers = if one { HEADERS_ALONE } else { 0 };
        if let Phase::Linked(link) = &mut self.phase {
            link.brought = false;
        }
        if !self.decode(session, None, now)? {
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
            if moved >= TURN_BYTES || one && link.brought {
                more = true;
                break;
            }
            if let Some(pipe) = &mut self.pipe
                && link.waits_for_reader(&mut pipe.writer, now)
            {
                link.paused = true;
                break;
            }
            let busy = link.farewell.is_none(); // else nobody is interested any more
            let begun = link.connection.begun_body();
            let (read, wanted, in_place) = if let Some(vessel) = &mut link.vessel
                && begun == Some(vessel.capacity())
            {
                let wanted = vessel.capacity() - vessel.filled();
                let read = vessel.fill(&mut |room| link.stream.read_into(room));
                (read, wanted, true)
            } else if busy && let Some(body) = link.connection.body_buffer() {
                let wanted = body.capacity() - body.len();
                (link.stream.read_into_spare(body), wanted, true)
            } else if headers > 0
                && link.vessel.is_some()
                && let header @ 1.. = link.connection.header_room()
            {
                headers -= 1;
                let wanted = header.min(buffer.len());
                (link.stream.read(&mut buffer[..wanted]), wanted, false)
            } else if busy && let Some(wanted) = link.connection.expected() {
                let mut bytes = Vec::with_capacity(wanted);
                let read = link.stream.read_into_spare(&mut bytes);
                if !bytes.is_empty() {
                    link.connection.adopt(bytes);
                }
                (read, wanted, true)
            } else {
                (link.stream.read(buffer), buffer.len(), false)
            };
            match read {
                Ok(0) => link.eof = true,
                Ok(count) => {
                    moved += count;
                    if count < wanted && !link.ready.hangup {
                        // A short read emptied the stream; more of it is a new edge.
                        link.ready.readable = false;
                    }
                    link.empty_vessel(now);
                    let bytes = if in_place { &[][..] } else { &buffer[..count] };
                    let wanted = !one && session.wanted.load(Ordering::Relaxed);
                    link.brought &= !wanted;
                    if !self.decode(session, Some(bytes), now)? {
                        break;
                    }
                    if wanted && self.has_brought_something() {
                        self.leave_rest_to_caller(session); // it is awake now, or will be
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

    fn has_brought_something(&self) -> bool {
        matches!(&self.phase, Phase::Linked(link) if link.brought)
    }

    /// Decodes `fresh` bytes (or what was left over when the pipe was full) into the pipe. False if the
    /// pipe is full: the rest is kept, and the pipe's reader calls when there is room.
    pub(super) fn decode(
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
                && !pipe.writer.is_closed()
            {
                let room = pipe.writer.room();
                if room == 0 {
                    link.paused = true;
                    link.patient = None;
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
                if let Some(run) = link.connection.receive_run(&mut input, room, now) {
                    let count = u32::try_from(run.len()).unwrap_or(u32::MAX);
                    link.patience.earn(run.byte_len());
                    link.has_brought(count, false);
                    pipe.writer.write_run(run);
                    unflushed = true;
                    continue;
                }
            }
            match link.connection.receive(&mut input, now) {
                Ok(None) => break Ok(true),
                Ok(Some(Event::Message(message))) => {
                    if let Some(pipe) = &mut self.pipe
                        && !pipe.writer.is_closed()
                    {
                        let bytes = message.heap_len();
                        link.patience.earn(bytes);
                        // Of a conflating socket the oldest message is the least wanted: it is read as it comes.
                        let conflates = session.config.options.conflates(session.config.port.kind);
                        link.has_brought(1, bytes >= LONG && !conflates);
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
}

impl Link {
    pub(super) fn new(
        stream: Stream,
        session: &SessionConfig,
        accepted: bool,
        now: Instant,
    ) -> Self {
        let options = &session.options;
        let kind = session.port.kind;
        let raw = kind == SocketType::Stream || options.router_raw;
        let mut config = Config::new(if raw { SocketType::Stream } else { kind });
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
            stream: Arc::new(stream),
            connection: Connection::new(config, now),
            input: Vec::new(),
            ready: Ready::default(),
            registered: !accepted,
            raw,
            paused: false,
            patience: Patience::default(),
            patient: None,
            eof: false,
            write_failed: false,
            handshake_done: false,
            outward_closed: false,
            unanswered: 0,
            lockstep: false,
            lent: None,
            awaits_room: false,
            review_at: None,
            vessel: None,
            brought: false,
            brings_long: false,
            wanted_by_loop: now,
            not_for_loops_until: now,
            watches_room: true,
            watched: true,
            farewell: None,
        }
    }

    /// Gives what was read into the vessel to the connection, if it is full.
    fn empty_vessel(&mut self, now: Instant) {
        match self.vessel.take() {
            Some(vessel) if vessel.filled() < vessel.capacity() => {
                if vessel.filled() > 0 {
                    self.connection.handle_back_pressure(now); // it is alive
                }
                self.vessel = Some(vessel);
            }
            Some(vessel) => {
                if let Some(body) = vessel.into_frame() {
                    self.connection.place_body(body);
                }
            }
            None => {}
        }
    }

    /// So many messages have come.
    #[inline]
    fn has_brought(&mut self, messages: u32, long: bool) {
        self.unanswered = self.unanswered.saturating_add(messages);
        self.brought = true;
        self.brings_long = long;
    }

    /// Whether to leave the rest in the stream until the reader of a laden pipe has come after. Not for long: it may
    /// have other things to do, and what bounds the pipe is the high-water mark.
    fn waits_for_reader(&mut self, pipe: &mut PipeWriter, now: Instant) -> bool {
        let (since, until) = match self.patient {
            Some(span) => span,
            None => {
                let Some(span) = self.patience.left().filter(|_| pipe.is_laden()) else {
                    return false;
                };
                pipe.wait_until_eased();
                *self.patient.insert((now, now + span))
            }
        };
        let eased = pipe.is_eased();
        let waits = now < until && !eased;
        if !waits {
            if !eased {
                pipe.give_up();
            }
            self.patience.spend(now.saturating_duration_since(since));
            self.patient = None;
        }
        waits
    }

    /// Has the poll watch for room to write, if it does not.
    pub(super) fn watch_room(&mut self, session: &Session) {
        if !self.watches_room {
            self.watches_room = true;
            self.rewatch(session);
        }
    }

    /// Somebody else watches for it.
    pub(super) fn unwatch_room(&mut self, session: &Session) {
        if self.watches_room {
            self.watches_room = false;
            self.rewatch(session);
        }
    }

    /// Tells the poll what to watch for.
    pub(super) fn rewatch(&mut self, session: &Session) {
        if let Some(key) = session.key() {
            let registry = &session.thread.registry;
            let wanted = (self.lent.is_none(), self.watches_room);
            let fd = self.stream.as_raw_fd();
            self.watched = rewatch(registry, fd, key, self.watched, wanted);
        }
    }

    /// Tries once to send what is encoded: an ERROR command that tells the peer why.
    pub(super) fn say_goodbye(&mut self) {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = self.connection.transmit_slices(&mut slices);
        if count > 0 {
            let _ = self.stream.write_vectored(&slices[..count]);
        }
    }
}

/// Bytes that a session reads at once.
pub(super) fn in_batch(session: &Session) -> usize {
    let wanted = session.config.options.in_batch_size;
    wanted.map_or(READ_BUFFER, |batch| batch.min(LARGEST_READ))
}

/// The properties of a connection, for the messages that come over it: what the peer may say of itself,
/// and what only we say.
pub(super) fn metadata(stream: &Stream, info: &PeerInfo) -> Properties {
    let mut properties: Vec<(String, String)> = info
        .properties
        .iter()
        .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into_owned()))
        .collect();
    properties.push(("Peer-Address".into(), stream.peer_description()));
    properties.push(("__fd".into(), stream.as_raw_fd().to_string()));
    properties.into()
}
