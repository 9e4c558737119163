//! Copies a message to many peers, and drops it for those that have no room.

use mqcore_proto::{Frame, Message};

use super::peers::Peers;
use super::{Drops, count};

impl Peers {
    /// Whether every one of `slots` has room; one that has not calls its waker when it has again.
    pub(super) fn have_room(&mut self, slots: &[u32]) -> bool {
        slots.iter().all(|&slot| match self.link(slot as usize) {
            Some(Some(writer)) => writer.has_room(),
            _ => true,
        })
    }

    /// Writes to each of `slots` that has room; who sees it only after a flush is added to `unflushed`.
    #[inline]
    pub(super) fn distribute(
        &mut self,
        slots: &[u32],
        message: Message,
        unflushed: &mut Vec<u32>,
        drops: &Drops,
    ) {
        // The last peer gets the message itself, not a copy.
        let copies = std::iter::repeat_n(message, slots.len());
        for (&slot, copy) in slots.iter().zip(copies) {
            if let Some(Some(writer)) = self.link(slot as usize) {
                if writer.has_room() {
                    if writer.is_flushed() {
                        unflushed.push(slot);
                    }
                    writer.write(copy);
                } else {
                    count(&drops.full);
                }
            }
        }
    }

    /// Shows what was distributed to those of `slots` who are still there.
    #[inline]
    pub(super) fn flush_each(&mut self, slots: impl Iterator<Item = u32>) {
        for slot in slots {
            if let Some(Some(writer)) = self.link(slot as usize) {
                writer.flush();
            }
        }
    }

    /// Writes to every peer that has room.
    pub(super) fn distribute_to_all(&mut self, message: &Message, drops: &Drops) {
        for (_, writer) in self.links() {
            if let Some(writer) = writer {
                if writer.has_room() {
                    writer.write(message.clone());
                    writer.flush();
                } else {
                    count(&drops.full);
                }
            }
        }
    }

    /// Writes a subscription to every peer, room or not: subscriptions never count.
    pub(super) fn tell_all(&mut self, subscription: &Frame) {
        for (_, writer) in self.links() {
            if let Some(writer) = writer {
                writer.write(subscription.clone().into());
                writer.flush();
            }
        }
    }
}
