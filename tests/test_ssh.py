"""Tunnels by the command ssh, for which `peers/fake_ssh.py` stands in, and what all tunnels share."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))
pytest.importorskip("pexpect")
pytest.importorskip("paramiko")
ssh: Any = importlib.import_module(f"{zmq.__name__}.ssh")
tunnel: Any = importlib.import_module(f"{zmq.__name__}.ssh.tunnel")
deviation = pytest.mark.deviation


class FakeSsh:
    """The command ssh of this test, and what it was called with."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log = directory / "calls"
        self.monkeypatch = monkeypatch
        command = directory / "ssh"
        script = Path(__file__).parent / "peers" / "fake_ssh.py"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
        command.chmod(0o755)
        monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("FAKE_SSH_LOG", str(self.log))
        monkeypatch.setenv("SSH_ASKPASS", "a-window")

    def wants(self, **settings: str) -> None:
        for name, value in settings.items():
            self.monkeypatch.setenv(f"FAKE_SSH_{name.upper()}", value)

    @property
    def calls(self) -> list[list[str]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [json.loads(line)[0] for line in lines]

    @property
    def opening(self) -> list[str]:
        """The one call that opened a tunnel."""
        (opening,) = [call for call in self.calls if "-f" in call]
        return opening


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSsh:
    return FakeSsh(tmp_path, monkeypatch)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Answers the questions of getpass; returns what was asked."""

    def give(*passwords: str) -> list[str]:
        waiting, asked = list(passwords), []

        def ask(prompt: str = "") -> str:
            asked.append(prompt)
            return waiting.pop(0)

        for name in ("tunnel", "openssh", "by_paramiko"):
            try:
                module = importlib.import_module(f"{zmq.__name__}.ssh.{name}")
            except ImportError:
                continue
            if hasattr(module, "getpass"):
                monkeypatch.setattr(module, "getpass", ask)
        return asked

    return give


def rep(sockets: Any) -> tuple[Any, int]:
    service = sockets(zmq.REP)
    return service, service.bind_to_random_port("tcp://127.0.0.1")


def echo(client: Any, service: Any) -> None:
    client.send(b"question")
    assert service.recv() == b"question"
    service.send(b"answer")
    assert client.recv() == b"answer"


# What they share.


def test_all_names_are_there() -> None:
    for name in ("tunnel_connection", "ssh_tunnel", "openssh_tunnel", "paramiko_tunnel"):
        assert getattr(ssh, name) is getattr(tunnel, name)
    assert ssh.try_passwordless_ssh is tunnel.try_passwordless_ssh
    assert tunnel.ssh_tunnel is tunnel.openssh_tunnel
    assert ssh.forward.forward_tunnel is tunnel.forward_tunnel
    import paramiko

    assert issubclass(tunnel.SSHException, paramiko.SSHException)
    assert issubclass(tunnel.MaxRetryExceeded, Exception)


def test_random_ports_are_distinct() -> None:
    for _ in range(200):
        ports = tunnel.select_random_ports(10)
        assert len(ports) == len(set(ports)) == 10
        assert all(1024 <= port < 65536 for port in ports)
    assert tunnel.select_random_ports(0) == []


@deviation
def test_many_random_ports_need_no_many_descriptors() -> None:
    code = """if True:
    import resource
    from mqcore.ssh.tunnel import select_random_ports
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    print(len(set(select_random_ports(300))))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "300\n"


@pytest.mark.parametrize(
    ("server", "parts"),
    [
        ("me@there", ("me", "there", 22)),
        ("me@there:2222", ("me", "there", 2222)),
        ("there:2222", (None, "there", 2222)),
    ],
)
def test_server_is_user_host_and_port(server: str, parts: tuple[str | None, str, int]) -> None:
    import getpass

    expected = (parts[0] or getpass.getuser(), *parts[1:])
    assert tunnel._split_server(server) == expected


@deviation
def test_odd_servers_are_split_or_refused() -> None:
    assert tunnel._split_server("me@[::1]:23") == ("me", "::1", 23)
    assert tunnel._split_server("me@::1") == ("me", "::1", 22)
    assert tunnel._split_server("a@b@there") == ("a@b", "there", 22)
    for server in ("", "-oProxyCommand=evil", "me@-x", "me@", "me@there:x", "there:70000"):
        with pytest.raises(ValueError):
            tunnel._split_server(server)


@deviation
def test_only_tcp_goes_through_a_tunnel() -> None:
    for address in ("ipc://path", "tcp://there", "inproc://a:5", "tcp://:5"):
        with pytest.raises(ValueError, match="only tcp://host:port"):
            tunnel.open_tunnel(address, "me@there")


@deviation
def test_import_of_the_tunnels_needs_nothing_optional() -> None:
    code = "import sys, mqcore.ssh.tunnel; print([m for m in ('paramiko', 'pexpect') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@deviation
@pytest.mark.parametrize(("missing", "paramiko"), [("pexpect", False), ("paramiko", True)])
def test_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, missing: str, paramiko: bool
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=f"needs {missing}"):
        tunnel.open_tunnel("tcp://there:1", "me@there", paramiko=paramiko)
    with pytest.raises(ImportError, match=f"needs {missing}"):
        tunnel.try_passwordless_ssh("me@there", None, paramiko=paramiko)
    assert issubclass(tunnel.SSHException, Exception)


# By the command ssh.


def test_socket_connects_through_a_tunnel(sockets: Any, fake: FakeSsh) -> None:
    service, port = rep(sockets)
    client = sockets(zmq.REQ)
    pid = ssh.tunnel_connection(
        client, f"tcp://127.0.0.1:{port}", "me@there", paramiko=False, timeout=20
    )
    assert isinstance(pid, int)
    echo(client, service)
    opening = fake.opening
    forwarded = opening[opening.index("-L") + 1]
    assert forwarded.startswith("127.0.0.1:") and forwarded.endswith(f":127.0.0.1:{port}")
    assert opening[-3:] == ["me@there", "sleep", "20"]


def test_key_and_port_are_passed_on(sockets: Any, fake: FakeSsh, tmp_path: Path) -> None:
    key = str(tmp_path / "key")
    (lport,) = tunnel.select_random_ports(1)
    service, port = rep(sockets)
    client = sockets(zmq.REQ)
    assert ssh.openssh_tunnel(lport, port, "me@there:2222", keyfile=key, timeout=20) > 0
    client.connect(f"tcp://127.0.0.1:{lport}")
    echo(client, service)
    opening = fake.opening
    assert opening[opening.index("-i") + 1] == key
    assert opening[opening.index("-p") + 1] == "2222"
    assert f"127.0.0.1:{lport}:127.0.0.1:{port}" in opening and "me@there" in opening


def test_password_is_said_when_ssh_asks(sockets: Any, fake: FakeSsh) -> None:
    fake.wants(password="open sesame")
    service, port = rep(sockets)
    client = sockets(zmq.REQ)
    ssh.tunnel_connection(
        client,
        f"tcp://127.0.0.1:{port}",
        "me@there",
        password="open sesame",
        paramiko=False,
        timeout=20,
    )
    echo(client, service)


def test_user_is_asked_for_a_password_until_it_is_right(
    sockets: Any, fake: FakeSsh, answers: Any
) -> None:
    fake.wants(password="open sesame")
    asked = answers("wrong", "open sesame")
    service, port = rep(sockets)
    client = sockets(zmq.REQ)
    ssh.tunnel_connection(client, f"tcp://127.0.0.1:{port}", "me@there", paramiko=False, timeout=20)
    echo(client, service)
    assert asked == ["me@there's password: "] * 2


@deviation
def test_rejected_password_fails_with_what_ssh_said(fake: FakeSsh, answers: Any) -> None:
    fake.wants(password="open sesame")
    asked = answers("also wrong", "wrong again")
    with pytest.raises(RuntimeError, match="Permission denied"):
        ssh.openssh_tunnel(1234, 5678, "me@there", password="wrong")
    assert len(asked) == 2


@deviation
def test_refusal_is_told_in_the_words_of_ssh(fake: FakeSsh) -> None:
    fake.wants(refuse="bind [127.0.0.1]:1234: Address already in use")
    with pytest.raises(RuntimeError, match="Address already in use"):
        ssh.openssh_tunnel(1234, 5678, "me@there")
    opening = fake.opening
    assert opening[opening.index("ExitOnForwardFailure=yes") - 1] == "-o"


@deviation
def test_unknown_host_is_refused_with_advice(fake: FakeSsh) -> None:
    fake.wants(host_key="unknown")
    with pytest.raises(RuntimeError, match="known_hosts"):
        ssh.openssh_tunnel(1234, 5678, "me@there")


def test_passwordless_login_is_tried(fake: FakeSsh) -> None:
    assert ssh.try_passwordless_ssh("me@there", None, paramiko=False) is True


@deviation
def test_login_with_a_password_is_not_passwordless(fake: FakeSsh) -> None:
    fake.wants(password="open sesame")
    assert ssh.try_passwordless_ssh("me@there:23", "a key", paramiko=False) is False
    call = fake.calls[-1]
    assert call[:4] == ["-i", "a key", "-p", "23"] and call[-2:] == ["me@there", "exit"]


@deviation
def test_window_for_passwords_is_not_used(fake: FakeSsh, sockets: Any) -> None:
    service, port = rep(sockets)
    client = sockets(zmq.REQ)
    ssh.tunnel_connection(client, f"tcp://127.0.0.1:{port}", "me@there", paramiko=False, timeout=20)
    echo(client, service)
    asking = [json.loads(line) for line in fake.log.read_text().splitlines()]
    assert [window for call, window in asking if "-f" in call] == [False]
    assert os.environ["SSH_ASKPASS"] == "a-window"


@deviation
def test_master_connection_forwards_if_there_is_one(
    fake: FakeSsh, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.wants(master="1")
    at_exit: list[Any] = []
    module = importlib.import_module("mqcore.ssh.openssh")
    monkeypatch.setattr(module.atexit, "register", lambda *call: at_exit.append(call))
    assert ssh.openssh_tunnel(1234, 5678, "me@there:23") == 4711
    assert fake.calls[0] == ["-p", "23", "-O", "check", "me@there"]
    ends = "127.0.0.1:1234:127.0.0.1:5678"
    assert fake.calls[1][2:] == ["-O", "forward", "-L", ends, "me@there"]
    ((stop, command),) = at_exit
    stop(command)
    assert fake.calls[2][2:4] == ["-O", "cancel"]
