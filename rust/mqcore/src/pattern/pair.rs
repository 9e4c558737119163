//! PAIR: one peer at a time, both ways.

use std::collections::VecDeque;
use std::sync::Arc;

use mqcore_proto::{Frame, Message};

use super::joint::{self, Joint};
use super::{Command, Halves, Peer, Refusal, Setup, Token, remember};
use crate::pipe::{PipeReader, PipeWriter, Read, Wake, Waker};

struct Pair {
    current: Option<Connected>,
    /// Earlier peers that may have sent something which was not read yet, oldest first.
    leaving: VecDeque<Received>,
    /// A message that was looked for by `readable`.
    ahead: Option<(Arc<Peer>, Message)>,
    wake: Arc<dyn Wake>,
}

struct Connected {
    received: Received,
    writer: PipeWriter,
}

struct Received {
    peer: Arc<Peer>,
    reader: PipeReader,
}

pub(super) fn new(setup: Setup) -> Halves {
    joint::halves(Pair {
        current: None,
        leaving: VecDeque::new(),
        ahead: None,
        wake: setup.outgoing,
    })
}

impl Pair {
    /// Takes the peer, or refuses it by dropping both ends if there is one already.
    fn attach(&mut self, peer: Arc<Peer>, mut reader: PipeReader, mut writer: PipeWriter) {
        self.retire_if_gone();
        if self.current.is_some() {
            return;
        }
        // With one peer there is one place, and calls need no name.
        let waker = |writer| Waker::new(Arc::clone(&self.wake), Token { slot: 0, writer }.into());
        reader.set_waker(waker(false));
        writer.set_waker(waker(true));
        let received = Received { peer, reader };
        self.current = Some(Connected { received, writer });
        self.retire_if_gone();
    }

    /// Frees the place if its peer has gone; what it sent is still delivered.
    fn retire_if_gone(&mut self) {
        if let Some(current) = &self.current
            && (current.writer.is_closed() || current.received.reader.is_closed())
        {
            self.retire();
        }
    }

    fn retire(&mut self) {
        if let Some(current) = self.current.take() {
            self.leaving.push_back(current.received);
        }
        self.forget_ended();
    }

    /// Forgets earlier peers that have nothing to say any more.
    fn forget_ended(&mut self) {
        self.leaving
            .retain_mut(|left| !left.reader.is_closed() || left.reader.has_message());
    }

    fn next(&mut self) -> Option<(Arc<Peer>, Message)> {
        let mut index = 0;
        while let Some(received) = self.leaving.get_mut(index) {
            match received.reader.read() {
                Read::Message(message) => return Some((Arc::clone(&received.peer), message)),
                Read::Empty => index += 1,
                Read::Closed => drop(self.leaving.remove(index)),
            }
        }
        let received = &mut self.current.as_mut()?.received;
        match received.reader.read() {
            Read::Message(message) => Some((Arc::clone(&received.peer), message)),
            Read::Empty => None,
            Read::Closed => {
                self.current = None;
                None
            }
        }
    }
}

impl Joint for Pair {
    fn handle(&mut self, command: Command) {
        match command {
            Command::Attach {
                peer,
                reader: Some(reader),
                writer: Some(writer),
            } => self.attach(peer, reader, writer),
            Command::Attach { .. } | Command::Option(_) => {}
            Command::Wake(_) => {
                self.retire_if_gone();
                self.forget_ended();
            }
            Command::Detach(id) => {
                if let Some(current) = &self.current
                    && current.received.peer.id == id
                {
                    self.retire();
                }
            }
            Command::Hwm { send, receive } => {
                if let Some(current) = &mut self.current {
                    current.writer.set_hwm(send);
                    current.received.reader.set_hwm(receive);
                }
            }
        }
    }

    fn check(&mut self, _first: &Frame) -> Result<(), Refusal> {
        if self.writable() {
            Ok(())
        } else {
            Err(Refusal::Again)
        }
    }

    fn try_send(&mut self, message: Message) -> Result<(), (Refusal, Message)> {
        if let Some(current) = &mut self.current
            && !current.writer.is_closed()
            && current.writer.has_room()
        {
            current.writer.write(message);
            current.writer.flush();
            return Ok(());
        }
        Err((Refusal::Again, message))
    }

    fn with_next_pipe(&mut self, look: &mut dyn FnMut(&mut PipeWriter)) {
        if let Some(current) = &mut self.current {
            look(&mut current.writer);
        }
    }

    fn writable(&mut self) -> bool {
        self.current
            .as_mut()
            .is_some_and(|current| !current.writer.is_closed() && current.writer.has_room())
    }

    fn try_recv(&mut self, last: &mut Option<Arc<Peer>>) -> Result<Message, Refusal> {
        let (peer, message) = self
            .ahead
            .take()
            .or_else(|| self.next())
            .ok_or(Refusal::Again)?;
        remember(last, &peer);
        Ok(message)
    }

    fn readable(&mut self) -> bool {
        if self.ahead.is_none() {
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
    fn messages_go_both_ways() {
        let mut rig = Rig::new(SocketType::Pair);
        let mut peer = rig.attach();
        rig.send(&["a", "b"]).unwrap();
        assert_eq!(peer.recv_all(), [message(&["a", "b"])]);
        peer.send(&["c"]);
        assert!(rig.readable());
        assert_eq!(rig.recv(), Ok(message(&["c"])));
        assert_eq!(rig.recv(), Err(Refusal::Again));
        assert_eq!(rig.last_peer(), Some(peer.id));
    }

    #[test]
    fn send_without_peers_is_refused_and_gives_the_message_back() {
        let mut rig = Rig::new(SocketType::Pair);
        assert_eq!(rig.send(&["a", "b"]), Err(Refusal::Again));
        assert_eq!(rig.check("a"), Err(Refusal::Again));
        assert!(!rig.writable());
    }

    #[test]
    fn all_full_is_refused_until_one_reads() {
        let mut rig = Rig::new(SocketType::Pair);
        let mut peer = rig.attach_bounded(1, 0);
        rig.send(&["0"]).unwrap();
        assert_eq!(rig.send(&["1"]), Err(Refusal::Again));
        assert_eq!(peer.recv_all().len(), 1);
        assert!(rig.was_called());
        rig.send(&["1"]).unwrap();
    }

    #[test]
    fn second_peer_is_refused_and_the_first_goes_on() {
        let mut rig = Rig::new(SocketType::Pair);
        let mut first = rig.attach();
        let second = rig.attach();
        assert!(second.is_let_go() && second.end.writer.is_closed());
        rig.send(&["x"]).unwrap();
        assert_eq!(first.recv_all().len(), 1);
    }

    #[test]
    fn new_peer_is_taken_after_the_first_left_and_what_that_sent_comes_first() {
        let mut rig = Rig::new(SocketType::Pair);
        let mut first = rig.attach();
        first.send(&["1"]);
        first.send(&["2"]);
        drop(first);
        let mut second = rig.attach();
        second.send(&["3"]);
        rig.send(&["x"]).unwrap();
        assert_eq!(second.recv_all().len(), 1);
        assert_eq!(
            rig.recv_all(),
            [message(&["1"]), message(&["2"]), message(&["3"])]
        );
    }

    #[test]
    fn peers_that_come_and_go_one_by_one_leave_nothing_behind() {
        let mut rig = Rig::new(SocketType::Pair);
        for _ in 0..10 {
            let peer = rig.attach();
            rig.send(&["x"]).unwrap();
            rig.detach(&peer);
            drop(peer);
            rig.settle();
            drop(rig.attach());
            rig.settle();
        }
        assert_eq!(rig.known_peers(), 0);
    }

    #[test]
    fn everything_sent_before_leaving_is_received() {
        let mut rig = Rig::new(SocketType::Pair);
        let mut peer = rig.attach();
        for _ in 0..100 {
            peer.send(&["x"]);
        }
        drop(peer);
        assert_eq!(rig.send(&["1"]), Err(Refusal::Again));
        assert_eq!(rig.recv_all().len(), 100);
    }

    #[test]
    fn detached_peer_is_let_go_still_read_and_replaced() {
        let mut rig = Rig::new(SocketType::Pair);
        let mut first = rig.attach();
        rig.send(&["out"]).unwrap();
        rig.detach(&first);
        assert_eq!(rig.send(&["more"]), Err(Refusal::Again));
        assert_eq!(first.recv_all(), [message(&["out"])]);
        assert!(first.is_let_go());
        let mut second = rig.attach();
        assert_eq!(rig.recv(), Err(Refusal::Again));
        first.send(&["late"]);
        second.send(&["new"]);
        assert_eq!(rig.recv_all(), [message(&["late"]), message(&["new"])]);
    }
}
