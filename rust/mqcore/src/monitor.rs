//! What happens to a socket's connections, for whoever wants to know: events and counters.
//!
//! Emitting never waits: an event that its reader has no room for is dropped and counted.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use mqcore_proto::{Frame, Message};

use crate::sync::lock;

/// A connection event, with the numbers of zmq.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum EventKind {
    Connected = 0x0001,
    ConnectDelayed = 0x0002,
    ConnectRetried = 0x0004,
    Listening = 0x0008,
    BindFailed = 0x0010,
    Accepted = 0x0020,
    AcceptFailed = 0x0040,
    Closed = 0x0080,
    Disconnected = 0x0200,
    MonitorStopped = 0x0400,
    HandshakeFailedNoDetail = 0x0800,
    HandshakeSucceeded = 0x1000,
    HandshakeFailedProtocol = 0x2000,
}

/// Takes one event message; false if there is no room for it.
pub(crate) type Sink = Box<dyn Fn(Message) -> bool + Send>;

struct Tap {
    mask: u32,
    sink: Sink,
}

/// The monitor of one socket.
#[derive(Default)]
pub(crate) struct Monitor {
    active: AtomicBool,
    tap: Mutex<Option<Tap>>,
    pub(crate) counters: Counters,
}

/// What was counted since the socket was made.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Events that the monitor's reader had no room for.
    pub(crate) monitor_dropped: AtomicU64,
    /// Connections accepted.
    pub(crate) accepted: AtomicU64,
    /// Connections made.
    pub(crate) connected: AtomicU64,
    /// Handshakes completed.
    pub(crate) handshakes: AtomicU64,
    /// Connections that ended.
    pub(crate) disconnected: AtomicU64,
    /// Connections ended because the peer broke the protocol.
    pub(crate) protocol_errors: AtomicU64,
    /// Peers refused because their routing id is in use, or the socket takes no further peer.
    pub(crate) refused: AtomicU64,
    /// Handshake and heartbeat deadlines that passed.
    pub(crate) timeouts: AtomicU64,
}

impl Monitor {
    /// Reports an event to the reader, if there is one that wants it.
    pub(crate) fn emit(&self, kind: EventKind, value: u32, endpoint: &str) {
        if !self.active.load(Relaxed) {
            return;
        }
        let tap = lock(&self.tap);
        if let Some(tap) = &*tap
            && tap.mask & kind as u32 != 0
            && !(tap.sink)(encode(kind, value, endpoint))
        {
            self.counters.monitor_dropped.fetch_add(1, Relaxed);
        }
    }

    /// Sends the events in `mask` to `sink` from now on. The sink before gets the stop event.
    pub(crate) fn start(&self, mask: u32, sink: Sink) {
        self.stop();
        *lock(&self.tap) = Some(Tap { mask, sink });
        self.active.store(true, Relaxed);
    }

    /// Sends the stop event and lets go of the sink.
    pub(crate) fn stop(&self) {
        self.active.store(false, Relaxed);
        if let Some(tap) = lock(&self.tap).take()
            && !(tap.sink)(encode(EventKind::MonitorStopped, 0, ""))
        {
            self.counters.monitor_dropped.fetch_add(1, Relaxed);
        }
    }
}

/// The two frames of an event: u16 and u32 in native order without padding, then the endpoint.
fn encode(kind: EventKind, value: u32, endpoint: &str) -> Message {
    let mut head = [0; 6];
    head[..2].copy_from_slice(&(kind as u16).to_ne_bytes());
    head[2..].copy_from_slice(&value.to_ne_bytes());
    Message::from_frames(vec![Frame::from(&head), Frame::from(endpoint)])
}

impl Counters {
    /// One more.
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// Every counter with its name.
    pub(crate) fn read(&self) -> [(&'static str, u64); 8] {
        [
            ("accepted", self.accepted.load(Relaxed)),
            ("connected", self.connected.load(Relaxed)),
            ("handshakes", self.handshakes.load(Relaxed)),
            ("disconnected", self.disconnected.load(Relaxed)),
            ("protocol_errors", self.protocol_errors.load(Relaxed)),
            ("refused", self.refused.load(Relaxed)),
            ("timeouts", self.timeouts.load(Relaxed)),
            ("monitor_dropped", self.monitor_dropped.load(Relaxed)),
        ]
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn only_wanted_events_reach_the_reader_and_a_full_reader_is_counted() {
        let monitor = Monitor::default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&seen);
        monitor.emit(EventKind::Listening, 3, "before");
        monitor.start(
            EventKind::Listening as u32,
            Box::new(move |message| {
                let mut seen = lock(&into);
                seen.push(message);
                seen.len() < 2
            }),
        );
        monitor.emit(EventKind::Accepted, 4, "unwanted");
        monitor.emit(EventKind::Listening, 5, "tcp://127.0.0.1:1");
        monitor.emit(EventKind::Listening, 6, "x");
        assert_eq!(monitor.counters.monitor_dropped.load(Relaxed), 1);
        monitor.stop();
        let seen = lock(&seen);
        assert_eq!(seen.len(), 3);
        let frames = seen[0].clone().into_frames();
        assert_eq!(&frames[0][..2], 8_u16.to_ne_bytes());
        assert_eq!(&frames[0][2..], 5_u32.to_ne_bytes());
        assert_eq!(&frames[1][..], b"tcp://127.0.0.1:1");
    }
}
