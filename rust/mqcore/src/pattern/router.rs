//! ROUTER: sends to the peer that the first frame names, and takes from the peers in turn, with the
//! name of each in front. The two halves share nothing.

use std::sync::Arc;

use mqcore_proto::{Frame, Message};

use super::fair_queue::FairQueue;
use super::routing_table::{Route, RoutingTable};
use super::{
    Command, Drops, Halves, Incoming, Outgoing, PatternOption, Peer, Refusal, Setup, Token, count,
    probe, remember,
};

struct Sending {
    peers: RoutingTable,
    mandatory: bool,
    probe: bool,
    drops: Arc<Drops>,
}

struct Receiving {
    peers: FairQueue<()>,
    /// A message that was looked for by `readable`, without its routing id.
    ahead: Option<(Arc<Peer>, Message)>,
    last: Option<Arc<Peer>>,
}

pub(super) fn new(setup: Setup) -> Halves {
    let outgoing = Sending {
        peers: RoutingTable::new(setup.outgoing),
        mandatory: false,
        probe: false,
        drops: setup.drops,
    };
    let incoming = Receiving {
        peers: FairQueue::new(setup.incoming),
        ahead: None,
        last: None,
    };
    (Box::new(outgoing), Box::new(incoming))
}

impl Outgoing for Sending {
    fn handle(&mut self, mut command: Command) {
        if let Command::Attach {
            writer: Some(writer),
            ..
        } = &mut command
            && self.probe
        {
            probe(writer);
        }
        match self.peers.handle(command) {
            Some(PatternOption::RouterMandatory(on)) => self.mandatory = on,
            Some(PatternOption::ProbeRouter(on)) => self.probe = on,
            _ => {}
        }
    }

    fn check(&mut self, first: &Frame) -> Result<(), Refusal> {
        if !self.mandatory {
            return Ok(());
        }
        match self.peers.route(first) {
            Route::Open => Ok(()),
            Route::Full => Err(Refusal::Again),
            Route::Unknown => Err(Refusal::Unreachable),
        }
    }

    fn try_send(&mut self, message: Message) -> Result<(), (Refusal, Message)> {
        if message.is_single() {
            return Ok(()); // a name and nothing to send: taken, and nothing happens
        }
        match self.peers.route(message.first()) {
            Route::Open => {
                if let (id, Some(body)) = message.pop_front() {
                    self.peers.write(&id, body);
                }
                Ok(())
            }
            Route::Full if self.mandatory => Err((Refusal::Again, message)),
            Route::Unknown if self.mandatory => Err((Refusal::Unreachable, message)),
            Route::Full => {
                count(&self.drops.full);
                Ok(())
            }
            Route::Unknown => {
                count(&self.drops.unroutable);
                Ok(())
            }
        }
    }

    fn writable(&mut self) -> bool {
        !self.mandatory || self.peers.has_room()
    }
}

impl Receiving {
    fn next(&mut self) -> Option<(usize, Message)> {
        self.peers.read(|_, ()| ())
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
                self.peers.attach(peer, reader, ());
            }
            Command::Wake(token) => {
                self.peers.wake_or_end(Token::from(token).slot);
            }
            Command::Hwm { receive, .. } => self.peers.set_hwm(receive),
            Command::Attach { .. } | Command::Detach(_) | Command::Option(_) => {}
        }
    }

    fn try_recv(&mut self) -> Result<Message, Refusal> {
        let mut message = match self.ahead.take() {
            Some((peer, message)) => {
                self.last = Some(peer);
                message
            }
            None => {
                let (slot, message) = self.next().ok_or(Refusal::Again)?;
                remember(&mut self.last, self.peers.peer(slot));
                message
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
                .map(|(slot, message)| (Arc::clone(self.peers.peer(slot)), message));
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
        let mut rig = Rig::new(SocketType::Router);
        let mut a = rig.attach_named("a");
        let mut b = rig.attach_named("b");
        rig.send(&["b", "x", "y"]).unwrap();
        rig.send(&["a", ""]).unwrap();
        assert_eq!(a.recv_all(), [message(&[""])]);
        assert_eq!(b.recv_all(), [message(&["x", "y"])]);
    }

    #[test]
    fn messages_come_from_the_peers_in_turn_with_their_names_in_front() {
        let mut rig = Rig::new(SocketType::Router);
        let mut peers = [rig.attach_named("a"), rig.attach_named("b")];
        for peer in &mut peers {
            peer.send(&["1"]);
            peer.send(&["2", "3"]);
        }
        assert_eq!(
            rig.recv_all(),
            [
                message(&["a", "1"]),
                message(&["b", "1"]),
                message(&["a", "2", "3"]),
                message(&["b", "2", "3"])
            ]
        );
        assert_eq!(rig.last_peer(), Some(peers[1].id));
    }

    #[test]
    fn message_to_nobody_is_dropped_and_counted() {
        let mut rig = Rig::new(SocketType::Router);
        assert!(rig.writable());
        assert_eq!(rig.check("nobody"), Ok(()));
        rig.send(&["nobody", "x"]).unwrap();
        assert_eq!(rig.unroutable(), 1);
    }

    #[test]
    fn message_to_a_full_peer_is_dropped_and_counted() {
        let mut rig = Rig::new(SocketType::Router);
        let mut peer = rig.attach_with("a", 1, 0);
        rig.send(&["a", "1"]).unwrap();
        rig.send(&["a", "2"]).unwrap();
        assert_eq!(rig.full(), 1);
        assert_eq!(peer.recv_all(), [message(&["1"])]);
    }

    #[test]
    fn name_without_a_body_is_taken_and_nothing_happens() {
        let mut rig = Rig::new(SocketType::Router);
        rig.option(PatternOption::RouterMandatory(true));
        let mut peer = rig.attach_named("a");
        rig.send(&["a"]).unwrap();
        rig.send(&["nobody"]).unwrap();
        assert!(peer.recv_all().is_empty());
        assert_eq!(rig.unroutable(), 0);
    }

    #[test]
    fn mandatory_refuses_what_would_be_dropped() {
        let mut rig = Rig::new(SocketType::Router);
        rig.option(PatternOption::RouterMandatory(true));
        assert!(!rig.writable());
        let mut peer = rig.attach_with("a", 1, 0);
        assert!(rig.writable());
        assert_eq!(rig.check("nobody"), Err(Refusal::Unreachable));
        assert_eq!(rig.send(&["nobody", "x"]), Err(Refusal::Unreachable));
        assert_eq!(rig.check("a"), Ok(()));
        rig.send(&["a", "1"]).unwrap();
        assert_eq!(rig.check("a"), Err(Refusal::Again));
        assert_eq!(rig.send(&["a", "2"]), Err(Refusal::Again));
        assert!(!rig.writable());
        assert_eq!(peer.recv_all().len(), 1);
        assert!(rig.was_called());
        rig.send(&["a", "2"]).unwrap();
        assert_eq!((rig.full(), rig.unroutable()), (0, 0));
    }

    #[test]
    fn peer_that_left_is_forgotten() {
        let mut rig = Rig::new(SocketType::Router);
        rig.option(PatternOption::RouterMandatory(true));
        let peer = rig.attach_named("a");
        rig.send(&["a", "1"]).unwrap();
        drop(peer);
        assert_eq!(
            rig.outgoing.check(&"a".into()),
            Err(Refusal::Unreachable),
            "found without being called"
        );
        drop(rig.attach_named("b"));
        assert_eq!(rig.send(&["b", "1"]), Err(Refusal::Unreachable));
        let mut again = rig.attach_named("a");
        rig.send(&["a", "2"]).unwrap();
        assert_eq!(again.recv_all(), [message(&["2"])]);
    }

    #[test]
    fn newcomer_with_the_same_name_replaces_the_old_peer() {
        let mut rig = Rig::new(SocketType::Router);
        let mut old = rig.attach_named("a");
        rig.send(&["a", "1"]).unwrap();
        old.send(&["from the old"]);
        let mut new = rig.attach_named("a");
        assert!(old.is_let_go());
        rig.send(&["a", "2"]).unwrap();
        assert_eq!(old.recv_all(), [message(&["1"])]);
        assert_eq!(rig.recv_all(), [message(&["a", "from the old"])]);
        drop(old);
        rig.send(&["a", "3"]).unwrap();
        assert_eq!(new.recv_all(), [message(&["2"]), message(&["3"])]);
    }

    #[test]
    fn readable_keeps_the_message_it_found() {
        let mut rig = Rig::new(SocketType::Router);
        let mut peer = rig.attach_named("a");
        assert!(!rig.readable());
        peer.send(&["1"]);
        peer.send(&["2"]);
        assert!(rig.readable());
        assert_eq!(rig.recv_all(), [message(&["a", "1"]), message(&["a", "2"])]);
    }

    #[test]
    fn everything_sent_before_leaving_is_received() {
        let mut rig = Rig::new(SocketType::Router);
        let mut peer = rig.attach_named("a");
        for _ in 0..100 {
            peer.send(&["x"]);
        }
        drop(peer);
        let received = rig.recv_all();
        assert_eq!(received.len(), 100);
        assert!(received.iter().all(|found| *found == message(&["a", "x"])));
    }

    #[test]
    fn detached_peer_is_let_go_and_still_read() {
        let mut rig = Rig::new(SocketType::Router);
        let mut peer = rig.attach_named("a");
        rig.send(&["a", "1"]).unwrap();
        rig.detach(&peer);
        rig.send(&["a", "2"]).unwrap();
        assert_eq!(peer.recv_all(), [message(&["1"])]);
        assert!(peer.is_let_go());
        peer.send(&["x"]);
        assert_eq!(rig.recv(), Ok(message(&["a", "x"])));
    }

    #[test]
    fn probe_greets_every_peer_attached_after_it_was_set() {
        let mut rig = Rig::new(SocketType::Router);
        rig.option(PatternOption::ProbeRouter(true));
        let mut peer = rig.attach_named("a");
        assert_eq!(peer.recv_all(), [message(&[""])]);
    }

    #[test]
    fn raised_high_water_mark_gives_room_at_once() {
        let mut rig = Rig::new(SocketType::Router);
        rig.option(PatternOption::RouterMandatory(true));
        let _peer = rig.attach_with("a", 1, 0);
        rig.send(&["a", "1"]).unwrap();
        assert_eq!(rig.send(&["a", "2"]), Err(Refusal::Again));
        rig.hwm(0, 0);
        for _ in 0..100 {
            rig.send(&["a", "x"]).unwrap();
        }
    }
}
