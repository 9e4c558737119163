"""The traffic: for each kind a pair of roles, the one that binds and the one that connects.

A role is a function `role(job) -> result`. It runs in a process of its own (ipc, tcp) or in a thread (inproc),
checks count and content of what it receives, and uses nothing but the API that all libraries share.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import Any

POOL = 1024  # so many different messages go round; counts are multiples of it
FRESH_FROM = 1024  # bytes: from here a user would make each message anew, so we do
WARM_UP = 200  # round trips before the clock starts


class Wrong(Exception):
    """A message was not what it had to be."""


class Unsupported(Exception):
    """The library lacks what the cell needs; the table shows the reason."""


@dataclass
class Job:
    """What a role is told, and its line to the other role."""

    zmq: Any
    context: Any
    transport: str
    size: int
    count: int
    endpoint: str = ""  # for the role that connects
    announce: Callable[[str], None] = lambda endpoint: None  # for the role that binds
    finished: Callable[[], None] = lambda: (
        None
    )  # tells the other role that this one has done its work
    wait_for_end: Callable[[], None] = lambda: None  # until the other role has finished or returned
    path: str = ""  # an ipc endpoint that nobody uses

    def bind(self, socket: Any) -> None:
        """Binds to a fresh address of the transport and announces it."""
        socket.bind(
            {
                "inproc": "inproc://bench",
                "ipc": self.path,
                "tcp": "tcp://127.0.0.1:*",
            }[self.transport]
        )
        endpoint = socket.getsockopt(self.zmq.LAST_ENDPOINT)
        self.announce(endpoint.decode().rstrip("\0"))


def messages(size: int, count: int) -> Iterator[bytes]:
    """`count` messages; each begins with its number modulo POOL. Large ones are made anew each time."""
    heads = [number.to_bytes(8, "little") for number in range(POOL)]
    body = bytes(index % 251 for index in range(size - 8))
    rounds = count // POOL
    if size < FRESH_FROM:
        return chain.from_iterable(repeat([head + body for head in heads], rounds))
    return (head + body for head in chain.from_iterable(repeat(heads, rounds)))


def pull(job: Job) -> dict[str, Any]:
    """Receives everything; the clock starts after the first message."""
    with job.context.socket(job.zmq.PULL) as socket:
        job.bind(socket)
        receive = socket.recv
        if job.size < FRESH_FROM:
            expected = messages(job.size, job.count)
            if receive() != next(expected):
                raise Wrong("the first message is not the first one sent")
            began = time.perf_counter()
            for message in expected:
                if receive() != message:
                    raise Wrong("a message was lost, changed or out of order")
        else:
            pool = list(islice(messages(job.size, POOL), 64))
            heads = [number.to_bytes(8, "little") for number in range(POOL)]
            order = chain.from_iterable(repeat(heads, job.count // POOL))
            if receive() != pool[0]:
                raise Wrong("the first message is not the first one sent")
            next(order)
            began = time.perf_counter()
            for number, head in enumerate(order, start=1):
                message = receive()
                if message[:8] != head or len(message) != job.size:
                    raise Wrong("a message was lost, cut or out of order")
                if number % POOL < 16 and message != pool[number % POOL]:
                    raise Wrong("the content of a message was changed")
        took = time.perf_counter() - began
        return {"rate": (job.count - 1) / took, "seconds": took}


def push(job: Job) -> dict[str, Any]:
    """Sends everything, one by one, as fast as the socket takes it."""
    with job.context.socket(job.zmq.PUSH) as socket:
        socket.connect(job.endpoint)
        send = socket.send
        for message in messages(job.size, job.count):
            send(message)
        job.wait_for_end()
        return {}


def reply(job: Job) -> dict[str, Any]:
    """Sends back each request."""
    with job.context.socket(job.zmq.REP) as socket:
        job.bind(socket)
        receive, send = socket.recv, socket.send
        for _ in range(job.count + WARM_UP):
            send(receive())
        job.wait_for_end()
        return {}


def request(job: Job) -> dict[str, Any]:
    """Asks and waits, again and again; each round trip has its own time."""
    with job.context.socket(job.zmq.REQ) as socket:
        socket.connect(job.endpoint)
        receive, send, clock = socket.recv, socket.send, time.perf_counter_ns
        question = bytes(index % 251 for index in range(job.size))
        for _ in range(WARM_UP):
            send(question)
            receive()
        times = array("q")
        began = time.perf_counter()
        for _ in range(job.count):
            asked = clock()
            send(question)
            answer = receive()
            times.append(clock() - asked)
            if answer != question:
                raise Wrong("the answer is not the question")
        took = time.perf_counter() - began
        ordered = sorted(times)
        return {
            "p50": ordered[len(ordered) // 2] / 1000,
            "p99": ordered[len(ordered) * 99 // 100] / 1000,
            "rate": job.count / took,
            "seconds": took,
        }


@dataclass(frozen=True)
class Workload:
    """A pair of roles, and the figure that the table compares."""

    binds: Callable[[Job], dict[str, Any]]
    connects: Callable[[Job], dict[str, Any]]
    measure: str  # "rate": messages per second, more is better; "p50": microseconds, less is better
    pilot: int  # messages of the short first run that finds the message count


WORKLOADS = {
    ("PUSH/PULL", "one by one"): Workload(pull, push, "rate", pilot=4 * POOL),
    ("REQ/REP", "one by one"): Workload(reply, request, "p50", pilot=POOL),
}
