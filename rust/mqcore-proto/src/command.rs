//! Commands: the frames in which two ZMTP 3.x peers talk about the connection itself.
//!
//! A body is `[name length][name][data]`. Parsing gives a value; what a command means where it
//! came is the connection's business.

use std::time::Duration;

use crate::error::{ErrorKind, ProtocolError, Quoted, code};

/// The longest context of a PING (RFC 37).
pub(crate) const CONTEXT_LIMIT: usize = 16;

/// Name and data of one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Command<'a> {
    /// Never empty.
    pub(crate) name: &'a [u8],
    pub(crate) data: &'a [u8],
}

impl<'a> Command<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let malformed = |text| ProtocolError::new(ErrorKind::MalformedCommand, text);
        let Some((&length, rest)) = body.split_first() else {
            return Err(malformed("sent an empty command frame".into()));
        };
        match rest.split_at_checked(usize::from(length)) {
            None => Err(malformed(format!(
                "sent a command whose name has {length} bytes in a frame of {}",
                body.len()
            ))),
            Some(([], _)) => Err(malformed("sent a command without a name".into())),
            Some((name, data)) => Ok(Self { name, data }),
        }
    }

    /// The reason in an ERROR command, as the error it is for us.
    pub(crate) fn into_rejection(self) -> ProtocolError {
        let reason = self
            .data
            .split_first()
            .and_then(|(&length, rest)| rest.get(..usize::from(length)));
        match reason {
            Some(reason) => ProtocolError::rejected(reason),
            None => ProtocolError::new(
                ErrorKind::MalformedCommand,
                format!(
                    "sent an ERROR command with a cut reason: {}",
                    Quoted(self.data)
                ),
            )
            .with_code(code::MALFORMED_ERROR),
        }
    }

    /// A command that came where it may not.
    pub(crate) fn into_unexpected(self, place: &str) -> ProtocolError {
        ProtocolError::new(
            ErrorKind::UnexpectedCommand,
            format!("sent the command {} {place}", Quoted(self.name)),
        )
    }
}

/// The data of a PING.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ping<'a> {
    /// How long the peer wants us to wait for its next bytes; zero for ever.
    pub(crate) ttl: Duration,
    /// To be sent back. Invariant: at most [`CONTEXT_LIMIT`] bytes.
    pub(crate) context: &'a [u8],
}

impl<'a> Ping<'a> {
    pub(crate) fn parse(data: &'a [u8]) -> Result<Self, ProtocolError> {
        let Some((ttl, context)) = data.split_first_chunk() else {
            return Err(ProtocolError::new(
                ErrorKind::MalformedCommand,
                format!("sent a PING with {} of the 2 bytes of its TTL", data.len()),
            ));
        };
        check_context("PING", context)?;
        let tenths = u64::from(u16::from_be_bytes(*ttl));
        Ok(Self {
            ttl: Duration::from_millis(tenths * 100),
            context,
        })
    }
}

/// Refuses a PING or PONG context that is too long.
pub(crate) fn check_context(name: &str, context: &[u8]) -> Result<(), ProtocolError> {
    if context.len() > CONTEXT_LIMIT {
        return Err(ProtocolError::new(
            ErrorKind::MalformedCommand,
            format!(
                "sent a {name} with a context of {} bytes; at most {CONTEXT_LIMIT} are allowed",
                context.len()
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_data_are_taken_apart() {
        let command = Command::parse(b"\x09SUBSCRIBEtopic").unwrap();
        assert_eq!(
            (command.name, command.data),
            (&b"SUBSCRIBE"[..], &b"topic"[..])
        );
        assert_eq!(Command::parse(b"\x04PONG").unwrap().data, b"");
    }

    #[test]
    fn empty_command_frame_and_name_longer_than_the_frame_are_refused() {
        for body in [&b""[..], b"\0", b"\0data", b"\x05PING", b"\xFF"] {
            let error = Command::parse(body).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::MalformedCommand, "{body:?}");
        }
    }

    #[test]
    fn error_command_tells_its_reason_and_a_cut_one_says_so() {
        let error = |data| {
            Command {
                name: b"ERROR",
                data,
            }
            .into_rejection()
        };
        assert_eq!(error(b"\x03400").reason(), Some("400"));
        assert_eq!(error(b"\0").reason(), Some(""));
        for data in [&b""[..], b"\x04400"] {
            assert_eq!(error(data).kind(), ErrorKind::MalformedCommand);
            assert_eq!(error(data).monitor_code(), code::MALFORMED_ERROR);
        }
    }

    #[test]
    fn ping_shorter_than_its_ttl_or_with_a_long_context_is_refused() {
        for data in [&b""[..], b"\0", &[0; 2 + 17]] {
            let error = Ping::parse(data).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::MalformedCommand, "{data:?}");
        }
        assert_eq!(Ping::parse(&[0; 2 + 16]).unwrap().context, [0; 16]);
    }

    #[test]
    fn every_ping_ttl_is_taken_as_it_is() {
        for tenths in 0..=u16::MAX {
            let ping = Ping::parse(&tenths.to_be_bytes()).unwrap().ttl;
            assert_eq!(ping.as_millis(), u128::from(tenths) * 100);
        }
    }
}
