//! REQ: sends a request to the next peer in turn, then takes its reply; strictly in this order.
//!
//! ```text
//! Idle --send--> Waiting --recv--> Idle        on the wire: [id if correlated] [empty] [body...]
//!                Waiting --send--> Waiting     only if relaxed
//! ```

use std::sync::Arc;

use mqcore_proto::{Frame, Message};

use super::fair_queue::FairQueue;
use super::joint::{self, Joint};
use super::load_balancer::LoadBalancer;
use super::{
    Command, Drops, Halves, PatternOption, Peer, Refusal, Setup, TURN, Token, count, probe,
    remember,
};

const SEND_FIRST: Refusal = Refusal::State(
    "this REQ socket has no request under way: call send first, then recv takes the reply",
);
const RECV_FIRST: Refusal = Refusal::State(
    "this REQ socket waits for the reply to its last request: call recv first (with REQ_RELAXED, best \
     together with REQ_CORRELATE, a new request may replace one that was not answered)",
);

struct Req {
    /// Where requests go; with each the slot of its reader.
    requests: LoadBalancer<usize>,
    /// Where replies come from; with each the slot of its writer, unless that is gone.
    replies: FairQueue<Option<usize>>,
    state: State,
    /// The reply, if it was found by `readable`.
    ahead: Option<(Arc<Peer>, Message)>,
    /// The number of the last request, if requests are numbered.
    number: u32,
    correlate: bool,
    relaxed: bool,
    probe: bool,
    drops: Arc<Drops>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Waiting {
        /// The slot in `replies` that the answer must come from; `None` if that peer is gone, and
        /// then a peer that can show the right envelope may answer.
        from: Option<usize>,
        /// The number that the answer must carry.
        number: Option<u32>,
    },
}

pub(super) fn new(setup: Setup) -> Halves {
    joint::halves(Req {
        requests: LoadBalancer::new(setup.outgoing),
        replies: FairQueue::new(setup.incoming),
        state: State::Idle,
        ahead: None,
        number: rand::random(),
        correlate: false,
        relaxed: false,
        probe: false,
        drops: setup.drops,
    })
}

impl Req {
    /// The state may take a request.
    fn may_send(&self) -> Result<(), Refusal> {
        match self.state {
            State::Waiting { .. } if !self.relaxed => Err(RECV_FIRST),
            _ => Ok(()),
        }
    }

    /// Some peer has room for a request.
    fn ready(&mut self) -> bool {
        let Self {
            requests, replies, ..
        } = self;
        requests.ready(|reader| forget_writer(replies, reader))
    }

    /// Throws away the replies that are there: they are to earlier requests.
    fn discard_stale(&mut self) {
        if self.ahead.take().is_some() {
            count(&self.drops.unexpected);
        }
        self.discard(self.replies.queued());
    }

    /// Throws away at most so many messages.
    fn discard(&mut self, most: usize) {
        for _ in 0..most {
            if self.read().is_none() {
                return;
            }
            count(&self.drops.unexpected);
        }
    }

    fn read(&mut self) -> Option<(usize, Message)> {
        let Self {
            requests,
            replies,
            state,
            ..
        } = self;
        replies.read(|slot, writer| {
            if let Some(writer) = writer {
                requests.remove(writer);
            }
            if let State::Waiting { from, .. } = state
                && *from == Some(slot)
            {
                *from = None;
            }
        })
    }

    /// The reply that is waited for, without its envelope.
    fn reply(&mut self) -> Option<(Arc<Peer>, Message)> {
        for _ in 0..TURN {
            let (slot, message) = self.read()?;
            let State::Waiting { from, number } = self.state else {
                return None;
            };
            if from.is_none_or(|from| from == slot)
                && let Some(body) = open(message, number)
            {
                return Some((Arc::clone(self.replies.peer(slot)), body));
            }
            count(&self.drops.unexpected);
        }
        self.replies.call_again();
        None
    }
}

/// Takes the envelope of a reply off; `None` if it is not the right one or nothing is in it.
fn open(message: Message, number: Option<u32>) -> Option<Message> {
    let delimiter = match number {
        Some(number) if *message.first() == number.to_ne_bytes() => 1,
        Some(_) => return None,
        None => 0,
    };
    if !message.parts().nth(delimiter)?.is_empty() {
        return None;
    }
    message.split_front(delimiter + 1).1
}

fn forget_writer(replies: &mut FairQueue<Option<usize>>, reader: usize) {
    if let Some(writer) = replies.link(reader) {
        *writer = None;
    }
}

impl Joint for Req {
    fn handle(&mut self, command: Command) {
        match command {
            Command::Attach {
                peer,
                reader: Some(reader),
                writer: Some(mut writer),
            } => {
                if self.probe {
                    probe(&mut writer);
                }
                let id = peer.id;
                let reader = self.replies.attach(peer, reader, None);
                let writer = self.requests.attach(id, writer, reader);
                *self.replies.link(reader).expect("just attached") = Some(writer);
            }
            Command::Attach { .. } => {}
            Command::Wake(token) => match Token::from(token) {
                Token { slot, writer: true } => {
                    if let Some(reader) = self.requests.wake(slot) {
                        forget_writer(&mut self.replies, reader);
                    }
                }
                Token { slot, .. } => {
                    self.replies.wake(slot);
                    if self.state == State::Idle {
                        self.discard(TURN); // nobody waits for it, and who left shall be forgotten
                    }
                }
            },
            Command::Detach(id) => {
                if let Some(slot) = self.requests.find(id)
                    && let Some(reader) = self.requests.remove(slot)
                {
                    forget_writer(&mut self.replies, reader);
                }
            }
            Command::Hwm { send, receive } => {
                self.requests.set_hwm(send);
                self.replies.set_hwm(receive);
            }
            Command::Option(PatternOption::ReqCorrelate(on)) => self.correlate = on,
            Command::Option(PatternOption::ReqRelaxed(on)) => self.relaxed = on,
            Command::Option(PatternOption::ProbeRouter(on)) => self.probe = on,
            Command::Option(_) => {}
        }
    }

    fn check(&mut self, _first: &Frame) -> Result<(), Refusal> {
        self.may_send()?;
        if self.ready() {
            Ok(())
        } else {
            Err(Refusal::Again)
        }
    }

    fn try_send(&mut self, mut message: Message) -> Result<(), (Refusal, Message)> {
        if let Err(refusal) = self.may_send() {
            return Err((refusal, message));
        }
        if !self.ready() {
            return Err((Refusal::Again, message));
        }
        self.discard_stale();
        // Discarding may have found that the peer that was ready has gone.
        if !self.ready() {
            return Err((Refusal::Again, message));
        }
        let number = self.correlate.then(|| {
            self.number = self.number.wrapping_add(1);
            self.number
        });
        message.push_front(Frame::empty());
        if let Some(number) = number {
            message.push_front(Frame::from(&number.to_ne_bytes()));
        }
        let writer = self.requests.write(message);
        self.requests.flush();
        let from = self.requests.link(writer).copied();
        self.state = State::Waiting { from, number };
        Ok(())
    }

    fn writable(&mut self) -> bool {
        self.may_send().is_ok() && self.ready()
    }

    fn try_recv(&mut self, last: &mut Option<Arc<Peer>>) -> Result<Message, Refusal> {
        if self.state == State::Idle {
            return Err(SEND_FIRST);
        }
        let (peer, message) = self
            .ahead
            .take()
            .or_else(|| self.reply())
            .ok_or(Refusal::Again)?;
        self.state = State::Idle;
        remember(last, &peer);
        Ok(message)
    }

    fn readable(&mut self) -> bool {
        if self.state != State::Idle && self.ahead.is_none() {
            self.ahead = self.reply();
        }
        self.ahead.is_some()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::testing::{Far, Rig, message};
    use super::*;
    use mqcore_proto::SocketType;
    use proptest::prelude::*;

    /// Replies to the next request with its own envelope and `body`.
    fn answer(peer: &mut Far, envelope: usize, body: &[&str]) {
        let request = peer.recv().expect("a request");
        let (mut frames, _) = request.split_front(envelope);
        frames.extend(body.iter().map(|part| Frame::from(*part)));
        peer.send_message(Message::from_frames(frames));
    }

    #[test]
    fn requests_go_to_the_peers_in_turn_and_replies_come_back() {
        let mut rig = Rig::new(SocketType::Req);
        let mut peers = [rig.attach(), rig.attach()];
        for round in 0..4 {
            let peer = &mut peers[round % 2];
            rig.send(&["question", "part"]).unwrap();
            assert!(!rig.readable());
            let request = peer.recv().expect("this peer's turn");
            assert_eq!(request, message(&["", "question", "part"]));
            peer.send(&["", "answer", "part"]);
            assert!(rig.readable());
            assert_eq!(rig.recv(), Ok(message(&["answer", "part"])));
            assert_eq!(rig.last_peer(), Some(peer.id));
        }
    }

    #[test]
    fn send_and_recv_alternate() {
        let mut rig = Rig::new(SocketType::Req);
        let mut peer = rig.attach();
        assert_eq!(rig.recv(), Err(SEND_FIRST));
        assert!(rig.writable() && !rig.readable());
        rig.send(&["1"]).unwrap();
        assert_eq!(rig.send(&["2"]), Err(RECV_FIRST));
        assert_eq!(rig.check("2"), Err(RECV_FIRST));
        assert!(!rig.writable());
        assert_eq!(rig.recv(), Err(Refusal::Again));
        answer(&mut peer, 1, &["x"]);
        assert!(rig.recv().is_ok());
        assert_eq!(rig.recv(), Err(SEND_FIRST));
        rig.send(&["2"]).unwrap();
    }

    #[test]
    fn send_without_peers_is_refused_and_gives_the_message_back() {
        let mut rig = Rig::new(SocketType::Req);
        assert_eq!(rig.send(&["a", "b"]), Err(Refusal::Again));
        assert_eq!(rig.recv(), Err(SEND_FIRST), "nothing was asked");
        assert!(!rig.writable());
    }

    #[test]
    fn malformed_replies_are_skipped_and_counted() {
        let mut rig = Rig::new(SocketType::Req);
        let mut peer = rig.attach();
        rig.send(&["?"]).unwrap();
        for bad in [&["no delimiter"][..], &["no", "delimiter"], &[""]] {
            peer.send(bad);
        }
        assert_eq!(rig.recv(), Err(Refusal::Again));
        peer.send(&["", ""]);
        assert_eq!(rig.recv(), Ok(message(&[""])));
        assert_eq!(rig.unexpected(), 3);
    }

    #[test]
    fn reply_of_another_peer_is_not_taken() {
        let mut rig = Rig::new(SocketType::Req);
        let mut asked = rig.attach();
        let mut other = rig.attach();
        rig.send(&["?"]).unwrap();
        other.send(&["", "forged"]);
        assert_eq!(rig.recv(), Err(Refusal::Again));
        answer(&mut asked, 1, &["true"]);
        assert_eq!(rig.recv(), Ok(message(&["true"])));
        assert_eq!(rig.unexpected(), 1);
    }

    #[test]
    fn replies_before_the_request_are_thrown_away() {
        let mut rig = Rig::new(SocketType::Req);
        let mut peer = rig.attach();
        peer.send(&["", "stale"]);
        peer.send(&["", "stale"]);
        rig.send(&["?"]).unwrap();
        assert_eq!(rig.recv(), Err(Refusal::Again));
        answer(&mut peer, 1, &["fresh"]);
        assert_eq!(rig.recv(), Ok(message(&["fresh"])));
        assert_eq!(rig.unexpected(), 2);
    }

    #[test]
    fn strict_request_keeps_waiting_when_its_peer_left() {
        let mut rig = Rig::new(SocketType::Req);
        let peer = rig.attach();
        rig.send(&["?"]).unwrap();
        drop(peer);
        assert_eq!(rig.recv(), Err(Refusal::Again));
        let mut new = rig.attach();
        assert_eq!(rig.send(&["again?"]), Err(RECV_FIRST));
        new.send(&["", "in its place"]);
        assert_eq!(rig.recv(), Ok(message(&["in its place"])));
    }

    #[test]
    fn any_peer_may_answer_when_the_one_that_was_asked_left() {
        let mut rig = Rig::new(SocketType::Req);
        let asked = rig.attach();
        let mut other = rig.attach();
        rig.send(&["?"]).unwrap();
        drop(asked);
        assert_eq!(rig.recv(), Err(Refusal::Again));
        other.send(&["", "for it"]);
        assert_eq!(rig.recv(), Ok(message(&["for it"])));
    }

    #[test]
    fn reply_sent_before_leaving_is_received() {
        let mut rig = Rig::new(SocketType::Req);
        let mut peer = rig.attach();
        rig.send(&["?"]).unwrap();
        answer(&mut peer, 1, &["!"]);
        drop(peer);
        assert_eq!(rig.recv(), Ok(message(&["!"])));
        assert_eq!(rig.send(&["?"]), Err(Refusal::Again));
    }

    #[test]
    fn relaxed_request_replaces_the_unanswered_one() {
        let mut rig = Rig::new(SocketType::Req);
        rig.option(PatternOption::ReqRelaxed(true));
        let mut peers = [rig.attach(), rig.attach()];
        rig.send(&["1"]).unwrap();
        rig.send(&["2"]).unwrap();
        answer(&mut peers[0], 1, &["late"]);
        assert_eq!(rig.recv(), Err(Refusal::Again));
        answer(&mut peers[1], 1, &["right"]);
        assert_eq!(rig.recv(), Ok(message(&["right"])));
    }

    #[test]
    fn relaxed_request_discards_the_reply_that_poll_had_found() {
        let mut rig = Rig::new(SocketType::Req);
        rig.option(PatternOption::ReqRelaxed(true));
        let mut peer = rig.attach();
        rig.send(&["1"]).unwrap();
        answer(&mut peer, 1, &["first"]);
        assert!(rig.readable());
        rig.send(&["2"]).unwrap();
        assert!(!rig.readable());
        answer(&mut peer, 1, &["second"]);
        assert_eq!(rig.recv(), Ok(message(&["second"])));
    }

    #[test]
    fn correlated_request_takes_only_the_reply_with_its_number() {
        let mut rig = Rig::new(SocketType::Req);
        rig.option(PatternOption::ReqRelaxed(true));
        rig.option(PatternOption::ReqCorrelate(true));
        let mut peer = rig.attach();
        rig.send(&["1"]).unwrap();
        rig.send(&["2"]).unwrap();
        answer(&mut peer, 2, &["late"]);
        assert_eq!(rig.recv(), Err(Refusal::Again));
        answer(&mut peer, 2, &["right"]);
        assert_eq!(rig.recv(), Ok(message(&["right"])));
    }

    #[test]
    fn request_numbers_grow_by_one_from_a_random_start() {
        let first = |rig: &mut Rig, peer: &mut Far| {
            rig.send(&["?"]).unwrap();
            let (frames, _) = peer.recv().unwrap().split_front(2);
            assert!(frames[1].is_empty());
            u32::from_ne_bytes(frames[0].as_slice().try_into().unwrap())
        };
        let mut starts = std::collections::HashSet::new();
        for _ in 0..4 {
            let mut rig = Rig::new(SocketType::Req);
            rig.option(PatternOption::ReqRelaxed(true));
            rig.option(PatternOption::ReqCorrelate(true));
            let mut peer = rig.attach();
            let number = first(&mut rig, &mut peer);
            assert_eq!(first(&mut rig, &mut peer), number.wrapping_add(1));
            starts.insert(number);
        }
        assert!(starts.len() > 1, "four sockets began with {starts:?}");
    }

    #[test]
    fn detached_peer_is_let_go_and_its_reply_still_taken() {
        let mut rig = Rig::new(SocketType::Req);
        let mut peer = rig.attach();
        rig.send(&["?"]).unwrap();
        rig.detach(&peer);
        answer(&mut peer, 1, &["!"]);
        assert!(peer.is_let_go());
        assert_eq!(rig.recv(), Ok(message(&["!"])));
        assert_eq!(rig.send(&["?"]), Err(Refusal::Again));
    }

    #[test]
    fn probe_greets_every_peer_attached_after_it_was_set() {
        let mut rig = Rig::new(SocketType::Req);
        rig.option(PatternOption::ProbeRouter(true));
        let mut peer = rig.attach();
        assert_eq!(peer.recv_all(), [message(&[""])]);
    }

    fn body() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4), 1..5)
    }

    fn message_of(parts: &[Vec<u8>]) -> Message {
        Message::from_frames(parts.iter().map(|part| part.clone().into()).collect())
    }

    proptest! {
        /// Whatever is asked and answered arrives unchanged through a REP, with devices on the way
        /// that add their own envelope.
        #[test]
        fn what_is_asked_and_answered_arrives_unchanged(
            question in body(),
            reply in body(),
            correlate in any::<bool>(),
            hops in prop::collection::vec("[a-z]{1,5}", 0..4),
        ) {
            let mut req = Rig::new(SocketType::Req);
            req.option(PatternOption::ReqCorrelate(correlate));
            let mut rep = Rig::new(SocketType::Rep);
            let mut to_rep = rep.attach();
            let mut to_req = req.attach();

            req.send_message(message_of(&question)).unwrap();
            let mut on_the_way = to_req.recv().unwrap();
            let hops_in_front: Vec<_> = hops.iter().map(|hop| Frame::from(hop.as_str())).collect();
            on_the_way.splice_front(hops_in_front);
            to_rep.send_message(on_the_way);
            prop_assert_eq!(rep.recv(), Ok(message_of(&question)));

            rep.send_message(message_of(&reply)).unwrap();
            let (envelope, back) = to_rep.recv().unwrap().split_front(hops.len());
            let expected: Vec<Frame> = hops.iter().map(|hop| hop.as_str().into()).collect();
            prop_assert_eq!(envelope, expected);
            to_req.send_message(back.unwrap());
            prop_assert_eq!(req.recv(), Ok(message_of(&reply)));
        }
    }
}
