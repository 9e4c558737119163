//! PUB: sends each message to every peer that subscribed to a prefix of its first frame; a peer without
//! room misses it.

use std::sync::Arc;

use mqcore_proto::{Frame, Message};

use super::publisher::{News, Publisher};
use super::{Command, Drops, Halves, Outgoing, Refusal, Setup, Stub, count};

/// The sending half; a PUB does not receive.
struct Pub {
    publisher: Publisher,
    drops: Arc<Drops>,
}

pub(super) fn new(setup: Setup) -> Halves {
    let drops = Arc::clone(&setup.drops);
    let publisher = Publisher::new(setup);
    (Box::new(Pub { publisher, drops }), Box::new(Stub))
}

impl Pub {
    /// Takes in what the peers sent: subscriptions. The rest is thrown away.
    #[inline]
    fn take_in(&mut self) {
        for _ in 0..self.publisher.turn() {
            let more = self.publisher.take_in(|news| {
                if let News::User(..) = news {
                    count(&self.drops.unexpected);
                }
            });
            if !more {
                return;
            }
        }
    }
}

impl Outgoing for Pub {
    fn handle(&mut self, command: Command) {
        self.publisher.handle(command);
    }

    fn check(&mut self, first: &Frame) -> Result<(), Refusal> {
        self.take_in();
        self.publisher.check(first)
    }

    #[inline]
    fn try_send(&mut self, message: Message) -> Result<(), (Refusal, Message)> {
        self.take_in();
        self.publisher.try_send(message)
    }

    #[inline]
    fn flush(&mut self) {
        self.publisher.flush();
    }

    fn writable(&mut self) -> bool {
        self.take_in();
        true
    }

    fn topics(&mut self) -> usize {
        self.take_in();
        self.publisher.topics()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::PatternOption;
    use super::super::testing::{Rig, message};
    use super::*;
    use mqcore_proto::SocketType;

    #[test]
    fn message_goes_to_every_peer_with_a_prefix_of_its_first_frame() {
        let mut rig = Rig::new(SocketType::Pub);
        let mut peers = [rig.attach(), rig.attach(), rig.attach()];
        peers[0].send(&["\x01news"]);
        peers[1].send(&["\x01news/sport"]);
        peers[2].send(&["\x01"]);
        rig.send(&["news/sport", "x"]).unwrap();
        rig.send(&["news"]).unwrap();
        rig.send(&["other", "news"]).unwrap();
        assert_eq!(peers[0].recv_all().len(), 2);
        assert_eq!(peers[1].recv_all(), [message(&["news/sport", "x"])]);
        assert_eq!(peers[2].recv_all().len(), 3);
    }

    #[test]
    fn peer_with_several_matching_prefixes_gets_the_message_once() {
        let mut rig = Rig::new(SocketType::Pub);
        let mut peer = rig.attach();
        peer.send(&["\x01", "\x01a", "\x01ab"]);
        rig.send(&["abc"]).unwrap();
        assert_eq!(peer.recv_all(), [message(&["abc"])]);
    }

    #[test]
    fn message_goes_to_who_had_subscribed_before_however_much_else() {
        let mut rig = Rig::new(SocketType::Pub);
        let mut peers = [rig.attach(), rig.attach()];
        for number in 0..3 * super::super::TURN {
            peers[number % 2].send(&[&format!("\x01{number}")]);
        }
        peers[1].send(&["\x01last"]);
        rig.send(&["last"]).unwrap();
        assert_eq!(peers[1].recv_all(), [message(&["last"])]);
    }

    #[test]
    fn send_without_peers_succeeds() {
        let mut rig = Rig::new(SocketType::Pub);
        assert!(rig.writable());
        rig.send(&["x"]).unwrap();
    }

    #[test]
    fn cancelled_prefix_matches_no_more() {
        let mut rig = Rig::new(SocketType::Pub);
        let mut peer = rig.attach();
        peer.send(&["\x01a"]);
        peer.send(&["\x01a"]);
        rig.send(&["a1"]).unwrap();
        peer.send(&["\x00a"]);
        rig.send(&["a2"]).unwrap();
        assert_eq!(
            peer.recv_all(),
            [message(&["a1"])],
            "a publisher does not count one peer's subscriptions"
        );
    }

    #[test]
    fn full_peer_misses_the_message_and_it_is_counted() {
        let mut rig = Rig::new(SocketType::Pub);
        let mut slow = rig.attach_bounded(1, 0);
        let mut quick = rig.attach();
        slow.send(&["\x01"]);
        quick.send(&["\x01"]);
        rig.send(&["1", "body"]).unwrap();
        rig.send(&["2", "body"]).unwrap();
        assert_eq!(slow.recv_all(), [message(&["1", "body"])]);
        assert_eq!(quick.recv_all().len(), 2);
        assert_eq!(rig.full(), 1);
        rig.send(&["3"]).unwrap();
        assert_eq!(slow.recv_all(), [message(&["3"])]);
    }

    #[test]
    fn nodrop_refuses_what_a_matching_peer_has_no_room_for_and_nobody_gets_it() {
        let mut rig = Rig::new(SocketType::Pub);
        rig.option(PatternOption::XpubNodrop(true));
        let mut slow = rig.attach_bounded(1, 0);
        let mut quick = rig.attach();
        slow.send(&["\x01a"]);
        quick.send(&["\x01"]);
        rig.send(&["a1"]).unwrap();
        assert_eq!(rig.send(&["a2"]), Err(Refusal::Again));
        assert_eq!(rig.check("a2"), Err(Refusal::Again));
        rig.send(&["b"]).unwrap();
        assert_eq!(quick.recv_all(), [message(&["a1"]), message(&["b"])]);
        assert!(!rig.was_called());
        assert_eq!(slow.recv_all().len(), 1);
        assert!(rig.was_called(), "whoever waits hears of the room");
        assert_eq!(rig.check("a2"), Ok(()));
        rig.send(&["a2"]).unwrap();
        assert_eq!(rig.full(), 0);
    }

    #[test]
    fn peer_that_stopped_reading_holds_nobody_up() {
        let mut rig = Rig::new(SocketType::Pub);
        rig.option(PatternOption::XpubNodrop(true));
        let mut peer = rig.attach_bounded(1, 0);
        peer.send(&["\x01"]);
        rig.send(&["1"]).unwrap();
        assert_eq!(rig.send(&["2"]), Err(Refusal::Again));
        drop(peer.end.reader);
        for _ in 0..3 {
            rig.send(&["2"]).unwrap();
        }
    }

    #[test]
    fn inverted_matching_sends_to_the_others() {
        let mut rig = Rig::new(SocketType::Pub);
        rig.option(PatternOption::InvertMatching(true));
        let mut with = rig.attach();
        let mut without = rig.attach();
        with.send(&["\x01a"]);
        rig.send(&["abc"]).unwrap();
        rig.send(&["b"]).unwrap();
        assert_eq!(with.recv_all(), [message(&["b"])]);
        assert_eq!(without.recv_all(), [message(&["abc"]), message(&["b"])]);
    }

    #[test]
    fn user_messages_of_peers_are_thrown_away_and_counted() {
        let mut rig = Rig::new(SocketType::Pub);
        let mut peer = rig.attach_bounded(0, 10);
        for _ in 0..1000 {
            while !peer.end.writer.has_room() {
                assert!(rig.writable());
            }
            peer.send(&["noise"]);
        }
        peer.send(&["noise", "\x01a"]);
        peer.send(&[""]);
        rig.send(&["a"]).unwrap();
        assert_eq!(rig.unexpected(), 1002);
        assert_eq!(peer.recv_all(), [message(&["a"])]);
        assert_eq!(rig.recv(), Err(Refusal::Unsupported));
    }

    #[test]
    fn peer_that_left_takes_its_subscriptions_along() {
        let mut rig = Rig::new(SocketType::Pub);
        let mut old = rig.attach();
        old.send(&["\x01a"]);
        rig.send(&["a"]).unwrap();
        drop(old);
        rig.send(&["a"]).unwrap();
        let mut new = rig.attach(); // in the place of the old one
        rig.send(&["a"]).unwrap();
        assert!(new.recv_all().is_empty());
    }

    #[test]
    fn detached_peer_gets_what_was_sent_and_no_more() {
        let mut rig = Rig::new(SocketType::Pub);
        let mut peer = rig.attach();
        peer.send(&["\x01"]);
        rig.send(&["1"]).unwrap();
        rig.detach(&peer);
        rig.send(&["2"]).unwrap();
        assert_eq!(peer.recv_all(), [message(&["1"])]);
        assert!(peer.is_let_go());
    }

    #[test]
    fn peer_over_its_subscription_limit_is_dropped_alone() {
        let mut rig = Rig::new(SocketType::Pub);
        rig.option(PatternOption::SubscriptionLimit(400));
        let mut greedy = rig.attach();
        let mut modest = rig.attach();
        modest.send(&["\x01"]);
        for number in 0..10 {
            greedy.send(&[&format!("\x01{number}")]);
        }
        rig.send(&["1"]).unwrap();
        assert!(greedy.is_let_go() && greedy.end.writer.is_closed());
        assert!(greedy.recv_all().is_empty());
        assert_eq!(modest.recv_all(), [message(&["1"])]);
        assert_eq!(rig.unexpected(), 1);
    }
}
