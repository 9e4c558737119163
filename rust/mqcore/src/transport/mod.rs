//! Byte streams and listeners over TCP and Unix domain sockets.
//!
//! Everything here is non-blocking and close-on-exec; readiness is the caller's business (mio, through the
//! descriptor). Nothing here waits for a name: [`Target`] says when one has to be looked up first, except
//! that a bind, which runs on the caller's thread, looks its own host up.

mod backlog;
pub(crate) mod inproc;
mod ipc;
pub(crate) mod socks;
mod tcp;

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendFlags,
};
use socket2::SockRef;

use crate::endpoint::{Endpoint, IpcAddress, TcpAddress, TcpEndpoint, TcpHost};
use crate::error::{Errno, Error, Result};
use crate::options::SocketOptions;

pub(crate) use tcp::{check_busy_poll, choose};

/// A connection's bytes.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP, and with whom: the system forgets that of a connection that was reset.
    Tcp(TcpStream, SocketAddr),
    /// Over a Unix domain socket.
    Unix(UnixStream),
}

/// The kernel takes no more buffers in one call (IOV_MAX).
const MOST_BUFFERS: usize = 1024;

impl Stream {
    /// Reads what is there; 0 is the end. WouldBlock when nothing is there.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| {
            rustix::io::read(self, &mut *buffer)
        })?)
    }

    /// Reads what is there behind the end of `buffer`, into the room that is reserved there (at least one
    /// byte), without zeroing it first; 0 is the end. WouldBlock when nothing is there.
    pub fn read_into_spare(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        if buffer.len() == buffer.capacity() {
            // A read into no room would look like the end.
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(rustix::io::retry_on_intr(|| {
            rustix::io::read(self, rustix::buffer::spare_capacity(buffer))
        })?)
    }

    /// Reads what is there into the beginning of `room`, which is given back, without zeroing it first; nothing is the
    /// end. WouldBlock when nothing is there.
    pub fn read_into<'m>(&self, room: &'m mut [MaybeUninit<u8>]) -> io::Result<&'m mut [u8]> {
        let (read, _) = rustix::io::read(self, room)?;
        Ok(read)
    }

    /// Writes as much as the kernel takes. WouldBlock when it takes nothing; BrokenPipe without a SIGPIPE.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| {
            rustix::net::send(self, bytes, SendFlags::NOSIGNAL)
        })?)
    }

    /// Writes as much of `buffers` as the kernel takes; see [`write`](Self::write).
    pub fn write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let buffers = &buffers[..buffers.len().min(MOST_BUFFERS)];
        Ok(rustix::io::retry_on_intr(|| {
            let mut control = SendAncillaryBuffer::default();
            rustix::net::sendmsg(self, buffers, &mut control, SendFlags::NOSIGNAL)
        })?)
    }

    /// Tells the peer that nothing more comes.
    pub fn shutdown_write(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(self, rustix::net::Shutdown::Write)?)
    }

    /// Whether the peer's kernel has taken everything that was written, so that closing cannot lose it.
    /// Over ipc it always has. `None` if the system does not tell.
    pub fn is_delivered(&self) -> Option<bool> {
        match self {
            Self::Tcp(stream, _) => backlog::is_empty(stream),
            Self::Unix(_) => Some(true),
        }
    }

    /// The `Peer-Address` property: the IP address, or `localhost:uid:gid:pid`.
    pub fn peer_description(&self) -> String {
        match self {
            Self::Tcp(_, peer) => peer.ip().to_canonical().to_string(),
            Self::Unix(stream) => match credentials(stream) {
                Ok(peer) => format!("localhost:{}:{}:{}", peer.uid(), peer.gid(), peer.pid()),
                Err(_) => String::new(),
            },
        }
    }

    /// This side's endpoint, for events; without an address if it has none any more.
    pub fn local_endpoint(&self) -> String {
        match self {
            Self::Tcp(stream, _) => tcp_text(stream.local_addr().ok()),
            Self::Unix(stream) => ipc_text(stream.local_addr().ok()),
        }
    }

    /// The peer's endpoint, for events; without an address if it has none.
    pub fn remote_endpoint(&self) -> String {
        match self {
            Self::Tcp(_, peer) => tcp_text(Some(*peer)),
            Self::Unix(stream) => ipc_text(stream.peer_addr().ok()),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream, _) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// Who connected. The process is 0 if it lives where this one cannot see it (another container), which
/// rustix' non-zero `Pid` cannot hold.
fn credentials(stream: &UnixStream) -> nix::Result<nix::sys::socket::UnixCredentials> {
    nix::sys::socket::getsockopt(stream, nix::sys::socket::sockopt::PeerCredentials)
}

fn tcp_text(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "tcp://".to_owned(), |address| format!("tcp://{address}"))
}

fn ipc_text(address: Option<std::os::unix::net::SocketAddr>) -> String {
    let Some(address) = address else {
        return "ipc://".to_owned();
    };
    if let Some(path) = address.as_pathname() {
        format!("ipc://{}", path.display())
    } else if let Some(name) = address.as_abstract_name() {
        format!("ipc://@{}", String::from_utf8_lossy(name))
    } else {
        "ipc://".to_owned()
    }
}

/// A bound, listening socket. Dropping it closes it; an ipc file that it made goes with it.
#[derive(Debug)]
pub enum Listener {
    /// Over TCP.
    Tcp(tcp::TcpAcceptor),
    /// Over a Unix domain socket.
    Unix(ipc::IpcAcceptor),
}

impl Listener {
    /// Binds and listens; also gives the endpoint as it came out (LAST_ENDPOINT). May look up a host name.
    pub fn bind(endpoint: &Endpoint, options: &SocketOptions) -> Result<(Self, String)> {
        match endpoint {
            Endpoint::Tcp(tcp) => {
                let (acceptor, text) = tcp::TcpAcceptor::bind(&tcp.address, options)?;
                Ok((Self::Tcp(acceptor), text))
            }
            Endpoint::Ipc(address) => {
                let (acceptor, text) = ipc::IpcAcceptor::bind(address, options)?;
                Ok((Self::Unix(acceptor), text))
            }
            Endpoint::Inproc(_) => Err(Error::new(
                Errno::INVAL,
                format!("{endpoint} has no listener: inproc names live in the context"),
            )),
        }
    }

    /// The next connection. `None`: a filter refused the peer (and its connection is closed). WouldBlock when
    /// nobody waits; another error (descriptors exhausted) is the machine's, not a peer's.
    pub fn accept(&self) -> io::Result<Option<Stream>> {
        loop {
            let result = match self {
                Self::Tcp(acceptor) => acceptor.accept(),
                Self::Unix(acceptor) => acceptor.accept(),
            };
            match result {
                // The peer left while it was waiting in the queue: there may be another.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                    ) => {}
                result => return result,
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(acceptor) => acceptor.as_fd(),
            Self::Unix(acceptor) => acceptor.as_fd(),
        }
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// The text under which a bind to `endpoint` is known (LAST_ENDPOINT), where it is known before the bind:
/// how unbind finds `tcp://localhost:5555`. `None` if it has a wildcard or no such address. May look up
/// a host name.
pub fn bound_text(endpoint: &Endpoint, options: &SocketOptions) -> Option<String> {
    match endpoint {
        Endpoint::Inproc(_) => Some(endpoint.to_string()),
        Endpoint::Ipc(IpcAddress::Wildcard) => None,
        Endpoint::Ipc(_) => Some(endpoint.to_string()),
        Endpoint::Tcp(tcp) if tcp.address.port == 0 || tcp.address.host == TcpHost::Any => None,
        Endpoint::Tcp(tcp) => tcp::local_address(&tcp.address, options.ipv6, tcp::Names::LookUp)
            .ok()
            .map(|address| tcp_text(Some(address))),
    }
}

/// Where a connect goes, after names were looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolvedAddress {
    /// Over TCP.
    Tcp {
        /// The peer.
        address: SocketAddr,
        /// Where from; an interface is looked at again in each attempt.
        source: Option<TcpAddress>,
    },
    /// Over a Unix domain socket.
    Ipc(IpcAddress),
}

/// What a connect needs next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nothing: connect there.
    Resolved(ResolvedAddress),
    /// The addresses of `host`; each makes a [`ResolvedAddress::Tcp`].
    Lookup {
        /// The name to look up.
        host: String,
        /// The port.
        port: u16,
        /// Where from.
        source: Option<TcpAddress>,
    },
}

impl Target {
    /// What a connect to `endpoint` needs first. ENODEV: an IPv6 zone that the machine does not have.
    pub fn of(endpoint: &Endpoint) -> Result<Self> {
        match endpoint {
            Endpoint::Tcp(endpoint) => tcp::target(endpoint),
            Endpoint::Ipc(address) => Ok(Self::Resolved(ResolvedAddress::Ipc(address.clone()))),
            Endpoint::Inproc(_) => Err(Error::new(
                Errno::INVAL,
                format!("{endpoint} has no address: inproc names live in the context"),
            )),
        }
    }
}

/// The proxy that TCP connects go through, if the options name one. EINVAL if they do not say where it is.
pub(crate) fn proxy(options: &SocketOptions) -> Result<Option<TcpAddress>> {
    if options.socks_proxy.is_empty() {
        return Ok(None);
    }
    match Endpoint::parse_connect(&format!("tcp://{}", options.socks_proxy)) {
        Ok(Endpoint::Tcp(TcpEndpoint {
            source: None,
            address,
        })) => Ok(Some(address)),
        _ => Err(Error::new(
            Errno::INVAL,
            format!(
                "SOCKS_PROXY {:?} is no proxy: write host:port",
                options.socks_proxy
            ),
        )),
    }
}

/// Begins to connect; also says whether the connection is still in the making: then wait until it is
/// writable and call [`finish_connect`]. Any error is a failed attempt (over ipc also WouldBlock: the
/// listener's queue is full).
pub fn start_connect(
    address: &ResolvedAddress,
    options: &SocketOptions,
) -> io::Result<(Stream, bool)> {
    match address {
        ResolvedAddress::Tcp { address, source } => {
            tcp::start_connect(*address, source.as_ref(), options)
        }
        ResolvedAddress::Ipc(address) => ipc::start_connect(address, options),
    }
}

/// Ends a connect whose stream became writable. WouldBlock: not there yet; any other error is a failed attempt.
pub fn finish_connect(stream: &mut Stream) -> io::Result<()> {
    if let Some(error) = SockRef::from(&*stream).take_error()? {
        return Err(error);
    }
    let arrived = match stream {
        Stream::Tcp(stream, peer) => tcp::finish_connect(stream, peer),
        Stream::Unix(stream) => stream.peer_addr().map(drop),
    };
    arrived.map_err(|error| match error.kind() {
        io::ErrorKind::NotConnected => io::ErrorKind::WouldBlock.into(),
        _ => error,
    })
}

/// Sets what all stream sockets have in common.
fn tune(socket: &SockRef<'_>, options: &SocketOptions) -> io::Result<()> {
    if let Some(size) = options.sndbuf {
        socket.set_send_buffer_size(size)?;
    }
    if let Some(size) = options.rcvbuf {
        socket.set_recv_buffer_size(size)?;
    }
    if options.priority > 0 {
        socket.set_priority(options.priority)?;
    }
    Ok(())
}

/// An error of a bind, with the endpoint in its text.
fn bind_error(error: io::Error, endpoint: &str) -> Error {
    match error.raw_os_error() {
        Some(number) => Error::new(Errno(number), format!("cannot bind to {endpoint}")),
        None => Error::new(Errno::INVAL, format!("cannot bind to {endpoint}: {error}")),
    }
}

/// A second descriptor for the listening socket behind `number` (USE_FD), which belongs to us. The
/// application keeps its own and closes it when it likes; the two share the non-blocking mode.
fn adopt_listener(number: i32, families: &[socket2::Domain]) -> Result<OwnedFd> {
    let wrong = |what: &str| {
        Err(Error::new(
            Errno::INVAL,
            format!(
                "USE_FD: descriptor {number} is {what}, not a listening socket of the endpoint's kind"
            ),
        ))
    };
    let adopted = duplicate(number).map_err(|error| {
        Error::new(
            Errno(error.raw_os_error().unwrap_or(Errno::INVAL.0)),
            format!("USE_FD: descriptor {number} cannot be used"),
        )
    })?;
    let socket = SockRef::from(&adopted);
    match socket.domain() {
        Err(_) => return wrong("no socket"),
        Ok(family) if !families.contains(&family) => return wrong("a socket of another family"),
        Ok(_) => {}
    }
    if !socket.is_listener()? {
        return wrong("a socket that does not listen");
    }
    socket.set_nonblocking(true)?;
    Ok(adopted)
}

/// Duplicates a descriptor that is known by its number only. Sending it to ourselves is the way that needs
/// no unsafe promise that the number is open: the kernel looks, and says EBADF.
fn duplicate(number: i32) -> io::Result<OwnedFd> {
    use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
    let (left, right) = UnixStream::pair()?;
    let numbers = [number];
    let message = [IoSlice::new(&[0])];
    let rights = [ControlMessage::ScmRights(&numbers)];
    sendmsg::<UnixAddr>(
        left.as_raw_fd(),
        &message,
        &rights,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;

    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    rustix::net::recvmsg(
        &right,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    control
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        })
        // The kernel leaves the descriptor out when this process can have no more.
        .ok_or_else(|| io::Error::from_raw_os_error(Errno::MFILE.0))
}

#[cfg(test)]
mod tests;
