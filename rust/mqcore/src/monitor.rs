//! What happens to a socket's connections, for whoever wants to know: events and counters.
//!
//! Emitting never waits: an event that its reader has no room for is dropped and counted.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use mqcore_proto::{Frame, Message};

use crate::sync::lock;

/// A connection event, with the numbers of zmq.h. All but the last fit into the first form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
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
    PipesStats = 0x10000,
}

/// How an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Two frames: event (u16) and value (u32), packed; the endpoint.
    V1,
    /// Event, number of values and each value (u64, a frame each); the local and the remote address.
    V2,
}

impl Form {
    /// The events that it can tell of.
    pub(crate) const fn events(self) -> u64 {
        match self {
            Self::V1 => 0xffff,
            Self::V2 => 0x1_ffff,
        }
    }
}

/// Both addresses of a connection; empty where there is none (yet).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) local: String,
    pub(crate) remote: String,
}

impl Ends {
    /// An endpoint that is bound, without a peer.
    pub(crate) fn bound(local: &str) -> Self {
        Self {
            local: local.to_owned(),
            remote: String::new(),
        }
    }

    /// An endpoint that is connected to, without a connection.
    pub(crate) fn sought(remote: &str) -> Self {
        Self {
            local: String::new(),
            remote: remote.to_owned(),
        }
    }
}

/// Takes one event message; false if there is no room for it.
pub(crate) type Sink = Box<dyn Fn(Message) -> bool + Send>;

struct Tap {
    form: Form,
    mask: u64,
    sink: Sink,
}

impl Tap {
    fn wants(&self, kind: EventKind) -> bool {
        self.mask & kind as u64 != 0
    }
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
    /// Reports an event to the reader, if there is one that wants it. `endpoint` is what the first form tells of
    /// the place, `ends` what the second does.
    pub(crate) fn emit(
        &self,
        kind: EventKind,
        value: u32,
        endpoint: &str,
        ends: impl FnOnce() -> Ends,
    ) {
        self.report(kind, |form| encode(form, kind, value, endpoint, ends));
    }

    /// Reports the lengths of a peer's queues (second form only).
    pub(crate) fn emit_queues(&self, outbound: u64, inbound: u64, ends: &Ends) {
        let kind = EventKind::PipesStats;
        self.report(kind, |_| encode_v2(kind, &[outbound, inbound], ends));
    }

    fn report(&self, kind: EventKind, encode: impl FnOnce(Form) -> Message) {
        if self.active.load(Relaxed) {
            self.deliver(&lock(&self.tap), kind, encode);
        }
    }

    fn deliver(&self, tap: &Option<Tap>, kind: EventKind, encode: impl FnOnce(Form) -> Message) {
        if let Some(tap) = tap
            && tap.wants(kind)
            && !(tap.sink)(encode(tap.form))
        {
            self.counters.monitor_dropped.fetch_add(1, Relaxed);
        }
    }

    /// Whether the reader, if there is one, wants to hear of `kind`.
    pub(crate) fn wants(&self, kind: EventKind) -> bool {
        lock(&self.tap).as_ref().is_some_and(|tap| tap.wants(kind))
    }

    /// Sends the events in `mask` to `sink` from now on. The sink before is told that it ends.
    pub(crate) fn start(&self, form: Form, mask: u64, sink: Sink) {
        self.stop();
        *lock(&self.tap) = Some(Tap {
            form,
            mask: mask & form.events(),
            sink,
        });
        self.active.store(true, Relaxed);
    }

    /// Reports the end, if that was asked for, and lets go of the sink: nothing comes after it.
    pub(crate) fn stop(&self) {
        self.active.store(false, Relaxed);
        let tap = lock(&self.tap).take();
        let kind = EventKind::MonitorStopped;
        self.deliver(&tap, kind, |form| encode(form, kind, 0, "", Ends::default));
    }
}

/// The frames of an event with one value.
fn encode(
    form: Form,
    kind: EventKind,
    value: u32,
    endpoint: &str,
    ends: impl FnOnce() -> Ends,
) -> Message {
    match form {
        Form::V1 => encode_v1(kind, value, endpoint),
        Form::V2 => encode_v2(kind, &[value.into()], &ends()),
    }
}

/// The two frames of an event: u16 and u32 in native order without padding, then the endpoint.
fn encode_v1(kind: EventKind, value: u32, endpoint: &str) -> Message {
    let mut head = [0; 6];
    head[..2].copy_from_slice(&(kind as u16).to_ne_bytes());
    head[2..].copy_from_slice(&value.to_ne_bytes());
    Message::from_frames(vec![Frame::from(&head), Frame::from(endpoint)])
}

/// The frames of the second form, numbers as u64 in native order.
fn encode_v2(kind: EventKind, values: &[u64], ends: &Ends) -> Message {
    let head = [kind as u64, values.len() as u64];
    let mut frames: Vec<Frame> = head
        .iter()
        .chain(values)
        .map(|number| Frame::from(&number.to_ne_bytes()))
        .collect();
    frames.push(Frame::from(&*ends.local));
    frames.push(Frame::from(&*ends.remote));
    Message::from_frames(frames)
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

    fn listening(monitor: &Monitor, value: u32, endpoint: &str) {
        monitor.emit(EventKind::Listening, value, endpoint, || {
            Ends::bound(endpoint)
        });
    }

    /// A sink with room for `room` messages, and what it took.
    fn sink(room: usize) -> (Sink, Arc<Mutex<Vec<Message>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&seen);
        let take = move |message| {
            let mut seen = lock(&into);
            let taken = seen.len() < room;
            if taken {
                seen.push(message);
            }
            taken
        };
        (Box::new(take), seen)
    }

    #[test]
    fn only_wanted_events_reach_the_reader_and_a_full_reader_is_counted() {
        let monitor = Monitor::default();
        let (into, seen) = sink(1);
        listening(&monitor, 3, "before");
        let wanted = EventKind::Listening as u64 | EventKind::MonitorStopped as u64;
        monitor.start(Form::V1, wanted, into);
        monitor.emit(EventKind::Accepted, 4, "unwanted", Ends::default);
        listening(&monitor, 5, "tcp://127.0.0.1:1");
        listening(&monitor, 6, "x");
        assert_eq!(monitor.counters.monitor_dropped.load(Relaxed), 1);
        monitor.stop();
        assert_eq!(monitor.counters.monitor_dropped.load(Relaxed), 2);
        let seen = lock(&seen);
        assert_eq!(seen.len(), 1);
        let frames = seen[0].clone().into_frames();
        assert_eq!(&frames[0][..2], 8_u16.to_ne_bytes());
        assert_eq!(&frames[0][2..], 5_u32.to_ne_bytes());
        assert_eq!(&frames[1][..], b"tcp://127.0.0.1:1");
    }

    #[test]
    fn the_second_form_has_a_frame_for_each_number_and_both_addresses() {
        let monitor = Monitor::default();
        let (into, seen) = sink(9);
        monitor.start(Form::V2, u64::MAX, into);
        let ends = Ends {
            local: "tcp://a:1".into(),
            remote: "tcp://b:2".into(),
        };
        monitor.emit_queues(7, 9, &ends);
        monitor.stop();
        let frames = |message: &Message| {
            let frames = message.clone().into_frames();
            frames
                .iter()
                .map(|frame| frame.to_vec())
                .collect::<Vec<_>>()
        };
        let number = |number: u64| number.to_ne_bytes().to_vec();
        let seen = lock(&seen);
        let mut expected: Vec<_> = [0x10000, 2, 7, 9].map(number).into();
        expected.extend([b"tcp://a:1".to_vec(), b"tcp://b:2".to_vec()]);
        assert_eq!(frames(&seen[0]), expected);
        let mut expected: Vec<_> = [0x400, 1, 0].map(number).into();
        expected.extend([vec![], vec![]]);
        assert_eq!(frames(&seen[1]), expected);
    }

    #[test]
    fn the_first_form_never_tells_of_what_it_has_no_room_for() {
        let monitor = Monitor::default();
        let (into, seen) = sink(9);
        monitor.start(Form::V1, u64::MAX, into);
        monitor.emit_queues(1, 1, &Ends::default());
        assert!(!monitor.wants(EventKind::PipesStats) && lock(&seen).is_empty());
    }
}
