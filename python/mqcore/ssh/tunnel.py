"""Connecting sockets through SSH: `tunnel_connection(socket, "tcp://10.0.1.2:5555", "user@gateway")`.

Either the command `ssh` does it (`openssh.py`), or paramiko (`by_paramiko.py`). Nothing here looks at messages.
"""

from __future__ import annotations

import socket
import sys
from multiprocessing import Process
from typing import TYPE_CHECKING, Any

from mqcore.ssh.by_paramiko import _paramiko_tunnel as _paramiko_tunnel
from mqcore.ssh.by_paramiko import _try_passwordless_paramiko, paramiko_tunnel
from mqcore.ssh.forward import forward_tunnel as forward_tunnel
from mqcore.ssh.openssh import _stop_tunnel as _stop_tunnel
from mqcore.ssh.openssh import _try_passwordless_openssh, openssh_tunnel
from mqcore.ssh.server import _split_server as _split_server

ssh_tunnel = openssh_tunnel


class MaxRetryExceeded(Exception):
    """So many distinct free ports as were asked for were not found."""


class _SSHException(Exception):
    """Stands for paramiko's exception where there is no paramiko, so that it can be named in an `except`."""


if TYPE_CHECKING:
    SSHException = _SSHException
else:

    def __getattr__(name: str) -> object:
        if name != "SSHException":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            from paramiko import SSHException
        except ImportError:
            return _SSHException
        return SSHException


def select_random_ports(n: int) -> list[int]:
    """Returns `n` distinct ports of TCP that are free now. Nothing holds them: another program may be faster.

    Raises MaxRetryExceeded if so many are not found.
    """
    ports: list[int] = []
    held: list[socket.socket] = []
    tries = 0
    try:
        while len(ports) < n:
            tries += 1
            if tries > 100 + 20 * n:
                raise MaxRetryExceeded(f"{n} distinct free ports were not found in {tries} tries")
            try:
                probe = socket.socket()
            except OSError:
                if not held:
                    raise
                while held:  # no more descriptors: the ports of those are written down
                    held.pop().close()
                continue
            held.append(probe)
            probe.bind(("", 0))
            port = probe.getsockname()[1]
            if port not in ports:
                ports.append(port)
    finally:
        for probe in held:
            probe.close()
    return ports


def try_passwordless_ssh(server: str, keyfile: str | None, paramiko: bool | None = None) -> bool:
    """Whether `server` ([user@]host[:port]) lets us in with the key in `keyfile`, or without one, and no password.

    `paramiko`: True to ask by paramiko, False by the command ssh, None as the platform suggests. Raises ImportError
    if what is to be used is not installed, ValueError for what is no server, and what paramiko raises if there is none.
    """
    if paramiko is None:
        paramiko = sys.platform == "win32"
    if paramiko:
        return _try_passwordless_paramiko(server, keyfile)
    return _try_passwordless_openssh(server, keyfile)


def tunnel_connection(
    socket: Any,
    addr: str,
    server: str,
    keyfile: str | None = None,
    password: str | None = None,
    paramiko: bool | None = None,
    timeout: int = 60,
) -> Process | int:
    """Connects the ZeroMQ socket `socket` to `addr` (tcp://host:port, as `server` sees it) through `server`.

    `keyfile`, `password`, `paramiko`, `timeout` (in seconds) and the errors are those of `open_tunnel`; returned is the
    tunnel alone. Raises what `mqcore.Socket.connect` raises, besides.
    """
    new_url, tunnel = open_tunnel(
        addr,
        server,
        keyfile=keyfile,
        password=password,
        paramiko=paramiko,
        timeout=timeout,
    )
    socket.connect(new_url)
    return tunnel


def open_tunnel(
    addr: str,
    server: str,
    keyfile: str | None = None,
    password: str | None = None,
    paramiko: bool | None = None,
    timeout: int = 60,
) -> tuple[str, Process | int]:
    """Opens a tunnel from a free local port through `server` to `addr` (tcp://host:port, as `server` sees it).

    Returns the local address to connect to, and the tunnel: the process (paramiko) or a process number (ssh).
    `paramiko` chooses between the two as in `try_passwordless_ssh`; `keyfile`, `password`, `timeout` (in seconds) and
    the errors are those of `openssh_tunnel` and `paramiko_tunnel`. Raises ValueError for an address that is not of TCP.
    """
    transport, _, rest = addr.partition("://")
    ip, _, number = rest.rpartition(":")
    if transport != "tcp" or not ip or not number.isdigit():
        raise ValueError(f"only tcp://host:port can go through a tunnel, not {addr!r}")
    if paramiko is None:
        paramiko = sys.platform == "win32"
    (lport,) = select_random_ports(1)
    begin: Any = paramiko_tunnel if paramiko else openssh_tunnel
    tunnel = begin(
        lport,
        int(number),
        server,
        remoteip=ip,
        keyfile=keyfile,
        password=password,
        timeout=timeout,
    )
    return f"tcp://127.0.0.1:{lport}", tunnel


__all__ = [
    "openssh_tunnel",
    "paramiko_tunnel",
    "ssh_tunnel",
    "try_passwordless_ssh",
    "tunnel_connection",
]
