"""Both ways through connections that break: DEALER ↔ ROUTER and PAIR ↔ PAIR."""

from __future__ import annotations

import mqcore as zmq

from soak.flow import QUIET, Flow, Sender, receiving
from soak.messages import Damaged, parse
from soak.promises import Arrivals, Connections
from soak.run import Run
from soak.workload import IN_FLIGHT, QUEUE, Socket, Workload, breaks_of, room


class Dealers(Workload):
    """Two DEALERs connect, each through a proxy of its own, and send; the bound ROUTER gives each
    message back.

    May be lost: what was on its way when a connection broke, at most IN_FLIGHT bytes in one gap.
    Answers for a connection that is gone are dropped, queued ones too: the ROUTER's queue belongs
    to the connection. So each break may leave two gaps among the answers: of questions that never
    came, and of answers before them.

    Never lost: what waits in the queue of the connecting DEALER. Nor is an answer dropped because a
    queue is full: the ROUTER's mark is far above what a stalled proxy makes wait.

    Order: a ROUTER names each connection of a DEALER without ROUTING_ID anew; through each the
    numbers are complete and increasing. Answers increase over all connections, since they come into
    one queue of the DEALER.
    """

    title = "DEALER ↔ ROUTER"

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.router = self.socket(zmq.ROUTER, sndhwm=1_000_000)
        self.router.bind(run.fresh("tcp"))
        self.connections = Connections(self.broken)
        self.flow = Flow(run, Arrivals(self.broken), self._answer)
        self.answers = Arrivals(self.broken, ordered=True)

    def start(self) -> None:
        for name in (1, 2):
            proxy = self.proxy(self.router.get_string(zmq.LAST_ENDPOINT), str(name))
            dealer = self.socket(zmq.DEALER, sndhwm=QUEUE, rcvhwm=100_000)
            dealer.connect(proxy.endpoint)
            chance = self.run.random(f"dealer {name}")
            sender = Sender(name, dealer.send, chance, breaks_of(proxy))
            self.flow.senders.append(sender)
            self.thread(sender.play, self.flow)
            self.thread(self._listen, dealer, sender)
        self.thread(self.flow.play)

    def _answer(self) -> list[bytes]:
        """What came to the ROUTER, given back at once."""
        try:
            messages = self.router.recv_many_multipart(256, QUIET * 1000)
        except zmq.Again:
            return []
        for message in messages:
            self._check(message)
            self.router.send_multipart(message)
        return [message[-1] for message in messages]

    def _check(self, message: list[bytes]) -> None:
        connection, content = message
        try:
            self.connections.take(connection, parse(content))
        except Damaged:
            pass  # the flow tells

    def _listen(self, dealer: Socket, sender: Sender) -> None:
        """Reads the answers until the last one, or it is too late."""
        receive = receiving(dealer)
        while not self.run.is_late():
            messages = receive()
            for message in messages:
                self.answers.take(message)
            if sender.done and self.answers.last(sender.name) == sender.sent - 1:
                return

    def count(self) -> int:
        return self.flow.arrivals.count + self.answers.count

    def judge(self) -> None:
        for sender in self.flow.senders:
            breaks = sender.breaks()
            self.flow.arrivals.judge(sender.name, sender.sent, breaks, IN_FLIGHT)
            self.lost.append(
                self.answers.judge(sender.name, sender.sent, 2 * breaks, 2 * IN_FLIGHT)
            )


class Pairs(Workload):
    """A PAIR connects through a proxy to a bound one; both send and receive all the time.

    May be lost, from the connecting one: what was on its way when the connection broke, one gap of
    at most IN_FLIGHT bytes. From the bound one, whose queue belongs to the connection: its queue
    too, which is kept short here.

    Never lost: what waits in the queue of the connecting one. A bound PAIR takes the next
    connection as soon as the last one is gone.

    Order: increasing at the connecting side, which has one queue. At the bound side each connection
    has its own, and each is complete and increasing.
    """

    title = "PAIR ↔ PAIR"
    QUEUE_OF_BOUND = 50

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.bound = self.socket(zmq.PAIR, sndhwm=self.QUEUE_OF_BOUND)
        self.bound.bind(run.fresh("tcp"))
        self.connected = self.socket(zmq.PAIR, sndhwm=QUEUE)
        self.up = Flow(run, Arrivals(self.broken), receiving(self.bound))
        self.down = Flow(run, Arrivals(self.broken, ordered=True), receiving(self.connected))

    def start(self) -> None:
        proxy = self.proxy(self.bound.get_string(zmq.LAST_ENDPOINT), "pair")
        self.connected.connect(proxy.endpoint)
        for flow, socket, name in ((self.up, self.connected, 1), (self.down, self.bound, 2)):
            chance = self.run.random(f"pair {name}")
            sender = Sender(name, socket.send, chance, breaks_of(proxy))
            flow.senders.append(sender)
            self.thread(flow.play)
            self.thread(sender.play, flow)

    def count(self) -> int:
        return self.up.arrivals.count + self.down.arrivals.count

    def judge(self) -> None:
        allowed = (IN_FLIGHT, IN_FLIGHT + room(self.QUEUE_OF_BOUND))
        for flow, in_flight in zip((self.up, self.down), allowed, strict=True):
            (sender,) = flow.senders
            self.lost.append(
                flow.arrivals.judge(sender.name, sender.sent, sender.breaks(), in_flight)
            )
