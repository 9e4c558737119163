//! Socket options and context options: their numbers, rules, defaults and storage.
//!
//! The module `table` is the one list of socket options; setting, reading and [`kind_of`] only look it up. A refused
//! value changes nothing, and an option that mqcore does not have yet is never accepted and ignored.

mod context;
mod table;
mod threads;

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
    /// XPUB: what peers ask for waits for [`Decide`](Self::Decide).
    XpubManual(bool),
    /// XPUB: as [`XpubManual`](Self::XpubManual), and the message after a decision goes only to its peer.
    XpubManualLastValue(bool),
    /// XPUB in manual mode: what a peer gets.
    Decide {
        /// The id of its pipe.
        peer: u64,
        /// Not necessarily the one it asked for.
        prefix: Frame,
        /// Or unsubscribe.
        subscribe: bool,
    },
    /// XPUB: what every new peer is sent first.
    XpubWelcome(Option<Frame>),
    /// XPUB, XSUB: of a message of several frames, those after the first are subscriptions only if the
    /// first is one.
    OnlyFirstSubscribe(bool),
    /// XSUB: tell the peers of every cancellation, not only of the last for a prefix.
    XsubVerboseUnsubscribe(bool),
    /// PUB, XPUB: most bytes that the subscriptions of one peer may take from now on, each counted with
    /// its prefix and 48 more; a peer that wants more is dropped. 64 MiB unless set.
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
    /// Calls that wait look on for so long first.
    Spin,
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
    /// IN_BATCH_SIZE: most bytes read at once, but for the body of a long message; `None` is what suits mqcore.
    pub in_batch_size: Option<usize>,
    /// OUT_BATCH_SIZE: no further message is encoded while so many bytes wait to be sent; as above.
    pub out_batch_size: Option<usize>,
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
    /// SOCKS_PROXY: `host:port` of the proxy for tcp connects; empty is none.
    pub socks_proxy: String,
    /// SOCKS_USERNAME; empty offers the proxy no login.
    pub socks_username: Vec<u8>,
    /// SOCKS_PASSWORD.
    pub socks_password: Vec<u8>,
    /// HELLO_MSG: sent to every new peer before anything else; empty is none.
    pub hello_msg: Vec<u8>,
    /// DISCONNECT_MSG: received when an accepted peer has gone; empty is none.
    pub disconnect_msg: Vec<u8>,
    /// HICCUP_MSG: received when the peer of a connect was lost; empty is none.
    pub hiccup_msg: Vec<u8>,
    /// ROUTER_NOTIFY: empty messages tell of peers that come (1) and go (2).
    pub router_notify: i32,
    /// ROUTER_RAW: bytes instead of ZMTP, as STREAM.
    pub router_raw: bool,
    /// RECONNECT_STOP: when not to connect again: refused (1), lost in the handshake (2), after a disconnect (4).
    pub reconnect_stop: i32,
    /// BUSY_POLL: microseconds that the kernel polls the network device for a waiting read.
    pub busy_poll: i32,
    /// XPUB_MANUAL or XPUB_MANUAL_LAST_VALUE; the pattern was told.
    pub xpub_manual: bool,
    /// SPIN (mqcore's own): how long a call that waits looks on before it sleeps. In vain, it says EINTR once in
    /// between, so that its caller can look for signals whose handlers had no sleep to interrupt: call again.
    pub spin: Duration,
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
            in_batch_size: None,
            out_batch_size: None,
            metadata: Vec::new(),
            connect_routing_id: None,
            router_handover: false,
            stream_notify: true,
            invert_matching: false,
            socks_proxy: String::new(),
            socks_username: Vec::new(),
            socks_password: Vec::new(),
            hello_msg: Vec::new(),
            disconnect_msg: Vec::new(),
            hiccup_msg: Vec::new(),
            router_notify: 0,
            router_raw: false,
            reconnect_stop: 0,
            busy_poll: 0,
            xpub_manual: false,
            spin: Duration::ZERO,
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
mod tests;
