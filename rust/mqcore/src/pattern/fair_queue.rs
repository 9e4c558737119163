//! Reads many pipes in turn: one message from each that has one, round and round.
//!
//! Only pipes that may have something are on the list; a pipe found empty leaves it until its waker
//! brings it back. So idle peers cost nothing, however many they are. The pipe of a connection that follows
//! another waits until that one's has been read to its end: what a peer sent keeps its order.

use std::collections::VecDeque;
use std::sync::Arc;

use mqcore_proto::Message;
use slab::Slab;

use super::{Peer, PipeId, Token};
use crate::pipe::{PipeReader, Read, Wake, Waker};

/// Readers, and with each a `T` that belongs to it and goes when it goes.
pub(super) struct FairQueue<T> {
    slots: Slab<Slot<T>>,
    /// The slots to read, in their turn. Invariant: has a slot once if it is `listed` and follows none that is in
    /// use, else not.
    active: VecDeque<usize>,
    wake: Arc<dyn Wake>,
}

struct Slot<T> {
    peer: Arc<Peer>,
    reader: PipeReader,
    listed: bool,
    /// The slot that is read after this one has ended.
    follower: Option<usize>,
    link: T,
}

impl<T> FairQueue<T> {
    pub(super) fn new(wake: Arc<dyn Wake>) -> Self {
        Self {
            slots: Slab::new(),
            active: VecDeque::new(),
            wake,
        }
    }

    /// Takes a pipe in, at the end of the turn; returns its slot.
    pub(super) fn attach(&mut self, peer: Arc<Peer>, mut reader: PipeReader, link: T) -> usize {
        let slot = self.slots.vacant_key();
        reader.set_waker(self.waker(slot, false));
        self.line_up(peer.follows, Some(slot));
        self.slots.insert(Slot {
            peer,
            reader,
            listed: true,
            follower: None,
            link,
        })
    }

    /// Has a slot, or none, follow the pipe `follows`; it is read at once if that is not there.
    fn line_up(&mut self, follows: Option<PipeId>, slot: Option<usize>) {
        let before = follows.and_then(|id| self.find(id));
        match before.and_then(|before| self.slots.get_mut(before)) {
            Some(before) => before.follower = slot,
            None => self.active.extend(slot),
        }
    }

    /// A waker for an end that belongs to `slot`.
    pub(super) fn waker(&self, slot: usize, writer: bool) -> Waker {
        Waker::new(Arc::clone(&self.wake), Token { slot, writer }.into())
    }

    /// Puts a slot back on the list. One that was freed is left alone; one that was freed and given
    /// away again is read once for nothing.
    pub(super) fn wake(&mut self, slot: usize) {
        if let Some(entry) = self.slots.get_mut(slot)
            && !entry.listed
        {
            entry.listed = true;
            self.active.push_back(slot);
        }
    }

    /// The next message and the slot it came from. A pipe that has ended is forgotten on the way, and
    /// `ended` gets its slot (which is free) and what belonged to it.
    #[inline]
    pub(super) fn read(&mut self, ended: impl FnMut(usize, T)) -> Option<(usize, Message)> {
        self.next(PipeReader::read, ended)
    }

    /// The slot of the next message, and what `look` made of it in its place.
    #[inline]
    pub(super) fn read_with<R>(
        &mut self,
        mut look: impl FnMut(&mut Message) -> R,
        ended: impl FnMut(usize, T),
    ) -> Option<(usize, R)> {
        self.next(|reader| reader.read_with(&mut look), ended)
    }

    /// Takes more of the messages that came with one of `peer`, if no other pipe has a turn; see
    /// [`PipeReader::read_more`].
    #[inline]
    pub(super) fn read_more(
        &mut self,
        peer: Option<&Arc<Peer>>,
        most: usize,
        look: &mut dyn FnMut(&[u8]),
    ) -> usize {
        if self.active.len() > 1 {
            return 0;
        }
        let entry = self.active.front().map(|&slot| &mut self.slots[slot]);
        match entry.zip(peer) {
            Some((entry, peer)) if Arc::ptr_eq(&entry.peer, peer) => {
                entry.reader.read_more(most, look)
            }
            _ => 0,
        }
    }

    #[inline]
    fn next<R>(
        &mut self,
        mut read: impl FnMut(&mut PipeReader) -> Read<R>,
        mut ended: impl FnMut(usize, T),
    ) -> Option<(usize, R)> {
        while let Some(&slot) = self.active.front() {
            let entry = &mut self.slots[slot];
            match read(&mut entry.reader) {
                Read::Message(message) => {
                    if self.active.len() > 1 {
                        self.active.rotate_left(1);
                    }
                    return Some((slot, message));
                }
                Read::Empty => {
                    entry.listed = false;
                    self.active.pop_front();
                }
                Read::Closed => {
                    self.active.pop_front();
                    let entry = self.slots.remove(slot);
                    self.active.extend(entry.follower);
                    ended(slot, entry.link);
                }
            }
        }
        None
    }

    /// As [`wake`](Self::wake), but a pipe that has ended and has nothing left to read is forgotten at once:
    /// for an owner who may not read for long. Returns what belonged to it.
    pub(super) fn wake_or_end(&mut self, slot: usize) -> Option<T> {
        let reader = &mut self.slots.get_mut(slot)?.reader;
        if reader.is_closed() && !reader.has_message() {
            return self.remove(slot);
        }
        self.wake(slot);
        None
    }

    /// Calls the owner's own waker: for one that stops before everything is read, and then waits.
    pub(super) fn call_again(&self) {
        if let Some(&slot) = self.active.front() {
            self.waker(slot, false).wake();
        }
    }

    /// Messages that wait in the pipes on the list.
    pub(super) fn queued(&self) -> usize {
        self.active
            .iter()
            .map(|&slot| self.slots[slot].reader.queued())
            .sum()
    }

    /// Whose pipe is in a slot in use.
    #[inline]
    pub(super) fn peer(&self, slot: usize) -> &Arc<Peer> {
        &self.slots[slot].peer
    }

    /// What belongs to the pipe in `slot`, if it is still `peer`'s.
    pub(super) fn link_of(&mut self, slot: usize, peer: &Arc<Peer>) -> Option<&mut T> {
        let entry = self.slots.get_mut(slot)?;
        Arc::ptr_eq(&entry.peer, peer).then_some(&mut entry.link)
    }

    /// What belongs to the pipe in `slot`, if there is one.
    #[inline]
    pub(super) fn link(&mut self, slot: usize) -> Option<&mut T> {
        self.slots.get_mut(slot).map(|entry| &mut entry.link)
    }

    /// What belongs to each pipe, with its slot, in the order of the slots.
    pub(super) fn links(&mut self) -> impl Iterator<Item = (usize, &mut T)> {
        self.slots
            .iter_mut()
            .map(|(slot, entry)| (slot, &mut entry.link))
    }

    /// The slot of a peer. Looks at every peer.
    pub(super) fn find(&self, id: PipeId) -> Option<usize> {
        self.slots
            .iter()
            .find(|(_, entry)| entry.peer.id == id)
            .map(|(slot, _)| slot)
    }

    /// Forgets a pipe that has not ended: what is unread is lost.
    pub(super) fn remove(&mut self, slot: usize) -> Option<T> {
        let entry = self.slots.try_remove(slot)?;
        if entry.listed {
            self.active.retain(|&listed| listed != slot);
        }
        self.line_up(entry.peer.follows, entry.follower);
        Some(entry.link)
    }

    /// Sets the bound of every pipe.
    pub(super) fn set_hwm(&mut self, hwm: usize) {
        for (_, entry) in &mut self.slots {
            entry.reader.set_hwm(hwm);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::testing::{Calls, message};
    use super::*;
    use crate::pipe::{Bound, PipeWriter, pipe};
    use proptest::prelude::*;

    fn queue_of(peers: usize) -> (FairQueue<()>, Vec<PipeWriter>, Arc<Calls>) {
        let calls = Arc::new(Calls::default());
        let mut queue = FairQueue::new(calls.clone());
        let writers = (0..peers)
            .map(|id| {
                let (writer, reader) = pipe(Bound::messages(0));
                let peer = Peer {
                    id: id as PipeId,
                    ..Peer::default()
                };
                assert_eq!(queue.attach(Arc::new(peer), reader, ()), id);
                writer
            })
            .collect();
        (queue, writers, calls)
    }

    fn wake_all(queue: &mut FairQueue<()>, calls: &Calls) {
        for token in calls.take() {
            queue.wake(Token::from(token).slot);
        }
    }

    fn put(writer: &mut PipeWriter, text: &str) {
        writer.write(message(&[text]));
        writer.flush();
    }

    #[test]
    fn idle_peers_are_not_looked_at() {
        let (mut queue, mut writers, calls) = queue_of(10_000);
        assert!(queue.read(|_, ()| ()).is_none());
        assert!(queue.active.is_empty());
        put(&mut writers[7_000], "only");
        wake_all(&mut queue, &calls);
        assert_eq!(queue.active, [7_000]);
        assert_eq!(queue.read(|_, ()| ()), Some((7_000, message(&["only"]))));
    }

    #[test]
    fn late_call_for_a_slot_that_was_given_away_does_no_harm() {
        let (mut queue, mut writers, calls) = queue_of(2);
        assert!(queue.read(|_, ()| ()).is_none());
        drop(writers.remove(0));
        wake_all(&mut queue, &calls);
        let mut ended = Vec::new();
        assert!(queue.read(|slot, ()| ended.push(slot)).is_none());
        assert_eq!(ended, [0]);
        let (mut writer, reader) = pipe(Bound::messages(0));
        assert_eq!(queue.attach(Arc::default(), reader, ()), 0);
        queue.wake(0);
        queue.wake(99);
        put(&mut writer, "new");
        assert_eq!(queue.read(|_, ()| ()), Some((0, message(&["new"]))));
        assert!(queue.read(|_, ()| ()).is_none());
    }

    #[test]
    fn pipe_that_follows_another_is_read_after_the_end_of_that_one() {
        let (mut queue, mut writers, calls) = queue_of(2);
        let mut follow = |follows: PipeId| {
            let (writer, reader) = pipe(Bound::messages(0));
            let id = 10 + writers.len() as PipeId;
            let peer = Peer {
                id,
                follows: Some(follows),
                ..Peer::default()
            };
            let slot = queue.attach(Arc::new(peer), reader, ());
            writers.push(writer);
            (id, slot)
        };
        let (second, _) = follow(0);
        let (third, removed) = follow(second);
        follow(third);
        follow(99);
        for (writer, texts) in writers.iter_mut().zip(["01", "ab", "23", "45", "67", "89"]) {
            for at in 0..2 {
                put(writer, &texts[at..=at]);
            }
        }
        wake_all(&mut queue, &calls);
        let read = |queue: &mut FairQueue<()>| {
            let mut texts = String::new();
            while let Some((_, message)) = queue.read(|_, ()| ()) {
                texts.push_str(std::str::from_utf8(message.first()).unwrap());
            }
            texts
        };
        assert_eq!(read(&mut queue), "0a81b9");
        assert!(queue.remove(removed).is_some(), "before its turn");
        drop(writers.remove(0));
        wake_all(&mut queue, &calls);
        assert_eq!(read(&mut queue), "23");
        drop(writers.remove(1));
        wake_all(&mut queue, &calls);
        assert_eq!(read(&mut queue), "67");
    }

    #[test]
    fn removed_slot_is_off_the_list() {
        let (mut queue, mut writers, _calls) = queue_of(3);
        put(&mut writers[1], "lost");
        put(&mut writers[2], "read");
        assert!(queue.remove(1).is_some());
        assert!(queue.remove(1).is_none());
        assert!(writers[1].is_closed());
        assert_eq!(queue.read(|_, ()| ()), Some((2, message(&["read"]))));
        assert!(queue.read(|_, ()| ()).is_none());
    }

    proptest! {
        /// Among peers that all have messages each gets exactly its turn, and what one peer sent
        /// keeps its order; nothing is lost when peers join or run dry on the way.
        #[test]
        fn every_active_peer_gets_exactly_its_turn(
            loads in prop::collection::vec(0usize..20, 1..8),
            more in prop::collection::vec((0usize..8, 1usize..5), 0..10),
        ) {
            let peers = loads.len();
            let (mut queue, mut writers, calls) = queue_of(peers);
            let mut written = vec![0; peers];
            let mut read = vec![0; peers];
            let load = |writers: &mut Vec<PipeWriter>, written: &mut Vec<usize>, peer: usize, n| {
                for _ in 0..n {
                    put(&mut writers[peer], &written[peer].to_string());
                    written[peer] += 1;
                }
            };
            for (peer, &n) in loads.iter().enumerate() {
                load(&mut writers, &mut written, peer, n);
            }
            let mut rounds = more.into_iter();
            loop {
                // Since a peer that has messages was served, every other such peer is served at most once.
                let mut served = vec![0usize; peers];
                let busy: Vec<usize> = (0..peers).filter(|&p| written[p] > read[p]).collect();
                for _ in 0..busy.len() {
                    let (slot, found) = queue.read(|_, ()| ()).expect("a busy peer");
                    prop_assert_eq!(found, message(&[&read[slot].to_string()]));
                    read[slot] += 1;
                    served[slot] += 1;
                }
                for &peer in &busy {
                    prop_assert_eq!(served[peer], 1, "peer {} of {:?}", peer, busy);
                }
                match rounds.next() {
                    Some((peer, n)) => load(&mut writers, &mut written, peer % peers, n),
                    None if busy.is_empty() => break,
                    None => {}
                }
                wake_all(&mut queue, &calls);
            }
            prop_assert!(queue.read(|_, ()| ()).is_none());
            prop_assert_eq!(read, written);
        }
    }
}
