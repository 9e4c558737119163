//! Waiting inside an event loop of the application: it watches one descriptor for all its sockets.
//!
//! A wait is for one time: [`arm`](LoopSet::arm) asks for a socket's next readiness, [`take`](LoopSet::take) tells of it
//! and asks no more. A socket that nobody waits for costs nothing, and whoever makes many ready at once rings once.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex};

use slab::Slab;

use crate::error::Result;
use crate::signals::{Alarm, Bell, Elsewhere, NewsList, POLLERR, Watcher};
use crate::socket::Socket;
use crate::sync::lock;

/// The sockets that one event loop waits for. Any thread may use it; one loop should watch its descriptor.
pub struct LoopSet {
    news: Arc<NewsList>,
    items: Mutex<Slab<Item>>,
}

struct Item {
    socket: Socket,
    watcher: Arc<Watcher>,
    /// What is waited for; 0 for nothing. Invariant: the watcher is mute then.
    wanted: i32,
}

impl Item {
    /// The wanted events that are there, or POLLERR if the socket has ended: then nothing is waited for any more.
    /// Else 0, and news are listed from now on.
    fn look(&mut self) -> i32 {
        self.watcher.unlist();
        let there = self.socket.readiness(self.wanted).unwrap_or(POLLERR);
        if there != 0 {
            self.watcher.mute();
            self.wanted = 0;
        }
        there
    }
}

impl LoopSet {
    /// An empty set.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM.
    pub fn new() -> Result<Self> {
        let news = Arc::new(NewsList::default());
        news.set_alarm(Elsewhere::Loop(Bell::new()?));
        news.set_asleep(true);
        Ok(Self {
            news,
            items: Mutex::default(),
        })
    }

    /// What the loop watches: when it is readable, there is something to [`take`](Self::take).
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.bell().as_fd()
    }

    fn bell(&self) -> &Bell {
        self.news.bell().expect("set by `new` and never taken out")
    }

    /// Takes a socket in, for which nobody waits yet; returns the key that stands for it.
    pub fn insert(&self, socket: Socket) -> usize {
        let mut items = lock(&self.items);
        let entry = items.vacant_entry();
        let key = entry.key();
        let watcher = Arc::new(Watcher::new(Alarm::List {
            list: Arc::clone(&self.news),
            key,
            listed: true.into(), // mute
        }));
        socket.signals().watch(&watcher);
        entry.insert(Item {
            socket,
            watcher,
            wanted: 0,
        });
        key
    }

    /// Forgets a socket; the key may stand for another one then.
    pub fn remove(&self, key: usize) {
        if let Some(item) = lock(&self.items).try_remove(key) {
            item.socket.signals().unwatch(&item.watcher);
        }
    }

    /// Waits for `wanted` (POLLIN, POLLOUT, 0 for nothing) of a socket, instead of what was waited for before. What is
    /// there already is returned, POLLERR for a socket that has ended: then nothing is waited for.
    pub fn arm(&self, key: usize, wanted: i32) -> i32 {
        let mut items = lock(&self.items);
        let Some(item) = items.get_mut(key) else {
            return 0;
        };
        item.wanted = wanted;
        if wanted == 0 {
            item.watcher.mute();
            return 0;
        }
        item.look()
    }

    /// Waits for `wanted` of a socket as [`arm`](Self::arm) does, but only from the next news on: for one that is ready,
    /// though not for what was tried. Try everything that is waited for once more after the call.
    pub fn listen(&self, key: usize, wanted: i32) {
        if let Some(item) = lock(&self.items).get_mut(key) {
            item.wanted = wanted;
            item.watcher.unlist();
        }
    }

    /// The sockets that became ready, by key, with the events that were waited for, or POLLERR. Nothing is waited for of
    /// these any more. The descriptor is unreadable until there is more.
    pub fn take(&self) -> Vec<(usize, i32)> {
        self.bell().silence();
        self.news.set_asleep(true);
        let mut items = lock(&self.items);
        let mut ready = Vec::new();
        for key in self.news.take() {
            if let Some(item) = items.get_mut(key)
                && item.wanted != 0
            {
                let there = item.look();
                if there != 0 {
                    ready.push((key, there));
                }
            }
        }
        ready
    }
}

impl Drop for LoopSet {
    fn drop(&mut self) {
        for (_, item) in &*lock(&self.items) {
            item.socket.signals().unwatch(&item.watcher);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::context::Context;
    use crate::options::OptionValue;
    use crate::signals::{POLLIN, POLLOUT};
    use mqcore_proto::{Message, SocketType};
    use rustix::event::{PollFd, PollFlags, poll};

    fn is_readable(set: &LoopSet) -> bool {
        let fd = set.fd();
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        poll(&mut fds, Some(&rustix::time::Timespec::default())).unwrap() == 1
    }

    #[test]
    fn what_is_waited_for_is_told_once_and_rings_once() {
        let context = Context::new();
        let set = LoopSet::new().unwrap();
        let (pairs, keys): (Vec<_>, Vec<_>) = (0..3)
            .map(|number| {
                let name = format!("inproc://{number}");
                let pull = context.socket(SocketType::Pull as i32).unwrap();
                pull.bind(&name).unwrap();
                let push = context.socket(SocketType::Push as i32).unwrap();
                push.connect(&name).unwrap();
                let key = set.insert(pull.clone());
                ((push, pull), key)
            })
            .unzip();
        let send = |pair: usize| pairs[pair].0.try_send(Message::from("x")).unwrap();
        send(0);
        assert!(!is_readable(&set), "nobody waits");
        assert_eq!(set.arm(keys[0], POLLIN), POLLIN, "it was there already");
        assert_eq!(set.arm(keys[1], POLLIN), 0);
        assert_eq!(set.arm(keys[2], POLLIN | POLLOUT), 0);
        send(0);
        assert!(!is_readable(&set), "nobody waits any more");
        send(2);
        send(1);
        assert!(is_readable(&set));
        assert_eq!(set.take(), [(keys[2], POLLIN), (keys[1], POLLIN)]);
        assert!(!is_readable(&set));
        send(1);
        assert!(!is_readable(&set) && set.take().is_empty());

        while pairs[1].1.try_recv().is_ok() {}
        assert_eq!(set.arm(keys[1], POLLIN), 0);
        pairs[1].1.close();
        assert!(is_readable(&set));
        assert_eq!(set.take(), [(keys[1], POLLERR)]);
        assert_eq!(set.arm(keys[1], POLLIN), POLLERR);

        while pairs[0].1.try_recv().is_ok() {}
        assert_eq!(set.arm(keys[0], POLLIN), 0);
        set.arm(keys[0], 0);
        send(0);
        set.remove(keys[2]);
        assert_eq!(set.arm(keys[2], POLLIN), 0);
        assert!(!is_readable(&set) && set.take().is_empty());
        drop(set);
        for (push, pull) in pairs {
            push.close();
            pull.close();
        }
        context.term(None).unwrap();
    }

    #[test]
    fn room_at_one_peer_is_news_for_a_router_that_has_room_at_another() {
        let context = Context::new();
        let set = LoopSet::new().unwrap();
        let router = context.socket(SocketType::Router as i32).unwrap();
        router.set_option(33, &OptionValue::Int(1)).unwrap(); // ROUTER_MANDATORY
        router.set_option(23, &OptionValue::Int(1)).unwrap(); // SNDHWM
        router.bind("inproc://router").unwrap();
        let peers = ["full", "free"].map(|name| {
            let dealer = context.socket(SocketType::Dealer as i32).unwrap();
            let name = OptionValue::Bytes(name.into());
            dealer.set_option(5, &name).unwrap(); // ROUTING_ID
            dealer.set_option(24, &OptionValue::Int(1)).unwrap(); // RCVHWM
            dealer.connect("inproc://router").unwrap();
            dealer
        });
        let send = || router.try_send(Message::from_frames(vec!["full".into(), "x".into()]));
        while send().is_ok() {}
        let key = set.insert(router.clone());
        assert_eq!(set.arm(key, POLLOUT), POLLOUT, "for the other");
        set.listen(key, POLLOUT);
        assert!(send().is_err() && !is_readable(&set));
        while peers[0].try_recv().is_ok() {}
        assert!(is_readable(&set));
        assert_eq!(set.take(), [(key, POLLOUT)]);
        send().unwrap();
        drop(set);
        for socket in peers.into_iter().chain([router]) {
            socket.close();
        }
        context.term(None).unwrap();
    }
}
