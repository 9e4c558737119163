//! Entry points that the fuzz targets in `rust/fuzz` and the smoke tests below share.
//!
//! Each takes any bytes as what a peer sends, cut as the bytes themselves say, and checks what
//! must hold whatever comes: no panic, bounded memory, no event after an error, and every input
//! consumed.

use std::time::{Duration, Instant};

use crate::testing::{epoch, ready_connection, written};
use crate::{Config, Connection, Event, Heartbeat, Limits, SocketType};

/// The socket types that speak ZMTP.
const TYPES: &[SocketType] = SocketType::ALL.split_at(11).0;

/// What a connection may hold beyond twice the bytes it was fed: a body's first piece, the parts
/// vector and small change.
const SLACK: usize = 256 * 1024 + 4096;

/// Any bytes from the first one on. The first byte of `data` chooses our socket type.
pub fn greeting(data: &[u8]) {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    let mut config = Config::new(TYPES[usize::from(choice) % TYPES.len()]);
    config.routing_id = "fuzz".into();
    config.properties = vec![("X-Fuzz".into(), b"value".to_vec())];
    config.handshake_timeout = Some(Duration::from_secs(30));
    feed(Connection::new(config, epoch()), data);
}

/// Any bytes after a good handshake. The first byte of `data` chooses our socket type, the second
/// the peer's ZMTP version and our limits.
pub fn connection_after_handshake(data: &[u8]) {
    let [choice, setting, data @ ..] = data else {
        return;
    };
    let mut config = Config::new(TYPES[usize::from(*choice) % TYPES.len()]);
    config.heartbeat = Some(Heartbeat {
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        ttl: 10,
    });
    if setting & 4 != 0 {
        config.limits = Limits {
            max_frame: Some(1000),
            max_parts: 4,
            max_message: 2000,
            max_prefix: 50,
        };
    }
    let version = [(3, 1), (3, 0), (2, 0), (3, 1)][usize::from(setting & 3)];
    feed(ready_connection(config, version, epoch()), data);
}

/// Feeds `data` in pieces whose lengths it chooses itself, by `receive` and by the body buffer.
fn feed(mut connection: Connection, data: &[u8]) {
    let start = epoch();
    let mut cuts = data.iter().rev().cycle();
    let mut rest = data;
    while !rest.is_empty() {
        let cut = *cuts.next().expect("data is not empty");
        let now = start + Duration::from_millis(u64::from(cut));
        let wanted = match cut {
            0xFF => rest.len(),
            cut => usize::from(cut % 64) + 1,
        };
        let (piece, after) = rest.split_at(wanted.min(rest.len()));
        rest = after;
        if !take(&mut connection, piece, now) {
            let error = connection.receive(&mut &b"\0\0"[..], now).unwrap_err();
            assert!(!error.to_string().is_empty() && !connection.is_ready());
            return;
        }
        assert!(connection.memory() <= SLACK + 2 * (data.len() - rest.len()) * 72);
        if cut & 64 != 0 {
            written(&mut connection);
        }
        if cut & 128 != 0 && connection.handle_timeout(now).is_err() {
            return;
        }
    }
    if connection.is_ready() {
        connection.send("still here".into());
        assert!(written(&mut connection).ends_with(b"still here"));
    }
}

/// Feeds one piece; false if the peer broke the protocol.
fn take(connection: &mut Connection, piece: &[u8], now: Instant) -> bool {
    let mut input = piece;
    if piece.len() > 8
        && let Some(body) = connection.body_buffer()
    {
        let room = (body.capacity() - body.len()).min(input.len());
        body.extend_from_slice(&input[..room]);
        input = &input[room..];
    }
    loop {
        match connection.receive(&mut input, now) {
            Ok(None) => {
                assert!(input.is_empty(), "nothing to tell, but input is left");
                return true;
            }
            Ok(Some(Event::Ready(peer))) => assert!(peer.routing_id.len() <= 255),
            Ok(Some(Event::Message(message))) => assert!(!message.frames().is_empty()),
            Err(_) => return false,
        }
    }
}
