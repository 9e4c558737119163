"""PUB to many SUB, which live in one process and are read in turn.

Nothing may be dropped, so the publisher sends windows and waits for an acknowledgement of the window before the
last one: never more than two windows are under way. All sockets also go without high-water marks. With them a PUB of
libzmq drops even when its queues are empty, because it hears only every millisecond or so what has been read; and
subscriptions beyond them are lost. Every subscriber has the same topics and gets every message.
"""

from __future__ import annotations

import time
from itertools import cycle, islice
from typing import Any

from benches.content import POOL, speed
from benches.job import Figures, Job, Task, Wrong, resident

WINDOW = 128


def topic(number: int) -> bytes:
    return b"topic %07d " % number


def windows(task: Task) -> list[list[bytes]]:
    """POOL messages in windows; their topics are spread over all that are subscribed to."""
    stride = max(1, task.topics // POOL)
    pool = [
        (topic(number * stride % task.topics) + b"%04d" % number).ljust(task.size, b".")
        for number in range(POOL)
    ]
    return [pool[at : at + WINDOW] for at in range(0, POOL, WINDOW)]


def probe(task: Task) -> bytes:
    """Sent until every subscriber has one: its topic is the last that they subscribe to."""
    return topic(task.topics - 1) + b"can you hear me?"


def start_signal(task: Task) -> bytes:
    return topic(task.topics - 1) + b"now"


def publish(job: Job) -> Figures:
    """Finds out when all subscriptions are there, then publishes window by window."""
    zmq, task = job.zmq, job.task
    before = resident()
    with job.context.socket(zmq.PUB) as publisher, job.context.socket(zmq.PULL) as answers:
        unbound(job, publisher)
        job.bind(publisher, answers)
        began = time.monotonic()
        publisher.send(probe(task))
        # The pause grows with the time that has passed: precise, and few enough to fit into the queues.
        while not answers.poll(max(2, int((time.monotonic() - began) * 20))):
            publisher.send(probe(task))
        answers.recv()
        grown = resident() - before
        job.began()
        publisher.send(start_signal(task))
        send, acknowledged = publisher.send, answers.recv
        for number, window in enumerate(islice(cycle(windows(task)), task.count // WINDOW)):
            for message in window:
                send(message)
            if number:
                acknowledged()
        acknowledged()
        return {"sender": grown}


def subscribe(job: Job) -> Figures:
    """All subscribers: each in turn receives a window."""
    zmq, task = job.zmq, job.task
    answers = job.context.socket(zmq.PUSH)
    answers.connect(job.endpoints[1])
    before = resident()
    sockets = job.sockets(zmq.SUB, task.peers)
    for socket in sockets:
        unbound(job, socket)
        socket.connect(job.endpoint)
    began = time.perf_counter()
    for socket in sockets:
        for number in range(task.topics):
            socket.setsockopt(zmq.SUBSCRIBE, topic(number))
    for socket in sockets:
        if socket.recv() != probe(task):
            raise Wrong("the first message is not the first one sent")
    subscribed = time.perf_counter() - began
    grown = resident() - before
    answers.send(b"all are here")

    receivers = [socket.recv for socket in sockets]
    await_start(receivers[:1], task)
    job.began()
    start = time.perf_counter()
    await_start(receivers[1:], task)
    for window in islice(cycle(windows(task)), task.count // WINDOW):
        for receive in receivers:
            for message in window:
                if receive() != message:
                    raise Wrong("a message was lost, changed or out of order")
        answers.send(b"got it")
    took = time.perf_counter() - start
    job.wait_for_other()  # the last answer must not end with this process
    return {
        **speed(task.count * task.peers, took),
        "receiver": grown,
        "subscribe": subscribed / (task.peers * task.topics) * 1e6,
    }


def await_start(receivers: list[Any], task: Task) -> None:
    for receive in receivers:
        while (message := receive()) != start_signal(task):
            if message != probe(task):
                raise Wrong("something arrived before the start")


def unbound(job: Job, socket: Any) -> None:
    """Takes the high-water marks away."""
    socket.setsockopt(job.zmq.SNDHWM, 0)
    socket.setsockopt(job.zmq.RCVHWM, 0)
