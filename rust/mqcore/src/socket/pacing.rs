//! Waiting for a peer that is behind with long messages; see `pipe/load.rs` for why.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mqcore_proto::INLINE_CAPACITY;

use super::messages::Sending;
use super::{Inner, Socket};
use crate::signals::HeldWakes;
use crate::sync::{Woken, lock};

impl Socket {
    /// Whether the next peer is so far behind that a call which may wait should [`pace`](Self::pace) itself.
    #[inline]
    pub fn is_laden(&self) -> bool {
        self.inner.laden.load(Ordering::Relaxed)
    }

    /// Waits a moment for the next peer, if it is behind with long messages: what is under way stays in the cache then,
    /// which makes both ends faster. At most until `deadline` (`None`: for ever); nothing is wrong if it does not
    /// come after.
    #[inline]
    pub fn pace(&self, deadline: Option<Instant>) {
        if self.is_laden() {
            self.wait_until_eased(deadline);
        }
    }

    /// Wakes and writes what the attempt to send has left to the caller ([`hold_writes`](crate::hold_writes)). If it may
    /// wait for room in the stream, that is a moment of the same account as [`pace`](Self::pace), and at most SNDTIMEO.
    pub fn settle(&self, mut held: HeldWakes, may_wait: bool) {
        let outgoing = &self.inner.outgoing;
        let waited = held.settle(|| {
            let patience = lock(outgoing).patience.left().filter(|_| may_wait);
            let timeout = self.send_timeout().unwrap_or(Duration::MAX);
            patience.unwrap_or_default().min(timeout)
        });
        if !waited.is_zero() {
            lock(outgoing).patience.spend(waited);
        }
    }

    #[cold]
    fn wait_until_eased(&self, deadline: Option<Instant>) {
        let Some(span) = lock(&self.inner.outgoing).begin_to_wait(&self.inner) else {
            return;
        };
        let began = Instant::now();
        let until = deadline.map_or(began + span, |deadline| deadline.min(began + span));
        let eased = loop {
            let event = &self.signals().writable;
            let seen = event.epoch();
            if lock(&self.inner.outgoing).is_eased(&self.inner) {
                break true;
            }
            if event.wait(seen, Some(until)) != Woken::Signalled {
                break false;
            }
        };
        lock(&self.inner.outgoing).end_wait(began.elapsed(), eased);
    }
}

impl Sending {
    /// So many bytes were sent: notes whether the next peer is behind.
    #[inline]
    pub(super) fn weigh(&mut self, inner: &Inner, bytes: usize) {
        if bytes > INLINE_CAPACITY
            && let Some(half) = &mut self.half
        {
            self.patience.earn(bytes);
            let mut laden = false;
            half.with_next_pipe(&mut |pipe| laden = pipe.is_laden());
            inner.laden.store(laden, Ordering::Relaxed);
        }
    }

    /// How long to wait for the next peer, if it is behind and that pays.
    fn begin_to_wait(&mut self, inner: &Inner) -> Option<Duration> {
        inner.laden.store(false, Ordering::Relaxed); // what is sent next says it anew
        let patience = self.patience.left()?;
        let mut laden = false;
        self.fresh(inner).ok()?.with_next_pipe(&mut |pipe| {
            laden = pipe.is_laden();
            if laden {
                pipe.wait_until_eased();
            }
        });
        laden.then_some(patience)
    }

    /// So long was waited.
    fn end_wait(&mut self, span: Duration, eased: bool) {
        self.patience.spend(span);
        if !eased && let Some(half) = &mut self.half {
            half.with_next_pipe(&mut |pipe| pipe.give_up());
        }
    }

    /// Whether the next peer has come after, or there is no such thing any more.
    fn is_eased(&mut self, inner: &Inner) -> bool {
        let mut eased = true;
        if let Ok(half) = self.fresh(inner) {
            half.with_next_pipe(&mut |pipe| eased = pipe.is_eased());
        }
        eased
    }
}
