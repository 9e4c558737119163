//! XPUB: a PUB that tells its application who subscribes, and delivers what else subscribers send.

use std::collections::VecDeque;
use std::sync::Arc;

use mqcore_proto::{Frame, Message};

use super::joint::{self, Joint};
use super::publisher::{News, Publisher};
use super::{Command, Halves, PatternOption, Peer, Refusal, Setup, TURN};

/// The application may always leave at least so many notifications unread.
const LEAST_BOUND: usize = 1000;

struct Xpub {
    publisher: Publisher,
    pending: Pending,
    verbosity: Verbosity,
}

/// Which subscriptions the application hears of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verbosity {
    /// The first for a prefix, and the cancellation of the last.
    Changes,
    /// Every subscription, and the cancellation of the last.
    Subscriptions,
    /// Every one of both.
    Everything,
}

/// What waits for the application, with its sender (nobody, if it is because a peer left).
struct Pending {
    queue: VecDeque<(Option<Arc<Peer>>, Message)>,
    /// When so many wait, no more is taken from the peers, whose pipes then fill up. A peer that leaves
    /// still adds what it had subscribed to: that only moves here from the index.
    bound: usize,
}

pub(super) fn new(setup: Setup) -> Halves {
    let bound = bound_for(setup.receive_hwm);
    joint::halves(Xpub {
        publisher: Publisher::new(setup),
        pending: Pending {
            queue: VecDeque::new(),
            bound,
        },
        verbosity: Verbosity::Changes,
    })
}

fn bound_for(receive_hwm: usize) -> usize {
    match receive_hwm {
        0 => usize::MAX,
        hwm => hwm.max(LEAST_BOUND),
    }
}

impl Pending {
    fn note(&mut self, verbosity: Verbosity, news: News<'_>) {
        let (peer, message) = match news {
            News::Subscribed(peer, frame, first) if first || verbosity != Verbosity::Changes => {
                (Some(Arc::clone(peer)), frame.clone().into())
            }
            News::Cancelled(peer, frame, last) if last || verbosity == Verbosity::Everything => {
                (Some(Arc::clone(peer)), frame.clone().into())
            }
            News::Left(prefix, last) if last || verbosity == Verbosity::Everything => {
                (None, Frame::from([&[0], prefix].concat()).into())
            }
            News::User(peer, message) => (Some(Arc::clone(peer)), message),
            News::Subscribed(..) | News::Cancelled(..) | News::Left(..) => return,
        };
        self.queue.push_back((peer, message));
    }
}

impl Xpub {
    /// Takes in what the peers sent, at most so many messages, as long as the application keeps up with what it shall hear.
    fn take_in(&mut self, most: usize) {
        for _ in 0..most {
            if self.pending.queue.len() >= self.pending.bound {
                return;
            }
            let Self {
                publisher,
                pending,
                verbosity,
            } = self;
            if !publisher.take_in(|news| pending.note(*verbosity, news)) {
                return;
            }
        }
        self.publisher.call_again();
    }
}

impl Joint for Xpub {
    const HOLDS_BACK: bool = true;

    fn handle(&mut self, command: Command) {
        if let Command::Hwm { receive, .. } = command {
            self.pending.bound = bound_for(receive);
        }
        self.verbosity = match self.publisher.handle(command) {
            Some(PatternOption::XpubVerbose(true)) => Verbosity::Subscriptions,
            Some(PatternOption::XpubVerboser(true)) => Verbosity::Everything,
            Some(PatternOption::XpubVerbose(false) | PatternOption::XpubVerboser(false)) => {
                Verbosity::Changes
            }
            _ => return,
        };
    }

    fn check(&mut self, first: &Frame) -> Result<(), Refusal> {
        self.take_in(self.publisher.turn());
        self.publisher.check(first)
    }

    fn try_send(&mut self, message: Message) -> Result<(), (Refusal, Message)> {
        self.take_in(self.publisher.turn());
        self.publisher.try_send(message)
    }

    fn flush(&mut self) {
        self.publisher.flush();
    }

    fn topics(&mut self) -> usize {
        self.take_in(self.publisher.turn());
        self.publisher.topics()
    }

    fn writable(&mut self) -> bool {
        self.take_in(self.publisher.turn());
        true
    }

    fn try_recv(&mut self, last: &mut Option<Arc<Peer>>) -> Result<Message, Refusal> {
        if self.pending.queue.is_empty() {
            self.take_in(TURN);
        }
        let (peer, message) = self.pending.queue.pop_front().ok_or(Refusal::Again)?;
        *last = peer;
        Ok(message)
    }

    fn readable(&mut self) -> bool {
        if self.pending.queue.is_empty() {
            self.take_in(TURN);
        }
        !self.pending.queue.is_empty()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::PipeId;
    use super::super::testing::{Rig, message};
    use super::*;
    use mqcore_proto::SocketType;

    /// What the application hears when two peers subscribe twice and cancel, then one leaves.
    fn story(option: Option<PatternOption>) -> Vec<String> {
        let mut rig = Rig::new(SocketType::Xpub);
        if let Some(option) = option {
            rig.option(option);
        }
        let mut peers = [rig.attach(), rig.attach()];
        let mut heard = Vec::new();
        let mut tell = |rig: &mut Rig, far: Option<(usize, &str)>, peers: &mut [_; 2]| {
            if let Some((index, text)) = far {
                let peer: &mut super::super::testing::Far = &mut peers[index];
                peer.send(&[text]);
            }
            for message in rig.recv_all() {
                heard.push(message.first().escape_ascii().to_string());
            }
            heard.push("|".into());
        };
        for step in [
            (0, "\x01a"),
            (0, "\x01a"),
            (1, "\x01a"),
            (0, "\x00a"),
            (1, "\x00a"),
            (1, "\x00a"),
            (0, "\x01b"),
            (1, "\x01b"),
        ] {
            tell(&mut rig, Some(step), &mut peers);
        }
        let [first, second] = peers;
        for peer in [first, second] {
            drop(peer);
            heard.extend(
                rig.recv_all()
                    .iter()
                    .map(|message| message.first().escape_ascii().to_string()),
            );
            heard.push("|".into());
        }
        heard
    }

    fn lines(text: &str) -> Vec<String> {
        text.split_whitespace().map(String::from).collect()
    }

    #[test]
    fn application_hears_of_the_first_subscription_and_the_last_cancellation() {
        let heard = story(None);
        let expected = r"\x01a | | | | \x00a | \x00a | \x01b | | | \x00b |";
        assert_eq!(heard, lines(expected));
    }

    #[test]
    fn verbose_application_hears_of_every_subscription() {
        let heard = story(Some(PatternOption::XpubVerbose(true)));
        let expected = r"\x01a | \x01a | \x01a | | \x00a | \x00a | \x01b | \x01b | | \x00b |";
        assert_eq!(heard, lines(expected));
    }

    #[test]
    fn verboser_application_hears_of_everything() {
        let heard = story(Some(PatternOption::XpubVerboser(true)));
        let expected =
            r"\x01a | \x01a | \x01a | \x00a | \x00a | \x00a | \x01b | \x01b | \x00b | \x00b |";
        assert_eq!(heard, lines(expected));
    }

    #[test]
    fn verbosity_that_is_set_last_counts() {
        let mut rig = Rig::new(SocketType::Xpub);
        rig.option(PatternOption::XpubVerboser(true));
        rig.option(PatternOption::XpubVerbose(false));
        let mut peer = rig.attach();
        peer.send(&["\x01a"]);
        peer.send(&["\x01a"]);
        assert_eq!(rig.recv_all().len(), 1);
    }

    #[test]
    fn message_goes_to_every_peer_with_a_prefix_of_its_first_frame() {
        let mut rig = Rig::new(SocketType::Xpub);
        let mut peers = [rig.attach(), rig.attach()];
        peers[0].send(&["\x01a"]);
        peers[1].send(&["\x01b"]);
        rig.send(&["ab", "b"]).unwrap();
        assert_eq!(peers[0].recv_all(), [message(&["ab", "b"])]);
        assert!(peers[1].recv_all().is_empty());
    }

    #[test]
    fn send_without_peers_succeeds() {
        let mut rig = Rig::new(SocketType::Xpub);
        assert!(rig.writable() && !rig.readable());
        rig.send(&["x"]).unwrap();
        assert_eq!(rig.recv(), Err(Refusal::Again));
    }

    #[test]
    fn user_messages_of_peers_are_delivered() {
        let mut rig = Rig::new(SocketType::Xpub);
        let mut peer = rig.attach();
        peer.send(&["user", "data"]);
        peer.send(&[""]);
        peer.send(&["\x01t", "rest"]);
        assert!(rig.readable());
        assert_eq!(
            rig.recv_all(),
            [
                message(&["user", "data"]),
                message(&[""]),
                message(&["\x01t"]),
                message(&["rest"])
            ]
        );
        assert_eq!(rig.unexpected(), 0);
    }

    #[test]
    fn last_peer_is_who_subscribed_and_nobody_after_a_peer_left() {
        let mut rig = Rig::new(SocketType::Xpub);
        let mut peer = rig.attach();
        peer.send(&["\x01a"]);
        assert!(rig.recv().is_ok());
        assert_eq!(rig.last_peer(), Some(peer.id));
        drop(peer);
        assert_eq!(rig.recv(), Ok(message(&["\x00a"])));
        assert_eq!(rig.last_peer(), None);
    }

    fn decide(rig: &mut Rig, peer: PipeId, prefix: &str, subscribe: bool) {
        rig.option(PatternOption::Decide {
            peer,
            prefix: prefix.into(),
            subscribe,
        });
    }

    #[test]
    fn manual_subscription_counts_when_the_application_says_so_and_as_it_says() {
        let mut rig = Rig::new(SocketType::Xpub);
        rig.option(PatternOption::XpubManual(true));
        let mut peer = rig.attach();
        peer.send(&["\x01a"]);
        assert_eq!(rig.recv_all(), [message(&["\x01a"])]);
        rig.send(&["a1"]).unwrap();
        decide(&mut rig, peer.id, "b", true);
        rig.send(&["a2"]).unwrap();
        rig.send(&["b1"]).unwrap();
        peer.send(&["\x00a"]);
        assert_eq!(rig.recv_all(), [message(&["\x00a"])]);
        rig.send(&["b2"]).unwrap();
        decide(&mut rig, peer.id, "b", false);
        rig.send(&["b3"]).unwrap();
        assert_eq!(peer.recv_all(), [message(&["b1"]), message(&["b2"])]);
    }

    #[test]
    fn manual_application_hears_of_everything_and_of_all_that_a_leaving_peer_had_asked_for() {
        let mut rig = Rig::new(SocketType::Xpub);
        rig.option(PatternOption::XpubManual(true));
        let mut peers = [rig.attach(), rig.attach()];
        for peer in &mut peers {
            peer.send(&["\x01a"]);
            peer.send(&["\x01a"]);
        }
        assert_eq!(rig.recv_all().len(), 4);
        decide(&mut rig, peers[1].id, "other", true);
        let [first, second] = peers;
        for peer in [first, second] {
            drop(peer);
            assert_eq!(rig.recv_all(), [message(&["\x00a"])]);
            assert_eq!(rig.last_peer(), None);
        }
        decide(&mut rig, 99, "late", true); // for one that has left: nothing
        rig.send(&["late"]).unwrap();
    }

    #[test]
    fn last_value_goes_to_the_peer_of_the_decision_alone_and_once() {
        let mut rig = Rig::new(SocketType::Xpub);
        rig.option(PatternOption::XpubManualLastValue(true));
        let mut peers = [rig.attach(), rig.attach()];
        for (index, peer) in peers.iter_mut().enumerate() {
            peer.send(&["\x01a"]);
            assert_eq!(rig.recv_all().len(), 1);
            decide(&mut rig, peer.id, "a", true);
            rig.send(&[&format!("a: for {index} alone")]).unwrap();
        }
        rig.send(&["a: for all"]).unwrap();
        for (index, peer) in peers.iter_mut().enumerate() {
            assert_eq!(
                peer.recv_all(),
                [
                    message(&[&format!("a: for {index} alone")]),
                    message(&["a: for all"])
                ]
            );
        }
        let [leaving, staying] = peers;
        let mut peers = [staying];
        decide(&mut rig, leaving.id, "a", true);
        drop(leaving);
        rig.send(&["a: who stays"]).unwrap();
        assert_eq!(peers[0].recv_all().len(), 1, "the other has left");
        rig.option(PatternOption::XpubManual(true));
        decide(&mut rig, peers[0].id, "a", true);
        let mut other = rig.attach();
        other.send(&["\x01a"]);
        assert!(rig.recv_all().len() > 1);
        decide(&mut rig, other.id, "a", true);
        rig.send(&["a"]).unwrap();
        assert_eq!(other.recv_all().len(), 1);
        assert_eq!(peers[0].recv_all().len(), 1, "no last value any more");
    }

    #[test]
    fn new_peer_is_welcomed_before_it_subscribes() {
        let mut rig = Rig::new(SocketType::Xpub);
        rig.option(PatternOption::XpubWelcome(Some("hello".into())));
        let mut peer = rig.attach();
        assert_eq!(peer.recv_all(), [message(&["hello"])]);
        rig.option(PatternOption::XpubWelcome(None));
        assert!(rig.attach().recv_all().is_empty());
    }

    #[test]
    fn user_message_is_not_looked_through_if_only_the_first_frame_counts() {
        let mut rig = Rig::new(SocketType::Xpub);
        rig.option(PatternOption::OnlyFirstSubscribe(true));
        let mut peer = rig.attach();
        peer.send(&["user", "\x01a"]);
        peer.send(&["\x01b", "\x01c", "rest"]);
        assert_eq!(
            rig.recv_all(),
            [
                message(&["user", "\x01a"]),
                message(&["\x01b"]),
                message(&["\x01c"]),
                message(&["rest"])
            ]
        );
        rig.send(&["a"]).unwrap();
        assert!(peer.recv_all().is_empty());
    }

    #[test]
    fn flood_of_subscriptions_stops_at_the_bound_until_the_application_reads() {
        let mut rig = Rig::with_receive_hwm(SocketType::Xpub, 1);
        let mut peer = rig.attach();
        for number in 0..3000 {
            peer.send(&[&format!("\x01{number}")]);
        }
        for _ in 0..10 {
            rig.send(&["x"]).unwrap();
            assert!(rig.readable());
        }
        assert_eq!(peer.end.writer.queued(), 2000, "the rest waits in the pipe");
        assert_eq!(rig.recv_all().len(), 3000);
        assert_eq!(peer.end.writer.queued(), 0);
    }

    #[test]
    fn bound_of_pending_notifications_follows_the_high_water_mark() {
        let mut rig = Rig::with_receive_hwm(SocketType::Xpub, 1);
        rig.hwm(0, 2000);
        let mut peer = rig.attach();
        for number in 0..3000 {
            peer.send(&[&format!("\x01{number}")]);
        }
        assert!(rig.readable());
        assert_eq!(peer.end.writer.queued(), 1000);
        rig.hwm(0, 0);
        assert!(rig.writable());
        assert_eq!(peer.end.writer.queued(), 0);
    }

    #[test]
    fn application_hears_what_a_peer_over_its_subscription_limit_had() {
        let mut rig = Rig::new(SocketType::Xpub);
        rig.option(PatternOption::SubscriptionLimit(80));
        let mut peer = rig.attach();
        peer.send(&["\x01a"]);
        peer.send(&["\x01b"]);
        peer.send(&["\x01c"]);
        assert_eq!(rig.recv_all(), [message(&["\x01a"]), message(&["\x00a"])]);
        assert!(peer.is_let_go() && peer.end.writer.is_closed());
        assert_eq!(rig.unexpected(), 1);
    }

    #[test]
    fn flood_nobody_shall_hear_of_gives_the_caller_its_turn_and_loses_nothing() {
        let mut rig = Rig::new(SocketType::Xpub);
        let mut peer = rig.attach();
        peer.send(&["\x01a"]);
        assert!(rig.recv().is_ok());
        for _ in 0..TURN + 10 {
            peer.send(&["\x01a"]);
        }
        peer.send(&["\x01b"]);
        assert_eq!(rig.recv(), Err(Refusal::Again));
        assert!(rig.was_called(), "it asks to be called again");
        assert_eq!(rig.recv(), Ok(message(&["\x01b"])));
    }

    #[test]
    fn nodrop_refuses_what_a_matching_peer_has_no_room_for_and_nobody_gets_it() {
        let mut rig = Rig::new(SocketType::Xpub);
        rig.option(PatternOption::XpubNodrop(true));
        let mut peer = rig.attach_bounded(1, 0);
        peer.send(&["\x01"]);
        rig.send(&["1"]).unwrap();
        assert_eq!(rig.send(&["2"]), Err(Refusal::Again));
        assert_eq!(peer.recv_all().len(), 1);
        rig.send(&["2"]).unwrap();
    }

    #[test]
    fn detached_peer_is_let_go_and_still_read() {
        let mut rig = Rig::new(SocketType::Xpub);
        let mut peer = rig.attach();
        peer.send(&["\x01"]);
        rig.send(&["1"]).unwrap();
        rig.detach(&peer);
        rig.send(&["2"]).unwrap();
        assert_eq!(peer.recv_all(), [message(&["1"])]);
        assert!(peer.is_let_go());
        peer.send(&["late"]);
        assert_eq!(rig.recv_all(), [message(&["\x01"]), message(&["late"])]);
    }
}
