//! Unix domain sockets: binding and connecting by path, by abstract name or by wildcard.
//!
//! A path where somebody answers is in use; a socket file where nobody answers is replaced; any other file is
//! left alone. A file that a bind made goes when its listener goes, if it is still that file.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use socket2::{Domain, SockRef};

use super::{Stream, adopt_listener, bind_error, ipc_text, tune};
use crate::endpoint::IpcAddress;
use crate::error::{Errno, Error, Result};
use crate::options::SocketOptions;

/// A listening Unix domain socket.
#[derive(Debug)]
pub struct IpcAcceptor {
    /// Removed when the acceptor is dropped; before the listener closes, so that nobody takes the file for
    /// a stale one meanwhile.
    _file: Option<OwnFile>,
    listener: UnixListener,
    filter: Option<Filter>,
    /// For the accepted sockets.
    options: SocketOptions,
}

impl IpcAcceptor {
    pub(super) fn bind(address: &IpcAddress, options: &SocketOptions) -> Result<(Self, String)> {
        let filter = Filter::new(options)?;
        let (listener, file, text) = match (options.use_fd, address) {
            (Some(number), _) => {
                let listener = UnixListener::from(adopt_listener(number, &[Domain::UNIX])?);
                tune(&SockRef::from(&listener), options)?;
                let text = ipc_text(listener.local_addr().ok());
                (listener, None, text)
            }
            (None, IpcAddress::Abstract(_)) => {
                let text = format!("ipc://{address}");
                let listener =
                    listen(address, options).map_err(|error| bind_error(error, &text))?;
                (listener, None, text)
            }
            (None, IpcAddress::Path(path)) => {
                let text = format!("ipc://{address}");
                let listener = listen_at_path(path, options, &text)?;
                let file = OwnFile::new(path, None);
                (listener, file, text)
            }
            (None, IpcAddress::Wildcard) => {
                let directory = new_directory().map_err(|error| bind_error(error, "ipc://*"))?;
                let path = directory.join("socket");
                let text = format!("ipc://{}", path.display());
                match listen(&IpcAddress::Path(path.clone()), options) {
                    Ok(listener) => (listener, OwnFile::new(&path, Some(directory)), text),
                    Err(error) => {
                        let _ = fs::remove_dir(&directory); // the error of listen is the news
                        return Err(bind_error(error, &text));
                    }
                }
            }
        };
        let acceptor = Self {
            listener,
            _file: file,
            filter,
            options: options.clone(),
        };
        Ok((acceptor, text))
    }

    pub(super) fn accept(&self) -> io::Result<Option<Stream>> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let stream = UnixStream::from(rustix::net::accept_with(&self.listener, flags)?);
        if let Some(filter) = &self.filter
            && !filter.lets_in(&stream)
        {
            return Ok(None);
        }
        tune(&SockRef::from(&stream), &self.options)?;
        Ok(Some(Stream::Unix(stream)))
    }
}

impl AsFd for IpcAcceptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

fn kernel_address(address: &IpcAddress) -> io::Result<SocketAddrUnix> {
    Ok(match address {
        IpcAddress::Path(path) => SocketAddrUnix::new(path)?,
        IpcAddress::Abstract(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        IpcAddress::Wildcard => return Err(io::ErrorKind::InvalidInput.into()),
    })
}

fn open() -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

fn listen(address: &IpcAddress, options: &SocketOptions) -> io::Result<UnixListener> {
    let address = kernel_address(address)?;
    let socket = open()?;
    tune(&SockRef::from(&socket), options)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, options.backlog)?;
    Ok(socket.into())
}

/// Listens at `path`, after removing a socket file there that nobody answers at.
fn listen_at_path(path: &Path, options: &SocketOptions, text: &str) -> Result<UnixListener> {
    let address = IpcAddress::Path(path.into());
    let listen = || listen(&address, options);
    let in_use = |why: &str| {
        Err(Error::new(
            Errno::ADDRINUSE,
            format!("cannot bind to {text}: {why}"),
        ))
    };
    match listen() {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
        result => return result.map_err(|error| bind_error(error, text)),
    }
    // Two binds that find the same stale file must not remove each other's new one.
    let Some(_lock) = lock_directory_of(path) else {
        return in_use("another process is working at its directory");
    };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return in_use("the file there is not a socket, and stays as it is");
        }
        Ok(_) if is_answered(&address) => return in_use("somebody answers there"),
        Ok(_) => fs::remove_file(path).map_err(|error| bind_error(error, text))?,
        Err(_) => {} // gone meanwhile
    }
    listen().map_err(|error| bind_error(error, text))
}

/// Whether a connect finds anybody. Only a clear "no" counts as no.
fn is_answered(address: &IpcAddress) -> bool {
    let connect = || -> io::Result<()> {
        let socket = open()?;
        rustix::net::connect(&socket, &kernel_address(address)?)?;
        Ok(())
    };
    !matches!(connect(), Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Holds the lock of the directory of `path` until dropped: the inner `None` when the directory cannot be
/// opened and so not locked. The outer `None`: somebody else has kept it for a second.
#[expect(
    clippy::option_option,
    reason = "not locked is not the same as not lockable"
)]
fn lock_directory_of(path: &Path) -> Option<Option<fs::File>> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let Ok(directory) = fs::File::open(parent) else {
        return Some(None);
    };
    for _ in 0..100 {
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(Some(directory)),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(10)),
            Err(_) => return Some(None), // a file system without locks
        }
    }
    None
}

/// A new directory for a wildcard, in the directory for temporary files, for this user only.
fn new_directory() -> io::Result<PathBuf> {
    let parent = ["TMPDIR", "TEMPDIR", "TMP"]
        .iter()
        .filter_map(std::env::var_os)
        .map(PathBuf::from)
        .find(|path| path.is_dir() && path.to_str().is_some())
        .unwrap_or_else(|| PathBuf::from("/tmp"));
    let parent = std::path::absolute(parent)?;
    loop {
        let directory = parent.join(format!("mqcore-{:012x}", rand::random::<u64>() >> 16));
        match fs::DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// A socket file that we made, and its directory if we made that too.
#[derive(Debug)]
struct OwnFile {
    /// Absolute: the working directory may change.
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
    directory: Option<PathBuf>,
    /// A forked child does not remove the file of its parent.
    process: u32,
}

impl OwnFile {
    fn new(path: &Path, directory: Option<PathBuf>) -> Option<Self> {
        let path = std::path::absolute(path).ok()?;
        let identity = identity(&path)?;
        Some(Self {
            path,
            identity,
            directory,
            process: std::process::id(),
        })
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path)
        .ok()
        .map(|found| (found.dev(), found.ino()))
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        if self.process != std::process::id() || identity(&self.path) != Some(self.identity) {
            return;
        }
        // Whoever made the file or the directory unremovable has to live with it.
        let _ = fs::remove_file(&self.path);
        if let Some(directory) = &self.directory {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// The peers that IPC_FILTER_PID, _UID and _GID let in: each for itself is enough.
#[derive(Debug)]
struct Filter {
    pids: Vec<i32>,
    /// With the members of the groups.
    uids: Vec<u32>,
    gids: Vec<u32>,
}

impl Filter {
    /// `None` lets everybody in. The members of the groups are read here, on the thread that binds: the
    /// system's user database may be slow.
    fn new(options: &SocketOptions) -> Result<Option<Self>> {
        use nix::unistd::{Gid, Group, User};
        if !options.has_ipc_filter() {
            return Ok(None);
        }
        let failed = |error: nix::errno::Errno, gid: u32| {
            Error::new(
                Errno(error as i32),
                format!("IPC_FILTER_GID: group {gid} cannot be read"),
            )
        };
        let mut uids = options.ipc_filter_uids.clone();
        for gid in &options.ipc_filter_gids {
            let group =
                Group::from_gid(Gid::from_raw(*gid)).map_err(|error| failed(error, *gid))?;
            for member in group.into_iter().flat_map(|group| group.mem) {
                if let Some(user) = User::from_name(&member).map_err(|error| failed(error, *gid))? {
                    uids.push(user.uid.as_raw());
                }
            }
        }
        Ok(Some(Self {
            pids: options.ipc_filter_pids.clone(),
            uids,
            gids: options.ipc_filter_gids.clone(),
        }))
    }

    fn lets_in(&self, stream: &UnixStream) -> bool {
        let Ok(peer) = super::credentials(stream) else {
            return false;
        };
        self.pids.contains(&peer.pid())
            || self.uids.contains(&peer.uid())
            || self.gids.contains(&peer.gid())
    }
}

pub(super) fn start_connect(
    address: &IpcAddress,
    options: &SocketOptions,
) -> io::Result<(Stream, bool)> {
    let socket = open()?;
    tune(&SockRef::from(&socket), options)?;
    let in_progress = match rustix::net::connect(&socket, &kernel_address(address)?) {
        Ok(()) => false,
        Err(rustix::io::Errno::INPROGRESS) => true,
        Err(error) => return Err(error.into()),
    };
    Ok((Stream::Unix(socket.into()), in_progress))
}
