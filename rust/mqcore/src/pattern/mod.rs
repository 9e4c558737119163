//! The socket types: how each routes messages over its pipes.
//!
//! A pattern sees pipes and messages, nothing else. It has two halves, each called under its own lock on
//! the thread of whoever sends or receives: [`Outgoing`] and [`Incoming`]. News for a half (a new peer, a
//! pipe that woke) comes as a [`Command`] before the call that needs it. A type whose directions share
//! state (REQ, REP, PAIR, XPUB...) keeps that state behind one mutex and hands out two views of it; a type
//! that only sends or only receives has one half and a stub that refuses.
//!
//! A half never waits: it answers [`Refusal::Again`], and the socket waits for the half's waker.
//!
//! No call looks at idle peers: a half keeps the pipes that woke on a list, each once.

mod dealer;
mod distributor;
mod fair_queue;
mod joint;
mod load_balancer;
mod pair;
mod peers;
mod pub_;
mod publisher;
mod pull;
mod push;
mod rep;
mod req;
mod router;
mod routing_table;
mod stream;
mod sub;
mod subscriber;
mod subscriptions;
#[cfg(all(test, not(loom)))]
mod testing;
mod xpub;
mod xsub;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use mqcore_proto::{Frame, Message, Run, SocketType};

pub use crate::options::PatternOption;
use crate::pipe::{PipeReader, PipeWriter, Wake};

/// Names a peer's pipe within its socket, for its whole life.
pub type PipeId = u64;

/// Names and values.
pub type Properties = Arc<[(String, String)]>;

/// What a pattern knows of a peer.
#[derive(Debug, Default)]
pub struct Peer {
    /// The pipe to it.
    pub id: PipeId,
    /// ROUTER, STREAM: the name it is addressed by, unique among the live peers of the socket.
    pub routing_id: Frame,
    /// The pipe of the connection before this one, if there was one to the same endpoint: what came through that
    /// is read first.
    pub follows: Option<PipeId>,
    /// What its connection says of itself (`Socket-Type`, `Peer-Address`...); replaced at a reconnect.
    pub metadata: Mutex<Properties>,
}

/// News for a half.
pub enum Command {
    /// A new peer. A split type (DEALER, ROUTER, STREAM) gets the writer in its outgoing half and the
    /// reader in its incoming half, as two commands; every other type gets both ends in one command.
    /// A peer that replaces another of the same routing id is attached without notice to the old one:
    /// what the old one sent before is still read, what is sent from now on goes to the new one.
    Attach {
        /// Who it is.
        peer: Arc<Peer>,
        /// What it sends.
        reader: Option<PipeReader>,
        /// What is sent to it.
        writer: Option<PipeWriter>,
    },
    /// A pipe end that slept was called, with the token that the half gave it (see [`Token`]).
    Wake(u64),
    /// Send no more to this peer: drop its writer (flushed). What it sent before is still read, until
    /// its reader says closed.
    Detach(PipeId),
    /// New high-water marks, for every pipe of this half from now on.
    Hwm {
        /// For writers.
        send: usize,
        /// For readers.
        receive: usize,
    },
    /// An option of the pattern was set.
    Option(PatternOption),
}

/// Why a half did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not now: no room, or nothing there. The half's waker is called when that may have changed.
    Again,
    /// ROUTER with mandatory, STREAM: nobody has this routing id (EHOSTUNREACH).
    Unreachable,
    /// REQ, REP: not this call in this state (EFSM); says what is expected.
    State(&'static str),
    /// This socket type never does this (ENOTSUP).
    Unsupported,
    /// The message cannot be sent as it is (EINVAL); says why.
    Invalid(&'static str),
}

/// Messages that a pattern threw away, by reason; read by the socket at any time.
#[derive(Debug, Default)]
pub struct Drops {
    /// PUB, XPUB, XSUB, ROUTER, REP: the peer's pipe was full.
    pub full: AtomicU64,
    /// ROUTER, REP: the peer was gone or never there.
    pub unroutable: AtomicU64,
    /// REQ, REP, PUB, PUSH, STREAM: the peer sent what the pattern does not take (wrong envelope, late
    /// reply, data to a PUB); a peer that was dropped for too many subscriptions counts once.
    pub unexpected: AtomicU64,
}

/// The half that sends.
pub trait Outgoing: Send {
    /// Takes news in.
    fn handle(&mut self, command: Command);

    /// Whether a message that begins with `first` would be taken now: asked at the first part of a
    /// multipart message, so that its last part does not fail. For a whole message call
    /// [`try_send`](Self::try_send) at once.
    fn check(&mut self, first: &Frame) -> Result<(), Refusal>;

    /// Routes a whole message; gives it back, unchanged, if refused. The peers may not see it before the
    /// next [`flush`](Self::flush).
    fn try_send(&mut self, message: Message) -> Result<(), (Refusal, Message)>;

    /// The same for a message of one frame that is copied: a type that can makes it in its place.
    fn try_send_slice(&mut self, payload: &[u8]) -> Result<(), Refusal> {
        self.try_send(payload.into())
            .map_err(|(refusal, _)| refusal)
    }

    /// How many messages of one frame may go to one and the same peer now, as a run; 0 if each may go to another one.
    fn room_for_run(&mut self) -> usize {
        0
    }

    /// Sends a run for which there was [room](Self::room_for_run) just now.
    fn send_run(&mut self, mut run: Run) {
        debug_assert!(run.is_empty(), "there was no room for a run");
        while let Some(message) = run.pop_front() {
            let _ = self.try_send(message); // never asked for
        }
    }

    /// Shows the peers what was sent; one call may serve many messages.
    fn flush(&mut self) {}

    /// Shows to `look` the pipe that the next message goes to, if messages wait there for the peer.
    fn with_next_pipe(&mut self, _look: &mut dyn FnMut(&mut PipeWriter)) {}

    /// Whether the socket polls as writable (column "POLLOUT" of the socket types).
    fn writable(&mut self) -> bool;

    /// How many topics the peers subscribed to (TOPICS_COUNT); for XSUB, how many the application did.
    fn topics(&mut self) -> usize {
        0
    }
}

/// The half that receives.
pub trait Incoming: Send {
    /// Takes news in.
    fn handle(&mut self, command: Command);

    /// The next message for the application, as it shall see it (ROUTER: with the routing id in front).
    fn try_recv(&mut self) -> Result<Message, Refusal>;

    /// The same, but shows the message to `look`, in its place if the type can: what `look` leaves is
    /// dropped. It is called once, unless there is nothing.
    fn try_recv_with(&mut self, look: &mut dyn FnMut(&mut Message)) -> Result<(), Refusal> {
        self.try_recv().map(|mut message| look(&mut message))
    }

    /// Shows to `look` the payloads of messages of one frame that follow the one received last and came with it from the
    /// same peer, at most `most`; how many there were. None for a type that looks at each message.
    fn try_recv_more(&mut self, _most: usize, _look: &mut dyn FnMut(&[u8])) -> usize {
        0
    }

    /// Whether [`try_recv`](Self::try_recv) would give a message; may take one in and keep it.
    fn readable(&mut self) -> bool;

    /// How many topics the application subscribed to (TOPICS_COUNT).
    fn topics(&mut self) -> usize {
        0
    }

    /// Who sent the message received last; `None` before the first and for notices without a sender.
    fn last_peer(&self) -> Option<&Arc<Peer>>;
}

/// What a new pattern is given.
pub struct Setup {
    /// Called when a command for the outgoing half would be [`Command::Wake`].
    pub outgoing: Arc<dyn Wake>,
    /// The same for the incoming half; for a type that is not split it is the same object.
    pub incoming: Arc<dyn Wake>,
    /// Where thrown-away messages are counted.
    pub drops: Arc<Drops>,
    /// RCVHWM, which also bounds XPUB's queue of notifications (0 is no bound).
    pub receive_hwm: usize,
}

/// Whether the halves of `kind` have separate state, and so get the ends of a new pipe separately.
pub const fn is_split(kind: SocketType) -> bool {
    matches!(
        kind,
        SocketType::Dealer | SocketType::Router | SocketType::Stream
    )
}

/// Who takes the commands of a type: of a type that only sends or only receives the half that is no
/// stub; else both, each its own (a split type) or either all (two views of one state).
pub const fn takes_commands(kind: SocketType) -> Half {
    match kind {
        SocketType::Pull | SocketType::Sub => Half::Incoming,
        SocketType::Push | SocketType::Pub => Half::Outgoing,
        _ => Half::Either,
    }
}

/// Halves that take commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The [`Outgoing`] one.
    Outgoing,
    /// The [`Incoming`] one.
    Incoming,
    /// Both.
    Either,
}

impl Half {
    /// Whether `half` is among them.
    #[inline]
    pub fn contains(self, half: Self) -> bool {
        self == half || self == Self::Either
    }
}

/// The two halves of a pattern.
pub type Halves = (Box<dyn Outgoing>, Box<dyn Incoming>);

/// A new pattern of type `kind`, without peers and with every option at its default.
pub fn new(kind: SocketType, setup: Setup) -> Halves {
    match kind {
        SocketType::Pair => pair::new(setup),
        SocketType::Pub => pub_::new(setup),
        SocketType::Sub => sub::new(setup),
        SocketType::Req => req::new(setup),
        SocketType::Rep => rep::new(setup),
        SocketType::Dealer => dealer::new(setup),
        SocketType::Router => router::new(setup),
        SocketType::Pull => pull::new(setup),
        SocketType::Push => push::new(setup),
        SocketType::Xpub => xpub::new(setup),
        SocketType::Xsub => xsub::new(setup),
        SocketType::Stream => stream::new(setup),
    }
}

/// The half that a type does not have. Ignores commands: they belong to the other half.
struct Stub;

impl Outgoing for Stub {
    fn handle(&mut self, _command: Command) {}

    fn check(&mut self, _first: &Frame) -> Result<(), Refusal> {
        Err(Refusal::Unsupported)
    }

    fn try_send(&mut self, message: Message) -> Result<(), (Refusal, Message)> {
        Err((Refusal::Unsupported, message))
    }

    fn writable(&mut self) -> bool {
        false
    }
}

impl Incoming for Stub {
    fn handle(&mut self, _command: Command) {}

    fn try_recv(&mut self) -> Result<Message, Refusal> {
        Err(Refusal::Unsupported)
    }

    fn readable(&mut self) -> bool {
        false
    }

    fn last_peer(&self) -> Option<&Arc<Peer>> {
        None
    }
}

/// Most messages that one call throws away or takes in while it looks for one to deliver. Then it lets
/// the socket look at its deadline and its commands: a peer that floods cannot hold a caller.
const TURN: usize = 4096;

/// Makes `last` name `peer`; costs nothing if it does already.
#[inline]
fn remember(last: &mut Option<Arc<Peer>>, peer: &Arc<Peer>) {
    if !last.as_ref().is_some_and(|known| Arc::ptr_eq(known, peer)) {
        *last = Some(Arc::clone(peer));
    }
}

/// Greets a new peer with an empty message, so that a ROUTER there learns its routing id.
fn probe(writer: &mut PipeWriter) {
    writer.write(Frame::empty().into());
    writer.flush();
}

/// One message more was thrown away.
fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The name a half gives to a pipe end when it sets its waker: a small slot number and which end it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The half's own number for the pipe.
    pub slot: usize,
    /// Whether the writer end was called (the reader end otherwise).
    pub writer: bool,
}

impl From<Token> for u64 {
    fn from(token: Token) -> u64 {
        (token.slot as u64) << 1 | u64::from(token.writer)
    }
}

impl From<u64> for Token {
    fn from(packed: u64) -> Self {
        Self {
            slot: (packed >> 1) as usize,
            writer: packed & 1 == 1,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::testing::Rig;
    use super::*;
    use SocketType::*;

    #[test]
    fn fresh_socket_answers_as_the_table_of_socket_types_says() {
        let again = Err(Refusal::Again);
        let unsupported = Err(Refusal::Unsupported);
        let state = Err(Refusal::State(""));
        for (kind, writable, send, recv) in [
            (Pair, false, again, again),
            (Pub, true, Ok(()), unsupported),
            (Sub, false, unsupported, again),
            (Req, false, again, state),
            (Rep, false, state, again),
            (Dealer, false, again, again),
            (Router, true, Ok(()), again),
            (Pull, false, unsupported, again),
            (Push, false, again, unsupported),
            (Xpub, true, Ok(()), again),
            (Xsub, true, Ok(()), again),
            (Stream, true, Err(Refusal::Unreachable), again),
        ] {
            let mut rig = Rig::new(kind);
            let hint_aside = |refusal| match refusal {
                Refusal::State(hint) => {
                    assert!(hint.contains("call recv first") || hint.contains("call send"));
                    Refusal::State("")
                }
                other => other,
            };
            assert_eq!(rig.writable(), writable, "{kind:?} writable");
            assert!(!rig.readable(), "{kind:?} readable");
            let check = rig.check("id").map_err(hint_aside);
            assert_eq!(check, send, "{kind:?} check");
            let sent = rig.send(&["id", "data"]).map_err(hint_aside);
            assert_eq!(sent, send, "{kind:?} send");
            let received = rig.recv().map(drop).map_err(hint_aside);
            assert_eq!(received, recv, "{kind:?} recv");
            assert_eq!(rig.last_peer(), None);
        }
    }

    #[test]
    fn peer_keeps_its_connection_while_the_socket_is_idle_and_loses_it_with_the_pattern() {
        for kind in SocketType::ALL {
            let mut rig = Rig::new(kind);
            let far = rig.attach_named("a");
            rig.settle();
            assert!(!far.is_let_go(), "{kind:?} let its peer go");
            assert!(!far.end.writer.is_closed(), "{kind:?} stopped reading");
            drop(rig);
            assert!(far.is_let_go() && far.end.writer.is_closed(), "{kind:?}");
        }
    }

    #[test]
    fn peer_whose_writer_ended_is_let_go_by_every_type() {
        for kind in SocketType::ALL {
            let mut rig = Rig::new(kind);
            let far = rig.attach_named("a");
            let (mut reader, mut writer) = (far.end.reader, far.end.writer);
            writer.write("last".into());
            drop(writer); // the session read the end of its stream
            let _ = (rig.recv_all(), rig.writable());
            if !is_split(kind) {
                while reader.read() != crate::pipe::Read::Closed {
                    assert!(reader.is_closed(), "{kind:?} holds on to who left");
                }
            }
        }
    }

    #[test]
    fn peers_that_come_and_go_leave_nothing_behind_even_if_nobody_receives() {
        for kind in SocketType::ALL {
            let mut rig = Rig::new(kind);
            let mut stays = rig.attach_named("stays");
            for _ in 0..100 {
                let far = rig.attach_named("a");
                assert!(rig.writable() || rig.check("a").is_err());
                drop(far);
                let _ = rig.writable();
            }
            assert!(rig.known_peers() <= 1, "{kind:?}: {}", rig.known_peers());
            stays.send(&["x"]);
        }
    }

    #[test]
    fn token_keeps_slot_and_end() {
        for (slot, writer) in [(0, false), (0, true), (70_000, true)] {
            let token = Token { slot, writer };
            assert_eq!(Token::from(u64::from(token)), token);
        }
    }
}
