//! NULL (RFC 23): no security. Both sides send READY right after the greeting.
//!
//! ```text
//! start ──READY out──▶ waiting ──READY in──▶ done
//! ```

use super::{Done, Handshake};
use crate::command::Command;
use crate::error::ProtocolError;
use crate::metadata::Metadata;
use crate::transmit::Transmit;
use crate::{Frame, SocketType};

/// A NULL handshake.
pub(crate) struct Null {
    own: SocketType,
    metadata: Vec<u8>,
}

impl Null {
    pub(crate) fn new(own: SocketType, metadata: Vec<u8>) -> Self {
        Self { own, metadata }
    }
}

impl Handshake for Null {
    /// READY goes to everybody who asks, so it may as well go at once.
    fn starts_early(&self) -> bool {
        true
    }

    fn start(&mut self, transmit: &mut Transmit) {
        let metadata = std::mem::take(&mut self.metadata);
        transmit.push_command("READY", Frame::from(metadata));
    }

    fn step(
        &mut self,
        command: Command<'_>,
        _transmit: &mut Transmit,
    ) -> Result<Option<Done>, ProtocolError> {
        match command.name {
            b"READY" => Ok(Some(Done {
                metadata: Metadata::parse(command.data, self.own)?,
                cipher: None,
            })),
            _ => Err(command.into_unexpected("instead of READY")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::metadata;

    fn null(own: SocketType) -> Null {
        Null::new(own, metadata::encode(own, b"", &[]))
    }

    fn step(name: &[u8], data: &[u8]) -> Result<Option<Done>, ProtocolError> {
        null(SocketType::Router).step(Command { name, data }, &mut Transmit::default())
    }

    #[test]
    fn ready_is_sent_unasked() {
        let mut transmit = Transmit::default();
        null(SocketType::Pull).start(&mut transmit);
        let mut slices = [std::io::IoSlice::new(&[]); 1];
        transmit.slices(&mut slices);
        assert_eq!(
            &*slices[0],
            b"\x04\x1A\x05READY\x0BSocket-Type\0\0\0\x04PULL"
        );
    }

    #[test]
    fn ready_ends_the_handshake() {
        let data = metadata::encode(SocketType::Req, b"me", &[]);
        let done = step(b"READY", &data).unwrap().unwrap();
        assert_eq!(done.metadata.routing_id, Frame::from("me"));
        assert!(done.cipher.is_none());
    }

    #[test]
    fn other_commands_before_ready_are_refused() {
        for name in [&b"PING"[..], b"HELLO", b"SUBSCRIBE", b"ready"] {
            let error = step(name, b"").err().unwrap();
            assert_eq!(error.kind(), ErrorKind::UnexpectedCommand);
        }
    }
}
