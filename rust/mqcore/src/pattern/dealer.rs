//! DEALER: sends to the peers in turn, and takes from them in turn. The two halves share nothing.

use std::sync::Arc;

use mqcore_proto::{Frame, Message, Run};

use super::fair_queue::FairQueue;
use super::load_balancer::LoadBalancer;
use super::{
    Command, Halves, Incoming, Outgoing, PatternOption, Peer, Refusal, Setup, Token, probe,
    remember,
};
use crate::pipe::PipeWriter;

struct Sending {
    peers: LoadBalancer<()>,
    probe: bool,
}

struct Receiving {
    peers: FairQueue<()>,
    /// A message that was looked for by `readable`.
    ahead: Option<(Arc<Peer>, Message)>,
    last: Option<Arc<Peer>>,
}

pub(super) fn new(setup: Setup) -> Halves {
    let outgoing = Sending {
        peers: LoadBalancer::new(setup.outgoing),
        probe: false,
    };
    let incoming = Receiving {
        peers: FairQueue::new(setup.incoming),
        ahead: None,
        last: None,
    };
    (Box::new(outgoing), Box::new(incoming))
}

impl Outgoing for Sending {
    fn handle(&mut self, command: Command) {
        match command {
            Command::Attach {
                peer,
                writer: Some(mut writer),
                ..
            } => {
                if self.probe {
                    probe(&mut writer);
                }
                self.peers.attach(peer.id, writer, ());
            }
            Command::Attach { .. } => {}
            Command::Wake(token) => {
                self.peers.wake(Token::from(token).slot);
            }
            Command::Detach(id) => {
                if let Some(slot) = self.peers.find(id) {
                    self.peers.remove(slot);
                }
            }
            Command::Hwm { send, .. } => self.peers.set_hwm(send),
            Command::Option(PatternOption::ProbeRouter(on)) => self.probe = on,
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
        self.peers.room_for_run(|()| ())
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
        self.peers.ready(|()| ())
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

    #[inline]
    fn try_recv(&mut self) -> Result<Message, Refusal> {
        if let Some((peer, message)) = self.ahead.take() {
            self.last = Some(peer);
            return Ok(message);
        }
        let (slot, message) = self.peers.read(|_, ()| ()).ok_or(Refusal::Again)?;
        remember(&mut self.last, self.peers.peer(slot));
        Ok(message)
    }

    #[inline]
    fn try_recv_with(&mut self, look: &mut dyn FnMut(&mut Message)) -> Result<(), Refusal> {
        if self.ahead.is_some() {
            return self.try_recv().map(|mut message| look(&mut message));
        }
        let (slot, ()) = self
            .peers
            .read_with(look, |_, ()| ())
            .ok_or(Refusal::Again)?;
        remember(&mut self.last, self.peers.peer(slot));
        Ok(())
    }

    fn try_recv_more(&mut self, most: usize, look: &mut dyn FnMut(&[u8])) -> usize {
        self.peers.read_more(self.last.as_ref(), most, look)
    }

    fn readable(&mut self) -> bool {
        if self.ahead.is_none() {
            self.ahead = self
                .peers
                .read(|_, ()| ())
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
    fn messages_go_to_the_peers_in_turn() {
        let mut rig = Rig::new(SocketType::Dealer);
        let mut peers = [rig.attach(), rig.attach()];
        for number in 0..4 {
            rig.send(&[&number.to_string(), "body"]).unwrap();
        }
        for (index, peer) in peers.iter_mut().enumerate() {
            let first = message(&[&index.to_string(), "body"]);
            let second = message(&[&(index + 2).to_string(), "body"]);
            assert_eq!(peer.recv_all(), [first, second]);
        }
    }

    #[test]
    fn messages_come_from_the_peers_in_turn() {
        let mut rig = Rig::new(SocketType::Dealer);
        let mut peers = [rig.attach(), rig.attach()];
        for (index, peer) in peers.iter_mut().enumerate() {
            peer.send(&[&index.to_string()]);
            peer.send(&[&index.to_string()]);
        }
        let order: Vec<_> = rig.recv_all();
        assert_eq!(order, ["0", "1", "0", "1"].map(|text| message(&[text])));
    }

    #[test]
    fn send_without_peers_is_refused_and_gives_the_message_back() {
        let mut rig = Rig::new(SocketType::Dealer);
        assert_eq!(
            rig.outgoing.try_send(message(&["a", "b"])),
            Err((Refusal::Again, message(&["a", "b"])))
        );
        assert_eq!(rig.outgoing.check(&"a".into()), Err(Refusal::Again));
    }

    #[test]
    fn full_peer_is_passed_over_until_it_reads() {
        let mut rig = Rig::new(SocketType::Dealer);
        let mut slow = rig.attach_bounded(1, 0);
        let mut quick = rig.attach();
        for _ in 0..5 {
            rig.send(&["x"]).unwrap();
        }
        assert_eq!(slow.recv_all().len(), 1);
        assert_eq!(quick.recv_all().len(), 4);
        rig.send(&["x"]).unwrap();
        rig.send(&["x"]).unwrap();
        assert_eq!(slow.recv_all().len(), 1);
    }

    #[test]
    fn readable_keeps_the_message_it_found() {
        let mut rig = Rig::new(SocketType::Dealer);
        let mut peer = rig.attach();
        assert!(!rig.readable());
        peer.send(&["1"]);
        assert!(rig.readable());
        assert_eq!(rig.recv(), Ok(message(&["1"])));
        assert!(!rig.readable());
        assert_eq!(rig.incoming.last_peer().map(|peer| peer.id), Some(peer.id));
    }

    #[test]
    fn everything_sent_before_leaving_is_received() {
        let mut rig = Rig::new(SocketType::Dealer);
        let mut peer = rig.attach();
        for _ in 0..100 {
            peer.send(&["x"]);
        }
        drop(peer);
        assert_eq!(rig.send(&["1"]), Err(Refusal::Again));
        assert_eq!(rig.recv_all().len(), 100);
    }

    #[test]
    fn detached_peer_is_let_go_and_still_read() {
        let mut rig = Rig::new(SocketType::Dealer);
        let mut peer = rig.attach();
        rig.send(&["out"]).unwrap();
        rig.detach(&peer);
        assert_eq!(rig.send(&["more"]), Err(Refusal::Again));
        assert_eq!(peer.recv_all(), [message(&["out"])]);
        assert!(peer.is_let_go());
        peer.send(&["in"]);
        assert_eq!(rig.recv(), Ok(message(&["in"])));
    }

    #[test]
    fn probe_greets_every_peer_attached_after_it_was_set() {
        let mut rig = Rig::new(SocketType::Dealer);
        let mut before = rig.attach();
        rig.option(PatternOption::ProbeRouter(true));
        let mut after = rig.attach();
        assert!(before.recv_all().is_empty());
        assert_eq!(after.recv_all(), [message(&[""])]);
    }
}
