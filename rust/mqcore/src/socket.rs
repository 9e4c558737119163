//! Sockets: the application's side of the engine.
//!
//! A call takes the lock of its direction, lets the pattern take in the news, and tries; a call that may
//! wait does so outside every lock and tries again when its direction was signalled.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mqcore_proto::{Frame, Message, SocketType};

use crate::context::Context;
use crate::endpoint::Endpoint;
use crate::error::{Errno, Error, Result};
use crate::io::{Acceptor, Session, SessionConfig};
use crate::monitor::EventKind;
use crate::options::{Change, Live, OptionValue, Reading, SocketOptions};
use crate::pattern::{
    Command, Half, Incoming, Outgoing, PatternOption, Properties, Refusal, Setup, is_split,
    new as new_pattern, takes_commands,
};
use crate::pipe::Wake;
use crate::port::{Inbox, POLLIN, POLLOUT, Port, Signals, Tend, next_id};
use crate::sync::{Alive, Event, Woken, lock};
use crate::transport::inproc::Side;
use crate::transport::{Listener, bound_text};

/// The option that still has its effect after the context was shut down.
const LINGER: i32 = 17;

/// A send that was not done: why, and what was to be sent, unchanged.
pub type NotSent<T> = (Error, T);

/// A socket; clones are the same socket. Any thread may call anything at any time.
///
/// Calls of one direction are serialised; sending and receiving do not wait for each other. A message
/// sent in parts by several threads at once is mixed up: send whole messages there.
#[derive(Clone)]
pub struct Socket {
    inner: Arc<Inner>,
}

struct Inner {
    id: u64,
    kind: SocketType,
    context: Context,
    port: Arc<Port>,
    options: Mutex<SocketOptions>,
    outgoing: Mutex<Sending>,
    incoming: Mutex<Receiving>,
    /// Parts of a message follow the one received last. Set under the lock of `incoming`.
    partly_read: AtomicBool,
    bonds: Mutex<Bonds>,
    alive: Mutex<Option<Alive>>,
    /// The other end of the monitor: a PAIR bound to the address that the application gave.
    monitor: Mutex<Option<Socket>>,
}

struct Sending {
    /// `None` after the close.
    half: Option<Box<dyn Outgoing>>,
    /// The parts so far of a message that is sent in parts.
    parts: Vec<Frame>,
}

struct Receiving {
    /// `None` after the close.
    half: Option<Box<dyn Incoming>>,
    /// What is left of a message that is received in parts.
    rest: std::vec::IntoIter<Frame>,
}

/// The binds and connects of a socket.
#[derive(Default)]
struct Bonds {
    list: Vec<Bond>,
    last_endpoint: String,
}

struct Bond {
    id: u64,
    /// As LAST_ENDPOINT shows it.
    address: String,
    kind: BondKind,
}

enum BondKind {
    Bind(Arc<Acceptor>),
    Connect(Arc<Session>),
    InprocBind,
    InprocConnect,
}

impl Context {
    /// A new socket of type `kind`, by its number of zmq.h.
    ///
    /// # Errors
    /// EINVAL for a number that is no socket type, EMFILE when MAX_SOCKETS are open, ETERM after the
    /// context was shut down.
    pub fn socket(&self, kind: i32) -> Result<Socket> {
        let kind = SocketType::from_number(kind.into()).ok_or_else(|| {
            Error::new(
                Errno::INVAL,
                format!("{kind} is no socket type; known are 0 (PAIR) to 11 (STREAM)"),
            )
        })?;
        let port = Port::new(kind);
        let id = next_id();
        let alive = self.enroll(id, &port)?;
        let options =
            self.with_options(|options| SocketOptions::new(kind, options.blocky, options.ipv6));
        let (outgoing, incoming) = new_pattern(
            kind,
            Setup {
                outgoing: Arc::clone(&port.outbox) as Arc<dyn Wake>,
                incoming: Arc::clone(&port.inbox) as Arc<dyn Wake>,
                drops: Arc::clone(&port.drops),
                receive_hwm: options.rcvhwm,
            },
        );
        let socket = Socket {
            inner: Arc::new(Inner {
                id,
                kind,
                context: self.clone(),
                port,
                options: Mutex::new(options),
                outgoing: Mutex::new(Sending {
                    half: Some(outgoing),
                    parts: Vec::new(),
                }),
                incoming: Mutex::new(Receiving {
                    half: Some(incoming),
                    rest: Vec::new().into_iter(),
                }),
                partly_read: AtomicBool::new(false),
                bonds: Mutex::default(),
                alive: Mutex::new(Some(alive)),
                monitor: Mutex::new(None),
            }),
        };
        let inner = Arc::downgrade(&socket.inner);
        socket.inner.port.set_tender(inner);
        Ok(socket)
    }
}

fn closed() -> Error {
    Errno::NOTSOCK.into()
}

fn refused(kind: SocketType, refusal: Refusal) -> Error {
    match refusal {
        Refusal::Again => Errno::AGAIN.into(),
        Refusal::Unreachable => Errno::HOSTUNREACH.into(),
        Refusal::State(expected) => Error::new(Errno::FSM, expected),
        Refusal::Unsupported => Error::new(
            Errno::NOTSUP,
            format!("a {} socket does not do this", kind.name()),
        ),
        Refusal::Invalid(why) => Error::new(Errno::INVAL, why),
    }
}

fn news(inbox: &Inbox, handle: impl FnMut(Command)) {
    if inbox.is_pending() {
        inbox.drain(handle);
    }
}

impl Sending {
    /// The half, with the news taken in.
    #[inline]
    fn fresh(&mut self, inner: &Inner) -> Result<&mut dyn Outgoing> {
        inner.check()?;
        let lockstep = matches!(inner.kind, SocketType::Req | SocketType::Rep);
        if lockstep && inner.partly_read.load(Ordering::Relaxed) {
            return Err(Error::new(
                Errno::FSM,
                "parts of the message received last are unread; receive them before sending",
            ));
        }
        let half = self.half.as_deref_mut().ok_or_else(closed)?;
        if takes_commands(inner.kind).contains(Half::Outgoing) {
            news(&inner.port.outbox, |command| half.handle(command));
        }
        Ok(half)
    }
}

impl Receiving {
    #[inline]
    fn fresh(&mut self, inner: &Inner) -> Result<&mut dyn Incoming> {
        inner.check()?;
        let half = self.half.as_deref_mut().ok_or_else(closed)?;
        if takes_commands(inner.kind).contains(Half::Incoming) {
            news(&inner.port.inbox, |command| half.handle(command));
        }
        Ok(half)
    }

    /// The next whole message of the pattern, or what is left of one received in parts.
    fn whole(&mut self, inner: &Inner) -> Result<Message> {
        if self.rest.len() > 0 {
            inner.check()?;
            inner.partly_read.store(false, Ordering::Relaxed);
            let rest = std::mem::take(&mut self.rest).collect();
            return Ok(Message::from_frames(rest));
        }
        let message = self
            .fresh(inner)?
            .try_recv()
            .map_err(|refusal| refused(inner.kind, refusal))?;
        inner.partly_read.store(false, Ordering::Relaxed);
        Ok(message)
    }
}

impl Inner {
    #[inline]
    fn check(&self) -> Result<()> {
        if self.context.is_shut_down() {
            return Err(Errno::TERM.into());
        }
        Ok(())
    }

    fn linger_deadline(&self) -> Option<Instant> {
        lock(&self.options)
            .linger
            .map(|linger| after(Instant::now(), linger))
    }

    /// After an operation of the application: whoever watches the descriptor hears that there is more,
    /// so that one wake-up for several messages does not strand the others.
    #[inline]
    fn rearm(&self) {
        if self.port.signals.public_fd().is_some() {
            self.rearm_fd();
        }
    }

    #[cold]
    fn rearm_fd(&self) {
        let readable = {
            let mut incoming = lock(&self.incoming);
            incoming.rest.len() > 0 || incoming.fresh(self).is_ok_and(|half| half.readable())
        };
        if readable && let Some(bell) = self.port.signals.public_fd() {
            bell.ring();
        }
    }
}

/// `now + span`, or a time that never comes.
fn after(now: Instant, span: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    now + span.min(NEVER)
}

impl Socket {
    /// The socket's type.
    pub fn kind(&self) -> SocketType {
        self.inner.kind
    }

    pub(crate) fn signals(&self) -> &Signals {
        &self.inner.port.signals
    }

    // Messages.

    /// Sends a whole message, if that can be done now.
    ///
    /// # Errors
    /// EAGAIN without room, EFSM out of turn, EHOSTUNREACH without such a peer, ENOTSUP for a type that
    /// only receives, ETERM, ENOTSOCK; each with the message back.
    pub fn try_send(&self, message: Message) -> std::result::Result<(), NotSent<Message>> {
        let inner = &*self.inner;
        let sent = {
            let mut sending = lock(&inner.outgoing);
            match sending.fresh(inner) {
                Err(error) => Err((error, message)),
                Ok(half) => half
                    .try_send(message)
                    .map_err(|(refusal, message)| (refused(inner.kind, refusal), message)),
            }
        };
        inner.rearm();
        sent
    }

    /// Sends one part of a message; `more` says that others follow. The message goes when it is
    /// complete; whether it can be taken is decided at its first part.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send), with the part back; the parts before stay.
    pub fn try_send_part(
        &self,
        part: Frame,
        more: bool,
    ) -> std::result::Result<(), NotSent<Frame>> {
        let inner = &*self.inner;
        let sent = {
            let mut sending = lock(&inner.outgoing);
            sending.send_part(inner, part, more)
        };
        inner.rearm();
        sent
    }

    /// As [`try_send`](Self::try_send), but waits for room until `deadline` (`None`: for ever).
    ///
    /// # Errors
    /// Also EINTR when a signal handler ran on this thread: call again.
    pub fn send_until(
        &self,
        mut message: Message,
        deadline: Option<Instant>,
    ) -> std::result::Result<(), NotSent<Message>> {
        loop {
            let seen = self.signals().writable.epoch();
            match self.try_send(message) {
                Err((error, back)) if error.errno() == Errno::AGAIN => {
                    message = back;
                    if let Err(error) = wait(&self.signals().writable, seen, deadline) {
                        return Err((error, message));
                    }
                }
                done => return done,
            }
        }
    }

    /// As [`try_send_part`](Self::try_send_part), but waits for room until `deadline`.
    ///
    /// # Errors
    /// Also EINTR when a signal handler ran on this thread: call again.
    pub fn send_part_until(
        &self,
        mut part: Frame,
        more: bool,
        deadline: Option<Instant>,
    ) -> std::result::Result<(), NotSent<Frame>> {
        loop {
            let seen = self.signals().writable.epoch();
            match self.try_send_part(part, more) {
                Err((error, back)) if error.errno() == Errno::AGAIN => {
                    part = back;
                    if let Err(error) = wait(&self.signals().writable, seen, deadline) {
                        return Err((error, part));
                    }
                }
                done => return done,
            }
        }
    }

    /// Takes a whole message (or what is left of one, after [`try_recv_part`](Self::try_recv_part)).
    ///
    /// # Errors
    /// EAGAIN if there is none, EFSM out of turn, ENOTSUP for a type that only sends, ETERM, ENOTSOCK.
    pub fn try_recv(&self) -> Result<Message> {
        let inner = &*self.inner;
        let message = lock(&inner.incoming).whole(inner);
        inner.rearm();
        message
    }

    /// Takes the next part of a message, and says whether others of it follow.
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv); never EAGAIN in the middle of a message.
    pub fn try_recv_part(&self) -> Result<(Frame, bool)> {
        let inner = &*self.inner;
        let part = {
            let mut receiving = lock(&inner.incoming);
            if let Some(frame) = receiving.rest.next() {
                let more = receiving.rest.len() > 0;
                inner.partly_read.store(more, Ordering::Relaxed);
                Ok((frame, more))
            } else {
                receiving
                    .whole(inner)
                    .map(|message| match message.into_single() {
                        Ok(frame) => (frame, false),
                        Err(message) => {
                            let mut frames = message.into_frames().into_iter();
                            let first = frames.next().unwrap_or_default();
                            let more = frames.len() > 0;
                            inner.partly_read.store(more, Ordering::Relaxed);
                            receiving.rest = frames;
                            (first, more)
                        }
                    })
            }
        };
        inner.rearm();
        part
    }

    /// As [`try_recv`](Self::try_recv), but waits for a message until `deadline` (`None`: for ever).
    ///
    /// # Errors
    /// Also EINTR when a signal handler ran on this thread: call again.
    pub fn recv_until(&self, deadline: Option<Instant>) -> Result<Message> {
        self.receive(deadline, Self::try_recv)
    }

    /// As [`try_recv_part`](Self::try_recv_part), but waits for a message until `deadline`.
    ///
    /// # Errors
    /// Also EINTR when a signal handler ran on this thread: call again.
    pub fn recv_part_until(&self, deadline: Option<Instant>) -> Result<(Frame, bool)> {
        self.receive(deadline, Self::try_recv_part)
    }

    fn receive<T>(
        &self,
        deadline: Option<Instant>,
        attempt: impl Fn(&Self) -> Result<T>,
    ) -> Result<T> {
        loop {
            let seen = self.signals().readable.epoch();
            match attempt(self) {
                Err(error) if error.errno() == Errno::AGAIN => {
                    wait(&self.signals().readable, seen, deadline)?;
                }
                done => return done,
            }
        }
    }

    /// When a send that begins now gives up (SNDTIMEO); `None` is never.
    pub fn send_deadline(&self) -> Option<Instant> {
        let span = lock(&self.inner.options).sndtimeo;
        span.map(|span| after(Instant::now(), span))
    }

    /// When a receive that begins now gives up (RCVTIMEO); `None` is never.
    pub fn receive_deadline(&self) -> Option<Instant> {
        let span = lock(&self.inner.options).rcvtimeo;
        span.map(|span| after(Instant::now(), span))
    }

    /// The properties of the connection that the message received last came over: `Socket-Type`,
    /// `Peer-Address`, `Identity`, `X-...`; none over inproc, and for messages that nobody sent.
    pub fn last_properties(&self) -> Properties {
        let incoming = lock(&self.inner.incoming);
        let peer = incoming.half.as_ref().and_then(|half| half.last_peer());
        peer.map(|peer| lock(&peer.metadata).clone())
            .unwrap_or_default()
    }

    // Readiness.

    /// POLLIN (1) and POLLOUT (2), as they stand.
    ///
    /// # Errors
    /// ETERM, ENOTSOCK.
    pub fn events(&self) -> Result<i32> {
        self.readiness(POLLIN | POLLOUT)
    }

    /// Which of the wanted events are there.
    pub(crate) fn readiness(&self, wanted: i32) -> Result<i32> {
        let inner = &*self.inner;
        inner.check()?;
        if inner.port.is_closed() {
            return Err(closed());
        }
        let mut events = 0;
        if wanted & POLLIN != 0 {
            let mut incoming = lock(&inner.incoming);
            if incoming.rest.len() > 0 || incoming.fresh(inner)?.readable() {
                events |= POLLIN;
            }
        }
        if wanted & POLLOUT != 0 {
            let mut outgoing = lock(&inner.outgoing);
            if !outgoing.parts.is_empty() || outgoing.fresh(inner)?.writable() {
                events |= POLLOUT;
            }
        }
        Ok(events)
    }

    // Endpoints.

    /// Binds to an endpoint (`tcp://`, `ipc://` or `inproc://`).
    ///
    /// # Errors
    /// EINVAL for text that is no endpoint, EPROTONOSUPPORT, ENOCOMPATPROTO, EADDRINUSE, EADDRNOTAVAIL,
    /// ENODEV for an unknown interface or host, ENOENT, EACCES, ENAMETOOLONG for ipc, EMTHREAD without
    /// I/O threads, ETERM, ENOTSOCK.
    pub fn bind(&self, endpoint: &str) -> Result<()> {
        let inner = &*self.inner;
        self.check_open()?;
        let parsed = Endpoint::parse_bind(endpoint)?;
        let id = next_id();
        if let Endpoint::Inproc(name) = &parsed {
            self.check_inproc()?;
            let name = name.clone();
            inner.context.names().bind(&name, self.side(id))?;
            self.bond(id, endpoint.to_owned(), BondKind::InprocBind);
            return Ok(());
        }
        let options = lock(&inner.options).clone();
        let pool = inner.context.pool()?;
        let thread = Arc::clone(pool.choose(options.affinity)?);
        let (listener, resolved) = Listener::bind(&parsed, &options).inspect_err(|error| {
            let text = endpoint
                .split_once("://")
                .map_or(endpoint, |(_, rest)| rest);
            let number = error.errno().0 as u32;
            inner.port.monitor.emit(EventKind::BindFailed, number, text);
        })?;
        let fd = std::os::fd::AsRawFd::as_raw_fd(&listener) as u32;
        inner.port.monitor.emit(EventKind::Listening, fd, &resolved);
        let config = self.session_config(id, &resolved, options);
        let acceptor = Acceptor::new(listener, config, thread, pool);
        acceptor.start();
        self.bond(id, resolved, BondKind::Bind(acceptor));
        Ok(())
    }

    /// Connects to an endpoint. The connection itself is made, and made again, in the background.
    ///
    /// # Errors
    /// EINVAL, EPROTONOSUPPORT, ENOCOMPATPROTO, ENAMETOOLONG, EMTHREAD, ETERM, ENOTSOCK; EADDRINUSE if
    /// CONNECT_ROUTING_ID names a live peer.
    pub fn connect(&self, endpoint: &str) -> Result<()> {
        let inner = &*self.inner;
        self.check_open()?;
        let parsed = Endpoint::parse_connect(endpoint)?;
        use SocketType::{Dealer, Pub, Req, Sub};
        let once = matches!(inner.kind, Dealer | Sub | Pub | Req);
        let is_inproc = matches!(parsed, Endpoint::Inproc(_));
        if once && !is_inproc && self.is_connected_to(endpoint) {
            return Ok(()); // a second connection to the same place would halve its share, not double it
        }
        let id = next_id();
        if let Endpoint::Inproc(name) = &parsed {
            self.check_inproc()?;
            let side = self.side(id);
            lock(&inner.options).connect_routing_id = None;
            self.bond(id, endpoint.to_owned(), BondKind::InprocConnect);
            inner.context.names().connect(name, side);
            return Ok(());
        }
        let mut options = lock(&inner.options).clone();
        if inner.kind == SocketType::Stream {
            // The application shall know the connection's name before there is one, by ROUTING_ID.
            let name = options
                .connect_routing_id
                .get_or_insert_with(|| inner.port.automatic_id().to_vec())
                .clone();
            lock(&inner.options).routing_id = name;
        }
        let pool = inner.context.pool()?;
        let thread = Arc::clone(pool.choose(options.affinity)?);
        let config = self.session_config(id, endpoint, options);
        let session = Session::connecting(&config, parsed, thread).ok_or_else(|| {
            Error::new(
                Errno::ADDRINUSE,
                "CONNECT_ROUTING_ID is the routing id of a live peer; choose another",
            )
        })?;
        lock(&inner.options).connect_routing_id = None; // it is for one connect
        self.bond(
            id,
            endpoint.to_owned(),
            BondKind::Connect(Arc::clone(&session)),
        );
        session.start();
        Ok(())
    }

    /// Ends a bind, and the connections accepted through it. The address is free when this returns.
    ///
    /// # Errors
    /// ENOENT if the socket is not bound there: give the text of LAST_ENDPOINT.
    pub fn unbind(&self, endpoint: &str) -> Result<()> {
        self.end_endpoint(endpoint)
    }

    /// Ends a connect; what was queued for it is sent within LINGER.
    ///
    /// # Errors
    /// ENOENT if the socket is not connected there.
    pub fn disconnect(&self, endpoint: &str) -> Result<()> {
        self.end_endpoint(endpoint)
    }

    fn end_endpoint(&self, endpoint: &str) -> Result<()> {
        let inner = &*self.inner;
        self.check_open()?;
        let bond = {
            let mut bonds = lock(&inner.bonds);
            let position = bonds
                .list
                .iter()
                .position(|bond| bond.address == endpoint)
                .or_else(|| {
                    let parsed = Endpoint::parse_bind(endpoint).ok()?;
                    let same = bound_text(&parsed, &lock(&inner.options))?;
                    bonds.list.iter().position(|bond| bond.address == same)
                });
            match position {
                Some(position) => bonds.list.remove(position),
                None => {
                    let known: Vec<&str> = bonds
                        .list
                        .iter()
                        .map(|bond| bond.address.as_str())
                        .collect();
                    let known = if known.is_empty() {
                        "no endpoint".to_owned()
                    } else {
                        known.join(", ")
                    };
                    return Err(Error::new(
                        Errno::NOENT,
                        format!("the socket has no endpoint {endpoint}; it has {known}"),
                    ));
                }
            }
        };
        let deadline = inner.linger_deadline();
        match &bond.kind {
            BondKind::Bind(acceptor) => {
                acceptor.close();
                inner.port.detach_endpoint(bond.id, deadline);
            }
            BondKind::Connect(session) => {
                inner.port.detach_endpoint(bond.id, deadline);
                session.end_by(deadline);
            }
            BondKind::InprocBind => inner.context.names().unbind(bond.id),
            BondKind::InprocConnect => {
                inner.context.names().disconnect(bond.id);
                inner.port.detach_endpoint(bond.id, deadline);
            }
        }
        inner.tend();
        Ok(())
    }

    fn check_open(&self) -> Result<()> {
        self.inner.check()?;
        if self.inner.port.is_closed() {
            return Err(closed());
        }
        Ok(())
    }

    fn check_inproc(&self) -> Result<()> {
        if self.inner.kind == SocketType::Stream {
            return Err(Error::new(
                Errno::NOCOMPATPROTO,
                "STREAM speaks to programs that know no ZeroMQ, over tcp or ipc; inproc has none",
            ));
        }
        Ok(())
    }

    fn is_connected_to(&self, endpoint: &str) -> bool {
        lock(&self.inner.bonds)
            .list
            .iter()
            .any(|bond| bond.address == endpoint && matches!(bond.kind, BondKind::Connect(_)))
    }

    fn bond(&self, id: u64, address: String, kind: BondKind) {
        let mut bonds = lock(&self.inner.bonds);
        bonds.last_endpoint.clone_from(&address);
        bonds.list.push(Bond { id, address, kind });
    }

    fn side(&self, endpoint: u64) -> Side {
        let options = lock(&self.inner.options);
        Side {
            port: Arc::clone(&self.inner.port),
            endpoint,
            sndhwm: options.sndhwm,
            rcvhwm: options.rcvhwm,
            conflate: options.conflates(self.inner.kind),
            routing_id: Frame::from(&options.routing_id[..]),
            peer_id: Frame::from(options.connect_routing_id.as_deref().unwrap_or_default()),
        }
    }

    fn session_config(
        &self,
        endpoint: u64,
        address: &str,
        options: SocketOptions,
    ) -> SessionConfig {
        SessionConfig {
            port: Arc::clone(&self.inner.port),
            options: Arc::new(options),
            endpoint,
            address: address.into(),
            max_message: self.inner.context.with_options(|options| options.max_msgsz),
            tally: Arc::clone(self.inner.context.tally()),
        }
    }

    // Options.

    /// Sets a socket option by its number of zmq.h.
    ///
    /// # Errors
    /// EINVAL for an option that this type does not have, one that is read-only, or a value that it does
    /// not take; ENOTSUP for what mqcore does not have yet; ETERM, ENOTSOCK. Nothing is changed then.
    pub fn set_option(&self, option: i32, value: &OptionValue) -> Result<()> {
        let inner = &*self.inner;
        match self.check_open() {
            // What lingers can be decided until the close, also when the context waits for just that.
            Err(error) if error.errno() == Errno::TERM && option == LINGER => {}
            checked => checked?,
        }
        let command = {
            let mut options = lock(&inner.options);
            let change = options.set(inner.kind, option, value)?;
            inner
                .port
                .handover
                .store(options.router_handover, Ordering::Relaxed);
            match change {
                Change::Stored | Change::Linger | Change::Timeouts => return Ok(()),
                Change::Hwm => News::Hwm {
                    send: options.sndhwm,
                    receive: options.rcvhwm,
                },
                Change::Pattern(option) => News::Option(option),
            }
        };
        if is_split(inner.kind) {
            inner.port.inbox.post(command.clone().into());
        }
        inner.port.outbox.post(command.into());
        inner.tend();
        Ok(())
    }

    /// Reads a socket option by its number of zmq.h.
    ///
    /// # Errors
    /// EINVAL for an option that this type does not have or that cannot be read; ETERM, ENOTSOCK.
    pub fn option(&self, option: i32) -> Result<OptionValue> {
        let inner = &*self.inner;
        self.check_open()?;
        let reading = lock(&inner.options).get(inner.kind, option)?;
        let live = match reading {
            Reading::Value(value) => return Ok(value),
            Reading::Live(live) => live,
        };
        Ok(match live {
            Live::ReceiveMore => OptionValue::Int(inner.partly_read.load(Ordering::Relaxed).into()),
            Live::Fd => {
                use std::os::fd::{AsFd, AsRawFd};
                let first = inner.port.signals.public_fd().is_none();
                let bell = inner.port.signals.fd()?;
                if first {
                    bell.ring(); // what came before nobody watched shall be looked at
                }
                OptionValue::Int(bell.as_fd().as_raw_fd().into())
            }
            Live::Events => {
                if let Some(bell) = inner.port.signals.public_fd() {
                    bell.silence();
                }
                OptionValue::Int(self.events()?.into())
            }
            Live::Type => OptionValue::Int(inner.kind as i64),
            Live::LastEndpoint => {
                OptionValue::Bytes(lock(&inner.bonds).last_endpoint.clone().into_bytes())
            }
            Live::Mechanism | Live::ThreadSafe | Live::TopicsCount => OptionValue::Int(0),
        })
    }

    // Watching.

    /// Sends the connection events in `events` to a PAIR socket that connects to the inproc `endpoint`;
    /// `None` stops it. Events that it does not read in time are dropped and counted.
    ///
    /// # Errors
    /// EPROTONOSUPPORT for another transport, EADDRINUSE, EMFILE, ETERM, ENOTSOCK.
    pub fn monitor(&self, endpoint: Option<&str>, events: i32) -> Result<()> {
        let inner = &*self.inner;
        self.check_open()?;
        let mut current = lock(&inner.monitor);
        inner.port.monitor.stop();
        if let Some(before) = current.take() {
            before.close();
        }
        let Some(endpoint) = endpoint else {
            return Ok(());
        };
        if !matches!(Endpoint::parse_bind(endpoint)?, Endpoint::Inproc(_)) {
            return Err(Error::new(
                Errno::PROTONOSUPPORT,
                format!("a monitor reports over inproc only, not over {endpoint}"),
            ));
        }
        let reporter = inner.context.socket(SocketType::Pair as i32)?;
        if let Err(error) = reporter.bind(endpoint) {
            reporter.close();
            return Err(error);
        }
        let sender = reporter.clone();
        inner.port.monitor.start(
            events as u32,
            Box::new(move |message| sender.try_send(message).is_ok()),
        );
        *current = Some(reporter);
        Ok(())
    }

    /// What was counted since the socket was made, by name.
    pub fn statistics(&self) -> Vec<(&'static str, u64)> {
        let port = &self.inner.port;
        let drops = &port.drops;
        let mut all = port.monitor.counters.read().to_vec();
        all.push(("dropped_full", drops.full.load(Ordering::Relaxed)));
        all.push((
            "dropped_unroutable",
            drops.unroutable.load(Ordering::Relaxed),
        ));
        all.push((
            "dropped_unexpected",
            drops.unexpected.load(Ordering::Relaxed),
        ));
        all.push(("peers", port.peer_count() as u64));
        all
    }

    // The end.

    /// Closes the socket at once; what was sent goes out in the background, within LINGER. Waiting calls
    /// of other threads end with ENOTSOCK.
    pub fn close(&self) {
        self.inner.close();
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.inner.port.is_closed()
    }
}

impl Sending {
    fn send_part(
        &mut self,
        inner: &Inner,
        part: Frame,
        more: bool,
    ) -> std::result::Result<(), NotSent<Frame>> {
        let first = self.parts.is_empty();
        let half = match self.fresh(inner) {
            Ok(half) => half,
            Err(error) => return Err((error, part)),
        };
        if more {
            if first && let Err(refusal) = half.check(&part) {
                return Err((refused(inner.kind, refusal), part));
            }
            self.parts.push(part);
            return Ok(());
        }
        let message = if first {
            Message::from(part)
        } else {
            let mut parts = std::mem::take(&mut self.parts);
            parts.push(part);
            Message::from_frames(parts)
        };
        let Some(half) = self.half.as_deref_mut() else {
            return Ok(());
        };
        match half.try_send(message) {
            Ok(()) => Ok(()),
            Err((refusal, message)) => {
                let mut parts = message.into_frames();
                let part = parts.pop().unwrap_or_default();
                if first || refusal == Refusal::Again {
                    // Another thread's message took the room that the first part found: once more.
                    self.parts = parts;
                    return Err((refused(inner.kind, refusal), part));
                }
                // The peer went away in the middle: the message is dropped as a whole.
                inner.port.drops.unroutable.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    }
}

/// What both halves of a split pattern are told.
#[derive(Clone)]
enum News {
    Hwm { send: usize, receive: usize },
    Option(PatternOption),
}

impl From<News> for Command {
    fn from(news: News) -> Self {
        match news {
            News::Hwm { send, receive } => Self::Hwm { send, receive },
            News::Option(option) => Self::Option(option),
        }
    }
}

fn wait(event: &Event, seen: u32, deadline: Option<Instant>) -> Result<()> {
    match event.wait(seen, deadline) {
        Woken::Signalled => Ok(()),
        Woken::TimedOut => Err(Errno::AGAIN.into()),
        Woken::Interrupted => Err(Errno::INTR.into()),
    }
}

impl Tend for Inner {
    /// Lets both halves of the pattern take in what was posted.
    fn tend(&self) {
        // After the shutdown or the close there is nobody to tell.
        let _ = lock(&self.outgoing).fresh(self).map(|_| ());
        let _ = lock(&self.incoming).fresh(self).map(|_| ());
    }
}

impl Inner {
    fn close(&self) {
        let deadline = self.linger_deadline();
        if self.port.is_closed() {
            return;
        }
        self.port.close(deadline);
        let bonds = std::mem::take(&mut lock(&self.bonds).list);
        for bond in &bonds {
            match &bond.kind {
                BondKind::Bind(acceptor) => acceptor.close(),
                BondKind::Connect(session) => session.end_by(deadline),
                BondKind::InprocBind | BondKind::InprocConnect => {}
            }
        }
        // Dropping the halves closes the pipes; sessions send what is in them. Not under the locks:
        // a closing pipe calls its other end.
        let outgoing = {
            let mut sending = lock(&self.outgoing);
            sending.parts.clear();
            sending.half.take()
        };
        let incoming = {
            let mut receiving = lock(&self.incoming);
            receiving.rest = Vec::new().into_iter();
            receiving.half.take()
        };
        drop(outgoing);
        drop(incoming);
        self.port.outbox.drain(drop);
        self.port.inbox.drain(drop);
        self.context.names().forget(&self.port);
        self.port.monitor.stop();
        if let Some(reporter) = lock(&self.monitor).take() {
            reporter.close();
        }
        self.context.leave(self.id);
        self.port.signals.notify(true, true);
        *lock(&self.alive) = None;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}
