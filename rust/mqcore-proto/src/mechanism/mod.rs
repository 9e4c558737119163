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
