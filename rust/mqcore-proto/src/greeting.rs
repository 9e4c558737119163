//! The greeting: the bytes in which two peers find out which ZMTP both speak.
//!
//! ```text
//! offset  0   1..9     9   10     11     12..32     32         33..64
//!         FF  padding  7F  major  minor  mechanism  as-server  filler     ZMTP 3.x, 64 bytes
//!         FF  padding  7F  01     socket type                             ZMTP 2.0, 12 bytes
//! ```
//!
//! We send the signature with our major version, and the rest when the peer's major version is
//! known, because a ZMTP 2.0 peer (RFC 15) takes the next byte for our socket type.

use crate::SocketType;
use crate::error::{ErrorKind, ProtocolError, Quoted};

/// Length of a ZMTP 3.x greeting.
pub(crate) const LENGTH: usize = 64;

/// What we send at once: the signature (RFC 37: padding is ours to choose) and the major version.
pub(crate) const OPENING: [u8; 11] = [0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F, 3];

/// Offset of the last byte of the signature.
const SIGNATURE_END: usize = 9;
/// Offset of the major version.
const MAJOR: usize = 10;
/// Offset of the minor version, or of a ZMTP 2.0 peer's socket type.
const MINOR: usize = 11;

/// The name of a mechanism as it stands in the greeting: padded with zeros.
pub(crate) type MechanismName = [u8; 20];

/// The ZMTP that both sides speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// RFC 15: no commands, the identity is the first frame.
    V2_0,
    /// RFC 23: subscriptions are messages.
    V3_0,
    /// RFC 37: subscriptions are commands.
    V3_1,
}

impl Version {
    /// Major and minor number.
    pub(crate) const fn numbers(self) -> (u8, u8) {
        match self {
            Self::V2_0 => (2, 0),
            Self::V3_0 => (3, 0),
            Self::V3_1 => (3, 1),
        }
    }
}

/// What a greeting has told so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Not even the major version.
    Nothing,
    /// A ZMTP 3.x peer: the rest of our greeting can go out.
    Modern,
    /// A ZMTP 2.0 peer: the rest of our greeting for it can go out.
    Legacy,
    /// A whole ZMTP 2.0 greeting, with the peer's socket type number.
    LegacyComplete(u8),
    /// A whole ZMTP 3.x greeting.
    Complete(Version, MechanismName),
}

/// The peer's greeting while it arrives.
#[derive(Clone, Debug)]
pub(crate) struct Greeting {
    bytes: [u8; LENGTH],
    /// Invariant: `length <= LENGTH`, and the bytes before it were found good.
    length: usize,
}

impl Greeting {
    pub(crate) const fn new() -> Self {
        Self {
            bytes: [0; LENGTH],
            length: 0,
        }
    }

    /// How many bytes have come.
    pub(crate) const fn len(&self) -> usize {
        self.length
    }

    /// Takes what belongs to the greeting off `input`.
    ///
    /// A wrong byte is refused as soon as it is there, whether or not others follow.
    pub(crate) fn receive(&mut self, input: &mut &[u8]) -> Result<Heard, ProtocolError> {
        loop {
            let heard = self.heard();
            if let Heard::LegacyComplete(_) | Heard::Complete(..) = heard {
                return Ok(heard);
            }
            let Some((&byte, rest)) = input.split_first() else {
                return Ok(heard);
            };
            self.check(byte, input)?;
            self.bytes[self.length] = byte;
            self.length += 1;
            *input = rest;
        }
    }

    fn heard(&self) -> Heard {
        match (self.length, self.bytes[MAJOR]) {
            (..=MAJOR, _) => Heard::Nothing,
            (MINOR, 1) => Heard::Legacy,
            (_, 1) => Heard::LegacyComplete(self.bytes[MINOR]),
            (..LENGTH, _) => Heard::Modern,
            (_, major) => {
                // A newer peer speaks our version to us (RFC 37: it SHALL accept lower ones).
                let version = match (major, self.bytes[MINOR]) {
                    (3, 0) => Version::V3_0,
                    _ => Version::V3_1,
                };
                let mut mechanism = [0; 20];
                mechanism.copy_from_slice(&self.bytes[12..32]);
                Heard::Complete(version, mechanism)
            }
        }
    }

    /// Refuses what no ZMTP 2.0 or 3.x peer sends; `input` begins with `byte`.
    fn check(&self, byte: u8, input: &[u8]) -> Result<(), ProtocolError> {
        match self.length {
            0 if byte != 0xFF => Err(ProtocolError::new(
                ErrorKind::NotZmtp,
                format!(
                    "does not speak ZMTP: its first bytes are {}, a greeting begins with FF",
                    Quoted(&input[..input.len().min(16)])
                ),
            )),
            SIGNATURE_END if byte & 1 == 0 => Err(ProtocolError::new(
                ErrorKind::NotZmtp,
                format!(
                    "does not speak ZMTP 2.0 or 3.x: byte 9 of its greeting is {byte:02X}, not 7F"
                ),
            )),
            MAJOR if byte == 0 => Err(ProtocolError::new(
                ErrorKind::Version,
                "speaks ZMTP 1.0 (revision 0); 2.0, 3.0 and 3.1 are spoken here",
            )),
            _ => Ok(()),
        }
    }
}

/// The rest of our greeting for a ZMTP 3.x peer.
pub(crate) fn modern_rest(mechanism: &MechanismName, as_server: bool) -> [u8; LENGTH - 11] {
    let mut rest = [0; LENGTH - 11];
    rest[0] = 1; // ZMTP 3.1
    rest[1..21].copy_from_slice(mechanism);
    rest[21] = u8::from(as_server);
    rest
}

/// The rest of our greeting for a ZMTP 2.0 peer; our identity goes after it as a frame.
pub(crate) fn legacy_rest(socket_type: SocketType) -> [u8; 1] {
    [socket_type as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NULL: &MechanismName = b"NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

    fn modern(major: u8, minor: u8) -> Vec<u8> {
        let mut bytes = [&OPENING[..], &modern_rest(NULL, false)].concat();
        bytes[MAJOR] = major;
        bytes[MINOR] = minor;
        bytes
    }

    fn hear(bytes: &[u8]) -> Result<Heard, ErrorKind> {
        Greeting::new()
            .receive(&mut &bytes[..])
            .map_err(|error| error.kind())
    }

    #[test]
    fn our_greeting_is_64_bytes_with_the_version_behind_the_signature() {
        let bytes = modern(3, 1);
        assert_eq!(bytes.len(), LENGTH);
        assert_eq!(bytes[..12], [0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F, 3, 1]);
        assert_eq!(&bytes[12..32], NULL);
        assert!(bytes[32..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn versions_are_told_apart() {
        assert_eq!(
            hear(&modern(3, 0)),
            Ok(Heard::Complete(Version::V3_0, *NULL))
        );
        for (major, minor) in [(3, 1), (3, 9), (4, 0), (255, 0)] {
            assert_eq!(
                hear(&modern(major, minor)),
                Ok(Heard::Complete(Version::V3_1, *NULL))
            );
        }
        assert_eq!(hear(&modern(1, 8)[..11]), Ok(Heard::Legacy));
        assert_eq!(hear(&modern(1, 8)), Ok(Heard::LegacyComplete(8)));
    }

    #[test]
    fn what_follows_the_greeting_stays_in_the_input() {
        let bytes = [&modern(3, 1)[..], b"more"].concat();
        let mut input = &bytes[..];
        Greeting::new().receive(&mut input).unwrap();
        assert_eq!(input, b"more");
        let mut input = &modern(1, 8)[..];
        Greeting::new().receive(&mut input).unwrap();
        assert_eq!(input.len(), LENGTH - 12);
    }

    #[test]
    fn the_rest_may_go_out_as_soon_as_the_major_version_is_there() {
        let bytes = modern(3, 1);
        let mut greeting = Greeting::new();
        for (count, byte) in bytes.iter().enumerate() {
            let heard = greeting.receive(&mut &[*byte][..]).unwrap();
            let expected = match count + 1 {
                ..=10 => Heard::Nothing,
                11..=63 => Heard::Modern,
                _ => Heard::Complete(Version::V3_1, *NULL),
            };
            assert_eq!(heard, expected, "after {} bytes", count + 1);
        }
    }

    #[test]
    fn first_byte_other_than_ff_is_refused_at_once() {
        for first in 0..=0xFE {
            assert_eq!(hear(&[first]), Err(ErrorKind::NotZmtp), "{first:02X}");
        }
        assert_eq!(hear(b"GET / HTTP/1.1\r\n"), Err(ErrorKind::NotZmtp));
        assert_eq!(hear(&[0x16, 3, 1, 2, 0, 1, 0]), Err(ErrorKind::NotZmtp));
    }

    #[test]
    fn zmtp_1_0_is_refused() {
        assert_eq!(
            hear(&[0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0]),
            Err(ErrorKind::NotZmtp)
        );
        assert_eq!(hear(&modern(0, 0)), Err(ErrorKind::Version));
    }
}
