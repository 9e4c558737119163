//! How many bytes are under way in one direction, beside the messages that the high-water mark counts.
//!
//! A thousand messages are soon written, and of long ones they are more than any cache holds: the payloads go out to the
//! memory and come back from there, at each step of their way, and that is what a long message costs most. So a writer
//! that can wait does so for a moment when the pipe is laden; then the same few buffers go round. It is no bound: who
//! cannot wait writes on, up to the high-water mark.

use crate::sync::{AtomicBool, AtomicUsize, Ordering, fence};

/// A pipe with so many bytes is laden: as many as go round in the cache of one core.
const LADEN: usize = 512 * 1024;

/// ...until it is down to so many.
const EASED: usize = LADEN / 2;

/// The reader tells at the latest after so many bytes that it took them.
const CREDIT_BYTES: usize = 64 * 1024;

/// What both ends know. Bytes are those that lie outside of the items of the queue; the counts only grow, and may wrap.
#[derive(Default)]
pub(super) struct Load {
    /// Bytes written, as of the writer's last report.
    written: AtomicUsize,
    /// Bytes taken, as of the reader's last report.
    taken: AtomicUsize,
    /// The writer wants to be called when the pipe is eased.
    writer_waits: AtomicBool,
}

/// The writer's part.
#[derive(Default)]
pub(super) struct Written {
    bytes: usize,
    /// The last that is known of the reader.
    taken: usize,
    /// Waiting was in vain: not again before the pipe is eased.
    resigned: bool,
}

/// The reader's part.
#[derive(Default)]
pub(super) struct Taken {
    bytes: usize,
    reported: usize,
}

impl Written {
    /// So many bytes more were written.
    #[inline]
    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes = self.bytes.wrapping_add(bytes);
    }

    /// Whether it pays to wait.
    #[inline]
    pub(super) fn is_laden(&mut self, load: &Load) -> bool {
        if self.bytes.wrapping_sub(self.taken) < LADEN {
            return false; // with the last that is known
        }
        let under_way = self.under_way(load);
        self.resigned &= under_way > EASED;
        under_way >= LADEN && !self.resigned
    }

    fn under_way(&mut self, load: &Load) -> usize {
        self.taken = load.taken.load(Ordering::Relaxed);
        self.bytes.wrapping_sub(self.taken)
    }

    /// Tells the reader how far this end is.
    pub(super) fn report(&self, load: &Load) {
        load.written.store(self.bytes, Ordering::Relaxed);
    }

    /// Asks the reader to call when the pipe is eased. False if it is.
    pub(super) fn wait(&mut self, load: &Load) -> bool {
        self.report(load);
        load.writer_waits.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst); // against the fence in `PipeReader::report`
        let laden = self.under_way(load) > EASED;
        if !laden {
            load.writer_waits.store(false, Ordering::Relaxed);
        }
        laden
    }

    /// The pipe does not count as laden until it was eased.
    pub(super) fn resign(&mut self) {
        self.resigned = true;
    }
}

impl Taken {
    /// So many bytes more were taken.
    #[inline]
    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes = self.bytes.wrapping_add(bytes);
    }

    /// Whether the writer should hear of it.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        self.bytes.wrapping_sub(self.reported) >= CREDIT_BYTES
    }

    /// Tells the writer how far this end is. Before the fence.
    pub(super) fn report(&mut self, load: &Load) {
        self.reported = self.bytes;
        load.taken.store(self.bytes, Ordering::Relaxed);
    }

    /// Bytes not taken yet of those that the writer reported.
    pub(super) fn under_way(&self, load: &Load) -> usize {
        let written = load.written.load(Ordering::Relaxed);
        let ahead = written.wrapping_sub(self.bytes);
        if ahead > isize::MAX as usize {
            0
        } else {
            ahead
        } // what was taken since is newer than the report
    }

    /// Whether to call the writer now. Behind the fence.
    pub(super) fn eases(&self, load: &Load) -> bool {
        load.writer_waits.load(Ordering::Relaxed)
            && self.under_way(load) <= EASED
            && load.writer_waits.swap(false, Ordering::AcqRel)
    }
}
