//! SUB: takes the messages it subscribed to from each peer, in turn.

use std::sync::Arc;

use mqcore_proto::Message;

use super::subscriber::Subscriber;
use super::{Command, Halves, Incoming, PatternOption, Peer, Refusal, Setup, Stub};

/// The receiving half; a SUB does not send but subscriptions.
struct Sub {
    subscriber: Subscriber,
    last: Option<Arc<Peer>>,
}

pub(super) fn new(setup: Setup) -> Halves {
    let sub = Sub {
        subscriber: Subscriber::new(setup.incoming),
        last: None,
    };
    (Box::new(Stub), Box::new(sub))
}

impl Incoming for Sub {
    fn handle(&mut self, command: Command) {
        match self.subscriber.handle(command) {
            Some(PatternOption::Subscribe(prefix)) => self.subscriber.subscribe(&prefix),
            Some(PatternOption::Unsubscribe(prefix)) => self.subscriber.cancel(&prefix),
            Some(PatternOption::InvertMatching(on)) => self.subscriber.invert = on,
            _ => {}
        }
    }

    #[inline]
    fn try_recv(&mut self) -> Result<Message, Refusal> {
        self.subscriber.take(&mut self.last).ok_or(Refusal::Again)
    }

    #[inline]
    fn try_recv_with(&mut self, look: &mut dyn FnMut(&mut Message)) -> Result<(), Refusal> {
        if self.subscriber.take_with(&mut self.last, look) {
            Ok(())
        } else {
            Err(Refusal::Again)
        }
    }

    fn readable(&mut self) -> bool {
        self.subscriber.readable()
    }

    fn topics(&mut self) -> usize {
        self.subscriber.topics()
    }

    fn last_peer(&self) -> Option<&Arc<Peer>> {
        self.last.as_ref()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::TURN;
    use super::super::testing::{Rig, message};
    use super::*;
    use mqcore_proto::SocketType;

    fn subscribe(rig: &mut Rig, prefix: &str) {
        rig.option(PatternOption::Subscribe(prefix.into()));
    }

    fn unsubscribe(rig: &mut Rig, prefix: &str) {
        rig.option(PatternOption::Unsubscribe(prefix.into()));
    }

    #[test]
    fn messages_come_from_the_peers_in_turn() {
        let mut rig = Rig::new(SocketType::Sub);
        subscribe(&mut rig, "");
        let mut peers = [rig.attach(), rig.attach()];
        for (index, peer) in peers.iter_mut().enumerate() {
            peer.send(&[&index.to_string()]);
            peer.send(&[&index.to_string()]);
        }
        assert_eq!(
            rig.recv_all(),
            ["0", "1", "0", "1"].map(|text| message(&[text]))
        );
    }

    #[test]
    fn only_what_was_subscribed_to_is_delivered() {
        let mut rig = Rig::new(SocketType::Sub);
        let mut peer = rig.attach();
        peer.send(&["a", "before any subscription"]);
        assert_eq!(rig.recv(), Err(Refusal::Again));
        subscribe(&mut rig, "a");
        peer.send(&["b", "a"]);
        peer.send(&["ab", "b"]);
        assert!(rig.readable());
        assert_eq!(rig.recv_all(), [message(&["ab", "b"])]);
    }

    #[test]
    fn every_subscribe_is_told_and_only_the_last_unsubscribe() {
        let mut rig = Rig::new(SocketType::Sub);
        let mut peer = rig.attach();
        subscribe(&mut rig, "a");
        subscribe(&mut rig, "a");
        unsubscribe(&mut rig, "a");
        assert_eq!(peer.recv_all(), [message(&["\x01a"]), message(&["\x01a"])]);
        peer.send(&["a"]);
        assert_eq!(rig.recv_all().len(), 1, "one reference is left");
        unsubscribe(&mut rig, "a");
        unsubscribe(&mut rig, "a");
        unsubscribe(&mut rig, "never");
        assert_eq!(peer.recv_all(), [message(&["\x00a"])]);
        peer.send(&["a"]);
        assert_eq!(rig.recv(), Err(Refusal::Again));
    }

    #[test]
    fn new_peer_is_told_every_subscription_even_beyond_its_high_water_mark() {
        let mut rig = Rig::new(SocketType::Sub);
        for number in 0..500 {
            subscribe(&mut rig, &number.to_string());
        }
        subscribe(&mut rig, "7");
        let mut peer = rig.attach_bounded(10, 10);
        subscribe(&mut rig, "later");
        let told = peer.recv_all();
        assert_eq!(told.len(), 501, "each prefix once, and the later one");
        for number in 0..500 {
            assert!(told.contains(&message(&[&format!("\x01{number}")])));
        }
    }

    #[test]
    fn inverted_matching_delivers_the_others() {
        let mut rig = Rig::new(SocketType::Sub);
        rig.option(PatternOption::InvertMatching(true));
        subscribe(&mut rig, "a");
        let mut peer = rig.attach();
        peer.send(&["ab"]);
        peer.send(&["b"]);
        assert_eq!(rig.recv_all(), [message(&["b"])]);
    }

    #[test]
    fn flood_of_other_topics_gives_the_caller_its_turn_and_loses_nothing() {
        let mut rig = Rig::new(SocketType::Sub);
        subscribe(&mut rig, "a");
        let mut peer = rig.attach();
        for _ in 0..TURN + 10 {
            peer.send(&["noise"]);
        }
        peer.send(&["a"]);
        assert_eq!(rig.recv(), Err(Refusal::Again));
        assert!(rig.was_called(), "it asks to be called again");
        assert_eq!(rig.recv(), Ok(message(&["a"])));
    }

    #[test]
    fn everything_sent_before_leaving_is_received() {
        let mut rig = Rig::new(SocketType::Sub);
        subscribe(&mut rig, "");
        let mut peer = rig.attach();
        let id = peer.id;
        for _ in 0..100 {
            peer.send(&["x"]);
        }
        drop(peer);
        assert_eq!(rig.recv_all().len(), 100);
        assert_eq!(rig.last_peer(), Some(id));
    }

    #[test]
    fn detached_peer_is_let_go_and_still_read() {
        let mut rig = Rig::new(SocketType::Sub);
        subscribe(&mut rig, "");
        let mut peer = rig.attach();
        rig.detach(&peer);
        assert!(peer.is_let_go());
        subscribe(&mut rig, "a");
        assert_eq!(peer.recv_all(), [message(&["\x01"])]);
        peer.send(&["in"]);
        assert_eq!(rig.recv(), Ok(message(&["in"])));
    }

    #[test]
    fn send_is_not_supported() {
        let mut rig = Rig::new(SocketType::Sub);
        let _peer = rig.attach();
        assert_eq!(rig.send(&["1"]), Err(Refusal::Unsupported));
        assert!(!rig.writable());
    }
}
