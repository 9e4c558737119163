//! Contexts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use mqcore::Errno;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyTuple};

use crate::error::raise;
use crate::handle::{Handle, Numbered, Registry};
use crate::waiting::interruptible;
use crate::{poll, types};

impl Numbered for mqcore::Context {
    fn registry() -> &'static Registry<Self> {
        static REGISTRY: Registry<mqcore::Context> = Registry::new();
        &REGISTRY
    }

    fn end(&self) {}
}

/// The native part of a context; `mqcore.Context` adds the rest.
#[pyclass(module = "mqcore._core", subclass, frozen, weakref, dict)]
pub(crate) struct Context {
    handle: OnceLock<Arc<Handle<mqcore::Context>>>,
    /// Terminated through this object, or not made yet.
    closed: AtomicBool,
}

impl Context {
    /// The engine's context; RuntimeError after the end.
    fn engine(&self) -> PyResult<&mqcore::Context> {
        self.handle
            .get()
            .filter(|_| !self.closed.load(Ordering::Relaxed))
            .and_then(|handle| handle.get())
            .ok_or_else(|| PyRuntimeError::new_err("Context has been destroyed"))
    }

    /// A new socket of the engine.
    pub(crate) fn open(&self, py: Python<'_>, kind: i32) -> PyResult<Arc<Handle<mqcore::Socket>>> {
        let Some(handle) = self.handle.get() else {
            let detail = "Context.__init__ was not called";
            return Err(raise(py, &mqcore::Error::new(Errno::NOTSUP, detail)));
        };
        let Some(context) = handle.get() else {
            let detail = "the context was made before fork(); make a new one in the child process";
            return Err(raise(py, &mqcore::Error::new(Errno::NOTSUP, detail)));
        };
        match context.socket(kind) {
            Ok(socket) => Ok(Handle::new(socket)),
            Err(error) => Err(raise(py, &error)),
        }
    }
}

#[pymethods]
impl Context {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self {
            handle: OnceLock::new(),
            closed: AtomicBool::new(true),
        }
    }

    #[pyo3(signature = (io_threads=1, shadow=0))]
    fn __init__(&self, py: Python<'_>, io_threads: i32, shadow: usize) -> PyResult<()> {
        let handle = if shadow == 0 {
            let context = mqcore::Context::new();
            context
                .set_option(types::IO_THREADS, io_threads)
                .map_err(|error| raise(py, &error))?;
            Handle::new(context)
        } else {
            mqcore::Context::registry().find(shadow).ok_or_else(|| {
                let detail = format!("{shadow} is not the `underlying` of a live context");
                raise(py, &mqcore::Error::new(Errno::FAULT, detail))
            })?
        };
        // A second __init__ changes nothing: the sockets of the first context would be lost.
        if self.handle.set(handle).is_ok() {
            self.closed.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The number that stands for the context in `Context.shadow`; 0 after the end.
    #[getter]
    fn underlying(&self) -> usize {
        match self.handle.get() {
            Some(handle) if !self.closed.load(Ordering::Relaxed) => handle.number(),
            _ => 0,
        }
    }

    /// Whether the context belongs to the parent of this process.
    #[getter]
    fn _inherited(&self) -> bool {
        self.handle
            .get()
            .is_some_and(|handle| handle.is_inherited())
    }

    /// Whether the context was terminated through this object (or not made yet). May be assigned.
    #[getter]
    fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    #[setter]
    fn set_closed(&self, closed: bool) {
        self.closed.store(closed, Ordering::Relaxed);
    }

    /// Sets the context option with the number `option` to `optval`, an int.
    ///
    /// Raises ZMQError(EINVAL) for an unknown option or a value that it does not take, TypeError for what is no int,
    /// OverflowError for more than 32 bits, RuntimeError if the context is terminated.
    fn set(&self, option: i32, optval: &Bound<'_, PyAny>) -> PyResult<()> {
        let context = self.engine()?;
        if !optval.is_instance_of::<PyInt>() {
            let shown = optval.repr()?;
            return Err(PyTypeError::new_err(format!("expected int, got: {shown}")));
        }
        context
            .set_option(option, optval.extract()?)
            .map_err(|error| raise(optval.py(), &error))
    }

    /// Returns the value of the context option with the number `option`, an int.
    ///
    /// Raises ZMQError(EINVAL) for an unknown one, RuntimeError if the context is terminated.
    fn get(&self, py: Python<'_>, option: i32) -> PyResult<i32> {
        self.engine()?
            .option(option)
            .map_err(|error| raise(py, &error))
    }

    /// Ends the context: waits until every socket is closed and has sent what its LINGER covers.
    ///
    /// Calls that wait in other threads end with ContextTerminated. With a `timeout` in milliseconds (an
    /// addition of mqcore) it raises Again when that has passed, naming what holds the context; the
    /// context stays unusable, and term may be called again. A KeyboardInterrupt ends the wait in the same
    /// way. In a forked child it does nothing.
    #[pyo3(signature = (timeout=None))]
    fn term(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let deadline = poll::deadline(timeout)?;
        if let Some(context) = self.handle.get().and_then(|handle| handle.get())
            && !self.closed.load(Ordering::Relaxed)
        {
            interruptible(py, || context.term(deadline))?;
        }
        self.closed.store(true, Ordering::Relaxed);
        Ok(())
    }
}
