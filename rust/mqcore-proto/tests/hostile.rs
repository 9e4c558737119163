//! Peers that break the protocol or try to hurt us: each must end in an error that says why.
//!
//! The tests speak as the peer, in bytes, to one connection.

use std::io::IoSlice;
use std::time::{Duration, Instant};

use mqcore_proto::{
    Config, Connection, ErrorKind, Event, Limits, Message, ProtocolError, SocketType,
};

const SECOND: Duration = Duration::from_secs(1);

/// A connection and what its peer says to it.
struct Victim {
    connection: Connection,
    now: Instant,
}

impl Victim {
    /// Has seen nothing of the peer yet.
    fn fresh(config: Config) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "a fake clock has to begin somewhere"
        )]
        let now = Instant::now();
        Self {
            connection: Connection::new(config, now),
            now,
        }
    }

    /// Has greeted and expects READY.
    fn greeted(own: SocketType) -> Self {
        let mut victim = Self::fresh(Config::new(own));
        assert_eq!(victim.hear(&greeting(b"NULL")).unwrap(), []);
        victim
    }

    /// Is ready for a peer of type `peer`.
    fn ready(config: Config, peer: &str) -> Self {
        let mut victim = Self::fresh(config);
        victim.hear(&greeting(b"NULL")).unwrap();
        let events = victim.hear(&ready(&[("Socket-Type", peer.as_bytes())]));
        assert!(matches!(events.unwrap()[..], [Event::Ready(_)]));
        victim.said();
        victim
    }

    fn hear(&mut self, mut bytes: &[u8]) -> Result<Vec<Event>, ProtocolError> {
        let mut events = Vec::new();
        while let Some(event) = self.connection.receive(&mut bytes, self.now)? {
            events.push(event);
        }
        Ok(events)
    }

    /// Hears something bad: the error, after which the connection is of no use.
    #[track_caller]
    fn refuse(&mut self, bytes: &[u8]) -> ProtocolError {
        let error = self.hear(bytes).expect_err("the peer must be refused");
        assert!(!self.connection.is_ready());
        assert!(self.hear(b"\0\x01x").is_err());
        error
    }

    fn said(&mut self) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 16];
        let count = self.connection.transmit_slices(&mut slices);
        let bytes: Vec<u8> = slices[..count]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect();
        self.connection.transmitted(bytes.len());
        bytes
    }
}

fn greeting(mechanism: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F, 3, 1];
    bytes.extend(mechanism);
    bytes.resize(64, 0);
    bytes
}

fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = match u8::try_from(body.len()) {
        Ok(length) => vec![flags, length],
        Err(_) => long_header(flags, body.len() as u64),
    };
    bytes.extend(body);
    bytes
}

fn long_header(flags: u8, length: u64) -> Vec<u8> {
    [&[flags | 2][..], &length.to_be_bytes()].concat()
}

fn command(name: &str, data: &[u8]) -> Vec<u8> {
    frame(4, &[&[name.len() as u8], name.as_bytes(), data].concat())
}

fn properties(list: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in list {
        bytes.push(name.len() as u8);
        bytes.extend(name.as_bytes());
        bytes.extend((value.len() as u32).to_be_bytes());
        bytes.extend(*value);
    }
    bytes
}

fn ready(list: &[(&str, &[u8])]) -> Vec<u8> {
    command("READY", &properties(list))
}

fn limited(socket_type: SocketType, limits: Limits) -> Config {
    Config {
        limits,
        ..Config::new(socket_type)
    }
}

// Row 1

#[test]
fn identity_beginning_with_zero_or_longer_than_255_bytes_is_refused() {
    for id in [&b"\0"[..], b"\0\x01\x02\x03\x04", &[b'x'; 256]] {
        let bytes = ready(&[("Socket-Type", b"DEALER"), ("Identity", id)]);
        let error = Victim::greeted(SocketType::Router).refuse(&bytes);
        assert_eq!(error.kind(), ErrorKind::Metadata);
        assert!(error.to_string().contains("routing id"), "{error}");
    }
    let longest = [b'x'; 255];
    let bytes = ready(&[("Socket-Type", b"DEALER"), ("Identity", &longest)]);
    let events = Victim::greeted(SocketType::Router).hear(&bytes).unwrap();
    assert!(matches!(&events[..], [Event::Ready(peer)] if peer.routing_id[..] == longest));
}

#[test]
fn identity_of_a_2_0_peer_is_held_to_the_same_rules() {
    let greeting = [0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F, 1, 5];
    for identity in [
        &b"\0\x01\0"[..],
        b"\x01\x02me",
        b"\x04\x02me",
        b"\x02\0\0\0\0\0\0\x01\0",
        b"\x02\0\xFF\0\0\0\0\0\0",
    ] {
        let mut victim = Victim::fresh(Config::new(SocketType::Router));
        victim.refuse(&[&greeting[..], identity].concat());
    }
}

// Row 2

#[test]
fn subscription_with_a_prefix_of_10_mib_is_refused_by_its_header() {
    for own in [SocketType::Pub, SocketType::Xpub] {
        for name in ["SUBSCRIBE", "CANCEL"] {
            let mut victim = Victim::ready(Config::new(own), "SUB");
            let header = long_header(4, 10 << 20);
            let error = victim.refuse(&header);
            assert!(error.is_oversize(), "{name}: {error}");
        }
        for kind in [0, 1] {
            let mut victim = Victim::ready(Config::new(own), "SUB");
            victim.hear(&long_header(0, 10 << 20)).unwrap();
            assert!(
                victim.connection.body_buffer().is_none(),
                "nothing is set aside yet"
            );
            let error = victim.refuse(&[kind]);
            assert_eq!(
                error.to_string(),
                "the peer sent a subscription with a prefix of 10485759 bytes; at most 1048576 are allowed"
            );
        }
    }
}

#[test]
fn prefix_limit_is_exact_in_both_forms() {
    let limits = Limits {
        max_prefix: 600,
        ..Limits::default()
    };
    for (length, good) in [(600, true), (601, false)] {
        let prefix = vec![b'p'; length];
        for bytes in [
            command("SUBSCRIBE", &prefix),
            frame(0, &[b"\x01", &prefix[..]].concat()),
        ] {
            let mut victim = Victim::ready(limited(SocketType::Xpub, limits.clone()), "SUB");
            assert_eq!(victim.hear(&bytes).is_ok(), good, "{length}");
        }
    }
    let limits = Limits {
        max_prefix: 5,
        ..limits
    };
    for bytes in [command("SUBSCRIBE", b"123456"), frame(0, b"\x01123456")] {
        let mut victim = Victim::ready(limited(SocketType::Xpub, limits.clone()), "SUB");
        assert!(victim.refuse(&bytes).is_oversize());
    }
}

#[test]
fn long_user_message_to_an_xpub_is_no_subscription() {
    let mut victim = Victim::ready(Config::new(SocketType::Xpub), "XSUB");
    let bytes = frame(0, &vec![b'u'; 2 << 20]);
    assert_eq!(victim.hear(&bytes).unwrap().len(), 1);
}

// Row 4

#[test]
fn other_protocols_never_become_a_peer() {
    for first in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\0",
        b"\x01",
    ] {
        let error = Victim::fresh(Config::new(SocketType::Push)).refuse(first);
        assert_eq!(error.kind(), ErrorKind::NotZmtp);
    }
    let error = Victim::fresh(Config::new(SocketType::Push)).refuse(b"GET / HTTP/1.1\r\n");
    assert_eq!(
        error.to_string(),
        "the peer does not speak ZMTP: its first bytes are \"GET / HTTP/1.1\\r\\n\", \
         a greeting begins with FF"
    );
}

#[test]
fn zmtp_1_0_is_refused_in_both_of_its_forms() {
    let unversioned = [0xFF, 0, 0, 0, 0, 0, 0, 0, 9, 0];
    Victim::fresh(Config::new(SocketType::Push)).refuse(&unversioned);
    Victim::fresh(Config::new(SocketType::Push)).refuse(b"\x01\0");
    let revision_0 = [0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F, 0];
    let error = Victim::fresh(Config::new(SocketType::Push)).refuse(&revision_0);
    assert_eq!(error.kind(), ErrorKind::Version);
}

#[test]
fn another_mechanism_is_refused() {
    for mechanism in [&b"PLAIN"[..], b"CURVE", b"null", b"NULL\0x", b""] {
        let mut victim = Victim::fresh(Config::new(SocketType::Pull));
        let error = victim.refuse(&greeting(mechanism));
        assert_eq!(error.monitor_code(), 0x1100_0002);
    }
}

// Row 5

#[test]
fn broken_ping_is_refused_and_nothing_is_echoed() {
    for data in [&b""[..], b"\0", &[b'x'; 2 + 17], &[b'x'; 200]] {
        let mut victim = Victim::ready(Config::new(SocketType::Pull), "PUSH");
        let error = victim.refuse(&command("PING", data));
        assert_eq!(error.kind(), ErrorKind::MalformedCommand);
        assert_eq!(victim.said(), b"");
    }
    let mut victim = Victim::ready(Config::new(SocketType::Pull), "PUSH");
    victim.refuse(&command("PONG", &[b'x'; 17]));
}

#[test]
fn pong_holds_the_context_of_its_ping_and_nothing_else() {
    let mut victim = Victim::ready(Config::new(SocketType::Pull), "PUSH");
    victim
        .hear(&command("PING", b"\0\0sixteen bytes it"))
        .unwrap();
    victim.hear(&command("PING", b"\0\0")).unwrap();
    let expected = [command("PONG", b"sixteen bytes it"), command("PONG", b"")].concat();
    assert_eq!(victim.said(), expected);
}

#[test]
fn ping_flood_from_a_peer_that_does_not_read_takes_no_memory() {
    let mut victim = Victim::ready(Config::new(SocketType::Pull), "PUSH");
    let flood = command("PING", b"\0\0sixteen bytes it").repeat(1000);
    for _ in 0..100 {
        assert_eq!(victim.hear(&flood).unwrap(), []);
    }
    assert!(victim.connection.transmit_len() < 1024);
    assert!(
        victim
            .said()
            .starts_with(b"\x04\x15\x04PONGsixteen bytes it")
    );
    victim.hear(&command("PING", b"\0\0")).unwrap();
    assert_eq!(
        victim.said(),
        command("PONG", b""),
        "who reads is answered again"
    );
}

// Row 6

#[test]
fn no_ping_ttl_closes_early() {
    for tenths in (1..=u16::MAX).step_by(97).chain([655, 656, u16::MAX]) {
        let mut victim = Victim::ready(Config::new(SocketType::Pull), "PUSH");
        victim
            .hear(&command("PING", &tenths.to_be_bytes()))
            .unwrap();
        let deadline = victim.now + Duration::from_millis(u64::from(tenths) * 100);
        assert_eq!(victim.connection.poll_timeout(), Some(deadline));
        let early = deadline - Duration::from_millis(1);
        assert!(victim.connection.handle_timeout(early).is_ok());
        let error = victim.connection.handle_timeout(deadline).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Silent);
    }
}

// Row 7

#[test]
fn endless_message_of_empty_frames_is_refused() {
    let mut victim = Victim::ready(Config::new(SocketType::Pull), "PUSH");
    let many = frame(1, b"").repeat(65_536);
    assert_eq!(victim.hear(&many).unwrap(), []);
    let error = victim.refuse(&frame(1, b""));
    assert_eq!(
        error.to_string(),
        "the peer sent a message of more than 65536 frames"
    );
}

#[test]
fn endless_message_of_large_frames_is_refused_by_a_header() {
    let limits = Limits {
        max_message: 1 << 20,
        ..Limits::default()
    };
    let mut victim = Victim::ready(limited(SocketType::Pull, limits), "PUSH");
    let large = frame(1, &vec![0; 100_000]);
    for _ in 0..10 {
        victim.hear(&large).unwrap();
    }
    assert!(victim.refuse(&large[..9]).is_oversize());
}

// Row 8

#[test]
fn declared_length_alone_takes_no_memory() {
    for length in [1 << 40, (1 << 63) - 1] {
        let mut victim = Victim::ready(Config::new(SocketType::Pull), "PUSH");
        victim.hear(&long_header(0, length)).unwrap();
        let body = victim.connection.body_buffer().unwrap();
        assert!(body.capacity() <= 256 * 1024);
        for round in 1..40 {
            victim.hear(&[0; 65_536]).unwrap();
            // Of what is set aside only what came is ever touched.
            let capacity = victim.connection.body_buffer().unwrap().capacity();
            assert!(capacity <= (256 * 1024).max(16 * round * 65_536 + 8192));
        }
    }
}

#[test]
fn impossible_length_is_refused() {
    for length in [1 << 63, u64::MAX] {
        let mut victim = Victim::ready(Config::new(SocketType::Pull), "PUSH");
        assert!(victim.refuse(&long_header(0, length)).is_oversize());
    }
}

#[test]
fn frame_over_maxmsgsize_is_refused_by_its_header() {
    let limits = Limits {
        max_frame: Some(100),
        ..Limits::default()
    };
    let config = limited(SocketType::Pull, limits);
    let mut victim = Victim::ready(config.clone(), "PUSH");
    let parts = [frame(1, &[0; 100]), frame(0, &[0; 100])].concat();
    assert_eq!(
        victim.hear(&parts).unwrap().len(),
        1,
        "the limit is per frame"
    );
    for header in [
        vec![0, 101],
        vec![1, 101],
        long_header(0, 101),
        long_header(1, 1 << 50),
    ] {
        let error = Victim::ready(config.clone(), "PUSH").refuse(&header);
        assert!(
            error.is_oversize() && error.to_string().contains("at most 100"),
            "{error}"
        );
    }
}

// Row 11

#[test]
fn connection_that_never_speaks_or_stops_in_the_handshake_is_given_up() {
    let whole = [greeting(b"NULL"), ready(&[("Socket-Type", b"PUSH")])].concat();
    for length in 0..whole.len() {
        let mut config = Config::new(SocketType::Pull);
        config.handshake_timeout = Some(30 * SECOND);
        let mut victim = Victim::fresh(config);
        assert_eq!(
            victim.hear(&whole[..length]).unwrap(),
            [],
            "no peer before its READY"
        );
        let deadline = victim.now + 30 * SECOND;
        assert_eq!(victim.connection.poll_timeout(), Some(deadline));
        let error = victim.connection.handle_timeout(deadline).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::HandshakeTimeout);
    }
}

// Row 14

#[test]
fn bad_properties_are_refused() {
    let good = ("Socket-Type", &b"DEALER"[..]);
    let bad: &[&[(&str, &[u8])]] = &[
        &[],
        &[("Identity", b"me")],
        &[good, good],
        &[good, ("Identity", b"a"), ("IDENTITY", b"b")],
        &[good, ("User-Id", b"admin")],
        &[good, ("user-id", b"admin")],
        &[good, ("Peer-Address", b"127.0.0.1")],
        &[good, ("__fd", b"3")],
        &[good, ("", b"")],
    ];
    for list in bad {
        let error = Victim::greeted(SocketType::Router).refuse(&ready(list));
        assert_eq!(error.kind(), ErrorKind::Metadata, "{list:?}");
        assert_eq!(error.monitor_code(), 0x1000_0018);
    }
    for name in [&b"SUB"[..], b"Dealer", b"", b"PAIR"] {
        let error = Victim::greeted(SocketType::Router).refuse(&ready(&[("Socket-Type", name)]));
        assert!(error.is_incompatible());
    }
}

#[test]
fn cut_properties_are_refused() {
    let whole = properties(&[("Socket-Type", b"DEALER"), ("X-a", b"value")]);
    let first = properties(&[("Socket-Type", b"DEALER")]).len();
    for length in (0..whole.len()).filter(|length| *length != first) {
        let bytes = command("READY", &whole[..length]);
        let error = Victim::greeted(SocketType::Router).refuse(&bytes);
        assert_eq!(error.kind(), ErrorKind::Metadata, "{length}");
    }
}

#[test]
fn endless_ready_is_refused_by_its_header() {
    let error = Victim::greeted(SocketType::Router).refuse(&long_header(4, 1 << 30));
    assert!(error.is_oversize());
}

#[test]
fn ready_full_of_tiny_properties_is_handled_in_one_go() {
    let mut data = properties(&[("Socket-Type", b"DEALER")]);
    for number in 0..6000 {
        data.extend(properties(&[(&format!("{number:04}"), b"")]));
    }
    let events = Victim::greeted(SocketType::Router)
        .hear(&command("READY", &data))
        .unwrap();
    assert!(matches!(&events[..], [Event::Ready(peer)] if peer.properties.len() == 6001));
}

// Row 15

#[test]
fn anything_else_before_ready_is_refused() {
    for bytes in [
        command("PING", b"\0\0"),
        command("SUBSCRIBE", b""),
        command("HELLO", b""),
        command("UNKNOWN", b""),
        frame(0, b"message"),
        frame(1, b"message"),
    ] {
        let error = Victim::greeted(SocketType::Pull).refuse(&bytes);
        assert_eq!(error.kind(), ErrorKind::UnexpectedCommand);
        assert_eq!(error.monitor_code(), 0x1000_0001);
    }
}

#[test]
fn subscription_commands_to_a_socket_that_does_not_publish_are_never_data() {
    for (own, peer) in [
        (SocketType::Dealer, "ROUTER"),
        (SocketType::Pull, "PUSH"),
        (SocketType::Sub, "PUB"),
        (SocketType::Xsub, "XPUB"),
    ] {
        for name in ["SUBSCRIBE", "CANCEL", "JOIN", "LEAVE", "READY"] {
            let mut victim = Victim::ready(Config::new(own), peer);
            let error = victim.refuse(&command(name, b"abc"));
            assert_eq!(error.kind(), ErrorKind::UnexpectedCommand);
        }
    }
    for name in ["JOIN", "LEAVE"] {
        let mut victim = Victim::ready(Config::new(SocketType::Xpub), "SUB");
        victim.refuse(&command(name, b"abc"));
    }
}

#[test]
fn unknown_commands_are_ignored_and_long_ones_refused() {
    let mut victim = Victim::ready(Config::new(SocketType::Pull), "PUSH");
    let input = [
        command("UNKNOWN", &[7; 1000]),
        frame(0, b"x"),
        command("?", b""),
    ]
    .concat();
    let events = victim.hear(&input.repeat(1000)).unwrap();
    assert_eq!(events.len(), 1000);
    assert!(
        events
            .iter()
            .all(|event| *event == Event::Message(Message::from("x")))
    );
    assert!(victim.refuse(&long_header(4, 1 << 20)).is_oversize());
}

#[test]
fn empty_command_frame_and_command_name_beyond_the_frame_are_refused() {
    for body in [&b""[..], b"\0", b"\x05PING", b"\xFF"] {
        let mut victim = Victim::ready(Config::new(SocketType::Pull), "PUSH");
        let error = victim.refuse(&frame(4, body));
        assert_eq!(error.kind(), ErrorKind::MalformedCommand);
        let error = Victim::greeted(SocketType::Pull).refuse(&frame(4, body));
        assert_eq!(error.kind(), ErrorKind::MalformedCommand);
    }
}

// Row 16

#[test]
fn command_with_more_and_reserved_flag_bits_are_refused() {
    for flags in (5..=u8::MAX).filter(|flags| *flags != 6) {
        let mut victim = Victim::ready(Config::new(SocketType::Pull), "PUSH");
        let error = victim.refuse(&[flags]);
        assert_eq!(error.kind(), ErrorKind::MalformedFrame, "{flags:02X}");
    }
}

#[test]
fn zmtp_2_0_peer_that_sends_a_command_is_refused() {
    let mut victim = Victim::fresh(Config::new(SocketType::Pull));
    victim
        .hear(&[0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F, 1, 8, 0, 0])
        .unwrap();
    let error = victim.refuse(&command("PING", b"\0\0"));
    assert_eq!(error.kind(), ErrorKind::MalformedFrame);
}

// Row 20

#[test]
fn error_command_ends_the_connection_with_its_reason() {
    for early in [true, false] {
        let mut victim = if early {
            Victim::greeted(SocketType::Dealer)
        } else {
            Victim::ready(Config::new(SocketType::Dealer), "ROUTER")
        };
        let error = victim.refuse(&command("ERROR", b"\x03400"));
        assert!(error.is_rejected());
        assert_eq!(error.reason(), Some("400"));
        assert_eq!(
            error.to_string(),
            "the peer refused the connection: \"400\""
        );
    }
    let error = Victim::greeted(SocketType::Dealer).refuse(&command("ERROR", b"\x09400"));
    assert_eq!(error.monitor_code(), 0x1000_0015);
}

#[test]
fn incompatible_peer_learns_what_we_are_before_the_end() {
    let mut victim = Victim::fresh(Config::new(SocketType::Rep));
    let bytes = [greeting(b"NULL"), ready(&[("Socket-Type", b"PUB")])].concat();
    let error = victim.refuse(&bytes);
    assert_eq!(
        error.to_string(),
        "the peer is a PUB socket; a REP socket can be connected to REQ, DEALER"
    );
    assert!(victim.said().ends_with(&ready(&[("Socket-Type", b"REP")])));
}
