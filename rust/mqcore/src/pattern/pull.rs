//! PULL: takes one message from each peer, in turn.

use std::sync::Arc;

use mqcore_proto::Message;

use super::peers::Peers;
use super::{Command, Halves, Incoming, Peer, Refusal, Setup, Stub, remember};

/// The receiving half; a PULL does not send.
struct Pull {
    /// The writers are kept unused: to drop one means to close its connection.
    peers: Peers,
    /// A message that was looked for by `readable`.
    ahead: Option<(Arc<Peer>, Message)>,
    last: Option<Arc<Peer>>,
}

pub(super) fn new(setup: Setup) -> Halves {
    let pull = Pull {
        peers: Peers::new(setup.incoming),
        ahead: None,
        last: None,
    };
    (Box::new(Stub), Box::new(pull))
}

impl Incoming for Pull {
    fn handle(&mut self, command: Command) {
        self.peers.handle(command);
    }

    #[inline]
    fn try_recv(&mut self) -> Result<Message, Refusal> {
        if let Some((peer, message)) = self.ahead.take() {
            self.last = Some(peer);
            return Ok(message);
        }
        let (slot, message) = self.peers.read(|_, _| ()).ok_or(Refusal::Again)?;
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
            .read_with(look, |_, _| ())
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
                .read(|_, _| ())
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
    use mqcore_proto::{RunBuilder, SocketType};

    #[test]
    fn messages_come_from_the_peers_in_turn() {
        let mut rig = Rig::new(SocketType::Pull);
        let mut peers = [rig.attach(), rig.attach(), rig.attach()];
        for (index, peer) in peers.iter_mut().enumerate() {
            for number in 0..3 - index {
                peer.send(&[&format!("{index}.{number}")]);
            }
        }
        let order: Vec<_> = rig.recv_all();
        let expected = ["0.0", "1.0", "2.0", "0.1", "1.1", "0.2"];
        assert_eq!(order, expected.map(|text| message(&[text])));
    }

    #[test]
    fn recv_from_idle_peers_is_refused_until_one_sends() {
        let mut rig = Rig::new(SocketType::Pull);
        let mut peer = rig.attach();
        let _idle = rig.attach();
        assert_eq!(rig.recv(), Err(Refusal::Again));
        assert!(!rig.readable());
        peer.send(&["a", "b"]);
        assert_eq!(rig.recv(), Ok(message(&["a", "b"])));
        assert_eq!(rig.recv(), Err(Refusal::Again));
    }

    #[test]
    fn readable_keeps_the_message_it_found() {
        let mut rig = Rig::new(SocketType::Pull);
        let mut first = rig.attach();
        let mut second = rig.attach();
        first.send(&["1"]);
        second.send(&["2"]);
        assert!(rig.readable() && rig.readable());
        assert!(rig.incoming.last_peer().is_none(), "nothing received yet");
        assert_eq!(rig.recv_all(), [message(&["1"]), message(&["2"])]);
        assert!(!rig.readable());
    }

    #[test]
    fn last_peer_is_the_sender_of_the_last_message_even_when_it_left() {
        let mut rig = Rig::new(SocketType::Pull);
        let mut peer = rig.attach();
        let id = peer.id;
        peer.send(&["1"]);
        drop(peer);
        assert!(rig.recv().is_ok());
        assert_eq!(rig.recv(), Err(Refusal::Again));
        assert_eq!(rig.incoming.last_peer().map(|peer| peer.id), Some(id));
    }

    #[test]
    fn everything_sent_before_leaving_is_received() {
        let mut rig = Rig::new(SocketType::Pull);
        let mut peer = rig.attach();
        assert_eq!(rig.recv(), Err(Refusal::Again));
        for _ in 0..100 {
            peer.send(&["x"]);
        }
        drop(peer);
        assert_eq!(rig.recv_all().len(), 100);
    }

    #[test]
    fn everything_is_received_from_a_peer_that_only_stopped_reading() {
        let mut rig = Rig::new(SocketType::Pull);
        let mut peer = rig.attach();
        peer.send(&["1"]);
        drop(peer.end.reader);
        assert_eq!(rig.recv(), Ok(message(&["1"])));
        peer.end.writer.write(message(&["2"]));
        peer.end.writer.flush();
        assert_eq!(rig.recv(), Ok(message(&["2"])));
    }

    #[test]
    fn peer_whose_writer_ended_is_let_go() {
        let mut rig = Rig::new(SocketType::Pull);
        let mut peer = rig.attach();
        rig.settle();
        assert!(!peer.is_let_go(), "kept though a PULL never writes");
        drop(peer.end.writer);
        assert_eq!(rig.recv(), Err(Refusal::Again));
        assert_eq!(peer.end.reader.read(), crate::pipe::Read::Closed);
    }

    #[test]
    fn detached_peer_is_let_go_and_still_read() {
        let mut rig = Rig::new(SocketType::Pull);
        let mut peer = rig.attach();
        peer.send(&["1"]);
        rig.detach(&peer);
        assert!(peer.is_let_go());
        peer.send(&["2"]);
        assert_eq!(rig.recv_all(), [message(&["1"]), message(&["2"])]);
    }

    #[test]
    fn send_is_not_supported() {
        let mut rig = Rig::new(SocketType::Pull);
        let _peer = rig.attach();
        assert_eq!(rig.send(&["1"]), Err(Refusal::Unsupported));
        assert!(!rig.writable());
    }
    #[test]
    fn more_comes_from_the_peer_of_the_last_message_only() {
        for kind in [SocketType::Pull, SocketType::Dealer] {
            let mut rig = Rig::new(kind);
            let [mut leaver, mut stayer] = [rig.attach(), rig.attach()];
            let mut run = RunBuilder::default();
            for payload in [b"1", b"2", b"3"] {
                run.push(payload);
            }
            stayer.end.writer.write_run(run.finish());
            stayer.end.writer.flush();
            assert_eq!(rig.recv(), Ok(message(&["1"])));
            leaver.send(&["x"]);
            assert_eq!(rig.recv(), Ok(message(&["2"])));
            assert!(rig.readable(), "it looks ahead");
            let id = leaver.id;
            drop(leaver);
            assert_eq!(rig.recv(), Ok(message(&["x"])));
            assert_eq!(rig.last_peer(), Some(id));
            let mut more = 0;
            rig.incoming.try_recv_more(9, &mut |_| more += 1);
            assert_eq!(more, 0, "of the other peer");
            assert_eq!(rig.recv(), Ok(message(&["3"])));
            assert_eq!(rig.last_peer(), Some(stayer.id));
        }
    }
}
