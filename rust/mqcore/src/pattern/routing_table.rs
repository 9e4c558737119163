//! Peers that are addressed by name: the way to each by its routing id (ROUTER, STREAM).

use std::collections::HashMap;
use std::sync::Arc;

use mqcore_proto::{Frame, Message};
use slab::Slab;

use super::{Command, PatternOption, Peer, PipeId, Token};
use crate::pipe::{PipeWriter, Wake, Waker};

/// Writers by routing id.
pub(super) struct RoutingTable {
    slots: Slab<Slot>,
    /// Invariant: every slot is here once, under its peer's routing id.
    by_id: HashMap<Frame, usize>,
    wake: Arc<dyn Wake>,
}

struct Slot {
    peer: Arc<Peer>,
    writer: PipeWriter,
}

/// Whether a message can go to a routing id.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    Open,
    Full,
    /// Nobody has this routing id.
    Unknown,
}

impl RoutingTable {
    pub(super) fn new(wake: Arc<dyn Wake>) -> Self {
        Self {
            slots: Slab::new(),
            by_id: HashMap::new(),
            wake,
        }
    }

    /// Does what a command asks; gives an option back to the pattern.
    pub(super) fn handle(&mut self, command: Command) -> Option<PatternOption> {
        match command {
            Command::Attach {
                peer,
                writer: Some(writer),
                ..
            } => self.attach(peer, writer),
            Command::Attach { .. } => {}
            Command::Wake(token) => {
                let slot = Token::from(token).slot;
                if self.slots.get(slot).is_some_and(|s| s.writer.is_closed()) {
                    self.remove(slot);
                }
            }
            Command::Detach(id) => {
                if let Some(slot) = self.find(id) {
                    self.remove(slot);
                }
            }
            Command::Hwm { send, .. } => {
                for (_, entry) in &mut self.slots {
                    entry.writer.set_hwm(send);
                }
            }
            Command::Option(option) => return Some(option),
        }
        None
    }

    /// Takes a peer in; one that has the same routing id is let go.
    fn attach(&mut self, peer: Arc<Peer>, mut writer: PipeWriter) {
        let slot = self.slots.vacant_key();
        let token = Token { slot, writer: true };
        writer.set_waker(Waker::new(Arc::clone(&self.wake), token.into()));
        if writer.is_closed() {
            return;
        }
        let replaced = self.by_id.insert(peer.routing_id.clone(), slot);
        self.slots.insert(Slot { peer, writer });
        if let Some(replaced) = replaced {
            self.slots.remove(replaced);
        }
    }

    fn remove(&mut self, slot: usize) {
        let entry = self.slots.remove(slot);
        self.by_id.remove(&entry.peer.routing_id);
    }

    fn find(&self, id: PipeId) -> Option<usize> {
        self.slots
            .iter()
            .find(|(_, entry)| entry.peer.id == id)
            .map(|(slot, _)| slot)
    }

    /// Whether a message to `routing_id` would arrive in its pipe now. A full pipe calls its waker
    /// when it has room again.
    #[inline]
    pub(super) fn route(&mut self, routing_id: &[u8]) -> Route {
        let Some(writer) = self.open(routing_id) else {
            return Route::Unknown;
        };
        if writer.has_room() {
            Route::Open
        } else {
            Route::Full
        }
    }

    /// Writes to a peer whose route is open.
    #[inline]
    pub(super) fn write(&mut self, routing_id: &[u8], message: Message) {
        if let Some(writer) = self.open(routing_id) {
            writer.write(message);
            writer.flush();
        }
    }

    /// Whether some peer has room. Looks at peers until it finds one that has.
    pub(super) fn has_room(&mut self) -> bool {
        self.slots
            .iter_mut()
            .any(|(_, entry)| !entry.writer.is_closed() && entry.writer.has_room())
    }

    fn open(&mut self, routing_id: &[u8]) -> Option<&mut PipeWriter> {
        let slot = *self.by_id.get(routing_id)?;
        if self.slots[slot].writer.is_closed() {
            self.remove(slot);
            return None;
        }
        Some(&mut self.slots[slot].writer)
    }
}
