//! Writes to many pipes in turn: one message to each that has room, round and round.
//!
//! Only pipes that may have room are on the list; a pipe found full leaves it until its waker brings
//! it back.

use std::collections::VecDeque;
use std::sync::Arc;

use mqcore_proto::{Message, Run};
use slab::Slab;

use super::{PipeId, Token};
use crate::pipe::{PipeWriter, Wake, Waker};

/// Writers, and with each a `T` that belongs to it and goes when it goes.
pub(super) struct LoadBalancer<T> {
    slots: Slab<Slot<T>>,
    /// The slots to write to, in their turn. Invariant: lists a slot once if it is `listed`, else not.
    active: VecDeque<usize>,
    /// Slots that were written to since the last flush; some may be free again.
    unflushed: Vec<usize>,
    wake: Arc<dyn Wake>,
}

struct Slot<T> {
    peer: PipeId,
    writer: PipeWriter,
    listed: bool,
    link: T,
}

impl<T> LoadBalancer<T> {
    pub(super) fn new(wake: Arc<dyn Wake>) -> Self {
        Self {
            slots: Slab::new(),
            active: VecDeque::new(),
            unflushed: Vec::new(),
            wake,
        }
    }

    /// Takes a pipe in, at the end of the turn; returns its slot.
    pub(super) fn attach(&mut self, peer: PipeId, mut writer: PipeWriter, link: T) -> usize {
        let slot = self.slots.vacant_key();
        writer.set_waker(self.waker(slot, true));
        self.active.push_back(slot);
        self.slots.insert(Slot {
            peer,
            writer,
            listed: true,
            link,
        })
    }

    /// A waker for an end that belongs to `slot`.
    pub(super) fn waker(&self, slot: usize, writer: bool) -> Waker {
        Waker::new(Arc::clone(&self.wake), Token { slot, writer }.into())
    }

    /// Puts a slot back on the list, or forgets its pipe if nobody reads it any more: then what
    /// belonged to it is returned.
    pub(super) fn wake(&mut self, slot: usize) -> Option<T> {
        let entry = self.slots.get_mut(slot)?;
        if entry.writer.is_closed() {
            return self.remove(slot);
        }
        if !entry.listed {
            entry.listed = true;
            self.active.push_back(slot);
        }
        None
    }

    /// Whether some pipe has room; that one is then next. A pipe that nobody reads is forgotten on
    /// the way, and `ended` gets what belonged to it.
    #[inline]
    pub(super) fn ready(&mut self, mut ended: impl FnMut(T)) -> bool {
        while let Some(&slot) = self.active.front() {
            let entry = &mut self.slots[slot];
            if entry.writer.is_closed() {
                self.active.pop_front();
                ended(self.slots.remove(slot).link);
            } else if entry.writer.has_room() {
                return true;
            } else {
                entry.listed = false;
                self.active.pop_front();
            }
        }
        false
    }

    /// Writes to the pipe that [`ready`](Self::ready) just found, and passes the turn on; returns
    /// its slot. The peer sees it after the next [`flush`](Self::flush).
    #[inline]
    pub(super) fn write(&mut self, message: impl Into<Message>) -> usize {
        self.write_with(|writer| writer.write(message.into()))
    }

    /// The same for a run, which goes to one pipe.
    pub(super) fn write_run(&mut self, run: Run) {
        self.write_with(|writer| writer.write_run(run));
    }

    #[inline]
    fn write_with(&mut self, write: impl FnOnce(&mut PipeWriter)) -> usize {
        let slot = *self.active.front().expect("ready() found a pipe");
        let writer = &mut self.slots[slot].writer;
        if writer.is_flushed() {
            self.unflushed.push(slot);
        }
        write(writer);
        if self.active.len() > 1 {
            self.active.rotate_left(1);
        }
        slot
    }

    /// How many messages the pipe that [`ready`](Self::ready) finds takes, if no other pipe has a turn; else 0.
    pub(super) fn room_for_run(&mut self, ended: impl FnMut(T)) -> usize {
        self.ready(ended);
        match self.active.front() {
            Some(&slot) if self.active.len() == 1 => self.slots[slot].writer.room(),
            _ => 0,
        }
    }

    /// Shows to `look` the pipe whose turn it is.
    pub(super) fn with_next(&mut self, look: &mut dyn FnMut(&mut PipeWriter)) {
        if let Some(&slot) = self.active.front() {
            look(&mut self.slots[slot].writer);
        }
    }

    /// Shows the peers what was written to them.
    #[inline]
    pub(super) fn flush(&mut self) {
        for slot in self.unflushed.drain(..) {
            if let Some(entry) = self.slots.get_mut(slot) {
                entry.writer.flush();
            }
        }
    }

    /// What belongs to the pipe in `slot`, if there is one.
    pub(super) fn link(&mut self, slot: usize) -> Option<&mut T> {
        self.slots.get_mut(slot).map(|entry| &mut entry.link)
    }

    /// What belongs to each pipe.
    pub(super) fn links(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().map(|(_, entry)| &mut entry.link)
    }

    /// The slot of a peer. Looks at every peer.
    pub(super) fn find(&self, id: PipeId) -> Option<usize> {
        self.slots
            .iter()
            .find(|(_, entry)| entry.peer == id)
            .map(|(slot, _)| slot)
    }

    /// Forgets a pipe; the other end still reads what was written.
    pub(super) fn remove(&mut self, slot: usize) -> Option<T> {
        let entry = self.slots.try_remove(slot)?;
        if entry.listed {
            self.active.retain(|&listed| listed != slot);
        }
        Some(entry.link)
    }

    /// Sets the bound of every pipe.
    pub(super) fn set_hwm(&mut self, hwm: usize) {
        for (_, entry) in &mut self.slots {
            entry.writer.set_hwm(hwm);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::testing::{Calls, message};
    use super::*;
    use crate::pipe::{Bound, PipeReader, Read, pipe};
    use proptest::prelude::*;

    #[test]
    fn who_sleeps_over_a_conflating_pipe_is_called() {
        let (calls, wake) = (Arc::new(Calls::default()), Arc::new(Calls::default()));
        let mut balancer = LoadBalancer::new(wake);
        let (writer, mut reader) = pipe(Bound {
            conflate: true,
            ..Bound::default()
        });
        reader.set_waker(Waker::new(calls.clone(), 7));
        balancer.attach(1, writer, ());
        for text in ["first", "second"] {
            assert_eq!(reader.read(), Read::Empty);
            assert!(balancer.ready(drop));
            balancer.write(message(&[text]));
            balancer.flush();
            assert_eq!(calls.take(), [7]);
            assert_eq!(reader.read(), Read::Message(message(&[text])));
        }
    }

    fn balancer_of(bounds: &[usize]) -> (LoadBalancer<()>, Vec<PipeReader>, Arc<Calls>) {
        let calls = Arc::new(Calls::default());
        let mut balancer = LoadBalancer::new(calls.clone());
        let readers = bounds
            .iter()
            .enumerate()
            .map(|(id, &hwm)| {
                let (writer, reader) = pipe(Bound::messages(hwm));
                assert_eq!(balancer.attach(id as PipeId, writer, ()), id);
                reader
            })
            .collect();
        (balancer, readers, calls)
    }

    fn wake_all(balancer: &mut LoadBalancer<()>, calls: &Calls) {
        for token in calls.take() {
            balancer.wake(Token::from(token).slot);
        }
    }

    fn put(balancer: &mut LoadBalancer<()>) -> Option<usize> {
        let slot = balancer
            .ready(|()| ())
            .then(|| balancer.write(message(&["x"])));
        balancer.flush();
        slot
    }

    #[test]
    fn full_peers_are_not_looked_at() {
        let (mut balancer, mut readers, calls) = balancer_of(&[1; 1000]);
        for slot in 0..1000 {
            assert_eq!(put(&mut balancer), Some(slot));
        }
        assert_eq!(put(&mut balancer), None);
        assert!(balancer.active.is_empty());
        assert_eq!(readers[500].read(), Read::Message(message(&["x"])));
        wake_all(&mut balancer, &calls);
        assert_eq!(balancer.active, [500]);
        assert_eq!(put(&mut balancer), Some(500));
    }

    #[test]
    fn peer_that_left_gets_no_turn() {
        let (mut balancer, mut readers, calls) = balancer_of(&[0; 3]);
        assert_eq!(put(&mut balancer), Some(0));
        drop(readers.remove(1));
        assert_eq!(put(&mut balancer), Some(2), "found without being called");
        drop(readers.remove(1));
        wake_all(&mut balancer, &calls);
        assert_eq!(balancer.active, [0], "found by being called");
        drop(readers);
        assert_eq!(put(&mut balancer), None);
        assert!(balancer.slots.is_empty());
    }

    proptest! {
        /// While no peer fills up or drains, each peer with room gets exactly one of as many messages
        /// as there are such peers; and no message is refused while a peer has room.
        #[test]
        fn every_peer_with_room_gets_exactly_its_turn(
            bounds in prop::collection::vec(1usize..12, 1..8),
            reads in prop::collection::vec((0usize..8, 1usize..12), 0..20),
        ) {
            let (mut balancer, mut readers, calls) = balancer_of(&bounds);
            let peers = bounds.len();
            let mut reads = reads.into_iter();
            loop {
                wake_all(&mut balancer, &calls);
                let mut room: Vec<usize> = balancer.active.iter().copied().collect();
                room.retain(|&slot| balancer.slots[slot].writer.queued() < bounds[slot]);
                let mut served = vec![0usize; peers];
                for _ in 0..room.len() {
                    let slot = put(&mut balancer);
                    prop_assert!(slot.is_some(), "refused though {:?} have room", room);
                    served[slot.unwrap()] += 1;
                }
                for &slot in &room {
                    prop_assert_eq!(served[slot], 1, "peer {} of {:?}", slot, room);
                }
                match reads.next() {
                    Some((peer, n)) => {
                        for _ in 0..n {
                            let _ = readers[peer % peers].read();
                        }
                    }
                    None if room.is_empty() => break,
                    None => {}
                }
            }
            prop_assert_eq!(put(&mut balancer), None);
        }
    }
}
