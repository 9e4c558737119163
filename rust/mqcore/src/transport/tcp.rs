//! TCP: binding, connecting and the options of its sockets.

use std::io;
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, ToSocketAddrs,
};
use std::os::fd::{AsFd, BorrowedFd};

use nix::ifaddrs::getifaddrs;
use nix::{libc, setsockopt_impl, sockopt_impl};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::{ResolvedAddress, Stream, Target, adopt_listener, bind_error, tcp_text};
use crate::endpoint::{TcpAddress, TcpEndpoint, TcpHost};
use crate::error::{Errno, Error, Result};
use crate::options::{Network, SocketOptions};

sockopt_impl!(
    /// SO_BUSY_POLL: microseconds.
    BusyPoll,
    SetOnly,
    libc::SOL_SOCKET,
    libc::SO_BUSY_POLL,
    i32
);

/// Whether the system takes BUSY_POLL from this process: above its own setting only privileged ones may.
pub(crate) fn check_busy_poll(micros: i64) -> Result<()> {
    let Ok(micros) = i32::try_from(micros) else {
        return Ok(()); // the table refuses it
    };
    if micros <= 0 {
        return Ok(());
    }
    let probe = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    nix::sys::socket::setsockopt(&probe, BusyPoll, &micros).map_err(|error| {
        Error::new(
            Errno(error as i32),
            format!("the system does not take BUSY_POLL {micros}: more than net.core.busy_read is for privileged processes"),
        )
    })
}

/// A listening TCP socket.
#[derive(Debug)]
pub struct TcpAcceptor {
    listener: TcpListener,
    filters: Vec<Network>,
    /// For the accepted sockets.
    options: SocketOptions,
}

impl TcpAcceptor {
    pub(super) fn bind(address: &TcpAddress, options: &SocketOptions) -> Result<(Self, String)> {
        let listener = match options.use_fd {
            None => listen(address, options)?,
            Some(number) => {
                let families = [Domain::IPV4, Domain::IPV6];
                let listener = TcpListener::from(adopt_listener(number, &families)?);
                let ipv6 = listener.local_addr()?.is_ipv6();
                tune_socket(&SockRef::from(&listener), ipv6, options)?;
                listener
            }
        };
        let text = tcp_text(Some(listener.local_addr()?));
        let acceptor = Self {
            listener,
            filters: options.tcp_accept_filters.clone(),
            options: options.clone(),
        };
        Ok((acceptor, text))
    }

    pub(super) fn accept(&self) -> io::Result<Option<Stream>> {
        let (socket, peer) = SockRef::from(&self.listener).accept4(SOCK_NONBLOCK | SOCK_CLOEXEC)?;
        let Some(peer) = peer.as_socket() else {
            return Ok(None); // a tcp listener has no other peers
        };
        let allowed = self.filters.is_empty()
            || self
                .filters
                .iter()
                .any(|network| network.contains(peer.ip()));
        if !allowed {
            return Ok(None);
        }
        tune_connection(&SockRef::from(&socket), &self.options)?;
        Ok(Some(Stream::Tcp(socket.into(), peer)))
    }
}

/// The flags of accept4, which socket2 takes as numbers.
const SOCK_NONBLOCK: i32 = rustix::net::SocketFlags::NONBLOCK.bits() as i32;
const SOCK_CLOEXEC: i32 = rustix::net::SocketFlags::CLOEXEC.bits() as i32;

impl AsFd for TcpAcceptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

fn listen(address: &TcpAddress, options: &SocketOptions) -> Result<TcpListener> {
    let text = format!("tcp://{address}");
    let mut local = local_address(address, options.ipv6, Names::LookUp)?;
    let mut socket = open(local);
    let no_ipv6 = |error: &io::Error| error.raw_os_error() == Some(Errno::AFNOSUPPORT.0);
    if address.host == TcpHost::Any && socket.as_ref().is_err_and(no_ipv6) {
        // A kernel without IPv6: "any" is then any IPv4 address.
        local = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), local.port());
        socket = open(local);
    }
    let listen = |socket: &Socket| -> io::Result<()> {
        socket.set_reuse_address(true)?;
        tune_socket(&SockRef::from(socket), local.is_ipv6(), options)?;
        socket.bind(&local.into())?;
        socket.listen(options.backlog)
    };
    socket
        .and_then(|socket| listen(&socket).map(|()| socket.into()))
        .map_err(|error| bind_error(error, &text))
}

/// A new socket for `address`, dual-stack if it is an IPv6 address.
fn open(address: SocketAddr) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

/// What has to be set before bind or connect.
fn tune_socket(socket: &SockRef<'_>, ipv6: bool, options: &SocketOptions) -> io::Result<()> {
    if options.tos != 0 {
        // IP_TOS also for the IPv4 peers of a dual-stack socket.
        socket.set_tos_v4(options.tos.into())?;
        if ipv6 {
            socket.set_tclass_v6(options.tos.into())?;
        }
    }
    if !options.bindtodevice.is_empty() {
        socket.bind_device(Some(&options.bindtodevice))?;
    }
    // After the TOS, from which Linux derives a priority.
    super::tune(socket, options)
}

/// What a connection has; accepted sockets inherit the rest of [`tune_socket`], but not the priority.
fn tune_connection(socket: &SockRef<'_>, options: &SocketOptions) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    if options.busy_poll > 0 {
        nix::sys::socket::setsockopt(&**socket, BusyPoll, &options.busy_poll)?;
    }
    if options.priority > 0 {
        socket.set_priority(options.priority)?;
    }
    match options.tcp_keepalive {
        None => {}
        Some(false) => socket.set_keepalive(false)?,
        Some(true) => {
            let seconds = |value: Option<u32>| {
                value
                    .filter(|value| *value > 0)
                    .map(|value| std::time::Duration::from_secs(value.into()))
            };
            let mut keepalive = TcpKeepalive::new();
            if let Some(idle) = seconds(options.tcp_keepalive_idle) {
                keepalive = keepalive.with_time(idle);
            }
            if let Some(interval) = seconds(options.tcp_keepalive_intvl) {
                keepalive = keepalive.with_interval(interval);
            }
            if let Some(count) = options.tcp_keepalive_cnt.filter(|count| *count > 0) {
                keepalive = keepalive.with_retries(count);
            }
            socket.set_tcp_keepalive(&keepalive)?;
        }
    }
    if options.tcp_maxrt.is_some() {
        socket.set_tcp_user_timeout(options.tcp_maxrt)?;
    }
    Ok(())
}

/// Whether a host name may be looked up, which can take long.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    LookUp,
    Refuse,
}

/// The local address that a bind (or the source of a connect) means. ENODEV: this machine has none.
pub(super) fn local_address(address: &TcpAddress, ipv6: bool, names: Names) -> Result<SocketAddr> {
    let port = address.port;
    let no_device = |why: &str| Error::new(Errno::NODEV, format!("tcp://{address}: {why}"));
    match &address.host {
        TcpHost::Any if ipv6 => Ok(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)),
        TcpHost::Any => Ok(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)),
        TcpHost::Ip(IpAddr::V6(_)) | TcpHost::Zoned(..) if !ipv6 => {
            Err(no_device("an IPv6 address needs the option IPV6"))
        }
        TcpHost::Ip(host) => Ok(SocketAddr::new(*host, port)),
        TcpHost::Zoned(host, zone) => Ok(SocketAddrV6::new(*host, port, 0, scope(zone)?).into()),
        TcpHost::Name(name) => {
            if let Some(mut local) = interface_address(name, ipv6) {
                local.set_port(port);
                return Ok(local);
            }
            if names == Names::Refuse {
                return Err(no_device(
                    "no such interface, or it has no address of this kind",
                ));
            }
            (name.as_str(), port)
                .to_socket_addrs()
                .ok()
                .and_then(|found| choose(found, ipv6).into_iter().next())
                .ok_or_else(|| {
                    no_device("neither an interface nor a host with an address of this kind")
                })
        }
    }
}

/// The usable ones of a name's addresses, the preferred first: IPv4 only, or with `ipv6` IPv6 first.
pub(crate) fn choose(found: impl Iterator<Item = SocketAddr>, ipv6: bool) -> Vec<SocketAddr> {
    let mut usable: Vec<_> = found.filter(|address| ipv6 || address.is_ipv4()).collect();
    usable.sort_by_key(|address| address.is_ipv4()); // stable: the system's order within a family
    usable
}

/// The first address of a network interface: IPv4, or with `ipv6` IPv6 if it has one.
fn interface_address(name: &str, ipv6: bool) -> Option<SocketAddr> {
    let addresses = getifaddrs()
        .ok()?
        .filter(|entry| entry.interface_name == name)
        .filter_map(|entry| {
            let address = entry.address?;
            if let Some(address) = address.as_sockaddr_in() {
                Some(SocketAddr::new(address.ip().into(), 0))
            } else {
                address
                    .as_sockaddr_in6()
                    .map(|address| SocketAddrV6::new(address.ip(), 0, 0, address.scope_id()).into())
            }
        });
    choose(addresses, ipv6).into_iter().next()
}

/// The number of an IPv6 zone. ENODEV.
fn scope(zone: &str) -> Result<u32> {
    if let Ok(number) = zone.parse() {
        return Ok(number);
    }
    nix::net::if_::if_nametoindex(zone).map_err(|_| {
        Error::new(
            Errno::NODEV,
            format!("there is no network interface {zone:?} for the zone"),
        )
    })
}

pub(super) fn target(endpoint: &TcpEndpoint) -> Result<Target> {
    let TcpEndpoint { source, address } = endpoint;
    let (source, port) = (source.clone(), address.port);
    let address = match &address.host {
        TcpHost::Ip(host) => SocketAddr::new(*host, port),
        TcpHost::Zoned(host, zone) => SocketAddrV6::new(*host, port, 0, scope(zone)?).into(),
        TcpHost::Name(host) => {
            return Ok(Target::Lookup {
                host: host.clone(),
                port,
                source,
            });
        }
        TcpHost::Any => {
            return Err(Error::new(
                Errno::INVAL,
                format!("tcp://{address}: * is for bind; connect needs a host"),
            ));
        }
    };
    Ok(Target::Resolved(ResolvedAddress::Tcp { address, source }))
}

pub(super) fn start_connect(
    address: SocketAddr,
    source: Option<&TcpAddress>,
    options: &SocketOptions,
) -> io::Result<(Stream, bool)> {
    if address.is_ipv6() && !options.ipv6 {
        return Err(io::Error::from_raw_os_error(Errno::AFNOSUPPORT.0));
    }
    let socket = open(address)?;
    let reference = SockRef::from(&socket);
    tune_socket(&reference, address.is_ipv6(), options)?;
    tune_connection(&reference, options)?;
    if let Some(source) = source {
        // The source has to be of the peer's family.
        let local = local_address(source, address.is_ipv6(), Names::Refuse)
            .map_err(|error| io::Error::from_raw_os_error(error.errno().0))?;
        // Each attempt comes from the same port, which the last one may still hold.
        socket.set_reuse_address(true)?;
        socket.bind(&local.into())?;
    }
    let in_progress = match socket.connect(&address.into()) {
        Ok(()) => false,
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.0) => true,
        Err(error) => return Err(error),
    };
    let (stream, mut peer) = (TcpStream::from(socket), address);
    if !in_progress {
        finish_connect(&stream, &mut peer)?;
    }
    Ok((Stream::Tcp(stream, peer), in_progress))
}

/// Learns who the peer is (a connect to 0.0.0.0 has found another). NotConnected: the connection is not there yet.
///
/// A connect to a port of this machine where nobody listens may get that very port as its source, and then
/// talk to itself: as good as refused.
pub(super) fn finish_connect(stream: &TcpStream, peer: &mut SocketAddr) -> io::Result<()> {
    *peer = stream.peer_addr()?;
    if stream.local_addr()? == *peer {
        return Err(io::Error::from_raw_os_error(Errno::CONNREFUSED.0));
    }
    Ok(())
}
