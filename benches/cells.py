"""What is measured, as data: the libraries, the cells of the table and the settings of a run.

A new cell is a line in CELLS; a new kind of traffic is a pair of roles in `workloads.py`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Library:
    """A ZeroMQ library with pyzmq's API."""

    name: str  # the distribution on PyPI, and the name in the tables
    module: str  # what is imported


@dataclass(frozen=True)
class Cell:
    """One row of the table. Two processes; for inproc, two threads of one process."""

    pattern: str
    transport: str  # inproc, ipc or tcp
    size: int  # bytes of a message
    mode: str = "one by one"  # how the application calls: the second key of workloads.WORKLOADS

    @property
    def name(self) -> str:
        size = f"{self.size} B" if self.size < 1024 else f"{self.size // 1024} KiB"
        mode = "" if self.mode == "one by one" else f", {self.mode}"
        return f"{self.pattern} {self.transport} {size}{mode}"


@dataclass(frozen=True)
class Settings:
    """How a run measures. They are written beside the results."""

    rounds: int  # each round runs every cell with every library; the order of the libraries rotates
    seconds: (
        float  # what one measurement should take with the reference library; sets the message count
    )
    deadline: float = 60.0  # seconds after which one measurement is given up and reported as failed


LIBRARIES = {
    library.name: library
    for library in (
        Library("mqcore", "mqcore"),
        Library("pyzmq", "zmq"),
        Library("pyomq", "pyomq"),
    )
}

TRANSPORTS = ("inproc", "ipc", "tcp")

CELLS = (
    *(Cell("PUSH/PULL", transport, size) for size in (16, 1024, 65536) for transport in TRANSPORTS),
    *(Cell("REQ/REP", transport, 16) for transport in TRANSPORTS),
)

QUICK = Settings(rounds=3, seconds=0.5)
FULL = Settings(rounds=9, seconds=2.0)
