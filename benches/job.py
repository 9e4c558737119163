"""What a role of a measurement is told, and how it speaks to the other role.

A role is a function `role(job) -> figures`. It runs in a process of its own (ipc, tcp) or in a thread (inproc), checks
count and content of what it receives, and uses nothing but the API that all libraries share.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

Figures = dict[str, Any]


class Wrong(Exception):
    """A message was not what it had to be."""


class Unsupported(Exception):
    """The library lacks what the cell needs; the table shows the reason."""


@dataclass(frozen=True)
class Task:
    """One measurement, whatever the library. Two processes; for inproc, two threads of one process."""

    pattern: str
    mode: str  # how the application calls; with the pattern, the key of workloads.WORKLOADS
    transport: str  # inproc, ipc or tcp
    size: int  # bytes of a message, or of a part
    count: int  # messages, round trips or calls
    peers: int = 1  # sockets on the side that has many
    topics: int = 1  # subscriptions of each subscriber


def _nothing() -> None:
    pass


@dataclass
class Job:
    """A task in the hands of a role, and its line to the other role."""

    zmq: Any  # the library's module
    context: Any  # None if the library has no contexts (the raw socket)
    task: Task
    path: str = ""  # of an ipc endpoint that nobody uses
    endpoints: list[str] = field(default_factory=list)  # for the role that connects
    announce: Callable[[list[str]], None] = lambda endpoints: None  # for the role that binds
    began: Callable[[], None] = _nothing  # what was done until now is preparation: no CPU time
    tell_other: Callable[[], None] = _nothing  # lets the other role go on
    wait_for_other: Callable[[], None] = (
        _nothing  # until the other role has told so, or has returned
    )

    @property
    def endpoint(self) -> str:
        return self.endpoints[0]

    def bind(self, *sockets: Any) -> None:
        """Binds each to a fresh address of the transport and announces the addresses in that order."""
        endpoints = []
        for number, socket in enumerate(sockets):
            if self.task.peers > 50:  # more than the default queue of connections may hold
                with suppress(Exception):  # a library without the option has to cope
                    socket.backlog = 4 * self.task.peers
            socket.bind(
                {
                    "inproc": f"inproc://bench-{number}",
                    "ipc": f"ipc://{self.path}-{number}",
                    "tcp": "tcp://127.0.0.1:*",
                }[self.task.transport]
            )
            endpoint = socket.getsockopt(self.zmq.LAST_ENDPOINT)
            endpoints.append(endpoint.decode().rstrip("\0"))
        self.announce(endpoints)

    def sockets(self, kind: int, number: int) -> list[Any]:
        """That many sockets; raises the context's bound where the library has one."""
        if number > 500 and hasattr(self.zmq, "MAX_SOCKETS"):
            self.context.set(self.zmq.MAX_SOCKETS, 2 * number)
        return [self.context.socket(kind) for _ in range(number)]


@dataclass(frozen=True)
class Workload:
    """A pair of roles, and the figure that the table compares."""

    binds: Callable[[Job], Figures]
    connects: Callable[[Job], Figures] | None  # None: the first one does it all
    measure: str = (
        "rate"  # messages per second, more is better; or "p50": microseconds, less is better
    )
    pilot: int = 1024  # `count` of the short first run that finds the real one
    unit: int = 1  # `count` is a multiple of it
    others: str = ""  # the mode that the opponents run instead of this one

    def roles(self, transport: str) -> list[str]:
        """What the processes of a measurement do, in the order in which they start."""
        if self.connects is None:
            return ["binds"]
        return ["threads"] if transport == "inproc" else ["binds", "connects"]


def resident() -> int:
    """Bytes of memory that this process holds now."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
