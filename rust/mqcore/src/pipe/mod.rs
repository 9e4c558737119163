//! The path of whole messages to one peer, bounded by a high-water mark.
//!
//! One direction is a [`PipeWriter`] and a [`PipeReader`]; [`pipe_pair`] gives two ends with both. An end
//! belongs to one owner at a time, who calls it from one thread at a time.
//!
//! The contract of sleeping: a reader that found nothing, or a writer that found no room, is *asleep* from
//! then on, and the other end calls its [`Waker`] once when that changes. An end that is awake is not
//! called, except that the other end's going away is always told. An owner sets its waker before it reads
//! or writes for the first time, and treats a new end as awake.
//!
//! Closing: dropping the writer flushes it; the reader still gets everything that was written before it
//! sees [`Read::Closed`]. Dropping the reader throws away what is unread; the writer sees `is_closed`.

mod ring;
mod waker;

use std::sync::{Mutex, OnceLock};

use mqcore_proto::Message;

use crate::sync::{AtomicBool, AtomicUsize, CheckedArc as Arc, Ordering, fence, lock};

pub use waker::{Wake, Waker};

/// At most so many messages go by before the reader tells the writer (which does not wake it yet).
const CREDIT_BATCH: usize = 32;

/// What bounds one direction of a pipe, in messages: the sum of the shares of both ends.
///
/// Over a network one end is the I/O thread's, which has no share; inproc, both count (a share of 0
/// makes the whole pipe unbounded).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// The writer's share (SNDHWM), if it has one.
    pub send: Option<usize>,
    /// The reader's share (RCVHWM), if it has one.
    pub receive: Option<usize>,
    /// Keep only the newest message; the shares have no effect then.
    pub conflate: bool,
}

impl Bound {
    /// A bound of `hwm` messages, all of it the writer's share; 0 is no bound.
    pub const fn messages(hwm: usize) -> Self {
        Self {
            send: Some(hwm),
            receive: None,
            conflate: false,
        }
    }
}

/// The share of an end that has none.
const NO_SHARE: usize = usize::MAX;

/// The high-water mark that two shares make; 0 is no bound.
fn total(send: usize, receive: usize) -> usize {
    match (send, receive) {
        (NO_SHARE, NO_SHARE) | (0, _) | (_, 0) => 0,
        (NO_SHARE, share) | (share, NO_SHARE) => share,
        (send, receive) => send.saturating_add(receive),
    }
}

/// What a read found.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<T = Message> {
    /// The oldest message (or what was made of it in its place).
    Message(T),
    /// Nothing now; the waker is called when there is.
    Empty,
    /// Nothing ever again: the writer is gone and all was read.
    Closed,
}

struct Shared {
    /// Most messages in the pipe; 0 is no bound. Invariant: the total of both shares.
    hwm: AtomicUsize,
    send_share: AtomicUsize,
    receive_share: AtomicUsize,
    /// Newest message of a conflating pipe; unused otherwise.
    newest: Option<Mutex<Option<Message>>>,
    reader_asleep: AtomicBool,
    writer_asleep: AtomicBool,
    reader_closed: AtomicBool,
    writer_closed: AtomicBool,
    reader_waker: OnceLock<Waker>,
    writer_waker: OnceLock<Waker>,
}

/// The sending end of one direction.
pub struct PipeWriter {
    ring: ring::Writer<Message>,
    shared: Arc<Shared>,
}

/// The receiving end of one direction.
pub struct PipeReader {
    ring: ring::Reader<Message>,
    shared: Arc<Shared>,
    /// Items taken when the writer was told last.
    reported: usize,
    /// What is read when the writer is gone and everything it wrote was read.
    epilogue: Option<Box<Message>>,
}

/// One end of a pipe that carries messages both ways.
pub struct PipeEnd {
    /// What the other end wrote.
    pub reader: PipeReader,
    /// What the other end will read.
    pub writer: PipeWriter,
}

/// Tells how full one direction is; whoever holds the ends.
pub struct Gauge(ring::Gauge<Message>, Arc<Shared>);

impl Gauge {
    /// Messages in the pipe: while the reader works, up to a batch of credit too many.
    pub fn queued(&self) -> usize {
        match &self.1.newest {
            None => self.0.queued(),
            Some(newest) => usize::from(lock(newest).is_some()),
        }
    }
}

/// A new one-way pipe.
pub fn pipe(bound: Bound) -> (PipeWriter, PipeReader) {
    let send = bound.send.unwrap_or(NO_SHARE);
    let receive = bound.receive.unwrap_or(NO_SHARE);
    let hwm = if bound.conflate {
        0
    } else {
        total(send, receive)
    };
    let shared = Arc::new(Shared {
        hwm: AtomicUsize::new(hwm),
        send_share: AtomicUsize::new(send),
        receive_share: AtomicUsize::new(receive),
        newest: bound.conflate.then(|| Mutex::new(None)),
        reader_asleep: AtomicBool::new(false),
        writer_asleep: AtomicBool::new(false),
        reader_closed: AtomicBool::new(false),
        writer_closed: AtomicBool::new(false),
        reader_waker: OnceLock::new(),
        writer_waker: OnceLock::new(),
    });
    let (writer, reader) = ring::ring();
    let writer = PipeWriter {
        ring: writer,
        shared: Arc::clone(&shared),
    };
    let reader = PipeReader {
        ring: reader,
        shared,
        reported: 0,
        epilogue: None,
    };
    (writer, reader)
}

/// A new two-way pipe: `outward` bounds what the first end writes, `inward` what it reads.
pub fn pipe_pair(outward: Bound, inward: Bound) -> (PipeEnd, PipeEnd) {
    let (near_writer, far_reader) = pipe(outward);
    let (far_writer, near_reader) = pipe(inward);
    (
        PipeEnd {
            reader: near_reader,
            writer: near_writer,
        },
        PipeEnd {
            reader: far_reader,
            writer: far_writer,
        },
    )
}

fn wake(waker: &OnceLock<Waker>) {
    if let Some(waker) = waker.get() {
        waker.wake();
    }
}

impl PipeWriter {
    /// Names whom to call when room comes back or the reader goes. Look at
    /// [`is_closed`](Self::is_closed) afterwards: it may have gone before.
    pub fn set_waker(&mut self, waker: Waker) {
        let _ = self.shared.writer_waker.set(waker);
        fence(Ordering::SeqCst); // against the fence in the reader's drop
    }

    /// Whether a message may be written now. If not, this end is asleep until there is room.
    #[inline]
    pub fn has_room(&mut self) -> bool {
        let hwm = self.shared.hwm.load(Ordering::Relaxed);
        if hwm == 0 || self.ring.queued() < hwm || self.ring.queued_now() < hwm {
            return true;
        }
        self.sleep(hwm)
    }

    #[cold]
    fn sleep(&mut self, hwm: usize) -> bool {
        self.shared.writer_asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst); // against the fence in `PipeReader::report`
        if self.ring.queued_now() < hwm {
            self.shared.writer_asleep.store(false, Ordering::Relaxed);
            return true;
        }
        false
    }

    /// Writes a message whether there is room or not: ask [`has_room`](Self::has_room) first, except
    /// for what does not count against the high-water mark. The reader sees it after the next flush.
    #[inline]
    pub fn write(&mut self, message: Message) {
        match &self.shared.newest {
            None => self.ring.push(message),
            Some(newest) => *lock(newest) = Some(message),
        }
    }

    /// Writes a message if there is room, or gives it back.
    #[inline]
    pub fn try_write(&mut self, message: Message) -> Result<(), Message> {
        if self.has_room() {
            self.write(message);
            Ok(())
        } else {
            Err(message)
        }
    }

    /// Whether the reader sees everything that was written: no flush is owed. (A conflating pipe owes one
    /// always.)
    #[inline]
    pub fn is_flushed(&self) -> bool {
        self.ring.is_published() && self.shared.newest.is_none()
    }

    /// Shows the reader what was written, and calls it if it sleeps.
    #[inline]
    pub fn flush(&mut self) {
        self.ring.publish();
        fence(Ordering::SeqCst); // against the fence in `PipeReader::read_slow`
        if self.shared.reader_asleep.load(Ordering::Relaxed)
            && self.shared.reader_asleep.swap(false, Ordering::AcqRel)
        {
            wake(&self.shared.reader_waker);
        }
    }

    /// Whether the reader is gone.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.shared.reader_closed.load(Ordering::Acquire)
    }

    /// Whether the other end waits for something to read.
    #[inline]
    pub fn reader_is_asleep(&self) -> bool {
        self.shared.reader_asleep.load(Ordering::Relaxed)
    }

    /// For whoever wants to know how full the pipe is.
    pub fn gauge(&self) -> Gauge {
        Gauge(self.ring.gauge(), Arc::clone(&self.shared))
    }

    /// Messages in the pipe, as far as this end knows: never too few.
    pub fn queued(&mut self) -> usize {
        self.ring.queued_now()
    }

    /// Changes this end's share of the bound, at once; a lower one drops nothing. A writer that sleeps
    /// is called.
    pub fn set_hwm(&mut self, hwm: usize) {
        self.shared.send_share.store(hwm, Ordering::Relaxed);
        bound_changed(&self.shared);
    }
}

fn bound_changed(shared: &Shared) {
    if shared.newest.is_none() {
        fence(Ordering::SeqCst); // both ends may change their share at once: the last one sees both
        let send = shared.send_share.load(Ordering::Relaxed);
        let receive = shared.receive_share.load(Ordering::Relaxed);
        shared.hwm.store(total(send, receive), Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if shared.writer_asleep.swap(false, Ordering::AcqRel) {
            wake(&shared.writer_waker);
        }
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        self.ring.publish();
        self.shared.writer_closed.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        self.shared.reader_asleep.store(false, Ordering::Relaxed);
        wake(&self.shared.reader_waker);
    }
}

impl PipeReader {
    /// Names whom to call when there is something to read or the writer goes. Then read, to see what
    /// came before.
    pub fn set_waker(&mut self, waker: Waker) {
        let _ = self.shared.reader_waker.set(waker);
        fence(Ordering::SeqCst);
    }

    /// Sets what is read as the last message when the writer is gone, whatever it wrote.
    pub fn set_epilogue(&mut self, message: Message) {
        self.epilogue = Some(Box::new(message));
    }

    /// Takes the oldest message.
    #[inline]
    pub fn read(&mut self) -> Read {
        match self.ring.pop() {
            Some(message) => {
                self.count();
                Read::Message(message)
            }
            None => self.read_slow(std::mem::take),
        }
    }

    /// Takes the oldest message, which `look` sees in its place: what it does not take out is dropped.
    #[inline]
    pub fn read_with<R>(&mut self, look: impl FnOnce(&mut Message) -> R) -> Read<R> {
        if self.ring.is_at_hand() {
            let result = self.ring.pop_with(look).expect("it is at hand");
            self.count();
            return Read::Message(result);
        }
        self.read_slow(look)
    }

    #[cold]
    fn read_slow<R>(&mut self, look: impl FnOnce(&mut Message) -> R) -> Read<R> {
        if self.ring.position() != self.reported {
            self.report();
        }
        self.shared.reader_asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst); // against the fence in `PipeWriter::flush`
        // Closed is looked at before the queue: what was published before the closing is then seen.
        let closed = self.shared.writer_closed.load(Ordering::Acquire);
        let mut look = Some(look);
        let mut look = |message: &mut Message| look.take().map(|look| look(message));
        let mut found = match &self.shared.newest {
            None => self.ring.pop_with(&mut look).inspect(|_| self.count()),
            Some(newest) => lock(newest).take().map(|mut message| look(&mut message)),
        };
        if found.is_none() && closed {
            found = self.epilogue.take().map(|mut message| look(&mut message));
        }
        match found.flatten() {
            Some(result) => {
                self.shared.reader_asleep.store(false, Ordering::Relaxed);
                Read::Message(result)
            }
            None if closed => Read::Closed,
            None => Read::Empty,
        }
    }

    #[inline]
    fn count(&mut self) {
        let hwm = self.shared.hwm.load(Ordering::Relaxed);
        if self.ring.position() - self.reported >= hwm.div_ceil(2).clamp(1, CREDIT_BATCH) {
            self.report();
        }
    }

    /// Gives credit back; calls a sleeping writer when the pipe is down to half of its bound.
    fn report(&mut self) {
        self.reported = self.ring.position();
        self.ring.report();
        fence(Ordering::SeqCst); // against the fence in `PipeWriter::sleep`
        if self.shared.writer_asleep.load(Ordering::Relaxed) {
            let hwm = self.shared.hwm.load(Ordering::Relaxed);
            if self.ring.available() <= hwm / 2
                && self.shared.writer_asleep.swap(false, Ordering::AcqRel)
            {
                wake(&self.shared.writer_waker);
            }
        }
    }

    /// Whether the writer is gone (there may still be something to read).
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.shared.writer_closed.load(Ordering::Acquire)
    }

    /// For whoever wants to know how full the pipe is.
    pub fn gauge(&self) -> Gauge {
        Gauge(self.ring.gauge(), Arc::clone(&self.shared))
    }

    /// Whether a read would find a message, without falling asleep over it.
    pub fn has_message(&mut self) -> bool {
        self.queued() > 0 || self.epilogue.is_some() && self.is_closed()
    }

    /// Messages that could be read now.
    pub fn queued(&self) -> usize {
        match &self.shared.newest {
            None => self.ring.available(),
            Some(newest) => usize::from(lock(newest).is_some()),
        }
    }

    /// Changes this end's share of the bound, at once; a lower one drops nothing. A writer that sleeps
    /// is called.
    pub fn set_hwm(&mut self, hwm: usize) {
        self.shared.receive_share.store(hwm, Ordering::Relaxed);
        bound_changed(&self.shared);
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        self.shared.reader_closed.store(true, Ordering::Release);
        fence(Ordering::SeqCst); // against the fence in `PipeWriter::set_waker`
        wake(&self.shared.writer_waker);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// Remembers the tokens it was called with.
    #[derive(Default)]
    struct Calls(Mutex<Vec<u64>>);

    impl Wake for Calls {
        fn wake(&self, token: u64) {
            lock(&self.0).push(token);
        }
    }

    impl Calls {
        fn take(&self) -> Vec<u64> {
            std::mem::take(&mut *lock(&self.0))
        }
    }

    const READER: u64 = 1;
    const WRITER: u64 = 2;

    fn watched(bound: Bound) -> (PipeWriter, PipeReader, Arc<Calls>) {
        let calls = Arc::new(Calls::default());
        let (mut writer, mut reader) = pipe(bound);
        writer.set_waker(Waker::new(calls.clone(), WRITER));
        reader.set_waker(Waker::new(calls.clone(), READER));
        (writer, reader, calls)
    }

    fn message(number: usize) -> Message {
        number.to_string().as_str().into()
    }

    #[test]
    fn only_a_sleeping_reader_is_called_and_once() {
        let (mut writer, mut reader, calls) = watched(Bound::messages(0));
        writer.write(message(0));
        writer.flush();
        assert!(calls.take().is_empty(), "an end that never slept is awake");
        assert_eq!(reader.read(), Read::Message(message(0)));
        assert_eq!(reader.read(), Read::Empty);
        writer.write(message(1));
        assert!(calls.take().is_empty(), "nothing is visible before flush");
        writer.flush();
        writer.write(message(2));
        writer.flush();
        assert_eq!(calls.take(), [READER]);
    }

    #[test]
    fn full_pipe_refuses_and_calls_the_writer_at_half() {
        let (mut writer, mut reader, calls) = watched(Bound::messages(10));
        for number in 0..10 {
            writer.try_write(message(number)).unwrap();
        }
        assert_eq!(writer.try_write(message(10)), Err(message(10)));
        writer.flush();
        for number in 0..4 {
            assert_eq!(reader.read(), Read::Message(message(number)));
        }
        assert!(calls.take().is_empty());
        for number in 4..10 {
            assert_eq!(reader.read(), Read::Message(message(number)));
        }
        assert_eq!(calls.take(), [WRITER]);
        assert!(writer.has_room());
    }

    #[test]
    fn writer_of_a_pipe_of_one_is_called_after_every_read() {
        let (mut writer, mut reader, calls) = watched(Bound::messages(1));
        for number in 0..3 {
            writer.try_write(message(number)).unwrap();
            writer.flush();
            assert!(!writer.has_room());
            assert_eq!(reader.read(), Read::Message(message(number)));
            assert_eq!(calls.take(), [WRITER]);
        }
    }

    #[test]
    fn dropped_writer_leaves_everything_to_the_reader() {
        let (mut writer, mut reader, calls) = watched(Bound::messages(0));
        writer.write(message(0));
        writer.write(message(1));
        drop(writer);
        assert_eq!(calls.take(), [READER]);
        assert_eq!(reader.read(), Read::Message(message(0)));
        assert_eq!(reader.read(), Read::Message(message(1)));
        assert_eq!(reader.read(), Read::Closed);
        assert_eq!(reader.read(), Read::Closed);
    }

    #[test]
    fn epilogue_is_read_once_after_everything_else() {
        let (mut writer, mut reader, calls) = watched(Bound::messages(0));
        reader.set_epilogue(message(9));
        writer.write(message(0));
        writer.flush();
        assert_eq!(reader.read(), Read::Message(message(0)));
        assert_eq!(reader.read(), Read::Empty);
        assert!(!reader.has_message());
        drop(writer);
        assert_eq!(calls.take(), [READER]);
        assert!(reader.has_message());
        assert_eq!(reader.read(), Read::Message(message(9)));
        assert!(!reader.has_message());
        assert_eq!(reader.read(), Read::Closed);
    }

    #[test]
    fn dropped_reader_is_told_to_the_writer() {
        let (writer, reader, calls) = watched(Bound::messages(0));
        drop(reader);
        assert_eq!(calls.take(), [WRITER]);
        assert!(writer.is_closed());
    }

    #[test]
    fn conflating_pipe_keeps_the_newest_only() {
        let (mut writer, mut reader, calls) = watched(Bound {
            conflate: true,
            ..Bound::messages(1)
        });
        assert_eq!(reader.read(), Read::Empty);
        for number in 0..5 {
            writer.try_write(message(number)).unwrap();
            writer.flush();
        }
        assert_eq!(calls.take(), [READER]);
        assert_eq!(reader.read(), Read::Message(message(4)));
        assert_eq!(reader.read(), Read::Empty);
    }

    #[test]
    fn shares_of_both_ends_add_up_and_zero_is_no_bound() {
        assert_eq!(total(3, 4), 7);
        assert_eq!(total(3, NO_SHARE), 3);
        assert_eq!(total(NO_SHARE, 4), 4);
        assert_eq!(total(0, 4), 0);
        assert_eq!(total(NO_SHARE, NO_SHARE), 0);
        let (mut writer, mut reader) = pipe(Bound::messages(1));
        writer.write(message(0));
        assert!(!writer.has_room());
        reader.set_hwm(1);
        assert!(writer.has_room());
    }

    #[test]
    fn raised_bound_calls_a_sleeping_writer() {
        let (mut writer, _reader, calls) = watched(Bound::messages(1));
        writer.write(message(0));
        assert!(!writer.has_room());
        writer.set_hwm(2);
        assert_eq!(calls.take(), [WRITER]);
        assert!(writer.has_room());
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::atomic::AtomicUsize as Counter;
    use loom::thread;

    /// Counts its calls where loom sees them.
    struct Calls(loom::sync::Arc<Counter>);

    impl Wake for Calls {
        fn wake(&self, _token: u64) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn waker(calls: &loom::sync::Arc<Counter>) -> Waker {
        Waker::new(std::sync::Arc::new(Calls(calls.clone())), 0)
    }

    fn message() -> Message {
        Message::from("x")
    }

    #[test]
    fn loom_reader_that_found_nothing_is_called_or_finds_the_message() {
        loom::model(|| {
            let calls = loom::sync::Arc::new(Counter::new(0));
            let (mut writer, mut reader) = pipe(Bound::messages(0));
            reader.set_waker(waker(&calls));
            let thread = thread::spawn(move || {
                writer.write(message());
                writer.flush();
                writer // closing would call too
            });
            let found = reader.read();
            let writer = thread.join().unwrap();
            match found {
                Read::Message(_) => {}
                Read::Empty => assert_eq!(calls.load(Ordering::SeqCst), 1),
                Read::Closed => panic!("the writer lives"),
            }
            drop(writer);
        });
    }

    #[test]
    fn loom_writer_that_found_no_room_is_called_or_finds_room() {
        loom::model(|| {
            let calls = loom::sync::Arc::new(Counter::new(0));
            let (mut writer, mut reader) = pipe(Bound::messages(1));
            writer.set_waker(waker(&calls));
            writer.write(message());
            writer.flush();
            let thread = thread::spawn(move || {
                assert!(matches!(reader.read(), Read::Message(_)));
                reader // closing would call too
            });
            let room = writer.has_room();
            let reader = thread.join().unwrap();
            assert!(room || calls.load(Ordering::SeqCst) == 1);
            drop(reader);
        });
    }

    #[test]
    fn loom_everything_written_before_the_end_is_read_before_closed() {
        loom::model(|| {
            let calls = loom::sync::Arc::new(Counter::new(0));
            let (mut writer, mut reader) = pipe(Bound::messages(0));
            reader.set_waker(waker(&calls));
            let thread = thread::spawn(move || {
                writer.write(message());
                drop(writer);
            });
            let mut messages = 0;
            let first = reader.read();
            let closed_early = first == Read::Closed;
            messages += usize::from(matches!(first, Read::Message(_)));
            thread.join().unwrap();
            assert!(!closed_early);
            assert!(calls.load(Ordering::SeqCst) >= 1);
            while let Read::Message(_) = reader.read() {
                messages += 1;
            }
            assert_eq!(messages, 1);
            assert_eq!(reader.read(), Read::Closed);
        });
    }

    #[test]
    fn loom_end_of_the_reader_reaches_a_writer_that_sets_its_waker_late() {
        loom::model(|| {
            let calls = loom::sync::Arc::new(Counter::new(0));
            let (mut writer, reader) = pipe(Bound::messages(0));
            let thread = thread::spawn(move || drop(reader));
            writer.set_waker(waker(&calls));
            let closed = writer.is_closed();
            thread.join().unwrap();
            assert!(closed || calls.load(Ordering::SeqCst) == 1);
        });
    }
}
