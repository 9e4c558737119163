//! Metadata: the properties with which two peers introduce themselves in the handshake.
//!
//! Each is `[name length, 1 byte][name][value length, 4 bytes][value]`. Names are compared without
//! regard to case (RFC 23).

use std::collections::HashSet;

use crate::error::{ErrorKind, ProtocolError, Quoted};
use crate::{Frame, SocketType};

/// The longest routing id a peer may announce.
const ROUTING_ID_LIMIT: usize = 255;

/// Who the peer says it is. Parsed means checked: the socket type fits ours, no name comes twice
/// or is reserved, the routing id could be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) socket_type: SocketType,
    pub(crate) routing_id: Frame,
    /// As received, in their order, with `Socket-Type` and `Identity`.
    pub(crate) properties: Vec<(String, Vec<u8>)>,
}

impl Metadata {
    /// Parses what a peer sent to a socket of type `own`.
    pub(crate) fn parse(mut data: &[u8], own: SocketType) -> Result<Self, ProtocolError> {
        let mut socket_type = None;
        let mut routing_id = Frame::empty();
        let mut properties = Vec::new();
        let mut seen = HashSet::new();
        while !data.is_empty() {
            let (name, value) = take_property(&mut data)?;
            let folded = name.to_ascii_lowercase();
            match folded.as_str() {
                "socket-type" => socket_type = Some(check_socket_type(own, value)?),
                "identity" => {
                    check_routing_id(value)?;
                    routing_id = Frame::from(value);
                }
                // These are what a ZAP handler and the transport say about a peer, not the peer.
                "user-id" | "peer-address" => return Err(reserved(name)),
                _ if name.starts_with("__") => return Err(reserved(name)),
                _ => {}
            }
            if !seen.insert(folded) {
                return Err(invalid(format!("sent the property {name} twice")));
            }
            properties.push((name.to_owned(), value.to_vec()));
        }
        let Some(socket_type) = socket_type else {
            return Err(invalid("sent no Socket-Type property"));
        };
        Ok(Self {
            socket_type,
            routing_id,
            properties,
        })
    }

    /// What a ZMTP 2.0 peer tells: its socket type in the greeting and its identity in the first
    /// frame.
    pub(crate) fn from_legacy(
        socket_type: SocketType,
        identity: Frame,
    ) -> Result<Self, ProtocolError> {
        check_routing_id(&identity)?;
        let name = socket_type.name().as_bytes().to_vec();
        Ok(Self {
            socket_type,
            properties: vec![
                ("Socket-Type".to_owned(), name),
                ("Identity".to_owned(), identity.to_vec()),
            ],
            routing_id: identity,
        })
    }
}

/// The type that a ZMTP 2.0 peer's greeting names, if it fits a socket of type `own`.
pub(crate) fn legacy_socket_type(number: u8, own: SocketType) -> Result<SocketType, ProtocolError> {
    let kind = SocketType::from_number(number.into()).ok_or_else(|| {
        ProtocolError::new(
            ErrorKind::Incompatible,
            format!("has the unknown socket type number {number}"),
        )
    })?;
    check_compatible(own, kind)
}

/// Whether sockets of this type announce their routing id.
pub(crate) const fn announces_routing_id(socket_type: SocketType) -> bool {
    matches!(
        socket_type,
        SocketType::Req | SocketType::Dealer | SocketType::Router
    )
}

/// Our own properties, encoded.
///
/// # Panics
/// If a name is empty or longer than 255 bytes.
pub(crate) fn encode(
    socket_type: SocketType,
    routing_id: &[u8],
    properties: &[(String, Vec<u8>)],
) -> Vec<u8> {
    let mut data = Vec::new();
    put_property(&mut data, "Socket-Type", socket_type.name().as_bytes());
    if announces_routing_id(socket_type) {
        put_property(&mut data, "Identity", routing_id);
    }
    for (name, value) in properties {
        put_property(&mut data, name, value);
    }
    data
}

fn put_property(data: &mut Vec<u8>, name: &str, value: &[u8]) {
    let name_length = u8::try_from(name.len()).expect("property names have at most 255 bytes");
    assert!(name_length > 0, "property names have at least one byte");
    let value_length = u32::try_from(value.len()).expect("property values are shorter than 4 GiB");
    data.push(name_length);
    data.extend_from_slice(name.as_bytes());
    data.extend_from_slice(&value_length.to_be_bytes());
    data.extend_from_slice(value);
}

/// Takes the first property off `data`.
fn take_property<'a>(data: &mut &'a [u8]) -> Result<(&'a str, &'a [u8]), ProtocolError> {
    let (&name_length, rest) = data.split_first().expect("the caller saw a byte");
    let (name, rest) = rest
        .split_at_checked(usize::from(name_length))
        .ok_or_else(|| {
            invalid(format!(
                "sent a property whose name of {name_length} bytes is cut after {}",
                rest.len()
            ))
        })?;
    let name = str::from_utf8(name)
        .ok()
        .filter(|name| !name.is_empty() && name.bytes().all(is_name_byte))
        .ok_or_else(|| invalid(format!("sent a property with the name {}", Quoted(name))))?;
    let (value_length, rest) = rest
        .split_first_chunk()
        .ok_or_else(|| invalid(format!("sent the property {name} without a whole length")))?;
    let value_length = u32::from_be_bytes(*value_length);
    let (value, rest) = usize::try_from(value_length)
        .ok()
        .and_then(|length| rest.split_at_checked(length))
        .ok_or_else(|| {
            invalid(format!(
                "sent the property {name} whose value of {value_length} bytes is cut after {}",
                rest.len()
            ))
        })?;
    *data = rest;
    Ok((name, value))
}

/// RFC 23: `name-char = ALPHA | DIGIT | "-" | "_" | "." | "+"`.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte)
}

fn check_socket_type(own: SocketType, name: &[u8]) -> Result<SocketType, ProtocolError> {
    let kind = SocketType::from_name(name).ok_or_else(|| {
        ProtocolError::new(
            ErrorKind::Incompatible,
            format!("has the unknown socket type {}", Quoted(name)),
        )
    })?;
    check_compatible(own, kind)
}

fn check_compatible(own: SocketType, peer: SocketType) -> Result<SocketType, ProtocolError> {
    if own.accepts(peer) {
        return Ok(peer);
    }
    let fitting: Vec<_> = SocketType::ALL
        .into_iter()
        .filter(|kind| own.accepts(*kind))
        .map(SocketType::name)
        .collect();
    Err(ProtocolError::new(
        ErrorKind::Incompatible,
        format!(
            "is a {} socket; a {} socket can be connected to {}",
            peer.name(),
            own.name(),
            fitting.join(", ")
        ),
    ))
}

/// Routing ids beginning with a zero byte are the ones a ROUTER makes itself: no peer may take one.
fn check_routing_id(id: &[u8]) -> Result<(), ProtocolError> {
    check_routing_id_length(id.len())?;
    if id.first() == Some(&0) {
        return Err(invalid(format!(
            "announced the routing id {}; ids may not begin with a zero byte",
            Quoted(id)
        )));
    }
    Ok(())
}

/// The part of the check that can be made before the id is there.
pub(crate) fn check_routing_id_length(length: usize) -> Result<(), ProtocolError> {
    if length > ROUTING_ID_LIMIT {
        return Err(invalid(format!(
            "announced a routing id of {length} bytes; at most {ROUTING_ID_LIMIT} are allowed"
        )));
    }
    Ok(())
}

fn invalid(text: impl Into<String>) -> ProtocolError {
    ProtocolError::new(ErrorKind::Metadata, text)
}

fn reserved(name: &str) -> ProtocolError {
    invalid(format!("sent the reserved property {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::code;

    fn properties(list: &[(&str, &[u8])]) -> Vec<u8> {
        let mut data = Vec::new();
        for (name, value) in list {
            put_property(&mut data, name, value);
        }
        data
    }

    fn refused(data: &[u8]) -> ProtocolError {
        let error = Metadata::parse(data, SocketType::Router).unwrap_err();
        assert_eq!(error.monitor_code(), code::INVALID_METADATA);
        error
    }

    #[test]
    fn own_properties_lead_back_to_themselves() {
        let own = [("X-Colour".to_owned(), b"red".to_vec())];
        let data = encode(SocketType::Dealer, b"me", &own);
        let metadata = Metadata::parse(&data, SocketType::Router).unwrap();
        assert_eq!(metadata.socket_type, SocketType::Dealer);
        assert_eq!(metadata.routing_id, Frame::from("me"));
        let names: Vec<_> = metadata.properties.iter().map(|pair| &pair.0).collect();
        assert_eq!(names, ["Socket-Type", "Identity", "X-Colour"]);
    }

    #[test]
    fn only_req_dealer_and_router_announce_a_routing_id() {
        for kind in SocketType::ALL {
            let data = encode(kind, b"", &[]);
            let announced = data.windows(8).any(|bytes| bytes == b"Identity");
            let expected = [SocketType::Req, SocketType::Dealer, SocketType::Router];
            assert_eq!(announced, expected.contains(&kind), "{kind:?}");
        }
    }

    #[test]
    fn names_are_compared_without_regard_to_case() {
        let data = properties(&[("SOCKET-TYPE", b"REQ"), ("identity", b"me")]);
        let metadata = Metadata::parse(&data, SocketType::Router).unwrap();
        assert_eq!(metadata.routing_id, Frame::from("me"));
        let error = refused(&properties(&[
            ("Socket-Type", b"REQ"),
            ("X-a", b""),
            ("x-A", b""),
        ]));
        assert!(error.to_string().contains("twice"), "{error}");
    }

    #[test]
    fn property_cut_anywhere_is_refused() {
        let whole = properties(&[("Socket-Type", b"REQ")]);
        for length in 1..whole.len() {
            refused(&whole[..length]);
        }
        let mut huge = properties(&[("Socket-Type", b"REQ"), ("X-a", b"")]);
        let at = huge.len() - 4;
        huge[at..].copy_from_slice(&[0xFF; 4]);
        assert!(refused(&huge).to_string().contains("4294967295"));
    }

    #[test]
    fn missing_unknown_and_incompatible_socket_type_are_refused() {
        assert_eq!(refused(b"").kind(), ErrorKind::Metadata);
        assert_eq!(
            refused(&properties(&[("Identity", b"me")])).kind(),
            ErrorKind::Metadata
        );
        for name in [&b"CARRIER-PIGEON"[..], b"PUB", b"dealer", b""] {
            assert!(refused(&properties(&[("Socket-Type", name)])).is_incompatible());
        }
        let error = refused(&properties(&[("Socket-Type", b"PUB")]));
        assert_eq!(
            error.to_string(),
            "the peer is a PUB socket; a ROUTER socket can be connected to REQ, DEALER, ROUTER"
        );
    }

    #[test]
    fn reserved_and_impossible_names_are_refused() {
        let names = [
            "User-Id",
            "user-ID",
            "Peer-Address",
            "__fd",
            "__",
            "a b",
            "ü",
        ];
        for name in names {
            let data = properties(&[("Socket-Type", b"REQ"), (name, b"admin")]);
            assert_eq!(refused(&data).kind(), ErrorKind::Metadata, "{name}");
        }
        refused(&[0, 0, 0, 0, 0]);
    }

    #[test]
    fn routing_id_that_is_too_long_or_begins_with_a_zero_byte_is_refused() {
        let with = |id: &[u8]| properties(&[("Socket-Type", b"DEALER"), ("Identity", id)]);
        assert!(Metadata::parse(&with(&[1; 255]), SocketType::Router).is_ok());
        refused(&with(&[1; 256]));
        refused(&with(b"\0"));
        refused(&with(b"\0\0\0\0\x01"));
    }

    #[test]
    fn legacy_peers_are_held_to_the_same_rules() {
        let parse = |number, id: &[u8]| {
            let peer = legacy_socket_type(number, SocketType::Router)?;
            Metadata::from_legacy(peer, Frame::from(id))
        };
        let metadata = parse(5, b"me").unwrap();
        assert_eq!(metadata.socket_type, SocketType::Dealer);
        assert_eq!(metadata.routing_id, Frame::from("me"));
        for (number, id) in [(1, &b"me"[..]), (200, b"me"), (5, b"\0a"), (5, &[1; 256])] {
            assert!(parse(number, id).is_err(), "{number}");
        }
    }
}
