//! How much of what was written the peer's kernel has not taken yet.

use std::os::fd::AsFd;

use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, libc, sockopt_impl};

/// From Linux's socket.h: the memory of a socket, as numbers of bytes.
const SO_MEMINFO: libc::c_int = 55;
/// Which of the numbers is the memory of the queue of what is not acknowledged.
const WMEM_QUEUED: usize = 5;

sockopt_impl!(
    /// The first numbers of SO_MEMINFO (Linux 4.12).
    Meminfo,
    GetOnly,
    libc::SOL_SOCKET,
    SO_MEMINFO,
    [u32; WMEM_QUEUED + 1]
);

/// Whether the peer's kernel has everything, also the end of the stream; `None` if this one does not tell.
pub(super) fn is_empty(socket: &impl AsFd) -> Option<bool> {
    let memory = getsockopt(&socket.as_fd(), Meminfo).ok()?;
    Some(memory[WMEM_QUEUED] == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    #[test]
    fn full_peer_leaves_a_backlog_that_goes_when_it_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        sender.set_nonblocking(true).unwrap();
        while sender.write(&[0; 65_536]).is_ok() {}
        assert_eq!(is_empty(&sender), Some(false));
        receiver
            .set_read_timeout(Some(Duration::from_millis(10)))
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut buffer = vec![0; 65_536];
        while is_empty(&sender) != Some(true) {
            let _ = receiver.read(&mut buffer);
            assert!(Instant::now() < deadline, "everything was read");
        }
    }
}
