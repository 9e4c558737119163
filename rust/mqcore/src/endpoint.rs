//! Endpoints: `scheme://address`, read into values.
//!
//! Reading is strict and looks nothing up: names of hosts and interfaces stay names. What reads can be
//! written again with `Display`, and reads as the same value.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;

use crate::error::{Errno, Error, Result};

/// Where to bind or connect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A name within the context.
    Inproc(String),
    /// A Unix domain socket.
    Ipc(IpcAddress),
    /// TCP.
    Tcp(TcpEndpoint),
}

/// The address of a Unix domain socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum IpcAddress {
    /// A file, of at most 107 bytes.
    Path(PathBuf),
    /// A name in Linux' abstract namespace (written with `@` in front), of 1 to 106 bytes.
    Abstract(String),
    /// Bind only: a new file in a new directory.
    Wildcard,
}

/// The addresses of a TCP endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TcpEndpoint {
    /// Connect only: where to connect from.
    pub source: Option<TcpAddress>,
    /// Where to bind, or connect to.
    pub address: TcpAddress,
}

/// A TCP host and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TcpAddress {
    /// The host.
    pub host: TcpHost,
    /// The port; for a bind (or a source) 0 is any free one, also written `*`.
    pub port: u16,
}

/// A TCP host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TcpHost {
    /// `*`: every local address.
    Any,
    /// An address.
    Ip(IpAddr),
    /// An IPv6 address with its zone (an interface's name or number).
    Zoned(Ipv6Addr, String),
    /// The name of a host or, to bind, of an interface first.
    Name(String),
}

/// The longest path that fits the kernel's address of a Unix domain socket, and its NUL.
const LONGEST_PATH: usize = 107;

/// What an endpoint is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Bind,
    Connect,
}

impl Endpoint {
    /// Reads an endpoint to bind to. EINVAL, EPROTONOSUPPORT, ENOCOMPATPROTO, ENAMETOOLONG, ENODEV.
    pub fn parse_bind(text: &str) -> Result<Self> {
        parse(text, Use::Bind)
    }

    /// Reads an endpoint to connect to. EINVAL, EPROTONOSUPPORT, ENOCOMPATPROTO, ENAMETOOLONG.
    pub fn parse_connect(text: &str) -> Result<Self> {
        parse(text, Use::Connect)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inproc(name) => write!(f, "inproc://{name}"),
            Self::Ipc(address) => write!(f, "ipc://{address}"),
            Self::Tcp(TcpEndpoint {
                source: None,
                address,
            }) => write!(f, "tcp://{address}"),
            Self::Tcp(TcpEndpoint {
                source: Some(source),
                address,
            }) => {
                write!(f, "tcp://{source};{address}")
            }
        }
    }
}

impl fmt::Display for IpcAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Abstract(name) => write!(f, "@{name}"),
            Self::Wildcard => f.write_str("*"),
        }
    }
}

impl fmt::Display for TcpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            TcpHost::Any => f.write_str("*")?,
            TcpHost::Ip(IpAddr::V4(address)) => write!(f, "{address}")?,
            TcpHost::Ip(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            TcpHost::Zoned(address, zone) => write!(f, "[{address}%{zone}]")?,
            TcpHost::Name(name) => f.write_str(name)?,
        }
        write!(f, ":{}", self.port)
    }
}

fn invalid(detail: String) -> Error {
    Error::new(Errno::INVAL, detail)
}

fn parse(text: &str, purpose: Use) -> Result<Endpoint> {
    let Some((scheme, address)) = text.split_once("://") else {
        return Err(invalid(format!(
            "{text:?} is no endpoint: write scheme://address, as tcp://127.0.0.1:5555"
        )));
    };
    if scheme.is_empty() {
        return Err(invalid(format!("{text:?} has no scheme in front of ://")));
    }
    if address.is_empty() {
        return Err(invalid(format!("{text:?} has no address after ://")));
    }
    match scheme {
        "inproc" => Ok(Endpoint::Inproc(address.to_owned())),
        "ipc" => ipc(text, address, purpose).map(Endpoint::Ipc),
        "tcp" => tcp(text, address, purpose).map(Endpoint::Tcp),
        "udp" => Err(Error::new(
            Errno::NOCOMPATPROTO,
            format!(
                "{text:?}: udp is for RADIO, DISH and DGRAM sockets, which mqcore does not have yet"
            ),
        )),
        _ => Err(Error::new(
            Errno::PROTONOSUPPORT,
            format!("{text:?}: mqcore has no transport {scheme:?}, but inproc, ipc and tcp"),
        )),
    }
}

fn ipc(text: &str, address: &str, purpose: Use) -> Result<IpcAddress> {
    if address.len() > LONGEST_PATH {
        return Err(Error::new(
            Errno::NAMETOOLONG,
            format!(
                "{text:?}: the path has {} bytes, and the system takes at most {LONGEST_PATH}",
                address.len()
            ),
        ));
    }
    if address.contains('\0') {
        return Err(invalid(format!(
            "{text:?}: a path cannot contain a zero byte"
        )));
    }
    match address.strip_prefix('@') {
        Some("") => Err(invalid(format!("{text:?} has no name after @"))),
        Some(name) => Ok(IpcAddress::Abstract(name.to_owned())),
        None if address == "*" && purpose == Use::Bind => Ok(IpcAddress::Wildcard),
        None if address == "*" => Err(invalid(format!(
            "{text:?}: * is for bind; connect needs the path that LAST_ENDPOINT gives there"
        ))),
        None => Ok(IpcAddress::Path(address.into())),
    }
}

fn tcp(text: &str, address: &str, purpose: Use) -> Result<TcpEndpoint> {
    let (source, address) = match address.split_once(';') {
        None => (None, address),
        Some(_) if purpose == Use::Bind => {
            return Err(invalid(format!(
                "{text:?}: a source address (;) is for connect only"
            )));
        }
        Some((source, address)) => (Some(source_of(text, source)?), address),
    };
    Ok(TcpEndpoint {
        source,
        address: host_and_port(text, address, purpose)?,
    })
}

/// Where a connection comes from: as for a bind, and the port may be missing.
fn source_of(text: &str, source: &str) -> Result<TcpAddress> {
    let has_port = source.rsplit_once(':').is_some_and(|(host, port)| {
        !port.ends_with(']') && (!host.contains(':') || host.ends_with(']'))
    });
    if has_port {
        return host_and_port(text, source, Use::Bind);
    }
    Ok(TcpAddress {
        host: host_of(text, source, Use::Bind)?,
        port: 0,
    })
}

fn host_and_port(text: &str, address: &str, purpose: Use) -> Result<TcpAddress> {
    let Some((host, port)) = address.rsplit_once(':') else {
        return Err(invalid(format!("{text:?} has no port: write host:port")));
    };
    Ok(TcpAddress {
        host: host_of(text, host, purpose)?,
        port: port_of(text, port, purpose)?,
    })
}

fn port_of(text: &str, port: &str, purpose: Use) -> Result<u16> {
    if port == "*" && purpose == Use::Bind {
        return Ok(0);
    }
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse() {
        Ok(port) if digits => Ok(port),
        _ => Err(invalid(format!(
            "{text:?}: the port {port:?} is not a number from 0 to 65535{}",
            if purpose == Use::Bind { ", nor *" } else { "" }
        ))),
    }
}

fn host_of(text: &str, host: &str, purpose: Use) -> Result<TcpHost> {
    if host.is_empty() {
        return Err(invalid(format!(
            "{text:?} has no host in front of the port"
        )));
    }
    if host == "*" || host == "[*]" {
        return match purpose {
            Use::Bind => Ok(TcpHost::Any),
            Use::Connect => Err(invalid(format!(
                "{text:?}: * is for bind; connect needs a host"
            ))),
        };
    }
    let bracketed = host
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'));
    let bare = bracketed.unwrap_or(host);
    if let Some((address, zone)) = bare.split_once('%') {
        if let (Ok(address), true) = (address.parse(), is_zone(zone)) {
            return Ok(TcpHost::Zoned(address, zone.to_owned()));
        }
    } else if let Ok(address) = bare.parse::<Ipv6Addr>() {
        return Ok(TcpHost::Ip(address.into()));
    } else if let (Ok(address), None) = (bare.parse(), bracketed) {
        return Ok(TcpHost::Ip(IpAddr::V4(address)));
    }
    // Interfaces may have aliases, as eth0:1; names of hosts have no colon.
    let fits = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || b".-_".contains(&byte)
            || (purpose == Use::Bind && byte == b':')
    };
    if bracketed.is_none() && host.bytes().all(fits) {
        return Ok(TcpHost::Name(host.to_owned()));
    }
    Err(match purpose {
        Use::Bind => Error::new(
            Errno::NODEV,
            format!("{text:?}: {host:?} is neither an address, nor an interface, nor a host"),
        ),
        Use::Connect => invalid(format!(
            "{text:?}: {host:?} is neither an address nor the name of a host"
        )),
    })
}

/// Whether `zone` can be the name or number of an interface.
fn is_zone(zone: &str) -> bool {
    (1..=15).contains(&zone.len())
        && zone
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_@".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn errno<T>(result: Result<T>) -> Option<Errno> {
        result.err().map(|error| {
            assert!(error.detail().is_some(), "no sentence: {error}");
            error.errno()
        })
    }

    const OK: Option<Errno> = None;
    const EINVAL: Option<Errno> = Some(Errno::INVAL);

    #[test]
    fn errors_of_bind_and_connect_are_those_of_the_reference() {
        let long = format!("ipc://{}", "p".repeat(108));
        let fits = format!("ipc://{}", "p".repeat(107));
        let unknown = Some(Errno::PROTONOSUPPORT);
        for (text, bind, connect) in [
            ("", EINVAL, EINVAL),
            ("foo", EINVAL, EINVAL),
            ("://a", EINVAL, EINVAL),
            ("tcp:/127.0.0.1:1", EINVAL, EINVAL),
            ("tcp://", EINVAL, EINVAL),
            ("tcp://127.0.0.1", EINVAL, EINVAL),
            ("tcp://127.0.0.1:", EINVAL, EINVAL),
            ("tcp://127.0.0.1:abc", EINVAL, EINVAL),
            ("tcp://:5555", EINVAL, EINVAL),
            ("foo://bar", unknown, unknown),
            ("foo://", EINVAL, EINVAL),
            ("TCP://127.0.0.1:1", unknown, unknown),
            ("ws://127.0.0.1:80/", unknown, unknown),
            ("wss://127.0.0.1:80/", unknown, unknown),
            ("pgm://eth0;239.0.0.1:1", unknown, unknown),
            ("epgm://eth0;239.0.0.1:1", unknown, unknown),
            ("norm://1,eth0;239.0.0.1:1", unknown, unknown),
            ("tipc://{5555,0,0}", unknown, unknown),
            ("vmci://*:1", unknown, unknown),
            (
                "udp://127.0.0.1:5555",
                Some(Errno::NOCOMPATPROTO),
                Some(Errno::NOCOMPATPROTO),
            ),
            ("tcp://127.0.0.1:0", OK, OK),
            ("tcp://127.0.0.1:*", OK, EINVAL),
            ("tcp://*:5556", OK, EINVAL),
            ("tcp://*:*", OK, EINVAL),
            ("tcp://nosuchif:5555", OK, OK), // ENODEV comes from the lookup
            ("tcp:///127.0.0.1:5", Some(Errno::NODEV), EINVAL),
            ("tcp://ho st:5", Some(Errno::NODEV), EINVAL),
            ("tcp://[::1]:5558", OK, OK),
            ("tcp://::1:5558", OK, OK),
            ("tcp://[::1:5558", Some(Errno::NODEV), EINVAL),
            ("tcp://[127.0.0.1]:5558", Some(Errno::NODEV), EINVAL),
            ("tcp://[fe80::1%eth0]:5558", OK, OK),
            ("tcp://fe80::1%eth0:5558", OK, OK),
            ("tcp://[fe80::1%]:5558", Some(Errno::NODEV), EINVAL),
            ("tcp://eth0:0;10.0.0.1:5", EINVAL, OK),
            ("tcp://10.0.0.9:5000;host:5", EINVAL, OK),
            ("tcp://*:*;host:5", EINVAL, OK),
            ("tcp://10.0.0.9;host:5", EINVAL, OK),
            ("tcp://;host:5", EINVAL, EINVAL),
            ("tcp://10.0.0.9:1;", EINVAL, EINVAL),
            ("tcp://a:1;b:2;c:3", EINVAL, EINVAL),
            ("inproc://", EINVAL, EINVAL),
            ("inproc://a", OK, OK),
            ("ipc://", EINVAL, EINVAL),
            ("ipc://@", EINVAL, EINVAL),
            ("ipc://@name", OK, OK),
            ("ipc://*", OK, EINVAL),
            ("ipc://a\0b", EINVAL, EINVAL),
            (fits.as_str(), OK, OK),
            (
                long.as_str(),
                Some(Errno::NAMETOOLONG),
                Some(Errno::NAMETOOLONG),
            ),
        ] {
            assert_eq!(errno(Endpoint::parse_bind(text)), bind, "bind {text:?}");
            assert_eq!(
                errno(Endpoint::parse_connect(text)),
                connect,
                "connect {text:?}"
            );
        }
    }

    /// The reference takes 70000 for 4464, -1 for 65535 and 55x for 55.
    #[test]
    fn port_that_is_not_one_is_refused() {
        for port in [
            "70000",
            "65536",
            "-1",
            "55x",
            "+55",
            " 55",
            "5_5",
            "0x10",
            "99999999999999999999",
        ] {
            let text = format!("tcp://127.0.0.1:{port}");
            assert_eq!(errno(Endpoint::parse_bind(&text)), EINVAL, "{text}");
            assert_eq!(errno(Endpoint::parse_connect(&text)), EINVAL, "{text}");
        }
        let error = Endpoint::parse_bind("tcp://127.0.0.1:70000").unwrap_err();
        assert!(
            error
                .detail()
                .unwrap()
                .contains("\"70000\" is not a number from 0 to 65535")
        );
    }

    #[test]
    fn parts_are_read_into_values() {
        let tcp = |text| match Endpoint::parse_connect(text).unwrap() {
            Endpoint::Tcp(endpoint) => endpoint,
            other => panic!("{other:?}"),
        };
        let endpoint = tcp("tcp://eth0:*;[fe80::2%3]:5555");
        assert_eq!(
            endpoint.source,
            Some(TcpAddress {
                host: TcpHost::Name("eth0".into()),
                port: 0
            })
        );
        assert_eq!(
            endpoint.address,
            TcpAddress {
                host: TcpHost::Zoned("fe80::2".parse().unwrap(), "3".into()),
                port: 5555
            }
        );
        assert_eq!(
            tcp("tcp://::1:5").address.host,
            TcpHost::Ip("::1".parse().unwrap())
        );
        assert_eq!(
            tcp("tcp://localhost:5").address.host,
            TcpHost::Name("localhost".into())
        );
        assert_eq!(
            Endpoint::parse_bind("tcp://eth0:1:5555")
                .unwrap()
                .to_string(),
            "tcp://eth0:1:5555"
        );
        assert_eq!(
            Endpoint::parse_bind("ipc://@a/b").unwrap(),
            Endpoint::Ipc(IpcAddress::Abstract("a/b".into()))
        );
    }

    fn any_address() -> impl Strategy<Value = TcpAddress> {
        let host = prop_oneof![
            Just(TcpHost::Any),
            any::<std::net::Ipv4Addr>().prop_map(|address| TcpHost::Ip(address.into())),
            any::<Ipv6Addr>().prop_map(|address| TcpHost::Ip(address.into())),
            (any::<Ipv6Addr>(), "[a-z0-9]{1,15}")
                .prop_map(|(address, zone)| TcpHost::Zoned(address, zone)),
            "[a-z][a-z0-9.-]{0,40}".prop_map(TcpHost::Name),
        ];
        (host, any::<u16>()).prop_map(|(host, port)| TcpAddress { host, port })
    }

    fn any_endpoint() -> impl Strategy<Value = Endpoint> {
        let tcp = (proptest::option::of(any_address()), any_address());
        prop_oneof![
            "[^\0]{1,60}".prop_map(Endpoint::Inproc),
            "/[a-zA-Z0-9/._ -]{0,106}"
                .prop_map(|path| Endpoint::Ipc(IpcAddress::Path(path.into()))),
            "[a-z*@:/]{1,106}".prop_map(|name| Endpoint::Ipc(IpcAddress::Abstract(name))),
            Just(Endpoint::Ipc(IpcAddress::Wildcard)),
            tcp.prop_map(|(source, address)| Endpoint::Tcp(TcpEndpoint { source, address })),
        ]
    }

    proptest! {
        #[test]
        fn written_endpoint_reads_as_the_same_value(endpoint in any_endpoint()) {
            let text = endpoint.to_string();
            let (source, any_host) = match &endpoint {
                Endpoint::Tcp(tcp) => (tcp.source.is_some(), tcp.address.host == TcpHost::Any),
                Endpoint::Ipc(address) => (false, *address == IpcAddress::Wildcard),
                Endpoint::Inproc(_) => (false, false),
            };
            let bind = Endpoint::parse_bind(&text);
            let connect = Endpoint::parse_connect(&text);
            prop_assert_eq!(bind.ok(), (!source).then(|| endpoint.clone()));
            prop_assert_eq!(connect.ok(), (!any_host).then_some(endpoint));
        }

        #[test]
        fn any_text_is_read_or_refused_with_a_sentence(text in "(tcp|ipc|inproc|udp|x)?(://)?.{0,120}") {
            for result in [Endpoint::parse_bind(&text), Endpoint::parse_connect(&text)] {
                match result {
                    Ok(endpoint) => drop(endpoint.to_string()),
                    Err(error) => prop_assert!(error.detail().is_some()),
                }
            }
        }
    }
}
