"""Sockets that connect and disconnect, and contexts that are made and ended, all the time."""

from __future__ import annotations

import contextlib
import itertools
import socket as plain
from functools import partial

import mqcore as zmq

from soak.faults import RESET_ON_CLOSE
from soak.flow import Flow, Sender, receiving
from soak.messages import Damaged, Stamp, make, parse
from soak.promises import Arrivals
from soak.run import Run
from soak.workload import TERM, Workload


class Churn(Workload):
    """Over tcp and ipc: a connection for each message, made and ended by a lasting PUSH or a new
    one. Between them, connections that never become peers: closed at once, reset, ended within the
    greeting.

    May be lost: nothing. `disconnect` and `close` send what was sent before (LINGER), and the
    others are nobody's peers.

    Order: each message has a connection of its own, and those are read in turn; so none is
    promised.
    """

    title = "connect, disconnect"

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.flows: list[Flow] = []
        self.lasting = self.socket(zmq.PUSH)
        self.connections = 0

    def start(self) -> None:
        for name, transport in enumerate(("tcp", "ipc")):
            pull = self.socket(zmq.PULL)
            pull.bind(self.run.fresh(transport))
            endpoint = pull.get_string(zmq.LAST_ENDPOINT)
            flow = Flow(self.run, Arrivals(self.broken), receiving(pull), lossless=True)
            sender = Sender(
                name,
                partial(self._send, endpoint, name),
                self.run.random(f"churn {name}"),
            )
            flow.senders.append(sender)
            self.flows.append(flow)
            self.thread(flow.play)
            self.thread(sender.play, flow)

    def _send(self, endpoint: str, name: int, message: bytes) -> None:
        self.connections += 1
        if name == 0 and len(message) % 4 == 0:
            self.lasting.connect(endpoint)
            self.lasting.send(message)
            self.lasting.disconnect(endpoint)
            return
        with self.context.socket(zmq.PUSH) as push:
            push.connect(endpoint)
            push.send(message)
        if len(message) % 7 == 0 and endpoint.startswith("tcp"):
            self._disturb(int(endpoint.rpartition(":")[2]), len(message) % 12)

    @staticmethod
    def _disturb(port: int, size: int) -> None:
        """A client that goes after `size` bytes of a greeting; every other one with a reset."""
        with contextlib.suppress(ConnectionError), plain.socket() as client:
            client.connect(("127.0.0.1", port))
            client.sendall(b"\xff\0\0\0\0\0\0\0\1\x7f\3"[:size])
            if size % 2:
                client.setsockopt(plain.SOL_SOCKET, plain.SO_LINGER, RESET_ON_CLOSE)

    def count(self) -> int:
        return sum(flow.arrivals.count for flow in self.flows)

    def judge(self) -> None:
        for flow in self.flows:
            (sender,) = flow.senders
            loss = flow.arrivals.judge(sender.name, sender.sent, sender.sent, 0)
            self.lost.append(loss)


class Contexts(Workload):
    """Two threads that make a context, send a few messages in it over each transport in turn, and
    end it.

    May be lost: nothing of what is received before the end. `term` and `destroy` return within TERM
    seconds.
    """

    title = "contexts"

    def start(self) -> None:
        for name in range(2):
            self.thread(self._play, name)

    def _play(self, name: int) -> None:
        chance = self.run.random(f"contexts {name}")
        for number, transport in zip(
            itertools.count(), itertools.cycle(("tcp", "ipc", "inproc")), strict=False
        ):
            if self.run.over.wait(chance.uniform(0, 0.01)):
                return
            endpoint = (
                self.run.fresh("tcp") if transport == "tcp" else f"{self._base(transport)}-{name}"
            )
            self._live(endpoint, number)

    def _base(self, transport: str) -> str:
        return f"ipc://{self.run.directory}/contexts" if transport == "ipc" else "inproc://contexts"

    def _live(self, endpoint: str, number: int) -> None:
        context = zmq.Context()
        pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
        pull.rcvtimeo = int(TERM * 1000)
        pull.bind(endpoint)
        push.connect(pull.last_endpoint)
        for index in range(5):
            push.send(make(Stamp(number, index)))
        for index in range(5):
            try:
                if parse(pull.recv()) != Stamp(number, index):
                    self.broken.add(f"message {index} of context {number} came out of order")
            except Damaged as error:
                self.broken.add(str(error))
        push.close()
        if number % 2:
            pull.close(linger=0)
            context.term(timeout=TERM * 1000)
        else:
            context.destroy(linger=0)
        self.messages += 5
