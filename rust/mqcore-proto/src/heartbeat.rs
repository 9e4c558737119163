//! Heartbeats: when to send a PING, and when a silent peer counts as dead.
//!
//! Any byte from the peer is a sign of life, also one of an unfinished frame: a slow large message
//! must not kill the connection it travels on.

use std::time::{Duration, Instant};

use crate::error::{ErrorKind, ProtocolError};

/// How a connection watches over its peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The time from one PING to the next; zero sends none.
    pub interval: Duration,
    /// How long after a PING the first byte may take; zero waits for ever.
    pub timeout: Duration,
    /// How long the peer shall wait for our next bytes, in tenths of a second; zero for ever.
    pub ttl: u16,
}

/// The clocks of one connection whose handshake is done.
#[derive(Debug)]
pub(crate) struct Watch {
    own: Option<Heartbeat>,
    /// When the next PING is due; `None` for never.
    next_ping: Option<Instant>,
    /// When the first PING left after which nothing was heard.
    unanswered: Option<Instant>,
    /// What the peer's last PING asked for.
    peer_ttl: Option<Duration>,
    heard: Instant,
}

impl Watch {
    pub(crate) fn new(own: Option<Heartbeat>, now: Instant) -> Self {
        let own = own.filter(|heartbeat| !heartbeat.interval.is_zero());
        Self {
            next_ping: own
                .as_ref()
                .and_then(|heartbeat| now.checked_add(heartbeat.interval)),
            own,
            unanswered: None,
            peer_ttl: None,
            heard: now,
        }
    }

    /// Bytes have come.
    #[inline]
    pub(crate) fn handle_life(&mut self, now: Instant) {
        self.heard = now;
        self.unanswered = None;
    }

    /// The peer asked in a PING to be forgotten after `ttl` of silence; zero takes that back.
    pub(crate) fn handle_ttl(&mut self, ttl: Duration) {
        self.peer_ttl = (!ttl.is_zero()).then_some(ttl);
    }

    /// The TTL for our PINGs, in tenths of a second.
    pub(crate) fn own_ttl(&self) -> u16 {
        self.own.as_ref().map_or(0, |heartbeat| heartbeat.ttl)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.next_ping, self.ping_deadline(), self.ttl_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Says whether a PING is to be sent now, or that the peer is dead.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<bool, ProtocolError> {
        if self.ping_deadline().is_some_and(|deadline| deadline <= now) {
            return Err(self.silent("did not answer a PING", now));
        }
        if self.ttl_deadline().is_some_and(|deadline| deadline <= now) {
            return Err(self.silent("let the TTL of its last PING pass", now));
        }
        let due = self.next_ping.is_some_and(|ping| ping <= now);
        if due {
            self.unanswered.get_or_insert(now);
            self.next_ping = self
                .own
                .as_ref()
                .and_then(|heartbeat| now.checked_add(heartbeat.interval));
        }
        Ok(due)
    }

    fn ping_deadline(&self) -> Option<Instant> {
        let timeout = self.own.as_ref()?.timeout;
        if timeout.is_zero() {
            return None;
        }
        self.unanswered?.checked_add(timeout)
    }

    fn ttl_deadline(&self) -> Option<Instant> {
        self.heard.checked_add(self.peer_ttl?)
    }

    fn silent(&self, what: &str, now: Instant) -> ProtocolError {
        let silence = now.saturating_duration_since(self.heard);
        ProtocolError::new(
            ErrorKind::Silent,
            format!("{what}: nothing was heard for {silence:?}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::epoch;

    const SECOND: Duration = Duration::from_secs(1);

    fn heartbeat(interval: u32, timeout: u32) -> Option<Heartbeat> {
        Some(Heartbeat {
            interval: interval * SECOND,
            timeout: timeout * SECOND,
            ttl: 0,
        })
    }

    #[test]
    fn ping_is_due_each_interval_as_long_as_the_peer_answers() {
        let start = epoch();
        let mut watch = Watch::new(heartbeat(10, 3), start);
        for count in 1..5 {
            let due = start + count * 10 * SECOND;
            assert_eq!(watch.deadline(), Some(due));
            assert!(!watch.handle_timeout(due - SECOND).unwrap());
            assert!(watch.handle_timeout(due).unwrap());
            assert_eq!(watch.deadline(), Some(due + 3 * SECOND));
            watch.handle_life(due + 2 * SECOND);
        }
    }

    #[test]
    fn peer_that_does_not_answer_is_dead_after_the_timeout_of_the_first_ping() {
        let start = epoch();
        let mut watch = Watch::new(heartbeat(1, 3), start);
        for second in 1..4 {
            assert!(watch.handle_timeout(start + second * SECOND).unwrap());
        }
        let error = watch.handle_timeout(start + 4 * SECOND).unwrap_err();
        assert!(error.is_timeout());
        assert_eq!(
            error.to_string(),
            "the peer did not answer a PING: nothing was heard for 4s"
        );
    }

    #[test]
    fn ttl_of_the_peer_is_honoured_from_its_last_byte_on() {
        let start = epoch();
        let mut watch = Watch::new(None, start);
        assert_eq!(watch.deadline(), None);
        watch.handle_ttl(2 * SECOND);
        watch.handle_life(start + SECOND);
        assert_eq!(watch.deadline(), Some(start + 3 * SECOND));
        assert!(!watch.handle_timeout(start + 2 * SECOND).unwrap());
        assert!(watch.handle_timeout(start + 3 * SECOND).is_err());
        watch.handle_ttl(Duration::ZERO);
        assert_eq!(watch.deadline(), None);
    }

    #[test]
    fn every_ttl_and_the_longest_durations_close_nothing_early() {
        let start = epoch();
        for tenths in 1..=u16::MAX {
            let ttl = Duration::from_millis(u64::from(tenths) * 100);
            let mut watch = Watch::new(None, start);
            watch.handle_ttl(ttl);
            assert!(
                watch
                    .handle_timeout(start + ttl - Duration::from_millis(1))
                    .is_ok()
            );
            assert!(watch.handle_timeout(start + ttl).is_err());
        }
        let endless = Heartbeat {
            interval: Duration::MAX,
            timeout: Duration::MAX,
            ttl: u16::MAX,
        };
        let mut watch = Watch::new(Some(endless), start);
        assert_eq!(watch.deadline(), None);
        assert!(!watch.handle_timeout(start + 1_000_000 * SECOND).unwrap());
    }

    #[test]
    fn zero_interval_sends_nothing_and_zero_timeout_never_gives_up() {
        let start = epoch();
        assert_eq!(Watch::new(heartbeat(0, 3), start).deadline(), None);
        let mut watch = Watch::new(heartbeat(1, 0), start);
        for second in 1..100 {
            assert!(watch.handle_timeout(start + second * SECOND).unwrap());
        }
    }
}
