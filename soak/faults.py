"""A tcp proxy that breaks connections on purpose, and knows when it did.

```text
  client ──▶ proxy ──▶ server      each connection gets one fault, drawn when it comes:
                                   NONE   passes everything on
                                   DELAY  passes everything on, `seconds` later, in order
                                   STALL  passes nothing on for `seconds`, after `after` bytes
                                   CUT    ends it after exactly `after` bytes: the receiving side
                                          gets these and the end, the sender finds it closed
                                   RESET  the same with a reset (RST) of both sides
```

The first three are cut in the end too, `lasts` seconds after they began, so that there is always a
next fault. One thread serves all connections of a proxy; nothing is kept but what is on its way.
"""

from __future__ import annotations

import contextlib
import enum
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

CHUNK = 16 * 1024
"""Bytes read at once, and the most that is held for each direction unless it is delayed."""

HELD = 64 * 1024
"""Bytes at which a direction is not read any more."""

KERNEL_BUFFER = 32 * 1024
"""SO_SNDBUF and SO_RCVBUF of both sides, to bound what is on its way."""

FAREWELL = 1.0
"""Seconds that the receiving side of a cut has to close."""

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: close sends a reset."""


class Kind(enum.Enum):
    """What happens to a connection; see the head of this file."""

    NONE = "none"
    DELAY = "delay"
    STALL = "stall"
    CUT = "cut"
    RESET = "reset"


@dataclass(frozen=True)
class Fault:
    """The fate of one connection."""

    kind: Kind
    after: int = 0
    """CUT, RESET, STALL: bytes that pass before it happens."""
    to_server: bool = True
    """The direction in which `after` counts."""
    seconds: float = 0.0
    """DELAY, STALL: for how long."""
    lasts: float = float("inf")
    """NONE, DELAY, STALL: seconds after which the connection is cut all the same."""


def draw(random: Random) -> Fault:
    """A fault for a connection that carries some hundred kilobytes a second.

    Half of the cuts and resets come early, where the handshake is; nothing happens to one
    connection in five.
    """
    kind = random.choice(list(Kind))
    early = random.random() < 0.5
    return Fault(
        kind,
        after=random.randrange(300) if early else random.randrange(300_000),
        to_server=random.random() < 0.7,
        seconds=random.uniform(0.001, 0.05) if kind is Kind.DELAY else random.uniform(0.1, 2.5),
        lasts=random.uniform(0.3, 2.5),
    )


class _Way:
    """One direction of a connection: `source` is read, `sink` is written."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.held: deque[tuple[float, bytes]] = deque()  # when each is due, in order
        self.size = 0
        self.passed = 0
        self.ended = False  # the source said its last word
        self.closed = False  # and the sink was told

    def push(self, now: float, limit: int | None) -> float | None:
        """Writes what is due, up to `limit` more bytes. Returns when the next is due, None if it
        waits for room.
        """
        while self.held:
            due, data = self.held[0]
            if due > now:
                return due
            part = data if limit is None else data[:limit]
            if not part:
                return None
            count = self.sink.send(part)
            self.passed += count
            self.size -= count
            limit = None if limit is None else limit - count
            if count == len(data):
                self.held.popleft()
            else:
                self.held[0] = (due, data[count:])
        if self.ended and not self.closed:
            self.closed = True
            self.sink.shutdown(socket.SHUT_WR)
        return None


class _Connection:
    """A client, the server it was led to, and its fate."""

    def __init__(self, client: socket.socket, server: socket.socket, fault: Fault, now: float):
        self.client, self.server, self.fault = client, server, fault
        self.up, self.down = _Way(client, server), _Way(server, client)
        self.counted = self.up if fault.to_server else self.down
        self.ends = now + fault.lasts
        self.stalled_until: float | None = None
        self.farewell: float | None = None  # cut: the sink may still read until then
        self.sockets = [client, server]

    def ways(self) -> list[_Way]:
        return [self.up, self.down]

    def is_over(self) -> bool:
        return self.up.closed and self.down.closed


class FaultProxy:
    """Leads connections from `port` of the loopback interface to `target`, each with a fault of
    `next_fault()`.

    Counts what it did: `kinds` by kind, and `breaks`, the connections that did not end by
    themselves.
    """

    def __init__(self, target: tuple[str, int], next_fault: Callable[[], Fault]) -> None:
        self.target = target
        self.kinds = dict.fromkeys(Kind, 0)
        self.breaks = 0
        self._next_fault = next_fault
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        _shorten(self._listener)  # what it accepts is short from the first byte on
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self.endpoint = f"tcp://127.0.0.1:{self.port}"
        self._ring, self._bell = socket.socketpair()
        self._calm = threading.Event()
        self._calmed = threading.Event()
        self._ending = threading.Event()
        self._connections: list[_Connection] = []
        self._selector = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._serve, name="faults", daemon=True)
        self._thread.start()

    def calm(self, timeout: float = 10.0) -> None:
        """From now on everything passes. Returns when that is so; TimeoutError after `timeout`
        seconds.
        """
        self._calm.set()
        self._ring.send(b"!")
        if not self._calmed.wait(timeout):
            raise TimeoutError(f"the proxy did not calm down within {timeout} s")

    def close(self) -> None:
        """Ends all connections and the thread."""
        self._ending.set()
        with contextlib.suppress(BrokenPipeError):  # the thread has seen it already
            self._ring.send(b"!")
        self._thread.join()
        self._ring.close()

    # The thread.

    def _serve(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._bell, selectors.EVENT_READ)
        while not self._ending.is_set():
            now = time.monotonic()
            until = min(
                (self._turn(each, now) for each in self._connections.copy()), default=now + 60
            )
            if self._calm.is_set():
                self._calmed.set()
            for key, _ in self._selector.select(max(0.0, until - now)):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._bell:
                    self._bell.recv(64)
        for connection in self._connections.copy():
            self._drop(connection)
        self._selector.close()
        self._listener.close()
        self._bell.close()

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return  # it has gone already
        fault = Fault(Kind.NONE) if self._calm.is_set() else self._next_fault()
        server = socket.socket()
        _shorten(server)
        try:
            server.settimeout(5.0)
            server.connect(self.target)
        except OSError:
            self.breaks += 1
            client.close()
            server.close()
            return
        for side in (client, server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            side.setblocking(False)
        self.kinds[fault.kind] += 1
        self._connections.append(_Connection(client, server, fault, time.monotonic()))

    def _turn(self, one: _Connection, now: float) -> float:
        """Does what can be done for a connection. Returns when it wants its next turn at the
        latest.
        """
        try:
            if one.farewell is not None:
                return self._bid_farewell(one, now)
            if self._calm.is_set() and one.fault.kind is not Kind.NONE:
                one.fault, one.stalled_until = Fault(Kind.NONE), None
            if self._calm.is_set():
                one.ends = float("inf")
            if now >= one.ends:
                return self._cut(one, now)
            until = self._pass_on(one, now)
        except OSError:  # one side was reset: the other one shall be, too
            self.breaks += one.farewell is None
            self._drop(one, reset=True)
            return now
        if one.is_over() and one in self._connections:
            self._drop(one)
        return min(until, one.ends)

    def _pass_on(self, one: _Connection, now: float) -> float:
        fault = one.fault
        if one.stalled_until is not None and now < one.stalled_until:
            self._watch(one, nothing=True)
            return one.stalled_until
        until = now + 60
        for way in one.ways():
            self._read(way, now + (fault.seconds if fault.kind is Kind.DELAY else 0.0))
            limit = None
            if way is one.counted and fault.kind in (Kind.CUT, Kind.RESET, Kind.STALL):
                limit = None if one.stalled_until else fault.after - way.passed
            with contextlib.suppress(BlockingIOError):
                until = min(until, way.push(now, limit) or until)
            if limit is not None and way.passed >= fault.after:
                return self._strike(one, now)
        self._watch(one)
        return until

    def _strike(self, one: _Connection, now: float) -> float:
        """The moment of a fault has come."""
        if one.fault.kind is Kind.STALL:
            one.stalled_until = now + one.fault.seconds
            return now
        if one.fault.kind is Kind.CUT:
            return self._cut(one, now)
        self.breaks += 1
        self._drop(one, reset=True)
        return now

    @staticmethod
    def _read(way: _Way, due: float) -> None:
        while not way.ended and way.size < HELD:
            try:
                data = way.source.recv(CHUNK)
            except BlockingIOError:
                return
            way.ended = not data
            if data:
                way.held.append((due, data))
                way.size += len(data)

    def _cut(self, one: _Connection, now: float) -> float:
        """Closes the source at once; the sink, which shall get every byte that passed, when it has
        closed.
        """
        self.breaks += 1
        way = one.counted
        self._forget(way.source)
        way.source.close()
        one.sockets = [way.sink]
        one.farewell = now + FAREWELL
        with contextlib.suppress(OSError):  # it may be gone as well
            way.sink.shutdown(socket.SHUT_WR)
        return now

    def _bid_farewell(self, one: _Connection, now: float) -> float:
        assert one.farewell is not None
        sink = one.counted.sink
        over = now >= one.farewell
        with contextlib.suppress(BlockingIOError):
            while not over:
                over = not sink.recv(CHUNK)
        if over:
            self._drop(one)
            return now
        self._want(sink, selectors.EVENT_READ)
        return one.farewell

    def _watch(self, one: _Connection, nothing: bool = False) -> None:
        """Asks for the events that this connection can go on with."""
        now = time.monotonic()
        for way, back in ((one.up, one.down), (one.down, one.up)):
            wanted = 0
            if not way.ended and way.size < HELD:
                wanted |= selectors.EVENT_READ
            if back.held and back.held[0][0] <= now:
                wanted |= selectors.EVENT_WRITE
            self._want(way.source, 0 if nothing else wanted)

    def _want(self, side: socket.socket, events: int) -> None:
        known = self._selector.get_map().get(side)
        if known is None and events:
            self._selector.register(side, events)
        elif known is not None and not events:
            self._selector.unregister(side)
        elif known is not None and known.events != events:
            self._selector.modify(side, events)

    def _forget(self, side: socket.socket) -> None:
        if side.fileno() >= 0 and self._selector.get_map().get(side) is not None:
            self._selector.unregister(side)

    def _drop(self, one: _Connection, reset: bool = False) -> None:
        for side in one.sockets:
            self._forget(side)
            if reset:
                with contextlib.suppress(OSError):
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            side.close()
        self._connections.remove(one)


def _shorten(side: socket.socket) -> None:
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        side.setsockopt(socket.SOL_SOCKET, option, KERNEL_BUFFER)
