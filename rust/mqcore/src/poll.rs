//! Waiting for several sockets and descriptors at once.
//!
//! Sockets alone are waited for on a futex; descriptors need an epoll, and with it a [`PollSet`] for the call.

use std::cell::Cell;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Errno, Result};
use crate::poll_set::PollSet;
use crate::signals::{Alarm, Watcher};
pub use crate::signals::{POLLERR, POLLIN, POLLOUT, POLLPRI};
use crate::socket::Socket;
use crate::sync::Woken;

/// What to watch.
pub enum Pollable {
    /// A socket.
    Socket(Socket),
    /// A descriptor of the system; a negative one is never ready.
    Fd(RawFd),
}

/// One watched thing.
pub struct PollItem {
    /// What.
    pub target: Pollable,
    /// The wanted bits.
    pub events: i32,
    /// The bits that are there: the result.
    pub ready: i32,
}

/// Waits until an item is ready; returns how many are, and their bits in `ready`.
///
/// # Errors
/// EINTR after a signal handler ran on this thread; ETERM, ENOTSOCK for a socket that ended. The deadline
/// is no error: 0 items are ready.
pub fn poll(items: &mut [PollItem], deadline: Option<Instant>) -> Result<usize> {
    if items
        .iter()
        .any(|item| matches!(item.target, Pollable::Fd(_)))
    {
        return poll_all(items, deadline);
    }
    // Most polls find something at once: then nobody needs to be watched.
    let ready = look(items)?;
    if ready > 0 || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        return Ok(ready);
    }
    let watch = Watch::new(items);
    loop {
        let event = &watch.watcher.event;
        let seen = event.epoch();
        let ready = look(items)?;
        if ready > 0 {
            return Ok(ready);
        }
        match event.wait_patiently(seen, watch.patience, deadline) {
            Woken::Signalled => {}
            Woken::Interrupted => return Err(Errno::INTR.into()),
            Woken::TimedOut => return look(items),
        }
    }
}

/// The same with descriptors among the items.
fn poll_all(items: &mut [PollItem], deadline: Option<Instant>) -> Result<usize> {
    let set = PollSet::new();
    for item in &*items {
        match &item.target {
            Pollable::Socket(socket) => drop(set.insert(socket.clone(), item.events)),
            Pollable::Fd(fd) => drop(set.insert_fd(*fd, item.events)?),
        }
    }
    let ready = set.poll(deadline)?;
    for item in &mut *items {
        item.ready = 0;
    }
    for (key, bits) in &ready {
        items[*key].ready = *bits; // keys count from zero
    }
    Ok(ready.len())
}

/// Registers a watcher with every socket, and takes it out again.
struct Watch {
    watcher: Arc<Watcher>,
    sockets: Vec<Socket>,
    /// That of the most patient socket.
    patience: Duration,
}

impl Watch {
    fn new(items: &[PollItem]) -> Self {
        let watcher = SPARE
            .take()
            .unwrap_or_else(|| Arc::new(Watcher::new(Alarm::None)));
        let sockets: Vec<Socket> = items
            .iter()
            .filter_map(|item| match &item.target {
                Pollable::Socket(socket) => Some(socket.clone()),
                Pollable::Fd(_) => None,
            })
            .collect();
        let mut patience = Duration::ZERO;
        for socket in &sockets {
            socket.signals().watch(&watcher);
            patience = patience.max(socket.signals().patience());
        }
        Self {
            watcher,
            sockets,
            patience,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for socket in &self.sockets {
            socket.signals().unwatch(&self.watcher);
        }
        SPARE.set(Some(Arc::clone(&self.watcher)));
    }
}

thread_local! {
    /// The watcher of this thread's last poll of sockets alone: it has learnt whether looking on pays.
    static SPARE: Cell<Option<Arc<Watcher>>> = const { Cell::new(None) };
}

/// Fills in the `ready` of sockets; counts those that have some.
fn look(items: &mut [PollItem]) -> Result<usize> {
    let mut count = 0;
    for item in items {
        if let Pollable::Socket(socket) = &item.target {
            item.ready = socket.readiness(item.events)?;
            count += usize::from(item.ready != 0);
        }
    }
    Ok(count)
}
