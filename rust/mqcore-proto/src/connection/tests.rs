//! Two connections in memory, with a clock of their own.

use super::*;
use crate::ErrorKind;
use crate::greeting::OPENING;
use crate::heartbeat::Heartbeat;
use crate::testing::{
    Pair, command, epoch, events, handshake, messages, ready_connection, written,
};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn with_heartbeat(socket_type: SocketType) -> Config {
    Config {
        heartbeat: Some(Heartbeat {
            interval: 10 * SECOND,
            timeout: 3 * SECOND,
            ttl: 50,
        }),
        ..Config::new(socket_type)
    }
}

#[test]
fn two_peers_become_ready_and_exchange_messages() {
    let mut pair = Pair::new(SocketType::Dealer, SocketType::Router);
    let (left, right) = pair.run().unwrap();
    let [Event::Ready(router)] = &left[..] else {
        panic!("{left:?}")
    };
    assert_eq!(router.socket_type, Some(SocketType::Router));
    let [Event::Ready(dealer)] = &right[..] else {
        panic!("{right:?}")
    };
    assert_eq!(dealer.version, (3, 1));
    assert_eq!(dealer.socket_type, Some(SocketType::Dealer));
    assert!(pair.left.is_ready() && pair.right.is_ready());
    let sent = messages(30);
    for message in &sent {
        pair.left.send(message.clone());
        pair.right.send(message.clone());
    }
    let sent: Vec<_> = sent.into_iter().map(Event::Message).collect();
    let (left, right) = pair.run().unwrap();
    assert!(left == sent && right == sent);
}

#[test]
fn peers_tell_each_other_their_routing_ids_and_properties() {
    let mut req = Config::new(SocketType::Req);
    req.routing_id = "me".into();
    req.properties = vec![("X-Colour".into(), b"red".to_vec())];
    let mut pair = Pair::with_configs(req, Config::new(SocketType::Router));
    let (left, right) = pair.run().unwrap();
    let property = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
    let peer = PeerInfo {
        version: (3, 1),
        socket_type: Some(SocketType::Req),
        routing_id: "me".into(),
        properties: vec![
            property("Socket-Type", b"REQ"),
            property("Identity", b"me"),
            property("X-Colour", b"red"),
        ],
    };
    assert_eq!(right, [Event::Ready(peer)]);
    assert!(matches!(&left[..], [Event::Ready(peer)] if peer.routing_id.is_empty()));
}

#[test]
fn only_the_signature_and_the_major_version_are_sent_unasked() {
    let mut connection = Connection::new(Config::new(SocketType::Req), epoch());
    assert_eq!(written(&mut connection), OPENING);
    assert!(!connection.is_ready());
    let greeting = &handshake(SocketType::Req, (3, 1))[..64];
    events(&mut connection, &greeting[..10], epoch()).unwrap();
    assert_eq!(connection.transmit_len(), 0);
    events(&mut connection, &greeting[10..11], epoch()).unwrap();
    let rest = written(&mut connection);
    assert_eq!(rest[..5], *b"\x01NULL");
    assert_eq!(rest[53..61], *b"\x04\x26\x05READY");
    events(&mut connection, &greeting[11..], epoch()).unwrap();
    assert_eq!(connection.transmit_len(), 0, "READY goes once");
}

#[test]
fn input_cut_at_every_byte_gives_the_same_events() {
    let config = Config::new(SocketType::Dealer);
    let mut input = handshake(SocketType::Dealer, (3, 1));
    let mut sender = ready_connection(config.clone(), (3, 1), epoch());
    for length in [3, 0, 64, 65, 256] {
        let body = Frame::from(vec![length as u8; length]);
        sender.send(body.clone().into());
        sender.send(Message::from_frames(vec![body.clone(), "".into(), body]));
    }
    input.extend(command("PING", b"\0\x05context"));
    input.extend(written(&mut sender));
    let whole = events(
        &mut Connection::new(config.clone(), epoch()),
        &input,
        epoch(),
    )
    .unwrap();
    assert_eq!(whole.len(), 11);
    for cut in 0..=input.len() {
        let mut connection = Connection::new(config.clone(), epoch());
        let mut got = events(&mut connection, &input[..cut], epoch()).unwrap();
        got.extend(events(&mut connection, &input[cut..], epoch()).unwrap());
        assert!(got == whole, "cut at {cut}");
    }
    let mut connection = Connection::new(config, epoch());
    let mut got = Vec::new();
    for byte in &input {
        got.extend(events(&mut connection, &[*byte], epoch()).unwrap());
    }
    assert!(got == whole);
}

#[test]
fn caller_may_stop_between_two_events_and_keep_its_input() {
    let mut connection = ready_connection(Config::new(SocketType::Pull), (3, 1), epoch());
    let mut input = &b"\0\x01a\0\x01b"[..];
    let first = connection.receive(&mut input, epoch()).unwrap();
    assert_eq!(first, Some(Event::Message("a".into())));
    assert_eq!(input, b"\0\x01b");
}

#[test]
fn large_frame_can_be_read_straight_into_its_place() {
    let mut sender = ready_connection(Config::new(SocketType::Push), (3, 1), epoch());
    let payload: Vec<u8> = (0..1_000_000).map(|index| (index % 251) as u8).collect();
    sender.send(Frame::from(payload).into());
    sender.send("next".into());
    let bytes = written(&mut sender);
    let mut connection = ready_connection(Config::new(SocketType::Pull), (3, 1), epoch());
    let mut got = events(&mut connection, &bytes[..1000], epoch()).unwrap();
    let mut rest = &bytes[1000..];
    let mut direct = 0;
    while !rest.is_empty() {
        let (now, after) = match connection.body_buffer() {
            Some(body) => {
                let (now, after) = rest.split_at(body.capacity() - body.len());
                body.extend_from_slice(now);
                direct += now.len();
                (&[][..], after)
            }
            None => (rest, &[][..]),
        };
        got.extend(events(&mut connection, now, epoch()).unwrap());
        rest = after;
    }
    assert!(direct > 900_000);
    let [Event::Message(large), Event::Message(next)] = &got[..] else {
        panic!("{} events", got.len())
    };
    assert!(*large.first() == bytes[9..1_000_009]);
    assert_eq!(*next, Message::from("next"));
    let large = large.single().unwrap().shared().unwrap();
    assert!(large.is_unique(), "nothing else holds the body");
}

#[test]
fn more_than_the_frame_in_the_body_buffer_is_further_input() {
    let mut connection = ready_connection(Config::new(SocketType::Pull), (3, 1), epoch());
    let header = b"\x02\0\0\0\0\0\0\x40\0";
    events(&mut connection, header, epoch()).unwrap();
    let body = connection.body_buffer().unwrap();
    body.extend_from_slice(&[7; 0x4000]);
    body.extend_from_slice(b"\0\x01a\0\x01b\0\x01");
    let got = events(&mut connection, b"c", epoch()).unwrap();
    let large = Message::from(&[7; 0x4000]);
    let expected = [large, "a".into(), "b".into(), "c".into()].map(Event::Message);
    assert_eq!(got, expected);
}

#[test]
fn idle_connection_owns_next_to_nothing() {
    let mut pair = Pair::new(SocketType::Dealer, SocketType::Router);
    pair.run().unwrap();
    for message in messages(30) {
        pair.left.send(message);
    }
    pair.run().unwrap();
    for connection in [&pair.left, &pair.right] {
        let owned = size_of::<Connection>() + connection.memory();
        assert!(owned < 1024, "{owned} bytes");
    }
}

#[test]
fn subscriptions_travel_as_commands_to_a_3_1_peer() {
    let mut sub = ready_connection(Config::new(SocketType::Sub), (3, 1), epoch());
    sub.send(b"\x01topic".into());
    sub.send(b"\0topic".into());
    assert_eq!(
        written(&mut sub),
        b"\x04\x0F\x09SUBSCRIBEtopic\x04\x0C\x06CANCELtopic"
    );
    let mut xsub = ready_connection(Config::new(SocketType::Xsub), (3, 1), epoch());
    xsub.send(b"\x02user".into());
    xsub.send(Message::from_frames(vec![b"\x01a".into(), b"b".into()]));
    xsub.send("".into());
    assert_eq!(
        written(&mut xsub),
        b"\0\x05\x02user\x01\x02\x01a\0\x01b\0\0"
    );
}

#[test]
fn subscriptions_travel_as_messages_to_older_peers() {
    for version in [(3, 0), (2, 0)] {
        let mut sub = ready_connection(Config::new(SocketType::Sub), version, epoch());
        sub.send(b"\x01topic".into());
        assert_eq!(written(&mut sub), b"\0\x06\x01topic");
    }
}

#[test]
fn subscriptions_of_every_length_arrive_the_same_in_every_form() {
    for version in [(3, 1), (3, 0), (2, 0)] {
        for length in [
            0,
            1,
            63,
            64,
            244,
            245,
            246,
            254,
            255,
            256,
            257,
            20_000,
            1 << 20,
        ] {
            for kind in [0, 1] {
                let mut wanted = vec![kind];
                wanted.resize(length + 1, b'T');
                let mut sub = ready_connection(Config::new(SocketType::Xsub), version, epoch());
                sub.send(Frame::from(wanted.clone()).into());
                let bytes = written(&mut sub);
                let publisher = Config::new(SocketType::Xpub);
                let mut xpub = ready_connection(publisher, version, epoch());
                let got = events(&mut xpub, &bytes, epoch()).unwrap();
                let [Event::Message(got)] = &got[..] else {
                    panic!("{version:?} {length}: {} events", got.len())
                };
                assert!(got.is_single() && *got.first() == wanted);
            }
        }
    }
}

#[test]
fn subscription_between_the_frames_of_a_message_comes_first() {
    let mut xpub = ready_connection(Config::new(SocketType::Xpub), (3, 1), epoch());
    let input = [b"\x01\x01a", &command("SUBSCRIBE", b"t")[..], b"\0\x01b"].concat();
    let got = events(&mut xpub, &input, epoch()).unwrap();
    let user = Message::from_frames(vec!["a".into(), "b".into()]);
    assert_eq!(got, [b"\x01t".into(), user].map(Event::Message));
}

#[test]
fn ping_is_answered_with_its_context_and_never_delivered() {
    let mut connection = ready_connection(Config::new(SocketType::Pull), (3, 1), epoch());
    for context in [&b""[..], b"c", b"sixteen bytes it"] {
        let ping = command("PING", &[b"\0\0", context].concat());
        assert_eq!(events(&mut connection, &ping, epoch()).unwrap(), []);
        assert_eq!(written(&mut connection), command("PONG", context));
    }
}

#[test]
fn ping_goes_out_each_interval_and_the_silent_peer_is_dead() {
    let start = epoch();
    let config = with_heartbeat(SocketType::Pull);
    let mut connection = ready_connection(config, (3, 1), start);
    assert_eq!(connection.poll_timeout(), Some(start + 10 * SECOND));
    connection.handle_timeout(start + 9 * SECOND).unwrap();
    assert_eq!(connection.transmit_len(), 0);
    connection.handle_timeout(start + 10 * SECOND).unwrap();
    assert_eq!(written(&mut connection), b"\x04\x07\x04PING\0\x32");
    let pong = command("PONG", b"");
    events(&mut connection, &pong, start + 11 * SECOND).unwrap();
    connection.handle_timeout(start + 20 * SECOND).unwrap();
    assert_eq!(connection.poll_timeout(), Some(start + 23 * SECOND));
    let error = connection.handle_timeout(start + 23 * SECOND).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Silent);
    assert!(error.is_timeout() && !connection.is_ready());
}

#[test]
fn any_bytes_are_a_sign_of_life_also_of_an_unfinished_frame() {
    // A slow large message once killed the connection it travelled on.
    let start = epoch();
    let config = with_heartbeat(SocketType::Pull);
    let mut connection = ready_connection(config, (3, 1), start);
    events(&mut connection, b"\x02\0\0\0\0\0\x10\0\0", start).unwrap();
    let mut now = start;
    for second in 1..60 {
        now = start + second * SECOND;
        let input = if second % 2 == 0 {
            &b"x"[..]
        } else {
            connection.body_buffer().unwrap().push(b'x');
            b""
        };
        assert_eq!(events(&mut connection, input, now).unwrap(), []);
        connection.handle_timeout(now).unwrap();
    }
    connection.handle_back_pressure(now + 2 * SECOND);
    connection.handle_timeout(now + 3 * SECOND).unwrap();
    assert!(connection.handle_timeout(now + 6 * SECOND).is_err());
}

#[test]
fn zmtp_2_0_peers_get_no_heartbeats() {
    let config = with_heartbeat(SocketType::Pull);
    assert_eq!(
        ready_connection(config, (2, 0), epoch()).poll_timeout(),
        None
    );
}

#[test]
fn pings_to_a_peer_that_does_not_read_do_not_pile_up() {
    let start = epoch();
    let mut connection = ready_connection(with_heartbeat(SocketType::Pull), (3, 1), start);
    for second in 1..1000 {
        let now = start + second * SECOND;
        events(&mut connection, &command("PONG", b""), now).unwrap();
        connection.handle_timeout(now).unwrap();
    }
    assert_eq!(written(&mut connection), b"\x04\x07\x04PING\0\x32");
    connection.handle_timeout(start + 1010 * SECOND).unwrap();
    assert!(connection.transmit_len() > 0, "the next one goes again");
}

#[test]
fn handshake_is_given_up_at_its_deadline_whatever_trickles_in() {
    let start = epoch();
    let mut config = Config::new(SocketType::Pull);
    config.handshake_timeout = Some(30 * SECOND);
    let mut connection = Connection::new(config.clone(), start);
    assert_eq!(connection.poll_timeout(), Some(start + 30 * SECOND));
    for (second, byte) in (0..30).zip(handshake(SocketType::Pull, (3, 1))) {
        let now = start + second * SECOND;
        events(&mut connection, &[byte], now).unwrap();
        connection.handle_timeout(now).unwrap();
    }
    let error = connection.handle_timeout(start + 30 * SECOND).unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(
        error.to_string(),
        "the peer did not finish the handshake within 30s: 30 of the 64 bytes of its greeting came"
    );
    let ready = ready_connection(config, (3, 1), start);
    assert_eq!(ready.poll_timeout(), None);
}

#[test]
fn raw_mode_carries_bytes_as_they_are() {
    let mut stream = Connection::new(Config::new(SocketType::Stream), epoch());
    assert_eq!(stream.transmit_len(), 0);
    assert!(!stream.is_ready());
    let got = events(&mut stream, b"", epoch()).unwrap();
    let [Event::Ready(peer)] = &got[..] else {
        panic!("{got:?}")
    };
    assert_eq!((peer.version, peer.socket_type), ((0, 0), None));
    assert!(stream.is_ready());
    let got = events(&mut stream, &[b'G'; 10_000], epoch()).unwrap();
    assert_eq!(got.len(), 2);
    assert_eq!(got[1], Event::Message(Message::from(&[b'G'; 1808])));
    stream.send("".into());
    assert_eq!(stream.transmit_len(), 0);
    stream.send(Message::from_frames(vec!["HTTP/1.1 ".into(), "200".into()]));
    stream.send(Message::from(&[b'x'; 100_000]));
    let bytes = written(&mut stream);
    assert!(bytes.starts_with(b"HTTP/1.1 200x") && bytes.len() == 100_012);
    assert_eq!(stream.poll_timeout(), None);
}

#[test]
fn failed_connection_repeats_its_error_and_drops_what_is_sent() {
    let mut connection = ready_connection(Config::new(SocketType::Pull), (3, 1), epoch());
    let error = events(&mut connection, &[0xFF], epoch()).unwrap_err();
    assert!(!connection.is_ready());
    let again = events(&mut connection, b"\0\x01a", epoch()).unwrap_err();
    assert_eq!(error.to_string(), again.to_string());
    assert!(connection.handle_timeout(epoch()).is_err());
    connection.send("lost".into());
    assert_eq!(connection.transmit_len(), 0);
}

#[test]
#[should_panic(expected = "before the connection was ready")]
fn sending_before_ready_is_a_mistake_of_the_caller() {
    Connection::new(Config::new(SocketType::Push), epoch()).send("x".into());
}

#[test]
fn connection_can_move_to_another_thread() {
    fn check<T: Send>() {}
    check::<Connection>();
}
