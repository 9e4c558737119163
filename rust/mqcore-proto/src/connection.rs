//! One ZeroMQ peer as a value: bytes in, events out; messages in, bytes out.
//!
//! The connection does no I/O and knows no clock. It holds at most one unfinished frame and one
//! unfinished message; everything else waits in the caller's input or in the transmit buffer.

use std::fmt;
use std::io::IoSlice;
use std::time::Instant;

use crate::config::Config;
use crate::decoder::Decoder;
use crate::error::ProtocolError;
use crate::opening::Opening;
use crate::traffic::Traffic;
use crate::transmit::Transmit;
use crate::{Frame, Message, Run, SocketType, raw};

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
    transmit: Transmit,
}

#[expect(
    clippy::large_enum_variant,
    reason = "nearly all connections are in the large state, and it is asked for each message"
)]
enum State {
    Opening(Box<Opening>),
    Traffic(Traffic),
    Raw {
        /// Whether [`Event::Ready`] was given out.
        ready: bool,
    },
    Failed(ProtocolError),
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
            transmit,
        }
    }

    /// The same with a mechanism of the test's own.
    #[cfg(test)]
    pub(crate) fn with_handshake(
        config: Config,
        handshake: Box<dyn crate::mechanism::Handshake>,
        now: Instant,
    ) -> Self {
        let mut transmit = Transmit::default();
        let opening = Opening::with_handshake(config, handshake, now, &mut transmit);
        Self {
            state: State::Opening(Box::new(opening)),
            decoder: Decoder::default(),
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
                traffic.handle_life(now);
            }
            if let Some(message) = traffic.receive_quick(input, &self.decoder) {
                return Ok(Some(Event::Message(message)));
            }
        }
        let result = self.receive_any(input, now);
        if let Err(error) = &result {
            self.fail(error.clone());
        }
        result
    }

    /// Takes many short messages off `input` at once, at most `most`; `None` if there are not so many, or what comes
    /// next must be looked at one by one: then call [`receive`](Self::receive).
    #[inline]
    pub fn receive_run(&mut self, input: &mut &[u8], most: usize, now: Instant) -> Option<Run> {
        let State::Traffic(traffic) = &mut self.state else {
            return None;
        };
        let run = traffic.receive_run(input, most, &self.decoder)?;
        traffic.handle_life(now);
        Some(run)
    }

    /// Inside a large frame: its body so far, whose spare capacity the caller may fill straight
    /// from the stream. Append only; then call [`receive`](Self::receive) with empty input.
    ///
    /// Give it only when all earlier input was taken. Capacity grows with what came (256 KiB
    /// first), never beyond the frame's end.
    pub fn body_buffer(&mut self) -> Option<&mut Vec<u8>> {
        self.decoder.body_buffer()
    }

    /// Whether a body has begun and is not whole.
    pub fn is_in_body(&self) -> bool {
        self.decoder.is_in_body()
    }

    /// How many bytes the next frame takes, header included, if it is long and as long as the last one:
    /// a caller that has room for just so many bytes in memory of its own reads them there, and gives
    /// them to [`adopt`](Self::adopt) instead of [`receive`](Self::receive). `None` inside a frame, and
    /// where no long frame came last.
    pub fn expected(&self) -> Option<usize> {
        match self.state {
            State::Traffic(_) => self.decoder.expected(),
            State::Opening(_) | State::Raw { .. } | State::Failed(_) => None,
        }
    }

    /// Takes bytes from the stream, as many or fewer than [`expected`](Self::expected) said, with their
    /// memory; then call [`receive`](Self::receive) with empty input. Any bytes will do; only if they
    /// are what was expected is a copy saved.
    ///
    /// # Panics
    /// If nothing was expected.
    pub fn adopt(&mut self, bytes: Vec<u8>) {
        self.decoder.adopt(bytes);
    }

    /// How many bytes the header that comes next takes, or what is missing of it, at the most; 0 inside a body. Who reads
    /// no more learns how long a long body is ([`begun_body`](Self::begun_body)) before any of it is read.
    pub fn header_room(&self) -> usize {
        match self.state {
            State::Traffic(_) => self.decoder.header_room(),
            State::Opening(_) | State::Raw { .. } | State::Failed(_) => 0,
        }
    }

    /// The length of the long body that comes next, if its header was read alone: a caller may read all of it into memory
    /// of its own, and give that to [`place_body`](Self::place_body). It need not: then it goes on as always.
    pub fn begun_body(&self) -> Option<usize> {
        match self.state {
            State::Traffic(_) => self.decoder.begun_body(),
            State::Opening(_) | State::Raw { .. } | State::Failed(_) => None,
        }
    }

    /// Takes that body; then call [`receive`](Self::receive) with empty input.
    ///
    /// # Panics
    /// If none was begun, or `body` has another length.
    pub fn place_body(&mut self, body: Frame) {
        self.decoder.place_body(body);
    }

    /// Queues a message. On SUB and XSUB a single frame beginning with `01` or `00` is a
    /// subscription or its cancellation and travels as the peer's version wants it.
    ///
    /// After an error there is nobody to send to, and the message is dropped.
    ///
    /// # Panics
    /// Before [`Event::Ready`].
    #[inline]
    pub fn send(&mut self, mut message: Message) {
        self.send_from(&mut message);
    }

    /// As [`send`](Self::send), for a message that stays where it is: it need not be moved, and its
    /// owner throws away what is left of it.
    #[inline]
    pub fn send_from(&mut self, message: &mut Message) {
        match &mut self.state {
            State::Traffic(traffic) => traffic.send(message, &mut self.transmit),
            State::Raw { .. } => {
                for payload in std::mem::take(message).into_frames() {
                    self.transmit.push_payload(payload);
                }
            }
            State::Failed(_) => {}
            State::Opening(_) => panic!("a message was sent before the connection was ready"),
        }
    }

    /// Queues many messages; see [`send`](Self::send).
    ///
    /// # Panics
    /// Before [`Event::Ready`].
    pub fn send_run(&mut self, mut run: Run) {
        if let State::Traffic(traffic) = &mut self.state {
            return traffic.send_run(run, &mut self.transmit);
        }
        while let Some(message) = run.pop_front() {
            self.send(message);
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
            State::Traffic(traffic) => traffic.deadline(),
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
            traffic.handle_life(now);
        }
    }

    /// How many commands of unknown names were ignored since the last call.
    pub fn take_ignored(&mut self) -> u64 {
        match &mut self.state {
            State::Traffic(traffic) => traffic.take_ignored(),
            State::Opening(_) | State::Raw { .. } | State::Failed(_) => 0,
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
            let event = self.receive_surplus(now)?;
            if event.is_some() {
                return Ok(event);
            }
        }
        let event = self.receive_from(input, now)?;
        if event.is_none() && self.decoder.has_surplus() {
            return self.receive_surplus(now); // adopted bytes were not what was expected
        }
        Ok(event)
    }

    /// Takes the next event from what came too much.
    fn receive_surplus(&mut self, now: Instant) -> Result<Option<Event>, ProtocolError> {
        let surplus = self.decoder.take_surplus();
        let mut rest = &surplus[..];
        let event = self.receive_from(&mut rest, now)?;
        let taken = surplus.len() - rest.len();
        self.decoder.put_surplus(surplus.slice(taken..));
        Ok(event)
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
                let message = traffic.receive(input, &mut self.decoder, &mut self.transmit)?;
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
    }

    /// Bytes of memory held outside the value itself.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn memory(&self) -> usize {
        let state = match &self.state {
            State::Traffic(traffic) => traffic.memory(),
            _ => 0,
        };
        state + self.decoder.memory() + self.transmit.memory()
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

#[cfg(test)]
mod tests;
