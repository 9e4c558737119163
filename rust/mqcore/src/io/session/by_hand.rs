//! Written by the caller's own hand: an answer, since each hand-over to the I/O thread costs more than the write; and what is
//! long, since another core would have to fetch it first.
//!
//! An answer is short, and written while the caller holds its locks. What is long is written when it has let go of them;
//! and if the stream has no room for all of it, a caller that may wait does so for a moment. Most of the time the peer is
//! reading, and two more threads would have to be woken for the rest.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mqcore_proto::SocketType;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use super::{Core, LONG, Link, Phase, Session};
use crate::signals::ByHand;
use crate::sync::lock;
use crate::transport::Stream;

/// How far a write has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    /// To the end of what was sent, or somebody else goes on.
    Done,
    /// As far as there was room.
    Full,
    /// As far as one turn goes.
    Turn,
    /// To something that only the I/O thread can do.
    Trouble,
}

impl Core {
    /// Whether what was just sent is so long that it pays to write it by itself, and that can be done.
    pub(super) fn can_write_long(&mut self) -> bool {
        let pipe = self.pipe.as_ref();
        pipe.is_some_and(|pipe| pipe.reader.queued_bytes() >= LONG) && self.writable().is_some()
    }

    /// The connection, if nothing stands in front of what is sent now.
    fn writable(&mut self) -> Option<&mut Link> {
        let Phase::Linked(link) = &mut self.phase else {
            return None;
        };
        let writable = link.handshake_done
            && link.ready.writable
            && link.farewell.is_none()
            && link.connection.transmit_len() == 0;
        writable.then_some(&mut **link)
    }

    fn write_by_hand(&mut self, session: &Session) -> Written {
        let more = self.pump_out(session);
        let Phase::Linked(link) = &self.phase else {
            return Written::Trouble;
        };
        match more {
            Err(_) => Written::Trouble,
            Ok(_) if link.outward_closed || link.write_failed => Written::Trouble,
            Ok(true) => Written::Turn,
            Ok(false) if link.connection.transmit_len() > 0 => Written::Full,
            Ok(false) => Written::Done,
        }
    }

    /// Writes what was sent if it is an answer; false if the I/O thread must do it.
    pub(super) fn answer(&mut self, session: &Session) -> bool {
        let Some(link) = self.writable().filter(|link| link.unanswered == 1) else {
            return false;
        };
        link.unanswered = 0;
        let written = self.write_by_hand(session);
        if let Phase::Linked(link) = &mut self.phase {
            link.lockstep = written == Written::Done;
        }
        // A full stream's next edge comes to the I/O thread by itself.
        matches!(written, Written::Done | Written::Full)
    }

    /// Writes what was sent, which is long. If there is no room left and the caller `waits` for it, this says where.
    fn begin_to_write(&mut self, session: &Session, waits: bool) -> (Written, Option<Arc<Stream>>) {
        if matches!(&self.phase, Phase::Linked(link) if link.awaits_room) {
            return (Written::Done, None); // another caller is at it, and goes on with ours
        }
        let Some(link) = self.writable() else {
            return (Written::Trouble, None);
        };
        let answers = link.unanswered == 1;
        link.unanswered = 0;
        link.awaits_room = waits;
        let mut written = self.write_by_hand(session);
        let Phase::Linked(link) = &mut self.phase else {
            return (Written::Trouble, None);
        };
        link.lockstep = answers && written == Written::Done;
        let unfinished = matches!(written, Written::Full | Written::Turn);
        if waits && unfinished {
            link.unwatch_room(session);
            return (written, Some(Arc::clone(&link.stream)));
        }
        link.hand_over(session);
        if written == Written::Turn {
            written = Written::Trouble;
        }
        (written, None)
    }

    /// Goes on after a wait for room, which was in vain if there is none.
    fn go_on_to_write(&mut self, session: &Session, stream: &Arc<Stream>, room: bool) -> Written {
        match &mut self.phase {
            Phase::Linked(link) if Arc::ptr_eq(&link.stream, stream) => link.ready.writable |= room,
            _ => return Written::Done, // the connection is another
        }
        let written = if room {
            self.write_by_hand(session)
        } else {
            Written::Trouble
        };
        let Phase::Linked(link) = &mut self.phase else {
            return Written::Trouble;
        };
        if matches!(written, Written::Full | Written::Turn) {
            return written;
        }
        link.hand_over(session);
        written
    }
}

impl Link {
    /// What is left is the I/O thread's.
    fn hand_over(&mut self, session: &Session) {
        self.awaits_room = false;
        if !self.ready.writable {
            self.watch_room(session);
        }
    }
}

impl ByHand for Session {
    fn write(&self, longest: Duration) -> Duration {
        // The others drop what finds no room: nobody waits there.
        let waits = matches!(
            self.config.port.kind,
            SocketType::Push | SocketType::Dealer | SocketType::Pair | SocketType::Req
        );
        let waits = waits && !longest.is_zero();
        let (mut written, rest) = lock(&self.core).begin_to_write(self, waits);
        let mut waited = Duration::ZERO;
        if let Some(stream) = rest {
            let began = Instant::now();
            while matches!(written, Written::Full | Written::Turn) {
                let left = longest.saturating_sub(began.elapsed());
                let room = !left.is_zero() && (written == Written::Turn || has_room(&stream, left));
                written = lock(&self.core).go_on_to_write(self, &stream, room);
            }
            waited = began.elapsed();
        }
        if written == Written::Trouble {
            self.schedule();
        }
        waited
    }
}

/// Waits for room to write.
fn has_room(stream: &Stream, span: Duration) -> bool {
    let mut watched = [PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::OUT)];
    let timeout = Timespec::try_from(span).ok();
    // A signal ends the wait: the interpreter wants to see to it.
    poll(&mut watched, timeout.as_ref()).is_ok_and(|ready| ready > 0)
}
