//! Frames: the one way payloads leave without a copy.
//!
//! This file holds the binding's only unsafe code: handing the payload's memory to the buffer protocol, and taking that of
//! others from it.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use mqcore::{Errno, ReadInto, Vessel};
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyAttributeError, PyBufferError, PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyInt, PyMemoryView, PyString, PyTuple, PyWeakrefReference};

use crate::buffer::Payload;
use crate::error::raise;
use crate::types::{self, truth};

/// One part of a message, kept by reference: `recv(copy=False)` gives it, `send` takes it as often as one likes.
///
/// Frame(data=None, track=False, copy=None, copy_threshold=None)
///
/// `data` is bytes or any object with a contiguous buffer. It is copied if it is shorter than `copy_threshold` bytes
/// (`mqcore.COPY_THRESHOLD`), or if `copy` is true, or never if `copy` is false; immutable bytes are never copied when they
/// are long. What is not copied must not be changed while the frame or a message made of it lives, and cannot be resized
/// (BufferError). With `track` the attribute `tracker` tells when that is over (at once if it was copied).
///
/// The frame exports its payload as a read-only buffer: `memoryview(frame)`, `bytes(frame)`. Raises TypeError for text
/// and what has no buffer, BufferError for one that is not contiguous.
#[pyclass(module = "mqcore.frame", subclass, frozen, weakref)]
pub(crate) struct Frame {
    content: mqcore::Frame,
    more: AtomicBool,
    tracker: Option<Py<PyAny>>,
    tracker_event: Option<Py<PyAny>>,
    /// What the connection says about itself: names and values.
    properties: mqcore::pattern::Properties,
    bytes: PyOnceLock<Py<PyBytes>>,
    /// The view that was given out last, as long as somebody keeps it.
    view: Mutex<Option<Py<PyWeakrefReference>>>,
}

impl Frame {
    /// A frame as received: `more` says that other parts follow.
    pub(crate) fn received(
        content: mqcore::Frame,
        more: bool,
        tracker: Option<Py<PyAny>>,
        properties: mqcore::pattern::Properties,
    ) -> Self {
        Self {
            content,
            more: AtomicBool::new(more),
            tracker,
            tracker_event: None,
            properties,
            bytes: PyOnceLock::new(),
            view: Mutex::new(None),
        }
    }

    #[inline]
    pub(crate) fn content(&self) -> &mqcore::Frame {
        &self.content
    }

    /// The frame's tracker, if it has one.
    pub(crate) fn own_tracker(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.tracker.as_ref().map(|tracker| tracker.clone_ref(py))
    }

    fn property(&self, py: Python<'_>, name: &str) -> PyResult<&str> {
        self.properties
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_str())
            .ok_or_else(|| {
                let detail = format!("the frame has no property {name:?}");
                raise(py, &mqcore::Error::new(Errno::INVAL, detail))
            })
    }

    fn number(&self, py: Python<'_>, option: i32) -> PyResult<i32> {
        match option {
            types::MORE => Ok(self.more.load(Ordering::Relaxed).into()),
            types::SHARED => Ok(self.content.is_shared().into()),
            types::SRCFD => {
                let fd = self.property(py, types::SOURCE_FD)?;
                fd.parse().map_err(|_| raise(py, &Errno::INVAL.into()))
            }
            _ => {
                let detail = format!(
                    "{option} is no frame option; there are MORE (1), SRCFD (2) and SHARED (3)"
                );
                Err(raise(py, &mqcore::Error::new(Errno::INVAL, detail)))
            }
        }
    }
}

/// Memory of a Python object that the engine reads where it lies: it stays there for as long as this lives.
pub(crate) struct Held {
    /// Nobody else has it, so nobody releases it. It may go on any thread: the interpreter gives it back later.
    _view: Py<PyMemoryView>,
    start: *const u8,
    length: usize,
}

// SAFETY: the memory is only read, and belongs to no thread.
unsafe impl Send for Held {}
// SAFETY: as above.
unsafe impl Sync for Held {}

impl Held {
    /// Holds the buffer of `data`, which must be contiguous.
    pub(crate) fn new(data: &Bound<'_, PyAny>) -> PyResult<Self> {
        let view = PyMemoryView::from(data)?;
        let buffer = PyUntypedBuffer::get(&view)?;
        Ok(Self {
            start: buffer.buf_ptr().cast_const().cast(),
            length: buffer.len_bytes(),
            _view: view.unbind(),
        })
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        if self.length == 0 {
            return &[]; // the pointer of an empty buffer may be null
        }
        // SAFETY: the view exports these contiguous bytes, and an exporter neither frees nor moves them while it does. That
        // nobody writes to them meanwhile is what an application promises with copy=False. If it breaks that, what is
        // sent is partly the old and partly the new: bytes are only copied, nothing depends on what they are.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

/// A bytes object that is made before its content has come: nobody has it yet, so nobody sees it change.
pub(crate) struct Expected {
    bytes: Py<PyBytes>,
    start: *mut u8,
    length: usize,
    /// Bytes from `start` on that have been written.
    filled: usize,
}

// SAFETY: the memory belongs to no thread; it is written through `&mut self` only.
unsafe impl Send for Expected {}
// SAFETY: as above.
unsafe impl Sync for Expected {}

impl Expected {
    /// Room for `length` bytes.
    pub(crate) fn new(py: Python<'_>, length: usize) -> PyResult<Self> {
        let size = isize::try_from(length)?;
        // SAFETY: the interpreter is held; without a source the object is made and its content is left as it is. The
        // result is an error, or a new reference to bytes.
        let bytes = unsafe {
            let object = ffi::PyBytes_FromStringAndSize(std::ptr::null(), size);
            Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked::<PyBytes>()
        };
        // SAFETY: it is bytes, and keeps its content where it is for as long as it lives.
        let start = unsafe { ffi::PyBytes_AsString(bytes.as_ptr()) }.cast();
        Ok(Self {
            bytes: bytes.unbind(),
            start,
            length,
            filled: 0,
        })
    }

    /// The object, which never changes again.
    pub(crate) fn bytes<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        (self.filled == self.length).then(|| self.bytes.bind(py).clone())
    }
}

impl AsRef<[u8]> for Expected {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: so much of the object's memory has been written, and nobody writes to it while `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.start, self.filled) }
    }
}

impl Vessel for Expected {
    fn capacity(&self) -> usize {
        self.length
    }

    fn filled(&self) -> usize {
        self.filled
    }

    fn fill(&mut self, read: &mut ReadInto<'_>) -> io::Result<usize> {
        // SAFETY: the rest of the object's memory; this is the only reference to the object, so nobody reads there.
        let room = unsafe {
            let rest = self.start.add(self.filled).cast::<MaybeUninit<u8>>();
            std::slice::from_raw_parts_mut(rest, self.length - self.filled)
        };
        let (start, size) = (room.as_ptr(), room.len());
        let read = read(room)?;
        let count = read.len();
        assert!(
            read.as_ptr() == start.cast() && count <= size,
            "what was read is where there was room"
        );
        self.filled += count;
        Ok(count)
    }

    fn into_frame(self: Box<Self>) -> Option<mqcore::Frame> {
        (self.filled == self.length).then(|| mqcore::Frame::from_owner(*self))
    }
}

/// The payload of `frame` in `vessel`, if it is as long as that and was not meant for other memory.
pub(crate) fn moved_into(mut vessel: Box<dyn Vessel>, frame: mqcore::Frame) -> mqcore::Frame {
    if vessel.capacity() != frame.len() || frame.owner().is_some() {
        return frame;
    }
    let copied = vessel.fill(&mut |room| {
        let source: &[u8] = &frame;
        let length = source.len().min(room.len());
        let target: *mut u8 = room.as_mut_ptr().cast();
        // SAFETY: `length` bytes can be read here and written there, which are different objects; all of what is given
        // back was written.
        Ok(unsafe {
            std::ptr::copy_nonoverlapping(source.as_ptr(), target, length);
            std::slice::from_raw_parts_mut(target, length)
        })
    });
    let moved = copied.ok().and_then(|_| vessel.into_frame());
    moved.unwrap_or(frame)
}

/// What `routing_id` and `group` say until the socket types that use them are there.
fn no_drafts(name: &str, kinds: &str) -> PyErr {
    PyRuntimeError::new_err(format!(
        "a frame's {name} needs {kinds} sockets, which this version of mqcore does not have"
    ))
}

#[pymethods]
impl Frame {
    #[new]
    #[pyo3(signature = (data=None, track=false, copy=None, copy_threshold=None, **_kwargs))]
    fn new(
        py: Python<'_>,
        data: Option<&Bound<'_, PyAny>>,
        #[pyo3(from_py_with = truth)] track: bool,
        copy: Option<&Bound<'_, PyAny>>,
        copy_threshold: Option<usize>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let Some(data) = data else {
            return Ok(Self::received(
                mqcore::Frame::empty(),
                false,
                finished_if(py, track)?,
                Arc::default(),
            ));
        };
        if data.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err(
                "Str objects not allowed. Only: bytes, buffer interfaces.",
            ));
        }
        let threshold = match (copy, copy_threshold) {
            (Some(copy), _) if copy.is_truthy()? => usize::MAX,
            (Some(_), _) => 0,
            (None, Some(threshold)) => threshold,
            (None, None) => types::copy_threshold(py)?,
        };
        let payload = Payload::of(data, threshold)?;
        if payload.len() < threshold || !track {
            let tracker = finished_if(py, track)?;
            return Ok(Self::received(
                payload.into_frame(),
                false,
                tracker,
                Arc::default(),
            ));
        }
        let (content, release) = payload.into_tracked_frame();
        let event = Bound::new(py, release)?.into_any();
        let tracker = types::message_tracker(py)?.call1((&event,))?;
        let mut frame = Self::received(content, false, Some(tracker.unbind()), Arc::default());
        frame.tracker_event = Some(event.unbind());
        Ok(frame)
    }

    /// Takes what the constructor took; subclasses may have other parameters.
    #[pyo3(signature = (*_args, **_kwargs))]
    fn __init__(&self, _args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) {}

    /// The payload as `bytes`: copied once, the same object afterwards.
    #[getter]
    fn bytes(&self, py: Python<'_>) -> Py<PyBytes> {
        self.bytes
            .get_or_init(py, || PyBytes::new(py, &self.content).unbind())
            .clone_ref(py)
    }

    /// The payload as a read-only `memoryview`.
    #[getter]
    fn buffer<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        use pyo3::types::PyWeakrefMethods;
        let mut known = slf
            .get()
            .view
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let py = slf.py();
        if let Some(view) = known.as_ref().and_then(|view| view.bind(py).upgrade()) {
            return Ok(view);
        }
        let view = PyMemoryView::from(slf.as_any())?.into_any();
        *known = Some(PyWeakrefReference::new(&view)?.unbind());
        Ok(view)
    }

    /// Whether other parts of the message follow this one. May be assigned; `send` does not look at it.
    #[getter]
    fn more(&self) -> bool {
        self.more.load(Ordering::Relaxed)
    }

    #[setter]
    fn set_more(&self, #[pyo3(from_py_with = truth)] more: bool) {
        self.more.store(more, Ordering::Relaxed);
    }

    /// The MessageTracker of a frame made or received with `track`, or None.
    #[getter]
    fn tracker(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.own_tracker(py)
    }

    /// The event that is set when the payload is released, or None.
    #[getter]
    fn tracker_event(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.tracker_event.as_ref().map(|event| event.clone_ref(py))
    }

    /// The routing id of a SERVER socket's message. Raises RuntimeError: there are no such sockets yet.
    #[getter]
    fn routing_id(&self) -> PyResult<u32> {
        Err(no_drafts("routing_id", "CLIENT and SERVER"))
    }

    #[setter]
    fn set_routing_id(&self, _routing_id: u32) -> PyResult<()> {
        Err(no_drafts("routing_id", "CLIENT and SERVER"))
    }

    /// The group of a RADIO socket's message. Raises RuntimeError: there are no such sockets yet.
    #[getter]
    fn group(&self) -> PyResult<String> {
        Err(no_drafts("group", "RADIO and DISH"))
    }

    #[setter]
    fn set_group(&self, _group: &str) -> PyResult<()> {
        Err(no_drafts("group", "RADIO and DISH"))
    }

    /// Returns the value of `option`: of MORE, SHARED and SRCFD an int; of the name of a property of the connection that
    /// the frame came by ('Peer-Address', 'Socket-Type', ...) text.
    ///
    /// Raises ZMQError(EINVAL) for what the frame does not have (one made here has no properties), RuntimeError for
    /// 'routing_id' and 'group', which need draft sockets, TypeError for what is neither a number nor a name.
    fn get<'py>(&self, option: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = option.py();
        if option.is_instance_of::<PyInt>() {
            let value = self.number(py, option.extract()?)?;
            return Ok(value.into_pyobject(py)?.into_any());
        }
        let octets;
        let name = if let Ok(name) = option.cast::<PyString>() {
            name.to_str()?
        } else if let Ok(name) = option.cast::<PyBytes>() {
            octets = String::from_utf8_lossy(name.as_bytes());
            &octets
        } else {
            let shown = option.repr()?;
            return Err(PyTypeError::new_err(format!("expected str, got: {shown}")));
        };
        match name {
            "routing_id" => Err(no_drafts("routing_id", "CLIENT and SERVER")),
            "group" => Err(no_drafts("group", "RADIO and DISH")),
            _ => Ok(PyString::new(py, self.property(py, name)?).into_any()),
        }
    }

    /// Would set `option` to `value`. There is none that can be set: raises ZMQError(EINVAL), RuntimeError for
    /// 'routing_id' and 'group'.
    fn set(&self, option: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = option.py();
        let shown = option.repr()?.to_string();
        match shown.trim_matches('\'') {
            "routing_id" => Err(no_drafts("routing_id", "CLIENT and SERVER")),
            "group" => Err(no_drafts("group", "RADIO and DISH")),
            _ => {
                let value = value.repr()?;
                let detail = format!("{shown} of a frame cannot be set, to {value} or anything");
                Err(raise(py, &mqcore::Error::new(Errno::INVAL, detail)))
            }
        }
    }

    fn __getitem__<'py>(&self, option: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.get(option)
    }

    fn __getattr__(slf: &Bound<'_, Self>, name: &str) -> PyResult<i32> {
        let (py, upper) = (slf.py(), name.to_uppercase());
        let option = match upper.as_str() {
            "MORE" => types::MORE,
            "SHARED" => types::SHARED,
            "SRCFD" => types::SRCFD,
            _ => {
                let class = slf.get_type().name()?;
                return Err(PyAttributeError::new_err(format!(
                    "{class} has no such option: {upper}"
                )));
            }
        };
        slf.get().number(py, option).map_err(|_| {
            PyAttributeError::new_err(format!("{name} attribute is not set on this frame"))
        })
    }

    fn __len__(&self) -> usize {
        self.content.len()
    }

    /// Another frame object with the same payload.
    fn __copy__(&self, py: Python<'_>) -> Self {
        let mut copy = Self::received(
            self.content.clone(),
            self.more(),
            self.own_tracker(py),
            self.properties.clone(),
        );
        copy.tracker_event = self.tracker_event(py);
        copy
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "cannot pickle a Frame; pickle frame.bytes",
        ))
    }

    fn __deepcopy__(&self, _memo: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "cannot deepcopy a Frame; copy.copy() shares its payload, which never changes",
        ))
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        const SHOWN: usize = 16;
        let (py, payload) = (slf.py(), slf.get().content.as_slice());
        let class = slf.get_type();
        let class = if class.is(py.get_type::<Self>()) {
            "mqcore.Frame".to_owned()
        } else {
            format!("{}.{}", class.module()?, class.name()?)
        };
        let size = payload.len();
        let (head, rest) = if size <= SHOWN {
            (payload, String::new())
        } else {
            let size = match size {
                0..1_000 => format!("{size}B"),
                1_000..0x10_0000 => format!("{}kB", size / 1_000),
                0x10_0000..1_000_000_000 => format!("{}MB", size / 1_000_000),
                _ => format!("{}GB", size / 1_000_000_000),
            };
            (&payload[..12], format!("...{size}"))
        };
        let head = PyBytes::new(py, head).repr()?;
        Ok(format!("<{class}({head}{rest})>"))
    }

    /// The payload's memory, for reading.
    ///
    /// # Safety
    /// The interpreter calls this with a `view` that it wants filled.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
            // SAFETY: `view` is the interpreter's, and a refused export must leave no owner in it.
            unsafe { (*view).obj = std::ptr::null_mut() };
            return Err(PyBufferError::new_err(
                "a frame's payload is shared and cannot be written; use bytearray(frame)",
            ));
        }
        let payload = slf.get().content.as_slice();
        let length = ffi::Py_ssize_t::try_from(payload.len())?;
        // SAFETY: the view takes a reference to the frame object. That object is frozen: its content is
        // never replaced, and neither the shared buffer nor the payload inside the object itself (a Python
        // object does not move) changes or goes before the object does. The view is read-only.
        let filled = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                payload.as_ptr().cast_mut().cast::<c_void>(),
                length,
                1,
                flags,
            )
        };
        if filled == 0 {
            Ok(())
        } else {
            Err(PyErr::fetch(slf.py()))
        }
    }
}

/// The tracker of a payload that nobody needs to watch.
pub(crate) fn finished_if(py: Python<'_>, wanted: bool) -> PyResult<Option<Py<PyAny>>> {
    if !wanted {
        return Ok(None);
    }
    Ok(Some(types::finished_tracker(py)?.clone().unbind()))
}
