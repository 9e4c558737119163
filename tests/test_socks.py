"""Connecting through a SOCKS 5 proxy (RFC 1928), with and without a login (RFC 1929), and what bad proxies do."""

from __future__ import annotations

import errno
import importlib
import os
import socket as plain_socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from peers.waiting import eventually

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))
OURS = zmq.__name__ == "mqcore"


class Proxy:
    """A SOCKS 5 proxy that connects, byte by byte if it is to be slow, and notes what it was asked for."""

    def __init__(self, login: tuple[bytes, bytes] | None = None, slow: bool = False) -> None:
        self.login, self.slow = login, slow
        self.asked: list[tuple[int, bytes, int]] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self.offered: list[bytes] = []
        self.status = 0
        self.method: int | None = None
        self.closing = False
        self.open: list[plain_socket.socket] = []
        self.threads: list[threading.Thread] = []
        self.listener = plain_socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.start(self.accept)

    def start(self, target: Any, *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self.threads.append(thread)
        thread.start()

    def accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.open.append(connection)
            self.start(self.serve, connection)

    def serve(self, connection: plain_socket.socket) -> None:
        try:
            far = self.talk(connection)
            if far is not None:
                self.open.append(far)
                self.start(self.relay, far, connection)
                self.relay(connection, far)
        except OSError:
            pass

    def exactly(self, connection: plain_socket.socket, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = connection.recv(count - len(data))
            if not part:
                raise OSError("closed")
            data += part
        return data

    def say(self, connection: plain_socket.socket, data: bytes) -> None:
        for piece in [data[i : i + 1] for i in range(len(data))] if self.slow else [data]:
            connection.sendall(piece)

    def talk(self, connection: plain_socket.socket) -> plain_socket.socket | None:
        connection.setsockopt(plain_socket.IPPROTO_TCP, plain_socket.TCP_NODELAY, 1)
        version, count = self.exactly(connection, 2)
        assert version == 5
        methods = self.exactly(connection, count)
        self.offered.append(methods)
        wanted = 2 if self.login else 0
        if self.method is not None:
            wanted = self.method
        elif wanted not in methods:
            wanted = 0xFF
        self.say(connection, bytes([5, wanted]))
        if wanted == 2:
            _, length = self.exactly(connection, 2)
            user = self.exactly(connection, length)
            password = self.exactly(connection, self.exactly(connection, 1)[0])
            self.logins.append((user, password))
            good = (user, password) == self.login
            self.say(connection, bytes([1, 0 if good else 1]))
            if not good:
                return None
        _, command, _, kind = self.exactly(connection, 4)
        assert command == 1
        length = {1: 4, 4: 16}.get(kind) or self.exactly(connection, 1)[0]
        host = self.exactly(connection, length)
        (port,) = struct.unpack("!H", self.exactly(connection, 2))
        self.asked.append((kind, host, port))
        if self.status:
            self.say(connection, bytes([5, self.status, 0, 1, 0, 0, 0, 0, 0, 0]))
            return None
        far = plain_socket.create_connection(("127.0.0.1", port), timeout=10)
        far.settimeout(None)
        # What the peer says at once comes in one piece with the end of the reply.
        reply = b"\5\0\0\3\4name\0\0" if self.slow else b"\5\0\0\1\0\0\0\0\0\0"
        if not self.slow:
            reply += far.recv(10)
        self.say(connection, reply)
        return far

    def relay(self, source: plain_socket.socket, target: plain_socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(plain_socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        self.listener.shutdown(plain_socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.open:
            try:
                connection.shutdown(plain_socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()
        for connection in self.open:
            connection.close()


@pytest.fixture
def proxies() -> Iterator[Any]:
    made: list[Proxy] = []

    def make(**options: Any) -> Proxy:
        made.append(Proxy(**options))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


@pytest.fixture
def served(sockets: Any) -> Any:
    socket = sockets(zmq.REP)
    socket.bind("tcp://127.0.0.1:*")
    return socket


def port_of(socket: Any) -> int:
    return int(socket.last_endpoint.rsplit(b":", 1)[1])


def asking(sockets: Any, proxy: Proxy, endpoint: str, **options: Any) -> Any:
    socket = sockets(zmq.REQ, **options)
    socket.setsockopt(zmq.SOCKS_PROXY, proxy.address.encode())
    socket.connect(endpoint)
    return socket


def works(asking: Any, served: Any) -> bool:
    for number in range(3):
        asking.send(b"%d" % number)
        served.send(served.recv() + b"!")
        assert asking.recv() == b"%d!" % number
    return True


@pytest.mark.parametrize("slow", [False, True])
def test_address_is_given_to_the_proxy(sockets: Any, proxies: Any, served: Any, slow: bool) -> None:
    proxy = proxies(slow=slow)
    client = asking(sockets, proxy, f"tcp://127.0.0.1:{port_of(served)}")
    assert works(client, served)
    assert proxy.asked == [(1, b"\x7f\0\0\1", port_of(served))]


@pytest.mark.parametrize("slow", [False, True])
def test_name_is_left_to_the_proxy(sockets: Any, proxies: Any, served: Any, slow: bool) -> None:
    proxy = proxies(slow=slow)
    client = asking(sockets, proxy, f"tcp://nowhere.invalid:{port_of(served)}")
    assert works(client, served)
    assert proxy.asked == [(3, b"nowhere.invalid", port_of(served))]


def test_ipv6_address_is_given_to_the_proxy(sockets: Any, proxies: Any, served: Any) -> None:
    proxy = proxies()
    client = asking(sockets, proxy, f"tcp://[2001:db8::1]:{port_of(served)}", ipv6=1)
    assert works(client, served)
    kind, host, _ = proxy.asked[0]
    assert (kind, host) == (4, plain_socket.inet_pton(plain_socket.AF_INET6, "2001:db8::1"))


@pytest.mark.parametrize("slow", [False, True])
def test_login(sockets: Any, proxies: Any, served: Any, slow: bool) -> None:
    proxy = proxies(login=(b"me", b"secret"), slow=slow)
    client = sockets(zmq.REQ)
    client.setsockopt(zmq.SOCKS_PROXY, proxy.address.encode())
    client.setsockopt(zmq.SOCKS_USERNAME, b"me")
    client.setsockopt(zmq.SOCKS_PASSWORD, b"secret")
    client.connect(f"tcp://127.0.0.1:{port_of(served)}")
    assert works(client, served)
    assert proxy.logins == [(b"me", b"secret")]


def test_many_messages_go_through(sockets: Any, proxies: Any) -> None:
    proxy = proxies()
    pull = sockets(zmq.PULL)
    pull.bind("tcp://127.0.0.1:*")
    push = sockets(zmq.PUSH)
    push.setsockopt(zmq.SOCKS_PROXY, proxy.address.encode())
    push.connect(f"tcp://127.0.0.1:{port_of(pull)}")
    for number in range(500):
        push.send(b"%d" % number * 100)
    assert [pull.recv() for _ in range(500)] == [b"%d" % number * 100 for number in range(500)]


def test_options_read_back_and_empty_is_none(sockets: Any, served: Any) -> None:
    socket = sockets(zmq.REQ)
    for option in (zmq.SOCKS_PROXY, zmq.SOCKS_USERNAME, zmq.SOCKS_PASSWORD):
        socket.setsockopt(option, b"text")
        assert socket.getsockopt(option).rstrip(b"\0") == b"text"
    if OURS:
        socket.setsockopt(zmq.SOCKS_PROXY, b"")
        socket.connect(served.last_endpoint)
        assert works(socket, served)


@pytest.mark.deviation  # pyzmq tries it for ever
def test_what_is_no_proxy_is_refused_at_the_connect(sockets: Any) -> None:
    socket = sockets(zmq.REQ)
    socket.setsockopt(zmq.SOCKS_PROXY, b"no port")
    with pytest.raises(
        zmq.ZMQError, match="SOCKS_PROXY 'no port'|SOCKS_PROXY \"no port\""
    ) as caught:
        socket.connect("tcp://127.0.0.1:5555")
    assert caught.value.errno == errno.EINVAL


# Bad proxies. The connection is tried again; nothing hangs, nothing reaches the peer.


def attempts(proxy: Proxy) -> int:
    return len(proxy.offered)


@pytest.mark.deviation  # pyzmq takes a method that it did not offer
@pytest.mark.parametrize("method", [1, 2, 0xFF])
def test_method_that_was_not_offered_is_refused(
    sockets: Any, proxies: Any, served: Any, method: int
) -> None:
    proxy = proxies()
    proxy.method = method
    asking(sockets, proxy, f"tcp://127.0.0.1:{port_of(served)}", reconnect_ivl=10)
    eventually(lambda: attempts(proxy) >= 3)
    assert proxy.logins == [] and proxy.asked == []


@pytest.mark.parametrize("status", [1, 2, 5, 255])
def test_refusal_is_tried_again(sockets: Any, proxies: Any, served: Any, status: int) -> None:
    proxy = proxies()
    proxy.status = status
    client = asking(sockets, proxy, f"tcp://127.0.0.1:{port_of(served)}", reconnect_ivl=10)
    eventually(lambda: attempts(proxy) >= 3)
    proxy.status = 0
    assert works(client, served)


def test_wrong_login_is_tried_again(sockets: Any, proxies: Any, served: Any) -> None:
    proxy = proxies(login=(b"me", b"other"))
    client = sockets(zmq.REQ, reconnect_ivl=10)
    client.setsockopt(zmq.SOCKS_PROXY, proxy.address.encode())
    client.setsockopt(zmq.SOCKS_USERNAME, b"me")
    client.setsockopt(zmq.SOCKS_PASSWORD, b"secret")
    client.connect(f"tcp://127.0.0.1:{port_of(served)}")
    eventually(lambda: len(proxy.logins) >= 2)
    proxy.login = (b"me", b"secret")
    assert works(client, served)


@pytest.mark.deviation  # pyzmq waits for such a proxy for ever
def test_proxy_that_never_answers_is_given_up(sockets: Any, served: Any) -> None:
    with plain_socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(10)
        client = sockets(zmq.REQ, reconnect_ivl=10, handshake_ivl=50)
        client.setsockopt(zmq.SOCKS_PROXY, b"127.0.0.1:%d" % silent.getsockname()[1])
        client.connect(f"tcp://127.0.0.1:{port_of(served)}")
        connections = [silent.accept()[0] for _ in range(3)]
        assert connections[0].recv(100) == b"\5\1\0"
        assert connections[0].recv(100) == b""
        for connection in connections:
            connection.close()


@pytest.mark.deviation
def test_socket_closes_at_once_while_a_proxy_is_silent(context: Any, served: Any) -> None:
    with plain_socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(10)
        client = context.socket(zmq.REQ)
        client.setsockopt(zmq.SOCKS_PROXY, b"127.0.0.1:%d" % silent.getsockname()[1])
        client.connect(f"tcp://127.0.0.1:{port_of(served)}")
        connection, _ = silent.accept()
        with connection:
            connection.settimeout(10)
            assert connection.recv(100) == b"\5\1\0"
            client.close(linger=0)
            assert connection.recv(100) == b""
