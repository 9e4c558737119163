"""What sockets say and hear when peers come and go: hello, disconnect and hiccup messages, notices of a ROUTER; raw
ROUTERs; when a connect gives up."""

from __future__ import annotations

import errno
import socket as plain_socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mqcore as zmq
import pytest
from peers.waiting import bind_when_free, eventually
from peers.watch import Watch


@pytest.fixture(params=["inproc", "tcp://127.0.0.1:*", "ipc://*"])
def endpoint(request: pytest.FixtureRequest) -> Any:
    return "inproc://notices" if request.param == "inproc" else request.param


@pytest.fixture(params=["tcp", "ipc"])
def network(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An endpoint that can be bound again."""
    return "tcp://127.0.0.1:*" if request.param == "tcp" else f"ipc://{tmp_path}/notices"


# HELLO_MSG, DISCONNECT_MSG, HICCUP_MSG.


def test_hello_is_the_first_message_of_both_sides(sockets: Any, endpoint: str) -> None:
    router = sockets(zmq.ROUTER, hello_msg=b"hello from the router")
    dealer = sockets(zmq.DEALER, hello_msg=b"hello from the dealer")
    router.bind(endpoint)
    dealer.connect(router.last_endpoint)
    dealer.send(b"question")
    identity, first = router.recv_multipart()
    assert first == b"hello from the dealer"
    assert router.recv_multipart() == [identity, b"question"]
    assert dealer.recv() == b"hello from the router"


def test_hello_comes_again_with_each_connection(sockets: Any, network: str) -> None:
    dealer = sockets(zmq.DEALER, hello_msg=b"hello", reconnect_ivl=10)
    router = sockets(zmq.ROUTER)
    router.bind(network)
    address = router.last_endpoint
    dealer.connect(address)
    assert router.recv_multipart()[1] == b"hello"
    router.close(linger=0)
    successor = sockets(zmq.ROUTER)
    bind_when_free(successor, address)
    assert successor.recv_multipart()[1] == b"hello"


def test_disconnect_message_is_the_last_of_an_accepted_peer(sockets: Any, endpoint: str) -> None:
    router = sockets(zmq.ROUTER, disconnect_msg=b"gone")
    router.bind(endpoint)
    dealers = [sockets(zmq.DEALER) for _ in range(2)]
    names = []
    for dealer in dealers:
        dealer.connect(router.last_endpoint)
        dealer.send(b"here")
        names.append(router.recv_multipart()[0])
    dealers[0].send(b"last words")
    dealers[0].close()
    assert router.recv_multipart() == [names[0], b"last words"]
    assert router.recv_multipart() == [names[0], b"gone"]
    dealers[1].send(b"still here")
    assert router.recv_multipart() == [names[1], b"still here"]


def test_hiccup_message_tells_of_a_lost_connection(sockets: Any, network: str) -> None:
    dealer = sockets(zmq.DEALER, hiccup_msg=b"lost", reconnect_ivl=10)
    router = sockets(zmq.ROUTER)
    router.bind(network)
    address = router.last_endpoint
    dealer.connect(address)
    dealer.send(b"here")
    name, _ = router.recv_multipart()
    router.send_multipart([name, b"answer"])
    assert dealer.recv() == b"answer"
    router.close(linger=0)
    assert dealer.recv() == b"lost"
    successor = sockets(zmq.ROUTER)
    bind_when_free(successor, address)
    dealer.send(b"again")
    assert successor.recv_multipart()[1] == b"again"


def test_empty_text_is_no_message(sockets: Any, endpoint: str) -> None:
    router = sockets(zmq.ROUTER, hello_msg=b"x", disconnect_msg=b"x")
    router.hello_msg = router.disconnect_msg = b""
    router.bind(endpoint)
    dealer = sockets(zmq.DEALER)
    dealer.connect(router.last_endpoint)
    dealer.send(b"here")
    name, _ = router.recv_multipart()
    router.send_multipart([name, b"the first"])
    assert dealer.recv() == b"the first"


@pytest.mark.parametrize(
    ("kind", "option"),
    [("PUSH", "HELLO_MSG"), ("DEALER", "DISCONNECT_MSG"), ("ROUTER", "HICCUP_MSG")],
)
def test_messages_are_refused_by_types_that_do_not_send_them(
    sockets: Any, kind: str, option: str
) -> None:
    with pytest.raises(zmq.ZMQError, match=option) as caught:
        sockets(getattr(zmq, kind)).set(getattr(zmq, option), b"x")
    assert caught.value.errno == errno.EINVAL


# ROUTER_NOTIFY.


def test_nobody_is_told_of_an_end_that_the_application_asked_for(
    sockets: Any, network: str
) -> None:
    router = sockets(zmq.ROUTER, router_notify=3, disconnect_msg=b"gone")
    router.bind(network)
    dealer = sockets(zmq.DEALER, hiccup_msg=b"lost", routing_id=b"dealer")
    other = sockets(zmq.DEALER, routing_id=b"other")
    dealer.connect(router.last_endpoint)
    assert router.recv_multipart() == [b"dealer", b""]
    dealer.disconnect(router.last_endpoint)
    assert router.recv_multipart() == [b"dealer", b""]
    assert router.recv_multipart() == [b"dealer", b"gone"]
    assert dealer.poll(50) == 0, "it has left by itself"
    other.connect(router.last_endpoint)
    assert router.recv_multipart() == [b"other", b""]


@pytest.mark.parametrize("notify", [0, 1, 2, 3])
def test_router_hears_of_peers_that_come_and_go(sockets: Any, network: str, notify: int) -> None:
    router = sockets(zmq.ROUTER, router_notify=notify)
    assert router.router_notify == notify
    router.bind(network)
    dealer = sockets(zmq.DEALER, routing_id=b"dealer")
    dealer.connect(router.last_endpoint)
    dealer.send(b"between")
    dealer.close()
    last = sockets(zmq.DEALER, routing_id=b"last")
    if notify & zmq.RouterNotify.CONNECT:
        assert router.recv_multipart() == [b"dealer", b""]
    assert router.recv_multipart() == [b"dealer", b"between"]
    if notify & zmq.RouterNotify.DISCONNECT:
        assert router.recv_multipart() == [b"dealer", b""]
    last.connect(router.last_endpoint)
    last.send(b"end")
    if notify & zmq.RouterNotify.CONNECT:
        assert router.recv_multipart() == [b"last", b""]
    assert router.recv_multipart() == [b"last", b"end"]


# ROUTER_RAW.


@pytest.fixture
def raw(sockets: Any) -> Iterator[tuple[Any, Any]]:
    """A raw ROUTER, and a plain socket that is connected to it."""
    router = sockets(zmq.ROUTER)
    router.set(zmq.ROUTER_RAW, 1)
    router.bind("tcp://127.0.0.1:*")
    port = int(router.last_endpoint.rsplit(b":", 1)[1])
    with plain_socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        yield router, plain


def test_raw_router_speaks_plain_bytes(raw: tuple[Any, Any]) -> None:
    router, plain = raw
    name, notice = router.recv_multipart()
    assert notice == b""
    plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert router.recv_multipart() == [name, b"GET / HTTP/1.0\r\n\r\n"]
    router.send_multipart([name, b"HTTP/1.0 200 OK\r\n\r\n"])
    assert plain.recv(100) == b"HTTP/1.0 200 OK\r\n\r\n"


def test_empty_body_closes_a_raw_connection(raw: tuple[Any, Any]) -> None:
    router, plain = raw
    name, _ = router.recv_multipart()
    router.send_multipart([name, b"bye"])
    router.send_multipart([name, b""])
    received = b""
    while part := plain.recv(100):
        received += part
    assert received == b"bye"


def test_raw_router_hears_that_a_connection_is_over(raw: tuple[Any, Any]) -> None:
    router, plain = raw
    name, _ = router.recv_multipart()
    plain.sendall(b"last")
    plain.close()
    assert router.recv_multipart() == [name, b"last"]
    assert router.recv_multipart() == [name, b""]


# RECONNECT_STOP.


def nobody(network: str) -> Any:
    """An endpoint that refuses connections."""
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.bind(network)
        address = socket.last_endpoint
    return address


def test_refused_connect_is_repeated_unless_told_otherwise(sockets: Any) -> None:
    address = nobody("tcp://127.0.0.1:*")
    patient = sockets(zmq.DEALER, reconnect_ivl=10)
    stopping = sockets(zmq.DEALER, reconnect_ivl=10)
    stopping.reconnect_stop = zmq.ReconnectStop.CONN_REFUSED
    with Watch(patient) as watched, Watch(stopping) as stopped:
        patient.connect(address)
        stopping.connect(address)
        eventually(lambda: watched.count(zmq.EVENT_CONNECT_RETRIED) >= 3)
        assert stopped.count(zmq.EVENT_CONNECT_RETRIED) == 0


def test_failed_handshake_ends_the_attempts_if_wanted(sockets: Any) -> None:
    with plain_socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        dealer = sockets(zmq.DEALER, reconnect_ivl=10)
        dealer.reconnect_stop = zmq.ReconnectStop.HANDSHAKE_FAILED
        with Watch(dealer) as watch:
            dealer.connect(address)
            server.accept()[0].close()
            eventually(lambda: watch.count(zmq.EVENT_DISCONNECTED) == 1)
            patient = sockets(zmq.DEALER, reconnect_ivl=10)
            patient.connect(address)
            for _ in range(3):
                server.accept()[0].close()
            assert watch.count(zmq.EVENT_CONNECTED) == 1


# BUSY_POLL.


def test_busy_poll_is_a_number_of_microseconds(sockets: Any) -> None:
    socket = sockets(zmq.DEALER)
    assert socket.busy_poll == 0
    socket.busy_poll = 50
    assert socket.get(zmq.BUSY_POLL) == 50
    with pytest.raises(zmq.ZMQError, match="BUSY_POLL"):
        socket.busy_poll = -1
