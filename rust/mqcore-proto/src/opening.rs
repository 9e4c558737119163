//! The way from the first byte to a peer that is known.
//!
//! ```text
//! Greeting ──3.x, same mechanism──▶ Commands ──the mechanism is done──▶ Opened
//!    └───────2.0, if allowed──────▶ Identity ──first frame────────────▶ Opened
//! ```

use std::time::Instant;

use crate::assembly::COMMAND_MAX;
use crate::command::Command;
use crate::config::Config;
use crate::connection::PeerInfo;
use crate::decoder::{Decoder, Judgement};
use crate::error::{ErrorKind, ProtocolError, Quoted};
use crate::greeting::{self, Greeting, Heard, MechanismName, Version};
use crate::mechanism::{Cipher, Done, Handshake};
use crate::metadata::{self, Metadata};
use crate::transmit::Transmit;
use crate::wire::Header;
use crate::{Frame, SocketType};

/// A connection before it is ready. Dropped with all it holds when that is reached.
pub(crate) struct Opening {
    pub(crate) config: Config,
    /// When to give up.
    pub(crate) deadline: Option<Instant>,
    phase: Phase,
    handshake: Box<dyn Handshake>,
}

enum Phase {
    Greeting {
        greeting: Greeting,
        /// Whether the rest of our greeting is on its way.
        answered: bool,
    },
    /// A ZMTP 2.0 peer greeted with this socket type; its identity comes next.
    Identity(SocketType),
    Commands(Version),
}

/// What is known when the connection is ready.
pub(crate) struct Opened {
    pub(crate) version: Version,
    pub(crate) metadata: Metadata,
    pub(crate) cipher: Option<Box<dyn Cipher>>,
}

impl Opened {
    /// Who the peer is, taken out.
    pub(crate) fn peer(&mut self) -> PeerInfo {
        PeerInfo {
            version: self.version.numbers(),
            socket_type: Some(self.metadata.socket_type),
            routing_id: std::mem::take(&mut self.metadata.routing_id),
            properties: std::mem::take(&mut self.metadata.properties),
        }
    }
}

impl Opening {
    /// Begins, and queues what is said unasked.
    pub(crate) fn new(config: Config, now: Instant, transmit: &mut Transmit) -> Self {
        let metadata = metadata::encode(config.socket_type, &config.routing_id, &config.properties);
        let handshake = config
            .mechanism
            .handshake(config.socket_type, config.as_server, metadata);
        Self::with_handshake(config, handshake, now, transmit)
    }

    /// The same with any handshake.
    pub(crate) fn with_handshake(
        config: Config,
        handshake: Box<dyn Handshake>,
        now: Instant,
        transmit: &mut Transmit,
    ) -> Self {
        transmit.push_bytes(&greeting::OPENING);
        Self {
            deadline: config
                .handshake_timeout
                .and_then(|timeout| now.checked_add(timeout)),
            config,
            phase: Phase::Greeting {
                greeting: Greeting::new(),
                answered: false,
            },
            handshake,
        }
    }

    /// Takes what belongs to the opening off `input`.
    pub(crate) fn receive(
        &mut self,
        input: &mut &[u8],
        decoder: &mut Decoder,
        transmit: &mut Transmit,
    ) -> Result<Option<Opened>, ProtocolError> {
        loop {
            match &mut self.phase {
                Phase::Greeting { greeting, answered } => {
                    let heard = greeting.receive(input)?;
                    let answer = !std::mem::replace(answered, heard != Heard::Nothing);
                    match heard {
                        Heard::Nothing => return Ok(None),
                        Heard::Legacy | Heard::LegacyComplete(_) if answer => {
                            self.greet_legacy(transmit)?;
                        }
                        Heard::Modern | Heard::Complete(..) if answer => {
                            self.greet_modern(transmit);
                        }
                        _ => {}
                    }
                    match heard {
                        Heard::LegacyComplete(number) => {
                            let own = self.config.socket_type;
                            self.phase =
                                Phase::Identity(metadata::legacy_socket_type(number, own)?);
                        }
                        Heard::Complete(version, mechanism) => {
                            check_mechanism(&self.config.mechanism.name(), &mechanism)?;
                            if !self.handshake.starts_early() {
                                self.handshake.start(transmit);
                            }
                            self.phase = Phase::Commands(version);
                        }
                        _ => return Ok(None),
                    }
                }
                Phase::Identity(peer) => {
                    let Some((_, identity)) = decoder.receive(input, judge_identity)? else {
                        return Ok(None);
                    };
                    return Ok(Some(Opened {
                        version: Version::V2_0,
                        metadata: Metadata::from_legacy(*peer, identity)?,
                        cipher: None,
                    }));
                }
                Phase::Commands(version) => {
                    let Some((_, body)) = decoder.receive(input, judge_command)? else {
                        return Ok(None);
                    };
                    let command = Command::parse(&body)?;
                    if command.name == b"ERROR" {
                        return Err(command.into_rejection());
                    }
                    if let Some(done) = self.handshake.step(command, transmit)? {
                        let Done { metadata, cipher } = done;
                        return Ok(Some(Opened {
                            version: *version,
                            metadata,
                            cipher,
                        }));
                    }
                }
            }
        }
    }

    /// What the peer still owed when its time was up.
    pub(crate) fn timed_out(&self) -> ProtocolError {
        let missing = match &self.phase {
            Phase::Greeting { greeting, .. } => format!(
                "{} of the {} bytes of its greeting came",
                greeting.len(),
                greeting::LENGTH
            ),
            Phase::Identity(_) => "its identity never came".into(),
            Phase::Commands(_) => "it greeted, but its part of the handshake never came".into(),
        };
        let limit = self.config.handshake_timeout.unwrap_or_default();
        ProtocolError::new(
            ErrorKind::HandshakeTimeout,
            format!("did not finish the handshake within {limit:?}: {missing}"),
        )
    }

    /// Sends the rest of our greeting to a ZMTP 3.x peer.
    fn greet_modern(&mut self, transmit: &mut Transmit) {
        let Config {
            mechanism,
            as_server,
            ..
        } = &self.config;
        let as_server = *as_server && mechanism.has_roles();
        transmit.push_bytes(&greeting::modern_rest(&mechanism.name(), as_server));
        if self.handshake.starts_early() {
            self.handshake.start(transmit);
        }
    }

    /// Sends the rest of our greeting to a ZMTP 2.0 peer, which knows no mechanisms, and our
    /// identity in the first frame.
    fn greet_legacy(&mut self, transmit: &mut Transmit) -> Result<(), ProtocolError> {
        let own = self.config.socket_type;
        if !self.config.mechanism.allows_legacy() {
            return Err(ProtocolError::new(
                ErrorKind::Version,
                "speaks ZMTP 2.0, which has no security; this socket asks for it",
            ));
        }
        transmit.push_bytes(&greeting::legacy_rest(own));
        let identity = if metadata::announces_routing_id(own) {
            self.config.routing_id.clone()
        } else {
            Frame::empty()
        };
        transmit.push_frame(false, identity);
        Ok(())
    }
}

/// RFC 23: both sides must have the same mechanism.
fn check_mechanism(own: &MechanismName, peer: &MechanismName) -> Result<(), ProtocolError> {
    if own == peer {
        return Ok(());
    }
    Err(ProtocolError::new(
        ErrorKind::Mechanism,
        format!(
            "has the security mechanism {}, this socket {}",
            Quoted(trim(peer)),
            Quoted(trim(own))
        ),
    ))
}

/// A mechanism's name without the zeros behind it.
fn trim(name: &MechanismName) -> &[u8] {
    let end = name.iter().rposition(|byte| *byte != 0);
    &name[..end.map_or(0, |last| last + 1)]
}

/// RFC 15: `identity = final-short body`.
fn judge_identity(header: Header, _: Option<u8>) -> Result<Judgement, ProtocolError> {
    if header.more || header.command {
        return Err(ProtocolError::new(
            ErrorKind::MalformedFrame,
            "sent an identity with flags; in ZMTP 2.0 it is a frame of its own",
        ));
    }
    metadata::check_routing_id_length(header.length)?;
    Ok(Judgement::Accept)
}

fn judge_command(header: Header, _: Option<u8>) -> Result<Judgement, ProtocolError> {
    if !header.command {
        return Err(ProtocolError::new(
            ErrorKind::UnexpectedCommand,
            "sent a message before the handshake was done",
        ));
    }
    if header.length > COMMAND_MAX {
        return Err(ProtocolError::new(
            ErrorKind::Oversize,
            format!(
                "sent a handshake command of {} bytes; at most {COMMAND_MAX} are allowed",
                header.length
            ),
        ));
    }
    Ok(Judgement::Accept)
}
