"""What libraries keep in memory when nobody reads, and for connections that say nothing.

The figures are growth of the resident set (RSS) since before the first socket.
"""

from __future__ import annotations

import time

from benches.job import Figures, Job, resident


def keep_silent_pull(job: Job) -> Figures:
    """A reader that is connected and never reads."""
    before = resident()
    with job.context.socket(job.zmq.PULL) as socket:
        job.bind(socket)
        job.wait_for_other()
        return {"receiver": resident() - before}


def push_until_full(job: Job) -> Figures:
    """Sends without waiting until the socket has taken nothing for half a second."""
    before = resident()
    body = bytes(job.task.size - 8)
    with job.context.socket(job.zmq.PUSH) as socket:
        socket.linger = socket.sndtimeo = 0
        socket.connect(job.endpoint)
        accepted = 0
        last = time.monotonic()
        while time.monotonic() - last < 0.5 and accepted < job.task.count:
            try:
                socket.send(accepted.to_bytes(8, "little") + body, job.zmq.DONTWAIT)
                accepted += 1
                last = time.monotonic()
            except job.zmq.Again:
                time.sleep(0.001)
        grown = resident() - before
        job.tell_other()
        job.wait_for_other()
        return {"sender": grown, "accepted": accepted, "full": accepted < job.task.count}


def publish_much(job: Job) -> Figures:
    """Publishes everything; an XPUB, because it can see that the subscription has come."""
    before = resident()
    body = bytes(job.task.size - 8)
    with job.context.socket(job.zmq.XPUB) as socket:
        socket.linger = 0
        job.bind(socket)
        socket.recv()
        for number in range(job.task.count):
            socket.send(number.to_bytes(8, "little") + body)
        grown = resident() - before
        job.tell_other()
        job.wait_for_other()
        return {"sender": grown, "accepted": job.task.count}


def keep_silent_sub(job: Job) -> Figures:
    """A subscriber to everything that never reads."""
    before = resident()
    with job.context.socket(job.zmq.SUB) as socket:
        socket.setsockopt(job.zmq.SUBSCRIBE, b"")
        socket.connect(job.endpoint)
        job.wait_for_other()
        return {"receiver": resident() - before}


def accept_many(job: Job) -> Figures:
    """A socket with many connections, each of which has said one message."""
    before = resident()
    with job.context.socket(job.zmq.PULL) as socket:
        job.bind(socket)
        for _ in range(job.task.peers):
            socket.recv()
        grown = resident() - before
        job.tell_other()
        job.wait_for_other()
        return {"receiver": grown}


def connect_many(job: Job) -> Figures:
    """Many connections from one PUSH, which deals one message to each."""
    before = resident()
    with job.context.socket(job.zmq.PUSH) as socket:
        for _ in range(job.task.peers):
            socket.connect(job.endpoint)
        for number in range(job.task.peers):
            socket.send(b"%d" % number)
        job.wait_for_other()
        return {"sender": resident() - before}
