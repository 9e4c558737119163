"""A proxy that tells a third socket what passes, and from which side.

It goes through Python message by message, in batches; `mqcore.proxy` with a capture socket is the faster one that says
less. It takes no message for which the other side has no room, so that high-water marks keep their meaning: what has
been taken and could not be passed on is one batch at most.
"""

from __future__ import annotations

from typing import Any

from mqcore._core import Socket
from mqcore.constants import DONTWAIT, POLLIN, POLLOUT, ROUTER, TYPE
from mqcore.error import Again
from mqcore.poll import Poller

_BATCH = 64
"""How many messages are taken at once."""


class _Direction:
    """One way through the queue. Invariant: while messages wait here, nothing is read from the source."""

    def __init__(
        self, source: Socket, sink: Socket, monitor: Socket, prefix: bytes, swap: bool
    ) -> None:
        self.source = source
        self.sink = sink
        self.monitor = monitor
        self.prefix = prefix
        self.swap = swap
        self.stuck = False
        """The sink had no room: wait for that, not for the source."""
        self.waiting: list[list[bytes]] = []
        """Taken and shown to the monitor, not yet passed on."""

    def handle_events(self, events: dict[Any, int]) -> None:
        """Moves what can be moved."""
        if self.stuck:
            if not events.get(self.sink, 0) & POLLOUT:
                return
            self.stuck = False
        elif not events.get(self.source, 0) & POLLIN:
            return
        elif not Socket.poll(self.sink, 0, POLLOUT):
            self.stuck = True
            return
        if not self.waiting:
            self._take()
        self._pass_on()

    def _take(self) -> None:
        """Takes a batch, and gives the monitor its copy."""
        try:
            messages = Socket.recv_many_multipart(self.source, _BATCH, 0)
        except Again:
            return
        if self.swap:
            # A ROUTER named the sender, who named the receiver: the other ROUTER sends by the first part.
            for parts in messages:
                parts[:2] = reversed(parts[:2])
        copies = [[self.prefix, *parts] for parts in messages]
        while copies:
            del copies[: Socket.send_many(self.monitor, copies)]
        self.waiting = messages

    def _pass_on(self) -> None:
        if not self.waiting:
            return
        try:
            passed = Socket.send_many(self.sink, self.waiting, DONTWAIT)
        except Again:
            passed = 0
        if not passed:
            # Writable, but not for this message (a ROUTER whose one peer is full): wait, rather than ask again.
            Socket.send_multipart(self.sink, self.waiting[0])
            passed = 1
        del self.waiting[:passed]
        self.stuck = bool(self.waiting)


def _check(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        expected = "mqcore.Socket" if kind is Socket else kind.__name__
        raise TypeError(
            f"Argument {name!r} has incorrect type (expected {expected}, got {type(value).__name__})"
        )


def monitored_queue(
    in_socket: Socket,
    out_socket: Socket,
    mon_socket: Socket,
    in_prefix: bytes = b"in",
    out_prefix: bytes = b"out",
) -> int:
    """Forwards messages between two sockets, both ways, and sends a copy of each to `mon_socket`.

    A copy has one more part in front: `in_prefix` for messages that came in by `in_socket`, `out_prefix` for those
    from `out_socket`. Between two ROUTERs the first two parts of each message are exchanged: the first names the
    receiver, the second the sender. One socket may be given for both sides.

    A side without room holds up the messages for it only; a monitor without room (other than PUB) holds up all.
    Does not return. Raises ContextTerminated when the context is terminated, ZMQError(ENOTSOCK) for a closed
    socket, TypeError for what is no socket or no bytes.
    """
    for name, socket in (
        ("in_socket", in_socket),
        ("out_socket", out_socket),
        ("mon_socket", mon_socket),
    ):
        _check(name, socket, Socket)
    _check("in_prefix", in_prefix, bytes)
    _check("out_prefix", out_prefix, bytes)
    single = in_socket is out_socket
    kinds = (Socket.get(in_socket, TYPE), Socket.get(out_socket, TYPE))
    swap = kinds == (ROUTER, ROUTER)
    ways = [_Direction(in_socket, out_socket, mon_socket, in_prefix, swap)]
    if not single:
        ways.append(_Direction(out_socket, in_socket, mon_socket, out_prefix, swap))
    poller = Poller()
    watched: dict[Any, int] = {}
    while True:
        wanted = {in_socket: 0, out_socket: 0}
        for way in ways:
            socket, event = (way.sink, POLLOUT) if way.stuck else (way.source, POLLIN)
            wanted[socket] |= event
        if wanted != watched:
            for socket, flags in wanted.items():
                poller.register(socket, flags)
            watched = wanted
        events = dict(poller.poll())
        for way in ways:
            way.handle_events(events)


__all__ = ["monitored_queue"]
