"""Senders that number their messages, and the receiver that counts them.

```text
  time is up, no more faults (run.over)
     sender:   marks its next number, goes on    receiver: has one from after each mark → `settled`
     sender:   stops, says what its last one is  receiver: has each last one → done
```

So each connection that was broken before has been noticed by its sender before it stops, and
everything that is sent after that must arrive.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random

import mqcore as zmq

from soak.messages import Stamp, burst, make
from soak.peer import RemoteSender
from soak.promises import Arrivals
from soak.run import Run
from soak.workload import Socket

QUIET = 0.3
"""Seconds without a message after which a receiver that has everything leaves."""

PAUSE = (0.005, 0.04)
"""Seconds between two bursts of a sender, at least and at most."""

Send = Callable[[bytes], object]
Receive = Callable[[], list[bytes]]


class Sender:
    """Sends numbered messages in bursts until the flow is settled.

    `breaks()` says how many of its connections were broken so far; `pause`: as PAUSE.
    """

    def __init__(
        self,
        name: int,
        send: Send,
        random: Random,
        breaks: Callable[[], int] = lambda: 0,
        pause: tuple[float, float] = PAUSE,
    ) -> None:
        self.name = name
        self.breaks = breaks
        self.sent = 0
        self.mark: int | None = None
        self.done = False
        self._send = send
        self._random = random
        self._pause = pause

    def play(self, flow: Flow) -> None:
        """The body of its thread."""
        while not flow.settled.wait(self._random.uniform(*self._pause)):
            if flow.run.is_late():
                break
            if self.mark is None and flow.run.over.is_set():
                self.mark = self.sent
            try:
                for _ in range(burst(self._random)):
                    self._send(make(Stamp(self.name, self.sent)))
                    self.sent += 1
            except zmq.Again:
                pass  # the queue is full, or nobody is there: later
        self.done = True


class Flow:
    """Some senders and one receiver.

    `lossless`: the receiver waits for every message, since the last one need not come last.
    """

    def __init__(
        self, run: Run, arrivals: Arrivals, receive: Receive, lossless: bool = False
    ) -> None:
        self.lossless = lossless
        self.run = run
        self.arrivals = arrivals
        self.senders: list[Sender | RemoteSender] = []
        self.settled = threading.Event()
        self._receive = receive

    def play(self) -> None:
        """The body of the receiver's thread: takes messages until everything is there, or it is too
        late.
        """
        while not self.run.is_late():
            messages = self._receive()
            for message in messages:
                self.arrivals.take(message)
            if not messages and self._is_complete():
                return
            if self._has_marks():
                self.settled.set()

    def _has_marks(self) -> bool:
        return all(
            sender.mark is not None and self.arrivals.last(sender.name) >= sender.mark
            for sender in self.senders
        )

    def _is_complete(self) -> bool:
        return all(
            sender.done
            and self.arrivals.last(sender.name) == sender.sent - 1
            and not (self.lossless and self.arrivals.loss(sender.name).messages)
            for sender in self.senders
        )


def receiving(socket: Socket, batch: int = 256) -> Receive:
    """Takes what is there, waiting QUIET seconds for the first."""

    def receive() -> list[bytes]:
        try:
            return socket.recv_many(batch, QUIET * 1000)
        except zmq.Again:
            return []

    return receive
