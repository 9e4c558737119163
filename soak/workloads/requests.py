"""REQ and REP through connections that break; one of the servers is a pyzmq process."""

from __future__ import annotations

import time

import mqcore as zmq

from soak.messages import Stamp, make
from soak.peer import Remote
from soak.promises import Loss
from soak.run import PATIENCE, Run
from soak.workload import Socket, Workload

TRY = 0.25
"""Seconds after which a request is sent again."""


class Requests(Workload):
    """REQ sockets with REQ_RELAXED and REQ_CORRELATE, which send a request again when no answer
    came in time.

    May be lost: any attempt, and its answer, if a connection breaks meanwhile. Late answers are
    thrown away. The table counts the attempts that were repeated.

    Never: that a request is not answered in the end (within 30 s); that an answer is not the one to
    the attempt just made, which both sides' words show: number and attempt.
    """

    title = "REQ ↔ REP"

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.rep = self.socket(zmq.REP, linger=0)
        self.rep.bind(run.fresh("tcp"))
        self.theirs = Remote("zmq", "rep")
        self.repeated = [0, 0, 0]
        self.answered = [0, 0, 0]

    def start(self) -> None:
        self.thread(self._serve)
        servers = (self.rep.get_string(zmq.LAST_ENDPOINT), str(self.theirs.hear("endpoint")))
        for name, server in enumerate(servers, 1):
            req = self.socket(zmq.REQ, req_relaxed=1, req_correlate=1, linger=0)
            req.connect(self.proxy(server, str(name)).endpoint)
            self.thread(self._ask, name, req)

    def _serve(self) -> None:
        """Gives requests back until the clients are done."""
        while not self.run.over.is_set() or self.rep.poll(2 * TRY * 1000):
            try:
                self.rep.send_multipart(self.rep.recv_multipart())
            except zmq.Again:
                pass

    def _ask(self, name: int, req: Socket) -> None:
        chance = self.run.random(f"requests {name}")
        number = 0
        while not self.run.over.is_set():
            attempts = self._ask_until_answered(name, number, req)
            self.repeated[name] += attempts - 1
            self.answered[name] += 1
            number += 1
            self.run.over.wait(chance.uniform(0, 0.005))

    def _ask_until_answered(self, name: int, number: int, req: Socket) -> int:
        """Returns after how many attempts."""
        question, end = make(Stamp(name, number)), time.monotonic() + PATIENCE
        attempt = 0
        while time.monotonic() < end:
            attempt += 1
            try:
                req.send_multipart([question, b"%d" % attempt])
            except zmq.Again:
                continue
            if req.poll(TRY * 1000):
                answer = req.recv_multipart()
                if answer != [question, b"%d" % attempt]:
                    self.broken.add(
                        f"attempt {attempt} of request {number} was answered with "
                        f"{[part[:40] for part in answer]}"
                    )
                return attempt
        self.broken.add(f"request {number} of {name} was not answered within {PATIENCE:.0f} s")
        return attempt

    def count(self) -> int:
        return sum(self.answered)

    def judge(self) -> None:
        self.lost.append(Loss(sum(self.repeated), []))

    def close(self) -> None:
        self.theirs.end()
        super().close()
