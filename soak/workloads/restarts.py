"""Servers that are closed and bound anew at the same address, while clients go on sending."""

from __future__ import annotations

import time
from errno import EADDRINUSE

import mqcore as zmq

from soak.flow import Flow, Sender, receiving
from soak.peer import RemoteSender
from soak.promises import Arrivals
from soak.run import PATIENCE, Run, free_port
from soak.workload import IN_FLIGHT, QUEUE, Socket, Workload, room

RECEIVED = 50
"""RCVHWM of the servers: what one has taken in and not read is lost with it."""


class Restarts(Workload):
    """A PULL lives for a second or less, is closed without reading the rest, and is bound anew.

    May be lost: what was on its way to a server when it was closed, and what it had not read: for
    each sender and restart one gap of at most IN_FLIGHT bytes and RECEIVED messages.

    Never lost: what waits in the queue of a PUSH while no server is there.

    Order: complete and increasing within a life.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.endpoint = self.named()
        self.chance = run.random(self.title)
        self.arrivals = Arrivals(self.broken)
        self.flow = Flow(run, self.arrivals, self._live)
        self.server = self._bind()
        self.ends = time.monotonic() + 0.5

    def named(self) -> str:
        """An endpoint with a name that can be bound again."""
        raise NotImplementedError

    def start(self) -> None:
        for name in (1, 2):
            push = self.socket(zmq.PUSH, sndhwm=QUEUE)
            push.connect(self.endpoint)
            self.add(Sender(name, push.send, self.run.random(f"{self.title} {name}")))
        self.thread(self.flow.play)

    def add(self, sender: Sender | RemoteSender) -> None:
        """One more client; each restart breaks its connection."""
        sender.breaks = lambda: self.restarts
        self.flow.senders.append(sender)
        self.thread(sender.play, self.flow)

    def _live(self) -> list[bytes]:
        """Receives; from time to time in the next life."""
        if time.monotonic() > self.ends and not self.run.over.is_set():
            self.server.close(linger=0)
            self.server = self._bind()
            self.restarts += 1
            self.ends = time.monotonic() + self.chance.uniform(0.05, 1)
        return receiving(self.server, 32)()

    def _bind(self) -> Socket:
        end = time.monotonic() + PATIENCE
        made = self.socket(zmq.PULL, rcvhwm=RECEIVED)
        while True:
            try:
                made.bind(self.endpoint)
                return made
            except zmq.ZMQError as error:
                if error.errno != EADDRINUSE or time.monotonic() > end:
                    raise
            self.run.over.wait(0.001)

    def count(self) -> int:
        return self.arrivals.count

    def judge(self) -> None:
        for sender in self.flow.senders:
            self.lost.append(
                self.arrivals.judge(
                    sender.name, sender.sent, self.restarts, IN_FLIGHT + room(RECEIVED)
                )
            )


class RestartsOverTcp(Restarts):
    """Over tcp, with a pyzmq process as one of the clients."""

    title = "restarts, tcp"

    def named(self) -> str:
        return f"tcp://127.0.0.1:{free_port()}"

    def start(self) -> None:
        super().start()
        self.add(RemoteSender("zmq", self.endpoint, 3, self.run.seed))


class RestartsOverIpc(Restarts):
    """Over ipc."""

    title = "restarts, ipc"

    def named(self) -> str:
        return self.run.fresh("ipc")
