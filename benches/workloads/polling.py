"""A Poller over many sockets of which one has a message."""

from __future__ import annotations

import time

from benches.content import body, speed
from benches.job import Figures, Job, Wrong

POLLS = 16  # while the same message waits
SENDERS = 100  # more sockets than that have no peer


def poll_one_of_many(job: Job) -> Figures:
    """PULLs that are registered for POLLIN; one after the other has a message, and only the polls are timed."""
    zmq, peers = job.zmq, job.task.peers
    pulls = job.sockets(zmq.PULL, peers)
    job.announce = job.endpoints.extend
    job.bind(*pulls)
    poller = zmq.Poller()
    for pull in pulls:
        poller.register(pull, zmq.POLLIN)
    senders = []
    for position in range(0, peers, max(1, peers // SENDERS)):
        push = job.context.socket(zmq.PUSH)
        push.connect(job.endpoints[position])
        senders.append((push, pulls[position]))

    message, poll, polled, took = body(job.task.size), poller.poll, 0, 0.0
    job.began()
    while polled < job.task.count:
        for push, pull in senders:
            push.send(message)
            poll(10_000)  # until it has arrived
            start = time.perf_counter()
            for _ in range(POLLS):
                ready = poll(10_000)
            took += time.perf_counter() - start
            if ready != [(pull, zmq.POLLIN)]:
                raise Wrong(f"not the one socket that has a message: {len(ready)} are ready")
            if pull.recv() != message:
                raise Wrong("the message was changed")
            polled += POLLS
            if polled >= job.task.count:
                break
    return speed(polled, took)
