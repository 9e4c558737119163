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

mod load;
mod ring;
mod waker;

use std::sync::{Mutex, OnceLock};

use mqcore_proto::{Message, Run};

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
    load: load::Load,
    reader_closed: AtomicBool,
    writer_closed: AtomicBool,
    reader_waker: OnceLock<Waker>,
    writer_waker: OnceLock<Waker>,
}

/// What stands in a queue as one item.
pub enum Queued {
    /// One message.
    Message(Message),
    /// Many.
    Run(Run),
}

impl Queued {
    /// Payload bytes that lie elsewhere.
    #[inline]
    fn heap_len(&self) -> usize {
        match self {
            Self::Message(message) => message.heap_len(),
            Self::Run(run) => run.byte_len(),
        }
    }
}

/// The sending end of one direction.
pub struct PipeWriter {
    ring: ring::Writer<Queued>,
    shared: Arc<Shared>,
    bytes: load::Written,
}

/// The receiving end of one direction.
pub struct PipeReader {
    ring: ring::Reader<Queued>,
    shared: Arc<Shared>,
    /// What is left of the run that was taken out last.
    run: Run,
    /// Items taken when the writer was told last.
    reported: usize,
    bytes: load::Taken,
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
pub struct Gauge(ring::Gauge<Queued>, Arc<Shared>);

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
        load: load::Load::default(),
        reader_closed: AtomicBool::new(false),
        writer_closed: AtomicBool::new(false),
        reader_waker: OnceLock::new(),
        writer_waker: OnceLock::new(),
    });
    let (writer, reader) = ring::ring();
    let writer = PipeWriter {
        ring: writer,
        shared: Arc::clone(&shared),
        bytes: load::Written::default(),
    };
    let reader = PipeReader {
        ring: reader,
        shared,
        run: Run::default(),
        reported: 0,
        bytes: load::Taken::default(),
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
            None => {
                self.bytes.add(message.heap_len());
                self.ring.push(Queued::Message(message), 1);
            }
            Some(newest) => *lock(newest) = Some(message),
        }
    }

    /// How many messages may be written now; most of the time not all that could be. If none, this end is asleep until
    /// there is room.
    #[inline]
    pub fn room(&mut self) -> usize {
        if !self.has_room() {
            return 0;
        }
        match self.shared.hwm.load(Ordering::Relaxed) {
            0 => usize::MAX,
            hwm => hwm.saturating_sub(self.ring.queued()).max(1),
        }
    }

    /// Writes many messages, as [`write`](Self::write) does one: ask [`room`](Self::room) first.
    #[inline]
    pub fn write_run(&mut self, mut run: Run) {
        match &self.shared.newest {
            None if run.is_empty() => {}
            None => {
                let count = run.len();
                self.bytes.add(run.byte_len());
                self.ring.push(Queued::Run(run), count);
            }
            Some(newest) => {
                while let Some(message) = run.pop_front() {
                    *lock(newest) = Some(message);
                }
            }
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

    /// Whether no flush is owed yet, so that who writes now has to note that one is. A conflating pipe does not know: it
    /// says so before each write.
    #[inline]
    pub fn is_flushed(&self) -> bool {
        self.ring.is_published()
    }

    /// Shows the reader what was written, and calls it if it sleeps.
    #[inline]
    pub fn flush(&mut self) {
        self.ring.publish();
        fence(Ordering::SeqCst); // against the fence in `PipeReader::read_slow`
        if self.shared.reader_asleep.load(Ordering::Relaxed)
            && self.shared.reader_asleep.swap(false, Ordering::AcqRel)
        {
            self.bytes.report(&self.shared.load);
            wake(&self.shared.reader_waker);
        }
    }

    /// Whether more bytes are under way than go round in a cache, so that it pays to wait for the reader a moment.
    #[inline]
    pub fn is_laden(&mut self) -> bool {
        self.bytes.is_laden(&self.shared.load)
    }

    /// Begins to wait until many of those bytes were taken: ask [`is_eased`](Self::is_eased).
    pub fn wait_until_eased(&mut self) {
        self.bytes.wait(&self.shared.load);
    }

    /// Whether that is so. If not, this end is called when it is.
    pub fn is_eased(&mut self) -> bool {
        self.bytes.is_eased(&self.shared.load)
    }

    /// The wait was in vain. A reader that has not moved is not waited for again before it has.
    pub fn give_up(&mut self) {
        self.bytes.give_up(&self.shared.load);
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
        if self.run.is_empty() {
            match self.ring.pop() {
                Some(Queued::Message(message)) => {
                    self.count(1);
                    self.count_bytes(message.heap_len());
                    return Read::Message(message);
                }
                Some(Queued::Run(run)) => {
                    self.count_bytes(run.byte_len());
                    self.run = run;
                }
                None => {}
            }
        }
        self.read_with(|message| {
            let mut message = std::mem::take(message);
            message.detach();
            message
        })
    }

    /// Takes the oldest message, which `look` sees in its place: what it does not take out is dropped. Whoever keeps the
    /// message should [detach](Message::detach) it.
    #[inline]
    pub fn read_with<R>(&mut self, look: impl FnOnce(&mut Message) -> R) -> Read<R> {
        if !self.run.is_empty() {
            return Read::Message(self.read_of_run(look));
        }
        let read = self.read_queued(|queued| match queued {
            Queued::Message(message) => Ok(look(message)),
            Queued::Run(run) => Err((std::mem::take(run), look)),
        });
        match read {
            Read::Message(Ok(result)) => Read::Message(result),
            Read::Message(Err((run, look))) => {
                self.run = run;
                Read::Message(self.read_of_run(look))
            }
            Read::Empty => Read::Empty,
            Read::Closed => Read::Closed,
        }
    }

    /// Shows the next message of the run to `look`.
    #[inline]
    fn read_of_run<R>(&mut self, look: impl FnOnce(&mut Message) -> R) -> R {
        let result = self.run.take_with(look).expect("a run that is not empty");
        self.count(1);
        result
    }

    /// Shows to `look` the payloads of messages that came in one run with the message read last, at most `most`, and takes
    /// them; how many there were.
    #[inline]
    pub fn read_more(&mut self, most: usize, look: &mut dyn FnMut(&[u8])) -> usize {
        if self.run.is_empty() {
            return 0;
        }
        let read = self.run.take_each(most, look);
        self.count(read);
        read
    }

    /// Takes all messages of a run at once, or else the oldest message; `look` sees them in their place.
    #[inline]
    pub fn read_many<R>(&mut self, look: impl FnOnce(&mut Queued) -> R) -> Read<R> {
        if !self.run.is_empty() {
            let run = std::mem::take(&mut self.run);
            self.count(run.len());
            return Read::Message(look(&mut Queued::Run(run)));
        }
        let mut many = 0;
        let read = self.read_queued(|queued| {
            if let Queued::Run(run) = queued {
                many = run.len();
            }
            look(queued)
        });
        if many > 0 {
            self.count(many);
        }
        read
    }

    /// Takes the oldest item. A message is counted here, a run by the caller.
    #[inline]
    fn read_queued<R>(&mut self, look: impl FnOnce(&mut Queued) -> R) -> Read<R> {
        if self.ring.is_at_hand() {
            return Read::Message(self.pop_with(look));
        }
        self.read_slow(look)
    }

    /// Takes the item that is at hand.
    #[inline]
    fn pop_with<R>(&mut self, look: impl FnOnce(&mut Queued) -> R) -> R {
        let mut single = false;
        let mut bytes = 0;
        let result = self.ring.pop_with(|queued| {
            single = matches!(queued, Queued::Message(_));
            bytes = queued.heap_len();
            look(queued)
        });
        if single {
            self.count(1);
        }
        if bytes > 0 {
            self.count_bytes(bytes);
        }
        result.expect("it is at hand")
    }

    #[cold]
    fn read_slow<R>(&mut self, look: impl FnOnce(&mut Queued) -> R) -> Read<R> {
        if self.ring.taken() != self.reported {
            self.report();
        }
        self.shared.reader_asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst); // against the fence in `PipeWriter::flush`
        // Closed is looked at before the queue: what was published before the closing is then seen.
        let closed = self.shared.writer_closed.load(Ordering::Acquire);
        let result = if self.ring.is_at_hand() {
            self.pop_with(look)
        } else {
            let newest = self.shared.newest.as_ref();
            let mut message = newest.and_then(|newest| lock(newest).take());
            if message.is_none() && closed {
                message = self.epilogue.take().map(|message| *message);
            }
            match message {
                Some(message) => look(&mut Queued::Message(message)),
                None if closed => return Read::Closed,
                None => return Read::Empty,
            }
        };
        self.shared.reader_asleep.store(false, Ordering::Relaxed);
        Read::Message(result)
    }

    /// So many messages more were taken.
    #[inline]
    fn count(&mut self, messages: usize) {
        self.ring.count(messages);
        let hwm = self.shared.hwm.load(Ordering::Relaxed);
        let unreported = self.ring.taken() - self.reported;
        if unreported >= hwm.div_ceil(2).clamp(1, CREDIT_BATCH) {
            self.report();
        }
    }

    /// So many bytes more were taken.
    fn count_bytes(&mut self, bytes: usize) {
        self.bytes.add(bytes);
        if self.bytes.is_due() {
            self.report();
        }
    }

    /// Gives credit back; calls a sleeping writer when the pipe is down to half of its bound.
    fn report(&mut self) {
        self.reported = self.ring.taken();
        self.ring.report();
        self.bytes.report(&self.shared.load);
        fence(Ordering::SeqCst); // against those in `PipeWriter::sleep` and `Written::wait`
        if self.bytes.eases(&self.shared.load) {
            wake(&self.shared.writer_waker);
        }
        if self.shared.writer_asleep.load(Ordering::Relaxed) {
            let hwm = self.shared.hwm.load(Ordering::Relaxed);
            if self.ring.available() <= hwm / 2
                && self.shared.writer_asleep.swap(false, Ordering::AcqRel)
            {
                wake(&self.shared.writer_waker);
            }
        }
    }

    /// Payload bytes in the pipe (but for those of the shortest messages), as of when this end was last called.
    pub fn queued_bytes(&self) -> usize {
        self.bytes.under_way(&self.shared.load)
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

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod model_tests;
#[cfg(all(test, not(loom)))]
mod tests;
