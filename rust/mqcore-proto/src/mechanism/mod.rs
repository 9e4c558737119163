//! Security mechanisms: who may come in, and how frames are protected afterwards.
//!
//! ```text
//! MechanismConfig ──▶ Handshake ──step, step, …──▶ Done { metadata, cipher }
//! ```
//!
//! A mechanism is one file with a [`Handshake`] and, if it protects frames, a [`Cipher`]. A
//! verdict that must come from outside (ZAP) will be an event of the connection and a call back
//! into it: a handshake never calls out.

mod null;

use crate::command::Command;
use crate::error::ProtocolError;
use crate::greeting::MechanismName;
use crate::metadata::Metadata;
use crate::transmit::Transmit;
use crate::wire::Header;
use crate::{Frame, SocketType};

/// The mechanism both sides must have, with what it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MechanismConfig {
    /// RFC 23: no security.
    #[default]
    Null,
}

impl MechanismConfig {
    /// The name in the greeting.
    pub(crate) fn name(&self) -> MechanismName {
        match self {
            Self::Null => *b"NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        }
    }

    /// Whether a ZMTP 2.0 peer, which knows no mechanisms, may be spoken to.
    pub(crate) fn allows_legacy(&self) -> bool {
        match self {
            Self::Null => true,
        }
    }

    /// Whether one side is the server and the other the client. RFC 23: with NULL the as-server
    /// field of the greeting MUST be zero.
    pub(crate) fn has_roles(&self) -> bool {
        match self {
            Self::Null => false,
        }
    }

    /// Begins a handshake. `metadata` is what we tell about ourselves, encoded.
    pub(crate) fn handshake(
        &self,
        own: SocketType,
        _as_server: bool, // NULL has no roles
        metadata: Vec<u8>,
    ) -> Box<dyn Handshake> {
        match self {
            Self::Null => Box::new(null::Null::new(own, metadata)),
        }
    }
}

/// One side of a handshake in progress. Commands go out through `transmit`.
///
/// Order: `start` once, then `step` for each command of the peer until it returns [`Done`].
/// ERROR commands never get here: they mean the same in all mechanisms.
pub(crate) trait Handshake: Send {
    /// Whether `start` may come before the peer's mechanism is known, which saves a flight:
    /// only if the first command tells nothing that needs protection.
    fn starts_early(&self) -> bool {
        false
    }

    /// Says what we say unasked.
    fn start(&mut self, transmit: &mut Transmit);

    /// Takes the peer's next command; `None` means that another one has to come.
    fn step(
        &mut self,
        command: Command<'_>,
        transmit: &mut Transmit,
    ) -> Result<Option<Done>, ProtocolError>;
}

/// The end of a handshake: the peer is who it says.
pub(crate) struct Done {
    pub(crate) metadata: Metadata,
    /// Protects every frame from now on; `None` leaves them as they are.
    pub(crate) cipher: Option<Box<dyn Cipher>>,
}

/// Protects frames. A sealed frame travels without flags; they are inside.
pub(crate) trait Cipher: Send {
    /// How many bytes sealing adds to a payload.
    fn overhead(&self) -> usize;

    /// Seals one frame of ours.
    fn seal(&mut self, more: bool, command: bool, payload: &[u8]) -> Vec<u8>;

    /// Opens one frame of the peer's: its real header and payload.
    fn open(&mut self, sealed: &[u8]) -> Result<(Header, Frame), ProtocolError>;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::{Pair, command, epoch, events, handshake, messages, written};
    use crate::{Config, Connection, ErrorKind, Event, Heartbeat, Limits, Message, metadata};

    const SECOND: Duration = Duration::from_secs(1);

    /// A mechanism for tests: the client speaks first, the server answers, then both seal frames
    /// by putting their flags in front of the payload, all bits turned.
    struct Mirror {
        own: SocketType,
        client: bool,
    }

    struct MirrorCipher;

    impl Handshake for Mirror {
        fn start(&mut self, transmit: &mut Transmit) {
            if self.client {
                transmit.push_command("HELLO", metadata::encode(self.own, b"", &[]).into());
            }
        }

        fn step(
            &mut self,
            command: Command<'_>,
            transmit: &mut Transmit,
        ) -> Result<Option<Done>, ProtocolError> {
            let own = || Frame::from(metadata::encode(self.own, b"", &[]));
            match (self.client, command.name) {
                (false, b"HELLO") => {
                    transmit.push_command("WELCOME", Frame::empty());
                    Ok(None)
                }
                (true, b"WELCOME") => {
                    transmit.push_command("INITIATE", own());
                    Ok(None)
                }
                (false, b"INITIATE") | (true, b"READY") => {
                    if !self.client {
                        transmit.push_command("READY", own());
                    }
                    Ok(Some(Done {
                        metadata: Metadata::parse(command.data, self.own)?,
                        cipher: Some(Box::new(MirrorCipher)),
                    }))
                }
                _ => Err(command.into_unexpected("out of order")),
            }
        }
    }

    impl Cipher for MirrorCipher {
        fn overhead(&self) -> usize {
            1
        }

        fn seal(&mut self, more: bool, command: bool, payload: &[u8]) -> Vec<u8> {
            let flags = [u8::from(more) | u8::from(command) << 1];
            flags.iter().chain(payload).map(|byte| !byte).collect()
        }

        fn open(&mut self, sealed: &[u8]) -> Result<(Header, Frame), ProtocolError> {
            let clear: Vec<u8> = sealed.iter().map(|byte| !byte).collect();
            let (flags, payload) = clear.split_first().ok_or_else(|| {
                ProtocolError::new(ErrorKind::MalformedFrame, "sent an empty box")
            })?;
            let header = Header {
                more: flags & 1 != 0,
                command: flags & 2 != 0,
                length: payload.len(),
            };
            Ok((header, Frame::from(payload)))
        }
    }

    fn mirrored(config: Config, client: bool) -> Connection {
        let own = config.socket_type;
        Connection::with_handshake(config, Box::new(Mirror { own, client }), epoch())
    }

    /// A SUB that is the client and an XPUB that is the server.
    fn mirrored_pair(limits: Limits) -> Pair {
        let publisher = Config {
            limits,
            heartbeat: Some(Heartbeat {
                interval: 10 * SECOND,
                timeout: 3 * SECOND,
                ttl: 50,
            }),
            ..Config::new(SocketType::Xpub)
        };
        let mut pair = Pair {
            left: mirrored(Config::new(SocketType::Xsub), true),
            right: mirrored(publisher, false),
            now: epoch(),
        };
        let (left, right) = pair.run().unwrap();
        assert!(matches!(left[..], [Event::Ready(_)]) && matches!(right[..], [Event::Ready(_)]));
        pair
    }

    #[test]
    fn mechanism_with_steps_that_is_no_early_starter_waits_for_the_whole_greeting() {
        let mut client = mirrored(Config::new(SocketType::Req), true);
        let greeting = &handshake(SocketType::Req, (3, 1))[..64];
        events(&mut client, &greeting[..63], epoch()).unwrap();
        assert_eq!(written(&mut client).len(), 64);
        events(&mut client, &greeting[63..], epoch()).unwrap();
        assert!(written(&mut client).starts_with(b"\x04\x26\x05HELLO"));
    }

    #[test]
    fn sealed_messages_subscriptions_and_heartbeats_come_through() {
        let mut pair = mirrored_pair(Limits::default());
        let mut sent = messages(12);
        sent.push(b"\x01topic".into());
        for message in &sent {
            pair.left.send(message.clone());
            pair.right.send(message.clone());
        }
        let sent: Vec<_> = sent.into_iter().map(Event::Message).collect();
        let (left, right) = pair.run().unwrap();
        assert!(left == sent && right == sent);

        pair.right.handle_timeout(pair.now + 10 * SECOND).unwrap();
        let ping = written(&mut pair.right);
        assert_eq!(ping[..2], [0, 8], "flags and kind are hidden");
        events(&mut pair.left, &ping, pair.now).unwrap();
        let pong = written(&mut pair.left);
        assert_eq!(pong.len(), 2 + 6);
        events(&mut pair.right, &pong, pair.now + 11 * SECOND).unwrap();
        pair.right.handle_timeout(pair.now + 19 * SECOND).unwrap();
    }

    #[test]
    fn frames_in_clear_are_refused_once_frames_are_sealed() {
        for bytes in [&command("PING", b"\0\0")[..], b"\x01\x01x"] {
            let mut pair = mirrored_pair(Limits::default());
            let error = events(&mut pair.right, bytes, pair.now).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedCommand);
        }
    }

    #[test]
    fn limits_hold_for_what_is_inside_a_sealed_frame() {
        let limits = Limits {
            max_frame: Some(100),
            max_parts: 2,
            max_message: 150,
            max_prefix: 10,
        };
        let part = |length: usize| Frame::from(vec![b'x'; length]);
        let cases = [
            (Message::from(part(100)), true),
            (Message::from(part(101)), false),
            (Message::from_frames(vec![part(75), part(75)]), true),
            (Message::from_frames(vec![part(75), part(76)]), false),
            (Message::from_frames(vec![part(1), part(1), part(1)]), false),
            (Message::from(b"\x011234567890"), true),
            (Message::from(b"\x011234567890a"), false),
        ];
        for (message, good) in cases {
            let mut pair = mirrored_pair(limits.clone());
            pair.left.send(message.clone());
            assert_eq!(pair.run().is_ok(), good, "{message:?}");
        }
    }
}
