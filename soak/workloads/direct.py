"""Connections that nobody breaks: over tcp, ipc and inproc nothing at all is lost."""

from __future__ import annotations

import mqcore as zmq

from soak.flow import Flow, Receive, Send, Sender, receiving
from soak.promises import Arrivals
from soak.run import Run
from soak.workload import Socket, Workload

SELDOM = (0.02, 0.16)
"""Seconds between the bursts of each of 15 senders, which shall leave time for the others."""


class Direct(Workload):
    """PUSH → PULL with two senders, DEALER → ROUTER, PAIR → PAIR and XPUB → SUB with XPUB_NODROP,
    all at once.

    May be lost: nothing. Senders wait at the high-water mark, XPUB_NODROP makes a publisher wait
    too, and its subscriber has subscribed before the first message.

    Order: complete and increasing, for each sender.
    """

    def __init__(self, run: Run, transport: str) -> None:
        super().__init__(run)
        self.transport = transport
        self.flows: list[Flow] = []

    def start(self) -> None:
        self._flow(self._bound(zmq.PULL), [zmq.PUSH, zmq.PUSH])
        self._flow(self._bound(zmq.ROUTER), [zmq.DEALER])
        self._flow(self._bound(zmq.PAIR), [zmq.PAIR])
        self._publish()

    def _bound(self, kind: int, **options: int) -> Socket:
        made = self.socket(kind, **options)
        made.bind(self.run.fresh(self.transport))
        return made

    def _flow(self, bound: Socket, kinds: list[int]) -> None:
        receive = last_parts(bound) if bound.type == zmq.ROUTER else receiving(bound)
        flow = Flow(self.run, Arrivals(self.broken, ordered=True), receive)
        for number, kind in enumerate(kinds):
            connected = self.socket(kind)
            connected.connect(bound.last_endpoint)
            self._add(flow, number, connected.send)
        self._begin(flow)

    def _publish(self) -> None:
        publisher = self._bound(zmq.XPUB, xpub_nodrop=1, rcvtimeo=10_000)
        subscriber = self.socket(zmq.SUB)
        subscriber.subscribe(b"")
        subscriber.connect(publisher.last_endpoint)
        assert publisher.recv() == b"\x01"
        flow = Flow(self.run, Arrivals(self.broken, ordered=True), receiving(subscriber))
        self._add(flow, 0, publisher.send)
        self._begin(flow)

    def _add(self, flow: Flow, number: int, send: Send) -> None:
        chance = self.run.random(f"{self.title} {len(self.flows)} {number}")
        flow.senders.append(Sender(10 * len(self.flows) + number, send, chance, pause=SELDOM))

    def _begin(self, flow: Flow) -> None:
        self.flows.append(flow)
        self.thread(flow.play)
        for sender in flow.senders:
            self.thread(sender.play, flow)

    def count(self) -> int:
        return sum(flow.arrivals.count for flow in self.flows)

    def judge(self) -> None:
        for flow in self.flows:
            for sender in flow.senders:
                self.lost.append(flow.arrivals.judge(sender.name, sender.sent, 0, 0))


class DirectTcp(Direct):
    """Over tcp."""

    title = "direct tcp"


class DirectIpc(Direct):
    """Over ipc."""

    title = "direct ipc"


class DirectInproc(Direct):
    """Over inproc."""

    title = "direct inproc"


def direct(run: Run) -> list[Direct]:
    """One for each transport."""
    return [DirectTcp(run, "tcp"), DirectIpc(run, "ipc"), DirectInproc(run, "inproc")]


def last_parts(socket: Socket) -> Receive:
    """The last part of each message, without the name of its sender."""

    def receive() -> list[bytes]:
        try:
            return [message[-1] for message in socket.recv_many_multipart(256, 300)]
        except zmq.Again:
            return []

    return receive
