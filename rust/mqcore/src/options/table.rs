//! The one table of socket options: number, name, kind, valid values, the types that accept it, and where
//! its value lives.

use std::fmt;
use std::time::Duration;

use mqcore_proto::SocketType;

use super::PatternOption;
use super::{Change, Live, Network, OptionKind, SocketOptions};

pub(super) struct Row {
    pub(super) number: i32,
    pub(super) name: &'static str,
    pub(super) kind: OptionKind,
    pub(super) values: Values,
    pub(super) types: Types,
    pub(super) home: Home,
}

/// What may be set.
#[derive(Clone, Copy)]
pub(super) enum Values {
    /// From the first to the last, both included.
    Int(i64, i64),
    /// Bytes, from the shortest to the longest.
    Length(usize, usize),
}

impl Values {
    pub(super) fn is_int(self) -> bool {
        matches!(self, Self::Int(..))
    }
}

type GetInt = fn(&SocketOptions) -> i64;
/// The value is in the row's range.
type SetInt = fn(&mut SocketOptions, i64) -> Change;
type GetBytes = fn(&SocketOptions) -> Vec<u8>;
/// The value has the row's length; the error says what else is wrong with it.
type SetBytes = fn(&mut SocketOptions, &[u8]) -> Result<Change, String>;

/// Where an option's value lives, and whether it can be read and written.
pub(super) enum Home {
    Int(GetInt, SetInt),
    IntWrite(SetInt),
    Bytes(GetBytes, SetBytes),
    BytesWrite(SetBytes),
    /// Read from the socket.
    Live(Live),
    /// Not there yet: only the default, and the name of what is missing.
    Later(Later, &'static str),
    /// Not an option of a socket; the text follows its name.
    Refused(&'static str),
}

/// The default of an option that is not there yet.
pub(super) enum Later {
    Int(i64),
    IntWrite(i64),
    Bytes(&'static [u8]),
    BytesWrite,
}

/// A set of socket types, one bit for each.
#[derive(Clone, Copy)]
pub(super) struct Types(u16);

impl Types {
    const ALL: Self = Self((1 << SocketType::ALL.len()) - 1);

    const fn only(kinds: &[SocketType]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < kinds.len() {
            bits |= 1 << kinds[at] as u16;
            at += 1;
        }
        Self(bits)
    }

    pub(super) fn contains(self, kind: SocketType) -> bool {
        self.0 & 1 << kind as u16 != 0
    }
}

impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for kind in SocketType::ALL
            .into_iter()
            .filter(|kind| self.contains(*kind))
        {
            if !first {
                f.write_str(", ")?;
            }
            first = false;
            f.write_str(kind.name())?;
        }
        Ok(())
    }
}

/// The row of option number `option`.
#[inline]
pub(super) fn row(option: i32) -> Option<&'static Row> {
    /// From number to row; the row after the last is "none".
    const INDEX: [u8; 256] = {
        let mut index = [u8::MAX; 256];
        let mut at = 0;
        while at < ROWS.len() {
            index[ROWS[at].number as usize] = at as u8;
            at += 1;
        }
        index
    };
    let at = *INDEX.get(usize::try_from(option).ok()?)?;
    ROWS.get(usize::from(at))
}

const fn row_of(
    number: i32,
    name: &'static str,
    kind: OptionKind,
    values: Values,
    types: Types,
    home: Home,
) -> Row {
    Row {
        number,
        name,
        kind,
        values,
        types,
        home,
    }
}

const fn int(number: i32, name: &'static str, values: Values, types: Types, home: Home) -> Row {
    row_of(number, name, OptionKind::Int, values, types, home)
}

const fn bytes(number: i32, name: &'static str, values: Values, types: Types, home: Home) -> Row {
    row_of(number, name, OptionKind::Bytes, values, types, home)
}

const fn live(number: i32, name: &'static str, types: Types, live: Live) -> Row {
    int(number, name, ANY, types, Home::Live(live))
}

const fn later(
    number: i32,
    name: &'static str,
    values: Values,
    default: i64,
    what: &'static str,
) -> Row {
    int(
        number,
        name,
        values,
        ALL,
        Home::Later(Later::Int(default), what),
    )
}

const fn later_bytes(number: i32, name: &'static str, values: Values, what: &'static str) -> Row {
    bytes(
        number,
        name,
        values,
        ALL,
        Home::Later(Later::Bytes(b""), what),
    )
}

const fn later_bytes_write(
    number: i32,
    name: &'static str,
    types: Types,
    what: &'static str,
) -> Row {
    bytes(
        number,
        name,
        ANY_BYTES,
        types,
        Home::Later(Later::BytesWrite, what),
    )
}

/// A truth value of a pattern, where any positive number is true.
const fn pattern(number: i32, name: &'static str, types: Types, set: SetInt) -> Row {
    int(number, name, FROM_0, types, Home::IntWrite(set))
}

const MAX: i64 = i32::MAX as i64;
const ANY: Values = Values::Int(i32::MIN as i64, MAX);
const FROM_MINUS_1: Values = Values::Int(-1, MAX);
const FROM_0: Values = Values::Int(0, MAX);
const FROM_1: Values = Values::Int(1, MAX);
const BOOL: Values = Values::Int(0, 1);
const ANY_64: Values = Values::Int(i64::MIN, i64::MAX);
const ANY_BYTES: Values = Values::Length(0, usize::MAX);
const SHORT: Values = Values::Length(1, 255);
/// Binary keys of 32 bytes; Z85 text of 40, with or without a NUL.
const KEY: Values = Values::Length(32, 41);

const ALL: Types = Types::ALL;
const REQ: Types = Types::only(&[SocketType::Req]);
const ROUTER: Types = Types::only(&[SocketType::Router]);
const XPUB: Types = Types::only(&[SocketType::Xpub]);
/// An XPUB decides for its peers (XPUB_MANUAL).
const DECIDERS: Types = Types::only(&[SocketType::Sub, SocketType::Xpub]);
const DEALER: Types = Types::only(&[SocketType::Dealer]);
const GREETERS: Types = Types::only(&[SocketType::Dealer, SocketType::Router]);
const XSUB: Types = Types::only(&[SocketType::Xsub]);
const STREAM: Types = Types::only(&[SocketType::Stream]);
const PUBLISHERS: Types = Types::only(&[SocketType::Pub, SocketType::Xpub]);
const RAW_SUBSCRIPTIONS: Types = Types::only(&[SocketType::Xpub, SocketType::Xsub]);
const ROUTED: Types = Types::only(&[SocketType::Router, SocketType::Stream]);
const PROBERS: Types = Types::only(&[SocketType::Req, SocketType::Dealer, SocketType::Router]);
const TOPICS: Types = Types::only(&[
    SocketType::Pub,
    SocketType::Sub,
    SocketType::Xpub,
    SocketType::Xsub,
]);

const PLAIN: &str = "the PLAIN mechanism";
const CURVE: &str = "the CURVE mechanism";
const GSSAPI: &str = "the GSSAPI mechanism";
const ZAP: &str = "ZAP authentication";
const MULTICAST: &str = "multicast transports";
const VMCI: &str = "the vmci transport";
const WSS: &str = "the wss transport";
const NORM: &str = "the norm transport";

const NO_KEY: &[u8] = &[0; 32];

#[rustfmt::skip] // a table: one option, one line (or its functions below it)
pub(super) const ROWS: &[Row] = &[
    int(1, "HWM", ANY, ALL, Home::Refused("is gone: use SNDHWM and RCVHWM")),
    row_of(4, "AFFINITY", OptionKind::Int64, ANY_64, ALL, Home::Int(
        |o| o.affinity as i64, // 64 bits, whichever way they are read
        |o, v| { o.affinity = v as u64; Change::Stored })),
    bytes(5, "ROUTING_ID", SHORT, ALL, Home::Bytes(
        |o| o.routing_id.clone(),
        |o, v| { o.routing_id = routing_id(v)?; Ok(Change::Stored) })),
    bytes(6, "SUBSCRIBE", ANY_BYTES, DECIDERS, Home::BytesWrite(
        |_, v| Ok(Change::Pattern(PatternOption::Subscribe(v.into()))))),
    bytes(7, "UNSUBSCRIBE", ANY_BYTES, DECIDERS, Home::BytesWrite(
        |_, v| Ok(Change::Pattern(PatternOption::Unsubscribe(v.into()))))),
    later(8, "RATE", FROM_1, 100, MULTICAST),
    later(9, "RECOVERY_IVL", FROM_0, 10_000, MULTICAST),
    int(11, "SNDBUF", FROM_MINUS_1, ALL, Home::Int(
        |o| unless_none(o.sndbuf),
        |o, v| { o.sndbuf = usize::try_from(v).ok(); Change::Stored })),
    int(12, "RCVBUF", FROM_MINUS_1, ALL, Home::Int(
        |o| unless_none(o.rcvbuf),
        |o, v| { o.rcvbuf = usize::try_from(v).ok(); Change::Stored })),
    live(13, "RCVMORE", ALL, Live::ReceiveMore),
    row_of(14, "FD", OptionKind::Fd, ANY, ALL, Home::Live(Live::Fd)),
    live(15, "EVENTS", ALL, Live::Events),
    live(16, "TYPE", ALL, Live::Type),
    int(17, "LINGER", FROM_MINUS_1, ALL, Home::Int(
        |o| millis_or(o.linger, -1),
        |o, v| { o.linger = from_millis(v); Change::Linger })),
    int(18, "RECONNECT_IVL", FROM_MINUS_1, ALL, Home::Int(
        |o| millis_or(o.reconnect_ivl, -1),
        |o, v| { o.reconnect_ivl = from_millis(v); Change::Stored })),
    int(19, "BACKLOG", FROM_0, ALL, Home::Int(
        |o| o.backlog.into(),
        |o, v| { o.backlog = v as i32; Change::Stored })), // in range, as for every `as` below
    int(21, "RECONNECT_IVL_MAX", FROM_0, ALL, Home::Int(
        |o| millis_or(o.reconnect_ivl_max, 0),
        |o, v| { o.reconnect_ivl_max = from_positive_millis(v); Change::Stored })),
    row_of(22, "MAXMSGSIZE", OptionKind::Int64, ANY_64, ALL, Home::Int(
        |o| o.maxmsgsize.map_or(-1, |size| size as i64),
        |o, v| { o.maxmsgsize = u64::try_from(v).ok(); Change::Stored })),
    int(23, "SNDHWM", FROM_0, ALL, Home::Int(
        |o| o.sndhwm as i64,
        |o, v| { o.sndhwm = v as usize; Change::Hwm })),
    int(24, "RCVHWM", FROM_0, ALL, Home::Int(
        |o| o.rcvhwm as i64,
        |o, v| { o.rcvhwm = v as usize; Change::Hwm })),
    later(25, "MULTICAST_HOPS", FROM_1, 1, MULTICAST),
    int(27, "RCVTIMEO", FROM_MINUS_1, ALL, Home::Int(
        |o| millis_or(o.rcvtimeo, -1),
        |o, v| { o.rcvtimeo = from_millis(v); Change::Timeouts })),
    int(28, "SNDTIMEO", FROM_MINUS_1, ALL, Home::Int(
        |o| millis_or(o.sndtimeo, -1),
        |o, v| { o.sndtimeo = from_millis(v); Change::Timeouts })),
    int(31, "IPV4ONLY", BOOL, ALL, Home::Int(
        |o| (!o.ipv6).into(),
        |o, v| { o.ipv6 = v == 0; Change::Stored })),
    bytes(32, "LAST_ENDPOINT", ANY_BYTES, ALL, Home::Live(Live::LastEndpoint)),
    pattern(33, "ROUTER_MANDATORY", ROUTER,
        |_, v| Change::Pattern(PatternOption::RouterMandatory(v != 0))),
    int(34, "TCP_KEEPALIVE", Values::Int(-1, 1), ALL, Home::Int(
        |o| o.tcp_keepalive.map_or(-1, i64::from),
        |o, v| { o.tcp_keepalive = (v >= 0).then_some(v == 1); Change::Stored })),
    // The upper limits of the three are the kernel's (MAX_TCP_KEEPCNT and its siblings).
    int(35, "TCP_KEEPALIVE_CNT", Values::Int(-1, 127), ALL, Home::Int(
        |o| o.tcp_keepalive_cnt.map_or(-1, i64::from),
        |o, v| { o.tcp_keepalive_cnt = u32::try_from(v).ok(); Change::Stored })),
    int(36, "TCP_KEEPALIVE_IDLE", Values::Int(-1, 32_767), ALL, Home::Int(
        |o| o.tcp_keepalive_idle.map_or(-1, i64::from),
        |o, v| { o.tcp_keepalive_idle = u32::try_from(v).ok(); Change::Stored })),
    int(37, "TCP_KEEPALIVE_INTVL", Values::Int(-1, 32_767), ALL, Home::Int(
        |o| o.tcp_keepalive_intvl.map_or(-1, i64::from),
        |o, v| { o.tcp_keepalive_intvl = u32::try_from(v).ok(); Change::Stored })),
    bytes(38, "TCP_ACCEPT_FILTER", SHORT, ALL, Home::BytesWrite(
        |o, v| { o.tcp_accept_filters.push(network(v)?); Ok(Change::Stored) })),
    int(39, "IMMEDIATE", BOOL, ALL, Home::Int(
        |o| o.immediate.into(),
        |o, v| { o.immediate = v == 1; Change::Stored })),
    pattern(40, "XPUB_VERBOSE", XPUB,
        |_, v| Change::Pattern(PatternOption::XpubVerbose(v != 0))),
    int(41, "ROUTER_RAW", FROM_0, ROUTER, Home::IntWrite(
        |o, v| { o.router_raw = v != 0; Change::Stored })),
    int(42, "IPV6", BOOL, ALL, Home::Int(
        |o| o.ipv6.into(),
        |o, v| { o.ipv6 = v == 1; Change::Stored })),
    live(43, "MECHANISM", ALL, Live::Mechanism),
    later(44, "PLAIN_SERVER", BOOL, 0, PLAIN),
    later_bytes(45, "PLAIN_USERNAME", SHORT, PLAIN),
    later_bytes(46, "PLAIN_PASSWORD", SHORT, PLAIN),
    later(47, "CURVE_SERVER", BOOL, 0, CURVE),
    bytes(48, "CURVE_PUBLICKEY", KEY, ALL, Home::Later(Later::Bytes(NO_KEY), CURVE)),
    bytes(49, "CURVE_SECRETKEY", KEY, ALL, Home::Later(Later::Bytes(NO_KEY), CURVE)),
    bytes(50, "CURVE_SERVERKEY", KEY, ALL, Home::Later(Later::Bytes(NO_KEY), CURVE)),
    pattern(51, "PROBE_ROUTER", PROBERS,
        |_, v| Change::Pattern(PatternOption::ProbeRouter(v != 0))),
    pattern(52, "REQ_CORRELATE", REQ,
        |_, v| Change::Pattern(PatternOption::ReqCorrelate(v != 0))),
    pattern(53, "REQ_RELAXED", REQ,
        |_, v| Change::Pattern(PatternOption::ReqRelaxed(v != 0))),
    int(54, "CONFLATE", BOOL, ALL, Home::Int(
        |o| o.conflate.into(),
        |o, v| { o.conflate = v == 1; Change::Stored })),
    later_bytes(55, "ZAP_DOMAIN", SHORT, ZAP),
    pattern(56, "ROUTER_HANDOVER", ROUTER,
        |o, v| { o.router_handover = v != 0; Change::Stored }),
    int(57, "TOS", Values::Int(0, 255), ALL, Home::Int(
        |o| o.tos.into(),
        |o, v| { o.tos = v as u8; Change::Stored })),
    // Ids are compared as bit patterns: the reference takes any 32 bits for the three.
    int(58, "IPC_FILTER_PID", ANY, ALL, Home::IntWrite(
        |o, v| { o.ipc_filter_pids.push(v as i32); Change::Stored })),
    int(59, "IPC_FILTER_UID", ANY, ALL, Home::IntWrite(
        |o, v| { o.ipc_filter_uids.push(v as u32); Change::Stored })),
    int(60, "IPC_FILTER_GID", ANY, ALL, Home::IntWrite(
        |o, v| { o.ipc_filter_gids.push(v as u32); Change::Stored })),
    bytes(61, "CONNECT_ROUTING_ID", SHORT, ROUTED, Home::BytesWrite(
        |o, v| { o.connect_routing_id = Some(routing_id(v)?); Ok(Change::Stored) })),
    later(62, "GSSAPI_SERVER", BOOL, 0, GSSAPI),
    later_bytes(63, "GSSAPI_PRINCIPAL", SHORT, GSSAPI),
    later_bytes(64, "GSSAPI_SERVICE_PRINCIPAL", SHORT, GSSAPI),
    later(65, "GSSAPI_PLAINTEXT", BOOL, 0, GSSAPI),
    int(66, "HANDSHAKE_IVL", FROM_0, ALL, Home::Int(
        |o| millis_or(o.handshake_ivl, 0),
        |o, v| { o.handshake_ivl = from_positive_millis(v); Change::Stored })),
    bytes(68, "SOCKS_PROXY", Values::Length(0, 4096), ALL, Home::Bytes(
        |o| o.socks_proxy.clone().into_bytes(),
        |o, v| { o.socks_proxy = text(v)?; Ok(Change::Stored) })),
    pattern(69, "XPUB_NODROP", PUBLISHERS,
        |_, v| Change::Pattern(PatternOption::XpubNodrop(v != 0))),
    int(70, "BLOCKY", ANY, ALL, Home::Refused("is an option of the context")),
    pattern(71, "XPUB_MANUAL", XPUB, |o, v| {
        o.xpub_manual = v != 0;
        Change::Pattern(PatternOption::XpubManual(v != 0))
    }),
    bytes(72, "XPUB_WELCOME_MSG", ANY_BYTES, XPUB, Home::BytesWrite(
        |_, v| Ok(Change::Pattern(PatternOption::XpubWelcome((!v.is_empty()).then(|| v.into())))))),
    int(73, "STREAM_NOTIFY", BOOL, STREAM, Home::IntWrite(
        |o, v| { o.stream_notify = v == 1; Change::Stored })),
    int(74, "INVERT_MATCHING", ANY, ALL, Home::Int(
        |o| o.invert_matching.into(),
        |o, v| {
            o.invert_matching = v != 0;
            Change::Pattern(PatternOption::InvertMatching(v != 0))
        })),
    int(75, "HEARTBEAT_IVL", FROM_0, ALL, Home::Int(
        |o| millis_or(o.heartbeat_ivl, 0),
        |o, v| { o.heartbeat_ivl = from_positive_millis(v); Change::Stored })),
    int(76, "HEARTBEAT_TTL", Values::Int(-99, 6_553_599), ALL, Home::Int(
        |o| i64::from(o.heartbeat_ttl) * 100,
        |o, v| { o.heartbeat_ttl = (v / 100) as u16; Change::Stored })),
    int(77, "HEARTBEAT_TIMEOUT", FROM_0, ALL, Home::Int(
        |o| millis_or(o.heartbeat_timeout, -1),
        |o, v| { o.heartbeat_timeout = from_millis(v); Change::Stored })),
    pattern(78, "XPUB_VERBOSER", XPUB,
        |_, v| Change::Pattern(PatternOption::XpubVerboser(v != 0))),
    int(79, "CONNECT_TIMEOUT", FROM_0, ALL, Home::Int(
        |o| millis_or(o.connect_timeout, 0),
        |o, v| { o.connect_timeout = from_positive_millis(v); Change::Stored })),
    int(80, "TCP_MAXRT", FROM_0, ALL, Home::Int(
        |o| millis_or(o.tcp_maxrt, 0),
        |o, v| { o.tcp_maxrt = from_positive_millis(v); Change::Stored })),
    live(81, "THREAD_SAFE", ALL, Live::ThreadSafe),
    later(84, "MULTICAST_MAXTPDU", FROM_1, 1500, MULTICAST),
    row_of(85, "VMCI_BUFFER_SIZE", OptionKind::Int64, ANY_64, ALL, Home::Later(Later::Int(0), VMCI)),
    row_of(86, "VMCI_BUFFER_MIN_SIZE", OptionKind::Int64, ANY_64, ALL, Home::Later(Later::Int(0), VMCI)),
    row_of(87, "VMCI_BUFFER_MAX_SIZE", OptionKind::Int64, ANY_64, ALL, Home::Later(Later::Int(0), VMCI)),
    later(88, "VMCI_CONNECT_TIMEOUT", ANY, -1, VMCI),
    int(89, "USE_FD", FROM_MINUS_1, ALL, Home::Int(
        |o| o.use_fd.map_or(-1, i64::from),
        |o, v| { o.use_fd = (v >= 0).then_some(v as i32); Change::Stored })),
    later(90, "GSSAPI_PRINCIPAL_NAMETYPE", Values::Int(0, 2), 0, GSSAPI),
    later(91, "GSSAPI_SERVICE_PRINCIPAL_NAMETYPE", Values::Int(0, 2), 0, GSSAPI),
    bytes(92, "BINDTODEVICE", Values::Length(1, 15), ALL, Home::Bytes(
        |o| o.bindtodevice.clone(),
        |o, v| { o.bindtodevice = interface(v)?; Ok(Change::Stored) })),
    later(93, "ZAP_ENFORCE_DOMAIN", ANY, 0, ZAP),
    later(94, "LOOPBACK_FASTPATH", ANY, 0, "a version for Windows"),
    bytes(95, "METADATA", Values::Length(1, usize::MAX), ALL, Home::BytesWrite(
        |o, v| { add_metadata(o, v)?; Ok(Change::Stored) })),
    later(96, "MULTICAST_LOOP", ANY, 1, MULTICAST),
    int(97, "ROUTER_NOTIFY", Values::Int(0, 3), ROUTER, Home::Int(
        |o| o.router_notify.into(),
        |o, v| { o.router_notify = v as i32; Change::Stored })),
    pattern(98, "XPUB_MANUAL_LAST_VALUE", XPUB, |o, v| {
        o.xpub_manual = v != 0;
        Change::Pattern(PatternOption::XpubManualLastValue(v != 0))
    }),
    bytes(99, "SOCKS_USERNAME", Values::Length(0, 255), ALL, Home::Bytes(
        |o| o.socks_username.clone(),
        |o, v| { o.socks_username = v.into(); Ok(Change::Stored) })),
    bytes(100, "SOCKS_PASSWORD", Values::Length(0, 255), ALL, Home::Bytes(
        |o| o.socks_password.clone(),
        |o, v| { o.socks_password = v.into(); Ok(Change::Stored) })),
    int(101, "IN_BATCH_SIZE", FROM_1, ALL, Home::Int(
        |o| batch_or_default(o.in_batch_size),
        |o, v| { o.in_batch_size = Some(v as usize); Change::Stored })),
    int(102, "OUT_BATCH_SIZE", FROM_1, ALL, Home::Int(
        |o| batch_or_default(o.out_batch_size),
        |o, v| { o.out_batch_size = Some(v as usize); Change::Stored })),
    later_bytes_write(103, "WSS_KEY_PEM", ALL, WSS),
    later_bytes_write(104, "WSS_CERT_PEM", ALL, WSS),
    later_bytes_write(105, "WSS_TRUST_PEM", ALL, WSS),
    later_bytes_write(106, "WSS_HOSTNAME", ALL, WSS),
    int(107, "WSS_TRUST_SYSTEM", BOOL, ALL, Home::Later(Later::IntWrite(0), WSS)),
    pattern(108, "ONLY_FIRST_SUBSCRIBE", RAW_SUBSCRIPTIONS,
        |_, v| Change::Pattern(PatternOption::OnlyFirstSubscribe(v != 0))),
    int(109, "RECONNECT_STOP", Values::Int(0, 7), ALL, Home::Int(
        |o| o.reconnect_stop.into(),
        |o, v| { o.reconnect_stop = v as i32; Change::Stored })),
    bytes(110, "HELLO_MSG", ANY_BYTES, GREETERS, Home::BytesWrite(
        |o, v| { o.hello_msg = v.into(); Ok(Change::Stored) })),
    bytes(111, "DISCONNECT_MSG", ANY_BYTES, ROUTER, Home::BytesWrite(
        |o, v| { o.disconnect_msg = v.into(); Ok(Change::Stored) })),
    int(112, "PRIORITY", FROM_0, ALL, Home::Int(
        |o| o.priority.into(),
        |o, v| { o.priority = v as u32; Change::Stored })),
    int(113, "BUSY_POLL", FROM_0, ALL, Home::Int(
        |o| o.busy_poll.into(),
        |o, v| { o.busy_poll = v as i32; Change::Stored })),
    bytes(114, "HICCUP_MSG", ANY_BYTES, DEALER, Home::BytesWrite(
        |o, v| { o.hiccup_msg = v.into(); Ok(Change::Stored) })),
    pattern(115, "XSUB_VERBOSE_UNSUBSCRIBE", XSUB,
        |_, v| Change::Pattern(PatternOption::XsubVerboseUnsubscribe(v != 0))),
    live(116, "TOPICS_COUNT", TOPICS, Live::TopicsCount),
    later(117, "NORM_MODE", Values::Int(0, 4), 1, NORM),
    later(118, "NORM_UNICAST_NACK", BOOL, 0, NORM),
    later(119, "NORM_BUFFER_SIZE", FROM_1, 2048, NORM),
    later(120, "NORM_SEGMENT_SIZE", FROM_1, 1400, NORM),
    later(121, "NORM_BLOCK_SIZE", Values::Int(1, 255), 16, NORM),
    later(122, "NORM_NUM_PARITY", Values::Int(0, 254), 4, NORM),
    later(123, "NORM_NUM_AUTOPARITY", Values::Int(0, 254), 0, NORM),
    later(124, "NORM_PUSH", BOOL, 0, NORM),
    // mqcore's own, far from the numbers of libzmq.
    int(255, "SPIN", Values::Int(0, 100_000), ALL, Home::Int(
        |o| o.spin.as_micros() as i64,
        |o, v| { o.spin = Duration::from_micros(v as u64); Change::Spin })),
];

/// Milliseconds, or `none` for none. Every stored duration came from an i32, so it fits.
fn millis_or(duration: Option<Duration>, none: i64) -> i64 {
    duration.map_or(none, |duration| duration.as_millis() as i64)
}

/// Negative is none.
fn from_millis(value: i64) -> Option<Duration> {
    u64::try_from(value).ok().map(Duration::from_millis)
}

/// Zero and negative are none.
fn from_positive_millis(value: i64) -> Option<Duration> {
    from_millis(value).filter(|duration| !duration.is_zero())
}

fn unless_none(size: Option<usize>) -> i64 {
    size.map_or(-1, |size| size as i64)
}

fn routing_id(value: &[u8]) -> Result<Vec<u8>, String> {
    // A ROUTER of mqcore refuses such a peer, so that nobody can take an automatic id.
    if value[0] == 0 {
        return Err("an id that begins with a zero byte is reserved for automatic ids".into());
    }
    Ok(value.to_vec())
}

fn network(value: &[u8]) -> Result<Network, String> {
    std::str::from_utf8(value)
        .ok()
        .and_then(Network::parse)
        .ok_or_else(|| {
            format!(
                "{:?} is no network: write an address or address/prefix, as 192.0.2.0/24",
                String::from_utf8_lossy(value)
            )
        })
}

fn text(value: &[u8]) -> Result<String, String> {
    String::from_utf8(value.to_vec()).map_err(|_| "it has to be text in UTF-8".into())
}

fn interface(value: &[u8]) -> Result<Vec<u8>, String> {
    if value
        .iter()
        .any(|byte| matches!(byte, 0 | b'/') || byte.is_ascii_whitespace())
    {
        let name = String::from_utf8_lossy(value);
        return Err(format!(
            "{name:?} cannot be the name of a network interface"
        ));
    }
    Ok(value.to_vec())
}

/// What the reference reads and encodes at once, unless told otherwise.
fn batch_or_default(batch: Option<usize>) -> i64 {
    batch.map_or(8192, |batch| batch as i64)
}

/// Adds `X-name:value`; a name that is there already gets the new value.
fn add_metadata(options: &mut SocketOptions, property: &[u8]) -> Result<(), String> {
    let text = || String::from_utf8_lossy(property);
    let Some(colon) = property.iter().position(|byte| *byte == b':') else {
        return Err(format!("{:?} has no colon: write X-name:value", text()));
    };
    let (name, value) = (&property[..colon], &property[colon + 1..]);
    // RFC 23: name-char = ALPHA | DIGIT | "-" | "_" | "." | "+"
    let named = name.len() > 2
        && name.len() <= 255
        && name.starts_with(b"X-")
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(byte));
    if !named {
        return Err(format!(
            "the name of {:?} has to be X- and letters, digits, -_.+ (at most 255 in all)",
            text()
        ));
    }
    if value.is_empty() {
        return Err(format!("{:?} has no value: write X-name:value", text()));
    }
    let name: String = name.iter().copied().map(char::from).collect();
    let value = value.to_vec();
    match options
        .metadata
        .iter_mut()
        .find(|(old, _)| old.eq_ignore_ascii_case(&name))
    {
        Some(entry) => *entry = (name, value),
        None => options.metadata.push((name, value)),
    }
    Ok(())
}
