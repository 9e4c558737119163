//! Waiting inside an event loop of the application: it watches one descriptor for all its sockets.
//!
//! A wait is for one time: [`arm`](LoopSet::arm) asks for a socket's next readiness, [`take`](LoopSet::take) tells of it
//! and asks no more. A socket that nobody waits for costs nothing, and whoever makes many ready at once rings once.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex};

use slab::Slab;

use crate::error::Result;
use crate::signals::{
    Alarm, Elsewhere, LoopLease, LoopNews, LoopWatch, NewsList, POLLERR, POLLIN, Watcher,
};
use crate::socket::Socket;
use crate::sync::lock;

/// The sockets that one event loop waits for. Any thread may use it; one loop should watch its descriptor.
pub struct LoopSet {
    news: Arc<NewsList>,
    watch: Arc<LoopWatch>,
    items: Mutex<Slab<Item>>,
}

struct Item {
    socket: Socket,
    watcher: Arc<Watcher>,
    /// What is waited for; 0 for nothing. Invariant: the watcher is mute then.
    wanted: i32,
    /// Its connection, while the loop reads that itself.
    lease: Option<Arc<dyn LoopLease>>,
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
        let watch = Arc::new(LoopWatch::new()?);
        news.set_alarm(Elsewhere::Loop(Arc::clone(&watch)));
        news.set_asleep(true);
        Ok(Self {
            news,
            watch,
            items: Mutex::default(),
        })
    }

    /// What the loop watches: when it is readable, there is something to [`take`](Self::take).
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
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
            lease: None,
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
        let there = item.look();
        let over = |lease: &Arc<dyn LoopLease>| lease.is_over();
        if there == 0 && wanted & POLLIN != 0 && item.lease.as_ref().is_none_or(over) {
            item.lease = item.socket.lend_to_loop(&self.watch, key);
        }
        there
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
        let mut items = lock(&self.items);
        self.news.set_asleep(false); // nobody need ring for what is taken in here
        let LoopNews { rung, connections } = self.watch.news();
        if rung {
            self.watch.silence();
        }
        for (key, more) in connections {
            if let Some(item) = items.get_mut(key)
                && let Some(lease) = &item.lease
            {
                lease.take_in();
                if more || lease.is_over() {
                    item.lease = None; // an end is for the I/O thread
                }
            }
        }
        self.news.set_asleep(true);
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
    use crate::signals::POLLOUT;
    use crate::sync::Woken;
    use mqcore_proto::{Message, SocketType};
    use rustix::event::{PollFd, PollFlags, poll};
    use std::time::{Duration, Instant};

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

    fn wait_readable(set: &LoopSet) {
        let fd = set.fd();
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        let patience = rustix::time::Timespec {
            tv_sec: 30,
            tv_nsec: 0,
        };
        assert_eq!(poll(&mut fds, Some(&patience)), Ok(1), "nothing came");
    }

    /// A client in an event loop and its server.
    struct Pair {
        set: LoopSet,
        key: usize,
        client: Socket,
        server: Socket,
        context: Context,
    }

    impl Pair {
        fn new(kinds: (SocketType, SocketType), endpoint: &str) -> Self {
            let context = Context::new();
            let server = context.socket(kinds.1 as i32).unwrap();
            server.bind(endpoint).unwrap();
            let OptionValue::Bytes(endpoint) = server.option(32).unwrap() else {
                panic!("LAST_ENDPOINT is text");
            };
            let client = context.socket(kinds.0 as i32).unwrap();
            client
                .connect(std::str::from_utf8(&endpoint).unwrap())
                .unwrap();
            let set = LoopSet::new().unwrap();
            let key = set.insert(client.clone());
            Self {
                set,
                key,
                client,
                server,
                context,
            }
        }

        fn dealers() -> Self {
            Self::new(
                (SocketType::Dealer, SocketType::Dealer),
                "tcp://127.0.0.1:*",
            )
        }

        fn is_lent(&self) -> bool {
            let lease = &lock(&self.set.items)[self.key].lease;
            lease.as_ref().is_some_and(|lease| !lease.is_over())
        }

        /// Sends a request, and waits in the loop for the answer of a server that answers at once.
        fn exchange(&self) {
            self.client.send_until(Message::from("x"), None).unwrap();
            let there = self.set.arm(self.key, POLLIN);
            assert_eq!(there, 0);
            let request = self.server.recv_until(None).unwrap();
            self.server.send_until(request, None).unwrap();
            self.wait();
            self.client.try_recv().unwrap();
        }

        /// Waits in the loop until the client has something to receive.
        fn wait(&self) {
            let mut ready = Vec::new();
            while ready.is_empty() {
                wait_readable(&self.set);
                ready = self.set.take();
            }
            assert_eq!(ready, [(self.key, POLLIN)]);
        }

        /// Sends requests until the connection is lent, and has been for some exchanges; the last one was not answered.
        fn ask_on_loan(&self) {
            let deadline = Instant::now() + Duration::from_secs(30);
            loop {
                self.exchange();
                self.client.try_send(Message::from("last")).unwrap();
                assert_eq!(self.set.arm(self.key, POLLIN), 0);
                self.server.recv_until(None).unwrap();
                if self.is_lent() {
                    return;
                }
                assert!(Instant::now() < deadline, "it was never lent");
                self.server.send_until(Message::from("x"), None).unwrap();
                self.wait();
                self.client.try_recv().unwrap();
            }
        }

        /// Whether somebody other than the loop reads what comes.
        fn reads_without_the_loop(&self) {
            let deadline = Instant::now() + Duration::from_secs(30);
            let answer = self.client.recv_until(Some(deadline)).unwrap();
            assert_eq!(answer, Message::from("answer"));
        }

        fn end(self) {
            drop(self.set);
            self.client.close();
            self.server.close();
            self.context.term(None).unwrap();
        }
    }

    #[test]
    fn answers_in_lockstep_are_read_by_the_loop_itself() {
        let ipc = std::env::temp_dir().join(format!("mqcore-loop-{}", std::process::id()));
        let ipc = format!("ipc://{}", ipc.display());
        for (kinds, endpoint) in [
            ((SocketType::Req, SocketType::Rep), "tcp://127.0.0.1:*"),
            ((SocketType::Dealer, SocketType::Router), &ipc),
            ((SocketType::Pair, SocketType::Pair), "tcp://127.0.0.1:*"),
        ] {
            let pair = Pair::new(kinds, endpoint);
            let read_by_the_loop = || {
                pair.exchange();
                pair.client.try_send(Message::from("x")).unwrap();
                assert_eq!(pair.set.arm(pair.key, POLLIN), 0);
                let request = pair.server.recv_until(None).unwrap();
                let lent = pair.is_lent();
                pair.server.send_until(request, None).unwrap();
                wait_readable(&pair.set);
                let unread = pair.client.events().unwrap() & POLLIN == 0;
                // Else it was taken back, for this thread did not run for too long.
                let alone = lent && pair.is_lent();
                if !pair.set.take().is_empty() {
                    pair.client.try_recv().unwrap();
                } else {
                    pair.client.recv_until(None).unwrap();
                }
                alone && unread
            };
            let deadline = Instant::now() + Duration::from_secs(30);
            while !read_by_the_loop() {
                assert!(Instant::now() < deadline, "{kinds:?}");
            }
            pair.end();
        }
    }

    #[test]
    fn loop_that_does_not_run_keeps_nobody_from_reading() {
        let pair = Pair::dealers();
        pair.ask_on_loan();
        let seen = pair.client.signals().readable.epoch();
        pair.server.send_until("answer".into(), None).unwrap();
        // The I/O thread, for the loop does nothing.
        let deadline = Some(Instant::now() + Duration::from_secs(30));
        while pair.client.events().unwrap() & POLLIN == 0 {
            let woken = pair.client.signals().readable.wait(seen, deadline);
            assert_eq!(woken, Woken::Signalled);
        }
        assert!(!pair.is_lent());
        pair.wait(); // and the loop hears of it
        pair.reads_without_the_loop();
        pair.end();
    }

    #[test]
    fn connection_comes_back_when_somebody_else_waits_for_the_socket() {
        let pair = Pair::dealers();
        pair.ask_on_loan();
        let poller = crate::poll_set::PollSet::new();
        let key = poller.insert(pair.client.clone(), POLLIN);
        assert!(!pair.is_lent());
        assert_eq!(pair.set.arm(pair.key, POLLIN), 0);
        assert!(!pair.is_lent(), "and is not lent again");
        poller.remove(key);

        pair.server.send_until("x".into(), None).unwrap();
        pair.client.recv_until(None).unwrap();
        pair.ask_on_loan();
        pair.client.option(14).unwrap(); // FD
        assert!(!pair.is_lent());
        pair.end();
    }

    #[test]
    fn call_that_waits_takes_the_connection_over() {
        let pair = Pair::dealers();
        pair.ask_on_loan();
        std::thread::scope(|scope| {
            let caller = scope.spawn(|| pair.reads_without_the_loop());
            pair.server.send_until("answer".into(), None).unwrap();
            caller.join().unwrap();
        });
        pair.end();
    }

    #[test]
    fn connection_comes_back_from_a_loop_that_ends_or_forgets_the_socket() {
        let pair = Pair::dealers();
        pair.ask_on_loan();
        pair.set.remove(pair.key);
        pair.server.send_until("answer".into(), None).unwrap();
        pair.reads_without_the_loop();
        assert!(!is_readable(&pair.set), "it watches nothing any more");
        pair.end();

        let mut pair = Pair::dealers();
        pair.ask_on_loan();
        let before = std::mem::replace(&mut pair.set, LoopSet::new().unwrap());
        drop(before);
        pair.server.send_until("answer".into(), None).unwrap();
        pair.reads_without_the_loop();
        pair.end();
    }

    #[test]
    fn ends_of_a_connection_on_loan_are_seen() {
        for by_the_peer in [true, false] {
            let pair = Pair::dealers();
            pair.ask_on_loan();
            if by_the_peer {
                pair.server.close();
                while pair.is_lent() {
                    wait_readable(&pair.set);
                    pair.set.take();
                }
            } else {
                pair.client.close();
            }
            pair.end(); // waits for all connections
        }
    }

    #[test]
    fn streams_of_messages_are_not_for_the_loop_to_read() {
        let pair = Pair::dealers();
        pair.ask_on_loan();
        for _ in 0..2 {
            pair.server.send_until("x".into(), None).unwrap();
        }
        for _ in 0..2 {
            if pair.set.arm(pair.key, POLLIN) == 0 {
                pair.wait();
            }
            pair.client.try_recv().unwrap();
        }
        assert_eq!(pair.set.arm(pair.key, POLLIN), 0);
        assert!(!pair.is_lent(), "two came for one");
        pair.end();
    }
}
