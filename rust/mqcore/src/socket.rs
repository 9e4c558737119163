//! Sockets: the application's side of the engine.
//!
//! A call takes the lock of its direction, lets the pattern take in the news, and tries; a call that may
//! wait does so outside every lock and tries again when its direction was signalled.

mod endpoints;
mod messages;
mod pacing;
mod watching;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mqcore_proto::SocketType;

use endpoints::{BondKind, Bonds};
pub use messages::{NotSent, Received, SendBatch};
use messages::{Receiving, Sending};

use crate::context::Context;
use crate::error::{Errno, Error, Result};
use crate::options::{Change, Live, OptionValue, Reading, SocketOptions};
use crate::patience::Patience;
use crate::pattern::{Command, PatternOption, Peer, Setup, is_split, new as new_pattern};
use crate::pipe::Wake;
use crate::port::{Port, Tend, next_id};
use crate::signals::{LoopLease, LoopWatch, POLLIN, POLLOUT, Signals};
use crate::sync::{Alive, lock};
use crate::transport::check_busy_poll;

/// The option that still has its effect after the context was shut down.
const LINGER: i32 = 17;
const BUSY_POLL: i32 = 113;

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
    /// What was sent last waits behind much else. Set under the lock of `outgoing`.
    laden: AtomicBool,
    incoming: Mutex<Receiving>,
    /// Parts of a message follow the one received last. Set under the lock of `incoming`.
    partly_read: AtomicBool,
    bonds: Mutex<Bonds>,
    alive: Mutex<Option<Alive>>,
    /// The other end of the monitor: a PAIR bound to the address that the application gave.
    monitor: Mutex<Option<Socket>>,
}

impl Context {
    /// A new socket of type `kind`, by its number of zmq.h.
    ///
    /// # Errors
    /// EINVAL for a number that is no socket type, EMFILE when MAX_SOCKETS are open, ETERM after the
    /// context was shut down.
    pub fn socket(&self, kind: i32) -> Result<Socket> {
        let kind = SocketType::from_number(kind.into()).ok_or_else(|| unknown_type(kind))?;
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
                    patience: Patience::default(),
                }),
                laden: AtomicBool::new(false),
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

/// EINVAL for the number of no socket type, or of one that is not there yet.
fn unknown_type(number: i32) -> Error {
    const DRAFTS: [&str; 9] = [
        "SERVER", "CLIENT", "RADIO", "DISH", "GATHER", "SCATTER", "DGRAM", "PEER", "CHANNEL",
    ];
    let index = number.checked_sub(12).map(usize::try_from);
    let draft = index.and_then(|index| DRAFTS.get(index.ok()?));
    let text = match draft {
        Some(name) => format!("mqcore does not have the draft socket type {name} ({number}) yet"),
        None => format!("{number} is no socket type; known are 0 (PAIR) to 11 (STREAM)"),
    };
    Error::new(Errno::INVAL, text)
}

fn closed() -> Error {
    Errno::NOTSOCK.into()
}

impl Inner {
    #[inline]
    fn check(&self) -> Result<()> {
        if self.context.is_shut_down() {
            return Err(if self.port.is_closed() {
                closed()
            } else {
                Errno::TERM.into()
            });
        }
        Ok(())
    }

    fn linger_deadline(&self) -> Option<Instant> {
        lock(&self.options)
            .linger
            .map(|linger| after(Instant::now(), linger))
    }

    /// After an operation of the application: whoever watches the descriptor hears that there is more,
    /// so that one wake-up for several messages does not strand the others; and whoever has the socket on a
    /// list looks at it again, if the operation did something.
    #[inline]
    fn rearm(&self, done: bool) {
        if self.port.signals.is_followed() {
            if done {
                self.port.signals.follow_up();
            }
            if self.port.signals.public_fd().is_some() {
                self.rearm_fd();
            }
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

/// What SUBSCRIBE and UNSUBSCRIBE are for an XPUB: the answer to the notification received last. Nothing, if
/// that came because a peer left: the answer matters to nobody then.
fn decision(
    option: PatternOption,
    options: &SocketOptions,
    asker: Option<Arc<Peer>>,
) -> Result<Option<PatternOption>> {
    let (prefix, subscribe) = match option {
        PatternOption::Subscribe(prefix) => (prefix, true),
        PatternOption::Unsubscribe(prefix) => (prefix, false),
        other => return Ok(Some(other)),
    };
    if !options.xpub_manual {
        return Err(Error::new(
            Errno::INVAL,
            "an XPUB decides about subscriptions only with XPUB_MANUAL; set that first",
        ));
    }
    Ok(asker.map(|peer| PatternOption::Decide {
        peer: peer.id,
        prefix,
        subscribe,
    }))
}

/// `now + span`, or a time that never comes.
fn after(now: Instant, span: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    now + span.min(NEVER)
}

impl Socket {
    /// Whether both are handles of one socket.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// The socket's type.
    pub fn kind(&self) -> SocketType {
        self.inner.kind
    }

    pub(crate) fn signals(&self) -> &Signals {
        &self.inner.port.signals
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
            let readable = || {
                let mut incoming = lock(&inner.incoming);
                Ok::<_, Error>(incoming.rest.len() > 0 || incoming.fresh(inner)?.readable())
            };
            if readable()? || self.look_behind() && readable()? {
                events |= POLLIN;
            }
        }
        if wanted & POLLOUT != 0 {
            let mut outgoing = lock(&inner.outgoing);
            let writable = match outgoing.fresh(inner) {
                Ok(half) => half.writable(),
                // Not before what was received is read: no error of the poll.
                Err(error) if error.errno() == Errno::FSM => false,
                Err(error) => return Err(error),
            };
            if !outgoing.parts.is_empty() || writable {
                events |= POLLOUT;
            }
        }
        Ok(events)
    }

    /// Lends the connection to the only peer to an event loop, if it can be and is worth it.
    pub(crate) fn lend_to_loop(
        &self,
        watch: &Arc<LoopWatch>,
        key: usize,
    ) -> Option<Arc<dyn LoopLease>> {
        self.inner.port.lend_to_loop(watch, key)
    }

    fn check_open(&self) -> Result<()> {
        self.inner.check()?;
        if self.inner.port.is_closed() {
            return Err(closed());
        }
        Ok(())
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
            // Not while the options are locked: whoever receives may want them.
            let asker = match inner.kind {
                SocketType::Xpub => lock(&inner.incoming).last_peer(),
                _ => None,
            };
            if option == BUSY_POLL
                && let OptionValue::Int(micros) = value
            {
                check_busy_poll(*micros)?;
            }
            let mut options = lock(&inner.options);
            let change = options.set(inner.kind, option, value)?;
            inner
                .port
                .handover
                .store(options.router_handover, Ordering::Relaxed);
            match change {
                Change::Stored | Change::Linger | Change::Timeouts => return Ok(()),
                Change::Spin => {
                    inner.port.signals.set_patience(options.spin);
                    return Ok(());
                }
                Change::Hwm => News::Hwm {
                    send: options.sndhwm,
                    receive: options.rcvhwm,
                },
                Change::Pattern(option) if inner.kind == SocketType::Xpub => {
                    match decision(option, &options, asker)? {
                        Some(option) => News::Option(option),
                        None => return Ok(()),
                    }
                }
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
            Live::TopicsCount => OptionValue::Int(match inner.kind {
                SocketType::Sub => lock(&inner.incoming).fresh(inner)?.topics(),
                _ => lock(&inner.outgoing).fresh(inner)?.topics(),
            } as i64),
            Live::Mechanism | Live::ThreadSafe => OptionValue::Int(0),
        })
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

impl Tend for Inner {
    /// Lets both halves of the pattern take in what was posted.
    fn tend(&self) {
        // After the shutdown or the close there is nobody to tell.
        let _ = lock(&self.outgoing).fresh(self).map(|_| ());
        let _ = lock(&self.incoming).fresh(self).map(|_| ());
    }

    fn endpoints(&self) -> Vec<String> {
        let bonds = lock(&self.bonds);
        bonds.list.iter().map(|bond| bond.address.clone()).collect()
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
                BondKind::Bind(acceptor) => acceptor.close(deadline),
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
        self.stop_monitor();
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
