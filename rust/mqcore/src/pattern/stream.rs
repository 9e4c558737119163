//! STREAM: bytes to and from programs that do not speak ZeroMQ. Every message is a connection's id and
//! one frame of data; an empty one tells of a connection made or lost, and sent, closes it.

use std::sync::Arc;

use mqcore_proto::{Frame, Message};

use super::fair_queue::FairQueue;
use super::routing_table::{Route, RoutingTable};
use super::{
    Command, Drops, Halves, Incoming, Outgoing, Peer, Refusal, Setup, TURN, Token, count, remember,
};

const NOT_A_PAIR: Refusal = Refusal::Invalid(
    "a STREAM message is pairs of parts: a connection's routing id, then its data (empty data closes it)",
);

struct Sending {
    connections: RoutingTable,
}

struct Receiving {
    connections: FairQueue<()>,
    /// Data that was looked for by `readable`.
    ahead: Option<(Arc<Peer>, Message)>,
    last: Option<Arc<Peer>>,
    drops: Arc<Drops>,
}

pub(super) fn new(setup: Setup) -> Halves {
    let outgoing = Sending {
        connections: RoutingTable::new(setup.outgoing),
    };
    let incoming = Receiving {
        connections: FairQueue::new(setup.incoming),
        ahead: None,
        last: None,
        drops: setup.drops,
    };
    (Box::new(outgoing), Box::new(incoming))
}

impl Sending {
    fn check_route(&mut self, id: &[u8]) -> Result<(), Refusal> {
        match self.connections.route(id) {
            Route::Open => Ok(()),
            Route::Full => Err(Refusal::Again),
            Route::Unknown => Err(Refusal::Unreachable),
        }
    }
}

impl Outgoing for Sending {
    fn handle(&mut self, command: Command) {
        self.connections.handle(command);
    }

    fn check(&mut self, first: &Frame) -> Result<(), Refusal> {
        self.check_route(first)
    }

    fn try_send(&mut self, message: Message) -> Result<(), (Refusal, Message)> {
        if message.part_count() % 2 == 1 {
            return Err((NOT_A_PAIR, message));
        }
        let frames = message.into_frames();
        for id in frames.iter().step_by(2) {
            if let Err(refusal) = self.check_route(id) {
                return Err((refusal, Message::from_frames(frames)));
            }
        }
        let mut frames = frames.into_iter();
        while let (Some(id), Some(data)) = (frames.next(), frames.next()) {
            self.connections.write(&id, data.into());
        }
        Ok(())
    }

    fn writable(&mut self) -> bool {
        true
    }
}

impl Receiving {
    /// The next data; what is no single frame does not come from a byte stream and is skipped.
    fn next(&mut self) -> Option<(usize, Message)> {
        for _ in 0..TURN {
            let (slot, data) = self.connections.read(|_, ()| ())?;
            if data.is_single() {
                return Some((slot, data));
            }
            count(&self.drops.unexpected);
        }
        self.connections.call_again();
        None
    }
}

impl Incoming for Receiving {
    fn handle(&mut self, command: Command) {
        match command {
            Command::Attach {
                peer,
                reader: Some(reader),
                ..
            } => {
                self.connections.attach(peer, reader, ());
            }
            Command::Wake(token) => {
                self.connections.wake_or_end(Token::from(token).slot);
            }
            Command::Hwm { receive, .. } => self.connections.set_hwm(receive),
            Command::Attach { .. } | Command::Detach(_) | Command::Option(_) => {}
        }
    }

    fn try_recv(&mut self) -> Result<Message, Refusal> {
        let mut message = match self.ahead.take() {
            Some((peer, data)) => {
                self.last = Some(peer);
                data
            }
            None => {
                let (slot, data) = self.next().ok_or(Refusal::Again)?;
                remember(&mut self.last, self.connections.peer(slot));
                data
            }
        };
        if let Some(peer) = &self.last {
            message.push_front(peer.routing_id.clone());
        }
        Ok(message)
    }

    fn readable(&mut self) -> bool {
        if self.ahead.is_none() {
            self.ahead = self
                .next()
                .map(|(slot, data)| (Arc::clone(self.connections.peer(slot)), data));
        }
        self.ahead.is_some()
    }

    fn last_peer(&self) -> Option<&Arc<Peer>> {
        self.last.as_ref()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::testing::{Rig, message};
    use super::*;
    use mqcore_proto::SocketType;

    #[test]
    fn message_goes_to_the_peer_its_first_frame_names() {
        let mut rig = Rig::new(SocketType::Stream);
        let mut a = rig.attach_named("a");
        let mut b = rig.attach_named("b");
        rig.send(&["b", "data"]).unwrap();
        rig.send(&["a", ""]).unwrap();
        assert_eq!(a.recv_all(), [message(&[""])], "empty data closes");
        assert_eq!(b.recv_all(), [message(&["data"])]);
    }

    #[test]
    fn messages_come_from_the_peers_in_turn_with_their_names_in_front() {
        let mut rig = Rig::new(SocketType::Stream);
        let mut peers = [rig.attach_named("a"), rig.attach_named("b")];
        for peer in &mut peers {
            peer.send(&[""]);
            peer.send(&["data"]);
        }
        assert_eq!(
            rig.recv_all(),
            [
                message(&["a", ""]),
                message(&["b", ""]),
                message(&["a", "data"]),
                message(&["b", "data"])
            ]
        );
        assert_eq!(rig.last_peer(), Some(peers[1].id));
    }

    #[test]
    fn message_to_nobody_and_to_a_full_peer_is_refused() {
        let mut rig = Rig::new(SocketType::Stream);
        assert!(rig.writable());
        assert_eq!(rig.send(&["nobody", "x"]), Err(Refusal::Unreachable));
        assert_eq!(rig.check("nobody"), Err(Refusal::Unreachable));
        let mut peer = rig.attach_with("a", 1, 0);
        rig.send(&["a", "1"]).unwrap();
        assert_eq!(rig.send(&["a", "2"]), Err(Refusal::Again));
        assert_eq!(rig.check("a"), Err(Refusal::Again));
        assert_eq!(peer.recv_all().len(), 1);
        assert!(rig.was_called());
        rig.send(&["a", "2"]).unwrap();
    }

    #[test]
    fn message_that_is_no_pair_is_refused() {
        let mut rig = Rig::new(SocketType::Stream);
        let mut peer = rig.attach_named("a");
        assert_eq!(rig.send(&["a"]), Err(NOT_A_PAIR));
        assert_eq!(rig.send(&["a", "1", "2"]), Err(NOT_A_PAIR));
        assert!(peer.recv_all().is_empty());
    }

    #[test]
    fn multipart_message_of_a_peer_is_thrown_away_and_counted() {
        let mut rig = Rig::new(SocketType::Stream);
        let mut peer = rig.attach_named("a");
        peer.send(&["not", "bytes"]);
        peer.send(&["bytes"]);
        assert_eq!(rig.recv_all(), [message(&["a", "bytes"])]);
        assert_eq!(rig.unexpected(), 1);
    }

    #[test]
    fn readable_keeps_the_message_it_found() {
        let mut rig = Rig::new(SocketType::Stream);
        let mut peer = rig.attach_named("a");
        assert!(!rig.readable());
        peer.send(&["1"]);
        assert!(rig.readable());
        assert_eq!(rig.recv(), Ok(message(&["a", "1"])));
        assert!(!rig.readable());
    }

    #[test]
    fn everything_sent_before_leaving_is_received() {
        let mut rig = Rig::new(SocketType::Stream);
        let mut peer = rig.attach_named("a");
        peer.send(&["data"]);
        peer.send(&[""]);
        drop(peer);
        assert_eq!(rig.send(&["a", "x"]), Err(Refusal::Unreachable));
        assert_eq!(
            rig.recv_all(),
            [message(&["a", "data"]), message(&["a", ""])]
        );
    }

    #[test]
    fn detached_peer_is_let_go_and_still_read() {
        let mut rig = Rig::new(SocketType::Stream);
        let mut peer = rig.attach_named("a");
        rig.detach(&peer);
        assert!(peer.is_let_go());
        assert_eq!(rig.send(&["a", "x"]), Err(Refusal::Unreachable));
        peer.send(&["late"]);
        assert_eq!(rig.recv(), Ok(message(&["a", "late"])));
    }
}
