//! Contexts: what the sockets of an application share, and how they end together.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use crate::error::{Errno, Error, Result};
use crate::io::{IoPool, Resolver};
use crate::options::ContextOptions;
use crate::port::Port;
use crate::sync::{Alive, Tally, Woken, lock};
use crate::transport::inproc::Names;

/// A context: the I/O threads, the inproc names and the sockets of one application. Clones share it.
///
/// End it with [`term`](Self::term). A context that is dropped without stops its threads, and what its
/// closed sockets have not sent yet is lost.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

struct Inner {
    options: Mutex<ContextOptions>,
    names: Names,
    /// Started by the first endpoint that needs a thread.
    pool: Mutex<Option<Arc<IoPool>>>,
    resolver: Arc<Resolver>,
    /// Open sockets, and sessions that still have something to do.
    tally: Arc<Tally>,
    ports: Mutex<HashMap<u64, Arc<Port>>>,
    /// Closed sockets, of which some may still send.
    left: Mutex<Vec<Weak<Port>>>,
    shut_down: AtomicBool,
    ended: AtomicBool,
}

impl Context {
    /// A context with the default options; threads start with the first endpoint that needs one.
    pub fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                options: Mutex::new(ContextOptions::default()),
                names: Names::default(),
                pool: Mutex::new(None),
                resolver: Arc::new(Resolver::new()),
                tally: Arc::default(),
                ports: Mutex::default(),
                left: Mutex::default(),
                shut_down: AtomicBool::new(false),
                ended: AtomicBool::new(false),
            }),
        }
    }

    /// Sets a context option by its number of zmq.h.
    ///
    /// # Errors
    /// EINVAL for an unknown option or a value that it does not take, with the values it does.
    pub fn set_option(&self, option: i32, value: i32) -> Result<()> {
        lock(&self.inner.options).set(option, value)
    }

    /// Reads a context option by its number of zmq.h.
    ///
    /// # Errors
    /// EINVAL for an unknown option.
    pub fn option(&self, option: i32) -> Result<i32> {
        lock(&self.inner.options).get(option)
    }

    /// Wakes every waiting call with ETERM; nothing but closing works afterwards. Does not wait.
    pub fn shutdown(&self) {
        self.inner.shut_down.store(true, Ordering::SeqCst);
        let ports: Vec<_> = lock(&self.inner.ports).values().cloned().collect();
        for port in ports {
            port.signals.notify(true, true);
        }
    }

    /// Shuts down, and waits until every socket was closed and has sent what its LINGER covers.
    ///
    /// # Errors
    /// EINTR if a signal handler ran on this thread: call again. EAGAIN when `deadline` (`None`: never)
    /// has passed: the text names what holds the context, which stays shut down.
    pub fn term(&self, deadline: Option<Instant>) -> Result<()> {
        self.shutdown();
        match self.inner.tally.wait(deadline) {
            Woken::Signalled => {}
            Woken::Interrupted => return Err(Errno::INTR.into()),
            Woken::TimedOut => return Err(self.still_busy()),
        }
        self.inner.stop();
        Ok(())
    }

    fn still_busy(&self) -> Error {
        let open: Vec<_> = lock(&self.inner.ports).values().cloned().collect();
        let left: Vec<_> = lock(&self.inner.left)
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        let mut busy: Vec<String> = open.iter().map(|port| not_closed(port)).collect();
        busy.extend(left.iter().filter_map(|port| still_sending(port)));
        busy.sort();
        if busy.is_empty() {
            busy.push("the last connections are just ending".to_owned());
        }
        let busy = busy.join("; ");
        Error::new(Errno::AGAIN, format!("the context cannot end yet: {busy}"))
    }

    /// Whether [`term`](Self::term) has completed.
    pub fn is_terminated(&self) -> bool {
        self.inner.ended.load(Ordering::SeqCst)
    }

    #[inline]
    pub(crate) fn is_shut_down(&self) -> bool {
        self.inner.shut_down.load(Ordering::Relaxed)
    }

    pub(crate) fn names(&self) -> &Names {
        &self.inner.names
    }

    pub(crate) fn tally(&self) -> &Arc<Tally> {
        &self.inner.tally
    }

    pub(crate) fn with_options<T>(&self, read: impl FnOnce(&ContextOptions) -> T) -> T {
        read(&lock(&self.inner.options))
    }

    /// The I/O threads, started if they were not.
    pub(crate) fn pool(&self) -> Result<Arc<IoPool>> {
        let mut pool = lock(&self.inner.pool);
        if let Some(pool) = &*pool {
            return Ok(Arc::clone(pool));
        }
        let options = self.with_options(Clone::clone);
        let started = Arc::new(IoPool::start(&options, &self.inner.resolver)?);
        *pool = Some(Arc::clone(&started));
        Ok(started)
    }

    /// Enters a new socket's port. ETERM, EMFILE.
    pub(crate) fn enroll(&self, id: u64, port: &Arc<Port>) -> Result<Alive> {
        let most = self.with_options(|options| options.max_sockets);
        let mut ports = lock(&self.inner.ports);
        if self.inner.shut_down.load(Ordering::SeqCst) {
            return Err(Errno::TERM.into());
        }
        if ports.len() >= most {
            return Err(Error::new(
                Errno::MFILE,
                format!("{most} sockets are open, which is the context's MAX_SOCKETS"),
            ));
        }
        ports.insert(id, Arc::clone(port));
        Ok(self.inner.tally.enter())
    }

    /// Takes a closed socket's port out.
    pub(crate) fn leave(&self, id: u64) {
        let Some(port) = lock(&self.inner.ports).remove(&id) else {
            return;
        };
        let mut left = lock(&self.inner.left);
        if left.len() == left.capacity() {
            left.retain(|port| port.strong_count() > 0);
        }
        left.push(Arc::downgrade(&port));
    }
}

/// A socket that holds its context, for people.
fn not_closed(port: &Port) -> String {
    let mut about = vec![match port.peer_count() {
        1 => "1 peer".to_owned(),
        count => format!("{count} peers"),
    }];
    let endpoints = port.endpoints();
    if !endpoints.is_empty() {
        about.insert(0, format!("at {}", endpoints.join(", ")));
    }
    about.extend(
        port.unsent()
            .into_iter()
            .map(|what| format!("unsent: {what}")),
    );
    format!("{} is not closed ({})", port.kind.name(), about.join("; "))
}

/// A closed socket that holds its context, for people; `None` if it does not.
fn still_sending(port: &Port) -> Option<String> {
    let unsent = port.unsent();
    (!unsent.is_empty()).then(|| {
        let unsent = unsent.join(", ");
        format!(
            "{} is closed and still has to send {unsent}",
            port.kind.name()
        )
    })
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

impl Inner {
    fn stop(&self) {
        // Who asked holds its I/O thread, which shall leave nothing behind.
        self.resolver.forget();
        let pool = lock(&self.pool).take();
        if let Some(pool) = pool {
            pool.stop();
        }
        self.ended.store(true, Ordering::SeqCst);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}
