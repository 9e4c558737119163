//! Waiting for several sockets and descriptors at once.
//!
//! Sockets alone are waited for on a futex; descriptors need an epoll, made for the call.

use std::cell::Cell;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::error::{Errno, Result};
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
    let mut descriptors = Descriptors::new(items)?;
    // Most polls find something at once: then nobody needs to be watched.
    let ready = look_at_sockets(items)?;
    let now = Some(Instant::now());
    if ready > 0 || deadline.is_some_and(|deadline| Some(deadline) <= now) {
        return Ok(ready + look_at_fds(items, descriptors.as_mut(), now)?.0);
    }
    let watch = Watch::new(items, descriptors.as_ref())?;
    loop {
        let seen = watch.watcher.event.epoch();
        let ready = look_at_sockets(items)?;
        if ready > 0 {
            return Ok(ready + look_at_fds(items, descriptors.as_mut(), now)?.0);
        }
        let woken = match &mut descriptors {
            None => {
                let event = &watch.watcher.event;
                event.wait_patiently(seen, watch.patience, deadline)
            }
            Some(descriptors) => {
                let (ready, woken) = look_at_fds(items, Some(descriptors), deadline)?;
                if ready > 0 {
                    return Ok(ready);
                }
                woken
            }
        };
        match woken {
            Woken::Signalled => {}
            Woken::Interrupted => return Err(Errno::INTR.into()),
            Woken::TimedOut => return look_at_sockets(items),
        }
    }
}

/// Registers a watcher with every socket, and takes it out again.
struct Watch {
    watcher: Arc<Watcher>,
    sockets: Vec<Socket>,
    /// That of the most patient socket.
    patience: Duration,
}

impl Watch {
    fn new(items: &[PollItem], descriptors: Option<&Descriptors>) -> Result<Self> {
        let watcher = match descriptors {
            Some(descriptors) => {
                let waker = mio::Waker::new(descriptors.poll.registry(), WAKE)?;
                Arc::new(Watcher::new(Alarm::Epoll(waker)))
            }
            None => SPARE
                .take()
                .unwrap_or_else(|| Arc::new(Watcher::new(Alarm::None))),
        };
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
        Ok(Self {
            watcher,
            sockets,
            patience,
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for socket in &self.sockets {
            socket.signals().unwatch(&self.watcher);
        }
        if let Alarm::None = self.watcher.alarm {
            SPARE.set(Some(Arc::clone(&self.watcher)));
        }
    }
}

thread_local! {
    /// The watcher of this thread's last poll of sockets alone: it has learnt whether looking on pays.
    static SPARE: Cell<Option<Arc<Watcher>>> = const { Cell::new(None) };
}

/// Fills in the `ready` of sockets; counts those that have some.
fn look_at_sockets(items: &mut [PollItem]) -> Result<usize> {
    let mut count = 0;
    for item in items {
        if let Pollable::Socket(socket) = &item.target {
            item.ready = socket.readiness(item.events)?;
            count += usize::from(item.ready != 0);
        }
    }
    Ok(count)
}

const WAKE: Token = Token(usize::MAX);

/// The descriptors among the items.
struct Descriptors {
    poll: Poll,
    events: Events,
    /// What was found in vain: plain files are always ready, closed descriptors always in error.
    constant: Vec<(RawFd, i32)>,
}

impl Descriptors {
    fn new(items: &[PollItem]) -> Result<Option<Self>> {
        // A descriptor may be listed twice, with other events.
        let mut wanted: Vec<(RawFd, i32)> = Vec::new();
        for item in items {
            if let Pollable::Fd(fd) = item.target
                && fd >= 0
            {
                match wanted.iter_mut().find(|(known, _)| *known == fd) {
                    Some((_, events)) => *events |= item.events,
                    None => wanted.push((fd, item.events)),
                }
            }
        }
        if !items
            .iter()
            .any(|item| matches!(item.target, Pollable::Fd(_)))
        {
            return Ok(None);
        }
        let poll = Poll::new()?;
        let mut constant = Vec::new();
        for (fd, events) in wanted {
            let Some(interest) = interest(events) else {
                continue;
            };
            let token = Token(fd as usize);
            match poll
                .registry()
                .register(&mut SourceFd(&fd), token, interest)
            {
                Ok(()) => {}
                // epoll does not take plain files, which never block.
                Err(error)
                    if error.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error()) =>
                {
                    constant.push((fd, events & (POLLIN | POLLOUT)));
                }
                Err(_) => constant.push((fd, POLLERR)),
            }
        }
        Ok(Some(Self {
            poll,
            events: Events::with_capacity(64),
            constant,
        }))
    }
}

fn interest(events: i32) -> Option<Interest> {
    [
        (POLLIN, Interest::READABLE),
        (POLLOUT, Interest::WRITABLE),
        (POLLPRI, Interest::PRIORITY),
    ]
    .into_iter()
    .filter(|(bit, _)| events & bit != 0)
    .map(|(_, interest)| interest)
    .reduce(Interest::add)
}

/// Fills in the `ready` of descriptors, waiting for one (or for the watcher) until the deadline.
fn look_at_fds(
    items: &mut [PollItem],
    descriptors: Option<&mut Descriptors>,
    deadline: Option<Instant>,
) -> Result<(usize, Woken)> {
    let Some(descriptors) = descriptors else {
        return Ok((0, Woken::TimedOut));
    };
    let timeout = if descriptors.constant.is_empty() {
        deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    } else {
        Some(Duration::ZERO)
    };
    match descriptors.poll.poll(&mut descriptors.events, timeout) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            return Ok((0, Woken::Interrupted));
        }
        Err(error) => return Err(error.into()),
    }
    let mut woken = Woken::TimedOut;
    let mut found = descriptors.constant.clone();
    for event in &descriptors.events {
        woken = Woken::Signalled;
        if event.token() == WAKE {
            continue;
        }
        let mut ready = 0;
        if event.is_readable() {
            ready |= POLLIN;
        }
        if event.is_writable() {
            ready |= POLLOUT;
        }
        if event.is_priority() {
            ready |= POLLPRI;
        }
        if event.is_error() || (event.is_read_closed() && event.is_write_closed()) {
            ready |= POLLERR;
        }
        found.push((event.token().0 as RawFd, ready));
    }
    let mut count = 0;
    for item in items {
        if let Pollable::Fd(fd) = item.target {
            item.ready = found
                .iter()
                .filter(|(ready_fd, _)| *ready_fd == fd)
                .fold(0, |ready, (_, bits)| ready | bits & (item.events | POLLERR));
            count += usize::from(item.ready != 0);
        }
    }
    Ok((count, woken))
}
