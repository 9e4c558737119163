//! What tests and fuzz targets share.

use std::io::IoSlice;
use std::time::Instant;

use crate::{Config, Connection, Event, ProtocolError, SocketType, metadata};
#[cfg(test)]
use crate::{Frame, Message, transmit::Transmit};

/// The instant a fake clock counts from.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no other way to get an instant, and its value does not matter"
)]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}

/// Everything that waits to be written, taken off.
pub(crate) fn written(connection: &mut Connection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while connection.transmit_len() > 0 {
        let mut slices = [IoSlice::new(&[]); 8];
        let count = connection.transmit_slices(&mut slices);
        let before = bytes.len();
        for slice in &slices[..count] {
            bytes.extend_from_slice(slice);
        }
        connection.transmitted(bytes.len() - before);
    }
    bytes
}

/// All events that `input` gives.
pub(crate) fn events(
    connection: &mut Connection,
    mut input: &[u8],
    now: Instant,
) -> Result<Vec<Event>, ProtocolError> {
    let mut events = Vec::new();
    while let Some(event) = connection.receive(&mut input, now)? {
        events.push(event);
    }
    assert!(input.is_empty(), "no event, but {} bytes left", input.len());
    Ok(events)
}

/// What a good peer of `version` that fits `own` sends until it is ready.
pub(crate) fn handshake(own: SocketType, version: (u8, u8)) -> Vec<u8> {
    let peer = SocketType::ALL
        .into_iter()
        .find(|peer| own.accepts(*peer))
        .expect("every ZMTP socket type has a partner");
    let mut bytes = vec![0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F];
    if version == (2, 0) {
        bytes.extend([1, peer as u8, 0, 0]);
        return bytes;
    }
    bytes.extend([version.0, version.1]);
    bytes.extend(b"NULL");
    bytes.resize(64, 0);
    let metadata = metadata::encode(peer, b"", &[]);
    bytes.extend([4, (metadata.len() + 6) as u8]);
    bytes.extend(b"\x05READY");
    bytes.extend(metadata);
    bytes
}

/// A connection that has just become ready for such a peer, and has nothing more to write.
pub(crate) fn ready_connection(config: Config, version: (u8, u8), now: Instant) -> Connection {
    let input = handshake(config.socket_type, version);
    let mut connection = Connection::new(config, now);
    let events = events(&mut connection, &input, now).expect("a good handshake");
    let [Event::Ready(peer)] = &events[..] else {
        panic!("ready and nothing else, not {events:?}");
    };
    assert_eq!(peer.version, version);
    written(&mut connection);
    connection
}

#[cfg(test)]
/// Two connections in memory, with a clock that stands still unless it is moved.
pub(crate) struct Pair {
    pub(crate) left: Connection,
    pub(crate) right: Connection,
    pub(crate) now: Instant,
}

#[cfg(test)]
impl Pair {
    pub(crate) fn new(left: SocketType, right: SocketType) -> Self {
        Self::with_configs(Config::new(left), Config::new(right))
    }

    pub(crate) fn with_configs(left: Config, right: Config) -> Self {
        let now = epoch();
        Self {
            left: Connection::new(left, now),
            right: Connection::new(right, now),
            now,
        }
    }

    /// Carries bytes to and fro until neither side has any; returns the events of both.
    pub(crate) fn run(&mut self) -> Result<(Vec<Event>, Vec<Event>), ProtocolError> {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        while self.left.transmit_len() + self.right.transmit_len() > 0 {
            let bytes = written(&mut self.left);
            right.extend(events(&mut self.right, &bytes, self.now)?);
            let bytes = written(&mut self.right);
            left.extend(events(&mut self.left, &bytes, self.now)?);
        }
        Ok((left, right))
    }
}

/// Messages of all shapes, of one to three frames.
#[cfg(test)]
pub(crate) fn messages(count: usize) -> Vec<Message> {
    let lengths = [0, 1, 64, 65, 255, 256, 300, 8192, 20_000, 70_000];
    let frame = |index: usize| Frame::from(vec![index as u8; lengths[index % lengths.len()]]);
    (0..count)
        .map(|index| Message::from_frames((index..=index + index % 3).map(frame).collect()))
        .collect()
}

/// A command as it stands on the wire.
#[cfg(test)]
pub(crate) fn command(name: &str, data: &[u8]) -> Vec<u8> {
    let mut transmit = Transmit::default();
    transmit.push_command(name, Frame::from(data));
    let mut slices = [IoSlice::new(&[]); 2];
    let count = transmit.slices(&mut slices);
    slices[..count]
        .iter()
        .flat_map(|slice| slice.to_vec())
        .collect()
}
