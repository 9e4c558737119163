"""What libraries keep in memory when nobody reads, and for connections that say nothing.

Each scene is a pair of roles, as in `workloads.py`; the figures are growth of the resident set (RSS) since before
the first socket.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from benches.workloads import Job

CONNECTIONS = 1000


def resident() -> int:
    """Bytes of memory that this process holds now."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def keep_silent_pull(job: Job) -> dict[str, Any]:
    """A reader that is connected and never reads."""
    before = resident()
    with job.context.socket(job.zmq.PULL) as socket:
        job.bind(socket)
        job.wait_for_end()
        return {"receiver": resident() - before}


def push_until_full(job: Job) -> dict[str, Any]:
    """Sends without waiting until the socket has taken nothing for half a second."""
    before = resident()
    body = bytes(job.size - 8)
    with job.context.socket(job.zmq.PUSH) as socket:
        socket.linger = socket.sndtimeo = 0
        socket.connect(job.endpoint)
        accepted = 0
        last = time.monotonic()
        while time.monotonic() - last < 0.5 and accepted < job.count:
            try:
                socket.send(accepted.to_bytes(8, "little") + body, job.zmq.DONTWAIT)
                accepted += 1
                last = time.monotonic()
            except job.zmq.Again:
                time.sleep(0.001)
        grown = resident() - before
        job.finished()
        job.wait_for_end()
        return {"sender": grown, "accepted": accepted, "full": accepted < job.count}


def publish_much(job: Job) -> dict[str, Any]:
    """Publishes everything; an XPUB, because it can see that the subscription has come."""
    before = resident()
    body = bytes(job.size - 8)
    with job.context.socket(job.zmq.XPUB) as socket:
        socket.linger = 0
        job.bind(socket)
        socket.recv()
        for number in range(job.count):
            socket.send(number.to_bytes(8, "little") + body)
        grown = resident() - before
        job.finished()
        job.wait_for_end()
        return {"sender": grown, "accepted": job.count}


def keep_silent_sub(job: Job) -> dict[str, Any]:
    """A subscriber to everything that never reads."""
    before = resident()
    with job.context.socket(job.zmq.SUB) as socket:
        socket.setsockopt(job.zmq.SUBSCRIBE, b"")
        socket.connect(job.endpoint)
        job.wait_for_end()
        return {"receiver": resident() - before}


def accept_many(job: Job) -> dict[str, Any]:
    """A socket with CONNECTIONS connections, each of which has said one message."""
    before = resident()
    with job.context.socket(job.zmq.PULL) as socket:
        with suppress(Exception):  # a library without the option has to cope with its default
            socket.backlog = 4 * CONNECTIONS
        job.bind(socket)
        for _ in range(CONNECTIONS):
            socket.recv()
        job.finished()
        job.wait_for_end()
        return {"receiver": resident() - before}


def connect_many(job: Job) -> dict[str, Any]:
    """CONNECTIONS connections from one PUSH, which deals one message to each."""
    before = resident()
    with job.context.socket(job.zmq.PUSH) as socket:
        for _ in range(CONNECTIONS):
            socket.connect(job.endpoint)
        for number in range(CONNECTIONS):
            socket.send(b"%d" % number)
        job.wait_for_end()
        return {"sender": resident() - before}


@dataclass(frozen=True)
class Scene:
    """A pair of roles, over tcp, two processes."""

    binds: Callable[[Job], dict[str, Any]]
    connects: Callable[[Job], dict[str, Any]]
    title: str
    count: int
    per: int = 1  # what the growth is divided by for the table


SCENES = {
    scene.title: scene
    for scene in (
        Scene(keep_silent_pull, push_until_full, "PUSH, its reader never reads, 1 KiB", 200_000),
        Scene(publish_much, keep_silent_sub, "PUB, its subscriber never reads, 1 KiB", 200_000),
        Scene(
            accept_many,
            connect_many,
            f"{CONNECTIONS:,} idle tcp connections, each",
            CONNECTIONS,
            per=CONNECTIONS,
        ),
    )
}
