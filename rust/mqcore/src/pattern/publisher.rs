//! What PUB and XPUB have in common: they take subscriptions in, and send to those who match.

use std::sync::Arc;

use mqcore_proto::{Frame, Message};

use super::peers::Peers;
use super::subscriptions::{PeerIndex, TooMany, is_subscription};
use super::{Command, Drops, PatternOption, Peer, PipeId, Refusal, Setup, TURN, Token, count};

/// The state of a publisher. Peers go by their slot in `peers`, in the subscriptions too.
pub(super) struct Publisher {
    peers: Peers,
    subscriptions: Subscriptions,
    /// Who gets the message at hand; kept for its memory.
    matched: Vec<u32>,
    /// Who was sent something since the last flush.
    unflushed: Vec<u32>,
    /// What every new peer is sent.
    welcome: Option<Frame>,
    /// Who alone gets the next message: the peer of the last decision, with XPUB_MANUAL_LAST_VALUE.
    only: Option<PipeId>,
    last_value: bool,
    /// Of a message of several frames, those after the first are subscriptions only if the first is one.
    only_first: bool,
    nodrop: bool,
    invert: bool,
    drops: Arc<Drops>,
}

/// Who gets what.
#[derive(Default)]
struct Subscriptions {
    index: PeerIndex,
    /// What peers ask for waits in `asked` until the application decides (XPUB_MANUAL).
    manual: bool,
    asked: PeerIndex,
}

impl Subscriptions {
    /// Notes a subscription; whether its prefix is new to everybody. A manual one is always news.
    fn subscribe(&mut self, peer: u32, prefix: &[u8]) -> Result<bool, TooMany> {
        if self.manual {
            self.asked.subscribe(peer, prefix).map(|_| true)
        } else {
            self.index.subscribe(peer, prefix)
        }
    }

    /// Notes a cancellation; whether nobody holds its prefix now. A manual one is always news.
    fn cancel(&mut self, peer: u32, prefix: &[u8]) -> bool {
        if self.manual {
            self.asked.cancel(peer, prefix);
            true
        } else {
            self.index.cancel(peer, prefix)
        }
    }

    /// Forgets a peer; tells what it had subscribed to, or what it had asked for.
    fn remove(&mut self, peer: u32, news: &mut impl FnMut(News<'_>)) {
        let manual = self.manual;
        self.index.remove(peer, |prefix, last| {
            if !manual {
                news(News::Left(prefix, last));
            }
        });
        self.asked.remove(peer, |prefix, _| {
            if manual {
                news(News::Left(prefix, true));
            }
        });
    }
}

/// What a peer did.
pub(super) enum News<'a> {
    /// It sent this subscription (with the leading 1); whether its prefix is new to everybody.
    Subscribed(&'a Arc<Peer>, &'a Frame, bool),
    /// It sent this cancellation (with the leading 0); whether nobody holds its prefix now.
    Cancelled(&'a Arc<Peer>, &'a Frame, bool),
    /// It sent something else.
    User(&'a Arc<Peer>, Message),
    /// It left, and held this prefix; whether nobody holds it now.
    Left(&'a [u8], bool),
}

impl Publisher {
    pub(super) fn new(setup: Setup) -> Self {
        Self {
            peers: Peers::new(setup.outgoing),
            subscriptions: Subscriptions::default(),
            matched: Vec::new(),
            unflushed: Vec::new(),
            welcome: None,
            only: None,
            last_value: false,
            only_first: false,
            nodrop: false,
            invert: false,
            drops: setup.drops,
        }
    }

    /// Takes a command in; gives back an option that is not the publisher's own.
    pub(super) fn handle(&mut self, mut command: Command) -> Option<PatternOption> {
        if let Command::Attach {
            writer: Some(writer),
            ..
        } = &mut command
            && let Some(welcome) = &self.welcome
        {
            writer.write(welcome.clone().into());
            writer.flush();
        }
        if let Command::Wake(token) = command
            && let Token {
                slot,
                writer: false,
            } = Token::from(token)
        {
            // A peer that has left is not forgotten here but when it is read: the index must hear of it.
            self.peers.wake(slot);
            return None;
        }
        match self.peers.handle(command)? {
            PatternOption::XpubNodrop(on) => self.nodrop = on,
            PatternOption::InvertMatching(on) => self.invert = on,
            PatternOption::SubscriptionLimit(bytes) => {
                self.subscriptions.index.set_limit(bytes);
                self.subscriptions.asked.set_limit(bytes);
            }
            PatternOption::XpubWelcome(message) => self.welcome = message,
            PatternOption::XpubManual(on) => {
                self.subscriptions.manual = on;
                self.last_value = false;
            }
            PatternOption::XpubManualLastValue(on) => {
                self.subscriptions.manual = on;
                self.last_value = on;
            }
            PatternOption::Decide {
                peer,
                prefix,
                subscribe,
            } => self.decide(peer, &prefix, subscribe),
            PatternOption::OnlyFirstSubscribe(on) => self.only_first = on,
            other => return Some(other),
        }
        None
    }

    /// What the application says to a peer's wish. A peer that has left is past it.
    fn decide(&mut self, peer: PipeId, prefix: &[u8], subscribe: bool) {
        let Some(slot) = self.peers.find(peer) else {
            return;
        };
        let index = &mut self.subscriptions.index;
        if subscribe {
            // The peer's wishes are bounded; what the application makes of them is its own business.
            index.grant(slot as u32, prefix);
            self.only = self.last_value.then_some(peer);
        } else {
            index.cancel(slot as u32, prefix);
        }
    }

    /// How many different prefixes somebody holds.
    pub(super) fn topics(&self) -> usize {
        self.subscriptions.index.topics()
    }

    /// How often to call [`take_in`](Self::take_in) before a message is sent: who has subscribed by now shall get it.
    #[inline]
    pub(super) fn turn(&self) -> usize {
        TURN.max(self.peers.queued())
    }

    /// Takes in one message of one peer, in turn; false if there was none.
    pub(super) fn take_in(&mut self, mut news: impl FnMut(News<'_>)) -> bool {
        let Self {
            peers,
            subscriptions,
            ..
        } = self;
        let read = peers.read(|slot, _| subscriptions.remove(slot as u32, &mut news));
        let Some((slot, message)) = read else {
            return false;
        };
        let peer = peers.peer(slot);
        let mut left_over = Vec::new();
        let mut take = |frame: Frame| {
            match frame.as_slice() {
                [1, prefix @ ..] => match subscriptions.subscribe(slot as u32, prefix) {
                    Ok(first) => news(News::Subscribed(peer, &frame, first)),
                    Err(_) => return false,
                },
                [0, prefix @ ..] => {
                    let last = subscriptions.cancel(slot as u32, prefix);
                    news(News::Cancelled(peer, &frame, last));
                }
                _ => left_over.push(frame),
            }
            true
        };
        let within_limit = match message.into_single() {
            Ok(frame) => take(frame),
            Err(message) if self.only_first && !is_subscription(message.first()) => {
                news(News::User(peer, message));
                return true;
            }
            Err(message) => message.into_frames().into_iter().all(take),
        };
        if !left_over.is_empty() {
            news(News::User(peer, Message::from_frames(left_over)));
        }
        if !within_limit {
            count(&self.drops.unexpected);
            subscriptions.remove(slot as u32, &mut news);
            peers.remove(slot);
        }
        true
    }

    /// Asks to be called again though [`take_in`](Self::take_in) has more.
    pub(super) fn call_again(&self) {
        self.peers.call_again();
    }

    /// Whether a message of this topic may be sent now: always, unless nothing may be dropped.
    pub(super) fn check(&mut self, topic: &Frame) -> Result<(), Refusal> {
        if self.nodrop {
            self.select(topic);
            if !self.peers.have_room(&self.matched) {
                return Err(Refusal::Again);
            }
        }
        Ok(())
    }

    /// Sends to every peer whose subscriptions match the first frame.
    #[inline]
    pub(super) fn try_send(&mut self, message: Message) -> Result<(), (Refusal, Message)> {
        self.select(message.first());
        if self.nodrop && !self.peers.have_room(&self.matched) {
            return Err((Refusal::Again, message));
        }
        self.peers
            .distribute(&self.matched, message, &mut self.unflushed, &self.drops);
        self.only = None;
        Ok(())
    }

    /// Shows the peers what was sent to them.
    #[inline]
    pub(super) fn flush(&mut self) {
        self.peers.flush_each(self.unflushed.drain(..));
    }

    /// Fills `matched` with the peers that shall get a message of this topic.
    #[inline]
    fn select(&mut self, topic: &[u8]) {
        self.subscriptions.index.matching(topic, &mut self.matched);
        if self.invert {
            let matched = std::mem::take(&mut self.matched);
            self.matched = self
                .peers
                .links()
                .map(|(slot, _)| slot as u32)
                .filter(|slot| matched.binary_search(slot).is_err())
                .collect();
        }
        // One that has left since its decision does not keep the message from the others.
        if let Some(only) = self.only.and_then(|only| self.peers.find(only)) {
            self.matched.retain(|&slot| slot as usize == only);
        }
    }
}
