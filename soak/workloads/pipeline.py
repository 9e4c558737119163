"""PUSH → PULL through connections that break; one of the senders is a pyzmq process."""

from __future__ import annotations

import mqcore as zmq

from soak.flow import Flow, Sender, receiving
from soak.peer import RemoteSender
from soak.promises import Arrivals
from soak.run import Run
from soak.workload import IN_FLIGHT, QUEUE, Workload, breaks_of


class Pipeline(Workload):
    """The PUSH sockets connect, each through a proxy of its own; the PULL is bound.

    May be lost: what was on its way when a connection broke, which is one gap in the numbers for
    each break, of at most IN_FLIGHT bytes. It was written to the kernel, or is a message that had
    begun to be: nobody sends it again.

    Never lost: what waits in the queue of the connecting PUSH, which is kept for the next
    connection; what the PULL has taken in whole, although its connection is gone and nobody has
    read it yet.

    Order: complete and increasing within a connection. The PULL takes from an ended connection and
    from its successor in turn, so that numbers of the two may alternate; each number comes once.
    """

    title = "PUSH → PULL"

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.pull = self.socket(zmq.PULL)
        self.pull.bind(run.fresh("tcp"))
        self.endpoint = self.pull.get_string(zmq.LAST_ENDPOINT)
        self.arrivals = Arrivals(self.broken)
        self.flow = Flow(run, self.arrivals, receiving(self.pull))

    def start(self) -> None:
        for name in (1, 2):
            proxy = self.proxy(self.endpoint, f"mqcore {name}")
            push = self.socket(zmq.PUSH, sndhwm=QUEUE)
            push.connect(proxy.endpoint)
            self._add(Sender(name, push.send, self.run.random(f"push {name}"), breaks_of(proxy)))
        proxy = self.proxy(self.endpoint, "pyzmq")
        theirs = RemoteSender("zmq", proxy.endpoint, 3, self.run.seed)
        theirs.breaks = breaks_of(proxy)
        self._add(theirs)
        self.thread(self.flow.play)

    def _add(self, sender: Sender | RemoteSender) -> None:
        self.flow.senders.append(sender)
        self.thread(sender.play, self.flow)

    def count(self) -> int:
        return self.arrivals.count

    def judge(self) -> None:
        for sender in self.flow.senders:
            self.lost.append(
                self.arrivals.judge(sender.name, sender.sent, sender.breaks(), IN_FLIGHT)
            )
