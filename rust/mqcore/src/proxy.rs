//! Passing messages on between two sockets, until the context ends or somebody says so.
//!
//! A message is taken only when the socket it goes to has room, so nothing is held here and what cannot go on
//! waits in the source's queue, where its high-water mark counts. The proxy sleeps until the very thing that it
//! lacks is there: a message, or room.

use std::collections::VecDeque;

use mqcore_proto::{Frame, Message, SocketType};

use crate::error::{Errno, Result};
use crate::poll::{POLLIN, POLLOUT, PollItem, Pollable, poll};
use crate::socket::Socket;

/// Messages that go one way before the others get their turn.
const BURST: usize = 1000;

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
    /// Taken, and then there was no room after all, because another thread of the application took it: by
    /// the side it goes to.
    held: [VecDeque<Message>; 2],
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
        Self {
            single: frontend.is_same(&backend),
            sides: [frontend, backend],
            capture,
            control,
            paused: false,
            flows: [Flow::default(); 2],
            held: Default::default(),
        }
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
    /// handler ran on this thread: call again, and it goes on.
    pub fn run(&mut self) -> Result<()> {
        loop {
            let mut wanted = Wanted::default();
            if let Some(control) = self.control.clone() {
                match control.try_recv() {
                    Ok(message) => {
                        if self.obey(&control, &message)? {
                            return Ok(());
                        }
                        continue; // there may be more
                    }
                    Err(error) if error.errno() == Errno::AGAIN => {}
                    Err(error) => return Err(error),
                }
            }
            let mut busy = false;
            if !self.paused {
                busy |= self.pass(FRONTEND, BACKEND, &mut wanted)?;
                if !self.single {
                    busy |= self.pass(BACKEND, FRONTEND, &mut wanted)?;
                }
            }
            if !busy {
                self.wait(&wanted)?;
            }
        }
    }

    /// Moves a burst from one side to the other. True if there may be more at once; else what was missing
    /// is noted in `wanted`.
    fn pass(&mut self, from: usize, to: usize, wanted: &mut Wanted) -> Result<bool> {
        for _ in 0..BURST {
            // Room first: a message that was taken must go on.
            if self.sides[to].readiness(POLLOUT)? == 0 {
                if self.held[to].is_empty() && self.sides[from].readiness(POLLIN)? == 0 {
                    wanted.sides[from] |= POLLIN;
                } else {
                    wanted.sides[to] |= POLLOUT;
                }
                return Ok(false);
            }
            if let Some(capture) = &self.capture
                && capture.readiness(POLLOUT)? == 0
            {
                wanted.capture = true;
                return Ok(false);
            }
            let (message, fresh) = match self.held[to].pop_front() {
                Some(message) => (message, false),
                None => match self.sides[from].try_recv() {
                    Ok(message) => (message, true),
                    Err(error) if error.errno() == Errno::AGAIN => {
                        wanted.sides[from] |= POLLIN;
                        return Ok(false);
                    }
                    Err(error) => return Err(error),
                },
            };
            let (frames, bytes) = (message.part_count() as u64, message.byte_len() as u64);
            if fresh {
                self.flows[from].frames_in += frames;
                self.flows[from].bytes_in += bytes;
                if let Some(capture) = &self.capture
                    && let Err((error, _)) = capture.try_send(message.clone())
                    && error.errno() != Errno::AGAIN
                {
                    return Err(error);
                }
            }
            match self.sides[to].try_send(message) {
                Ok(()) => {
                    self.flows[to].frames_out += frames;
                    self.flows[to].bytes_out += bytes;
                }
                Err((error, message)) if error.errno() == Errno::AGAIN => {
                    self.held[to].push_front(message);
                    wanted.sides[to] |= POLLOUT;
                    return Ok(false);
                }
                Err((error, _)) => return Err(error),
            }
        }
        Ok(true)
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

    /// Sleeps until something that was missing is there, or an order.
    fn wait(&self, wanted: &Wanted) -> Result<()> {
        let mut items = Vec::with_capacity(4);
        let mut watch = |socket: &Socket, events: i32| {
            if events != 0 {
                items.push(PollItem {
                    target: Pollable::Socket(socket.clone()),
                    events,
                    ready: 0,
                });
            }
        };
        for (side, events) in self.sides.iter().zip(wanted.sides) {
            watch(side, events);
        }
        if let Some(capture) = &self.capture {
            watch(capture, if wanted.capture { POLLOUT } else { 0 });
        }
        if let Some(control) = &self.control {
            watch(control, POLLIN);
        }
        poll(&mut items, None).map(drop)
    }
}

/// What a proxy lacks.
#[derive(Default)]
struct Wanted {
    /// Bits for each side.
    sides: [i32; 2],
    /// Room in the capture.
    capture: bool,
}
