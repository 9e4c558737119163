//! What SUB and XSUB have in common: they tell every peer what they subscribe to, and deliver what
//! matches.

use std::sync::Arc;

use mqcore_proto::{Frame, Message};

use super::peers::Peers;
use super::subscriptions::CountedSet;
use super::{Command, Drops, PatternOption, Peer, TURN, remember};
use crate::pipe::Wake;

pub(super) struct Subscriber {
    peers: Peers,
    prefixes: CountedSet,
    /// Deliver what does not match.
    pub(super) invert: bool,
    /// Tell of every cancellation.
    pub(super) verbose_cancellations: bool,
    /// A message that was looked for by `readable`.
    ahead: Option<(Arc<Peer>, Message)>,
}

/// The message that subscribes (`1`) to a prefix or cancels (`0`) it.
fn told(byte: u8, prefix: &[u8]) -> Frame {
    let mut frame = Vec::with_capacity(1 + prefix.len());
    frame.push(byte);
    frame.extend_from_slice(prefix);
    frame.into()
}

impl Subscriber {
    pub(super) fn new(wake: Arc<dyn Wake>) -> Self {
        Self {
            peers: Peers::new(wake),
            prefixes: CountedSet::default(),
            invert: false,
            verbose_cancellations: false,
            ahead: None,
        }
    }

    /// Takes a command in; gives an option back to the pattern. A new peer is told every
    /// subscription at once, room or not.
    pub(super) fn handle(&mut self, mut command: Command) -> Option<PatternOption> {
        if let Command::Attach {
            writer: Some(writer),
            ..
        } = &mut command
        {
            for prefix in self.prefixes.prefixes() {
                writer.write(told(1, prefix).into());
            }
            writer.flush();
        }
        self.peers.handle(command)
    }

    /// Adds one reference to a prefix. Every one is told: a publisher may want to hear of each.
    pub(super) fn subscribe(&mut self, prefix: &[u8]) {
        self.prefixes.add(prefix);
        self.peers.tell_all(&told(1, prefix));
    }

    /// Drops one reference to a prefix. Only the last is told, and one too many is not, unless all are.
    pub(super) fn cancel(&mut self, prefix: &[u8]) {
        if self.prefixes.remove(prefix) || self.verbose_cancellations {
            self.peers.tell_all(&told(0, prefix));
        }
    }

    /// How many different prefixes are subscribed to.
    pub(super) fn topics(&self) -> usize {
        self.prefixes.len()
    }

    /// Sends a message to every peer that has room.
    pub(super) fn send_to_all(&mut self, message: &Message, drops: &Drops) {
        self.peers.distribute_to_all(message, drops);
    }

    /// The next message that matches.
    #[inline]
    pub(super) fn take(&mut self, last: &mut Option<Arc<Peer>>) -> Option<Message> {
        let mut taken = None;
        self.take_with(last, &mut |message| {
            message.detach();
            taken = Some(std::mem::take(message));
        });
        taken
    }

    /// The same, but shows the message to `look`, in its place; false if there is none.
    #[inline]
    pub(super) fn take_with(
        &mut self,
        last: &mut Option<Arc<Peer>>,
        look: &mut dyn FnMut(&mut Message),
    ) -> bool {
        if let Some((peer, mut message)) = self.ahead.take() {
            *last = Some(peer);
            look(&mut message);
            return true;
        }
        let Some((slot, ())) = self.next_match(look) else {
            return false;
        };
        remember(last, self.peers.peer(slot));
        true
    }

    /// Whether [`take`](Self::take) would give a message.
    pub(super) fn readable(&mut self) -> bool {
        if self.ahead.is_none() {
            self.ahead = self
                .next_match(std::mem::take)
                .map(|(slot, message)| (Arc::clone(self.peers.peer(slot)), message));
        }
        self.ahead.is_some()
    }

    /// What `look` makes of the next message that matches, in its place, and the slot it came from.
    #[inline]
    fn next_match<R>(&mut self, mut look: impl FnMut(&mut Message) -> R) -> Option<(usize, R)> {
        let (prefixes, invert) = (&self.prefixes, self.invert);
        for _ in 0..TURN {
            let (slot, looked) = self.peers.read_with(
                |message| (prefixes.matches(message.first()) != invert).then(|| look(message)),
                |_, _| (),
            )?;
            if let Some(looked) = looked {
                return Some((slot, looked));
            }
        }
        self.peers.call_again();
        None
    }
}
