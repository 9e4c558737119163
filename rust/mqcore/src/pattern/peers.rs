//! Peers that are read in turn, each with the writer that leads back to it: the base of every type
//! that is not split and does not balance its load (PULL, REP, the publishers, the subscribers).
//!
//! A peer is there until its reader has ended; its writer may go earlier.

use std::sync::Arc;

use super::fair_queue::FairQueue;
use super::{Command, PatternOption, Peer, Token};
use crate::pipe::{PipeReader, PipeWriter};

/// Readers in turn, and the way back to each unless it is closed.
pub(super) type Peers = FairQueue<Option<PipeWriter>>;

impl Peers {
    /// Does what a command asks, as it is for every type; gives an option back to the pattern.
    pub(super) fn handle(&mut self, command: Command) -> Option<PatternOption> {
        match command {
            Command::Attach {
                peer,
                reader,
                writer,
            } => {
                if let Some(reader) = reader {
                    self.attach_both(peer, reader, writer);
                }
            }
            Command::Wake(token) => match Token::from(token) {
                Token { slot, writer: true } => self.drop_closed_writer(slot),
                Token { slot, .. } => drop(self.wake_or_end(slot)),
            },
            Command::Detach(id) => {
                if let Some(slot) = self.find(id) {
                    self.drop_writer(slot);
                }
            }
            Command::Hwm { send, receive } => {
                self.set_hwm(receive);
                for (_, writer) in self.links() {
                    if let Some(writer) = writer {
                        writer.set_hwm(send);
                    }
                }
            }
            Command::Option(option) => return Some(option),
        }
        None
    }

    fn attach_both(&mut self, peer: Arc<Peer>, reader: PipeReader, writer: Option<PipeWriter>) {
        let slot = self.attach(peer, reader, None);
        if let Some(mut writer) = writer {
            writer.set_waker(self.waker(slot, true));
            *self.link(slot).expect("just attached") = Some(writer);
            self.drop_closed_writer(slot);
        }
    }

    fn drop_closed_writer(&mut self, slot: usize) {
        if let Some(writer) = self.link(slot)
            && writer.as_ref().is_some_and(PipeWriter::is_closed)
        {
            *writer = None;
        }
    }

    fn drop_writer(&mut self, slot: usize) {
        if let Some(writer) = self.link(slot) {
            *writer = None;
        }
    }
}
