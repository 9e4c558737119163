//! What a peer can do wrong.
//!
//! Every error here is the peer's doing, so its text says what the peer did, with the value. After
//! one the connection is finished; whether to try again is the caller's decision.

use std::fmt;

/// The kinds of misbehaviour a caller may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The first bytes are not a ZMTP greeting.
    NotZmtp,
    /// A ZMTP revision that is not spoken here, or not with this mechanism.
    Version,
    /// The greeting names another security mechanism.
    Mechanism,
    /// The peer's socket type is unknown or does not fit ours.
    Incompatible,
    /// The properties of the handshake are malformed or not allowed.
    Metadata,
    /// A command or message where it does not belong.
    UnexpectedCommand,
    /// A command whose body cannot be parsed.
    MalformedCommand,
    /// Frame flags that ZMTP does not have.
    MalformedFrame,
    /// A message without the envelope that our socket type needs.
    Envelope,
    /// A frame, a message or a subscription over its limit.
    Oversize,
    /// The peer refused us with an ERROR command.
    Rejected,
    /// The handshake took too long.
    HandshakeTimeout,
    /// Nothing was heard from the peer for too long.
    Silent,
}

/// The peer broke the protocol, refused us or fell silent: the connection is over.
#[derive(Clone)]
pub struct ProtocolError(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    /// The number a monitor event reports.
    code: u32,
    text: String,
    /// The text of the peer's ERROR command.
    reason: Option<String>,
}

/// The numbers of `ZMQ_PROTOCOL_ERROR_…`.
pub(crate) mod code {
    pub(crate) const UNSPECIFIED: u32 = 0x1000_0000;
    pub(crate) const UNEXPECTED_COMMAND: u32 = 0x1000_0001;
    pub(crate) const MALFORMED_UNSPECIFIED: u32 = 0x1000_0011;
    pub(crate) const MALFORMED_ERROR: u32 = 0x1000_0015;
    pub(crate) const INVALID_METADATA: u32 = 0x1000_0018;
    pub(crate) const MECHANISM_MISMATCH: u32 = 0x1100_0002;
}

impl ProtocolError {
    /// An error of `kind` with the monitor's number for it. `text` continues "the peer …".
    #[cold]
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        let code = match kind {
            ErrorKind::Mechanism => code::MECHANISM_MISMATCH,
            ErrorKind::Metadata | ErrorKind::Incompatible => code::INVALID_METADATA,
            ErrorKind::UnexpectedCommand => code::UNEXPECTED_COMMAND,
            ErrorKind::MalformedCommand => code::MALFORMED_UNSPECIFIED,
            ErrorKind::NotZmtp
            | ErrorKind::Version
            | ErrorKind::MalformedFrame
            | ErrorKind::Envelope
            | ErrorKind::Oversize
            | ErrorKind::Rejected
            | ErrorKind::HandshakeTimeout
            | ErrorKind::Silent => code::UNSPECIFIED,
        };
        Self(Box::new(Inner {
            kind,
            code,
            text: text.into(),
            reason: None,
        }))
    }

    /// The peer refused us; `reason` is its own text.
    #[cold]
    pub(crate) fn rejected(reason: &[u8]) -> Self {
        let shown = Quoted(reason).to_string();
        let mut error = Self::new(
            ErrorKind::Rejected,
            format!("refused the connection: {shown}"),
        );
        error.0.reason = Some(String::from_utf8_lossy(reason).into_owned());
        error
    }

    /// The same error with a more exact monitor number.
    pub(crate) fn with_code(mut self, code: u32) -> Self {
        self.0.code = code;
        self
    }

    /// What kind of misbehaviour it was.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The number for a HANDSHAKE_FAILED_PROTOCOL event (`ZMQ_PROTOCOL_ERROR_…`).
    pub fn monitor_code(&self) -> u32 {
        self.0.code
    }

    /// The text of the peer's ERROR command, if that was the end: with ZAP, a status such as "400".
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// Whether the peer did nothing wrong but was too slow or silent.
    pub fn is_timeout(&self) -> bool {
        matches!(self.kind(), ErrorKind::HandshakeTimeout | ErrorKind::Silent)
    }

    /// Whether the peer is a socket of a type that does not fit ours.
    pub fn is_incompatible(&self) -> bool {
        self.kind() == ErrorKind::Incompatible
    }

    /// Whether a limit was exceeded.
    pub fn is_oversize(&self) -> bool {
        self.kind() == ErrorKind::Oversize
    }

    /// Whether the peer refused us.
    pub fn is_rejected(&self) -> bool {
        self.kind() == ErrorKind::Rejected
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the peer {}", self.0.text)
    }
}

impl fmt::Debug for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProtocolError({:?}, {:?})", self.0.kind, self.0.text)
    }
}

impl std::error::Error for ProtocolError {}

/// A peer's bytes in an error text: quoted, escaped and cut.
pub(crate) struct Quoted<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 64;
        let head = &self.0[..self.0.len().min(SHOWN)];
        write!(f, "\"{}\"", head.escape_ascii())?;
        if self.0.len() > SHOWN {
            write!(f, " and {} bytes more", self.0.len() - SHOWN)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_says_what_the_peer_did_with_the_value_escaped_and_cut() {
        let error = ProtocolError::rejected(b"400\n");
        assert_eq!(
            error.to_string(),
            r#"the peer refused the connection: "400\n""#
        );
        assert_eq!(error.reason(), Some("400\n"));
        assert!(error.is_rejected() && !error.is_timeout());
        assert_eq!(
            Quoted(&[b'x'; 70]).to_string().len(),
            64 + 2 + " and 6 bytes more".len()
        );
    }

    #[test]
    fn an_error_is_as_small_as_a_pointer() {
        assert_eq!(size_of::<ProtocolError>(), size_of::<usize>());
    }
}
