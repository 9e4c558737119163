//! Watching a socket: its monitor and its counters.

use std::sync::atomic::Ordering;

use mqcore_proto::SocketType;

use super::{Inner, Socket};
use crate::endpoint::Endpoint;
use crate::error::{Errno, Error, Result};
use crate::monitor::Form;
use crate::sync::lock;

impl Socket {
    /// Sends the connection events in `events` to who connects to the inproc `endpoint`; `None` stops it. A
    /// monitor before ends. Events that are not read in time are dropped and counted.
    ///
    /// With `version` 1 an event is two frames (u16 event and u32 value, packed; endpoint), with 2 one for the
    /// event, one for the number of values, one for each value (u64), one for the local address and one for
    /// the remote one; all numbers in native order. `kind` is the type of the sending socket: PAIR, PUB (any
    /// number of readers) or PUSH.
    ///
    /// # Errors
    /// EPROTONOSUPPORT for another transport; EINVAL for another version or type, or events that version 1
    /// has not; EADDRINUSE, EMFILE, ETERM, ENOTSOCK.
    pub fn monitor(
        &self,
        endpoint: Option<&str>,
        events: i64,
        version: i32,
        kind: i32,
    ) -> Result<()> {
        let inner = &*self.inner;
        self.check_open()?;
        let (form, kind) = monitor_form(events, version, kind)?;
        let mut current = lock(&inner.monitor);
        inner.port.monitor.stop();
        if let Some(before) = current.take() {
            inner.retire(&before);
        }
        let Some(endpoint) = endpoint else {
            return Ok(());
        };
        if !matches!(Endpoint::parse_bind(endpoint)?, Endpoint::Inproc(_)) {
            return Err(Error::new(
                Errno::PROTONOSUPPORT,
                format!("a monitor reports over inproc only, not over {endpoint}"),
            ));
        }
        let reporter = inner.context.socket(kind as i32)?;
        if let Err(error) = reporter.bind(endpoint) {
            reporter.close();
            return Err(error);
        }
        let sender = reporter.clone();
        inner.port.monitor.start(
            form,
            events as u64,
            Box::new(move |message| sender.try_send(message).is_ok()),
        );
        *current = Some(reporter);
        drop(current);
        if inner.port.is_closed() {
            inner.stop_monitor(); // the close came too early to do it
        }
        Ok(())
    }

    /// Makes the monitor report EVENT_PIPES_STATS for each peer now: two values, messages that wait for the
    /// peer and messages from it that were not received (each up to 32 too many while it is busy).
    ///
    /// # Errors
    /// EINVAL if no monitor of version 2 runs that asked for EVENT_PIPES_STATS, EAGAIN if there is no peer,
    /// ETERM, ENOTSOCK.
    pub fn monitor_pipes_stats(&self) -> Result<()> {
        self.check_open()?;
        match self.inner.port.report_queues() {
            Some(1..) => Ok(()),
            Some(0) => Err(Error::new(
                Errno::AGAIN,
                "the socket has no peer whose queues could be reported",
            )),
            None => Err(Error::new(
                Errno::INVAL,
                "nobody watches the queues: start a monitor of version 2 with EVENT_PIPES_STATS (0x10000) first",
            )),
        }
    }

    /// What was counted since the socket was made, by name.
    pub fn statistics(&self) -> Vec<(&'static str, u64)> {
        let port = &self.inner.port;
        let drops = &port.drops;
        let mut all = port.monitor.counters.read().to_vec();
        // A PUB that reports drops what a reader has no room for by itself, and counts it.
        if let Some(reporter) = &*lock(&self.inner.monitor)
            && let Some((_, count)) = all.iter_mut().find(|(name, _)| *name == "monitor_dropped")
        {
            *count += reporter.inner.port.drops.full.load(Ordering::Relaxed);
        }
        all.push(("dropped_full", drops.full.load(Ordering::Relaxed)));
        all.push((
            "dropped_unroutable",
            drops.unroutable.load(Ordering::Relaxed),
        ));
        all.push((
            "dropped_unexpected",
            drops.unexpected.load(Ordering::Relaxed),
        ));
        all.push(("peers", port.peer_count() as u64));
        all
    }
}

/// What a monitor was asked to be.
fn monitor_form(events: i64, version: i32, kind: i32) -> Result<(Form, SocketType)> {
    let form = match version {
        1 => Form::V1,
        2 => Form::V2,
        _ => {
            return Err(Error::new(
                Errno::INVAL,
                format!("{version} is no version of monitor events; known are 1 and 2"),
            ));
        }
    };
    if form == Form::V1 && events & !(Form::V1.events() as i64) != 0 {
        return Err(Error::new(
            Errno::INVAL,
            format!("version 1 has events up to 0xffff, not {events:#x}: ask for version 2"),
        ));
    }
    match SocketType::from_number(kind.into()) {
        Some(kind @ (SocketType::Pair | SocketType::Pub | SocketType::Push)) => Ok((form, kind)),
        _ => Err(Error::new(
            Errno::INVAL,
            format!("a monitor sends from a PAIR (0), PUB (1) or PUSH (8), not from type {kind}"),
        )),
    }
}

impl Inner {
    pub(super) fn stop_monitor(&self) {
        self.port.monitor.stop();
        if let Some(reporter) = lock(&self.monitor).take() {
            self.retire(&reporter);
        }
    }

    /// Closes who reported, and keeps count of what it dropped itself.
    fn retire(&self, reporter: &Socket) {
        let dropped = reporter.inner.port.drops.full.load(Ordering::Relaxed);
        let counters = &self.port.monitor.counters;
        counters
            .monitor_dropped
            .fetch_add(dropped, Ordering::Relaxed);
        reporter.close();
    }
}
