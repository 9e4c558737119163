//! XSUB: a SUB whose subscriptions are messages that it sends, and that may send other messages to its
//! publishers too.

use std::sync::Arc;

use mqcore_proto::{Frame, Message};

use super::joint::{self, Joint};
use super::subscriber::Subscriber;
use super::subscriptions::is_subscription;
use super::{Command, Drops, Halves, PatternOption, Peer, Refusal, Setup};

struct Xsub {
    subscriber: Subscriber,
    /// Frames after the first are looked at only if the first is a subscription.
    only_first: bool,
    drops: Arc<Drops>,
}

pub(super) fn new(setup: Setup) -> Halves {
    joint::halves(Xsub {
        subscriber: Subscriber::new(setup.incoming),
        only_first: false,
        drops: setup.drops,
    })
}

impl Xsub {
    /// Takes a subscription or cancellation in; gives any other frame back.
    fn take_in(&mut self, frame: Frame) -> Option<Frame> {
        match frame.as_slice() {
            [1, prefix @ ..] => self.subscriber.subscribe(prefix),
            [0, prefix @ ..] => self.subscriber.cancel(prefix),
            _ => return Some(frame),
        }
        None
    }
}

impl Joint for Xsub {
    fn handle(&mut self, command: Command) {
        match self.subscriber.handle(command) {
            Some(PatternOption::OnlyFirstSubscribe(on)) => self.only_first = on,
            Some(PatternOption::XsubVerboseUnsubscribe(on)) => {
                self.subscriber.verbose_cancellations = on;
            }
            _ => {}
        }
    }

    fn check(&mut self, _first: &Frame) -> Result<(), Refusal> {
        Ok(())
    }

    /// Each frame is looked at for itself; those that are no subscriptions go on as one message.
    fn try_send(&mut self, message: Message) -> Result<(), (Refusal, Message)> {
        let left_over = match message.into_single() {
            Ok(frame) => self.take_in(frame).map(Message::from),
            Err(message) if self.only_first && !is_subscription(message.first()) => Some(message),
            Err(message) => {
                let frames = message.into_frames().into_iter();
                let left_over: Vec<Frame> = frames.filter_map(|f| self.take_in(f)).collect();
                (!left_over.is_empty()).then(|| Message::from_frames(left_over))
            }
        };
        if let Some(message) = left_over {
            self.subscriber.send_to_all(&message, &self.drops);
        }
        Ok(())
    }

    fn topics(&mut self) -> usize {
        self.subscriber.topics()
    }

    fn writable(&mut self) -> bool {
        true
    }

    fn try_recv(&mut self, last: &mut Option<Arc<Peer>>) -> Result<Message, Refusal> {
        self.subscriber.take(last).ok_or(Refusal::Again)
    }

    fn readable(&mut self) -> bool {
        self.subscriber.readable()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::PatternOption;
    use super::super::testing::{Rig, message};
    use mqcore_proto::SocketType;

    #[test]
    fn messages_come_from_the_peers_in_turn() {
        let mut rig = Rig::new(SocketType::Xsub);
        rig.send(&["\x01"]).unwrap();
        let mut peers = [rig.attach(), rig.attach()];
        for (index, peer) in peers.iter_mut().enumerate() {
            peer.send(&[&index.to_string()]);
            peer.send(&[&index.to_string()]);
        }
        assert_eq!(
            rig.recv_all(),
            ["0", "1", "0", "1"].map(|text| message(&[text]))
        );
        assert_eq!(rig.last_peer(), Some(peers[1].id));
    }

    #[test]
    fn only_what_was_subscribed_to_is_delivered() {
        let mut rig = Rig::new(SocketType::Xsub);
        let mut peer = rig.attach();
        rig.send(&["\x01a"]).unwrap();
        rig.option(PatternOption::InvertMatching(true)); // not for XSUB
        peer.send(&["b"]);
        peer.send(&["ab"]);
        assert!(rig.readable());
        assert_eq!(rig.recv_all(), [message(&["ab"])]);
    }

    #[test]
    fn every_subscribe_is_told_and_only_the_last_unsubscribe() {
        let mut rig = Rig::new(SocketType::Xsub);
        let mut peer = rig.attach();
        for sent in ["\x01a", "\x01a", "\x00a", "\x00a", "\x00a", "\x00b"] {
            rig.send(&[sent]).unwrap();
        }
        assert_eq!(
            peer.recv_all(),
            ["\x01a", "\x01a", "\x00a"].map(|told| message(&[told]))
        );
    }

    #[test]
    fn new_peer_is_told_every_subscription_even_beyond_its_high_water_mark() {
        let mut rig = Rig::new(SocketType::Xsub);
        for number in 0..500 {
            rig.send(&[&format!("\x01{number}")]).unwrap();
        }
        let mut peer = rig.attach_bounded(10, 10);
        rig.send(&["\x01later"]).unwrap();
        assert_eq!(peer.recv_all().len(), 501);
    }

    #[test]
    fn user_message_goes_to_every_peer_with_room() {
        let mut rig = Rig::new(SocketType::Xsub);
        let mut full = rig.attach_bounded(1, 0);
        let mut open = rig.attach();
        rig.send(&["2", "user"]).unwrap();
        rig.send(&[""]).unwrap();
        assert_eq!(full.recv_all(), [message(&["2", "user"])]);
        assert_eq!(open.recv_all(), [message(&["2", "user"]), message(&[""])]);
        assert_eq!(rig.full(), 1);
    }

    #[test]
    fn each_frame_is_looked_at_for_itself() {
        let mut rig = Rig::new(SocketType::Xsub);
        let mut peer = rig.attach();
        rig.send(&["\x01a", "user", "\x01b", "data"]).unwrap();
        assert_eq!(
            peer.recv_all(),
            [
                message(&["\x01a"]),
                message(&["\x01b"]),
                message(&["user", "data"])
            ]
        );
    }

    #[test]
    fn every_cancellation_is_told_if_wanted() {
        let mut rig = Rig::new(SocketType::Xsub);
        rig.option(PatternOption::XsubVerboseUnsubscribe(true));
        let mut peer = rig.attach();
        for sent in ["\x01a", "\x01a", "\x00a", "\x00a", "\x00b"] {
            rig.send(&[sent]).unwrap();
        }
        assert_eq!(peer.recv_all().len(), 5);
    }

    #[test]
    fn user_message_is_not_looked_through_if_only_the_first_frame_counts() {
        let mut rig = Rig::new(SocketType::Xsub);
        rig.option(PatternOption::OnlyFirstSubscribe(true));
        let mut peer = rig.attach();
        rig.send(&["user", "\x01a"]).unwrap();
        rig.send(&["\x01b", "rest"]).unwrap();
        assert_eq!(
            peer.recv_all(),
            [
                message(&["user", "\x01a"]),
                message(&["\x01b"]),
                message(&["rest"])
            ]
        );
    }

    #[test]
    fn send_without_peers_succeeds() {
        let mut rig = Rig::new(SocketType::Xsub);
        assert!(rig.writable());
        assert_eq!(rig.check("x"), Ok(()));
        rig.send(&["x"]).unwrap();
    }

    #[test]
    fn detached_peer_is_let_go_and_still_read() {
        let mut rig = Rig::new(SocketType::Xsub);
        rig.send(&["\x01"]).unwrap();
        let mut peer = rig.attach();
        rig.detach(&peer);
        assert!(peer.is_let_go());
        rig.send(&["x"]).unwrap();
        assert_eq!(peer.recv_all(), [message(&["\x01"])]);
        peer.send(&["in"]);
        assert_eq!(rig.recv(), Ok(message(&["in"])));
    }
}
