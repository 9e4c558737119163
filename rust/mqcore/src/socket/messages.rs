//! Sending and receiving, at once or with a deadline, whole messages or part by part.
//!
//! A call that waits does so outside every lock: it notes where its direction's signals stand, tries, and
//! sleeps until they have moved.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use mqcore_proto::{Frame, Message, RunBuilder, SocketType};

use super::{Inner, Socket, after, closed};
use crate::error::{Errno, Error, Result};
use crate::patience::Patience;
use crate::pattern::{
    Command, Half, Incoming, Outgoing, Peer, Properties, Refusal, takes_commands,
};
use crate::signals::Inbox;
use crate::sync::{Event, Woken, lock};
use crate::vessel::Vessel;

/// A send that was not done: why, and what was to be sent, unchanged.
pub type NotSent<T> = (Error, T);

/// A message that is shown while it is received.
pub enum Received<'a> {
    /// Any message; what is left of it is dropped.
    Message(&'a mut Message),
    /// The payload of a message of one frame.
    Payload(&'a [u8]),
}

pub(super) struct Sending {
    /// `None` after the close.
    pub(super) half: Option<Box<dyn Outgoing>>,
    /// The parts so far of a message that is sent in parts.
    pub(super) parts: Vec<Frame>,
    /// For peers that are behind.
    pub(super) patience: Patience,
}

pub(super) struct Receiving {
    /// `None` after the close.
    pub(super) half: Option<Box<dyn Incoming>>,
    /// What is left of a message that is received in parts.
    pub(super) rest: std::vec::IntoIter<Frame>,
}

impl Socket {
    /// Sends a whole message, if that can be done now.
    ///
    /// # Errors
    /// EAGAIN without room, EFSM out of turn, EHOSTUNREACH without such a peer, ENOTSUP for a type that
    /// only receives, ETERM, ENOTSOCK; each with the message back.
    pub fn try_send(&self, message: Message) -> std::result::Result<(), NotSent<Message>> {
        let inner = &*self.inner;
        let long = message.heap_len();
        let sent = {
            let mut sending = lock(&inner.outgoing);
            let sent = sending.send(inner, message);
            sending.weigh(inner, if sent.is_ok() { long } else { 0 });
            sent
        };
        inner.rearm(sent.is_ok());
        sent
    }

    /// Sends a copy of `payload` as a message of one part (or as the last part of one that is sent in
    /// parts), if that can be done now.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send).
    #[inline]
    pub fn try_send_slice(&self, payload: &[u8]) -> Result<()> {
        let inner = &*self.inner;
        let sent = {
            let mut sending = lock(&inner.outgoing);
            let sent = sending.send_slice(inner, payload);
            sending.flush();
            sending.weigh(inner, if sent.is_ok() { payload.len() } else { 0 });
            sent
        };
        inner.rearm(sent.is_ok());
        sent
    }

    /// Begins to send many messages: until the batch is dropped no other thread's send comes between.
    ///
    /// # Errors
    /// EFSM while a message that is sent in parts lacks its last part; ETERM, ENOTSOCK.
    pub fn send_batch(&self) -> Result<SendBatch<'_>> {
        let inner = &*self.inner;
        let mut sending = lock(&inner.outgoing);
        sending.fresh(inner)?;
        if !sending.parts.is_empty() {
            return Err(Error::new(
                Errno::FSM,
                "a message that is sent in parts is not complete; send its last part first",
            ));
        }
        Ok(SendBatch {
            inner,
            sending: Some(sending),
            run: RunBuilder::default(),
            room: 0,
            singly: 0,
            stretch: FIRST_STRETCH,
        })
    }

    /// Sends one part of a message; `more` says that others follow. The message goes when it is
    /// complete; whether it can be taken is decided at its first part.
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send), with the part back; the parts before stay.
    pub fn try_send_part(
        &self,
        part: Frame,
        more: bool,
    ) -> std::result::Result<(), NotSent<Frame>> {
        let inner = &*self.inner;
        let long = part.len();
        let sent = {
            let mut sending = lock(&inner.outgoing);
            let sent = sending.send_part(inner, part, more);
            sending.flush();
            sending.weigh(inner, if sent.is_ok() { long } else { 0 });
            sent
        };
        inner.rearm(sent.is_ok());
        sent
    }

    /// As [`try_send`](Self::try_send), but waits for room until `deadline` (`None`: for ever).
    ///
    /// # Errors
    /// Also EINTR when a signal handler ran on this thread: call again.
    pub fn send_until(
        &self,
        message: Message,
        deadline: Option<Instant>,
    ) -> std::result::Result<(), NotSent<Message>> {
        self.send(message, deadline, Self::try_send)?;
        self.pace(deadline);
        Ok(())
    }

    /// As [`try_send_part`](Self::try_send_part), but waits for room until `deadline`.
    ///
    /// # Errors
    /// Also EINTR when a signal handler ran on this thread: call again.
    pub fn send_part_until(
        &self,
        part: Frame,
        more: bool,
        deadline: Option<Instant>,
    ) -> std::result::Result<(), NotSent<Frame>> {
        self.send(part, deadline, |socket, part| {
            socket.try_send_part(part, more)
        })?;
        self.pace(deadline);
        Ok(())
    }

    /// Whether there is room for a message, as far as that can be said without knowing it.
    ///
    /// # Errors
    /// EAGAIN without room; ENOTSUP, ETERM, ENOTSOCK.
    pub fn check_room(&self) -> Result<()> {
        let inner = &*self.inner;
        let mut sending = lock(&inner.outgoing);
        match sending.fresh(inner)?.check(&Frame::empty()) {
            Err(refusal @ (Refusal::Again | Refusal::Unsupported)) => {
                Err(refused(inner.kind, refusal))
            }
            // The message itself decides.
            _ => Ok(()),
        }
    }

    /// Waits until [`check_room`](Self::check_room) finds room, or `deadline` (`None`: for ever).
    ///
    /// # Errors
    /// EAGAIN after the deadline, and those of `check_room`; EINTR when a signal handler ran on this
    /// thread: call again.
    pub fn wait_for_room(&self, deadline: Option<Instant>) -> Result<()> {
        self.send((), deadline, |socket, ()| {
            socket.check_room().map_err(|error| (error, ()))
        })
        .map_err(|(error, ())| error)
    }

    fn send<T>(
        &self,
        mut unsent: T,
        deadline: Option<Instant>,
        attempt: impl Fn(&Self, T) -> std::result::Result<(), NotSent<T>>,
    ) -> std::result::Result<(), NotSent<T>> {
        loop {
            let seen = self.signals().writable.epoch();
            match attempt(self, unsent) {
                Err((error, back)) if error.errno() == Errno::AGAIN => {
                    unsent = back;
                    if let Err(error) = self.wait(&self.signals().writable, seen, deadline) {
                        return Err((error, unsent));
                    }
                }
                done => return done,
            }
        }
    }

    /// Takes a whole message (or what is left of one, after [`try_recv_part`](Self::try_recv_part)).
    ///
    /// # Errors
    /// EAGAIN if there is none, EFSM out of turn, ENOTSUP for a type that only sends, ETERM, ENOTSOCK.
    pub fn try_recv(&self) -> Result<Message> {
        let inner = &*self.inner;
        let message = lock(&inner.incoming).whole(inner);
        inner.rearm(message.is_ok());
        message
    }

    /// Takes the next part of a message, and says whether others of it follow.
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv); never EAGAIN in the middle of a message.
    pub fn try_recv_part(&self) -> Result<(Frame, bool)> {
        self.try_recv_part_with(|frame, more| {
            frame.detach();
            (std::mem::take(frame), more)
        })
    }

    /// Takes the next part of a message, which `look` sees in its place, if that can be, with whether
    /// others of it follow. `look` runs under a lock of the socket: it must not call it. If it takes the
    /// part out to keep it, it should [detach](Frame::detach) it.
    ///
    /// # Errors
    /// As [`try_recv_part`](Self::try_recv_part).
    #[inline]
    pub fn try_recv_part_with<R>(&self, look: impl FnOnce(&mut Frame, bool) -> R) -> Result<R> {
        let inner = &*self.inner;
        let part = lock(&inner.incoming).part_with(inner, look);
        inner.rearm(part.is_ok());
        part
    }

    /// Takes up to `most` messages that are there, one after the other, which `look` sees in their
    /// places (of some that came together it sees the only payload); returns how many. `look` runs under a lock of the socket: it must not call it. With
    /// `single`, a message of several parts ends the batch and stays, and so does one that was begun.
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv), if there is none; with `single` EINVAL, if the first has several
    /// parts.
    pub fn try_recv_many(
        &self,
        most: usize,
        single: bool,
        look: &mut dyn FnMut(Received<'_>),
    ) -> Result<usize> {
        let inner = &*self.inner;
        let taken = lock(&inner.incoming).many(inner, most, single, look);
        inner.rearm(taken.is_ok());
        taken
    }

    /// Waits until a message is there, or `deadline` (`None`: for ever). Another thread may take it.
    ///
    /// # Errors
    /// EAGAIN after the deadline, and those of [`try_recv`](Self::try_recv); EINTR when a signal handler
    /// ran on this thread: call again.
    pub fn wait_readable(&self, deadline: Option<Instant>) -> Result<()> {
        self.receive(deadline, &mut None, |socket| {
            let inner = &*socket.inner;
            let mut receiving = lock(&inner.incoming);
            if receiving.rest.len() > 0 || receiving.fresh(inner)?.readable() {
                Ok(())
            } else {
                Err(Errno::AGAIN.into())
            }
        })
    }

    /// As [`try_recv`](Self::try_recv), but waits for a message until `deadline` (`None`: for ever).
    ///
    /// # Errors
    /// Also EINTR when a signal handler ran on this thread: call again.
    pub fn recv_until(&self, deadline: Option<Instant>) -> Result<Message> {
        self.receive(deadline, &mut None, Self::try_recv)
    }

    /// As [`try_recv_part`](Self::try_recv_part), but waits for a message until `deadline`.
    ///
    /// # Errors
    /// Also EINTR when a signal handler ran on this thread: call again.
    pub fn recv_part_until(&self, deadline: Option<Instant>) -> Result<(Frame, bool)> {
        self.recv_part_into_until(deadline, &mut None)
    }

    /// The same; a long payload that is read during the call is read into `vessel`, if it is as long as that. Then that is
    /// taken, and the frame is what it [makes](Vessel::into_frame) of itself.
    ///
    /// # Errors
    /// Also EINTR when a signal handler ran on this thread: call again.
    pub fn recv_part_into_until(
        &self,
        deadline: Option<Instant>,
        vessel: &mut Option<Box<dyn Vessel>>,
    ) -> Result<(Frame, bool)> {
        self.receive(deadline, vessel, Self::try_recv_part)
    }

    /// For who found nothing and does not wait: takes in what has come on a connection that a call which waited has kept,
    /// and lets the I/O thread read it from now on. True if it is worth a second look.
    #[inline]
    pub fn look_behind(&self) -> bool {
        self.signals().expect_nobody()
    }

    fn receive<T>(
        &self,
        deadline: Option<Instant>,
        vessel: &mut Option<Box<dyn Vessel>>,
        attempt: impl Fn(&Self) -> Result<T>,
    ) -> Result<T> {
        loop {
            let seen = self.signals().readable.epoch();
            match attempt(self) {
                Err(error) if error.errno() == Errno::AGAIN => {
                    self.wait_to_receive(seen, deadline, vessel)?;
                }
                done => return done,
            }
        }
    }

    fn wait(&self, event: &Event, seen: u32, deadline: Option<Instant>) -> Result<()> {
        outcome(event.wait_patiently(seen, self.signals().patience(), deadline))
    }

    /// Sleeps until the signals for reading have moved on from `seen`.
    fn wait_to_receive(
        &self,
        seen: u32,
        deadline: Option<Instant>,
        vessel: &mut Option<Box<dyn Vessel>>,
    ) -> Result<()> {
        let port = &self.inner.port;
        let _receiver = port.signals.receiver();
        let Some(lease) = port.lend() else {
            port.signals.end_loan();
            return self.wait(&port.signals.readable, seen, deadline);
        };
        *vessel = lease.offer(vessel.take());
        let ended = if lease.take_in_before() {
            Ok(Woken::Signalled)
        } else {
            port.signals.wait_at(&*lease, seen, deadline)
        };
        if let Some(unused) = lease.offer(None) {
            *vessel = Some(unused);
        }
        let woken = ended?;
        if port.is_closed() {
            port.signals.close_lessee();
        }
        outcome(woken)
    }

    /// How long a send waits (SNDTIMEO); `None` is for ever.
    pub(super) fn send_timeout(&self) -> Option<Duration> {
        lock(&self.inner.options).sndtimeo
    }

    /// When a send that begins now gives up (SNDTIMEO); `None` is never.
    pub fn send_deadline(&self) -> Option<Instant> {
        let span = self.send_timeout();
        span.map(|span| after(Instant::now(), span))
    }

    /// When a receive that begins now gives up (RCVTIMEO); `None` is never.
    pub fn receive_deadline(&self) -> Option<Instant> {
        let span = lock(&self.inner.options).rcvtimeo;
        span.map(|span| after(Instant::now(), span))
    }

    /// The properties of the connection that the message received last came over: `Socket-Type`,
    /// `Peer-Address`, `Identity`, `X-...`; none over inproc, and for messages that nobody sent.
    pub fn last_properties(&self) -> Properties {
        let peer = lock(&self.inner.incoming).last_peer();
        peer.map(|peer| lock(&peer.metadata).clone())
            .unwrap_or_default()
    }
}

fn refused(kind: SocketType, refusal: Refusal) -> Error {
    match refusal {
        Refusal::Again => Errno::AGAIN.into(),
        Refusal::Unreachable => Errno::HOSTUNREACH.into(),
        Refusal::State(expected) => Error::new(Errno::FSM, expected),
        Refusal::Unsupported => Error::new(
            Errno::NOTSUP,
            format!("a {} socket does not do this", kind.name()),
        ),
        Refusal::Invalid(why) => Error::new(Errno::INVAL, why),
    }
}

fn news(inbox: &Inbox, handle: impl FnMut(Command)) {
    if inbox.is_pending() {
        inbox.drain(handle);
    }
}

impl Sending {
    /// The half, with the news taken in.
    #[inline]
    pub(super) fn fresh(&mut self, inner: &Inner) -> Result<&mut dyn Outgoing> {
        inner.check()?;
        let lockstep = matches!(inner.kind, SocketType::Req | SocketType::Rep);
        if lockstep && inner.partly_read.load(Ordering::Relaxed) {
            return Err(Error::new(
                Errno::FSM,
                "parts of the message received last are unread; receive them before sending",
            ));
        }
        let half = self.half.as_deref_mut().ok_or_else(closed)?;
        if takes_commands(inner.kind).contains(Half::Outgoing) {
            news(&inner.port.outbox, |command| half.handle(command));
        }
        Ok(half)
    }
}

/// Many messages on their way out, under one lock of the socket: not to be kept while anything waits.
///
/// The peers see what was sent in steps, and all of it when the batch is dropped.
pub struct SendBatch<'a> {
    inner: &'a Inner,
    /// `None` only in the drop.
    sending: Option<MutexGuard<'a, Sending>>,
    /// Messages that go to one peer together.
    run: RunBuilder,
    /// So many more have room in the run.
    room: usize,
    /// So many go one by one before a run is tried again.
    singly: usize,
    /// The most messages of the next run.
    stretch: usize,
}

/// So many messages of a batch go by before the peers are shown them: they can begin with their work. Of a long batch they
/// get more and more at a time.
const FIRST_STRETCH: usize = 64;
const LONGEST_STRETCH: usize = 1024;

/// A run of so many bytes is full.
const RUN_BYTES: usize = 32 * 1024;

impl SendBatch<'_> {
    /// Sends a copy of `payload` as a message of one part, if that can be done now.
    ///
    /// # Errors
    /// As [`Socket::try_send`].
    #[inline]
    pub fn try_send_slice(&mut self, payload: &[u8]) -> Result<()> {
        let fits = RunBuilder::takes(payload.len());
        if self.room == 0 && self.singly == 0 {
            self.turn()?;
        }
        if self.room > 0 && fits {
            self.run.push(payload);
            self.room -= 1;
            if self.run.byte_len() >= RUN_BYTES {
                self.room = 0;
            }
            return Ok(());
        }
        self.send_singly(payload)
    }

    fn send_singly(&mut self, payload: &[u8]) -> Result<()> {
        self.end_run();
        self.singly = self.singly.saturating_sub(1);
        let Some(sending) = &mut self.sending else {
            return Err(closed());
        };
        let half = sending.half.as_deref_mut().ok_or_else(closed)?;
        match half.try_send_slice(payload) {
            Ok(()) => Ok(()),
            Err(_) => sending.send_slice(self.inner, payload), // with the latest news
        }
    }

    /// Hands over the run, if one was begun.
    fn end_run(&mut self) {
        self.room = 0;
        if !self.run.is_empty()
            && let Some(sending) = &mut self.sending
            && let Some(half) = &mut sending.half
        {
            half.send_run(self.run.finish());
        }
    }

    /// Shows the peers what was sent, takes in the news, and begins a run if it can go to one peer.
    fn turn(&mut self) -> Result<()> {
        self.end_run();
        let Some(sending) = &mut self.sending else {
            return Err(closed());
        };
        sending.flush();
        self.room = sending.fresh(self.inner)?.room_for_run().min(self.stretch);
        self.stretch = (self.stretch * 2).min(LONGEST_STRETCH);
        self.singly = if self.room == 0 { FIRST_STRETCH } else { 0 };
        Ok(())
    }
}

impl Drop for SendBatch<'_> {
    fn drop(&mut self) {
        self.end_run();
        if let Some(mut sending) = self.sending.take() {
            sending.flush();
        }
        self.inner.rearm(true); // with the lock given back
    }
}

impl Receiving {
    /// Whose the message received last was.
    pub(super) fn last_peer(&self) -> Option<Arc<Peer>> {
        self.half.as_ref()?.last_peer().cloned()
    }

    #[inline]
    pub(super) fn fresh(&mut self, inner: &Inner) -> Result<&mut dyn Incoming> {
        inner.check()?;
        let half = self.half.as_deref_mut().ok_or_else(closed)?;
        if takes_commands(inner.kind).contains(Half::Incoming) {
            news(&inner.port.inbox, |command| half.handle(command));
        }
        Ok(half)
    }

    /// The next part of a message; see [`Socket::try_recv_part_with`].
    #[inline]
    fn part_with<R>(
        &mut self,
        inner: &Inner,
        look: impl FnOnce(&mut Frame, bool) -> R,
    ) -> Result<R> {
        if let Some(mut frame) = self.rest.next() {
            let more = self.rest.len() > 0;
            inner.partly_read.store(more, Ordering::Relaxed);
            return Ok(look(&mut frame, more));
        }
        let mut look = Some(look);
        let mut result = None;
        let mut several = None;
        self.fresh(inner)?
            .try_recv_with(&mut |message| match message.single_mut() {
                Some(frame) => result = look.take().map(|look| look(frame, false)),
                None => several = Some(std::mem::take(message)),
            })
            .map_err(|refusal| refused(inner.kind, refusal))?;
        if let Some(result) = result {
            inner.partly_read.store(false, Ordering::Relaxed);
            return Ok(result);
        }
        let (message, look) = several
            .zip(look)
            .expect("the message had one part or several");
        self.rest = message.into_frames().into_iter();
        let mut first = self.rest.next().unwrap_or_default();
        let more = self.rest.len() > 0;
        inner.partly_read.store(more, Ordering::Relaxed);
        Ok(look(&mut first, more))
    }

    /// Several messages; see [`Socket::try_recv_many`].
    fn many(
        &mut self,
        inner: &Inner,
        most: usize,
        single: bool,
        look: &mut dyn FnMut(Received<'_>),
    ) -> Result<usize> {
        let mut taken = 0;
        if !single && most > 0 && self.rest.len() > 0 {
            look(Received::Message(&mut self.whole(inner)?));
            taken += 1;
        }
        let begun = self.rest.len() > 0;
        let half = self.fresh(inner)?;
        let mut several = None;
        while taken < most && !begun && several.is_none() {
            let received = half.try_recv_with(&mut |message| {
                if single && !message.is_single() {
                    several = Some(std::mem::take(message));
                } else {
                    look(Received::Message(message));
                }
            });
            match received {
                Err(_) if taken > 0 => break,
                Err(refusal) => return Err(refused(inner.kind, refusal)),
                Ok(()) => {}
            }
            if several.is_none() {
                inner.partly_read.store(false, Ordering::Relaxed);
                taken += 1;
                taken += half.try_recv_more(most - taken, &mut |payload| {
                    look(Received::Payload(payload));
                });
            }
        }
        if let Some(message) = several {
            self.rest = message.into_frames().into_iter();
        }
        if taken == 0 && self.rest.len() > 0 {
            return Err(Error::new(
                Errno::INVAL,
                format!(
                    "the next message has {} parts; receive it with recv_multipart or recv_many_multipart",
                    self.rest.len()
                ),
            ));
        }
        Ok(taken)
    }

    /// The next whole message of the pattern, or what is left of one received in parts.
    pub(super) fn whole(&mut self, inner: &Inner) -> Result<Message> {
        if self.rest.len() > 0 {
            inner.check()?;
            inner.partly_read.store(false, Ordering::Relaxed);
            let rest = std::mem::take(&mut self.rest).collect();
            return Ok(Message::from_frames(rest));
        }
        let message = self
            .fresh(inner)?
            .try_recv()
            .map_err(|refusal| refused(inner.kind, refusal))?;
        inner.partly_read.store(false, Ordering::Relaxed);
        Ok(message)
    }
}

impl Sending {
    fn send(
        &mut self,
        inner: &Inner,
        message: Message,
    ) -> std::result::Result<(), NotSent<Message>> {
        let half = match self.fresh(inner) {
            Ok(half) => half,
            Err(error) => return Err((error, message)),
        };
        let sent = half.try_send(message);
        half.flush();
        sent.map_err(|(refusal, message)| (refused(inner.kind, refusal), message))
    }

    /// Sends a copy; the peers may see it only after a flush.
    #[inline]
    fn send_slice(&mut self, inner: &Inner, payload: &[u8]) -> Result<()> {
        let complete = self.parts.is_empty();
        let half = self.fresh(inner)?;
        if complete {
            half.try_send_slice(payload)
                .map_err(|refusal| refused(inner.kind, refusal))
        } else {
            self.send_part(inner, payload.into(), false)
                .map_err(|(error, _)| error)
        }
    }

    #[inline]
    fn flush(&mut self) {
        if let Some(half) = &mut self.half {
            half.flush();
        }
    }

    fn send_part(
        &mut self,
        inner: &Inner,
        part: Frame,
        more: bool,
    ) -> std::result::Result<(), NotSent<Frame>> {
        let first = self.parts.is_empty();
        // A STREAM message is two parts, whatever the second says of others.
        let more = more && (first || inner.kind != SocketType::Stream);
        let half = match self.fresh(inner) {
            Ok(half) => half,
            Err(error) => return Err((error, part)),
        };
        if more {
            if first && let Err(refusal) = half.check(&part) {
                return Err((refused(inner.kind, refusal), part));
            }
            self.parts.push(part);
            return Ok(());
        }
        let message = if first {
            Message::from(part)
        } else {
            let mut parts = std::mem::take(&mut self.parts);
            parts.push(part);
            Message::from_frames(parts)
        };
        let Some(half) = self.half.as_deref_mut() else {
            return Ok(());
        };
        match half.try_send(message) {
            Ok(()) => Ok(()),
            Err((refusal, message)) => {
                let mut parts = message.into_frames();
                let part = parts.pop().unwrap_or_default();
                // A REQ that dropped its request would have none under way: it waits for the next peer.
                let waits = inner.kind == SocketType::Req || inner.port.peer_count() > 0;
                if first || (refusal == Refusal::Again && waits) {
                    // Another thread's message took the room that the first part found: once more.
                    self.parts = parts;
                    return Err((refused(inner.kind, refusal), part));
                }
                // The peers went away in the middle: the message is dropped as a whole.
                inner.port.drops.unroutable.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    }
}

/// What the end of a wait means for a call.
fn outcome(woken: Woken) -> Result<()> {
    match woken {
        Woken::Signalled => Ok(()),
        Woken::TimedOut => Err(Errno::AGAIN.into()),
        Woken::Interrupted => Err(Errno::INTR.into()),
    }
}
