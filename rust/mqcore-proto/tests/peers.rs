//! What other implementations really send, byte by byte, and what they expect from us.

use std::io::IoSlice;
use std::time::Instant;

use mqcore_proto::{Config, Connection, Event, Frame, Message, PeerInfo, SocketType};

/// Our side and a clock that stands still.
struct Us(Connection, Instant);

impl Us {
    fn new(config: Config) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "a fake clock has to begin somewhere"
        )]
        let now = Instant::now();
        Self(Connection::new(config, now), now)
    }

    fn hear(&mut self, mut bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.0.receive(&mut bytes, self.1).expect("a good peer") {
            events.push(event);
        }
        events
    }

    fn say(&mut self) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 16];
        let count = self.0.transmit_slices(&mut slices);
        let bytes: Vec<u8> = slices[..count]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect();
        self.0.transmitted(bytes.len());
        bytes
    }
}

const SIGNATURE: &[u8] = b"\xFF\0\0\0\0\0\0\0\x01\x7F";

/// Our signature and major version, then the rest for a ZMTP 3.x peer.
const OUR_OPENING: &[u8] = b"\xFF\0\0\0\0\0\0\0\x01\x7F\x03";

fn our_rest() -> Vec<u8> {
    let mut rest = b"\x01NULL".to_vec();
    rest.resize(53, 0);
    rest
}

/// The bytes of libzmq 4.3.5, in the pieces it sends them in.
#[test]
fn libzmq_4_3_sub_subscribes_to_us_in_zmtp_3_1() {
    let mut us = Us::new(Config::new(SocketType::Xpub));
    assert_eq!(us.say(), OUR_OPENING);
    us.hear(SIGNATURE);
    us.hear(b"\x03");
    let ready = b"\x04\x1A\x05READY\x0BSocket-Type\0\0\0\x04XPUB";
    assert_eq!(us.say(), [&our_rest()[..], ready].concat());
    let mut rest = b"\x01NULL".to_vec();
    rest.resize(53, 0);
    assert_eq!(us.hear(&rest), []);
    let events = us.hear(b"\x04\x19\x05READY\x0BSocket-Type\0\0\0\x03SUB\x04\x0D\x09SUBSCRIBEtop");
    let [Event::Ready(peer), Event::Message(subscription)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(peer.version, (3, 1));
    assert_eq!(peer.socket_type, Some(SocketType::Sub));
    assert_eq!(*subscription, Message::from(b"\x01top"));
    let events = us.hear(b"\x04\x0A\x06CANCELtop");
    assert_eq!(events, [Event::Message(Message::from(b"\0top"))]);
}

#[test]
fn libzmq_4_3_dealer_with_heartbeats_is_answered() {
    let mut us = Us::new(Config::new(SocketType::Router));
    us.hear(&[SIGNATURE, b"\x03", &our_rest()].concat());
    let events = us.hear(
        b"\x04\x29\x05READY\x0BSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\0\x04\x07\x04PING\0\x0A",
    );
    assert!(matches!(&events[..], [Event::Ready(peer)] if peer.routing_id.is_empty()));
    assert!(us.say().ends_with(b"\x04\x05\x04PONG"));
}

#[test]
fn zmtp_3_0_peer_subscribes_and_is_subscribed_to_with_messages() {
    let mut greeting = [SIGNATURE, b"\x03\0NULL"].concat();
    greeting.resize(64, 0);
    let mut xpub = Us::new(Config::new(SocketType::Xpub));
    let mut hello = greeting.clone();
    hello.extend(b"\x04\x19\x05READY\x0BSocket-Type\0\0\0\x03SUB\0\x04\x01top\0\x04\0top");
    let events = xpub.hear(&hello);
    let [Event::Ready(peer), subscribed, cancelled] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(peer.version, (3, 0));
    assert_eq!(*subscribed, Event::Message(b"\x01top".into()));
    assert_eq!(*cancelled, Event::Message(b"\0top".into()));

    let mut sub = Us::new(Config::new(SocketType::Sub));
    greeting.extend(b"\x04\x19\x05READY\x0BSocket-Type\0\0\0\x03PUB");
    sub.hear(&greeting);
    assert_eq!(
        sub.say(),
        [
            OUR_OPENING,
            &our_rest(),
            b"\x04\x19\x05READY\x0BSocket-Type\0\0\0\x03SUB"
        ]
        .concat()
    );
    // A prefix of 255 bytes makes a body of 256, which needs the long form.
    let mut subscription = vec![b'T'; 256];
    subscription[0] = 1;
    sub.0.send(Frame::from(&subscription[..]).into());
    let expected = [b"\x02\0\0\0\0\0\0\x01\0", &subscription[..]].concat();
    assert_eq!(sub.say(), expected);
}

#[test]
fn zmtp_2_0_peer_gets_the_short_greeting_and_our_identity_as_a_frame() {
    let mut config = Config::new(SocketType::Dealer);
    config.routing_id = "us".into();
    let mut us = Us::new(config);
    assert_eq!(us.say(), OUR_OPENING);
    assert_eq!(us.hear(SIGNATURE), []);
    assert_eq!(us.hear(b"\x01"), []);
    assert_eq!(us.say(), b"\x05\0\x02us");
    assert_eq!(us.hear(b"\x06"), []);
    let events = us.hear(b"\0\x04them\x01\x01a\0\x01b");
    let property = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
    let peer = PeerInfo {
        version: (2, 0),
        socket_type: Some(SocketType::Router),
        routing_id: "them".into(),
        properties: vec![
            property("Socket-Type", b"ROUTER"),
            property("Identity", b"them"),
        ],
    };
    let message = Message::from_frames(vec!["a".into(), "b".into()]);
    assert_eq!(events, [Event::Ready(peer), Event::Message(message)]);
    us.0.send("reply".into());
    assert_eq!(us.say(), b"\0\x05reply");
}

#[test]
fn zmtp_2_0_publisher_and_subscriber_exchange_subscriptions_as_messages() {
    let mut xpub = Us::new(Config::new(SocketType::Xpub));
    let events = xpub.hear(&[SIGNATURE, b"\x01\x02\0\0\0\x04\x01top"].concat());
    assert_eq!(events[1..], [Event::Message(b"\x01top".into())]);
    assert_eq!(xpub.say(), [OUR_OPENING, b"\x09\0\0"].concat());
}

#[test]
fn peer_that_greets_in_one_piece_needs_no_answer_in_between() {
    let mut us = Us::new(Config::new(SocketType::Pull));
    let hello = b"\x04\x1A\x05READY\x0BSocket-Type\0\0\0\x04PUSH\0\x05hello";
    let events = us.hear(&[SIGNATURE, b"\x03", &our_rest(), hello].concat());
    assert!(matches!(&events[..], [Event::Ready(_), Event::Message(_)]));
}
