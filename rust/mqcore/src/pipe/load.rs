//! How many bytes are under way in one direction, beside the messages that the high-water mark counts.
//!
//! A thousand messages are soon written, and of long ones they are more than any cache holds: the payloads go out to the
//! memory and come back from there, at each step of their way, and that is what a long message costs most. So a writer
//! that can wait does so for a moment when the pipe is laden; then the same few buffers go round. It is no bound: who
//! cannot wait writes on, up to the high-water mark.

use crate::sync::{AtomicBool, AtomicUsize, Ordering, fence};

/// A pipe with so many bytes is laden: as many as go round in the cache of one core.
const LADEN: usize = 512 * 1024;

/// Who waits does so until there are so many fewer, and no fewer than so many.
const STEP: usize = LADEN / 2;

/// The reader tells at the latest after so many bytes that it took them.
const CREDIT_BYTES: usize = 64 * 1024;

/// What both ends know. Bytes are those that lie outside of the items of the queue; the counts only grow, and may wrap.
#[derive(Default)]
pub(super) struct Load {
    /// Bytes written, as of the writer's last report.
    written: AtomicUsize,
    /// Bytes taken, as of the reader's last report.
    taken: AtomicUsize,
    /// The writer wants to be called when so many bytes are taken.
    wanted: AtomicUsize,
    writer_waits: AtomicBool,
}

/// The writer's part.
#[derive(Default)]
pub(super) struct Written {
    bytes: usize,
    /// The last that is known of the reader.
    taken: usize,
    /// What was waited for last, from when the reader was where.
    wanted: usize,
    waited_at: usize,
    /// The reader did not move while it was waited for: it is not waited for again before it has moved.
    stuck: bool,
}

/// The reader's part.
#[derive(Default)]
pub(super) struct Taken {
    bytes: usize,
    reported: usize,
}

/// Whether `count` has come as far as `mark`.
fn reaches(count: usize, mark: usize) -> bool {
    count.wrapping_sub(mark) <= isize::MAX as usize
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
        // First with the last that is known.
        if self.bytes.wrapping_sub(self.taken) < LADEN || self.under_way(load) < LADEN {
            return false;
        }
        self.stuck &= self.taken == self.waited_at;
        !self.stuck
    }

    fn under_way(&mut self, load: &Load) -> usize {
        self.taken = load.taken.load(Ordering::Relaxed);
        self.bytes.wrapping_sub(self.taken)
    }

    /// Tells the reader how far this end is.
    pub(super) fn report(&self, load: &Load) {
        load.written.store(self.bytes, Ordering::Relaxed);
    }

    /// Begins to wait until the reader has come after a step: ask [`is_eased`](Self::is_eased).
    pub(super) fn wait(&mut self, load: &Load) {
        let goal = self.under_way(load).saturating_sub(STEP).max(STEP);
        self.wanted = self.bytes.wrapping_sub(goal);
        self.waited_at = self.taken;
    }

    /// Whether the reader has done so; if not, it calls.
    pub(super) fn is_eased(&mut self, load: &Load) -> bool {
        load.wanted.store(self.wanted, Ordering::Relaxed);
        load.writer_waits.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst); // against the fence in `PipeReader::report`
        self.under_way(load);
        let eased = reaches(self.taken, self.wanted);
        if eased {
            load.writer_waits.store(false, Ordering::Relaxed);
        }
        eased
    }

    /// The wait was in vain.
    pub(super) fn give_up(&mut self, load: &Load) {
        self.under_way(load);
        self.stuck = self.taken == self.waited_at;
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
        if reaches(written, self.bytes) {
            written.wrapping_sub(self.bytes)
        } else {
            0 // what was taken since is newer than the report
        }
    }

    /// Whether to call the writer now. Behind the fence.
    pub(super) fn eases(&self, load: &Load) -> bool {
        load.writer_waits.load(Ordering::Relaxed)
            && reaches(self.bytes, load.wanted.load(Ordering::Relaxed))
            && load.writer_waits.swap(false, Ordering::AcqRel)
    }
}
