"""Endpoints: what is accepted and refused with which errno, wildcards, several endpoints per socket, and the order of
bind, connect, unbind and disconnect.
"""

import errno
import os
import socket as plain_socket

import pytest
from peers.raw import RawListener, RawPeer, free_endpoint
from peers.subject import is_ours, ours, zmq
from peers.waiting import eventually

MATRIX = [
    # endpoint, errno of bind, errno of connect (None: accepted)
    ("", errno.EINVAL, errno.EINVAL),
    ("foo", errno.EINVAL, errno.EINVAL),
    ("://", errno.EINVAL, errno.EINVAL),
    ("tcp://", errno.EINVAL, errno.EINVAL),
    ("tcp://127.0.0.1", errno.EINVAL, errno.EINVAL),
    ("tcp://127.0.0.1:", errno.EINVAL, errno.EINVAL),
    ("tcp://127.0.0.1:abc", errno.EINVAL, errno.EINVAL),
    ("foo://bar", errno.EPROTONOSUPPORT, errno.EPROTONOSUPPORT),
    ("tcp://127.0.0.1:0", None, None),
    ("tcp://127.0.0.1:*", None, errno.EINVAL),
    ("tcp://*:*", None, errno.EINVAL),
    ("tcp://nosuchif:5555", errno.ENODEV, None),
    ("tcp://nosuch.invalid:5555", errno.ENODEV, None),
    ("tcp://192.0.2.1:5557", errno.EADDRNOTAVAIL, None),
    ("tcp://[::1]:5558", errno.ENODEV, None),
    ("inproc://", errno.EINVAL, errno.EINVAL),
    ("ipc://", errno.EINVAL, errno.EINVAL),
    ("ipc://@", errno.EINVAL, errno.EINVAL),
    ("ipc:///nonexistent/dir/x", errno.ENOENT, None),
]
STRICT = [
    ("tcp://127.0.0.1:70000", errno.EINVAL, errno.EINVAL),
    ("tcp://127.0.0.1:65536", errno.EINVAL, errno.EINVAL),
    ("tcp://127.0.0.1:-1", errno.EINVAL, errno.EINVAL),
    ("tcp://127.0.0.1:55x", errno.EINVAL, errno.EINVAL),
]
"""Where the reference takes the number modulo 65536 or stops reading at the first letter."""

CASES = [
    (call, row[0], row[1 if call == "bind" else 2])
    for row in MATRIX
    for call in ("bind", "connect")
]
STRICT_CASES = [(call, row[0], row[1]) for row in STRICT for call in ("bind", "connect")]


def check(socket, call: str, endpoint: str, expected: int | None) -> None:
    if expected is None:
        getattr(socket, call)(endpoint)
        return
    with pytest.raises(zmq.ZMQError) as refused:
        getattr(socket, call)(endpoint)
    assert refused.value.errno == expected
    assert socket.get(zmq.LAST_ENDPOINT).rstrip(b"\0") == b""


@pytest.mark.parametrize("call, endpoint, expected", CASES)
def test_endpoint_is_accepted_or_refused(make, call, endpoint, expected):
    check(make("DEALER").socket, call, endpoint, expected)


@ours
@pytest.mark.parametrize("call, endpoint, expected", STRICT_CASES)
def test_port_out_of_range_is_refused(make, call, endpoint, expected):
    check(make("DEALER").socket, call, endpoint, expected)


def is_loopback(where: str) -> str:
    """The same endpoint, reachable."""
    return where.replace("0.0.0.0", "127.0.0.1").replace("[::]", "127.0.0.1")


@pytest.mark.parametrize(
    "given, shown",
    [
        ("tcp://127.0.0.1:*", "tcp://127.0.0.1:"),
        ("tcp://127.0.0.1:0", "tcp://127.0.0.1:"),
        ("tcp://*:*", "tcp://0.0.0.0:"),
        ("tcp://lo:*", "tcp://127.0.0.1:"),
        ("tcp://localhost:*", "tcp://127.0.0.1:"),
    ],
)
def test_wildcard_port_is_told_and_works(make, given, shown):
    pull, push = make("PULL"), make("PUSH")
    where = pull.bind(given)
    assert where.startswith(shown) and 0 < int(where.removeprefix(shown)) < 65536
    push.connect(is_loopback(where))
    push.send([b"x"])
    assert pull.receive() == [[b"x"]]
    pull.unbind(where)
    with pytest.raises(zmq.ZMQError) as again:
        pull.unbind(where)
    assert again.value.errno == errno.ENOENT


def test_ipv6_works_when_asked_for(make):
    try:
        with plain_socket.create_server(("::1", 0), family=plain_socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("no IPv6 on this host")
    pull, push = make("PULL", IPV6=1), make("PUSH", IPV6=1)
    where = pull.bind("tcp://[::1]:*")
    assert where.startswith("tcp://[::1]:")
    push.connect(where)
    push.send([b"six"])
    assert pull.receive() == [[b"six"]]


def test_ipv6_wildcard_takes_ipv4_as_well(make):
    try:
        with plain_socket.create_server(("::", 0), family=plain_socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("no IPv6 on this host")
    pull, push = make("PULL", IPV6=1), make("PUSH")
    where = pull.bind("tcp://*:*")
    assert where.startswith("tcp://[::]:")
    push.connect("tcp://127.0.0.1:" + where.rsplit(":", 1)[1])
    push.send([b"four"])
    assert pull.receive() == [[b"four"]]


def test_ipc_wildcard_makes_a_path_and_removes_it(make, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    pull, push = make("PULL"), make("PUSH")
    where = pull.bind("ipc://*")
    path = where.removeprefix("ipc://")
    assert os.path.exists(path)
    push.connect(where)
    push.send([b"x"])
    assert pull.receive() == [[b"x"]]
    pull.close()
    eventually(lambda: not os.path.exists(path), what="the path of a wildcard goes away")


def test_last_endpoint_is_the_last_one(make, endpoint):
    pull = make("PULL")
    assert pull.socket.get(zmq.LAST_ENDPOINT).rstrip(b"\0") == b""
    first, second = pull.bind("tcp://127.0.0.1:*"), pull.bind("tcp://127.0.0.1:*")
    assert first != second
    where = endpoint("inproc")
    pull.socket.bind(where)
    assert pull.socket.get(zmq.LAST_ENDPOINT).rstrip(b"\0").decode() == where
    pull.socket.connect("tcp://127.0.0.1:9")
    assert pull.socket.get(zmq.LAST_ENDPOINT).rstrip(b"\0") == b"tcp://127.0.0.1:9"


def test_taken_port_is_refused(make):
    first = make("PULL")
    where = first.bind("tcp://127.0.0.1:*")
    with pytest.raises(zmq.ZMQError) as taken:
        make("PULL").bind(where)
    assert taken.value.errno == errno.EADDRINUSE
    with RawListener() as other, pytest.raises(zmq.ZMQError) as foreign:
        make("PULL").bind(other.endpoint)
    assert foreign.value.errno == errno.EADDRINUSE


def test_taken_names_are_refused(make, endpoint):
    for transport in ("inproc", "abstract") + (("ipc",) if is_ours else ()):
        where = endpoint(transport)
        first = make("PULL")
        first.bind(where)
        with pytest.raises(zmq.ZMQError) as taken:
            make("PULL").bind(where)
        assert taken.value.errno == errno.EADDRINUSE
        push = make("PUSH")
        push.connect(where)
        push.send([b"x"])
        assert first.receive() == [[b"x"]]


def test_stale_ipc_file_is_replaced(make, tmp_path):
    path = tmp_path / "stale"
    dead = plain_socket.socket(plain_socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    assert path.exists()
    pull, push = make("PULL"), make("PUSH")
    pull.bind(f"ipc://{path}")
    push.connect(f"ipc://{path}")
    push.send([b"x"])
    assert pull.receive() == [[b"x"]]


@ours
def test_file_that_is_no_socket_is_never_removed(make, tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(zmq.ZMQError):
        make("PULL").bind(f"ipc://{path}")
    assert path.read_text() == "data"


@ours
def test_ipc_file_is_removed_on_unbind_and_on_close(make, tmp_path):
    path = tmp_path / "socket"
    pull = make("PULL")
    pull.bind(f"ipc://{path}")
    assert path.exists()
    pull.unbind(f"ipc://{path}")
    eventually(lambda: not path.exists())
    pull.bind(f"ipc://{path}")
    pull.close()
    eventually(lambda: not path.exists())


def test_abstract_name_works_and_leaves_no_file(make, endpoint):
    where = endpoint("abstract")
    pull, push = make("PULL"), make("PUSH")
    pull.bind(where)
    push.connect(where)
    push.send([b"x"])
    assert pull.receive() == [[b"x"]]


@ours
@pytest.mark.parametrize("transport", ["tcp", "ipc", "abstract", "inproc"])
def test_unbound_endpoint_can_be_bound_again_at_once(make, endpoint, transport):
    pull = make("PULL")
    where = pull.bind(endpoint(transport))
    for _ in range(20):
        pull.unbind(where)
        pull.bind(where)
    push = make("PUSH")
    push.connect(where)
    push.send([b"x"])
    assert pull.receive() == [[b"x"]]


@ours
@pytest.mark.parametrize("transport", ["tcp", "ipc", "abstract", "inproc"])
def test_endpoint_of_a_closed_socket_can_be_bound_again_at_once(make, endpoint, transport):
    where = free_endpoint(endpoint, transport)
    for n in range(10):
        pull, push = make("PULL"), make("PUSH")
        pull.bind(where)
        push.connect(where)
        push.send([b"%d" % n])
        assert pull.receive() == [[b"%d" % n]]
        push.close()
        pull.close()


def test_unbind_ends_accepted_connections(make):
    pull = make("PULL")
    where = pull.bind("tcp://127.0.0.1:*")
    with RawPeer.ready_for(where, b"PUSH") as raw:
        raw.send_message(b"x")
        assert pull.receive() == [[b"x"]]
        pull.unbind(where)
        eventually(lambda: pull.poll(0) < 0 or raw.is_closed(0.02))
    with pytest.raises(OSError):
        RawPeer.connect(where)


@pytest.mark.parametrize("call", ["unbind", "disconnect"])
@pytest.mark.parametrize("where", ["tcp://127.0.0.1:5", "ipc:///nonexistent/x", "inproc://nobody"])
def test_unknown_endpoint_cannot_be_left(make, call, where):
    with pytest.raises(zmq.ZMQError) as unknown:
        getattr(make("DEALER"), call)(where)
    assert unknown.value.errno == errno.ENOENT


def test_one_socket_binds_and_connects_over_all_transports(make, endpoint):
    hub = make("PULL")
    pushes = []
    for transport in ("tcp", "ipc", "abstract", "inproc"):
        push = make("PUSH")
        push.connect(hub.bind(endpoint(transport)))
        pushes.append(push)
        push = make("PUSH")
        hub.connect(push.bind(endpoint(transport)))
        pushes.append(push)
    for n, push in enumerate(pushes):
        push.send([b"%d" % n])
    assert sorted(frame for (frame,) in hub.receive(8)) == [b"%d" % n for n in range(8)]


@pytest.mark.parametrize("transport", ["ipc", "inproc"])
def test_connect_before_bind_keeps_what_was_sent(make, endpoint, transport):
    where = endpoint(transport)
    push = make("PUSH", RECONNECT_IVL=10)
    push.connect(where)
    push.send(*[[b"%d" % n] for n in range(100)])
    pull = make("PULL")
    pull.bind(where)
    assert pull.receive(100) == [[b"%d" % n] for n in range(100)]


def test_source_address_can_be_chosen(make):
    push = make("PUSH")
    with RawListener() as server:
        push.connect(f"tcp://127.0.0.2:0;127.0.0.1:{server.port}")
        with server.accept() as raw:
            assert raw.socket.getpeername()[0] == "127.0.0.2"


def test_context_manager_unbinds_afterwards(context):
    pull = context.socket(zmq.PULL)
    with pull.bind("tcp://127.0.0.1:*"):
        where = pull.get(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()
        RawPeer.connect(where).close()
    with pytest.raises(zmq.ZMQError):
        pull.unbind(where)
