//! Sockets.
//!
//! The methods that carry messages are here, without a Python frame around them: they try at once, with the
//! interpreter held, and let it go only to wait.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use mqcore::{Errno, Message, OptionKind, OptionValue, PollItem, Pollable, Vessel};
use pyo3::exceptions::{PyIndexError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyInt, PyList, PyString, PyTuple};

use crate::batch;
use crate::buffer::{
    Payload, Target, bytes_of, frame_of, is_buffer, refuse_text, short_bytes_of, short_message_of,
};
use crate::context::Context;
use crate::error::{raise, raise_for_address};
use crate::frame::{Expected, Frame, finished_if, moved_into};
use crate::handle::{Handle, Numbered, Registry};
use crate::poll;
use crate::types::{self, KEPT_BY_REFERENCE, SNDMORE, truth};
use crate::waiting::{interruptible, may_wait, receive_at_once, send_at_once, wait_to_send};

impl Numbered for mqcore::Socket {
    fn registry() -> &'static Registry<Self> {
        static REGISTRY: Registry<mqcore::Socket> = Registry::new();
        &REGISTRY
    }

    fn end(&self) {
        self.close();
    }
}

/// The native part of a socket; `mqcore.Socket` adds the rest.
#[pyclass(module = "mqcore._core", subclass, frozen, weakref, dict)]
#[derive(Default)]
pub(crate) struct Socket {
    handle: OnceLock<Arc<Handle<mqcore::Socket>>>,
    /// Payloads of at least so many bytes are tracked by `send(copy=False)`.
    copy_threshold: AtomicUsize,
    /// Parts were sent of a message that is not complete.
    open_message: AtomicBool,
    /// The length of the part that was waited for last.
    expected: AtomicUsize,
}

/// From this length on a part is read to where it will be, if it can be foreseen how long it is.
const WORTH_EXPECTING: usize = 16 * 1024;

impl Socket {
    /// The engine's socket. ENOTSOCK before it was made, and in a forked child.
    #[inline]
    pub(crate) fn engine(&self, py: Python<'_>) -> PyResult<&mqcore::Socket> {
        match self.handle.get().and_then(|handle| handle.get()) {
            Some(socket) => Ok(socket),
            None => Err(self.unusable(py)),
        }
    }

    #[cold]
    fn unusable(&self, py: Python<'_>) -> PyErr {
        let detail = if self.handle.get().is_some() {
            "the socket was made before fork(); make a new context and socket in the child process"
        } else {
            "Socket.__init__ was not called"
        };
        raise(py, &mqcore::Error::new(Errno::NOTSOCK, detail))
    }

    /// Sends a message of one part, or the last part of one, by a copy of `payload`: the quick way for
    /// what is short.
    #[inline]
    fn send_slice(&self, py: Python<'_>, payload: &[u8], flags: i32) -> PyResult<()> {
        let socket = self.engine(py)?;
        match send_at_once(py, socket, flags, || socket.try_send_slice(payload)) {
            Ok(()) => {
                self.open_message.store(false, Ordering::Relaxed);
                Ok(())
            }
            Err(error) if may_wait(flags, &error) => self.send_part(py, payload.into(), flags),
            Err(error) => Err(raise(py, &error)),
        }
    }

    /// Sends one part, waiting for room if `flags` allow it.
    fn send_part(&self, py: Python<'_>, part: mqcore::Frame, flags: i32) -> PyResult<()> {
        let socket = self.engine(py)?;
        let more = flags & SNDMORE != 0;
        match send_at_once(py, socket, flags, || socket.try_send_part(part, more)) {
            Ok(()) => {}
            Err((error, part)) if may_wait(flags, &error) => {
                let deadline = socket.send_deadline();
                wait_to_send(py, part, |part| {
                    socket.send_part_until(part, more, deadline)
                })?
                .map_err(|(error, _)| raise(py, &error))?;
            }
            Err((error, _)) => return Err(raise(py, &error)),
        }
        self.open_message.store(more, Ordering::Relaxed);
        Ok(())
    }

    /// Sends a whole message, waiting for room if `flags` allow it.
    fn send_message(&self, py: Python<'_>, message: Message, flags: i32) -> PyResult<()> {
        let socket = self.engine(py)?;
        match send_at_once(py, socket, flags, || socket.try_send(message)) {
            Ok(()) => Ok(()),
            Err((error, message)) if may_wait(flags, &error) => {
                let deadline = socket.send_deadline();
                wait_to_send(py, message, |message| socket.send_until(message, deadline))?
                    .map_err(|(error, _)| raise(py, &error))
            }
            Err((error, _)) => Err(raise(py, &error)),
        }
    }

    /// Receives one part as bytes, waiting for it if `flags` allow it: a short one is made where it lies.
    #[inline]
    fn receive_bytes<'py>(&self, py: Python<'py>, flags: i32) -> PyResult<Bound<'py, PyBytes>> {
        let socket = self.engine(py)?;
        let received = receive_at_once(py, socket, flags, || {
            socket.try_recv_part_with(|frame, _| short_bytes_of(py, frame))
        });
        match received {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(frame)) => bytes_of(py, &frame),
            Err(error) if may_wait(flags, &error) => {
                let deadline = socket.receive_deadline();
                let mut vessel = self.vessel(py)?;
                let receive = || socket.recv_part_into_until(deadline, &mut vessel);
                let (mut frame, _) = interruptible(py, receive)?;
                self.expected.store(frame.len(), Ordering::Relaxed);
                if let Some(vessel) = vessel {
                    frame = moved_into(vessel, frame);
                }
                bytes_of(py, &frame)
            }
            Err(error) => Err(raise(py, &error)),
        }
    }

    /// What the next message is read into, if it comes while a call waits and is as long as the one before.
    fn vessel(&self, py: Python<'_>) -> PyResult<Option<Box<dyn Vessel>>> {
        let length = self.expected.load(Ordering::Relaxed);
        if length < WORTH_EXPECTING {
            return Ok(None);
        }
        Ok(Some(Box::new(Expected::new(py, length)?)))
    }

    /// Receives one part and whether others follow, waiting for it if `flags` allow it.
    fn receive_part(&self, py: Python<'_>, flags: i32) -> PyResult<(mqcore::Frame, bool)> {
        let socket = self.engine(py)?;
        match receive_at_once(py, socket, flags, || socket.try_recv_part()) {
            Ok(received) => Ok(received),
            Err(error) if may_wait(flags, &error) => {
                let deadline = socket.receive_deadline();
                interruptible(py, || socket.recv_part_until(deadline))
            }
            Err(error) => Err(raise(py, &error)),
        }
    }

    /// Receives a whole message, waiting for it if `flags` allow it.
    fn receive_message(&self, py: Python<'_>, flags: i32) -> PyResult<Message> {
        let socket = self.engine(py)?;
        match receive_at_once(py, socket, flags, || socket.try_recv()) {
            Ok(received) => Ok(received),
            Err(error) if may_wait(flags, &error) => {
                let deadline = socket.receive_deadline();
                interruptible(py, || socket.recv_until(deadline))
            }
            Err(error) => Err(raise(py, &error)),
        }
    }

    /// What is to be sent for `data`, and what the call returns for it.
    fn outgoing(
        &self,
        data: &Bound<'_, PyAny>,
        copy: bool,
        track: bool,
    ) -> PyResult<(mqcore::Frame, Option<Py<PyAny>>)> {
        let py = data.py();
        if let Ok(frame) = data.cast::<Frame>() {
            let tracker = frame.get().own_tracker(py);
            if track && tracker.is_none() {
                return Err(PyValueError::new_err("Not a tracked message"));
            }
            return Ok((frame.get().content().clone(), tracker));
        }
        if copy {
            return Ok((frame_of(data)?, None));
        }
        refuse_text(data)?;
        let threshold = self.copy_threshold.load(Ordering::Relaxed);
        let payload = Payload::of(data, threshold)?;
        if payload.len() < threshold {
            return Ok((payload.into_frame(), finished_if(py, true)?));
        }
        if !track {
            return Ok((payload.into_frame(), None));
        }
        let (frame, release) = payload.into_tracked_frame();
        let event = Bound::new(py, release)?;
        let tracker = types::message_tracker(py)?.call1((event,))?;
        Ok((frame, Some(tracker.unbind())))
    }

    /// Calls `change` with an address as text.
    fn with_address(
        &self,
        address: &Bound<'_, PyAny>,
        change: impl Fn(&mqcore::Socket, &str) -> mqcore::Result<()> + Send + Sync,
    ) -> PyResult<()> {
        let py = address.py();
        let result = {
            let text = if let Ok(text) = address.cast::<PyString>() {
                text.to_str()?
            } else if let Ok(octets) = address.cast::<PyBytes>() {
                match std::str::from_utf8(octets.as_bytes()) {
                    Ok(text) => text,
                    Err(error) => {
                        let error = mqcore::Error::new(
                            Errno::INVAL,
                            format!("the address is not UTF-8: {error}"),
                        );
                        return Err(raise_for_address(py, &error, address));
                    }
                }
            } else if address.is_none() {
                return Err(PyTypeError::new_err("expected bytes, NoneType found"));
            } else {
                let shown = address.repr()?;
                return Err(PyTypeError::new_err(format!(
                    "Expected addr to be str, got addr={shown}"
                )));
            };
            match self.handle.get().and_then(|handle| handle.get()) {
                Some(socket) => py.detach(|| change(socket, text)),
                None => return Err(self.unusable(py)),
            }
        };
        result.map_err(|error| raise_for_address(py, &error, address))
    }
}

/// RuntimeError for what only other socket types have.
fn refuse_drafts(
    routing_id: Option<&Bound<'_, PyAny>>,
    group: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    if routing_id.is_some() || group.is_some() {
        return Err(PyRuntimeError::new_err(
            "routing_id and group need SERVER and RADIO sockets, which this version of mqcore does not have",
        ));
    }
    Ok(())
}

/// The parts of a message, all of them found to be sendable.
pub(crate) fn checked_parts<'py>(parts: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    const SHOWN: usize = 32;
    let mut subscriptable = true;
    let list: Vec<Bound<'py, PyAny>> = if let Ok(list) = parts.cast::<PyList>() {
        list.iter().collect()
    } else if let Ok(tuple) = parts.cast::<PyTuple>() {
        tuple.iter().collect()
    } else {
        subscriptable = parts.hasattr("__getitem__")?;
        parts.try_iter()?.collect::<PyResult<_>>()?
    };
    for (index, part) in list.iter().enumerate() {
        if !is_buffer(part) {
            let mut shown = part.repr()?.to_string();
            if let Some((end, _)) = shown.char_indices().nth(SHOWN) {
                shown.truncate(end);
                shown += "...";
            }
            return Err(PyTypeError::new_err(format!(
                "Frame {index} ({shown}) does not support the buffer interface."
            )));
        }
    }
    if !subscriptable {
        let kind = parts.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "'{kind}' object is not subscriptable: send_multipart takes a list or tuple of parts"
        )));
    }
    if list.is_empty() {
        return Err(PyIndexError::new_err(
            "send_multipart needs at least one part, got none",
        ));
    }
    Ok(list)
}

#[pymethods]
impl Socket {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::default()
    }

    #[pyo3(signature = (context=None, socket_type=-1, *, shadow=None, copy_threshold=None))]
    fn __init__(
        &self,
        py: Python<'_>,
        context: Option<&Bound<'_, PyAny>>,
        socket_type: i32,
        shadow: Option<&Bound<'_, PyAny>>,
        copy_threshold: Option<usize>,
    ) -> PyResult<()> {
        let handle = if let Some(shadow) = shadow {
            let handle = if let Ok(other) = shadow.cast::<Self>() {
                other.get().handle.get().cloned()
            } else {
                mqcore::Socket::registry().find(shadow.extract()?)
            };
            handle.ok_or_else(|| {
                let detail = "there is no open socket to shadow";
                raise(py, &mqcore::Error::new(Errno::NOTSOCK, detail))
            })?
        } else {
            let Some(context) = context else {
                return Err(PyTypeError::new_err("context must be specified"));
            };
            if socket_type < 0 {
                return Err(PyTypeError::new_err("socket_type must be specified"));
            }
            let Ok(context) = context.cast::<Context>() else {
                let kind = context.get_type().name()?;
                return Err(PyTypeError::new_err(format!(
                    "a socket needs a mqcore.Context, not {kind}"
                )));
            };
            context.get().open(py, socket_type)?
        };
        let threshold = match copy_threshold {
            Some(threshold) => threshold,
            None => types::copy_threshold(py)?,
        };
        self.copy_threshold.store(threshold, Ordering::Relaxed);
        // A second __init__ changes nothing: it would lose the first socket.
        let _ = self.handle.set(handle);
        Ok(())
    }

    // Messages.

    /// Sends one part of a message.
    ///
    /// Parameters: `data` is bytes, a Frame or any contiguous buffer. `flags`: SNDMORE keeps the message open for
    /// other parts, DONTWAIT (NOBLOCK) does not wait for room; otherwise the call waits at most SNDTIMEO milliseconds
    /// (-1, the default: for ever). With `copy=False` a payload of `copy_threshold` bytes and more is sent from where
    /// it lies: until it is released it must not be changed, and cannot be resized (BufferError). The result says when
    /// that is: with `track` a MessageTracker, else None; shorter ones are copied, which is done at once. A Frame gives
    /// its own tracker. `routing_id` and `group` are for draft sockets: RuntimeError unless None.
    ///
    /// Raises Again if there was no room in time, ZMQError with ENOTSUP (a receiving socket), EFSM (REQ and REP out of
    /// turn), EHOSTUNREACH (ROUTER_MANDATORY), ENOTSOCK (closed), ContextTerminated; TypeError for text and what has
    /// no buffer, BufferError for one that is not contiguous, ValueError for `track` of a Frame without a tracker.
    #[pyo3(signature = (data, flags=0, copy=true, track=false, routing_id=None, group=None))]
    pub(crate) fn send(
        &self,
        data: &Bound<'_, PyAny>,
        flags: i32,
        #[pyo3(from_py_with = truth)] copy: bool,
        #[pyo3(from_py_with = truth)] track: bool,
        routing_id: Option<&Bound<'_, PyAny>>,
        group: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let py = data.py();
        refuse_drafts(routing_id, group)?;
        if copy
            && flags & SNDMORE == 0
            && let Ok(bytes) = data.cast::<PyBytes>()
            && bytes.as_bytes().len() < KEPT_BY_REFERENCE
        {
            self.send_slice(py, bytes.as_bytes(), flags)?;
            return Ok(None);
        }
        let (frame, tracker) = self.outgoing(data, copy, track)?;
        self.send_part(py, frame, flags)?;
        Ok(tracker)
    }

    /// Sends a message of several parts, which arrive together or not at all.
    ///
    /// `msg_parts` is a list or tuple of what `send` takes; all parts are checked before one is sent. The other
    /// parameters, the result (of the last part) and the errors are those of `send`; IndexError for no parts.
    #[pyo3(signature = (msg_parts, flags=0, copy=true, track=false, routing_id=None, group=None))]
    pub(crate) fn send_multipart(
        &self,
        msg_parts: &Bound<'_, PyAny>,
        flags: i32,
        #[pyo3(from_py_with = truth)] copy: bool,
        #[pyo3(from_py_with = truth)] track: bool,
        routing_id: Option<&Bound<'_, PyAny>>,
        group: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let py = msg_parts.py();
        refuse_drafts(routing_id, group)?;
        if copy
            && flags & SNDMORE == 0
            && !self.open_message.load(Ordering::Relaxed)
            && let Some(message) = short_message_of(msg_parts)
        {
            self.send_message(py, message, flags)?;
            return Ok(None);
        }
        let parts = checked_parts(msg_parts)?;
        let mut frames = Vec::with_capacity(parts.len());
        let mut result = None;
        for part in &parts {
            let (frame, tracker) = self.outgoing(part, copy, track)?;
            frames.push(frame);
            result = tracker;
        }
        if flags & SNDMORE != 0 || self.open_message.load(Ordering::Relaxed) {
            let last = frames.len() - 1;
            for (index, frame) in frames.into_iter().enumerate() {
                let more = if index < last { SNDMORE } else { 0 };
                self.send_part(py, frame, flags | more)?;
            }
        } else {
            self.send_message(py, Message::from_frames(frames), flags)?;
        }
        Ok(result)
    }

    /// Receives the next part of a message.
    ///
    /// With `flags=DONTWAIT` (NOBLOCK) the call does not wait; otherwise at most RCVTIMEO milliseconds (-1, the
    /// default: for ever). Whether other parts follow says the option RCVMORE. Returns bytes, or with `copy=False` a
    /// Frame that shares the received memory, knows its connection's properties, and with `track` has a tracker (done).
    ///
    /// Raises Again if nothing came in time, ZMQError with ENOTSUP (a sending socket), EFSM (REQ and REP
    /// out of turn), ENOTSOCK (closed, also by another thread), ContextTerminated.
    #[pyo3(signature = (flags=0, copy=true, track=false))]
    pub(crate) fn recv<'py>(
        &self,
        py: Python<'py>,
        flags: i32,
        #[pyo3(from_py_with = truth)] copy: bool,
        #[pyo3(from_py_with = truth)] track: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        if copy {
            return Ok(self.receive_bytes(py, flags)?.into_any());
        }
        let (frame, more) = self.receive_part(py, flags)?;
        let properties = self.engine(py)?.last_properties();
        let frame = Frame::received(frame, more, finished_if(py, track)?, properties);
        Ok(Bound::new(py, frame)?.into_any())
    }

    /// Receives a whole message (or what is left of one): a list of its parts.
    ///
    /// Parameters, parts and errors are those of `recv`.
    #[pyo3(signature = (flags=0, copy=true, track=false))]
    pub(crate) fn recv_multipart<'py>(
        &self,
        py: Python<'py>,
        flags: i32,
        #[pyo3(from_py_with = truth)] copy: bool,
        #[pyo3(from_py_with = truth)] track: bool,
    ) -> PyResult<Bound<'py, PyList>> {
        let message = self.receive_message(py, flags)?;
        if copy {
            return batch::parts_of(py, &message);
        }
        let properties = self.engine(py)?.last_properties();
        let frames = message.into_frames();
        let last = frames.len() - 1;
        let parts = PyList::empty(py);
        for (index, frame) in frames.into_iter().enumerate() {
            let tracker = finished_if(py, track)?;
            let frame = Frame::received(frame, index < last, tracker, properties.clone());
            parts.append(Bound::new(py, frame)?)?;
        }
        Ok(parts)
    }

    /// Sends many messages in one call, in order, which costs a fraction of as many calls of `send`.
    ///
    /// Parameters: `messages` is an iterable of messages: bytes, a Frame or any contiguous buffer for a
    /// message of one part, a list or tuple of those for one of several. All items of a list or tuple are
    /// checked before the first is sent; from another iterable an item is taken only when there is room.
    /// With `flags=DONTWAIT` (NOBLOCK) the call does not wait for room; otherwise it waits at most SNDTIMEO
    /// milliseconds in all (-1, the default: for ever).
    ///
    /// Returns how many messages were taken: all of them, or those before the one for which there was no
    /// room in time. What was taken is sent, each message whole, as by so many calls of `send`; what was not
    /// is untouched: send `messages[n:]` later. High-water marks, order and routing are those of `send`.
    ///
    /// Raises Again if there was no room in time for the first message. Whatever else is raised (by `send`,
    /// by the iterable, by a signal handler) has an attribute `messages_sent`, how many were taken before.
    /// An item that was taken from an iterator and could not be sent (it is no message; another thread took
    /// the room for it; only its own peer has none) is the attribute `unsent` of what is raised.
    ///
    /// An addition of mqcore.
    #[pyo3(signature = (messages, flags=0))]
    fn send_many(&self, messages: &Bound<'_, PyAny>, flags: i32) -> PyResult<usize> {
        batch::send_many(self, messages, flags)
    }

    /// Receives the messages that are there in one call: at least one, at most `max`, in order.
    ///
    /// Waits for the first message at most `timeout` milliseconds (None: as RCVTIMEO says; negative: for
    /// ever; 0: not at all), and for no other. Returns a list of bytes, one for each message. A message of
    /// several parts is left where it is and ends the batch.
    ///
    /// Raises Again if nothing came in time, ZMQError(EINVAL) if the first message has several parts (use
    /// `recv_many_multipart`), and what `recv` raises; no message is lost then, nor to a signal. ValueError
    /// if `max` is less than 1.
    ///
    /// An addition of mqcore.
    #[pyo3(signature = (max=1024, timeout=None))]
    fn recv_many<'py>(
        &self,
        py: Python<'py>,
        max: i64,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        batch::recv_many(self, py, max, timeout)
    }

    /// Receives the messages that are there in one call, each as the list of its parts.
    ///
    /// Parameters and errors are those of `recv_many`; messages of one part are lists too. What is left of a
    /// message that was received in parts comes first.
    ///
    /// An addition of mqcore.
    #[pyo3(signature = (max=1024, timeout=None))]
    fn recv_many_multipart<'py>(
        &self,
        py: Python<'py>,
        max: i64,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        batch::recv_many_multipart(self, py, max, timeout)
    }

    /// Receives the next part of a message into `buffer`, a writable and contiguous one.
    ///
    /// Writes at most `nbytes` bytes (0: as many as the buffer has). Returns the length of the whole part; what is
    /// longer than the room for it is lost. `flags` and errors are those of `recv`; ValueError if `nbytes` does not fit
    /// the buffer, BufferError if that cannot be written, TypeError for what has none.
    #[pyo3(signature = (buffer, /, *, nbytes=0, flags=0))]
    fn recv_into(&self, buffer: &Bound<'_, PyAny>, nbytes: isize, flags: i32) -> PyResult<usize> {
        let target = Target::new(buffer, nbytes)?;
        let (frame, _) = self.receive_part(buffer.py(), flags)?;
        target.fill(&frame)?;
        Ok(frame.len())
    }

    /// Waits at most `timeout` milliseconds (None and negative: for ever) for events of the socket.
    ///
    /// Returns the bits of `flags` (POLLIN, POLLOUT) that are there as an int; 0 after the timeout, and at once for
    /// `flags=0`. Raises ZMQError(ENOTSUP) for a closed socket, ContextTerminated, OverflowError above 2**31-1.
    #[pyo3(signature = (timeout=None, flags=1))]
    fn poll(
        &self,
        py: Python<'_>,
        timeout: Option<&Bound<'_, PyAny>>,
        flags: i32,
    ) -> PyResult<i32> {
        let deadline = poll::deadline(timeout)?;
        let socket = self.engine(py)?;
        if socket.is_closed() {
            return Err(raise(py, &Errno::NOTSUP.into()));
        }
        if flags == 0 {
            return Ok(0);
        }
        let mut items = [PollItem {
            target: Pollable::Socket(socket.clone()),
            events: flags,
            ready: 0,
        }];
        poll::wait(py, &mut items, deadline)?;
        Ok(items[0].ready)
    }

    // Endpoints.

    /// Accepts connections at `addr`. Returns None; raises what `mqcore.Socket.bind` does, which is this.
    fn bind(&self, addr: &Bound<'_, PyAny>) -> PyResult<()> {
        self.with_address(addr, mqcore::Socket::bind)
    }

    /// Connects to `addr`, in the background. Returns None; raises what `mqcore.Socket.connect` does, which is this.
    fn connect(&self, addr: &Bound<'_, PyAny>) -> PyResult<()> {
        self.with_address(addr, mqcore::Socket::connect)
    }

    /// Ends the bind to `addr`, as LAST_ENDPOINT gave it, and the connections that came in through it.
    ///
    /// Raises ZMQError(ENOENT) for an unknown one, ENOTSOCK (closed); TypeError if it is no text.
    fn unbind(&self, addr: &Bound<'_, PyAny>) -> PyResult<()> {
        self.with_address(addr, mqcore::Socket::unbind)
    }

    /// Ends the connect to `addr`. Raises what `unbind` does.
    fn disconnect(&self, addr: &Bound<'_, PyAny>) -> PyResult<()> {
        self.with_address(addr, mqcore::Socket::disconnect)
    }

    /// Starts sending the connection events in `events` to who connects to `addr` (inproc); None stops it.
    ///
    /// With `version` 1 an event is two frames: event (u16) and value (u32), packed, and the endpoint. With 2 it is
    /// one frame for the event, one for the number of values, one for each value (u64), one for the local address
    /// and one for the remote one. All numbers are in native order. `type` is the type of the sending socket: PAIR
    /// (0), PUB (1) for any number of readers, PUSH (8). A monitor before is replaced, and told MONITOR_STOPPED.
    ///
    /// Nothing ever waits for a reader: what it has no room for is dropped and counted
    /// (`statistics()["monitor_dropped"]`). Raises ZMQError(EPROTONOSUPPORT) for another transport, EINVAL for
    /// another version or type or events that version 1 has not, EADDRINUSE. `version` and `type` are additions.
    #[pyo3(signature = (addr, events=0xffff, *, version=1, r#type=0))]
    fn monitor(
        &self,
        py: Python<'_>,
        addr: Option<&Bound<'_, PyAny>>,
        events: i64,
        version: i32,
        r#type: i32,
    ) -> PyResult<()> {
        match addr {
            Some(addr) => self.with_address(addr, |socket, addr| {
                socket.monitor(Some(addr), events, version, r#type)
            }),
            None => self
                .engine(py)?
                .monitor(None, events, version, r#type)
                .map_err(|error| raise(py, &error)),
        }
    }

    /// Makes the monitor report EVENT_PIPES_STATS for each peer now: two values, the messages that wait for the peer
    /// and the messages from it that were not received yet (each up to 32 too many while it is busy).
    ///
    /// Raises ZMQError(EINVAL) unless a monitor of version 2 runs that asked for EVENT_PIPES_STATS, Again if there is
    /// no peer. An addition of mqcore.
    fn monitor_pipes_stats(&self, py: Python<'_>) -> PyResult<()> {
        self.engine(py)?
            .monitor_pipes_stats()
            .map_err(|error| raise(py, &error))
    }

    // Options.

    /// Sets the socket option with the number `option` to `optval`, an int or bytes.
    ///
    /// Raises ZMQError: EINVAL (a value that the option does not take, an option that the socket does not have),
    /// ENOTSUP, ENOTSOCK (closed); TypeError for a value of the wrong type (text: use set_string), OverflowError.
    fn set(&self, option: &Bound<'_, PyAny>, optval: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = option.py();
        let option = option_number(option)?;
        let socket = self.engine(py)?;
        if optval.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err(
                "unicode not allowed, use setsockopt_string",
            ));
        }
        let wrong = |expected: &str| -> PyErr {
            match optval.repr() {
                Ok(shown) => PyTypeError::new_err(format!("expected {expected}, got: {shown}")),
                Err(failure) => failure,
            }
        };
        let value = match types::kind_of(option) {
            OptionKind::Bytes => match optval.cast::<PyBytes>() {
                Ok(octets) => OptionValue::Bytes(octets.as_bytes().to_vec()),
                Err(_) => return Err(wrong("bytes")),
            },
            _ if !optval.is_instance_of::<PyInt>() => return Err(wrong("int")),
            OptionKind::Int64 => OptionValue::Int(optval.extract()?),
            _ => OptionValue::Int(optval.extract::<i32>()?.into()),
        };
        socket
            .set_option(option, &value)
            .map_err(|error| raise(py, &error))
    }

    /// Returns the value of the socket option with the number `option`: an int or bytes. Raises ZMQError(EINVAL) for
    /// one that the socket does not have or that cannot be read, ENOTSOCK (closed); TypeError for what is no number.
    fn get<'py>(&self, option: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = option.py();
        let option = option_number(option)?;
        match self.engine(py)?.option(option) {
            Ok(OptionValue::Int(number)) => Ok(number.into_pyobject(py)?.into_any()),
            Ok(OptionValue::Bytes(octets)) => Ok(PyBytes::new(py, &octets).into_any()),
            Err(error) => Err(raise(py, &error)),
        }
    }

    /// What was counted since the socket was made, by name: messages dropped for a full or missing peer, ...
    /// Also of a closed socket. An addition of mqcore.
    fn statistics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = PyDict::new(py);
        for (name, count) in self.engine(py)?.statistics() {
            counters.set_item(name, count)?;
        }
        Ok(counters)
    }

    // The end.

    /// Closes the socket at once; what was sent goes out in the background, within `linger` milliseconds (None: as the
    /// option LINGER says; -1: for ever). Raises ZMQError(EINVAL), and does not close, below -1.
    #[pyo3(signature = (linger=None))]
    fn close(&self, py: Python<'_>, linger: Option<i32>) -> PyResult<()> {
        let Some(socket) = self.handle.get().and_then(|handle| handle.get()) else {
            return Ok(());
        };
        if socket.is_closed() {
            return Ok(());
        }
        if let Some(linger) = linger {
            let value = OptionValue::Int(linger.into());
            match socket.set_option(types::LINGER, &value) {
                Err(error) if error.errno() == Errno::INVAL => return Err(raise(py, &error)),
                _ => {} // a socket of a terminated context closes all the same
            }
        }
        py.detach(|| socket.close());
        Ok(())
    }

    /// Whether the socket is closed, or belongs to the parent of this process.
    #[getter]
    fn closed(&self) -> bool {
        self._closed()
    }

    #[getter]
    pub(crate) fn _closed(&self) -> bool {
        match self.handle.get().and_then(|handle| handle.get()) {
            Some(socket) => socket.is_closed(),
            None => true,
        }
    }

    /// The number that stands for the socket in `Socket.shadow`; 0 after the end.
    #[getter]
    fn underlying(&self) -> usize {
        match self.handle.get() {
            Some(handle) if !self._closed() => handle.number(),
            _ => 0,
        }
    }

    /// From how many bytes on `send(copy=False)` tracks a payload instead of copying it. May be assigned.
    #[getter]
    fn copy_threshold(&self) -> usize {
        self.copy_threshold.load(Ordering::Relaxed)
    }

    #[setter]
    fn set_copy_threshold(&self, bytes: usize) {
        self.copy_threshold.store(bytes, Ordering::Relaxed);
    }
}

fn option_number(option: &Bound<'_, PyAny>) -> PyResult<i32> {
    if option.is_instance_of::<PyInt>() {
        return option.extract();
    }
    Err(PyTypeError::new_err("an integer is required"))
}
