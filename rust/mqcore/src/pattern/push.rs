//! PUSH: each message goes to one peer, in turn.

use std::sync::Arc;

use mqcore_proto::{Frame, Message, Run};

use super::load_balancer::LoadBalancer;
use super::{Command, Drops, Halves, Outgoing, Refusal, Setup, Stub, TURN, Token, count};
use crate::pipe::{PipeReader, PipeWriter, Read};

/// The sending half; a PUSH does not receive.
struct Push {
    /// The reader is kept to see its peer leave; what it brings is thrown away.
    peers: LoadBalancer<PipeReader>,
    drops: Arc<Drops>,
}

pub(super) fn new(setup: Setup) -> Halves {
    let push = Push {
        peers: LoadBalancer::new(setup.outgoing),
        drops: setup.drops,
    };
    (Box::new(push), Box::new(Stub))
}

impl Push {
    /// Throws away what a peer sent.
    fn discard(&mut self, slot: usize) {
        let Some(reader) = self.peers.link(slot) else {
            return;
        };
        for _ in 0..TURN {
            match reader.read() {
                Read::Message(_) => count(&self.drops.unexpected),
                Read::Empty => return,
                Read::Closed => {
                    self.peers.remove(slot);
                    return;
                }
            }
        }
        self.peers.waker(slot, false).wake(); // there is more: go on at the next call
    }
}

impl Outgoing for Push {
    fn handle(&mut self, command: Command) {
        match command {
            Command::Attach {
                peer,
                reader: Some(reader),
                writer: Some(writer),
            } => {
                let slot = self.peers.attach(peer.id, writer, reader);
                let waker = self.peers.waker(slot, false);
                let reader = self.peers.link(slot).expect("just attached");
                reader.set_waker(waker);
                self.discard(slot);
            }
            Command::Attach { .. } => {}
            Command::Wake(token) => match Token::from(token) {
                Token { slot, writer: true } => drop(self.peers.wake(slot)),
                Token { slot, .. } => self.discard(slot),
            },
            Command::Detach(id) => {
                if let Some(slot) = self.peers.find(id) {
                    self.peers.remove(slot);
                }
            }
            Command::Hwm { send, receive } => {
                self.peers.set_hwm(send);
                for reader in self.peers.links() {
                    reader.set_hwm(receive);
                }
            }
            Command::Option(_) => {}
        }
    }

    fn check(&mut self, _first: &Frame) -> Result<(), Refusal> {
        if self.writable() {
            Ok(())
        } else {
            Err(Refusal::Again)
        }
    }

    #[inline]
    fn try_send(&mut self, message: Message) -> Result<(), (Refusal, Message)> {
        if !self.writable() {
            return Err((Refusal::Again, message));
        }
        self.peers.write(message);
        Ok(())
    }

    #[inline]
    fn try_send_slice(&mut self, payload: &[u8]) -> Result<(), Refusal> {
        if !self.writable() {
            return Err(Refusal::Again);
        }
        self.peers.write(payload);
        Ok(())
    }

    fn room_for_run(&mut self) -> usize {
        self.peers.room_for_run(drop)
    }

    fn send_run(&mut self, run: Run) {
        self.peers.write_run(run);
    }

    #[inline]
    fn flush(&mut self) {
        self.peers.flush();
    }

    fn with_next_pipe(&mut self, look: &mut dyn FnMut(&mut PipeWriter)) {
        self.peers.with_next(look);
    }

    #[inline]
    fn writable(&mut self) -> bool {
        self.peers.ready(drop)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::testing::{Rig, message};
    use super::*;
    use mqcore_proto::SocketType;

    #[test]
    fn messages_go_to_the_peers_in_turn() {
        let mut rig = Rig::new(SocketType::Push);
        let mut peers = [rig.attach(), rig.attach(), rig.attach()];
        for number in 0..6 {
            rig.send(&[&number.to_string()]).unwrap();
        }
        assert_eq!(peers[0].recv_all(), [message(&["0"]), message(&["3"])]);
        assert_eq!(peers[1].recv_all(), [message(&["1"]), message(&["4"])]);
        assert_eq!(peers[2].recv_all(), [message(&["2"]), message(&["5"])]);
    }

    #[test]
    fn send_without_peers_is_refused_and_gives_the_message_back() {
        let mut rig = Rig::new(SocketType::Push);
        assert_eq!(
            rig.outgoing.try_send(message(&["a", "b"])),
            Err((Refusal::Again, message(&["a", "b"])))
        );
        assert!(!rig.writable());
    }

    #[test]
    fn full_peer_is_passed_over_until_it_reads() {
        let mut rig = Rig::new(SocketType::Push);
        let mut slow = rig.attach_bounded(1, 0);
        let mut quick = rig.attach();
        for number in 0..4 {
            rig.send(&[&number.to_string()]).unwrap();
        }
        assert_eq!(slow.recv_all(), [message(&["0"])]);
        assert_eq!(quick.recv_all().len(), 3);
        rig.send(&["4"]).unwrap();
        rig.send(&["5"]).unwrap();
        assert_eq!(slow.recv_all().len(), 1);
        assert_eq!(quick.recv_all().len(), 1);
    }

    #[test]
    fn all_full_is_refused_until_one_reads() {
        let mut rig = Rig::new(SocketType::Push);
        let mut peer = rig.attach_bounded(1, 0);
        rig.send(&["0"]).unwrap();
        assert_eq!(rig.send(&["1"]), Err(Refusal::Again));
        assert!(!rig.writable());
        assert_eq!(peer.recv_all().len(), 1);
        rig.send(&["1"]).unwrap();
    }

    #[test]
    fn raised_high_water_mark_gives_room_at_once() {
        let mut rig = Rig::new(SocketType::Push);
        let _peer = rig.attach_bounded(1, 0);
        rig.send(&["0"]).unwrap();
        assert_eq!(rig.send(&["1"]), Err(Refusal::Again));
        rig.hwm(2, 2);
        rig.send(&["1"]).unwrap();
        assert_eq!(rig.send(&["2"]), Err(Refusal::Again));
    }

    #[test]
    fn peer_that_left_is_forgotten() {
        let mut rig = Rig::new(SocketType::Push);
        let peer = rig.attach();
        rig.send(&["0"]).unwrap();
        drop(peer);
        assert_eq!(rig.send(&["1"]), Err(Refusal::Again));
    }

    #[test]
    fn peer_whose_writer_ended_is_let_go() {
        let mut rig = Rig::new(SocketType::Push);
        let peer = rig.attach();
        let (mut reader, writer) = (peer.end.reader, peer.end.writer);
        rig.send(&["0"]).unwrap();
        drop(writer);
        assert_eq!(rig.send(&["1"]), Err(Refusal::Again));
        assert_eq!(reader.read(), Read::Message(message(&["0"])));
        assert_eq!(reader.read(), Read::Closed);
    }

    #[test]
    fn detached_peer_gets_what_was_sent_and_no_more() {
        let mut rig = Rig::new(SocketType::Push);
        let mut peer = rig.attach();
        rig.send(&["0"]).unwrap();
        rig.detach(&peer);
        assert_eq!(rig.send(&["1"]), Err(Refusal::Again));
        assert_eq!(peer.recv_all(), [message(&["0"])]);
        assert!(peer.is_let_go());
    }

    #[test]
    fn what_peers_send_is_thrown_away_and_counted() {
        let mut rig = Rig::new(SocketType::Push);
        let mut peer = rig.attach_bounded(0, 4);
        for _ in 0..50 {
            while !peer.end.writer.has_room() {
                rig.settle();
            }
            peer.send(&["noise"]);
        }
        rig.settle();
        assert_eq!(rig.unexpected(), 50);
        assert_eq!(rig.recv(), Err(Refusal::Unsupported));
        assert!(!rig.readable());
    }

    #[test]
    fn flood_gives_the_caller_its_turn_and_is_thrown_away_to_its_end() {
        let mut rig = Rig::new(SocketType::Push);
        let mut peer = rig.attach();
        for _ in 0..TURN + 10 {
            peer.send(&["noise"]);
        }
        rig.settle();
        assert!(rig.was_called(), "it asks to be called again");
        rig.send(&["x"]).unwrap();
        assert_eq!(rig.unexpected(), (TURN + 10) as u64);
    }
}
