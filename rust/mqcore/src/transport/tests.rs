//! Listeners and streams against the kernel, over loopback and in temporary directories.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use super::*;
use crate::options::{Network, OptionValue};
use mqcore_proto::SocketType;

fn options() -> SocketOptions {
    SocketOptions::new(SocketType::Pair, true, false)
}

fn listen(text: &str, options: &SocketOptions) -> Result<(Listener, String)> {
    Listener::bind(&Endpoint::parse_bind(text)?, options)
}

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let name = format!("mqcore-test-{:012x}", rand::random::<u64>() >> 16);
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> (PathBuf, String) {
        let path = self.0.join(name);
        let endpoint = format!("ipc://{}", path.display());
        (path, endpoint)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits until `fd` is ready; fails the test after ten seconds.
#[track_caller]
fn await_ready(fd: &impl AsFd, events: PollFlags) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut item = [PollFd::new(fd, events)];
    let timeout = rustix::time::Timespec::try_from(deadline - Instant::now()).unwrap();
    assert_eq!(
        rustix::event::poll(&mut item, Some(&timeout)),
        Ok(1),
        "nothing happened"
    );
}

fn resolved(text: &str) -> ResolvedAddress {
    match Target::of(&Endpoint::parse_connect(text).unwrap()).unwrap() {
        Target::Resolved(address) => address,
        other => panic!("{other:?}"),
    }
}

fn connect(text: &str, options: &SocketOptions) -> io::Result<Stream> {
    let (mut stream, in_progress) = start_connect(&resolved(text), options)?;
    if in_progress {
        await_ready(&stream, PollFlags::OUT);
        finish_connect(&mut stream)?;
    }
    Ok(stream)
}

#[track_caller]
fn accept(listener: &Listener) -> Option<Stream> {
    await_ready(listener, PollFlags::IN);
    listener.accept().unwrap()
}

/// A connected pair through `endpoint`, and its listener.
fn pair(endpoint: &str) -> (Stream, Stream, Listener) {
    let (listener, endpoint) = listen(endpoint, &options()).unwrap();
    let client = connect(&endpoint, &options()).unwrap();
    let server = accept(&listener).unwrap();
    (client, server, listener)
}

fn would_block<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[test]
fn bytes_go_both_ways_without_blocking() {
    for endpoint in ["tcp://127.0.0.1:*", "ipc://*", "ipc://@mqcore-test-bytes"] {
        let (client, server, listener) = pair(endpoint);
        assert!(would_block(listener.accept()));
        let mut buffer = [0; 16];
        assert!(would_block(server.read(&mut buffer)));

        let parts = [
            IoSlice::new(b"hello "),
            IoSlice::new(b""),
            IoSlice::new(b"world"),
        ];
        assert_eq!(client.write_vectored(&parts).unwrap(), 11);
        await_ready(&server, PollFlags::IN);
        let mut received = b"> ".to_vec();
        received.reserve(64);
        assert_eq!(server.read_into_spare(&mut received).unwrap(), 11);
        assert_eq!(received, b"> hello world");
        assert!(would_block(server.read_into_spare(&mut received)));

        assert_eq!(server.write(b"ok").unwrap(), 2);
        server.shutdown_write().unwrap();
        await_ready(&client, PollFlags::IN);
        assert_eq!(client.read(&mut buffer).unwrap(), 2);
        await_ready(&client, PollFlags::IN);
        assert_eq!(client.read(&mut buffer).unwrap(), 0);
    }
}

#[test]
fn read_into_no_room_is_not_taken_for_the_end() {
    let (client, server, _listener) = pair("tcp://127.0.0.1:*");
    client.write(b"x").unwrap();
    await_ready(&server, PollFlags::IN);
    let error = server.read_into_spare(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn more_buffers_than_the_kernel_takes_at_once_are_written_in_part() {
    let (client, _server, _listener) = pair("ipc://*");
    let buffers = vec![IoSlice::new(b"x"); 5000];
    assert_eq!(client.write_vectored(&buffers).unwrap(), MOST_BUFFERS);
}

#[test]
fn write_to_a_peer_that_is_gone_is_an_error_and_no_signal() {
    let (client, server, _listener) = pair("ipc://*");
    drop(server);
    assert_eq!(
        client.write(b"x").unwrap_err().kind(),
        io::ErrorKind::BrokenPipe
    );
    let parts = [IoSlice::new(b"x")];
    assert_eq!(
        client.write_vectored(&parts).unwrap_err().kind(),
        io::ErrorKind::BrokenPipe
    );
}

#[test]
fn peer_is_described_by_address_or_by_credentials() {
    let (client, server, _listener) = pair("tcp://127.0.0.1:*");
    assert_eq!(server.peer_description(), "127.0.0.1");
    assert_eq!(client.local_endpoint(), server.remote_endpoint());
    assert_eq!(server.local_endpoint(), client.remote_endpoint());

    let (client, server, _listener) = pair("ipc://@mqcore-test-peer");
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    let expected = format!(
        "localhost:{}:{}:{}",
        uid.as_raw(),
        gid.as_raw(),
        std::process::id()
    );
    assert_eq!(server.peer_description(), expected);
    assert_eq!(client.remote_endpoint(), "ipc://@mqcore-test-peer");
    assert_eq!(client.local_endpoint(), "ipc://");
}

#[test]
fn bound_endpoint_is_told_as_it_came_out() {
    let (_listener, text) = listen("tcp://*:*", &options()).unwrap();
    let port: u16 = text
        .strip_prefix("tcp://0.0.0.0:")
        .unwrap()
        .parse()
        .unwrap();
    assert_ne!(port, 0);

    let (_listener, text) = listen("tcp://lo:*", &options()).unwrap();
    assert!(text.starts_with("tcp://127.0.0.1:"), "{text}");
    let (_listener, text) = listen("tcp://localhost:*", &options()).unwrap();
    assert!(text.starts_with("tcp://127.0.0.1:"), "{text}");
    let port = text.rsplit_once(':').unwrap().1;
    let named = Endpoint::parse_bind(&format!("tcp://localhost:{port}")).unwrap();
    assert_eq!(bound_text(&named, &options()), Some(text));

    let (_listener, text) = listen("ipc://@mqcore-test-text", &options()).unwrap();
    assert_eq!(text, "ipc://@mqcore-test-text");
}

#[test]
fn bind_errors_have_the_reference_numbers_and_name_the_endpoint() {
    let (_listener, taken) = listen("tcp://127.0.0.1:*", &options()).unwrap();
    let (_abstract, _) = listen("ipc://@mqcore-test-errors", &options()).unwrap();
    for (text, errno) in [
        (taken.as_str(), Errno::ADDRINUSE),
        ("ipc://@mqcore-test-errors", Errno::ADDRINUSE),
        ("tcp://8.8.8.8:5557", Errno::ADDRNOTAVAIL),
        ("tcp://nosuchif0:5555", Errno::NODEV),
        ("tcp://[::1]:5558", Errno::NODEV), // IPV6 is off
        ("ipc:///nonexistent/dir/x", Errno::NOENT),
    ] {
        let error = listen(text, &options()).unwrap_err();
        assert_eq!(error.errno(), errno, "{text}: {error}");
        assert!(error.detail().unwrap().contains(text), "{error}");
    }
}

#[test]
fn dual_stack_listener_takes_both_families_and_shows_ipv4_peers_as_such() {
    let mut v6 = options();
    v6.ipv6 = true;
    let (listener, text) = listen("tcp://*:*", &v6).unwrap();
    let Some(port) = text.strip_prefix("tcp://[::]:") else {
        assert!(text.starts_with("tcp://0.0.0.0:"), "{text}"); // a kernel without IPv6
        return;
    };
    let _client = connect(&format!("tcp://127.0.0.1:{port}"), &options()).unwrap();
    assert_eq!(accept(&listener).unwrap().peer_description(), "127.0.0.1");
    if TcpListener::bind("[::1]:0").is_ok() {
        let _client = connect(&format!("tcp://[::1]:{port}"), &v6).unwrap();
        assert_eq!(accept(&listener).unwrap().peer_description(), "::1");
    }
    let error = connect(&format!("tcp://[::1]:{port}"), &options()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::AFNOSUPPORT.0));
}

#[test]
fn connect_to_nobody_is_refused() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = connect(&format!("tcp://{free}"), &options()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    let error = connect("ipc://@mqcore-test-nobody", &options()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    let error = connect("ipc:///nonexistent/x", &options()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn connection_to_itself_counts_as_refused() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = connect(&format!("tcp://{free};{free}"), &options()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn connection_comes_from_the_source_address() {
    let (listener, text) = listen("tcp://127.0.0.1:*", &options()).unwrap();
    let peer = text.strip_prefix("tcp://").unwrap();
    let free = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 7), 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let client = connect(&format!("tcp://{free};{peer}"), &options()).unwrap();
    assert_eq!(client.local_endpoint(), format!("tcp://{free}"));
    assert_eq!(accept(&listener).unwrap().peer_description(), "127.0.0.7");

    let client = connect(&format!("tcp://lo:0;{peer}"), &options()).unwrap();
    assert!(client.local_endpoint().starts_with("tcp://127.0.0.1:"));
    let error = connect(&format!("tcp://nosuchif0:0;{peer}"), &options()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::NODEV.0));
}

#[test]
fn names_are_left_to_be_looked_up() {
    let endpoint = Endpoint::parse_connect("tcp://lo:0;example.invalid:80").unwrap();
    let Target::Lookup { host, port, source } = Target::of(&endpoint).unwrap() else {
        panic!("looked up");
    };
    assert_eq!(
        (host.as_str(), port, source.is_some()),
        ("example.invalid", 80, true)
    );
    let endpoint = Endpoint::parse_connect("tcp://[fe80::1%nosuchif0]:80").unwrap();
    assert_eq!(Target::of(&endpoint).unwrap_err().errno(), Errno::NODEV);
}

#[test]
fn socket_options_reach_both_ends() {
    let mut wanted = options();
    for (option, value) in [
        (34, 1),
        (35, 5),
        (36, 60),
        (37, 7),
        (57, 0x28),
        (80, 9000),
        (112, 3),
        (11, 50_000),
    ] {
        wanted
            .set(SocketType::Pair, option, &OptionValue::Int(value))
            .unwrap();
    }
    let (listener, text) = listen("tcp://127.0.0.1:*", &wanted).unwrap();
    let client = connect(&text, &wanted).unwrap();
    let server = accept(&listener).unwrap();
    for stream in [&client, &server] {
        let socket = SockRef::from(stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 5);
        assert_eq!(
            socket.tcp_keepalive_time().unwrap(),
            Duration::from_secs(60)
        );
        assert_eq!(
            socket.tcp_keepalive_interval().unwrap(),
            Duration::from_secs(7)
        );
        assert_eq!(socket.tos_v4().unwrap(), 0x28);
        assert_eq!(
            socket.tcp_user_timeout().unwrap(),
            Some(Duration::from_secs(9))
        );
        assert_eq!(socket.priority().unwrap(), 3);
        assert_eq!(socket.send_buffer_size().unwrap(), 100_000); // the kernel doubles it
    }
}

#[test]
fn device_that_is_not_there_is_an_error_at_bind_and_at_connect() {
    let mut wanted = options();
    wanted
        .set(
            SocketType::Pair,
            92,
            &OptionValue::Bytes(b"nosuchif0".to_vec()),
        )
        .unwrap();
    assert!(listen("tcp://127.0.0.1:*", &wanted).is_err());
    assert!(connect("tcp://127.0.0.1:9", &wanted).is_err());
}

#[test]
fn accept_filter_refuses_who_is_outside() {
    let mut filtered = options();
    filtered
        .tcp_accept_filters
        .push(Network::parse("127.0.0.8/31").unwrap());
    let (listener, text) = listen("tcp://127.0.0.1:*", &filtered).unwrap();
    let peer = text.strip_prefix("tcp://").unwrap();
    let refused = connect(&text, &options()).unwrap();
    assert!(accept(&listener).is_none());
    await_ready(&refused, PollFlags::IN);
    assert!(matches!(refused.read(&mut [0]), Ok(0) | Err(_)));
    let _client = connect(&format!("tcp://127.0.0.9:0;{peer}"), &options()).unwrap();
    assert_eq!(accept(&listener).unwrap().peer_description(), "127.0.0.9");
}

#[test]
fn ipc_filters_let_in_who_passes_one_of_them() {
    let uid = rustix::process::getuid().as_raw();
    let gid = rustix::process::getgid().as_raw();
    let pid = std::process::id();
    for (pids, uids, gids, allowed) in [
        (vec![pid as i32], vec![], vec![], true),
        (vec![1], vec![uid], vec![], true),
        (vec![1], vec![uid + 1], vec![gid], true),
        (vec![1], vec![uid + 1], vec![gid + 54_321], false),
        (vec![-1], vec![], vec![], false),
    ] {
        let mut filtered = options();
        filtered.ipc_filter_pids = pids;
        filtered.ipc_filter_uids = uids;
        filtered.ipc_filter_gids = gids;
        let (listener, text) = listen("ipc://*", &filtered).unwrap();
        let _client = connect(&text, &options()).unwrap();
        assert_eq!(accept(&listener).is_some(), allowed, "{filtered:?}");
    }
}

#[test]
fn ipc_path_where_somebody_answers_is_in_use_and_keeps_working() {
    let directory = Directory::new();
    let (_, text) = directory.file("live");
    let (listener, _) = listen(&text, &options()).unwrap();
    let error = listen(&text, &options()).unwrap_err();
    assert_eq!(error.errno(), Errno::ADDRINUSE);
    assert!(
        error.detail().unwrap().contains("somebody answers"),
        "{error}"
    );
    drop(accept(&listener)); // the question
    let _client = connect(&text, &options()).unwrap();
    assert!(accept(&listener).is_some());
}

#[test]
fn stale_socket_file_is_replaced() {
    let directory = Directory::new();
    let (path, text) = directory.file("stale");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let (listener, _) = listen(&text, &options()).unwrap();
    let _client = connect(&text, &options()).unwrap();
    assert!(accept(&listener).is_some());
}

#[test]
fn of_many_binds_to_one_stale_file_a_single_one_wins() {
    let directory = Directory::new();
    let (path, text) = directory.file("race");
    for _ in 0..20 {
        drop(UnixListener::bind(&path).unwrap());
        let start = std::sync::Barrier::new(4);
        let winners: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        listen(&text, &options())
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = winners.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        assert!(
            lost.into_iter()
                .all(|result| result.unwrap_err().errno() == Errno::ADDRINUSE)
        );
        assert!(connect(&text, &options()).is_ok());
    }
}

#[test]
fn file_that_is_no_listening_socket_is_never_removed() {
    let directory = Directory::new();
    let (path, text) = directory.file("precious");
    fs::write(&path, "data").unwrap();
    let error = listen(&text, &options()).unwrap_err();
    assert_eq!(error.errno(), Errno::ADDRINUSE);
    assert_eq!(fs::read_to_string(&path).unwrap(), "data");

    let (path, text) = directory.file("link");
    std::os::unix::fs::symlink("nowhere", &path).unwrap();
    assert_eq!(
        listen(&text, &options()).unwrap_err().errno(),
        Errno::ADDRINUSE
    );
    assert!(path.symlink_metadata().is_ok());

    let (path, text) = directory.file("datagrams");
    let _other = UnixDatagram::bind(&path).unwrap();
    assert_eq!(
        listen(&text, &options()).unwrap_err().errno(),
        Errno::ADDRINUSE
    );
    assert!(path.exists());
}

#[test]
fn ipc_file_goes_with_its_listener_unless_it_is_another_by_then() {
    let directory = Directory::new();
    let (path, text) = directory.file("own");
    let (listener, _) = listen(&text, &options()).unwrap();
    drop(listener);
    assert!(!path.exists());

    let (listener, _) = listen(&text, &options()).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "somebody else's").unwrap();
    drop(listener);
    assert!(path.exists());
}

#[test]
fn wildcard_makes_a_private_directory_that_goes_with_the_listener() {
    let (listener, text) = listen("ipc://*", &options()).unwrap();
    let path = Path::new(text.strip_prefix("ipc://").unwrap());
    let directory = path.parent().unwrap().to_owned();
    assert!(path.is_absolute());
    assert_eq!(
        fs::metadata(&directory).unwrap().permissions().mode() & 0o777,
        0o700
    );
    drop(listener);
    assert!(!directory.exists());
}

#[test]
fn descriptor_of_the_application_is_used_and_stays_its_own() {
    let own = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut using = options();
    using.use_fd = Some(own.as_raw_fd());
    let (listener, text) = listen("tcp://127.0.0.1:5555", &using).unwrap();
    assert_eq!(text, format!("tcp://{}", own.local_addr().unwrap()));
    let _client = connect(&text, &options()).unwrap();
    assert!(accept(&listener).is_some());
    drop(listener);
    let _client = connect(&text, &options()).unwrap();
    own.set_nonblocking(false).unwrap();
    assert!(own.accept().is_ok());

    let directory = Directory::new();
    let (path, text) = directory.file("given");
    let own = UnixListener::bind(&path).unwrap();
    using.use_fd = Some(own.as_raw_fd());
    let (listener, bound) = listen(&text, &using).unwrap();
    assert_eq!(bound, text);
    let _client = connect(&text, &options()).unwrap();
    assert!(accept(&listener).is_some());
    drop(listener);
    assert!(path.exists(), "not made by us");
}

#[test]
fn descriptor_of_the_wrong_kind_is_refused() {
    let directory = Directory::new();
    let file = fs::File::open(&directory.0).unwrap();
    let unix = UnixListener::bind(directory.file("unix").0).unwrap();
    let (client, _server, listener) = pair("tcp://127.0.0.1:*");
    let mut using = options();
    for (number, text, errno) in [
        (file.as_raw_fd(), "tcp://*:*", Errno::INVAL),
        (unix.as_raw_fd(), "tcp://*:*", Errno::INVAL),
        (client.as_raw_fd(), "tcp://*:*", Errno::INVAL),
        (
            listener.as_raw_fd(),
            "ipc://@mqcore-test-wrong",
            Errno::INVAL,
        ),
        (1_000_000, "tcp://*:*", Errno(9)), // EBADF
    ] {
        using.use_fd = Some(number);
        let error = listen(text, &using).unwrap_err();
        assert_eq!(error.errno(), errno, "{error}");
        assert!(error.detail().unwrap().contains(&number.to_string()));
    }
}
