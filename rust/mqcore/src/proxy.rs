//! Passing messages on between two sockets, until the context ends or somebody says so.
//!
//! A message is taken only when the socket it goes to has room, so what cannot go on waits in the source's queue, where
//! its high-water mark counts. A proxy that can do nothing sleeps until one of its sockets has news.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mqcore_proto::{Frame, Message, SocketType};

use crate::error::{Errno, Result};
use crate::signals::{Alarm, POLLOUT, Watcher};
use crate::socket::Socket;
use crate::sync::Woken;

/// Messages that go one way before the others get their turn.
const BURST: usize = 1000;

/// A busy proxy lets its caller look for signals so often: their handlers interrupt only a sleep.
const SIGNALS: Duration = Duration::from_millis(100);

/// What has gone through one socket of a proxy. A message of several frames counts each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Frames received from it.
    pub frames_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Frames sent by it.
    pub frames_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
}

impl Flow {
    fn numbers(self) -> [u64; 4] {
        [
            self.frames_in,
            self.bytes_in,
            self.frames_out,
            self.bytes_out,
        ]
    }
}

const FRONTEND: usize = 0;
const BACKEND: usize = 1;

/// Two sockets that are joined, with those that watch and steer.
pub struct Proxy {
    sides: [Socket; 2],
    /// One socket that is both sides: it gets back what it brings.
    single: bool,
    capture: Option<Socket>,
    control: Option<Socket>,
    paused: bool,
    flows: [Flow; 2],
    /// Taken, and then there was no room after all: by the side it goes to. Whether a socket has room can be said
    /// only for some message: a ROUTER that reports mandatorily and a publisher that drops nothing decide by
    /// the message, and another thread of the application may have been quicker.
    held: [Option<Message>; 2],
    /// A copy for the capture, for which the same holds.
    copy: Option<Message>,
    /// Hears of news of every socket.
    watcher: Arc<Watcher>,
    /// When the caller last looked for signals, if something was done since.
    busy_since: Option<Instant>,
}

/// What a steering message asks for.
enum Order {
    Pause,
    Resume,
    Terminate,
    Statistics,
    Unknown,
}

impl Order {
    fn of(message: &Message) -> Self {
        match message.first() {
            b"PAUSE" => Self::Pause,
            b"RESUME" => Self::Resume,
            b"TERMINATE" => Self::Terminate,
            b"STATISTICS" => Self::Statistics,
            _ => Self::Unknown,
        }
    }
}

impl Proxy {
    /// Joins `frontend` and `backend`, which may be the same socket. `capture` is sent a copy of every
    /// message, and holds the proxy up when it has no room. `control` brings PAUSE, RESUME, TERMINATE and
    /// STATISTICS, each as a text.
    #[must_use]
    pub fn new(
        frontend: Socket,
        backend: Socket,
        capture: Option<Socket>,
        control: Option<Socket>,
    ) -> Self {
        let proxy = Self {
            single: frontend.is_same(&backend),
            sides: [frontend, backend],
            capture,
            control,
            paused: false,
            flows: [Flow::default(); 2],
            held: [None, None],
            copy: None,
            watcher: Arc::new(Watcher::new(Alarm::None)),
            busy_since: None,
        };
        for socket in proxy.sockets() {
            socket.signals().watch(&proxy.watcher);
        }
        proxy
    }

    fn sockets(&self) -> impl Iterator<Item = &Socket> {
        self.sides.iter().chain(&self.capture).chain(&self.control)
    }

    /// What has gone through the frontend and the backend so far.
    #[must_use]
    pub fn flows(&self) -> [Flow; 2] {
        self.flows
    }

    /// Passes messages on until TERMINATE arrives.
    ///
    /// # Errors
    /// ETERM when the context ends, ENOTSOCK when one of the sockets is closed, and whatever a send or receive
    /// says that is not EAGAIN (EHOSTUNREACH from a ROUTER with ROUTER_MANDATORY). EINTR after a signal
    /// handler may have run on this thread: call again, and it goes on.
    pub fn run(&mut self) -> Result<()> {
        self.busy_since = None;
        loop {
            let seen = self.watcher.event.epoch();
            for socket in self.sockets() {
                socket.readiness(0)?; // also of those that have nothing to do: the end is for all
            }
            let mut busy = false;
            if let Some(control) = self.control.clone() {
                match control.try_recv() {
                    Ok(message) if self.obey(&control, &message)? => return Ok(()),
                    Ok(_) => busy = true, // there may be more
                    Err(error) if error.errno() == Errno::AGAIN => {}
                    Err(error) => return Err(error),
                }
            }
            if !self.paused {
                busy |= self.pass(FRONTEND, BACKEND)?;
                if !self.single {
                    busy |= self.pass(BACKEND, FRONTEND)?;
                }
            }
            let look = self.busy_since.map(|since| since + SIGNALS);
            if busy {
                let now = Instant::now();
                self.busy_since.get_or_insert(now);
                if look.is_some_and(|look| look <= now) {
                    return Err(Errno::INTR.into());
                }
                continue;
            }
            match self.watcher.event.wait(seen, look) {
                Woken::Signalled => {}
                Woken::TimedOut | Woken::Interrupted => return Err(Errno::INTR.into()),
            }
        }
    }

    /// Moves a burst from one side to the other. True if something was moved.
    fn pass(&mut self, from: usize, to: usize) -> Result<bool> {
        for moved in 0..BURST {
            if !self.send_copy()? {
                return Ok(moved > 0);
            }
            let message = match self.held[to].take() {
                Some(message) => message,
                None => {
                    // Room first: a message that was taken should go on.
                    let room = self.sides[to].readiness(POLLOUT)? != 0
                        && match &self.capture {
                            Some(capture) => capture.readiness(POLLOUT)? != 0,
                            None => true,
                        };
                    if !room {
                        return Ok(moved > 0);
                    }
                    let message = match self.sides[from].try_recv() {
                        Ok(message) => message,
                        // FSM: not its turn; NOTSUP: it only sends.
                        Err(error)
                            if matches!(
                                error.errno(),
                                Errno::AGAIN | Errno::FSM | Errno::NOTSUP
                            ) =>
                        {
                            return Ok(moved > 0);
                        }
                        Err(error) => return Err(error),
                    };
                    self.flows[from].frames_in += message.part_count() as u64;
                    self.flows[from].bytes_in += message.byte_len() as u64;
                    if self.capture.is_some() {
                        self.copy = Some(message.clone());
                    }
                    message
                }
            };
            let (frames, bytes) = (message.part_count() as u64, message.byte_len() as u64);
            match self.sides[to].try_send(message) {
                Ok(()) => {
                    self.flows[to].frames_out += frames;
                    self.flows[to].bytes_out += bytes;
                }
                Err((error, message)) => {
                    self.held[to] = Some(message);
                    if error.errno() == Errno::AGAIN {
                        return Ok(moved > 0);
                    }
                    return Err(error);
                }
            }
        }
        Ok(true)
    }

    /// Sends the capture what it has not got yet. True if there is nothing left.
    fn send_copy(&mut self) -> Result<bool> {
        let (Some(capture), Some(copy)) = (&self.capture, self.copy.take()) else {
            return Ok(true);
        };
        let Err((error, copy)) = capture.try_send(copy) else {
            return Ok(true);
        };
        self.copy = Some(copy);
        if error.errno() == Errno::AGAIN {
            Ok(false)
        } else {
            Err(error)
        }
    }

    /// Does what a steering message says; true to end. A REP gets an answer to everything.
    fn obey(&mut self, control: &Socket, message: &Message) -> Result<bool> {
        let order = Order::of(message);
        let mut answer = (control.kind() == SocketType::Rep).then(|| Frame::empty().into());
        match order {
            Order::Pause => self.paused = true,
            Order::Resume => self.paused = false,
            Order::Statistics => {
                let numbers = self.flows.into_iter().flat_map(Flow::numbers);
                let frames = numbers.map(|number| Frame::from(&number.to_ne_bytes()[..]));
                answer = Some(Message::from_frames(frames.collect()));
            }
            Order::Terminate | Order::Unknown => {}
        }
        if let Some(answer) = answer
            && let Err((error, _)) = control.try_send(answer)
            && !matches!(error.errno(), Errno::AGAIN | Errno::NOTSUP)
        {
            return Err(error);
        }
        Ok(matches!(order, Order::Terminate))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for socket in self.sockets() {
            socket.signals().unwatch(&self.watcher);
        }
    }
}
