//! Many messages in one call: `send_many` and the `recv_many` family.
//!
//! A stretch of plain messages goes under one lock of the socket, with the interpreter held; whatever may
//! run Python code (another object's buffer, a list that the collector sees) is done outside it.

use std::time::Instant;

use mqcore::{Errno, Message, Received};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyList, PyString, PyTuple};

use crate::buffer::{bytes_of, frame_of, is_buffer, short_bytes_of, short_message_of};
use crate::error::raise;
use crate::poll;
use crate::socket::{Socket, checked_parts};
use crate::types::{DONTWAIT, KEPT_BY_REFERENCE, SNDMORE};
use crate::waiting::{at_once, interruptible, wait_to_send};

/// Room for so many messages is set aside at once; more grows with what comes.
const SET_ASIDE: usize = 1024;

/// Sends the messages in order; how many were taken.
pub(crate) fn send_many(
    socket: &Socket,
    messages: &Bound<'_, PyAny>,
    flags: i32,
) -> PyResult<usize> {
    let py = messages.py();
    if flags & SNDMORE != 0 {
        return Err(PyValueError::new_err(
            "send_many sends whole messages: SNDMORE has no place in its flags",
        ));
    }
    if is_buffer(messages) || messages.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err(
            "send_many takes an iterable of messages, got one message; use send",
        ));
    }
    let mut sending = Sending {
        socket,
        wait: flags & DONTWAIT == 0,
        deadline: None,
        sent: 0,
    };
    let outcome = if let Ok(list) = messages.cast::<PyList>() {
        list.iter()
            .try_for_each(|item| check(&item))
            .and_then(|()| sending.sequence(py, |index| list.get_item(index).ok()))
    } else if let Ok(tuple) = messages.cast::<PyTuple>() {
        tuple
            .iter()
            .try_for_each(|item| check(&item))
            .and_then(|()| sending.sequence(py, |index| tuple.get_item(index).ok()))
    } else {
        messages
            .try_iter()
            .and_then(|items| sending.iterator(py, items))
    };
    let sent = sending.sent;
    match outcome {
        Ok(Ended::AllSent) => Ok(sent),
        Ok(Ended::NoRoom) if sent > 0 => Ok(sent),
        Ok(Ended::NoRoom) => Err(raise(py, &Errno::AGAIN.into())),
        Err(error) => {
            // An exception that takes no attributes goes without; it matters more than the count.
            let _ = error.value(py).setattr(intern!(py, "messages_sent"), sent);
            Err(error)
        }
    }
}

/// TypeError for what is no message.
fn check(item: &Bound<'_, PyAny>) -> PyResult<()> {
    if item.is_exact_instance_of::<PyBytes>() || is_buffer(item) {
        return Ok(());
    }
    if item.is_instance_of::<PyList>() || item.is_instance_of::<PyTuple>() {
        return checked_parts(item).map(drop);
    }
    let kind = item.get_type().name()?;
    Err(PyTypeError::new_err(format!(
        "a message is a buffer (bytes, Frame, ...) or a list or tuple of buffers, not {kind}"
    )))
}

/// How a batch ended that no error ended.
enum Ended {
    AllSent,
    /// There was no room for the next message, at once or in time.
    NoRoom,
}

/// A batch on its way out.
struct Sending<'a> {
    socket: &'a Socket,
    wait: bool,
    /// When to give up, from the first wait on.
    deadline: Option<Option<Instant>>,
    sent: usize,
}

impl Sending<'_> {
    /// Sends what `get` gives for the numbers from `sent` on.
    fn sequence<'py>(
        &mut self,
        py: Python<'py>,
        get: impl Fn(usize) -> Option<Bound<'py, PyAny>>,
    ) -> PyResult<Ended> {
        let engine = self.socket.engine(py)?;
        loop {
            // The message that ended the stretch is let go of outside the lock.
            let mut other = None;
            let mut sent = self.sent;
            let stretch: mqcore::Result<()> = at_once(py, || {
                let mut batch = engine.send_batch()?;
                while let Some(item) = get(sent) {
                    match item.cast_exact::<PyBytes>() {
                        Ok(bytes) if bytes.as_bytes().len() < KEPT_BY_REFERENCE => {
                            batch.try_send_slice(bytes.as_bytes())?;
                            sent += 1;
                        }
                        _ => {
                            other = Some(item);
                            break;
                        }
                    }
                }
                Ok(())
            });
            self.sent = sent;
            let next = match stretch {
                Ok(()) => other,
                Err(error) if error.errno() == Errno::AGAIN => get(sent),
                Err(error) => return Err(raise(py, &error)),
            };
            let Some(next) = next else {
                return Ok(Ended::AllSent);
            };
            if self.place(py, message_of(&next)?)?.is_some() {
                return Ok(Ended::NoRoom);
            }
        }
    }

    /// Sends what an iterator gives; nothing is taken from it before there is room.
    fn iterator(&mut self, py: Python<'_>, mut items: Bound<'_, PyIterator>) -> PyResult<Ended> {
        loop {
            if !self.has_room(py)? {
                return Ok(Ended::NoRoom);
            }
            let Some(item) = items.next() else {
                return Ok(Ended::AllSent);
            };
            let item = item?;
            let error = match message_of(&item).and_then(|message| self.place(py, message)) {
                Ok(None) => continue,
                // Another thread took the room, or the peer it goes to has none.
                Ok(Some(_)) => raise(py, &Errno::AGAIN.into()),
                Err(error) => error,
            };
            error.value(py).setattr(intern!(py, "unsent"), item)?;
            return Err(error);
        }
    }

    /// Whether there is room, after waiting for it if that is allowed.
    fn has_room(&mut self, py: Python<'_>) -> PyResult<bool> {
        let engine = self.socket.engine(py)?;
        match engine.check_room() {
            Err(error) if error.errno() == Errno::AGAIN => {}
            checked => return checked.map(|()| true).map_err(|error| raise(py, &error)),
        }
        if !self.wait {
            return Ok(false);
        }
        let deadline = self.deadline(engine);
        interruptible(py, || match engine.wait_for_room(deadline) {
            Err(error) if error.errno() == Errno::AGAIN => Ok(false),
            waited => waited.map(|()| true),
        })
    }

    /// Sends a message; gives it back if there was no room for it in time.
    fn place(&mut self, py: Python<'_>, message: Message) -> PyResult<Option<Message>> {
        let engine = self.socket.engine(py)?;
        let mut outcome = at_once(py, || engine.try_send(message));
        if self.wait
            && let Err((error, back)) = outcome
        {
            outcome = if error.errno() == Errno::AGAIN {
                let deadline = self.deadline(engine);
                wait_to_send(py, back, |message| engine.send_until(message, deadline))?
            } else {
                Err((error, back))
            };
        }
        match outcome {
            Ok(()) => {
                self.sent += 1;
                Ok(None)
            }
            Err((error, message)) if error.errno() == Errno::AGAIN => Ok(Some(message)),
            Err((error, _)) => Err(raise(py, &error)),
        }
    }

    fn deadline(&mut self, engine: &mqcore::Socket) -> Option<Instant> {
        *self.deadline.get_or_insert_with(|| engine.send_deadline())
    }
}

/// The message that an item of a batch stands for.
fn message_of(item: &Bound<'_, PyAny>) -> PyResult<Message> {
    if let Some(message) = short_message_of(item) {
        return Ok(message);
    }
    if !item.is_instance_of::<PyList>() && !item.is_instance_of::<PyTuple>() {
        check(item)?;
        return Ok(frame_of(item)?.into());
    }
    let frames = checked_parts(item)?
        .iter()
        .map(frame_of)
        .collect::<PyResult<_>>()?;
    Ok(Message::from_frames(frames))
}

/// Receives one to `max` messages of one part each.
pub(crate) fn recv_many<'py>(
    socket: &Socket,
    py: Python<'py>,
    max: i64,
    timeout: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyList>> {
    let mut taken: Vec<Result<Bound<'py, PyBytes>, mqcore::Frame>> =
        Vec::with_capacity(usize::try_from(max).unwrap_or(0).min(SET_ASIDE));
    receive(
        socket,
        py,
        max,
        timeout,
        true,
        &mut |received| match received {
            Received::Payload(payload) => taken.push(Ok(PyBytes::new(py, payload))),
            Received::Message(message) => {
                if let Some(frame) = message.single_mut() {
                    taken.push(short_bytes_of(py, frame));
                }
            }
        },
    )?;
    let payloads = taken
        .into_iter()
        .map(|payload| payload.or_else(|frame| bytes_of(py, &frame)))
        .collect::<PyResult<Vec<_>>>()?;
    PyList::new(py, payloads)
}

/// Receives one to `max` messages, each as a list of its parts.
pub(crate) fn recv_many_multipart<'py>(
    socket: &Socket,
    py: Python<'py>,
    max: i64,
    timeout: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyList>> {
    let mut taken = Vec::with_capacity(usize::try_from(max).unwrap_or(0).min(SET_ASIDE));
    receive(socket, py, max, timeout, false, &mut |received| {
        taken.push(match received {
            Received::Payload(payload) => payload.into(),
            Received::Message(message) => std::mem::take(message),
        });
    })?;
    let list = PyList::empty(py);
    for message in taken {
        list.append(parts_of(py, &message)?)?;
    }
    Ok(list)
}

/// The parts of a message as a list of bytes.
pub(crate) fn parts_of<'py>(py: Python<'py>, message: &Message) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    match message.frames() {
        Some(frames) => {
            for frame in frames {
                list.append(bytes_of(py, frame)?)?;
            }
        }
        None => {
            for part in message.parts() {
                list.append(PyBytes::new(py, part))?;
            }
        }
    }
    Ok(list)
}

/// Shows `look` what is there, after waiting for the first message if need be.
fn receive(
    socket: &Socket,
    py: Python<'_>,
    max: i64,
    timeout: Option<&Bound<'_, PyAny>>,
    single: bool,
    look: &mut dyn FnMut(Received<'_>),
) -> PyResult<()> {
    let Some(max) = usize::try_from(max).ok().filter(|&max| max > 0) else {
        return Err(PyValueError::new_err(format!(
            "max must be at least 1, not {max}: a batch has one message or more"
        )));
    };
    let engine = socket.engine(py)?;
    // Before the first attempt only if the caller gave it: an option may wait.
    let mut deadline = match timeout {
        Some(_) => Some(poll::deadline(timeout)?),
        None => None,
    };
    loop {
        match at_once(py, || engine.try_recv_many(max, single, look)) {
            Ok(_) => return Ok(()),
            Err(error) if error.errno() == Errno::AGAIN => {}
            Err(error) => return Err(raise(py, &error)),
        }
        let deadline = *deadline.get_or_insert_with(|| engine.receive_deadline());
        interruptible(py, || engine.wait_readable(deadline))?;
    }
}
