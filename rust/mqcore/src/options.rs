//! Socket options and context options: their numbers, rules, defaults and storage.
//!
//! The module `table` is the one list of socket options; setting, reading and [`kind_of`] only look it up. A refused
//! value changes nothing, and an option that mqcore does not have yet is never accepted and ignored.

mod context;
mod table;

use std::net::IpAddr;
use std::time::Duration;

use mqcore_proto::{Frame, SocketType};

use crate::error::{Errno, Error, Result};
use table::{Home, Later, Row, Values};

pub use context::ContextOptions;

/// An option's value as it crosses the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionValue {
    /// int, int64, uint64 and descriptors.
    Int(i64),
    /// Binary and text.
    Bytes(Vec<u8>),
}

/// How an option's value looks from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// A 32-bit integer.
    Int,
    /// A 64-bit integer.
    Int64,
    /// Binary or text.
    Bytes,
    /// A descriptor.
    Fd,
}

/// How the value of option number `option` looks from outside; `None` if there is no such option.
pub fn kind_of(option: i32) -> Option<OptionKind> {
    table::row(option).map(|row| row.kind)
}

/// Options that change how a pattern routes. Validated before; a type that does not know one ignores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternOption {
    /// SUB: add one reference to a prefix.
    Subscribe(Frame),
    /// SUB: drop one reference to a prefix.
    Unsubscribe(Frame),
    /// ROUTER: EHOSTUNREACH and EAGAIN instead of dropping.
    RouterMandatory(bool),
    /// REQ: number the requests.
    ReqCorrelate(bool),
    /// REQ: a new request may replace an unanswered one.
    ReqRelaxed(bool),
    /// XPUB: every subscription is delivered, not only the first for a prefix.
    XpubVerbose(bool),
    /// XPUB: every subscription and every cancellation is delivered.
    XpubVerboser(bool),
    /// XPUB, PUB: refuse a message that a matching peer has no room for, instead of dropping.
    XpubNodrop(bool),
    /// PUB, XPUB: most bytes that the subscriptions of one peer may take from now on, each counted with
    /// its prefix and 128 more; a peer that wants more is dropped. 64 MiB unless set.
    SubscriptionLimit(usize),
    /// PUB, XPUB, SUB: deliver what does *not* match.
    InvertMatching(bool),
    /// DEALER, REQ, ROUTER: greet every new peer with an empty message.
    ProbeRouter(bool),
}

/// What a socket does after an option was set. Everything else takes effect at the next bind or connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    Stored,
    /// Give the new high-water marks to the live pipes.
    Hwm,
    /// Later closes use the new linger.
    Linger,
    /// Later calls use the new send and receive timeouts.
    Timeouts,
    /// Tell the pattern.
    Pattern(PatternOption),
}

/// An option whose value is not stored: the socket knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// Whether the part received last is followed by others.
    ReceiveMore,
    /// The descriptor for outside pollers.
    Fd,
    /// The POLLIN and POLLOUT bits.
    Events,
    /// The socket type's number.
    Type,
    /// The resolved endpoint of the last bind or connect.
    LastEndpoint,
    /// The security mechanism's number.
    Mechanism,
    /// Whether libzmq would call this type thread-safe.
    ThreadSafe,
    /// How many prefixes the subscription table holds.
    TopicsCount,
}

/// What reading an option gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The value.
    Value(OptionValue),
    /// The socket has to be asked.
    Live(Live),
}

/// The networks that a TCP_ACCEPT_FILTER lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// Invariant: at most 32 or 128, by the family of `address`.
    prefix: u8,
}

impl Network {
    /// Reads `address` or `address/prefix`; host names are not allowed.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address
            .strip_prefix('[')
            .and_then(|inner| inner.strip_suffix(']'))
            .unwrap_or(address)
            .parse()
            .ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                digits.parse().ok().filter(|prefix| *prefix <= bits)?
            }
            Some(_) => return None,
        };
        Some(Self { address, prefix })
    }

    /// Whether `peer` is in this network. An IPv4 peer of a dual-stack listener counts as IPv4.
    pub fn contains(&self, peer: IpAddr) -> bool {
        let prefix = u32::from(self.prefix);
        match (self.address, peer.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(peer)) => {
                let differing = own.to_bits() ^ peer.to_bits();
                differing.checked_shr(32 - prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), peer) => {
                let peer = match peer {
                    IpAddr::V4(peer) => peer.to_ipv6_mapped(),
                    IpAddr::V6(peer) => peer,
                };
                let differing = own.to_bits() ^ peer.to_bits();
                differing.checked_shr(128 - prefix).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        }
    }
}

/// The stored options of a socket. A bind or connect works with a clone: later changes do not reach
/// what already exists, except as [`Change`] says.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// AFFINITY: the I/O threads to use, as bits; 0 is all.
    pub affinity: u64,
    /// ROUTING_ID: announced to peers; empty or 1 to 255 bytes.
    pub routing_id: Vec<u8>,
    /// SNDHWM: 0 is unlimited.
    pub sndhwm: usize,
    /// RCVHWM: 0 is unlimited.
    pub rcvhwm: usize,
    /// SNDBUF of the kernel; `None` leaves the system's default.
    pub sndbuf: Option<usize>,
    /// RCVBUF of the kernel; `None` leaves the system's default.
    pub rcvbuf: Option<usize>,
    /// LINGER: how long unsent messages are kept after close; `None` is for ever.
    pub linger: Option<Duration>,
    /// SNDTIMEO: `None` waits for ever, zero never.
    pub sndtimeo: Option<Duration>,
    /// RCVTIMEO: `None` waits for ever, zero never.
    pub rcvtimeo: Option<Duration>,
    /// RECONNECT_IVL as it was set; read it through [`reconnect_delay`](Self::reconnect_delay).
    pub reconnect_ivl: Option<Duration>,
    /// RECONNECT_IVL_MAX: the cap of the back-off; `None` is no back-off.
    pub reconnect_ivl_max: Option<Duration>,
    /// HANDSHAKE_IVL: the time a handshake may take; `None` is unlimited.
    pub handshake_ivl: Option<Duration>,
    /// CONNECT_TIMEOUT: the time a connection attempt may take; `None` leaves it to the system.
    pub connect_timeout: Option<Duration>,
    /// HEARTBEAT_IVL: a PING every so often; `None` is none.
    pub heartbeat_ivl: Option<Duration>,
    /// HEARTBEAT_TTL in tenths of a second, as PING carries it.
    pub heartbeat_ttl: u16,
    /// HEARTBEAT_TIMEOUT as it was set; read it through [`heartbeat_patience`](Self::heartbeat_patience).
    pub heartbeat_timeout: Option<Duration>,
    /// MAXMSGSIZE: the largest frame taken from a peer; `None` is unlimited.
    pub maxmsgsize: Option<u64>,
    /// IMMEDIATE: a connect has a pipe only while its peer is there.
    pub immediate: bool,
    /// CONFLATE as it was set; ask [`conflates`](Self::conflates) for its effect.
    pub conflate: bool,
    /// BACKLOG of listeners.
    pub backlog: i32,
    /// IPV6: also use IPv6 (and prefer it for names).
    pub ipv6: bool,
    /// TCP_KEEPALIVE; `None` leaves the system's default.
    pub tcp_keepalive: Option<bool>,
    /// TCP_KEEPALIVE_CNT, probes; `None` and 0 leave the system's default.
    pub tcp_keepalive_cnt: Option<u32>,
    /// TCP_KEEPALIVE_IDLE, seconds; `None` and 0 leave the system's default.
    pub tcp_keepalive_idle: Option<u32>,
    /// TCP_KEEPALIVE_INTVL, seconds; `None` and 0 leave the system's default.
    pub tcp_keepalive_intvl: Option<u32>,
    /// TCP_MAXRT: how long sent data may stay unacknowledged; `None` leaves it to the system.
    pub tcp_maxrt: Option<Duration>,
    /// TCP_ACCEPT_FILTER: who may connect; empty is everybody.
    pub tcp_accept_filters: Vec<Network>,
    /// IPC_FILTER_PID: peer processes let in. All three ipc filters empty is everybody; a peer that
    /// passes one of them is let in.
    pub ipc_filter_pids: Vec<i32>,
    /// IPC_FILTER_UID: peer users let in.
    pub ipc_filter_uids: Vec<u32>,
    /// IPC_FILTER_GID: peer groups let in, also as a supplementary group of the peer's user.
    pub ipc_filter_gids: Vec<u32>,
    /// TOS byte of IP packets.
    pub tos: u8,
    /// PRIORITY: SO_PRIORITY of sockets.
    pub priority: u32,
    /// BINDTODEVICE: name of the only interface to use; empty is any.
    pub bindtodevice: Vec<u8>,
    /// USE_FD: a listening descriptor for the next binds.
    pub use_fd: Option<i32>,
    /// IN_BATCH_SIZE: bytes read at once.
    pub in_batch_size: usize,
    /// OUT_BATCH_SIZE: bytes encoded at once.
    pub out_batch_size: usize,
    /// METADATA: names (`X-...`) and values added to READY. Invariant: names differ, without regard to case.
    pub metadata: Vec<(String, Vec<u8>)>,
    /// CONNECT_ROUTING_ID: the next connect takes it out.
    pub connect_routing_id: Option<Vec<u8>>,
    /// ROUTER_HANDOVER: a newcomer takes over a routing id in use.
    pub router_handover: bool,
    /// STREAM_NOTIFY: empty messages tell of peers that come and go.
    pub stream_notify: bool,
    /// INVERT_MATCHING; the pattern was told.
    pub invert_matching: bool,
}

impl SocketOptions {
    /// The defaults of a socket of type `kind`, in a context with these BLOCKY and IPV6.
    pub fn new(kind: SocketType, blocky: bool, ipv6: bool) -> Self {
        let drops_at_close = !blocky || matches!(kind, SocketType::Sub | SocketType::Xsub);
        Self {
            affinity: 0,
            routing_id: Vec::new(),
            sndhwm: 1000,
            rcvhwm: 1000,
            sndbuf: None,
            rcvbuf: None,
            linger: drops_at_close.then_some(Duration::ZERO),
            sndtimeo: None,
            rcvtimeo: None,
            reconnect_ivl: Some(Duration::from_millis(100)),
            reconnect_ivl_max: None,
            handshake_ivl: Some(Duration::from_secs(30)),
            connect_timeout: None,
            heartbeat_ivl: None,
            heartbeat_ttl: 0,
            heartbeat_timeout: None,
            maxmsgsize: None,
            immediate: false,
            conflate: false,
            backlog: 100,
            ipv6,
            tcp_keepalive: None,
            tcp_keepalive_cnt: None,
            tcp_keepalive_idle: None,
            tcp_keepalive_intvl: None,
            tcp_maxrt: None,
            tcp_accept_filters: Vec::new(),
            ipc_filter_pids: Vec::new(),
            ipc_filter_uids: Vec::new(),
            ipc_filter_gids: Vec::new(),
            tos: 0,
            priority: 0,
            bindtodevice: Vec::new(),
            use_fd: None,
            in_batch_size: 8192,
            out_batch_size: 8192,
            metadata: Vec::new(),
            connect_routing_id: None,
            router_handover: false,
            stream_notify: true,
            invert_matching: false,
        }
    }

    /// Sets option number `option` on a socket of type `kind`.
    ///
    /// EINVAL: there is no such option for this type, it is read-only, or the value is of the wrong type or
    /// out of range. ENOTSUP: mqcore does not have it yet. Nothing is changed then.
    pub fn set(&mut self, kind: SocketType, option: i32, value: &OptionValue) -> Result<Change> {
        let row = find(kind, option)?;
        match (&row.home, value) {
            (Home::Live(_), _) => Err(invalid(format!("{} is read-only", row.name))),
            (Home::Refused(why), _) => Err(invalid(format!("{} {why}", row.name))),
            (Home::Int(_, set) | Home::IntWrite(set), OptionValue::Int(number)) => {
                check_int(row, *number)?;
                Ok(set(self, *number))
            }
            (Home::Bytes(_, set) | Home::BytesWrite(set), OptionValue::Bytes(bytes)) => {
                check_bytes(row, bytes)?;
                set(self, bytes).map_err(|why| invalid(format!("{}: {why}", row.name)))
            }
            (Home::Later(later, what), OptionValue::Int(number)) if row.values.is_int() => {
                check_int(row, *number)?;
                match later {
                    Later::Int(default) | Later::IntWrite(default) if default == number => {
                        Ok(Change::Stored)
                    }
                    _ => Err(not_yet(row, &number.to_string(), what)),
                }
            }
            (Home::Later(later, what), OptionValue::Bytes(bytes)) if !row.values.is_int() => {
                check_bytes(row, bytes)?;
                match later {
                    Later::Bytes(default) if default == bytes => Ok(Change::Stored),
                    Later::BytesWrite if bytes.is_empty() => Ok(Change::Stored),
                    // The value may be a secret: it does not belong in a message.
                    _ => Err(not_yet(row, &format!("{} bytes", bytes.len()), what)),
                }
            }
            (_, OptionValue::Int(number)) => Err(invalid(format!(
                "{} takes bytes, not the integer {number}",
                row.name
            ))),
            (_, OptionValue::Bytes(bytes)) => Err(invalid(format!(
                "{} takes an integer, not {} bytes",
                row.name,
                bytes.len()
            ))),
        }
    }

    /// Reads option number `option` of a socket of type `kind`. EINVAL: there is no such option for this
    /// type, or it cannot be read.
    pub fn get(&self, kind: SocketType, option: i32) -> Result<Reading> {
        let row = find(kind, option)?;
        let value = match &row.home {
            Home::Live(live) => return Ok(Reading::Live(*live)),
            Home::Int(get, _) => OptionValue::Int(get(self)),
            Home::Bytes(get, _) => OptionValue::Bytes(get(self)),
            Home::Later(Later::Int(default), _) => OptionValue::Int(*default),
            Home::Later(Later::Bytes(default), _) => OptionValue::Bytes(default.to_vec()),
            Home::IntWrite(_)
            | Home::BytesWrite(_)
            | Home::Later(Later::IntWrite(_) | Later::BytesWrite, _) => {
                return Err(invalid(format!(
                    "{} can be set but not read back",
                    row.name
                )));
            }
            Home::Refused(why) => return Err(invalid(format!("{} {why}", row.name))),
        };
        Ok(Reading::Value(value))
    }

    /// Whether pipes of a socket of type `kind` keep only the newest message.
    pub fn conflates(&self, kind: SocketType) -> bool {
        use SocketType::*;
        self.conflate && matches!(kind, Pull | Push | Sub | Pub | Dealer)
    }

    /// The base delay before a reconnect; `None` is never (RECONNECT_IVL -1, and also 0).
    pub fn reconnect_delay(&self) -> Option<Duration> {
        self.reconnect_ivl.filter(|delay| !delay.is_zero())
    }

    /// How long a peer may be silent after a PING: HEARTBEAT_TIMEOUT, or else HEARTBEAT_IVL.
    pub fn heartbeat_patience(&self) -> Option<Duration> {
        self.heartbeat_timeout.or(self.heartbeat_ivl)
    }

    /// Whether any of the ipc filters is set.
    pub fn has_ipc_filter(&self) -> bool {
        !(self.ipc_filter_pids.is_empty()
            && self.ipc_filter_uids.is_empty()
            && self.ipc_filter_gids.is_empty())
    }
}

fn invalid(detail: String) -> Error {
    Error::new(Errno::INVAL, detail)
}

fn find(kind: SocketType, option: i32) -> Result<&'static Row> {
    let Some(row) = table::row(option) else {
        return Err(invalid(format!("there is no socket option {option}")));
    };
    if !row.types.contains(kind) {
        return Err(invalid(format!(
            "{} is an option of {}, not of {}",
            row.name,
            row.types,
            kind.name()
        )));
    }
    Ok(row)
}

fn not_yet(row: &Row, value: &str, what: &str) -> Error {
    Error::new(
        Errno::NOTSUP,
        format!(
            "{} cannot be set to {value}: mqcore does not have {what} yet",
            row.name
        ),
    )
}

fn check_int(row: &Row, number: i64) -> Result<()> {
    let right = match row.values {
        Values::Int(low, high) if (low..=high).contains(&number) => return Ok(()),
        Values::Int(0, 1) => "0 or 1".to_owned(),
        Values::Int(low, high) if high == i64::from(i32::MAX) => {
            format!("an integer from {low} (32 bits)")
        }
        Values::Int(low, high) => format!("an integer from {low} to {high}"),
        Values::Length(..) => "bytes".to_owned(),
    };
    Err(invalid(format!(
        "{} cannot be {number}: it is {right}",
        row.name
    )))
}

fn check_bytes(row: &Row, bytes: &[u8]) -> Result<()> {
    match row.values {
        Values::Length(low, high) if (low..=high).contains(&bytes.len()) => Ok(()),
        Values::Length(low, usize::MAX) => Err(invalid(format!(
            "{} of {} bytes is too short: it has at least {low}",
            row.name,
            bytes.len()
        ))),
        Values::Length(low, high) => Err(invalid(format!(
            "{} has {low} to {high} bytes, not {}",
            row.name,
            bytes.len()
        ))),
        Values::Int(..) => Err(invalid(format!("{} takes an integer", row.name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SocketType::*;

    const EINVAL: i32 = Errno::INVAL.0;
    const ENOTSUP: i32 = Errno::NOTSUP.0;

    fn options(kind: SocketType) -> SocketOptions {
        SocketOptions::new(kind, true, false)
    }

    fn number(value: i64) -> OptionValue {
        OptionValue::Int(value)
    }

    fn bytes(value: &[u8]) -> OptionValue {
        OptionValue::Bytes(value.to_vec())
    }

    #[track_caller]
    fn refused(kind: SocketType, option: i32, value: &OptionValue) -> Error {
        let mut options = options(kind);
        let before = format!("{options:?}");
        let error = options.set(kind, option, value).unwrap_err();
        assert!(error.detail().is_some(), "no sentence: {error}");
        assert_eq!(
            before,
            format!("{options:?}"),
            "a refused value changed something"
        );
        error
    }

    #[test]
    fn every_integer_option_reads_back_what_was_set() {
        for row in table::ROWS {
            let (Home::Int(..), Values::Int(low, high)) = (&row.home, &row.values) else {
                continue;
            };
            for value in [*low, (*low).max(0) + 1, *high] {
                for kind in SocketType::ALL
                    .into_iter()
                    .filter(|kind| row.types.contains(*kind))
                {
                    let mut options = options(kind);
                    options.set(kind, row.number, &number(value)).unwrap();
                    let expected = match row.number {
                        22 => value.max(-1),         // MAXMSGSIZE: any negative is "unlimited"
                        74 => i64::from(value != 0), // INVERT_MATCHING: any int is a truth value
                        76 => value / 100 * 100,     // HEARTBEAT_TTL: tenths of a second
                        _ => value,
                    };
                    assert_eq!(
                        options.get(kind, row.number).unwrap(),
                        Reading::Value(number(expected)),
                        "{} = {value}",
                        row.name
                    );
                }
            }
        }
    }

    #[test]
    fn integers_just_out_of_range_are_refused_for_every_option() {
        for row in table::ROWS {
            let Values::Int(low, high) = row.values else {
                continue;
            };
            if matches!(row.home, Home::Live(_) | Home::Refused(_)) {
                continue;
            }
            let kind = SocketType::ALL
                .into_iter()
                .find(|kind| row.types.contains(*kind))
                .unwrap();
            for value in [low.checked_sub(1), high.checked_add(1)]
                .into_iter()
                .flatten()
            {
                assert_eq!(
                    refused(kind, row.number, &number(value)).errno(),
                    Errno::INVAL
                );
            }
        }
    }

    #[test]
    fn value_of_the_other_type_is_refused_for_every_option() {
        for row in table::ROWS {
            for kind in SocketType::ALL
                .into_iter()
                .filter(|kind| row.types.contains(*kind))
            {
                let value = if row.values.is_int() {
                    bytes(b"1")
                } else {
                    number(1)
                };
                assert_eq!(
                    refused(kind, row.number, &value).errno(),
                    Errno::INVAL,
                    "{}",
                    row.name
                );
            }
        }
    }

    #[test]
    fn rows_are_whole() {
        for row in table::ROWS {
            let int = !matches!(row.kind, OptionKind::Bytes);
            assert_eq!(int, row.values.is_int(), "{}", row.name);
            let home = match row.home {
                Home::Int(..) | Home::IntWrite(_) => Some(true),
                Home::Later(Later::Int(_) | Later::IntWrite(_), _) => Some(true),
                Home::Bytes(..) | Home::BytesWrite(_) | Home::Later(..) => Some(false),
                Home::Live(_) | Home::Refused(_) => None,
            };
            assert!(home.is_none_or(|home| home == int), "{}", row.name);
            assert_eq!(
                table::row(row.number).unwrap().name,
                row.name,
                "twice in the table"
            );
        }
        assert_eq!(kind_of(22), Some(OptionKind::Int64));
        assert_eq!(kind_of(14), Some(OptionKind::Fd));
        assert_eq!(kind_of(5), Some(OptionKind::Bytes));
        assert_eq!(kind_of(10), None);
        assert_eq!(kind_of(-1), None);
        assert_eq!(kind_of(i32::MAX), None);
    }

    #[test]
    fn defaults_are_those_of_the_reference() {
        for (option, value) in [
            (4, 0),
            (8, 100),
            (9, 10_000),
            (11, -1),
            (12, -1),
            (17, -1),
            (18, 100),
            (19, 100),
            (21, 0),
            (22, -1),
            (23, 1000),
            (24, 1000),
            (25, 1),
            (27, -1),
            (28, -1),
            (31, 1),
            (34, -1),
            (35, -1),
            (36, -1),
            (37, -1),
            (39, 0),
            (42, 0),
            (44, 0),
            (47, 0),
            (54, 0),
            (57, 0),
            (66, 30_000),
            (74, 0),
            (75, 0),
            (76, 0),
            (77, -1),
            (79, 0),
            (80, 0),
            (84, 1500),
            (89, -1),
            (93, 0),
            (94, 0),
            (96, 1),
            (101, 8192),
            (102, 8192),
            (109, 0),
            (112, 0),
            (117, 1),
            (119, 2048),
            (120, 1400),
            (121, 16),
            (122, 4),
        ] {
            for kind in [Pair, Router, Pub, Stream] {
                assert_eq!(
                    options(kind).get(kind, option).unwrap(),
                    Reading::Value(number(value)),
                    "option {option}"
                );
            }
        }
        for option in [5, 45, 46, 55, 68, 92, 99, 100] {
            assert_eq!(
                options(Req).get(Req, option).unwrap(),
                Reading::Value(bytes(b""))
            );
        }
    }

    #[test]
    fn subscribers_and_sockets_of_a_context_that_never_blocks_do_not_linger() {
        assert_eq!(options(Sub).linger, Some(Duration::ZERO));
        assert_eq!(options(Xsub).linger, Some(Duration::ZERO));
        assert_eq!(options(Pub).linger, None);
        assert_eq!(
            SocketOptions::new(Pub, false, false).linger,
            Some(Duration::ZERO)
        );
        assert!(SocketOptions::new(Pub, true, true).ipv6);
    }

    /// What the reference accepts of 0, 1, -1 and 100 (or of b"" and b"abc"), by type, as far as mqcore
    /// keeps it. `None`: refused.
    #[test]
    fn accepted_values_by_type_are_those_of_the_reference() {
        let tried = [0, 1, -1, 100];
        let everywhere: &[(i32, [bool; 4])] = &[
            (17, [true; 4]),
            (18, [true; 4]),
            (27, [true; 4]),
            (28, [true; 4]),
            (11, [true; 4]),
            (12, [true; 4]),
            (35, [true; 4]),
            (36, [true; 4]),
            (37, [true; 4]),
            (74, [true; 4]),
            (89, [true; 4]),
            (58, [true; 4]),
            (59, [true; 4]),
            (60, [true; 4]),
            (76, [true; 4]),
            (19, [true, true, false, true]),
            (21, [true, true, false, true]),
            (23, [true, true, false, true]),
            (24, [true, true, false, true]),
            (66, [true, true, false, true]),
            (75, [true, true, false, true]),
            (77, [true, true, false, true]),
            (79, [true, true, false, true]),
            (80, [true, true, false, true]),
            (57, [true, true, false, true]),
            (34, [true, true, true, false]),
            (39, [true, true, false, false]),
            (42, [true, true, false, false]),
            (31, [true, true, false, false]),
            (54, [true, true, false, false]),
            (1, [false; 4]),
            (13, [false; 4]),
            (15, [false; 4]),
            (16, [false; 4]),
            (43, [false; 4]),
            (70, [false; 4]),
            (81, [false; 4]),
        ];
        for kind in SocketType::ALL {
            for (option, accepted) in everywhere {
                for (value, accepted) in tried.into_iter().zip(accepted) {
                    let result = options(kind).set(kind, *option, &number(value));
                    assert_eq!(
                        result.is_ok(),
                        *accepted,
                        "{kind:?} {option} {value}: {result:?}"
                    );
                }
            }
            let only: &[(i32, &[SocketType])] = &[
                (33, &[Router]),
                (56, &[Router]),
                (51, &[Req, Dealer, Router]),
                (52, &[Req]),
                (53, &[Req]),
                (40, &[Xpub]),
                (78, &[Xpub]),
                (69, &[Xpub, Pub]),
                (73, &[Stream]),
            ];
            for (option, kinds) in only {
                for (value, in_range) in [(0, true), (1, true), (-1, false), (100, *option != 73)] {
                    let result = options(kind).set(kind, *option, &number(value));
                    let accepted = in_range && kinds.contains(&kind);
                    assert_eq!(
                        result.is_ok(),
                        accepted,
                        "{kind:?} {option} {value}: {result:?}"
                    );
                }
                assert_eq!(
                    options(kind).get(kind, *option).unwrap_err().errno().0,
                    EINVAL
                );
            }
            let texts: &[(i32, &[SocketType], bool)] = &[
                (5, &SocketType::ALL, false),
                (6, &[Sub], true),
                (7, &[Sub], true),
                (61, &[Router, Stream], false),
                (92, &SocketType::ALL, false),
            ];
            for (option, kinds, empty) in texts {
                for (value, accepted) in [(&b""[..], *empty), (b"abc", true)] {
                    let result = options(kind).set(kind, *option, &bytes(value));
                    let accepted = accepted && kinds.contains(&kind);
                    assert_eq!(
                        result.is_ok(),
                        accepted,
                        "{kind:?} {option} {value:?}: {result:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_mqcore_does_not_have_yet_is_refused_with_a_sentence_and_its_default_is_not() {
        for (option, default, other) in [
            (8, 100, 101),
            (44, 0, 1),
            (47, 0, 1),
            (96, 1, 0),
            (109, 0, 1),
            (113, 0, 1),
            (93, 0, 1),
            (124, 0, 1),
        ] {
            assert_eq!(
                options(Pair).set(Pair, option, &number(default)),
                Ok(Change::Stored)
            );
            let error = refused(Pair, option, &number(other));
            assert_eq!(error.errno().0, ENOTSUP);
            assert!(
                error.detail().unwrap().contains("mqcore does not have"),
                "{error}"
            );
        }
        assert_eq!(refused(Pair, 45, &bytes(b"user")).errno().0, ENOTSUP);
        assert_eq!(refused(Pair, 45, &bytes(b"")).errno().0, EINVAL);
        assert_eq!(refused(Pair, 48, &bytes(&[7; 32])).errno().0, ENOTSUP);
        assert_eq!(refused(Pair, 48, &bytes(&[7; 31])).errno().0, EINVAL);
        assert_eq!(refused(Pair, 110, &bytes(b"hello")).errno().0, ENOTSUP);
        assert_eq!(refused(Xpub, 71, &number(1)).errno().0, ENOTSUP);
        assert_eq!(refused(Pub, 71, &number(1)).errno().0, EINVAL);
        assert_eq!(refused(Router, 41, &number(1)).errno().0, ENOTSUP);
        assert_eq!(refused(Rep, 41, &number(1)).errno().0, EINVAL);
    }

    #[test]
    fn secret_never_appears_in_the_refusal() {
        let error = refused(Pair, 46, &bytes(b"hunter2"));
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn sentences_say_what_would_be_right() {
        for (kind, option, value, sentence) in [
            (
                Push,
                23,
                number(-1),
                "SNDHWM cannot be -1: it is an integer from 0 (32 bits)",
            ),
            (Push, 39, number(2), "IMMEDIATE cannot be 2: it is 0 or 1"),
            (
                Push,
                33,
                number(1),
                "ROUTER_MANDATORY is an option of ROUTER, not of PUSH",
            ),
            (Push, 16, number(1), "TYPE is read-only"),
            (
                Push,
                5,
                number(1),
                "ROUTING_ID takes bytes, not the integer 1",
            ),
            (
                Push,
                23,
                bytes(b"ten"),
                "SNDHWM takes an integer, not 3 bytes",
            ),
            (
                Push,
                5,
                bytes(&[b'x'; 256]),
                "ROUTING_ID has 1 to 255 bytes, not 256",
            ),
            (Push, 9999, number(1), "there is no socket option 9999"),
        ] {
            let error = refused(kind, option, &value);
            assert_eq!((error.errno().0, error.detail()), (EINVAL, Some(sentence)));
        }
    }

    #[test]
    fn routing_id_cannot_begin_with_the_byte_of_automatic_ids() {
        let error = refused(Dealer, 5, &bytes(b"\0abc"));
        assert!(error.detail().unwrap().contains("automatic"), "{error}");
    }

    #[test]
    fn live_options_are_left_to_the_socket() {
        assert_eq!(
            options(Push).get(Push, 15).unwrap(),
            Reading::Live(Live::Events)
        );
        assert_eq!(
            options(Sub).get(Sub, 116).unwrap(),
            Reading::Live(Live::TopicsCount)
        );
        assert_eq!(
            options(Push).get(Push, 116).unwrap_err().errno(),
            Errno::INVAL
        );
    }

    #[test]
    fn changes_say_what_the_socket_does_next() {
        let set =
            |kind, option, value: i64| options(kind).set(kind, option, &number(value)).unwrap();
        assert_eq!(set(Push, 23, 5), Change::Hwm);
        assert_eq!(set(Push, 17, 5), Change::Linger);
        assert_eq!(set(Push, 27, 5), Change::Timeouts);
        assert_eq!(set(Push, 19, 5), Change::Stored);
        assert_eq!(
            set(Router, 33, 100),
            Change::Pattern(PatternOption::RouterMandatory(true))
        );
        assert_eq!(
            options(Sub).set(Sub, 6, &bytes(b"news")).unwrap(),
            Change::Pattern(PatternOption::Subscribe(b"news".into()))
        );
    }

    #[test]
    fn metadata_is_kept_by_name_and_checked() {
        let mut options = options(Push);
        for text in ["X-Job:one", "X-Hop:1:2", "x-job:two"] {
            options.set(Push, 95, &bytes(text.as_bytes())).unwrap();
        }
        let expected = [("x-job", &b"two"[..]), ("X-Hop", b"1:2")];
        for ((name, value), (expected_name, expected)) in options.metadata.iter().zip(expected) {
            assert_eq!((name.as_str(), value.as_slice()), (expected_name, expected));
        }
        for text in ["", "abc", "Job:one", "X-:one", "X-Job:", "X-J b:one"] {
            assert_eq!(
                refused(Push, 95, &bytes(text.as_bytes())).errno(),
                Errno::INVAL,
                "{text}"
            );
        }
    }

    #[test]
    fn accept_filter_lets_in_its_network_only() {
        let inside = |network: &str, peer: &str| {
            Network::parse(network)
                .unwrap()
                .contains(peer.parse().unwrap())
        };
        assert!(inside("10.1.0.0/16", "10.1.200.3"));
        assert!(!inside("10.1.0.0/16", "10.2.0.1"));
        assert!(inside("10.1.0.0/16", "::ffff:10.1.2.3"));
        assert!(inside("0.0.0.0/0", "203.0.113.9"));
        assert!(!inside("0.0.0.0/0", "2001:db8::1"));
        assert!(inside("::/0", "203.0.113.9"));
        assert!(inside("2001:db8::/32", "2001:db8:1::1"));
        assert!(!inside("2001:db8::1", "2001:db8::2"));
        for wrong in [
            "",
            "abc",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "::1/129",
            "10.0.0.0/",
            "localhost",
        ] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
            assert_eq!(
                refused(Pull, 38, &bytes(wrong.as_bytes())).errno(),
                Errno::INVAL
            );
        }
    }

    #[test]
    fn reconnect_interval_of_zero_never_reconnects() {
        let mut options = options(Push);
        assert_eq!(options.reconnect_delay(), Some(Duration::from_millis(100)));
        for value in [0, -1] {
            options.set(Push, 18, &number(value)).unwrap();
            assert_eq!(options.reconnect_delay(), None);
        }
    }

    #[test]
    fn conflate_has_effect_on_five_types_only() {
        for kind in SocketType::ALL {
            let mut options = options(kind);
            options.set(kind, 54, &number(1)).unwrap();
            assert_eq!(
                options.conflates(kind),
                [Pull, Push, Sub, Pub, Dealer].contains(&kind)
            );
        }
    }
}
