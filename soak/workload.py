"""What all workloads have in common: threads whose errors are broken promises, one row of the
table, an end in good order.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import mqcore as zmq

from soak.faults import FaultProxy, Kind
from soak.messages import LARGEST
from soak.promises import Broken, Loss
from soak.run import PATIENCE, Run

IN_FLIGHT = 1024 * 1024
"""Bytes that can be on their way when a connection breaks: four kernel buffers of 64 KiB (the
kernel doubles what is asked for), the proxy's 64 KiB and a chunk, and some 64 KiB of each codec;
twice that, since all of them round up.
"""

QUEUE = 4000
"""SNDHWM of senders: about 5 MB of messages, several times what can be on its way."""

TERM = 20.0
"""Seconds within which `term` must return once all sockets are closed."""

Socket = zmq.Socket[bytes]


class Row(NamedTuple):
    """A line of the table."""

    title: str
    messages: int
    faults: int
    lost: int
    largest: int
    broken: int


class Workload:
    """A scenario that runs for the whole time in threads of its own, with a context of its own.

    Subclasses say in their docstring what they promise, start their threads in `start`, and count.
    """

    title: ClassVar[str]

    def __init__(self, run: Run) -> None:
        self.run = run
        self.broken = Broken()
        self.context = zmq.Context()
        self.messages = 0
        self.lost: list[Loss] = []
        self.restarts = 0
        self.proxies: list[FaultProxy] = []
        self._threads: list[threading.Thread] = []
        self._sockets: list[Socket] = []

    # For subclasses.

    def start(self) -> None:
        """Starts everything and returns."""
        raise NotImplementedError

    def count(self) -> int:
        """Messages that have arrived so far."""
        return self.messages

    def socket(self, kind: int, **options: Any) -> Socket:
        """A socket of this workload, with short queues in the kernel; closed at the end."""
        made = self.context.socket(kind)
        made.rcvtimeo = made.sndtimeo = 100
        made.sndbuf = made.rcvbuf = 32 * 1024
        made.reconnect_ivl = 5
        # Subscriptions are of no use to a publisher that has gone.
        made.linger = 0 if kind in (zmq.SUB, zmq.XSUB) else int(PATIENCE * 1000)
        for name, value in options.items():
            setattr(made, name, value)
        self._sockets.append(made)
        return made

    def proxy(self, endpoint: str, name: str) -> FaultProxy:
        """A proxy to `endpoint` whose faults count for this workload."""
        made = self.run.proxy(endpoint, f"{self.title}/{name}")
        self.proxies.append(made)
        return made

    def thread(self, function: Callable[..., None], *arguments: Any) -> None:
        """Calls `function(*arguments)` in a thread; an error in it is a broken promise."""

        def play() -> None:
            try:
                function(*arguments)
            except BaseException:
                self.broken.add(f"a thread ended with\n{traceback.format_exc()}")

        name = f"{self.title}: {function.__qualname__}"
        thread = threading.Thread(target=play, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    # For the main thread.

    def join(self) -> None:
        """Waits for the threads; one that goes on long after the deadline is a broken promise."""
        for thread in self._threads:
            thread.join(max(0.0, self.run.deadline + 10 - time.monotonic()))
            if thread.is_alive():
                self.broken.add(f"the thread {thread.name} does not end")

    def judge(self) -> None:
        """After `join`: compares what arrived with what was sent, into `lost` and `broken`."""

    def close(self) -> None:
        """Closes the sockets and ends the context, which must not take long."""
        for socket in self._sockets:
            socket.close()
        try:
            self.context.term(timeout=TERM * 1000)
        except zmq.ZMQError as error:
            self.broken.add(f"term did not return within {TERM:.0f} s: {error}")
            self.context.destroy(linger=0)

    def faults(self) -> int:
        """Connections that were delayed, stalled, cut or reset, and servers that were restarted."""
        drawn = sum(sum(p.kinds.values()) - p.kinds[Kind.NONE] for p in self.proxies)
        return drawn + self.restarts

    def row(self) -> Row:
        """The line of the table so far."""
        return Row(
            self.title,
            self.count(),
            self.faults(),
            sum(loss.messages for loss in self.lost),
            max((loss.largest for loss in self.lost), default=0),
            self.broken.count,
        )


def room(messages: int) -> int:
    """Bytes that a queue of so many messages has at most."""
    return messages * LARGEST


def breaks_of(proxy: FaultProxy) -> Callable[[], int]:
    """How many connections of a proxy were broken so far."""
    return lambda: proxy.breaks
