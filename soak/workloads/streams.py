"""Plain tcp clients that talk to a STREAM socket through connections that break."""

from __future__ import annotations

import contextlib
import select
import socket as plain
from functools import partial

import mqcore as zmq

from soak.faults import FaultProxy
from soak.flow import QUIET, Flow, Sender
from soak.messages import Damaged, parse
from soak.promises import Arrivals, Connections
from soak.run import Run
from soak.workload import IN_FLIGHT, Workload

LENGTH = 4
"""Bytes before each message that tell its length: a stream has no messages."""


class Client:
    """A plain client that connects again whenever its connection ends, and counts that."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.broken = 0
        self.socket: plain.socket | None = None

    def send(self, message: bytes) -> None:
        """Sends a whole message. Raises Again if the connection broke: part of it may have been
        sent, never all.
        """
        try:
            if self.socket is None:
                self.socket = plain.create_connection(("127.0.0.1", self.port), timeout=1.0)
                self.socket.setsockopt(plain.SOL_SOCKET, plain.SO_SNDBUF, 32 * 1024)
            elif has_closed(self.socket):
                raise ConnectionResetError
            self.socket.sendall(len(message).to_bytes(LENGTH, "big") + message)
        except OSError:
            self.close()
            self.broken += 1
            raise zmq.Again() from None

    def close(self) -> None:
        """Ends the connection."""
        if self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.close()
            self.socket = None


def has_closed(client: plain.socket) -> bool:
    """Whether the other side has closed: a client that goes on sends into the void, megabytes each
    second.
    """
    poller = select.poll()
    poller.register(client, select.POLLIN)
    return bool(poller.poll(0)) and not client.recv(1, plain.MSG_PEEK)


class Streams(Workload):
    """Two plain clients, each through a proxy of its own, and a bound STREAM.

    May be lost: what was on its way when a connection broke, one gap of at most IN_FLIGHT bytes.

    Never: bytes of a connection out of order or missing before its end; a connection that is not
    announced once at its beginning and once at its end, by an empty message.
    """

    title = "STREAM"

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.stream = self.socket(zmq.STREAM)
        self.stream.bind(run.fresh("tcp"))
        self.flow = Flow(run, Arrivals(self.broken), self._receive)
        self.connections = Connections(self.broken)
        self.open: dict[bytes, bytearray] = {}
        self.clients: list[Client] = []

    def start(self) -> None:
        for name in (1, 2):
            proxy = self.proxy(self.stream.get_string(zmq.LAST_ENDPOINT), str(name))
            client = Client(proxy.port)
            self.clients.append(client)
            sender = Sender(
                name,
                client.send,
                self.run.random(f"stream {name}"),
                partial(breaks_between, client, proxy),
            )
            self.flow.senders.append(sender)
            self.thread(sender.play, self.flow)
        self.thread(self.flow.play)

    def _receive(self) -> list[bytes]:
        try:
            pieces = self.stream.recv_many_multipart(256, QUIET * 1000)
        except zmq.Again:
            return []
        return [message for name, data in pieces for message in self._take(name, data)]

    def _take(self, connection: bytes, data: bytes) -> list[bytes]:
        """The whole messages that are there with this piece of a connection."""
        if not data:
            if self.open.pop(connection, None) is None:
                self.open[connection] = bytearray()
            return []
        if connection not in self.open:
            self.broken.add(f"{len(data)} bytes of {connection!r}, which is not announced")
            self.open[connection] = bytearray()
        held = self.open[connection]
        held += data
        found = []
        while len(held) >= LENGTH:
            end = LENGTH + int.from_bytes(held[:LENGTH], "big")
            if len(held) < end:
                break
            found.append(bytes(held[LENGTH:end]))
            del held[:end]
            with contextlib.suppress(Damaged):  # the flow tells
                self.connections.take(connection, parse(found[-1]))
        return found

    def count(self) -> int:
        return self.flow.arrivals.count

    def judge(self) -> None:
        for client in self.clients:
            client.close()
        if len(self.open) > len(self.clients):
            self.broken.add(f"{len(self.open)} connections were not ended, and 2 clients are there")
        for sender in self.flow.senders:
            self.lost.append(
                self.flow.arrivals.judge(sender.name, sender.sent, sender.breaks(), IN_FLIGHT)
            )


def breaks_between(client: Client, proxy: FaultProxy) -> int:
    """Connections of a client that were broken by it or by its proxy."""
    return client.broken + proxy.breaks
