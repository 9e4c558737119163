"""Tunnels by paramiko, through a small SSH server in this process."""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import socket as system
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))
paramiko: Any = pytest.importorskip("paramiko")
pytest.importorskip("pexpect")
ssh: Any = importlib.import_module(f"{zmq.__name__}.ssh")
deviation = pytest.mark.deviation
DEADLINE = 20.0


class Rules(paramiko.ServerInterface):  # type: ignore[misc]
    """Lets the user in with a password or a key, and lets channels go anywhere but to port 1."""

    def __init__(self, server: SshServer) -> None:
        self.server = server

    def get_allowed_auths(self, username: str) -> str:
        return "password,publickey"

    def check_auth_password(self, username: str, password: str) -> int:
        right = (username, password) == ("me", "open sesame")
        return int(paramiko.AUTH_SUCCESSFUL if right else paramiko.AUTH_FAILED)

    def check_auth_publickey(self, username: str, key: Any) -> int:
        right = key == self.server.user_key
        return int(paramiko.AUTH_SUCCESSFUL if right else paramiko.AUTH_FAILED)

    def check_channel_direct_tcpip_request(self, number: int, origin: Any, target: Any) -> int:
        if target[1] == 1:
            return int(paramiko.OPEN_FAILED_CONNECT_FAILED)
        self.server.targets[number] = target
        return int(paramiko.OPEN_SUCCEEDED)


class SshServer:
    """An SSH server on loopback that only forwards."""

    def __init__(self) -> None:
        self.host_key = paramiko.RSAKey.generate(2048)
        self.user_key = paramiko.RSAKey.generate(2048)
        self.targets: dict[int, tuple[str, int]] = {}
        self.transports: list[Any] = []
        self.listening = system.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        self.threads = [threading.Thread(target=self.accept, daemon=True)]
        self.threads[0].start()

    def accept(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            self.transports.append(transport)
            transport.add_server_key(self.host_key)
            with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
                transport.start_server(server=Rules(self))
                thread = threading.Thread(target=self.serve, args=(transport,), daemon=True)
                self.threads.append(thread)
                thread.start()

    def serve(self, transport: Any) -> None:
        while transport.is_active():
            channel = transport.accept(0.2)
            if channel is not None:
                target = self.targets[channel.get_id()]
                thread = threading.Thread(target=self.carry, args=(channel, target), daemon=True)
                self.threads.append(thread)
                thread.start()

    @staticmethod
    def carry(channel: Any, target: tuple[str, int]) -> None:
        gone = contextlib.suppress(OSError, EOFError)
        with gone, channel, system.create_connection(target) as far:
            ways = {channel: far, far: channel}
            while ways:
                for source in select.select(list(ways), [], [])[0]:
                    data = source.recv(65536)
                    if data:
                        ways[source].sendall(data)
                    elif source is channel:
                        far.shutdown(system.SHUT_WR)
                        del ways[source]
                    else:
                        channel.shutdown_write()
                        del ways[source]

    def close(self) -> None:
        self.listening.shutdown(system.SHUT_RDWR)
        self.listening.close()
        for transport in self.transports:
            transport.close()
        for thread in self.threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()

    @property
    def name(self) -> str:
        return f"me@127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    server = SshServer()
    yield server
    server.close()


@pytest.fixture
def home(server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory that knows the server, and has no keys and no agent."""
    known = tmp_path / ".ssh" / "known_hosts"
    known.parent.mkdir()
    key = server.host_key
    known.write_text(f"[127.0.0.1]:{server.port} {key.get_name()} {key.get_base64()}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.delenv("PYZMQ_PARAMIKO_HOST_KEY_POLICY", raising=False)
    return tmp_path


@pytest.fixture
def keyfile(server: SshServer, home: Path) -> str:
    file = str(home / "key")
    server.user_key.write_private_key_file(file)
    return file


@contextlib.contextmanager
def forwarding(server: SshServer, target: tuple[str, int]) -> Iterator[int]:
    """The local port of a `forward_tunnel` in a thread, over a connection of its own."""
    transport = paramiko.Transport(("127.0.0.1", server.port))
    transport.connect(username="me", password="open sesame")
    (port,) = ssh.tunnel.select_random_ports(1)
    thread = threading.Thread(
        target=ssh.forward.forward_tunnel, args=(port, *target, transport), daemon=True
    )
    thread.start()
    try:
        yield port
    finally:
        transport.close()
        if zmq.__name__ == "mqcore":
            thread.join(DEADLINE)
            assert not thread.is_alive(), "it ends with the SSH connection"


def connect(port: int) -> system.socket:
    """A connection to what may just be about to listen."""
    for _ in range(200):
        try:
            return system.create_connection(("127.0.0.1", port), timeout=DEADLINE)
        except ConnectionRefusedError:
            threading.Event().wait(0.05)
    raise AssertionError("nothing listens")


# forward_tunnel.


def test_bytes_go_both_ways_and_ends_are_passed_on(server: SshServer) -> None:
    with system.create_server(("127.0.0.1", 0)) as far:
        far.settimeout(DEADLINE)
        with forwarding(server, ("127.0.0.1", far.getsockname()[1])) as port:
            near = connect(port)
            other, _ = far.accept()
            other.settimeout(DEADLINE)
            big = os.urandom(300_000)
            sending = threading.Thread(target=near.sendall, args=(big,))
            sending.start()
            got = b""
            while len(got) < len(big):
                got += other.recv(65536)
            sending.join(DEADLINE)
            assert got == big
            near.shutdown(system.SHUT_WR)
            if zmq.__name__ == "mqcore":
                assert other.recv(1) == b""  # the one direction has ended, the other works
                other.sendall(b"after the end")
                assert near.recv(100) == b"after the end"
            other.close()
            assert near.recv(1) == b""
            near.close()


def test_several_connections_go_through_one_tunnel(server: SshServer) -> None:
    with system.create_server(("127.0.0.1", 0)) as far:
        far.settimeout(DEADLINE)
        with forwarding(server, ("127.0.0.1", far.getsockname()[1])) as port:
            pairs = []
            for number in range(5):
                near = connect(port)
                other, _ = far.accept()
                other.settimeout(DEADLINE)
                near.sendall(b"%d" % number)
                pairs.append((near, other))
            for number, (near, other) in enumerate(pairs):
                assert other.recv(10) == b"%d" % number
                near.close()
                assert other.recv(10) == b""
                other.close()


@deviation
def test_end_of_the_ssh_connection_ends_what_goes_through_it(server: SshServer) -> None:
    with system.create_server(("127.0.0.1", 0)) as far:
        far.settimeout(DEADLINE)
        with forwarding(server, ("127.0.0.1", far.getsockname()[1])) as port:
            near = connect(port)
            other, _ = far.accept()
            other.settimeout(DEADLINE)
            near.sendall(b"x")
            assert other.recv(1) == b"x"
        assert near.recv(1) == b"" and other.recv(1) == b""
        near.close()
        other.close()


def test_refusal_of_the_server_ends_the_connection(server: SshServer) -> None:
    with forwarding(server, ("127.0.0.1", 1)) as port:
        near = connect(port)
        assert near.recv(1) == b""
        near.close()


@deviation
def test_forwarding_listens_at_loopback_only(server: SshServer) -> None:
    with forwarding(server, ("127.0.0.1", 1)) as port:
        connect(port).close()
        with system.create_server(("127.0.0.2", port)):  # would be in use if it were everywhere
            pass


def test_server_class_is_a_threading_server() -> None:
    import socketserver

    assert issubclass(ssh.forward.ForwardServer, socketserver.ThreadingTCPServer)
    assert (
        ssh.forward.ForwardServer.daemon_threads and ssh.forward.ForwardServer.allow_reuse_address
    )
    assert issubclass(ssh.forward.Handler, socketserver.BaseRequestHandler)


# Tunnels.


def echo_through(server: SshServer, sockets: Any, **options: Any) -> None:
    service, client = sockets(zmq.REP), sockets(zmq.REQ)
    port = service.bind_to_random_port("tcp://127.0.0.1")
    process = ssh.tunnel_connection(
        client, f"tcp://127.0.0.1:{port}", server.name, paramiko=True, timeout=20, **options
    )
    try:
        assert process.is_alive() and process.daemon
        client.send_multipart([b"question", bytes(100_000)])
        assert service.recv_multipart() == [b"question", bytes(100_000)]
        service.send(b"answer")
        assert client.recv() == b"answer"
    finally:
        client.close(linger=0)
        process.terminate()
        process.join(DEADLINE)
    assert not process.is_alive()


def test_socket_connects_through_a_tunnel_with_a_password(
    server: SshServer, home: Path, sockets: Any
) -> None:
    echo_through(server, sockets, password="open sesame")


def test_socket_connects_through_a_tunnel_with_a_key(
    server: SshServer, home: Path, sockets: Any, keyfile: str
) -> None:
    echo_through(server, sockets, keyfile=keyfile)


@deviation  # pyzmq takes a rejected RSA key for a failure
def test_user_is_asked_for_the_password_that_is_needed(
    server: SshServer, home: Path, sockets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return "open sesame"

    where = "by_paramiko" if zmq.__name__ == "mqcore" else "tunnel"
    monkeypatch.setattr(f"{zmq.__name__}.ssh.{where}.getpass", ask)
    other = home / "other"
    paramiko.RSAKey.generate(2048).write_private_key_file(str(other))
    echo_through(server, sockets, keyfile=str(other))
    assert asked == [f"{server.name}'s password: "]


def test_passwordless_login_is_tried(server: SshServer, keyfile: str, home: Path) -> None:
    assert ssh.try_passwordless_ssh(server.name, keyfile, paramiko=True) is True


@deviation
def test_rejected_key_is_not_passwordless(server: SshServer, home: Path) -> None:
    other = home / "other"
    paramiko.RSAKey.generate(2048).write_private_key_file(str(other))
    assert ssh.try_passwordless_ssh(server.name, str(other), paramiko=True) is False


@deviation
def test_login_without_any_key_is_not_passwordless(server: SshServer, home: Path) -> None:
    assert ssh.try_passwordless_ssh(server.name, None, paramiko=True) is False


@deviation
def test_tunnel_that_cannot_be_opened_says_why(server: SshServer, home: Path) -> None:
    with pytest.raises(RuntimeError, match="Authentication failed"):
        ssh.paramiko_tunnel(1234, 5678, server.name, password="wrong")
    with system.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(RuntimeError, match="in use"):
            ssh.paramiko_tunnel(taken.getsockname()[1], 5678, server.name, password="open sesame")


def test_policy_for_unknown_hosts_is_taken_from_the_environment(
    server: SshServer, home: Path, keyfile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_hosts = home / ".ssh" / "known_hosts"
    known_hosts.write_text("")
    with pytest.raises(paramiko.SSHException, match="not found in known_hosts"):
        ssh.try_passwordless_ssh(server.name, keyfile, paramiko=True)
    monkeypatch.setenv("PYZMQ_PARAMIKO_HOST_KEY_POLICY", "AutoAdd")
    assert ssh.try_passwordless_ssh(server.name, keyfile, paramiko=True) is True
    assert server.host_key.get_base64() in known_hosts.read_text()


@deviation
def test_changed_key_of_a_host_is_refused_whatever_the_policy(
    server: SshServer, home: Path, keyfile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = paramiko.RSAKey.generate(2048)
    line = f"[127.0.0.1]:{server.port} {other.get_name()} {other.get_base64()}\n"
    (home / ".ssh" / "known_hosts").write_text(line)
    monkeypatch.setenv("PYZMQ_PARAMIKO_HOST_KEY_POLICY", "AutoAdd")
    with pytest.raises(paramiko.BadHostKeyException):
        ssh.try_passwordless_ssh(server.name, keyfile, paramiko=True)


@deviation
def test_policy_that_there_is_not_is_refused(
    server: SshServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYZMQ_PARAMIKO_HOST_KEY_POLICY", "Trusting")
    with pytest.raises(ValueError, match="AutoAdd, Reject or Warning"):
        ssh.try_passwordless_ssh(server.name, None, paramiko=True)
