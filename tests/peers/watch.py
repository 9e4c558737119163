"""Seeing why: the events and counters of a socket."""

import struct
import time

from peers.subject import is_ours, zmq
from peers.waiting import PATIENCE, eventually


class Watch:
    """Reads the monitor of a socket. Make it before `bind` or `connect`, close it before the socket."""

    def __init__(self, socket) -> None:
        self.watched = socket
        self.monitor = socket.get_monitor_socket()
        self.seen: list[tuple[int, int, bytes]] = []

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if not self.watched.closed:
            self.watched.disable_monitor()
        if not self.monitor.closed:
            self.monitor.close(linger=0)

    def read(self, milliseconds: int = 0) -> list[tuple[int, int, bytes]]:
        """Takes what is there (waiting so long for the first); returns everything seen so far."""
        while self.monitor.poll(milliseconds):
            what, endpoint = self.monitor.recv_multipart()
            assert len(what) == 6, what
            event, value = struct.unpack("=HI", what)
            self.seen.append((event, value, endpoint))
            milliseconds = 0
        return self.seen

    def count(self, *events: int) -> int:
        """How often one of these has happened so far."""
        return sum(event in events for event, _, _ in self.read())

    def wait(
        self, *events: int, seconds: float = PATIENCE, times: int = 1
    ) -> tuple[int, int, bytes]:
        """Waits until one of `events` has happened `times` times; returns the last of them."""
        end = time.monotonic() + seconds
        while True:
            found = [record for record in self.seen if record[0] in events]
            if len(found) >= times:
                return found[-1]
            left = end - time.monotonic()
            assert left > 0, f"none of {[zmq.Event(e) for e in events]} came; seen: {self.names()}"
            self.read(int(left * 1000) + 1)

    def never(self, *events: int, seconds: float) -> None:
        """Nothing of this happens for that long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.read(int(left * 1000) + 1)
            assert not self.count(*events), self.names()

    def events(self) -> list[int]:
        """What has happened so far, in order."""
        return [event for event, _, _ in self.read()]

    def names(self) -> list[str]:
        return [f"{zmq.Event(event).name}({value})" for event, value, _ in self.seen]


def counter(socket, name: str) -> int:
    """A counter of `statistics()`, 0 where the module has none."""
    return socket.statistics()[name] if is_ours else 0


def blames_the_peer(socket, watch: Watch) -> None:
    """The protocol error can be seen from outside: counted, or told by the monitor."""
    if not is_ours:
        return
    eventually(
        lambda: (
            counter(socket, "protocol_errors") > 0
            or watch.count(zmq.Event.HANDSHAKE_FAILED_PROTOCOL)
        ),
        what="a reason for the closed connection (protocol_errors or HANDSHAKE_FAILED_PROTOCOL)",
    )
