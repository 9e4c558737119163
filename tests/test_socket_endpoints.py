"""Endpoints: bind, connect and their opposites."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import pytest

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))


def raised(call: Any) -> Any:
    with pytest.raises(zmq.ZMQError) as caught:
        call()
    return caught.value


def test_bind_resolves_the_wildcard_port(sockets: Any) -> None:
    socket = sockets(zmq.PULL)
    bound = socket.bind("tcp://127.0.0.1:*")
    port = int(bound.addr.rpartition(":")[2])
    assert port > 0
    assert socket.last_endpoint == bound.addr.encode()
    assert repr(bound) == f"<SocketContext(bind='tcp://127.0.0.1:{port}')>"


def test_what_last_endpoint_says_can_be_connected_and_unbound(sockets: Any) -> None:
    a, b = sockets(zmq.PUSH), sockets(zmq.PULL)
    b.bind("tcp://127.0.0.1:0")
    a.connect(b.last_endpoint)
    a.send(b"x")
    assert b.recv() == b"x"
    a.disconnect(b.last_endpoint)
    b.unbind(b.last_endpoint)


def test_bind_is_undone_at_the_end_of_a_with_statement(sockets: Any) -> None:
    socket = sockets(zmq.PULL)
    with socket.bind("tcp://127.0.0.1:*") as inner:
        assert inner is socket
        address = socket.last_endpoint
    assert raised(lambda: socket.unbind(address)).errno == 2
    with socket.connect("inproc://later") as inner:
        assert inner is socket
    assert raised(lambda: socket.disconnect("inproc://later")).errno == 2


def test_with_statement_leaves_a_closed_socket_alone(sockets: Any) -> None:
    socket = sockets(zmq.PULL)
    with socket.bind("tcp://127.0.0.1:*"):
        socket.close()


def test_connect_keeps_the_address_as_given(sockets: Any) -> None:
    made = sockets(zmq.PUSH).connect(b"inproc://later")
    assert (made.kind, made.addr) == ("connect", b"inproc://later")
    assert repr(made) == "<SocketContext(connect=b'inproc://later')>"


@pytest.mark.parametrize("method", ["bind", "connect"])
@pytest.mark.parametrize(
    "address", ["abc", "", "tcp://x", b"inproc://", "tcp://127.0.0.1:*x", "ipc://"]
)
def test_what_is_no_address_is_einval_and_named(sockets: Any, method: str, address: Any) -> None:
    error = raised(lambda: getattr(sockets(zmq.PUSH), method)(address))
    assert error.errno == zmq.EINVAL
    assert str(error).startswith("Invalid argument")
    assert str(error).endswith(f"(addr={address!r})")


@pytest.mark.parametrize("method", ["bind", "connect"])
def test_unknown_transport_is_eprotonosupport(sockets: Any, method: str) -> None:
    error = raised(lambda: getattr(sockets(zmq.PUSH), method)("TCP://127.0.0.1:5555"))
    assert error.errno == zmq.EPROTONOSUPPORT


@pytest.mark.deviation
@pytest.mark.parametrize("method", ["bind", "connect"])
def test_port_beyond_65535_is_einval(sockets: Any, method: str) -> None:
    error = raised(lambda: getattr(sockets(zmq.PUSH), method)("tcp://127.0.0.1:99999"))
    assert error.errno == zmq.EINVAL


@pytest.mark.parametrize("method", ["bind", "connect", "unbind", "disconnect"])
def test_address_of_a_wrong_type_is_a_type_error(sockets: Any, method: str) -> None:
    call = getattr(sockets(zmq.PUSH), method)
    with pytest.raises(TypeError, match="expected bytes, NoneType found"):
        call(None)
    with pytest.raises(TypeError, match="Expected addr to be str, got addr=5"):
        call(5)


def test_address_in_use_is_eaddrinuse(sockets: Any) -> None:
    a, b = sockets(zmq.PULL), sockets(zmq.PULL)
    for address in ("inproc://taken", "tcp://127.0.0.1:*"):
        a.bind(address)
        error = raised(lambda: b.bind(a.last_endpoint))
        assert error.errno == zmq.EADDRINUSE
        assert str(error).startswith(os.strerror(zmq.EADDRINUSE))


@pytest.mark.deviation
def test_address_is_free_again_after_unbind_and_after_close(sockets: Any) -> None:
    a, b = sockets(zmq.PULL), sockets(zmq.PULL)
    a.bind("tcp://127.0.0.1:*")
    address = a.last_endpoint
    a.unbind(address)
    b.bind(address)
    b.close()
    a.bind(address)


def test_unknown_endpoint_cannot_be_undone(sockets: Any) -> None:
    socket = sockets(zmq.PULL)
    assert raised(lambda: socket.unbind("tcp://127.0.0.1:5555")).errno == 2
    assert raised(lambda: socket.disconnect("tcp://127.0.0.1:5555")).errno == 2


def test_ipc_path_that_is_too_long_is_named_with_the_limit(sockets: Any) -> None:
    path = "x" * 200
    error = raised(lambda: sockets(zmq.PULL).bind(f"ipc://{path}"))
    assert error.errno == 36
    assert path in str(error) and str(zmq.IPC_PATH_MAX_LEN) in str(error)
    assert "IPC_PATH_MAX_LEN" in str(error)


def test_ipc_path_without_directory_is_named(sockets: Any, tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/missing/x"
    error = raised(lambda: sockets(zmq.PULL).bind(address))
    assert error.errno == 2
    assert str(tmp_path) in str(error) and "No such file or directory" in str(error)


def test_random_port_is_bound_and_returned(sockets: Any) -> None:
    socket = sockets(zmq.PULL)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    assert socket.last_endpoint == f"tcp://127.0.0.1:{port}".encode()
    chosen = sockets(zmq.PULL).bind_to_random_port("tcp://127.0.0.1", 50000, 60000)
    assert 50000 <= chosen < 60000


def test_random_port_gives_up_after_all_tries(sockets: Any) -> None:
    taken = sockets(zmq.PULL).bind_to_random_port("tcp://127.0.0.1")
    with pytest.raises(zmq.ZMQBindError, match="Could not bind socket to random port"):
        sockets(zmq.PULL).bind_to_random_port("tcp://127.0.0.1", taken, taken + 1, max_tries=3)


def test_random_port_of_a_wrong_address_is_the_error_of_bind(sockets: Any) -> None:
    error = raised(lambda: sockets(zmq.PULL).bind_to_random_port("nonsense://x", 50000, 50001))
    assert error.errno in (zmq.EINVAL, zmq.EPROTONOSUPPORT)
