"""REQ to REP: round trips over one connection, and over a new one each time."""

from __future__ import annotations

import time
from array import array

from benches.content import body, speed, times
from benches.job import Figures, Job, Wrong

WARM_UP = 100  # round trips before the clock starts


def reply(job: Job) -> Figures:
    """Sends back each request."""
    with job.context.socket(job.zmq.REP) as socket:
        job.bind(socket)
        receive, send = socket.recv, socket.send
        for _ in range(WARM_UP):
            send(receive())
        job.began()
        for _ in range(job.task.count):
            send(receive())
        job.wait_for_other()
        return {}


def request(job: Job) -> Figures:
    """Asks and waits, again and again; each round trip has its own time."""
    with job.context.socket(job.zmq.REQ) as socket:
        socket.connect(job.endpoint)
        receive, send, clock = socket.recv, socket.send, time.perf_counter_ns
        question = body(job.task.size)
        for _ in range(WARM_UP):
            send(question)
            receive()
        job.began()
        taken = array("q")
        start = time.perf_counter()
        for _ in range(job.task.count):
            asked = clock()
            send(question)
            answer = receive()
            taken.append(clock() - asked)
            if answer != question:
                raise Wrong("the answer is not the question")
        return times(taken, time.perf_counter() - start)


def connect_each_time(job: Job) -> Figures:
    """A new socket for each question: connects, asks, waits for the answer, closes."""
    question = body(job.task.size)

    def exchange() -> None:
        with job.context.socket(job.zmq.REQ) as socket:
            socket.connect(job.endpoint)
            socket.send(question)
            if socket.recv() != question:
                raise Wrong("the answer is not the question")

    for _ in range(WARM_UP):
        exchange()
    job.began()
    start = time.perf_counter()
    for _ in range(job.task.count):
        exchange()
    return speed(job.task.count, time.perf_counter() - start)
