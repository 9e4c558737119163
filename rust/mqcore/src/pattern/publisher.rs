//! What PUB and XPUB have in common: they take subscriptions in, and send to those who match.

use std::sync::Arc;

use mqcore_proto::{Frame, Message};

use super::peers::Peers;
use super::subscriptions::PeerIndex;
use super::{Command, Drops, PatternOption, Peer, Refusal, Setup, Token, count};

/// The state of a publisher. Peers go by their slot in `peers`, in the index too.
pub(super) struct Publisher {
    peers: Peers,
    index: PeerIndex,
    /// Who gets the message at hand; kept for its memory.
    matched: Vec<u32>,
    /// Who was sent something since the last flush.
    unflushed: Vec<u32>,
    nodrop: bool,
    invert: bool,
    drops: Arc<Drops>,
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
            index: PeerIndex::default(),
            matched: Vec::new(),
            unflushed: Vec::new(),
            nodrop: false,
            invert: false,
            drops: setup.drops,
        }
    }

    /// Takes a command in; gives back an option that is not the publisher's own.
    pub(super) fn handle(&mut self, command: Command) -> Option<PatternOption> {
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
            PatternOption::SubscriptionLimit(bytes) => self.index.set_limit(bytes),
            other => return Some(other),
        }
        None
    }

    /// Takes in one message of one peer, in turn; false if there was none.
    pub(super) fn take_in(&mut self, mut news: impl FnMut(News<'_>)) -> bool {
        let Self { peers, index, .. } = self;
        let read = peers.read(|slot, _| {
            index.remove(slot as u32, |prefix, last| news(News::Left(prefix, last)));
        });
        let Some((slot, message)) = read else {
            return false;
        };
        let peer = peers.peer(slot);
        let mut left_over = Vec::new();
        let mut take = |frame: Frame| {
            match frame.as_slice() {
                [1, prefix @ ..] => match index.subscribe(slot as u32, prefix) {
                    Ok(first) => news(News::Subscribed(peer, &frame, first)),
                    Err(_) => return false,
                },
                [0, prefix @ ..] => {
                    let last = index.cancel(slot as u32, prefix);
                    news(News::Cancelled(peer, &frame, last));
                }
                _ => left_over.push(frame),
            }
            true
        };
        let within_limit = match message.into_single() {
            Ok(frame) => take(frame),
            Err(message) => message.into_frames().into_iter().all(take),
        };
        if !left_over.is_empty() {
            news(News::User(peer, Message::from_frames(left_over)));
        }
        if !within_limit {
            count(&self.drops.unexpected);
            index.remove(slot as u32, |prefix, last| news(News::Left(prefix, last)));
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
        self.index.matching(topic, &mut self.matched);
        if self.invert {
            let matched = std::mem::take(&mut self.matched);
            self.matched = self
                .peers
                .links()
                .map(|(slot, _)| slot as u32)
                .filter(|slot| matched.binary_search(slot).is_err())
                .collect();
        }
    }
}
