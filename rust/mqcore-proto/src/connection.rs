//! One ZeroMQ peer as a value: bytes in, events out; messages in, bytes out.
//!
//! The connection does no I/O and knows no clock. It holds at most one unfinished frame and one
//! unfinished message; everything else waits in the caller's input or in the transmit buffer.

use std::fmt;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use crate::assembly::{Assembly, Limits, Rules, prefix_too_long};
use crate::command::{Command, Ping, check_context};
use crate::decoder::Decoder;
use crate::error::ProtocolError;
use crate::greeting::Version;
use crate::heartbeat::{Heartbeat, Watch};
use crate::mechanism::{Cipher, MechanismConfig};
use crate::opening::{Opened, Opening};
use crate::transmit::Transmit;
use crate::{Frame, INLINE_CAPACITY, Message, SocketType, raw};

/// How many PONGs may wait for a peer that sends PINGs and does not read.
const PONGS_WAITING: u8 = 16;

/// What a connection is to be.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our socket's type. STREAM means raw mode: no ZMTP at all.
    pub socket_type: SocketType,
    /// Announced as `Identity` by REQ, DEALER and ROUTER; may be empty.
    pub routing_id: Frame,
    /// Our own `X-` properties. Names have 1 to 255 bytes.
    pub properties: Vec<(String, Vec<u8>)>,
    /// The security mechanism both sides must have.
    pub mechanism: MechanismConfig,
    /// Whether we are the mechanism's server. NULL has no roles.
    pub as_server: bool,
    /// What the peer may make us hold.
    pub limits: Limits,
    /// How to watch over the peer, if at all.
    pub heartbeat: Option<Heartbeat>,
    /// The time from the connection's beginning to [`Event::Ready`]; `None` for no limit.
    pub handshake_timeout: Option<Duration>,
}

impl Config {
    /// A plain connection for a socket of `socket_type`, without heartbeats and time limits.
    pub fn new(socket_type: SocketType) -> Self {
        Self {
            socket_type,
            routing_id: Frame::empty(),
            properties: Vec::new(),
            mechanism: MechanismConfig::Null,
            as_server: false,
            limits: Limits::default(),
            heartbeat: None,
            handshake_timeout: None,
        }
    }
}

/// What a connection has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The handshake is done; comes once and first.
    Ready(PeerInfo),
    /// A whole message. On PUB and XPUB a subscription is a message of one frame, `01` and the
    /// prefix, its cancellation `00` and the prefix, whatever form came on the wire.
    Message(Message),
}

/// Who the peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// The ZMTP version spoken with it: (3, 1), (3, 0) or (2, 0); (0, 0) in raw mode.
    pub version: (u8, u8),
    /// `None` in raw mode.
    pub socket_type: Option<SocketType>,
    /// The id it announced; empty if none. At most 255 bytes, never beginning with a zero byte.
    pub routing_id: Frame,
    /// Its properties as received, in their order; none has a reserved name.
    pub properties: Vec<(String, Vec<u8>)>,
}

/// One peer.
///
/// Order: write what [`transmit_slices`](Self::transmit_slices) gives whenever something waits;
/// feed what was read to [`receive`](Self::receive) until it returns `Ok(None)`; call
/// [`handle_timeout`](Self::handle_timeout) when [`poll_timeout`](Self::poll_timeout) is reached.
/// After an error the transmit buffer may still be flushed (the peer learns what it ran into);
/// then the connection must be dropped.
pub struct Connection {
    state: State,
    decoder: Decoder,
    assembly: Assembly,
    transmit: Transmit,
}

enum State {
    Opening(Box<Opening>),
    Traffic(Traffic),
    Raw {
        /// Whether [`Event::Ready`] was given out.
        ready: bool,
    },
    Failed(ProtocolError),
}

/// What an open connection knows.
struct Traffic {
    rules: Rules,
    watch: Watch,
    cipher: Option<Box<dyn Cipher>>,
    /// Single frames without flags up to this length are messages without further checks.
    quick: Option<u8>,
    /// Whether outgoing subscriptions travel as commands.
    subscribing: bool,
    /// PONGs before this transmit position have not all left; `pongs` of them at most.
    pongs_end: u64,
    pongs: u8,
    /// The transmit position behind the last PING.
    ping_end: u64,
}

impl Connection {
    /// A connection whose byte stream was just established at `now`.
    ///
    /// # Panics
    /// If the name of a property of ours is empty or longer than 255 bytes.
    pub fn new(config: Config, now: Instant) -> Self {
        let mut transmit = Transmit::default();
        let state = if config.socket_type == SocketType::Stream {
            State::Raw { ready: false }
        } else {
            State::Opening(Box::new(Opening::new(config, now, &mut transmit)))
        };
        Self {
            state,
            decoder: Decoder::default(),
            assembly: Assembly::default(),
            transmit,
        }
    }

    /// Takes bytes off `input` until there is an event.
    ///
    /// Call it until it returns `Ok(None)`; the input is empty then. No event waits inside, so a
    /// caller that has no room for another one keeps the rest of its input and comes back later.
    /// In raw mode the first call gives [`Event::Ready`], also with empty input.
    #[inline]
    pub fn receive(
        &mut self,
        input: &mut &[u8],
        now: Instant,
    ) -> Result<Option<Event>, ProtocolError> {
        if let State::Traffic(traffic) = &mut self.state {
            if !input.is_empty() || self.decoder.has_grown() {
                traffic.watch.handle_life(now);
            }
            // Most messages are short and whole: two comparisons and a copy.
            if let Some(quick) = traffic.quick
                && let [0, length, rest @ ..] = *input
                && *length <= quick
                && self.assembly.is_empty()
                && self.decoder.is_between_frames()
                && let Some((body, rest)) = rest.split_at_checked(usize::from(*length))
            {
                *input = rest;
                return Ok(Some(Event::Message(Frame::copy_from_slice(body).into())));
            }
        }
        let result = self.receive_any(input, now);
        if let Err(error) = &result {
            self.fail(error.clone());
        }
        result
    }

    /// Inside a large frame: its body so far, whose spare capacity the caller may fill straight
    /// from the stream. Append only; then call [`receive`](Self::receive) with empty input.
    ///
    /// Give it only when all earlier input was taken. Capacity grows with what came (256 KiB
    /// first), never beyond the frame's end.
    pub fn body_buffer(&mut self) -> Option<&mut Vec<u8>> {
        self.decoder.body_buffer()
    }

    /// Queues a message. On SUB and XSUB a single frame beginning with `01` or `00` is a
    /// subscription or its cancellation and travels as the peer's version wants it.
    ///
    /// After an error there is nobody to send to, and the message is dropped.
    ///
    /// # Panics
    /// Before [`Event::Ready`].
    #[inline]
    pub fn send(&mut self, message: Message) {
        match &mut self.state {
            State::Traffic(traffic) => {
                if traffic.subscribing || traffic.cipher.is_some() {
                    traffic.send_special(message, &mut self.transmit);
                } else {
                    self.transmit.push_message(message);
                }
            }
            State::Raw { .. } => {
                for payload in message.into_frames() {
                    self.transmit.push_payload(payload);
                }
            }
            State::Failed(_) => {}
            State::Opening(_) => panic!("a message was sent before the connection was ready"),
        }
    }

    /// How many bytes wait to be written.
    #[inline]
    pub fn transmit_len(&self) -> usize {
        self.transmit.len()
    }

    /// Fills `slices` with waiting bytes from the front; returns how many slices were filled.
    pub fn transmit_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.transmit.slices(slices)
    }

    /// Drops `bytes` waiting bytes from the front: they were written.
    ///
    /// # Panics
    /// If fewer wait.
    pub fn transmitted(&mut self, bytes: usize) {
        self.transmit.advance(bytes);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Opening(opening) => opening.deadline,
            State::Traffic(traffic) => traffic.watch.deadline(),
            State::Raw { .. } | State::Failed(_) => None,
        }
    }

    /// Does what is due at `now`: queues a PING, or says that the peer is too slow or dead.
    ///
    /// Read what the stream has before, or a busy caller takes its own delay for the peer's.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError> {
        let result = match &mut self.state {
            State::Opening(opening) if opening.deadline.is_some_and(|deadline| deadline <= now) => {
                Err(opening.timed_out())
            }
            State::Traffic(traffic) => traffic.handle_timeout(now, &mut self.transmit),
            State::Failed(error) => Err(error.clone()),
            State::Opening(_) | State::Raw { .. } => Ok(()),
        };
        if let Err(error) = &result {
            self.fail(error.clone());
        }
        result
    }

    /// Counts as a sign of life: for a caller that does not read at the moment because it has no
    /// room for messages, so that the peer's answers wait unread.
    pub fn handle_back_pressure(&mut self, now: Instant) {
        if let State::Traffic(traffic) = &mut self.state {
            traffic.watch.handle_life(now);
        }
    }

    /// Whether [`Event::Ready`] was given and no error came since.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Traffic(_) | State::Raw { ready: true })
    }

    /// The general case of [`receive`](Self::receive): input that the body buffer got too much
    /// comes first.
    fn receive_any(
        &mut self,
        input: &mut &[u8],
        now: Instant,
    ) -> Result<Option<Event>, ProtocolError> {
        if self.decoder.has_surplus() {
            let surplus = self.decoder.take_surplus();
            let mut rest = &surplus[..];
            let event = self.receive_from(&mut rest, now)?;
            self.decoder.put_surplus(rest);
            if event.is_some() {
                return Ok(event);
            }
        }
        self.receive_from(input, now)
    }

    fn receive_from(
        &mut self,
        input: &mut &[u8],
        now: Instant,
    ) -> Result<Option<Event>, ProtocolError> {
        match &mut self.state {
            State::Opening(opening) => {
                let opened = opening.receive(input, &mut self.decoder, &mut self.transmit)?;
                let Some(mut opened) = opened else {
                    return Ok(None);
                };
                let peer = opened.peer();
                self.state = State::Traffic(Traffic::new(&opening.config, opened, now));
                Ok(Some(Event::Ready(peer)))
            }
            State::Traffic(traffic) => {
                let message = traffic.receive(
                    input,
                    &mut self.decoder,
                    &mut self.assembly,
                    &mut self.transmit,
                )?;
                Ok(message.map(Event::Message))
            }
            State::Raw {
                ready: ready @ false,
            } => {
                *ready = true;
                Ok(Some(Event::Ready(PeerInfo {
                    version: (0, 0),
                    socket_type: None,
                    routing_id: Frame::empty(),
                    properties: Vec::new(),
                })))
            }
            State::Raw { ready: true } => Ok(raw::receive(input).map(Event::Message)),
            State::Failed(error) => Err(error.clone()),
        }
    }

    /// Gives back what is held for the peer, except what still waits to be written.
    fn fail(&mut self, error: ProtocolError) {
        self.state = State::Failed(error);
        self.decoder = Decoder::default();
        self.assembly = Assembly::default();
    }

    /// Bytes of memory held outside the value itself.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn memory(&self) -> usize {
        self.decoder.memory() + self.assembly.memory() + self.transmit.memory()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Opening(_) => "opening",
            State::Traffic(_) => "ready",
            State::Raw { .. } => "raw",
            State::Failed(_) => "failed",
        };
        f.debug_struct("Connection")
            .field("state", &state)
            .field("transmit_len", &self.transmit_len())
            .finish_non_exhaustive()
    }
}

impl Opened {
    fn peer(&mut self) -> PeerInfo {
        PeerInfo {
            version: self.version.numbers(),
            socket_type: Some(self.metadata.socket_type),
            routing_id: std::mem::take(&mut self.metadata.routing_id),
            properties: std::mem::take(&mut self.metadata.properties),
        }
    }
}

impl Traffic {
    fn new(config: &Config, opened: Opened, now: Instant) -> Self {
        use SocketType::{Pub, Sub, Xpub, Xsub};
        let Opened {
            version, cipher, ..
        } = opened;
        let has_commands = version != Version::V2_0;
        let publisher = matches!(config.socket_type, Pub | Xpub);
        let rules = Rules::new(&config.limits, publisher, has_commands);
        let heartbeat = config.heartbeat.clone().filter(|_| has_commands);
        Self {
            quick: cipher.is_none().then(|| rules.always_fine()),
            rules,
            watch: Watch::new(heartbeat, now),
            cipher,
            subscribing: matches!(config.socket_type, Sub | Xsub) && version == Version::V3_1,
            pongs_end: 0,
            pongs: 0,
            ping_end: 0,
        }
    }

    fn receive(
        &mut self,
        input: &mut &[u8],
        decoder: &mut Decoder,
        assembly: &mut Assembly,
        transmit: &mut Transmit,
    ) -> Result<Option<Message>, ProtocolError> {
        loop {
            let received = match &self.cipher {
                None => decoder.receive(input, |header, first| {
                    assembly.judge(&self.rules, header, first)
                })?,
                Some(cipher) => {
                    let overhead = cipher.overhead();
                    decoder.receive(input, |header, _| self.rules.judge_sealed(header, overhead))?
                }
            };
            let Some((mut header, mut payload)) = received else {
                return Ok(None);
            };
            if let Some(cipher) = &mut self.cipher {
                (header, payload) = cipher.open(&payload)?;
                assembly.judge(&self.rules, header, payload.first().copied())?;
            }
            let message = if header.command {
                self.handle_command(&payload, transmit)?
            } else {
                assembly.push(header.more, payload)
            };
            if message.is_some() {
                return Ok(message);
            }
        }
    }

    /// Obeys a command; a subscription is a message for the socket.
    fn handle_command(
        &mut self,
        body: &[u8],
        transmit: &mut Transmit,
    ) -> Result<Option<Message>, ProtocolError> {
        let command = Command::parse(body)?;
        match command.name {
            b"SUBSCRIBE" => self.subscription(1, command).map(Some),
            b"CANCEL" => self.subscription(0, command).map(Some),
            b"PING" => {
                let ping = Ping::parse(command.data)?;
                self.watch.handle_ttl(ping.ttl);
                self.answer(ping.context, transmit);
                Ok(None)
            }
            b"PONG" => check_context("PONG", command.data).map(|()| None),
            b"ERROR" => Err(command.into_rejection()),
            b"READY" => Err(command.into_unexpected("after the handshake")),
            b"JOIN" | b"LEAVE" => Err(command.into_unexpected("to a socket without groups")),
            // RFC 37 asks to ignore what is not known.
            _ => Ok(None),
        }
    }

    fn subscription(&self, kind: u8, command: Command<'_>) -> Result<Message, ProtocolError> {
        let Some(max_prefix) = self.rules.max_prefix else {
            return Err(command.into_unexpected("to a socket that does not publish"));
        };
        let prefix = command.data;
        if prefix.len() > max_prefix {
            return Err(prefix_too_long(prefix.len(), max_prefix));
        }
        let length = prefix.len() + 1;
        if length <= INLINE_CAPACITY {
            let mut bytes = [0; INLINE_CAPACITY];
            bytes[0] = kind;
            bytes[1..length].copy_from_slice(prefix);
            return Ok(Message::from(&bytes[..length]));
        }
        let mut bytes = Vec::with_capacity(length);
        bytes.push(kind);
        bytes.extend_from_slice(prefix);
        Ok(Frame::from(bytes).into())
    }

    /// Queues a PONG, unless too many wait already: the peer that does not read them lives anyway.
    fn answer(&mut self, context: &[u8], transmit: &mut Transmit) {
        if transmit.sent() >= self.pongs_end {
            self.pongs = 0;
        }
        if self.pongs < PONGS_WAITING {
            self.send_command("PONG", Frame::from(context), transmit);
            self.pongs += 1;
            self.pongs_end = transmit.queued();
        }
    }

    fn handle_timeout(
        &mut self,
        now: Instant,
        transmit: &mut Transmit,
    ) -> Result<(), ProtocolError> {
        let due = self.watch.handle_timeout(now)?;
        // A second PING behind one that could not leave would only pile up.
        if due && transmit.sent() >= self.ping_end {
            let ttl = self.watch.own_ttl().to_be_bytes();
            self.send_command("PING", Frame::from(&ttl), transmit);
            self.ping_end = transmit.queued();
        }
        Ok(())
    }

    /// Sends where frames do not simply follow one another.
    fn send_special(&mut self, message: Message, transmit: &mut Transmit) {
        if self.subscribing
            && message.is_single()
            && let Some(kind @ (0 | 1)) = message.first().first()
        {
            let name = if *kind == 1 { "SUBSCRIBE" } else { "CANCEL" };
            self.send_command(name, Frame::from(&message.first()[1..]), transmit);
            return;
        }
        let Some(cipher) = &mut self.cipher else {
            return transmit.push_message(message);
        };
        let mut frames = message.into_frames().into_iter();
        while let Some(frame) = frames.next() {
            let sealed = cipher.seal(frames.len() > 0, false, &frame);
            transmit.push_frame(false, Frame::from(sealed));
        }
    }

    fn send_command(&mut self, name: &str, data: Frame, transmit: &mut Transmit) {
        match &mut self.cipher {
            None => transmit.push_command(name, data),
            Some(cipher) => {
                let mut body = vec![name.len() as u8];
                body.extend_from_slice(name.as_bytes());
                body.extend_from_slice(&data);
                let sealed = cipher.seal(false, true, &body);
                transmit.push_frame(false, Frame::from(sealed));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Pair;

    fn messages(count: usize) -> Vec<Message> {
        let lengths = [0, 1, 64, 65, 255, 256, 300, 8192, 20_000, 70_000];
        let frame = |index: usize| Frame::from(vec![index as u8; lengths[index % lengths.len()]]);
        (0..count)
            .map(|index| Message::from_frames((index..=index + index % 3).map(frame).collect()))
            .collect()
    }

    #[test]
    fn two_peers_become_ready_and_exchange_messages() {
        let mut pair = Pair::new(SocketType::Dealer, SocketType::Router);
        let (left, right) = pair.run().unwrap();
        let [Event::Ready(router)] = &left[..] else {
            panic!("{left:?}")
        };
        assert_eq!(router.socket_type, Some(SocketType::Router));
        let [Event::Ready(dealer)] = &right[..] else {
            panic!("{right:?}")
        };
        assert_eq!(dealer.version, (3, 1));
        assert_eq!(dealer.socket_type, Some(SocketType::Dealer));
        assert!(pair.left.is_ready() && pair.right.is_ready());
        let sent = messages(30);
        for message in &sent {
            pair.left.send(message.clone());
            pair.right.send(message.clone());
        }
        let sent: Vec<_> = sent.into_iter().map(Event::Message).collect();
        let (left, right) = pair.run().unwrap();
        assert!(left == sent && right == sent);
    }
}
