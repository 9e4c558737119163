//! Waiting for many sockets and descriptors again and again: what a poll costs grows with those that have news, not
//! with those that are watched.
//!
//! A socket is looked at when something happened that may have made it ready, and as long as it is ready.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::descriptors::{Descriptors, Sleeper};
use crate::error::{Errno, Error, Result};
use crate::signals::{Alarm, Elsewhere, NewsList, Watcher};
use crate::socket::Socket;
use crate::sync::{Woken, lock};

/// Sockets and descriptors that are watched together. Any thread may use it at any time, but only one can wait for
/// descriptors.
#[derive(Default)]
pub struct PollSet {
    news: Arc<NewsList>,
    items: Mutex<Items>,
    /// Made for the first one.
    descriptors: OnceLock<Descriptors>,
}

#[derive(Default)]
struct Items {
    by_key: HashMap<usize, Item>,
    next: usize,
}

enum Item {
    Socket {
        socket: Socket,
        watcher: Arc<Watcher>,
        /// The wanted bits.
        events: i32,
    },
    Fd(RawFd),
}

impl Items {
    fn key(&mut self) -> usize {
        self.next += 1;
        self.next - 1
    }
}

impl PollSet {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Watches `socket` for `events` (POLLIN, POLLOUT); returns the key that stands for it. Keys rise.
    pub fn insert(&self, socket: Socket, events: i32) -> usize {
        let mut items = lock(&self.items);
        let key = items.key();
        let watcher = Arc::new(Watcher::new(Alarm::List {
            list: Arc::clone(&self.news),
            key,
            listed: false.into(),
        }));
        socket.signals().watch(&watcher);
        watcher.list(); // it may be ready already
        let item = Item::Socket {
            socket,
            watcher,
            events,
        };
        items.by_key.insert(key, item);
        key
    }

    /// Watches a descriptor for `events` (POLLIN, POLLOUT, POLLPRI, POLLERR); returns the key that stands for it. A
    /// negative one is never ready, one that is closed is in error, after a second at the latest.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM for the first one.
    pub fn insert_fd(&self, fd: RawFd, events: i32) -> Result<usize> {
        let descriptors = self.descriptors()?;
        let mut items = lock(&self.items);
        let key = items.key();
        items.by_key.insert(key, Item::Fd(fd));
        descriptors.want(fd, key, events);
        self.news.signal();
        Ok(key)
    }

    fn descriptors(&self) -> Result<&Descriptors> {
        if self.descriptors.get().is_none() {
            let (descriptors, waker) = Descriptors::new()?;
            // Somebody may have been quicker: its waker is the list's as well.
            if self.descriptors.set(descriptors).is_ok() {
                self.news.set_alarm(Elsewhere::Epoll(waker));
            }
        }
        Ok(self
            .descriptors
            .get()
            .expect("set above and never taken out"))
    }

    /// Wants other events of what `key` stands for.
    pub fn modify(&self, key: usize, wanted: i32) {
        match lock(&self.items).by_key.get_mut(&key) {
            Some(Item::Socket {
                events, watcher, ..
            }) => {
                *events = wanted;
                watcher.list();
            }
            Some(Item::Fd(fd)) => {
                if let Some(descriptors) = self.descriptors.get() {
                    descriptors.want(*fd, key, wanted);
                    self.news.signal();
                }
            }
            None => {}
        }
    }

    /// Watches it no more.
    pub fn remove(&self, key: usize) {
        let removed = lock(&self.items).by_key.remove(&key);
        match removed {
            Some(Item::Socket {
                socket, watcher, ..
            }) => socket.signals().unwatch(&watcher),
            Some(Item::Fd(fd)) => {
                if let Some(descriptors) = self.descriptors.get() {
                    descriptors.forget(fd, key);
                }
            }
            None => {}
        }
    }

    /// Waits until something is ready: the keys, in order, and the bits that are there. None are after the deadline
    /// (`None`: never).
    ///
    /// # Errors
    /// EINTR after a signal handler ran on this thread; ETERM, ENOTSOCK for a socket that ended; EBUSY if there are
    /// descriptors and another thread waits for them.
    pub fn poll(&self, deadline: Option<Instant>) -> Result<Vec<(usize, i32)>> {
        if self.descriptors.get().is_none()
            && let Some(ready) = self.poll_sockets(deadline)?
        {
            return Ok(ready);
        }
        let descriptors = self.descriptors()?;
        let Some(mut sleeper) = descriptors.sleeper() else {
            return Err(Error::new(
                Errno::BUSY,
                "another thread waits for the descriptors of this poller",
            ));
        };
        self.poll_all(descriptors, &mut sleeper, deadline)
    }

    /// Waits for sockets alone. `None`: the first descriptor came meanwhile.
    fn poll_sockets(&self, deadline: Option<Instant>) -> Result<Option<Vec<(usize, i32)>>> {
        loop {
            let seen = self.news.event.epoch();
            if self.descriptors.get().is_some() {
                return Ok(None);
            }
            let ready = self.look()?;
            if !ready.is_empty() || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(Some(ready));
            }
            let patience = self.patience();
            match self.news.event.wait_patiently(seen, patience, deadline) {
                Woken::Signalled => {}
                Woken::Interrupted => return Err(Errno::INTR.into()),
                Woken::TimedOut => return self.look().map(Some),
            }
        }
    }

    fn poll_all(
        &self,
        descriptors: &Descriptors,
        sleeper: &mut Sleeper,
        deadline: Option<Instant>,
    ) -> Result<Vec<(usize, i32)>> {
        loop {
            let seen = self.news.event.epoch();
            let mut ready = self.look()?;
            let some = !ready.is_empty();
            self.news.set_asleep(!some);
            let looked = descriptors.look(sleeper, deadline, || {
                some || self.news.event.epoch() != seen
            });
            self.news.set_asleep(false);
            let (found, woken) = looked?;
            ready.extend(found);
            ready.sort_unstable();
            match woken {
                _ if !ready.is_empty() => return Ok(ready),
                Woken::Signalled => {}
                Woken::Interrupted => return Err(Errno::INTR.into()),
                Woken::TimedOut => return self.look(),
            }
        }
    }

    /// That of the most patient socket.
    fn patience(&self) -> Duration {
        if !self.news.may_be_patient() {
            return Duration::ZERO;
        }
        let items = lock(&self.items);
        let patience = items.by_key.values().map(|item| match item {
            Item::Socket { socket, .. } => socket.signals().patience(),
            Item::Fd(_) => Duration::ZERO,
        });
        patience.max().unwrap_or_default()
    }

    /// The sockets with news that are ready. They stay on the list, and so does one that ended.
    fn look(&self) -> Result<Vec<(usize, i32)>> {
        let mut keys = self.news.take();
        keys.sort_unstable();
        let items = lock(&self.items);
        let mut ready = Vec::new();
        let mut failed = None;
        for key in keys {
            let Some(Item::Socket {
                socket,
                watcher,
                events,
            }) = items.by_key.get(&key)
            else {
                continue;
            };
            watcher.unlist();
            if failed.is_some() {
                watcher.list(); // for the next time
                continue;
            }
            match socket.readiness(*events) {
                Ok(0) => continue,
                Ok(events) => ready.push((key, events)),
                Err(error) => failed = Some(error),
            }
            watcher.list();
        }
        match failed {
            None => Ok(ready),
            Some(error) => Err(error),
        }
    }
}

impl Drop for PollSet {
    fn drop(&mut self) {
        for item in lock(&self.items).by_key.values() {
            if let Item::Socket {
                socket, watcher, ..
            } = item
            {
                socket.signals().unwatch(watcher);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::context::Context;
    use crate::signals::{POLLIN, POLLOUT};
    use mqcore_proto::{Message, SocketType};

    fn at_once() -> Option<Instant> {
        Some(Instant::now())
    }

    #[test]
    fn only_sockets_with_news_are_looked_at() {
        let context = Context::new();
        let set = PollSet::new();
        let sockets: Vec<(Socket, Socket)> = (0..100)
            .map(|number| {
                let name = format!("inproc://{number}");
                let pull = context.socket(SocketType::Pull as i32).unwrap();
                pull.bind(&name).unwrap();
                let push = context.socket(SocketType::Push as i32).unwrap();
                push.connect(&name).unwrap();
                (push, pull)
            })
            .collect();
        let keys: Vec<usize> = sockets
            .iter()
            .map(|(_, pull)| set.insert(pull.clone(), POLLIN))
            .collect();
        assert_eq!(set.poll(at_once()).unwrap(), []);
        assert!(
            set.news.take().is_empty(),
            "all were looked at, none is ready"
        );

        sockets[70].0.try_send(Message::from("x")).unwrap();
        sockets[7].0.try_send(Message::from("x")).unwrap();
        assert_eq!(lock(&set.items).by_key.len(), 100);
        let expected = [(keys[7], POLLIN), (keys[70], POLLIN)];
        assert_eq!(
            set.poll(None).unwrap(),
            expected,
            "in the order of the keys"
        );
        assert_eq!(
            set.poll(None).unwrap(),
            expected,
            "as long as they are ready"
        );
        sockets[7].1.try_recv().unwrap();
        assert_eq!(set.poll(None).unwrap(), expected[1..]);
        sockets[70].1.try_recv().unwrap();
        assert_eq!(set.poll(at_once()).unwrap(), []);
        assert!(set.news.take().is_empty());

        set.modify(keys[3], POLLIN | POLLOUT);
        set.remove(keys[4]);
        sockets[3].0.try_send(Message::from("x")).unwrap();
        sockets[4].0.try_send(Message::from("x")).unwrap();
        assert_eq!(set.poll(None).unwrap(), [(keys[3], POLLIN)]);
        drop(set);
        for (push, pull) in sockets {
            push.close();
            pull.close();
        }
        context.term(None).unwrap();
    }
    #[test]
    fn descriptor_that_is_added_while_another_thread_waits_for_sockets_wakes_it() {
        let context = Context::new();
        let set = PollSet::new();
        let pull = context.socket(SocketType::Pull as i32).unwrap();
        set.insert(pull.clone(), POLLIN);
        let (reader, writer) = std::io::pipe().unwrap();
        std::io::Write::write_all(&mut &writer, b"x").unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| set.poll(Some(Instant::now() + Duration::from_secs(20))));
            // It waits, or is about to: both must end well.
            while !waiting.is_finished() && !set.news.event.announce() {
                std::thread::yield_now();
            }
            let key = set.insert_fd(reader.as_raw_fd(), POLLIN).unwrap();
            assert_eq!(waiting.join().unwrap().unwrap(), [(key, POLLIN)]);
        });
        drop(set);
        pull.close();
        context.term(None).unwrap();
    }
}
