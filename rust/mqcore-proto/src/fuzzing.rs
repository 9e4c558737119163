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

/// Feeds `data` in pieces whose lengths it chooses itself, by `receive`, in runs and by the body buffer.
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
    } else if let Some(total) = connection.expected() {
        let (now, rest) = input.split_at(total.min(input.len()));
        connection.adopt(now.to_vec());
        input = rest;
    } else if let Some((body, rest)) = connection
        .begun_body()
        .and_then(|length| input.split_at_checked(length))
    {
        connection.place_body(body.into());
        input = rest;
    }
    loop {
        let most = input.len() % 9;
        if let Some(run) = connection.receive_run(&mut input, most, now) {
            assert!(2 <= run.len() && run.len() <= most);
            continue;
        }
        match connection.receive(&mut input, now) {
            Ok(None) => {
                assert!(input.is_empty(), "nothing to tell, but input is left");
                return true;
            }
            Ok(Some(Event::Ready(peer))) => assert!(peer.routing_id.len() <= 255),
            Ok(Some(Event::Message(message))) => assert!(message.part_count() > 0),
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Pair, events, handshake};
    use crate::{Frame, Message};

    /// Numbers that look random and are the same in each run (xorshift).
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 16) as usize % sides
        }
    }

    /// A good stream after the handshake: messages of all shapes, commands, subscriptions.
    fn good_stream() -> Vec<u8> {
        let mut connection = ready_connection(Config::new(SocketType::Xsub), (3, 1), epoch());
        for length in [0, 5, 64, 255, 256, 1000] {
            let frame = Frame::from(vec![length as u8; length]);
            connection.send(frame.clone().into());
            connection.send(Message::from_frames(vec![frame.clone(), "".into(), frame]));
            connection.send(b"\x01topic".into());
        }
        connection.send(b"\0topic".into());
        let mut bytes = written(&mut connection);
        bytes.extend(b"\x04\x0A\x04PING\0\x0Aabc\x04\x05\x04PONG\x04\x09\x07UNKNOWN?");
        bytes
    }

    /// Overwrites, inserts, removes and repeats a few bytes.
    fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) {
        const TELLING: [u8; 8] = [0, 1, 2, 4, 7, 0x7F, 0x80, 0xFF];
        for _ in 0..1 + dice.roll(4) {
            if bytes.is_empty() {
                return;
            }
            let at = dice.roll(bytes.len());
            let byte = match dice.roll(2) {
                0 => TELLING[dice.roll(8)],
                _ => dice.roll(256) as u8,
            };
            match dice.roll(5) {
                0 | 1 => bytes[at] = byte,
                2 => bytes.insert(at, byte),
                3 => {
                    let end = (at + dice.roll(20)).min(bytes.len());
                    bytes.drain(at..end);
                }
                _ => {
                    let end = (at + dice.roll(200)).min(bytes.len());
                    bytes.extend_from_within(at..end);
                }
            }
        }
    }

    #[test]
    fn thousands_of_broken_greetings_do_no_harm() {
        let mut dice = Dice(0x6D71_636F_7265);
        for round in 0..6000 {
            let own = TYPES[round % TYPES.len()];
            let mut input = handshake(own, [(3, 1), (3, 0), (2, 0)][round % 3]);
            mutate(&mut input, &mut dice);
            input.insert(0, (round % TYPES.len()) as u8);
            input.push(dice.roll(256) as u8);
            greeting(&input);
        }
    }

    #[test]
    fn thousands_of_broken_streams_do_no_harm() {
        let mut dice = Dice(0x7A65_726F_6D71);
        let good = good_stream();
        for round in 0..6000 {
            let mut input = good.clone();
            mutate(&mut input, &mut dice);
            let head = [round as u8, dice.roll(8) as u8];
            input.splice(0..0, head);
            input.push(dice.roll(256) as u8);
            connection_after_handshake(&input);
        }
    }

    #[test]
    fn unbroken_streams_reach_their_end() {
        // Otherwise the mutations above would only ever test the first refusal.
        let publisher = Config::new(SocketType::Xpub);
        let mut connection = ready_connection(publisher, (3, 1), epoch());
        let got = events(&mut connection, &good_stream(), epoch()).unwrap();
        assert_eq!(got.len(), 19);
    }

    #[test]
    fn seeds_of_the_fuzz_targets_do_no_harm() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
        for (target, run) in [
            ("greeting", greeting as fn(&[u8])),
            ("connection_after_handshake", connection_after_handshake),
        ] {
            let mut count = 0;
            for seed in fs::read_dir(seeds.join(target)).unwrap() {
                run(&fs::read(seed.unwrap().path()).unwrap());
                count += 1;
            }
            assert!(count > 10, "{target} has {count} seeds");
        }
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let length = prop_oneof![
            8 => 0..70_usize,
            4 => 250..260_usize,
            2 => 16_380..16_390_usize,
            1 => 0..70_000_usize,
        ];
        let frame = (length, any::<u8>()).prop_map(|(length, seed)| {
            let bytes = (0..length).map(|index| (index as u8).wrapping_mul(31) ^ seed);
            Frame::from(bytes.collect::<Vec<u8>>())
        });
        prop::collection::vec(frame, 1..5).prop_map(Message::from_frames)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

        #[test]
        fn any_messages_cut_anywhere_come_out_as_they_went_in(
            messages in prop::collection::vec(any_message(), 0..12),
            cuts in prop::collection::vec((1..40_000_usize, any::<bool>()), 1..20),
        ) {
            let mut pair = Pair::new(SocketType::Dealer, SocketType::Dealer);
            pair.run().unwrap();
            for message in &messages {
                pair.left.send(message.clone());
            }
            let bytes = written(&mut pair.left);
            let mut rest = &bytes[..];
            let mut got = Vec::new();
            for (length, direct) in cuts.into_iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let mut piece;
                (piece, rest) = rest.split_at(length.min(rest.len()));
                let begun = pair.right.begun_body().filter(|_| direct && length % 2 == 0);
                if let Some((body, after)) = begun.and_then(|begun| piece.split_at_checked(begun)) {
                    pair.right.place_body(body.into());
                    piece = after;
                } else if direct && let Some(body) = pair.right.body_buffer() {
                    let room = (body.capacity() - body.len()).min(piece.len());
                    body.extend_from_slice(&piece[..room]);
                    piece = &piece[room..];
                } else if direct && let Some(total) = pair.right.expected() {
                    let (now, after) = piece.split_at(total.min(piece.len()));
                    pair.right.adopt(now.to_vec());
                    piece = after;
                }
                got.extend(events(&mut pair.right, piece, pair.now).unwrap());
            }
            let sent: Vec<_> = messages.into_iter().map(Event::Message).collect();
            prop_assert!(got == sent);
            prop_assert!(pair.right.memory() <= 512 && pair.left.memory() <= 512);
        }

        #[test]
        fn any_bytes_do_no_harm(data in prop::collection::vec(any::<u8>(), 0..600)) {
            greeting(&data);
            connection_after_handshake(&data);
        }
    }
}
