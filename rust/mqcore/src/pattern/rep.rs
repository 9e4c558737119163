//! REP: takes a request from each peer in turn, then sends the reply back to whom it came from;
//! strictly in this order.
//!
//! ```text
//! Receiving --recv--> Replying --send--> Receiving    on the wire: [envelope...] [empty] [body...]
//! ```

use std::sync::Arc;

use mqcore_proto::{Frame, Message};

use super::joint::{self, Joint};
use super::peers::Peers;
use super::{Command, Drops, Halves, Peer, Refusal, Setup, TURN, count, remember};

const RECV_FIRST: Refusal = Refusal::State(
    "this REP socket has no request to reply to: call recv first, then send replies to it",
);
const SEND_FIRST: Refusal = Refusal::State(
    "this REP socket owes a reply to its last request: call send before the next recv",
);

struct Rep {
    peers: Peers,
    /// The request that was delivered and not answered yet.
    replying: Option<Envelope>,
    /// A request that was looked for by `readable`. Invariant: none while replying.
    ahead: Option<(Envelope, Message)>,
    drops: Arc<Drops>,
}

/// Where a reply goes.
struct Envelope {
    slot: usize,
    /// Who was in the slot: it may have gone since, and another come.
    peer: Arc<Peer>,
    /// What stands before the body, up to and with the empty delimiter.
    frames: Vec<Frame>,
}

pub(super) fn new(setup: Setup) -> Halves {
    joint::halves(Rep {
        peers: Peers::new(setup.incoming),
        replying: None,
        ahead: None,
        drops: setup.drops,
    })
}

impl Rep {
    /// The next request; what has no delimiter before a body is skipped.
    fn next(&mut self) -> Option<(Envelope, Message)> {
        for _ in 0..TURN {
            let (slot, message) = self.peers.read(|_, _| ())?;
            let delimiter = message.parts().position(<[u8]>::is_empty);
            if let Some(delimiter) = delimiter
                && let (frames, Some(body)) = message.split_front(delimiter + 1)
            {
                let peer = Arc::clone(self.peers.peer(slot));
                return Some((Envelope { slot, peer, frames }, body));
            }
            count(&self.drops.unexpected);
        }
        self.peers.call_again();
        None
    }
}

impl Joint for Rep {
    fn handle(&mut self, command: Command) {
        self.peers.handle(command);
    }

    fn check(&mut self, _first: &Frame) -> Result<(), Refusal> {
        match self.replying {
            Some(_) => Ok(()),
            None => Err(RECV_FIRST),
        }
    }

    /// A reply that cannot be delivered is dropped and counted: nobody waits for it any more.
    fn try_send(&mut self, mut message: Message) -> Result<(), (Refusal, Message)> {
        let Some(envelope) = self.replying.take() else {
            return Err((RECV_FIRST, message));
        };
        let writer = match self.peers.link_of(envelope.slot, &envelope.peer) {
            Some(Some(writer)) if !writer.is_closed() => writer,
            _ => {
                count(&self.drops.unroutable);
                return Ok(());
            }
        };
        if !writer.has_room() {
            count(&self.drops.full);
            return Ok(());
        }
        message.splice_front(envelope.frames);
        writer.write(message);
        writer.flush();
        Ok(())
    }

    fn writable(&mut self) -> bool {
        self.replying.is_some()
    }

    fn try_recv(&mut self, last: &mut Option<Arc<Peer>>) -> Result<Message, Refusal> {
        if self.replying.is_some() {
            return Err(SEND_FIRST);
        }
        let (envelope, body) = self
            .ahead
            .take()
            .or_else(|| self.next())
            .ok_or(Refusal::Again)?;
        remember(last, &envelope.peer);
        self.replying = Some(envelope);
        Ok(body)
    }

    fn readable(&mut self) -> bool {
        if self.replying.is_none() && self.ahead.is_none() {
            self.ahead = self.next();
        }
        self.ahead.is_some()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::testing::{Rig, message};
    use super::*;
    use mqcore_proto::SocketType;

    #[test]
    fn requests_come_from_the_peers_in_turn_and_replies_go_back() {
        let mut rig = Rig::new(SocketType::Rep);
        let mut peers = [rig.attach(), rig.attach()];
        for peer in &mut peers {
            peer.send(&["", "question", "part"]);
            peer.send(&["via", "", "question"]);
        }
        for (peer, expected) in [
            (0, message(&["", "0"])),
            (1, message(&["", "1"])),
            (0, message(&["via", "", "0"])),
            (1, message(&["via", "", "1"])),
        ] {
            assert!(rig.readable());
            assert_eq!(rig.recv().unwrap().first(), b"question");
            assert_eq!(rig.last_peer(), Some(peers[peer].id));
            rig.send(&[&peer.to_string()]).unwrap();
            assert_eq!(peers[peer].recv_all(), [expected]);
        }
    }

    #[test]
    fn recv_and_send_alternate() {
        let mut rig = Rig::new(SocketType::Rep);
        let mut peer = rig.attach();
        assert_eq!(rig.send(&["x"]), Err(RECV_FIRST));
        assert_eq!(rig.check("x"), Err(RECV_FIRST));
        assert!(!rig.writable());
        peer.send(&["", "1"]);
        peer.send(&["", "2"]);
        assert!(rig.recv().is_ok());
        assert_eq!(rig.recv(), Err(SEND_FIRST));
        assert!(rig.writable() && !rig.readable());
        rig.send(&["x"]).unwrap();
        assert!(rig.readable() && !rig.writable());
        assert!(rig.recv().is_ok());
    }

    #[test]
    fn requests_without_a_delimiter_are_skipped_and_counted() {
        let mut rig = Rig::new(SocketType::Rep);
        let mut peer = rig.attach();
        for bad in [&["x"][..], &["a", "b"], &[""], &["a", ""]] {
            peer.send(bad);
        }
        assert_eq!(rig.recv(), Err(Refusal::Again));
        peer.send(&["", ""]);
        assert_eq!(rig.recv(), Ok(message(&[""])));
        assert_eq!(rig.unexpected(), 4);
    }

    #[test]
    fn reply_to_a_peer_that_left_is_dropped_and_counted() {
        let mut rig = Rig::new(SocketType::Rep);
        let mut peer = rig.attach();
        peer.send(&["", "?"]);
        assert!(rig.recv().is_ok());
        drop(peer);
        rig.send(&["!"]).unwrap();
        assert_eq!(rig.unroutable(), 1);
        assert_eq!(rig.recv(), Err(Refusal::Again));
        assert_eq!(rig.send(&["!"]), Err(RECV_FIRST));
    }

    #[test]
    fn reply_never_goes_to_the_newcomer_in_the_place_of_the_old_peer() {
        let mut rig = Rig::new(SocketType::Rep);
        let mut old = rig.attach();
        old.send(&["", "?"]);
        assert!(rig.recv().is_ok());
        drop(old);
        rig.settle();
        let mut new = rig.attach();
        rig.send(&["!"]).unwrap();
        assert!(new.recv_all().is_empty());
        assert_eq!(rig.unroutable(), 1);
    }

    #[test]
    fn reply_to_a_full_peer_is_dropped_and_counted() {
        let mut rig = Rig::new(SocketType::Rep);
        let mut peer = rig.attach_bounded(1, 0);
        for _ in 0..2 {
            peer.send(&["", "?"]);
            assert!(rig.recv().is_ok());
            rig.send(&["!"]).unwrap();
        }
        assert_eq!(rig.full(), 1);
        assert_eq!(peer.recv_all().len(), 1);
    }

    #[test]
    fn everything_sent_before_leaving_is_received() {
        let mut rig = Rig::new(SocketType::Rep);
        let mut peer = rig.attach();
        for _ in 0..10 {
            peer.send(&["", "?"]);
        }
        drop(peer);
        for _ in 0..10 {
            assert!(rig.recv().is_ok());
            rig.send(&["!"]).unwrap();
        }
        assert_eq!(rig.recv(), Err(Refusal::Again));
    }

    #[test]
    fn detached_peer_is_let_go_and_still_read() {
        let mut rig = Rig::new(SocketType::Rep);
        let mut peer = rig.attach();
        peer.send(&["", "?"]);
        rig.detach(&peer);
        assert!(peer.is_let_go());
        assert_eq!(rig.recv(), Ok(message(&["?"])));
        rig.send(&["!"]).unwrap();
        assert_eq!(rig.unroutable(), 1);
    }
}
