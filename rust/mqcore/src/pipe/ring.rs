//! The single-producer, single-consumer queue under a pipe, and the only unsafe code of the engine.
//!
//! A list of fixed chunks: an empty queue that was never used owns none, a steady flow reuses one
//! spare chunk and allocates nothing. The queue itself has no bound; the pipe counts.
//!
//! ```text
//!   taken            published        written
//!     v                  v               v
//!  [ . . . a b c ] -> [ d e f g h i ] -> [ j k . . . . ]      a..i readable, j k not yet flushed
//!    reader's chunk                      writer's chunk
//! ```
//!
//! An item may stand for several messages; what the two ends tell each other of the length of the queue is counted in
//! messages, what says which slots are whose in items.
//!
//! `published` is stored by the writer only (Release) and read by the reader (Acquire): that edge
//! carries the slots and the chunk links. Both ends keep private cursors, so a batch costs one store.

use std::mem::MaybeUninit;
use std::ptr;

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicPtr, AtomicUsize, CheckedArc as Arc, CheckedCell, Ordering};

/// Items of a chunk. Two chunks for each direction of a used connection stay far below 16 KiB.
#[cfg(not(loom))]
const CHUNK: usize = 32;
#[cfg(loom)]
const CHUNK: usize = 2;

struct Chunk<T> {
    slots: [CheckedCell<MaybeUninit<T>>; CHUNK],
    next: AtomicPtr<Chunk<T>>,
}

impl<T> Chunk<T> {
    fn boxed() -> *mut Self {
        Box::into_raw(Box::new(Self {
            slots: std::array::from_fn(|_| CheckedCell::new(MaybeUninit::uninit())),
            next: AtomicPtr::new(ptr::null_mut()),
        }))
    }
}

struct Shared<T> {
    published: CachePadded<Published>,
    /// Messages the reader has told the writer it took; grows in batches.
    taken: CachePadded<AtomicUsize>,
    /// The first chunk, set before the first item is published; after the reader is gone: its chunk.
    first: AtomicPtr<Chunk<T>>,
    /// A used chunk on its way back to the writer.
    spare: AtomicPtr<Chunk<T>>,
    /// Where the reader stopped; set when it goes.
    read: AtomicUsize,
    /// Where the writer stopped; set when it goes.
    written: AtomicUsize,
}

/// What the reader may take.
struct Published {
    /// Invariant: at most the items written.
    items: AtomicUsize,
    /// The messages in them, stored before.
    messages: AtomicUsize,
}

// SAFETY: the chunks are reached by one writer and one reader, each slot by one of them at a time (see
// the SAFETY arguments below); items move from one thread to the other, hence `T: Send`.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above; the shared fields are atomics.
unsafe impl<T: Send> Sync for Shared<T> {}

/// The producer's end.
pub(super) struct Writer<T> {
    shared: Arc<Shared<T>>,
    /// The chunk of the last written item; null before the first.
    chunk: *mut Chunk<T>,
    /// Items written.
    position: usize,
    /// The messages in them.
    messages: usize,
    /// The last number of items published.
    published: usize,
    /// The last value read of `taken`.
    taken: usize,
}

/// The consumer's end.
pub(super) struct Reader<T> {
    shared: Arc<Shared<T>>,
    /// The chunk of the last taken item; null before the first.
    chunk: *mut Chunk<T>,
    /// Items taken.
    position: usize,
    /// Messages taken, as the owner counts them.
    messages: usize,
    /// The last value read of the number of items published.
    published: usize,
}

/// Sees how long the queue is; touches no item.
pub(super) struct Gauge<T>(Arc<Shared<T>>);

// SAFETY: the raw chunk pointer is this end's own cursor into memory that `shared` keeps alive.
unsafe impl<T: Send> Send for Writer<T> {}
// SAFETY: as for the writer.
unsafe impl<T: Send> Send for Reader<T> {}

/// A new empty queue.
pub(super) fn ring<T>() -> (Writer<T>, Reader<T>) {
    let shared = Arc::new(Shared {
        published: CachePadded::new(Published {
            items: AtomicUsize::new(0),
            messages: AtomicUsize::new(0),
        }),
        taken: CachePadded::new(AtomicUsize::new(0)),
        first: AtomicPtr::new(ptr::null_mut()),
        spare: AtomicPtr::new(ptr::null_mut()),
        read: AtomicUsize::new(0),
        written: AtomicUsize::new(0),
    });
    let writer = Writer {
        shared: Arc::clone(&shared),
        chunk: ptr::null_mut(),
        position: 0,
        messages: 0,
        published: 0,
        taken: 0,
    };
    let reader = Reader {
        shared,
        chunk: ptr::null_mut(),
        position: 0,
        messages: 0,
        published: 0,
    };
    (writer, reader)
}

impl<T> Writer<T> {
    /// Adds an item that stands for `messages`, and stays invisible until [`publish`](Self::publish).
    #[inline]
    pub(super) fn push(&mut self, item: T, messages: usize) {
        let index = self.position % CHUNK;
        if index == 0 {
            self.next_chunk();
        }
        // SAFETY: `chunk` is live: it is freed only after the reader has left it, and the reader leaves
        // a chunk only when all its items were published. The slot at `position` is unpublished, so the
        // reader does not touch it, and no item is in it: a reused chunk was emptied.
        unsafe { (*self.chunk).slots[index].with_mut(|slot| (*slot).write(item)) };
        self.position += 1;
        self.messages += messages;
    }

    #[cold]
    fn next_chunk(&mut self) {
        let mut next = self.shared.spare.swap(ptr::null_mut(), Ordering::AcqRel);
        if next.is_null() {
            next = Chunk::boxed();
        } else {
            // SAFETY: the swap made this end the only owner of the spare chunk.
            unsafe { (*next).next.store(ptr::null_mut(), Ordering::Relaxed) };
        }
        if self.chunk.is_null() {
            self.shared.first.store(next, Ordering::Release);
        } else {
            // SAFETY: the old chunk is live: the reader cannot leave it before it finds `next` there.
            unsafe { (*self.chunk).next.store(next, Ordering::Release) };
        }
        self.chunk = next;
    }

    /// Makes everything written so far visible to the reader.
    #[inline]
    pub(super) fn publish(&mut self) {
        self.published = self.position;
        let published = &self.shared.published;
        published.messages.store(self.messages, Ordering::Relaxed);
        published.items.store(self.position, Ordering::Release);
    }

    /// Whether everything written is visible to the reader.
    #[inline]
    pub(super) fn is_published(&self) -> bool {
        self.published == self.position
    }

    /// For whoever wants to know how long the queue is.
    pub(super) fn gauge(&self) -> Gauge<T> {
        Gauge(Arc::clone(&self.shared))
    }

    /// Messages in the queue, as far as this end knows: never too few.
    #[inline]
    pub(super) fn queued(&self) -> usize {
        self.messages - self.taken
    }

    /// As [`queued`](Self::queued), with what the reader has reported by now.
    #[inline]
    pub(super) fn queued_now(&mut self) -> usize {
        self.taken = self.shared.taken.load(Ordering::Acquire);
        self.queued()
    }
}

impl<T> Reader<T> {
    /// Takes the oldest published item.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<T> {
        let slot = self.front()?;
        // SAFETY: the slot is published, so the writer has finished it (Release/Acquire on `published`)
        // and will not touch it again; the position moves on, so it is read once.
        let item = unsafe { (*slot).with_mut(|slot| (*slot).assume_init_read()) };
        self.position += 1;
        Some(item)
    }

    /// Shows the oldest published item to `look` in its place, and then drops it there: for an item that
    /// costs more to move than to read.
    #[inline]
    pub(super) fn pop_with<R>(&mut self, look: impl FnOnce(&mut T) -> R) -> Option<R> {
        /// Drops the item at the end, also when `look` panics.
        struct Shown<'a, T>(&'a CheckedCell<MaybeUninit<T>>);
        impl<T> Drop for Shown<'_, T> {
            fn drop(&mut self) {
                // SAFETY: made once for an item that the position has left behind: nobody else drops it.
                self.0
                    .with_mut(|slot| unsafe { (*slot).assume_init_drop() });
            }
        }
        let slot = self.front()?;
        self.position += 1;
        // SAFETY: the slot is published, as in `pop`, and stays this end's until the next call of
        // `front`, which the borrow of `self` rules out here.
        let shown = Shown(unsafe { &*slot });
        // SAFETY: the item is initialised, and no other reference to it exists.
        Some(
            shown
                .0
                .with_mut(|slot| look(unsafe { (*slot).assume_init_mut() })),
        )
    }

    /// The slot of the oldest published item, in a chunk that this end owns.
    #[inline]
    fn front(&mut self) -> Option<*const CheckedCell<MaybeUninit<T>>> {
        if !self.is_at_hand() {
            return None;
        }
        let index = self.position % CHUNK;
        if index == 0 {
            self.next_chunk();
        }
        // SAFETY: the chunk is live: this end owns it until `next_chunk` gives it back.
        Some(unsafe { &raw const (*self.chunk).slots[index] })
    }

    /// Whether an item can be taken now.
    #[inline]
    pub(super) fn is_at_hand(&mut self) -> bool {
        self.position != self.published || self.refresh()
    }

    /// Looks for newly published items.
    #[inline]
    fn refresh(&mut self) -> bool {
        self.published = self.shared.published.items.load(Ordering::Acquire);
        self.position != self.published
    }

    #[cold]
    fn next_chunk(&mut self) {
        if self.chunk.is_null() {
            self.chunk = self.shared.first.load(Ordering::Acquire);
            return;
        }
        // SAFETY: the chunk is live, this end owns it until it gives it back below; its successor was
        // linked before the item that this call makes room for was published.
        let next = unsafe { (*self.chunk).next.load(Ordering::Acquire) };
        debug_assert!(!next.is_null());
        let unwanted = self.shared.spare.swap(self.chunk, Ordering::AcqRel);
        if !unwanted.is_null() {
            // SAFETY: the swap made this end the only owner; every item of a spare chunk was taken.
            drop(unsafe { Box::from_raw(unwanted) });
        }
        self.chunk = next;
    }

    /// Messages taken so far.
    #[inline]
    pub(super) fn taken(&self) -> usize {
        self.messages
    }

    /// So many messages more were taken, of items that were taken.
    #[inline]
    pub(super) fn count(&mut self, messages: usize) {
        self.messages += messages;
    }

    /// Tells the writer how far this end is.
    #[inline]
    pub(super) fn report(&mut self) {
        self.shared.taken.store(self.messages, Ordering::Release);
    }

    /// For whoever wants to know how long the queue is.
    pub(super) fn gauge(&self) -> Gauge<T> {
        Gauge(Arc::clone(&self.shared))
    }

    /// Messages that could be taken now.
    #[inline]
    pub(super) fn available(&self) -> usize {
        let published = &self.shared.published;
        published.items.load(Ordering::Acquire);
        published.messages.load(Ordering::Relaxed) - self.messages
    }
}

impl<T> Gauge<T> {
    /// Published messages of which the reader has not told yet that it took them.
    pub(super) fn queued(&self) -> usize {
        // In this order the difference is never negative.
        let taken = self.0.taken.load(Ordering::Acquire);
        self.0.published.messages.load(Ordering::Acquire) - taken
    }
}

impl<T> Drop for Writer<T> {
    fn drop(&mut self) {
        self.shared.written.store(self.position, Ordering::Relaxed);
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        while self.pop().is_some() {}
        self.messages = self.shared.published.messages.load(Ordering::Relaxed);
        self.report();
        self.shared.read.store(self.position, Ordering::Relaxed);
        if !self.chunk.is_null() {
            self.shared.first.store(self.chunk, Ordering::Relaxed);
        }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Both ends are gone: what they stored before they let go of the Arc is visible here.
        let written = self.written.load(Ordering::Relaxed);
        let mut position = self.read.load(Ordering::Relaxed);
        let mut chunk = self.first.load(Ordering::Relaxed);
        // The reader's chunk is used up when it stopped at a boundary (but not at the very start).
        let mut used_up = position > 0 && position.is_multiple_of(CHUNK);
        while !chunk.is_null() {
            if used_up {
                used_up = false;
            } else {
                loop {
                    if position == written {
                        break;
                    }
                    // SAFETY: items between the reader's and the writer's last position are initialised,
                    // and nobody else can reach them any more.
                    unsafe {
                        (*chunk).slots[position % CHUNK]
                            .with_mut(|slot| (*slot).assume_init_drop());
                    }
                    position += 1;
                    if position.is_multiple_of(CHUNK) {
                        break;
                    }
                }
            }
            // SAFETY: the chunk is owned by this list alone, and its items are gone.
            let freed = unsafe { Box::from_raw(chunk) };
            chunk = freed.next.load(Ordering::Relaxed);
        }
        let spare = self.spare.load(Ordering::Relaxed);
        if !spare.is_null() {
            // SAFETY: as above; a spare chunk has no items.
            drop(unsafe { Box::from_raw(spare) });
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn items_appear_only_after_publish_and_in_order() {
        let (mut writer, mut reader) = ring();
        writer.push(1, 1);
        assert_eq!(reader.pop(), None);
        writer.push(2, 1);
        writer.publish();
        writer.push(3, 1);
        assert_eq!(reader.pop(), Some(1));
        assert_eq!(reader.pop(), Some(2));
        assert_eq!(reader.pop(), None);
        writer.publish();
        assert_eq!(reader.pop(), Some(3));
    }

    #[test]
    fn item_looked_at_in_its_place_is_dropped_once_also_when_looking_panics() {
        let item = Arc::new(());
        let (mut writer, mut reader) = ring();
        for _ in 0..2 * CHUNK {
            writer.push(Arc::clone(&item), 1);
        }
        writer.publish();
        for left in (CHUNK + 1..=2 * CHUNK).rev() {
            let count = reader.pop_with(|item| Arc::strong_count(item));
            assert_eq!(count, Some(left + 1));
            assert_eq!(Arc::strong_count(&item), left);
        }
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            reader.pop_with(|_| panic!("while looking"));
        }));
        assert!(panicked.is_err());
        assert_eq!(Arc::strong_count(&item), CHUNK);
        drop((writer, reader));
        assert_eq!(Arc::strong_count(&item), 1);
    }

    #[test]
    fn every_item_is_dropped_once_wherever_both_ends_stop() {
        for written in 0..3 * CHUNK {
            for read in 0..=written {
                for flushed in [read, written] {
                    let item = Arc::new(());
                    let (mut writer, mut reader) = ring();
                    for index in 0..written {
                        if index == flushed {
                            writer.publish();
                        }
                        writer.push(Arc::clone(&item), 1);
                    }
                    if flushed == written {
                        writer.publish();
                    }
                    for _ in 0..read {
                        assert!(reader.pop().is_some());
                    }
                    if read % 2 == 0 {
                        drop(writer);
                        drop(reader);
                    } else {
                        drop(reader);
                        writer.push(Arc::clone(&item), 1);
                        drop(writer);
                    }
                    assert_eq!(Arc::strong_count(&item), 1, "{written} {read} {flushed}");
                }
            }
        }
    }

    #[test]
    fn two_threads_pass_items_in_order() {
        let (mut writer, mut reader) = ring();
        let count = 20_000_usize;
        let thread = std::thread::spawn(move || {
            for index in 0..count {
                writer.push(Box::new(index), 1);
                if index % 7 == 0 {
                    writer.publish();
                }
            }
            writer.publish();
        });
        let mut expected = 0;
        while expected < count {
            match reader.pop() {
                Some(item) => {
                    assert_eq!(*item, expected);
                    expected += 1;
                }
                None => std::thread::yield_now(),
            }
        }
        thread.join().unwrap();
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::thread;

    /// Chunks have two slots here: five items cross two chunk boundaries and reuse one.
    #[test]
    fn loom_items_arrive_whole_and_in_order_and_none_is_leaked() {
        loom::model(|| {
            let (mut writer, mut reader) = ring();
            let thread = thread::spawn(move || {
                for item in 0..5 {
                    writer.push(Box::new(item), 1);
                    if item % 2 == 0 {
                        writer.publish();
                    }
                }
            });
            let mut expected = 0;
            for _ in 0..2 {
                while let Some(item) = reader.pop() {
                    assert_eq!(*item, expected);
                    expected += 1;
                    reader.report();
                }
                reader.pop_with(|item| {
                    assert_eq!(**item, expected);
                    expected += 1;
                });
                thread::yield_now();
            }
            drop(reader);
            thread.join().unwrap();
        });
    }
}
