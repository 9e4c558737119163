"""Forwards connections at a local port through an SSH connection of paramiko to a host and port beyond it.

It stands on paramiko's transports and channels alone, and does not import paramiko: who calls has a transport. It listens
at the loopback interface only.
"""

from __future__ import annotations

import contextlib
import logging
import socketserver
from collections.abc import Callable
from socket import SHUT_RDWR, SHUT_WR, socket
from threading import Thread
from typing import Any

_log = logging.getLogger("mqcore.ssh")
_CHUNK = 65536
_LOOK = 0.5
"""After so many seconds the server looks whether its transport is still there."""


class ForwardServer(socketserver.ThreadingTCPServer):
    """Accepts the connections; each has a thread that does not keep the program from ending."""

    daemon_threads = True
    allow_reuse_address = True
    timeout = _LOOK

    transport: Any
    """The SSH connection to forward through: a paramiko.Transport."""
    remote: tuple[str, int]
    """Where the far end of it connects to."""


class Handler(socketserver.BaseRequestHandler):
    """One connection: a channel of its own, and bytes in both directions until both have ended."""

    server: ForwardServer
    request: socket

    def handle(self) -> None:
        """Forwards until both sides have said that they send no more, or one of them is gone."""
        host, port = self.server.remote
        try:
            channel = self.server.transport.open_channel(
                "direct-tcpip", (host, port), self.request.getpeername()
            )
        except (
            Exception
        ) as error:  # paramiko's own, of which this file knows none; the client sees the end
            _log.warning("The SSH server does not connect to %s:%d: %s", host, port, error)
            return

        def end_request() -> None:
            # A channel that is closed takes nothing any more: then the client need not go on either.
            self.request.shutdown(SHUT_RDWR if channel.closed else SHUT_WR)

        back = Thread(
            target=_copy, args=(channel.recv, self.request.sendall, end_request), daemon=True
        )
        back.start()
        try:
            _copy(self.request.recv, channel.sendall, channel.shutdown_write)
            back.join()
        finally:
            with contextlib.suppress(OSError, EOFError):
                channel.close()


def _copy(
    receive: Callable[[int], bytes], send: Callable[[bytes], Any], end: Callable[[], Any]
) -> None:
    """Copies one direction to its end, and passes the end on."""
    # Where a side is gone, the other direction notices by itself.
    with contextlib.suppress(OSError, EOFError):
        while data := receive(_CHUNK):
            send(data)
    with contextlib.suppress(OSError, EOFError):
        end()


def _open_server(
    local_port: int, remote_host: str, remote_port: int, transport: Any
) -> ForwardServer:
    """Listens at the port. Raises OSError if it is in use."""
    server = ForwardServer(("127.0.0.1", local_port), Handler)
    server.transport = transport
    server.remote = (remote_host, remote_port)
    return server


def _serve(server: ForwardServer) -> None:
    """Accepts connections as long as the SSH connection lives."""
    with server:
        while server.transport.is_active():
            server.handle_request()


def forward_tunnel(local_port: int, remote_host: str, remote_port: int, transport: Any) -> None:
    """Forwards connections to 127.0.0.1:`local_port` through `transport`, a paramiko.Transport, to `remote_host`:`remote_port`.

    The remote host is looked up and connected to by the SSH server. Returns when the SSH connection has ended, and
    raises OSError if the local port is in use.
    """
    _serve(_open_server(local_port, remote_host, remote_port, transport))


__all__ = ["forward_tunnel"]
