//! The one way bytes enter: Python objects become frames, frames land in Python buffers.
//!
//! `bytes` cannot change, so long ones are kept by reference; whatever can change is copied, unless it is asked not to.

use pyo3::buffer::{PyBuffer, PyUntypedBuffer};
use pyo3::exceptions::{PyBufferError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList, PyMemoryView, PyString, PyTuple};

use crate::frame::{Expected, Frame, Held};
use crate::release::{self, Release};
use crate::types::KEPT_BY_REFERENCE;

/// A payload on its way in.
pub(crate) enum Payload {
    /// Of an immutable object.
    Bytes(PyBackedBytes),
    /// A copy of a buffer that may change.
    Copy(Vec<u8>),
    /// Such a buffer itself, which stays where it is for as long as it is needed.
    Held(Held),
}

impl Payload {
    /// The payload of any object with a contiguous buffer, but for frames and text. Of `held_from` bytes and more it is
    /// never copied.
    pub(crate) fn of(data: &Bound<'_, PyAny>, held_from: usize) -> PyResult<Self> {
        if let Ok(bytes) = data.cast::<PyBytes>() {
            return Ok(Self::Bytes(bytes.clone().into()));
        }
        let py = data.py();
        // What is no buffer gets the interpreter's own TypeError.
        let buffer = PyUntypedBuffer::get(data)?;
        if !buffer.is_c_contiguous() && !buffer.is_fortran_contiguous() {
            return Err(PyBufferError::new_err(
                "the buffer is not contiguous; send bytes(...) of it",
            ));
        }
        if buffer.len_bytes() >= held_from {
            return Ok(Self::Held(Held::new(data)?));
        }
        if buffer.is_c_contiguous()
            && let Ok(octets) = buffer.as_typed::<u8>()
        {
            let mut copy = vec![0; octets.item_count()];
            octets.copy_to_slice(py, &mut copy)?;
            return Ok(Self::Copy(copy));
        }
        let order = intern!(py, "A"); // the bytes as they lie in memory
        let raw = PyMemoryView::from(data)?
            .call_method1(intern!(py, "tobytes"), (order,))?
            .cast_into::<PyBytes>()?;
        Ok(Self::Bytes(raw.into()))
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Copy(bytes) => bytes.len(),
            Self::Held(held) => held.as_ref().len(),
        }
    }

    /// The payload as a frame of the engine.
    pub(crate) fn into_frame(self) -> mqcore::Frame {
        match self {
            Self::Bytes(bytes) if bytes.len() >= KEPT_BY_REFERENCE => {
                mqcore::Frame::from_owner(bytes)
            }
            Self::Bytes(bytes) => mqcore::Frame::copy_from_slice(&bytes),
            Self::Copy(bytes) => bytes.into(),
            Self::Held(held) => mqcore::Frame::from_owner(held),
        }
    }

    /// The payload as a frame, and the event that is set when its last reference goes.
    pub(crate) fn into_tracked_frame(self) -> (mqcore::Frame, Release) {
        let (shared, release) = match self {
            Self::Bytes(bytes) => release::tracked(bytes),
            Self::Copy(bytes) => release::tracked(bytes),
            Self::Held(held) => release::tracked(held),
        };
        (mqcore::Frame::from_shared(shared), release)
    }
}

/// The bytes object for a received frame: the very one that was sent, if it came from this process without a copy (bytes
/// never change), or that was made for it before it came, else a new one.
#[inline]
pub(crate) fn bytes_of<'py>(
    py: Python<'py>,
    frame: &mqcore::Frame,
) -> PyResult<Bound<'py, PyBytes>> {
    if let Some(owner) = frame.owner() {
        if let Some(sent) = owner.downcast_ref::<PyBackedBytes>()
            && let Ok(sent) = sent.into_pyobject(py)?.cast_into_exact::<PyBytes>()
        {
            return Ok(sent);
        }
        if let Some(bytes) = owner
            .downcast_ref()
            .and_then(|made| Expected::bytes(made, py))
        {
            return Ok(bytes);
        }
    }
    Ok(PyBytes::new(py, frame))
}

/// Up to this length a bytes object is made while the frame lies in the socket's queue.
const MADE_IN_PLACE: usize = 4 * 1024;

/// The bytes object for a short frame where it lies; a longer one is taken out, to be copied elsewhere.
#[inline]
pub(crate) fn short_bytes_of<'py>(
    py: Python<'py>,
    frame: &mut mqcore::Frame,
) -> Result<Bound<'py, PyBytes>, mqcore::Frame> {
    if frame.len() <= MADE_IN_PLACE {
        Ok(PyBytes::new(py, frame))
    } else {
        Err(std::mem::take(frame))
    }
}

/// The frame to send for `data`: bytes, a `Frame` or any contiguous buffer.
#[inline]
pub(crate) fn frame_of(data: &Bound<'_, PyAny>) -> PyResult<mqcore::Frame> {
    if let Ok(bytes) = data.cast::<PyBytes>() {
        let octets = bytes.as_bytes();
        if octets.len() < KEPT_BY_REFERENCE {
            return Ok(mqcore::Frame::copy_from_slice(octets));
        }
    } else if let Ok(frame) = data.cast::<Frame>() {
        return Ok(frame.get().content().clone());
    }
    refuse_text(data)?;
    Ok(Payload::of(data, usize::MAX)?.into_frame())
}

/// The message of a list or tuple of two or more plain bytes that are short together; `None` for all others.
#[inline]
pub(crate) fn short_message_of(parts: &Bound<'_, PyAny>) -> Option<mqcore::Message> {
    let mut message = mqcore::ShortMessage::default();
    let mut push = |part: Bound<'_, PyAny>| {
        let bytes = part.cast_exact::<PyBytes>().ok()?.as_bytes();
        message.push(bytes).then_some(())
    };
    if let Ok(list) = parts.cast_exact::<PyList>() {
        list.iter().try_for_each(&mut push)?;
    } else if let Ok(tuple) = parts.cast_exact::<PyTuple>() {
        tuple.iter().try_for_each(&mut push)?;
    } else {
        return None;
    }
    message.finish()
}

/// TypeError for text, which has no bytes until somebody chose an encoding.
pub(crate) fn refuse_text(data: &Bound<'_, PyAny>) -> PyResult<()> {
    if data.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err("unicode not allowed, use send_string"));
    }
    Ok(())
}

/// Whether `data` could be sent, for the check of all parts before the first one goes.
pub(crate) fn is_buffer(data: &Bound<'_, PyAny>) -> bool {
    data.is_instance_of::<PyBytes>()
        || data.is_instance_of::<Frame>()
        || PyMemoryView::from(data).is_ok()
}

/// Room for a frame in a writable buffer of the application.
pub(crate) struct Target<'py> {
    /// `None`: there is no room at all.
    octets: Option<Bound<'py, PyAny>>,
    room: usize,
}

impl<'py> Target<'py> {
    /// The first `nbytes` bytes of `buffer`, or all of it for 0.
    pub(crate) fn new(buffer: &Bound<'py, PyAny>, nbytes: isize) -> PyResult<Self> {
        let py = buffer.py();
        let view = PyMemoryView::from(buffer)?;
        if view.getattr(intern!(py, "readonly"))?.is_truthy()? {
            return Err(PyBufferError::new_err(
                "the buffer to receive into is not writable",
            ));
        }
        if !view.getattr(intern!(py, "c_contiguous"))?.is_truthy()? {
            return Err(PyBufferError::new_err(
                "the buffer to receive into is not contiguous",
            ));
        }
        let size: usize = view.getattr(intern!(py, "nbytes"))?.extract()?;
        let room = match usize::try_from(nbytes) {
            Ok(0) => size,
            Ok(nbytes) if nbytes <= size => nbytes,
            Ok(_) => {
                return Err(PyValueError::new_err(format!(
                    "nbytes={nbytes} too big for memoryview of {size}B"
                )));
            }
            Err(_) => {
                return Err(PyValueError::new_err(format!(
                    "nbytes={nbytes} is negative; give 0 to {size}"
                )));
            }
        };
        let octets = if size == 0 {
            None
        } else {
            Some(view.call_method1(intern!(py, "cast"), (intern!(py, "B"),))?)
        };
        Ok(Self { octets, room })
    }

    /// Writes as much of `payload` as there is room for.
    pub(crate) fn fill(&self, payload: &[u8]) -> PyResult<()> {
        let taken = payload.len().min(self.room);
        let Some(octets) = self.octets.as_ref().filter(|_| taken > 0) else {
            return Ok(());
        };
        let py = octets.py();
        let end = taken.into_pyobject(py)?;
        let slice = pyo3::types::PySlice::new(py, 0, end.extract()?, 1);
        PyBuffer::<u8>::get(&octets.get_item(slice)?)?.copy_from_slice(py, &payload[..taken])
    }
}
