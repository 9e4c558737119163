//! Connecting: from an endpoint to a stream, one attempt after the other, with back-off between them.
//!
//! Names are looked up elsewhere, streams connect in the background: nothing here waits.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use super::super::thread::{Next, Ready, Turn, deregister, register};
use super::{Core, Dialer, Link, Phase, STOP_AFTER_DISCONNECT, STOP_CONN_REFUSED, Session};
use crate::endpoint::{Endpoint, TcpEndpoint};
use crate::error::Errno;
use crate::monitor::{Counters, EventKind};
use crate::transport::socks::Negotiation;
use crate::transport::{Stream, Target, finish_connect, proxy, start_connect};

impl Core {
    pub(super) fn dial(&mut self, session: &Arc<Session>, turn: &mut Turn<'_>) -> Next {
        let Some(dialer) = &mut self.dialer else {
            return self.die(session, turn);
        };
        dialer.addresses.clear();
        dialer.refused = false;
        let target = match (&dialer.target, proxy(&session.config.options)) {
            (Endpoint::Tcp(target), Ok(Some(address))) => Target::of(&Endpoint::Tcp(TcpEndpoint {
                source: target.source.clone(),
                address,
            })),
            (Endpoint::Tcp(_), Err(error)) => Err(error), // never past the proxy
            (target, _) => Target::of(target),
        };
        match target {
            Ok(Target::Resolved(address)) => dialer.addresses.push_back(address),
            Ok(Target::Lookup { host, port, source }) => {
                dialer.source = source;
                self.phase = Phase::Resolving;
                let ipv6 = session.config.options.ipv6;
                turn.thread.resolve(Arc::clone(session), &host, port, ipv6);
                return Next::Wait(None);
            }
            Err(_) => {} // an interface that may come yet: an attempt that failed
        }
        self.dial_next(session, turn)
    }

    /// Tries the addresses in turn until one connects, or is on its way to.
    pub(super) fn dial_next(&mut self, session: &Arc<Session>, turn: &mut Turn<'_>) -> Next {
        let options = &session.config.options;
        while let Some(dialer) = &mut self.dialer
            && let Some(address) = dialer.addresses.pop_front()
        {
            let (stream, in_progress) = match start_connect(&address, options) {
                Ok(started) => started,
                Err(error) => {
                    dialer.refused |= error.kind() == io::ErrorKind::ConnectionRefused;
                    continue;
                }
            };
            if register(turn.registry, stream.as_raw_fd(), turn.key, true).is_err() {
                continue;
            }
            if !in_progress {
                // Whatever is on the stream already was reported, or will be, by the registration.
                return self.connected(session, turn, stream, Ready::default());
            }
            session.emit(EventKind::ConnectDelayed, Errno::INPROGRESS.0 as u32);
            let deadline = options.connect_timeout.map(|limit| turn.now + limit);
            self.phase = Phase::Dialing { stream, deadline };
            return Next::Wait(deadline);
        }
        self.wait(session, turn)
    }

    pub(super) fn dialing(
        &mut self,
        session: &Arc<Session>,
        turn: &mut Turn<'_>,
        ready: Ready,
    ) -> Next {
        if self.has_nothing_to_send() {
            return self.die(session, turn);
        }
        let Phase::Dialing { stream, deadline } = &mut self.phase else {
            return Next::Wait(None);
        };
        let deadline = *deadline;
        let failed = if ready.writable || ready.hangup {
            match finish_connect(stream) {
                Ok(()) => false,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Next::Wait(deadline);
                }
                Err(error) => {
                    if let Some(dialer) = &mut self.dialer {
                        dialer.refused |= error.kind() == io::ErrorKind::ConnectionRefused;
                    }
                    true
                }
            }
        } else if deadline.is_some_and(|deadline| turn.now >= deadline) {
            true
        } else {
            return Next::Wait(deadline);
        };
        let waiting = Phase::Waiting { until: turn.now };
        let Phase::Dialing { stream, .. } = std::mem::replace(&mut self.phase, waiting) else {
            return Next::Wait(None);
        };
        if failed {
            self.give_up(session, turn, stream)
        } else {
            self.connected(session, turn, stream, ready)
        }
    }

    /// The stream is there: the peer's, or the proxy's.
    fn connected(
        &mut self,
        session: &Arc<Session>,
        turn: &mut Turn<'_>,
        stream: Stream,
        ready: Ready,
    ) -> Next {
        let options = &session.config.options;
        let Some(Dialer {
            target: Endpoint::Tcp(target),
            ..
        }) = &self.dialer
        else {
            return self.link(session, turn, stream, ready);
        };
        if options.socks_proxy.is_empty() {
            return self.link(session, turn, stream, ready);
        }
        let (user, password) = (&options.socks_username, &options.socks_password);
        let Some(negotiation) = Negotiation::new(&target.address, user, password) else {
            return self.give_up(session, turn, stream);
        };
        // A proxy that says nothing is waited for as long as a peer that says nothing.
        let patience = options.connect_timeout.or(options.handshake_ivl);
        self.phase = Phase::Negotiating {
            stream,
            negotiation: Box::new(negotiation),
            deadline: patience.map(|patience| turn.now + patience),
            hangup: false,
        };
        self.negotiate(session, turn, ready)
    }

    /// Talks to the proxy as far as it goes. Nothing is read that may be the peer's.
    pub(super) fn negotiate(
        &mut self,
        session: &Arc<Session>,
        turn: &mut Turn<'_>,
        ready: Ready,
    ) -> Next {
        if self.has_nothing_to_send() {
            return self.die(session, turn);
        }
        let waiting = Phase::Waiting { until: turn.now };
        let Phase::Negotiating {
            stream,
            mut negotiation,
            deadline,
            hangup,
        } = std::mem::replace(&mut self.phase, waiting)
        else {
            return Next::Wait(None);
        };
        let hangup = hangup || ready.hangup;
        let late = deadline.is_some_and(|deadline| turn.now >= deadline);
        match converse(&stream, &mut negotiation) {
            Ok(true) => {
                let ready = Ready {
                    readable: true,
                    writable: true,
                    hangup,
                };
                self.link(session, turn, stream, ready)
            }
            Ok(false) if !late => {
                self.phase = Phase::Negotiating {
                    stream,
                    negotiation,
                    deadline,
                    hangup,
                };
                Next::Wait(deadline)
            }
            Ok(false) => self.refused_by_proxy(session, turn, stream, Errno::TIMEDOUT),
            Err(errno) => self.refused_by_proxy(session, turn, stream, errno),
        }
    }

    /// The proxy did not connect: why, for who watches.
    fn refused_by_proxy(
        &mut self,
        session: &Arc<Session>,
        turn: &mut Turn<'_>,
        stream: Stream,
        why: Errno,
    ) -> Next {
        if let Some(dialer) = &mut self.dialer {
            dialer.refused |= why == Errno::CONNREFUSED;
        }
        session.emit(EventKind::HandshakeFailedNoDetail, why.0 as u32);
        self.give_up(session, turn, stream)
    }

    /// An attempt that failed: the next address, or the next attempt.
    fn give_up(&mut self, session: &Arc<Session>, turn: &mut Turn<'_>, stream: Stream) -> Next {
        let fd = stream.as_raw_fd();
        deregister(turn.registry, &stream);
        drop(stream);
        session.emit(EventKind::Closed, fd as u32);
        self.dial_next(session, turn)
    }

    pub(super) fn link(
        &mut self,
        session: &Arc<Session>,
        turn: &mut Turn<'_>,
        stream: Stream,
        ready: Ready,
    ) -> Next {
        if let Some(dialer) = &mut self.dialer {
            dialer.refused = false;
        }
        let config = &session.config;
        Counters::count(&config.port.monitor.counters.connected);
        let fd = stream.as_raw_fd() as u32;
        session.emit_at(EventKind::Connected, fd, Some(&stream));
        let mut link = Link::new(stream, config, false, turn.now);
        // The event that told of the connection may have told of its end too, and comes only once.
        link.ready = Ready {
            readable: true,
            writable: true,
            hangup: ready.hangup,
        };
        self.phase = Phase::Linked(Box::new(link));
        match self.linked(session, turn) {
            Ok(next) => next,
            Err(loss) => self.lose(session, turn, loss),
        }
    }

    /// Waits before the next attempt, with the back-off of the options and jitter on it; a session that
    /// shall not try again ends.
    pub(super) fn wait(&mut self, session: &Arc<Session>, turn: &mut Turn<'_>) -> Next {
        if self.has_nothing_to_send() {
            return self.die(session, turn);
        }
        let options = &session.config.options;
        let stop = options.reconnect_stop;
        if self.ending.is_some() && stop & STOP_AFTER_DISCONNECT != 0 {
            return self.die(session, turn);
        }
        let (Some(dialer), Some(base)) = (&mut self.dialer, options.reconnect_delay()) else {
            return self.die(session, turn);
        };
        if dialer.refused && stop & STOP_CONN_REFUSED != 0 {
            return self.die(session, turn);
        }
        let delay = backoff(base, options.reconnect_ivl_max, dialer.failures);
        dialer.failures = dialer.failures.saturating_add(1);
        session.emit(EventKind::ConnectRetried, delay.as_millis() as u32);
        let until = turn.now + delay;
        self.phase = Phase::Waiting { until };
        Next::Wait(Some(until))
    }
}

/// Sends and receives what can be sent and received now. True: the proxy has connected to the peer.
fn converse(stream: &Stream, negotiation: &mut Negotiation) -> Result<bool, Errno> {
    let mut buffer = [0; 64];
    loop {
        let done = if !negotiation.output().is_empty() {
            stream
                .write(negotiation.output())
                .map(|count| negotiation.sent(count))
        } else {
            let wanted = negotiation.wanted().min(buffer.len());
            if wanted == 0 {
                return Ok(true);
            }
            match stream.read(&mut buffer[..wanted]) {
                Ok(0) => return Err(Errno::CONNRESET),
                Ok(count) => {
                    negotiation.received(&buffer[..count])?;
                    Ok(())
                }
                Err(error) => Err(error),
            }
        };
        match done {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(Errno::CONNRESET),
        }
    }
}

/// The delay before attempt `failures + 1`: `base`, doubled each time up to `most` if there is one, and
/// up to as much again at random, so that the clients of a restarted server do not come all at once.
fn backoff(base: Duration, most: Option<Duration>, failures: u32) -> Duration {
    let delay = match most {
        None => base,
        Some(most) => base
            .saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX))
            .min(most),
    };
    let jitter = delay.mul_f64(rand::random::<f64>());
    match most {
        None => delay + jitter,
        Some(most) => (delay / 2 + jitter).min(most),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn backoff_without_a_maximum_is_the_interval_and_up_to_as_much_again() {
        let base = Duration::from_millis(100);
        for failures in [0, 1, 40] {
            let delay = backoff(base, None, failures);
            assert!(delay >= base && delay <= 2 * base, "{delay:?}");
        }
    }

    #[test]
    fn backoff_doubles_with_jitter_and_never_exceeds_the_maximum() {
        let base = Duration::from_millis(100);
        let most = Duration::from_secs(1);
        for failures in [0, 1, 3, 31, 32, 1000] {
            let delay = backoff(base, Some(most), failures);
            assert!(delay <= most && delay >= base / 2, "{failures} {delay:?}");
        }
        let far = (0..100).map(|_| backoff(base, Some(most), 10)).max();
        assert!(far > Some(most / 2));
    }
}
