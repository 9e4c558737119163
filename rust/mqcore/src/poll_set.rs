//! Waiting for many sockets again and again: what a poll costs grows with the sockets that have news, not with
//! those that are watched.
//!
//! A socket is looked at when something happened that may have made it ready, and as long as it is ready.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::error::{Errno, Result};
use crate::signals::{Alarm, NewsList, Watcher};
use crate::socket::Socket;
use crate::sync::{Woken, lock};

/// Sockets that are watched together. Any thread may use it at any time.
#[derive(Default)]
pub struct PollSet {
    news: Arc<NewsList>,
    items: Mutex<Items>,
}

#[derive(Default)]
struct Items {
    by_key: HashMap<usize, Item>,
    next: usize,
}

struct Item {
    socket: Socket,
    watcher: Arc<Watcher>,
    /// The wanted bits.
    events: i32,
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
        let key = items.next;
        items.next += 1;
        let watcher = Arc::new(Watcher::new(Alarm::List {
            list: Arc::clone(&self.news),
            key,
            listed: false.into(),
        }));
        socket.signals().watch(&watcher);
        watcher.list(); // it may be ready already
        let item = Item {
            socket,
            watcher,
            events,
        };
        items.by_key.insert(key, item);
        key
    }

    /// Wants other events of the socket that `key` stands for.
    pub fn modify(&self, key: usize, events: i32) {
        if let Some(item) = lock(&self.items).by_key.get_mut(&key) {
            item.events = events;
            item.watcher.list();
        }
    }

    /// Watches it no more.
    pub fn remove(&self, key: usize) {
        let removed = lock(&self.items).by_key.remove(&key);
        if let Some(item) = removed {
            item.socket.signals().unwatch(&item.watcher);
        }
    }

    /// Waits until sockets are ready: their keys, in order, and the bits that are there. None after the
    /// deadline (`None`: never).
    ///
    /// # Errors
    /// EINTR after a signal handler ran on this thread; ETERM, ENOTSOCK for a socket that ended.
    pub fn poll(&self, deadline: Option<Instant>) -> Result<Vec<(usize, i32)>> {
        loop {
            let seen = self.news.event.epoch();
            let ready = self.look()?;
            if !ready.is_empty() || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(ready);
            }
            let patience = self.patience();
            match self.news.event.wait_patiently(seen, patience, deadline) {
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
        let patience = items
            .by_key
            .values()
            .map(|item| item.socket.signals().patience());
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
            let Some(item) = items.by_key.get(&key) else {
                continue;
            };
            item.watcher.unlist();
            if failed.is_some() {
                item.watcher.list(); // for the next time
                continue;
            }
            match item.socket.readiness(item.events) {
                Ok(0) => continue,
                Ok(events) => ready.push((key, events)),
                Err(error) => failed = Some(error),
            }
            item.watcher.list();
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
            item.socket.signals().unwatch(&item.watcher);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
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
}
