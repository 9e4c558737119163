//! Host names to addresses, away from the I/O threads: getaddrinfo may take as long as it likes.
//!
//! A few threads, started when there is a name to look up and gone when there is none. All who ask for one
//! name share one lookup, so a dead name holds one thread, however many sockets want it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex};

use nix::sys::signal::{SigSet, SigmaskHow};

use crate::sync::lock;
use crate::transport::choose;

/// Lookups at the same time.
const MOST_THREADS: usize = 4;

/// Told the addresses: the usable ones, the preferred first, never none. Called once, on a thread of the
/// resolver; must not wait, nor panic.
pub type Done = Box<dyn FnOnce(io::Result<Vec<SocketAddr>>) + Send>;

/// Looks a host up and takes as long as it needs; the ports of the addresses mean nothing.
type Lookup = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Looks up host names. Dropping it forgets who asked: they are not called any more.
pub struct Resolver {
    shared: Arc<Shared>,
}

struct Shared {
    lookup: Box<Lookup>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Names that no thread has taken yet. Invariant: each is a key of `waiting`.
    queue: VecDeque<String>,
    /// Who wants a name, queued or being looked up.
    waiting: HashMap<String, Vec<Waiter>>,
    /// Invariant: at most MOST_THREADS, and at least one while the queue is not empty.
    threads: usize,
}

struct Waiter {
    port: u16,
    ipv6: bool,
    done: Done,
}

impl Waiter {
    fn tell(self, host: &str, found: &io::Result<Vec<SocketAddr>>) {
        let result = match found {
            Ok(found) => {
                let mut usable = choose(found.iter().copied(), self.ipv6);
                for address in &mut usable {
                    address.set_port(self.port);
                }
                if usable.is_empty() {
                    let why = if self.ipv6 {
                        ""
                    } else {
                        " of IPv4 (the option IPV6 is off)"
                    };
                    let text = format!("{host} has no address{why}");
                    Err(io::Error::new(io::ErrorKind::NotFound, text))
                } else {
                    Ok(usable)
                }
            }
            Err(error) => Err(io::Error::new(error.kind(), format!("{host}: {error}"))),
        };
        (self.done)(result);
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new()
    }
}

impl Resolver {
    /// A resolver that asks the system. Costs nothing until it is used.
    pub fn new() -> Self {
        Self::with_lookup(|host| Ok((host, 0).to_socket_addrs()?.collect()))
    }

    fn with_lookup(
        lookup: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        let state = Mutex::default();
        Self {
            shared: Arc::new(Shared {
                lookup: Box::new(lookup),
                state,
            }),
        }
    }

    /// Looks `host` up and tells `done`; never waits. Without `ipv6` only IPv4 addresses are told, with it
    /// the IPv6 ones come first.
    pub fn resolve(&self, host: &str, port: u16, ipv6: bool, done: Done) {
        let waiter = Waiter { port, ipv6, done };
        let mut state = lock(&self.shared.state);
        if let Some(waiters) = state.waiting.get_mut(host) {
            waiters.push(waiter);
            return;
        }
        state.waiting.insert(host.to_owned(), vec![waiter]);
        state.queue.push_back(host.to_owned());
        if state.threads == MOST_THREADS {
            return;
        }
        let Err(error) = start_thread(&self.shared) else {
            state.threads += 1;
            return;
        };
        if state.threads > 0 {
            return; // the threads that are there will come to it
        }
        state.queue.clear();
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        let found = Err(error);
        for (host, waiters) in waiting {
            waiters
                .into_iter()
                .for_each(|waiter| waiter.tell(&host, &found));
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Resolver {
    /// Forgets who asked: they are not called any more. A lookup in progress goes on, for nobody.
    pub fn forget(&self) {
        let mut state = lock(&self.shared.state);
        state.queue.clear();
        let forgotten = std::mem::take(&mut state.waiting);
        drop(state);
        drop(forgotten); // what they own may lock something: not under our lock
    }
}

fn start_thread(shared: &Arc<Shared>) -> io::Result<()> {
    let shared = Arc::clone(shared);
    // The thread is born with every signal blocked: handlers run on the application's threads.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let started = std::thread::Builder::new()
        .name("mqcore-resolver".into())
        .spawn(move || look_up_all(&shared));
    let _ = before.thread_set_mask(); // cannot fail: it was the mask before
    started.map(drop)
}

/// The life of a thread: ends when no name is left.
fn look_up_all(shared: &Shared) {
    loop {
        let mut state = lock(&shared.state);
        let Some(host) = state.queue.pop_front() else {
            state.threads -= 1;
            return;
        };
        drop(state);
        let found = (shared.lookup)(&host);
        let waiters = lock(&shared.state).waiting.remove(&host);
        for waiter in waiters.into_iter().flatten() {
            waiter.tell(&host, &found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::Signal;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::{Duration, Instant};

    const PATIENCE: Duration = Duration::from_secs(10);

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Passes the result of a lookup on.
    fn asked(resolver: &Resolver, host: &str, ipv6: bool) -> Receiver<io::Result<Vec<SocketAddr>>> {
        let (sender, receiver) = channel();
        let done = Box::new(move |result| drop(sender.send(result)));
        resolver.resolve(host, 80, ipv6, done);
        receiver
    }

    /// A lookup of names that begin with "slow" waits until it is allowed (once per name).
    fn gated() -> (Resolver, Sender<()>, Arc<AtomicUsize>) {
        let (allow, gate) = channel::<()>();
        let gate = Mutex::new(gate);
        let lookups = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&lookups);
        let resolver = Resolver::with_lookup(move |host| {
            counted.fetch_add(1, Ordering::SeqCst);
            if host.starts_with("slow") {
                let _ = lock(&gate).recv_timeout(PATIENCE);
            }
            Ok(addresses(&["192.0.2.1:0"]))
        });
        (resolver, allow, lookups)
    }

    #[track_caller]
    fn eventually(what: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !what() {
            assert!(Instant::now() < deadline, "it never came");
            std::thread::yield_now();
        }
    }

    #[test]
    fn slow_name_does_not_delay_another() {
        let (resolver, allow, _) = gated();
        let slow = asked(&resolver, "slow", false);
        let fast = asked(&resolver, "fast", false);
        let found = fast.recv_timeout(PATIENCE).unwrap().unwrap();
        assert_eq!(found, addresses(&["192.0.2.1:80"]));
        assert!(slow.try_recv().is_err());
        allow.send(()).unwrap();
        slow.recv_timeout(PATIENCE).unwrap().unwrap();
    }

    #[test]
    fn all_who_want_one_name_share_one_lookup() {
        let (resolver, allow, lookups) = gated();
        let askers: Vec<_> = (0..50).map(|_| asked(&resolver, "slow", false)).collect();
        asked(&resolver, "fast", false)
            .recv_timeout(PATIENCE)
            .unwrap()
            .unwrap();
        allow.send(()).unwrap();
        for asker in askers {
            asker.recv_timeout(PATIENCE).unwrap().unwrap();
        }
        assert_eq!(lookups.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn at_most_four_threads_look_up_and_all_end_when_nothing_is_left() {
        let (resolver, allow, lookups) = gated();
        let askers: Vec<_> = (0..10)
            .map(|number| asked(&resolver, &format!("slow{number}"), false))
            .collect();
        assert_eq!(lock(&resolver.shared.state).threads, MOST_THREADS);
        eventually(|| lookups.load(Ordering::SeqCst) == MOST_THREADS);
        assert_eq!(lock(&resolver.shared.state).queue.len(), 6);
        for _ in 0..10 {
            allow.send(()).unwrap();
        }
        for asker in askers {
            asker.recv_timeout(PATIENCE).unwrap().unwrap();
        }
        eventually(|| lock(&resolver.shared.state).threads == 0);
        // And they start again.
        asked(&resolver, "fast", false)
            .recv_timeout(PATIENCE)
            .unwrap()
            .unwrap();
    }

    #[test]
    fn addresses_fit_the_option_ipv6_and_carry_the_port() {
        let resolver = Resolver::with_lookup(|host| match host {
            "both" => Ok(addresses(&[
                "192.0.2.1:0",
                "[2001:db8::1]:0",
                "192.0.2.2:0",
            ])),
            "six" => Ok(addresses(&["[2001:db8::1]:0"])),
            _ => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")),
        });
        let ask = |host, ipv6| asked(&resolver, host, ipv6).recv_timeout(PATIENCE).unwrap();
        let four = addresses(&["192.0.2.1:80", "192.0.2.2:80"]);
        assert_eq!(ask("both", false).unwrap(), four);
        let both = addresses(&["[2001:db8::1]:80", "192.0.2.1:80", "192.0.2.2:80"]);
        assert_eq!(ask("both", true).unwrap(), both);
        let error = ask("six", false).unwrap_err();
        assert!(
            error.to_string().contains("six has no address of IPv4"),
            "{error}"
        );
        let error = ask("dead", true).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (io::ErrorKind::TimedOut, "dead: no answer")
        );
    }

    #[test]
    fn system_knows_localhost() {
        let resolver = Resolver::new();
        let found = asked(&resolver, "localhost", false)
            .recv_timeout(PATIENCE)
            .unwrap();
        assert_eq!(found.unwrap()[0], addresses(&["127.0.0.1:80"])[0]);
    }

    #[test]
    fn thread_leaves_every_signal_to_the_application() {
        let (sender, masks) = channel();
        let sender = Mutex::new(sender);
        let resolver = Resolver::with_lookup(move |_| {
            lock(&sender)
                .send(SigSet::thread_get_mask().unwrap())
                .unwrap();
            Ok(addresses(&["192.0.2.1:0"]))
        });
        let before = SigSet::thread_get_mask().unwrap();
        asked(&resolver, "host", false)
            .recv_timeout(PATIENCE)
            .unwrap()
            .unwrap();
        let mask = masks.recv_timeout(PATIENCE).unwrap();
        assert!(mask.contains(Signal::SIGINT) && mask.contains(Signal::SIGTERM));
        assert_eq!(SigSet::thread_get_mask().unwrap(), before);
    }

    #[test]
    fn dropped_resolver_calls_nobody() {
        let (resolver, allow, lookups) = gated();
        let shared = Arc::clone(&resolver.shared);
        let askers: Vec<_> = (0..10)
            .map(|number| asked(&resolver, &format!("slow{number}"), false))
            .collect();
        eventually(|| lookups.load(Ordering::SeqCst) == MOST_THREADS);
        drop(resolver);
        for asker in askers {
            asker.recv_timeout(PATIENCE).unwrap_err(); // the sender is gone
        }
        drop(allow);
        eventually(|| lock(&shared.state).threads == 0);
        assert_eq!(lookups.load(Ordering::SeqCst), MOST_THREADS);
    }
}
