"""PUB → SUB and XPUB → XSUB through connections that break."""

from __future__ import annotations

import time
from functools import partial
from typing import ClassVar

import mqcore as zmq

from soak.flow import QUIET, Flow, Sender
from soak.promises import Arrivals
from soak.run import Run
from soak.workload import QUEUE, Socket, Workload

SILENCE = 10.0
"""Seconds within which a message must come again after any fault; a proxy stalls for 2.5 at most.
"""


class Publications(Workload):
    """A bound publisher with a subject for each of two subscribers, which connect through proxies
    of their own.

    May be lost: what is published while a subscriber has no connection or has not subscribed again;
    what was on its way when a connection broke; what finds the subscriber's queue at the publisher
    full.

    Never: a subject that was not asked for; silence for more than SILENCE seconds, because the
    subscriptions are sent again with each connection.

    Order: the numbers of a subject increase; none comes twice.
    """

    publisher_kind: ClassVar[int]
    subscriber_kind: ClassVar[int]

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.publisher = self.socket(self.publisher_kind, sndhwm=QUEUE)
        self.publisher.bind(run.fresh("tcp"))
        self.flows: list[Flow] = []

    def start(self) -> None:
        for name, subject in ((1, b"a"), (2, b"b")):
            proxy = self.proxy(self.publisher.get_string(zmq.LAST_ENDPOINT), str(name))
            subscriber = self.socket(self.subscriber_kind, rcvhwm=100_000)
            self.subscribe(subscriber, subject)
            subscriber.connect(proxy.endpoint)
            flow = Flow(
                self.run,
                Arrivals(self.broken, ordered=True),
                Listener(self, subscriber, subject).receive,
            )
            sender = Sender(
                name,
                partial(self._publish, subject),
                self.run.random(f"{self.title} {name}"),
            )
            flow.senders.append(sender)
            self.flows.append(flow)
            self.thread(flow.play)
            self.thread(sender.play, flow)

    def subscribe(self, subscriber: Socket, subject: bytes) -> None:
        """Asks for a subject."""
        subscriber.subscribe(subject)

    def _publish(self, subject: bytes, message: bytes) -> None:
        self.publisher.send_multipart([subject, message])

    def count(self) -> int:
        return sum(flow.arrivals.count for flow in self.flows)

    def judge(self) -> None:
        for flow in self.flows:
            (sender,) = flow.senders
            anything = sender.sent + 1
            self.lost.append(
                flow.arrivals.judge(sender.name, sender.sent, anything, anything << 20)
            )


class Listener:
    """A subscriber that notices silence and what it did not ask for."""

    def __init__(self, workload: Workload, socket: Socket, subject: bytes) -> None:
        self.workload = workload
        self.socket = socket
        self.subject = subject
        self.heard = time.monotonic()

    def receive(self) -> list[bytes]:
        """The content of what came within QUIET seconds."""
        try:
            messages = self.socket.recv_many_multipart(256, QUIET * 1000)
        except zmq.Again:
            silent = time.monotonic() - self.heard
            if silent > SILENCE and not self.workload.run.over.is_set():
                self.workload.broken.add(f"subscriber of {self.subject!r}: {silent:.0f} s silence")
                self.heard = time.monotonic()
            return []
        self.heard = time.monotonic()
        for message in messages:
            if message[0] != self.subject:
                self.workload.broken.add(f"{message[0][:40]!r} came for {self.subject!r}")
        return [message[-1] for message in messages]


class PubSub(Publications):
    """PUB, which reads its subscriptions itself, and SUB."""

    title = "PUB → SUB"
    publisher_kind = zmq.PUB
    subscriber_kind = zmq.SUB


class XPubXSub(Publications):
    """XPUB, whose application reads the subscriptions, and XSUB, which sends them.

    Each subject has one subscriber, so that an XPUB tells of subscriptions and their ends
    alternately: a connection that came before the last one was found dead is no news.
    """

    title = "XPUB → XSUB"
    publisher_kind = zmq.XPUB
    subscriber_kind = zmq.XSUB

    def start(self) -> None:
        super().start()
        self.thread(self._read_subscriptions)

    def subscribe(self, subscriber: Socket, subject: bytes) -> None:
        subscriber.send(b"\x01" + subject)

    def _read_subscriptions(self) -> None:
        known: set[bytes] = set()
        while not self.run.over.is_set():
            try:
                notice = self.publisher.recv()
            except zmq.Again:
                continue
            subject, wanted = notice[1:], notice[:1] == b"\x01"
            if notice[:1] not in (b"\0", b"\x01") or wanted == (subject in known):
                self.broken.add(f"the XPUB was told {notice!r} while it knew {known}")
            (known.add if wanted else known.discard)(subject)
