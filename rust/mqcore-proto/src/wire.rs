//! How a frame stands on the wire: flags, length, body.
//!
//! ```text
//! [flags][length, 1 byte ][body]     up to 255 bytes
//! [flags][length, 8 bytes][body]     LONG is set
//! ```

use crate::error::{ErrorKind, ProtocolError};

/// Another frame of the same message follows.
pub(crate) const MORE: u8 = 0x01;
/// The length has eight bytes.
pub(crate) const LONG: u8 = 0x02;
/// The frame is a command (ZMTP 3.x).
pub(crate) const COMMAND: u8 = 0x04;

/// The longest header.
pub(crate) const HEADER_MAX: usize = 9;

/// A parsed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) more: bool,
    pub(crate) command: bool,
    /// Invariant: at most `isize::MAX`, as any length in memory.
    pub(crate) length: usize,
}

impl Header {
    /// Parses the header that `bytes` begin with and returns how long it is, or `None` while it is
    /// cut. Impossible flags are refused from the first byte on.
    #[inline]
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some(&flags) = bytes.first() else {
            return Ok(None);
        };
        if flags & !(MORE | LONG | COMMAND) != 0 || flags & (MORE | COMMAND) == MORE | COMMAND {
            return Err(wrong_flags(flags));
        }
        let (length, size) = if flags & LONG == 0 {
            match bytes.get(1) {
                Some(&length) => (usize::from(length), 2),
                None => return Ok(None),
            }
        } else {
            match bytes[1..].first_chunk() {
                Some(length) => (long_length(u64::from_be_bytes(*length))?, HEADER_MAX),
                None => return Ok(None),
            }
        };
        let header = Self {
            more: flags & MORE != 0,
            command: flags & COMMAND != 0,
            length,
        };
        Ok(Some((header, size)))
    }

    /// Writes the header.
    #[inline]
    pub(crate) fn put(self, out: &mut Vec<u8>) {
        let flags = if self.more { MORE } else { 0 } | if self.command { COMMAND } else { 0 };
        match u8::try_from(self.length) {
            Ok(length) => out.extend_from_slice(&[flags, length]),
            Err(_) => {
                let mut bytes = [0; HEADER_MAX];
                bytes[0] = flags | LONG;
                bytes[1..].copy_from_slice(&(self.length as u64).to_be_bytes());
                out.extend_from_slice(&bytes);
            }
        }
    }
}

#[cold]
fn wrong_flags(flags: u8) -> ProtocolError {
    let text = if flags & (MORE | COMMAND) == MORE | COMMAND {
        format!("sent a frame with the flags {flags:02X}: a command cannot have MORE")
    } else {
        format!("sent a frame with the flags {flags:02X}: only the bits 07 have a meaning")
    };
    ProtocolError::new(ErrorKind::MalformedFrame, text)
}

fn long_length(length: u64) -> Result<usize, ProtocolError> {
    isize::try_from(length)
        .map(isize::unsigned_abs)
        .map_err(|_| {
            ProtocolError::new(
                ErrorKind::Oversize,
                format!("announced a frame of {length} bytes, more than any memory can hold"),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(bytes: &[u8]) -> ErrorKind {
        Header::parse(bytes).unwrap_err().kind()
    }

    #[test]
    fn header_leads_back_to_itself_and_is_long_from_256_bytes_on() {
        for length in [0, 1, 255, 256, 65_536, isize::MAX.unsigned_abs()] {
            for (more, command) in [(false, false), (true, false), (false, true)] {
                let header = Header {
                    more,
                    command,
                    length,
                };
                let mut bytes = Vec::new();
                header.put(&mut bytes);
                assert_eq!(bytes.len(), if length < 256 { 2 } else { 9 });
                let size = bytes.len();
                assert_eq!(Header::parse(&bytes).unwrap(), Some((header, size)));
                for cut in 0..size {
                    assert_eq!(Header::parse(&bytes[..cut]).unwrap(), None);
                }
            }
        }
    }

    #[test]
    fn long_form_of_a_short_length_is_understood() {
        let (header, size) = Header::parse(&[2, 0, 0, 0, 0, 0, 0, 0, 5])
            .unwrap()
            .unwrap();
        assert_eq!((header.length, size), (5, 9));
    }

    #[test]
    fn reserved_flag_bits_and_command_with_more_are_refused_at_the_first_byte() {
        for flags in 0..=u8::MAX {
            let good = matches!(flags, 0 | 1 | 2 | 3 | 4 | 6);
            if good {
                assert_eq!(Header::parse(&[flags]).unwrap(), None);
            } else {
                assert_eq!(kind(&[flags]), ErrorKind::MalformedFrame, "{flags:02X}");
            }
        }
    }

    #[test]
    fn length_beyond_all_memory_is_refused() {
        assert_eq!(kind(b"\x02\x80\0\0\0\0\0\0\0"), ErrorKind::Oversize);
        assert_eq!(
            kind(&[2, 255, 255, 255, 255, 255, 255, 255, 255]),
            ErrorKind::Oversize
        );
        assert!(Header::parse(b"\x02\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF").is_ok());
    }
}
