//! A pattern without a socket: a [`Rig`] hands it commands as a socket would, and a [`Far`] is the
//! other end of a peer's pipe.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};

use mqcore_proto::{Frame, Message, SocketType};

use super::{
    Command, Drops, Half, Incoming, Outgoing, PatternOption, Peer, PipeId, Refusal, Setup,
    is_split, takes_commands,
};
use crate::pipe::{Bound, PipeEnd, Read, Wake, pipe_pair};
use crate::sync::lock;

/// Remembers the tokens it was called with.
#[derive(Default)]
pub(super) struct Calls(Mutex<Vec<u64>>);

impl Wake for Calls {
    fn wake(&self, token: u64) {
        lock(&self.0).push(token);
    }
}

impl Calls {
    pub(super) fn take(&self) -> Vec<u64> {
        std::mem::take(&mut *lock(&self.0))
    }
}

/// A message with these parts.
pub(super) fn message(parts: &[&str]) -> Message {
    Message::from_frames(parts.iter().map(|part| Frame::from(*part)).collect())
}

/// A pattern and what a socket would keep beside it.
pub(super) struct Rig {
    pub(super) outgoing: Box<dyn Outgoing>,
    pub(super) incoming: Box<dyn Incoming>,
    kind: SocketType,
    drops: Arc<Drops>,
    calls_out: Arc<Calls>,
    calls_in: Arc<Calls>,
    next_id: PipeId,
    peers: Vec<Weak<Peer>>,
}

/// The other end of a peer's pipe.
pub(super) struct Far {
    pub(super) end: PipeEnd,
    pub(super) id: PipeId,
}

impl Rig {
    pub(super) fn new(kind: SocketType) -> Self {
        Self::with_receive_hwm(kind, 1000)
    }

    pub(super) fn with_receive_hwm(kind: SocketType, receive_hwm: usize) -> Self {
        let calls_out = Arc::new(Calls::default());
        let calls_in = if is_split(kind) {
            Arc::new(Calls::default())
        } else {
            Arc::clone(&calls_out)
        };
        let drops = Arc::new(Drops::default());
        let (outgoing, incoming) = super::new(
            kind,
            Setup {
                outgoing: calls_out.clone(),
                incoming: calls_in.clone(),
                drops: Arc::clone(&drops),
                receive_hwm,
            },
        );
        Self {
            outgoing,
            incoming,
            kind,
            drops,
            calls_out,
            calls_in,
            next_id: 1,
            peers: Vec::new(),
        }
    }

    fn command(&mut self, command: Command) {
        match takes_commands(self.kind) {
            Half::Outgoing | Half::Either => self.outgoing.handle(command),
            Half::Incoming => self.incoming.handle(command),
        }
    }

    /// A new peer whose pipes have no bound.
    pub(super) fn attach(&mut self) -> Far {
        self.attach_with("", 0, 0)
    }

    /// A new peer: at most `send` messages to it and `receive` from it may wait.
    pub(super) fn attach_bounded(&mut self, send: usize, receive: usize) -> Far {
        self.attach_with("", send, receive)
    }

    /// A new peer with a routing id.
    pub(super) fn attach_named(&mut self, routing_id: &str) -> Far {
        self.attach_with(routing_id, 0, 0)
    }

    pub(super) fn attach_with(&mut self, routing_id: &str, send: usize, receive: usize) -> Far {
        let (near, far) = pipe_pair(Bound::messages(send), Bound::messages(receive));
        let id = self.next_id;
        self.next_id += 1;
        self.attach_end(near, id, routing_id);
        Far { end: far, id }
    }

    pub(super) fn attach_end(&mut self, near: PipeEnd, id: PipeId, routing_id: &str) {
        let peer = Arc::new(Peer {
            id,
            routing_id: routing_id.into(),
            ..Peer::default()
        });
        self.peers.push(Arc::downgrade(&peer));
        if is_split(self.kind) {
            self.outgoing.handle(Command::Attach {
                peer: Arc::clone(&peer),
                reader: None,
                writer: Some(near.writer),
            });
            self.incoming.handle(Command::Attach {
                peer,
                reader: Some(near.reader),
                writer: None,
            });
        } else {
            self.command(Command::Attach {
                peer,
                reader: Some(near.reader),
                writer: Some(near.writer),
            });
        }
    }

    pub(super) fn detach(&mut self, far: &Far) {
        self.settle();
        if is_split(self.kind) {
            self.outgoing.handle(Command::Detach(far.id));
            self.incoming.handle(Command::Detach(far.id));
        } else {
            self.command(Command::Detach(far.id));
        }
    }

    pub(super) fn hwm(&mut self, send: usize, receive: usize) {
        if is_split(self.kind) {
            self.outgoing.handle(Command::Hwm { send, receive });
            self.incoming.handle(Command::Hwm { send, receive });
        } else {
            self.command(Command::Hwm { send, receive });
        }
    }

    pub(super) fn option(&mut self, option: PatternOption) {
        self.settle();
        self.command(Command::Option(option));
    }

    /// Hands over the calls of the pipes, as a socket does before each of its own calls.
    pub(super) fn settle(&mut self) {
        for token in self.calls_out.take() {
            self.command(Command::Wake(token));
        }
        if is_split(self.kind) {
            for token in self.calls_in.take() {
                self.incoming.handle(Command::Wake(token));
            }
        }
    }

    /// Whether a pipe has called since the last call here.
    pub(super) fn was_called(&self) -> bool {
        !lock(&self.calls_out.0).is_empty() || !lock(&self.calls_in.0).is_empty()
    }

    pub(super) fn send(&mut self, parts: &[&str]) -> Result<(), Refusal> {
        self.send_message(message(parts))
    }

    pub(super) fn send_message(&mut self, message: Message) -> Result<(), Refusal> {
        self.settle();
        let before = message.clone();
        let sent = self.outgoing.try_send(message).map_err(|(refusal, back)| {
            assert_eq!(back, before, "a refused message comes back unchanged");
            refusal
        });
        self.outgoing.flush();
        sent
    }

    pub(super) fn check(&mut self, first: &str) -> Result<(), Refusal> {
        self.settle();
        self.outgoing.check(&first.into())
    }

    pub(super) fn writable(&mut self) -> bool {
        self.settle();
        self.outgoing.writable()
    }

    pub(super) fn recv(&mut self) -> Result<Message, Refusal> {
        self.settle();
        self.incoming.try_recv()
    }

    /// Everything there is to receive.
    pub(super) fn recv_all(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.recv().ok()).collect()
    }

    pub(super) fn readable(&mut self) -> bool {
        self.settle();
        self.incoming.readable()
    }

    pub(super) fn last_peer(&self) -> Option<PipeId> {
        self.incoming.last_peer().map(|peer| peer.id)
    }

    /// How many peers, present and past, the pattern still knows.
    pub(super) fn known_peers(&self) -> usize {
        let known = |peer: &&Weak<Peer>| peer.strong_count() > 0;
        self.peers.iter().filter(known).count()
    }

    pub(super) fn full(&self) -> u64 {
        self.drops.full.load(Ordering::Relaxed)
    }

    pub(super) fn unroutable(&self) -> u64 {
        self.drops.unroutable.load(Ordering::Relaxed)
    }

    pub(super) fn unexpected(&self) -> u64 {
        self.drops.unexpected.load(Ordering::Relaxed)
    }
}

impl Far {
    pub(super) fn send(&mut self, parts: &[&str]) {
        self.send_message(message(parts));
    }

    pub(super) fn send_message(&mut self, message: Message) {
        self.end.writer.write(message);
        self.end.writer.flush();
    }

    pub(super) fn recv(&mut self) -> Option<Message> {
        match self.end.reader.read() {
            Read::Message(message) => Some(message),
            Read::Empty | Read::Closed => None,
        }
    }

    pub(super) fn recv_all(&mut self) -> Vec<Message> {
        std::iter::from_fn(|| self.recv()).collect()
    }

    /// Whether the pattern dropped its writer, which asks the session to close.
    pub(super) fn is_let_go(&self) -> bool {
        self.end.reader.is_closed()
    }
}
