"""What is measured, as data: the libraries, the cells of the table with their bars, and the settings of a run.

A new cell is a line in CELLS; a new kind of traffic is a pair of roles in `workloads/`.
"""

from __future__ import annotations

from dataclasses import dataclass

from benches.job import Task


@dataclass(frozen=True)
class Library:
    """A ZeroMQ library with pyzmq's API."""

    name: str  # the distribution on PyPI, and the name in the tables
    module: str  # what is imported


@dataclass(frozen=True)
class Cell:
    """One row of the table."""

    pattern: str
    transport: str  # inproc, ipc or tcp
    size: int  # bytes of a message
    mode: str = "one by one"  # how the application calls
    peers: int = 1  # SUBs, DEALERs or polled sockets
    topics: int = 1  # subscriptions of each SUB
    at_least: float | None = None  # the bar: so many times as fast as the fastest of the others
    raw: bool = False  # also compared with a plain socket
    quick: bool = False  # whether `make bench-quick` measures it

    @property
    def name(self) -> str:
        words = [f"{self.pattern} {self.transport} {size_name(self.size)}"]
        if self.mode != "one by one":
            words.append(self.mode)
        if self.peers > 1:
            words.append(f"{self.peers:,} peers")
        if self.topics > 1:
            words.append(f"{self.topics:,} topics each")
        return ", ".join(words)

    def task(self, count: int, mode: str = "") -> Task:
        return Task(
            self.pattern,
            mode or self.mode,
            self.transport,
            self.size,
            count,
            self.peers,
            self.topics,
        )


@dataclass(frozen=True)
class Scene:
    """A measurement of memory, once with each library: it is not noisy."""

    name: str
    task: Task
    per: int = 1  # what the growth is divided by for the table


def size_name(size: int) -> str:
    for unit, factor in (("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor:
            return f"{size // factor} {unit}"
    return f"{size} B"


@dataclass(frozen=True)
class Settings:
    """How a run measures. They are written beside the results."""

    rounds: int  # each round runs every cell with every library; the order of the libraries rotates
    seconds: float  # what one measurement should take; a short first run finds the message count
    deadline: float = 20.0  # seconds after which one measurement is given up and reported as a hang


LIBRARIES = {
    library.name: library
    for library in (
        Library("mqcore", "mqcore"),
        Library("pyzmq", "zmq"),
        Library("pyomq", "pyomq"),
    )
}
RAW = Library("raw socket", "socket")

TRANSPORTS = ("inproc", "ipc", "tcp")
SMALL, LARGE, KIB, MIB = (16, 64), (2**16, 2**20), 2**10, 2**20
CPU_AT_MOST = 0.4  # the bar for CPU seconds: so much of what the thriftiest of the others uses
RAW_AT_LEAST = 0.9  # the bar where a cell is compared with a plain socket


def _pipeline() -> list[Cell]:
    """PUSH to PULL, all transports: by size, in batches, in parts."""
    cells = []
    for size in SMALL:
        for transport in TRANSPORTS:
            quick = size == 16 or transport == "tcp"
            cells.append(Cell("PUSH/PULL", transport, size, at_least=3, quick=quick))
    for size, at_least in ((KIB, 2.5), (2**16, 2.0), (MIB, 1.5)):
        for transport in TRANSPORTS:
            raw = size in LARGE and transport != "inproc"
            quick = transport == "tcp" or (size == 2**16 and transport == "ipc")
            cells.append(
                Cell("PUSH/PULL", transport, size, at_least=at_least, raw=raw, quick=quick)
            )
    for size in SMALL:
        for transport in TRANSPORTS:
            quick = size == 16 and transport != "ipc"
            cells.append(Cell("PUSH/PULL", transport, size, "batches", at_least=8, quick=quick))
    for transport in TRANSPORTS:
        quick = transport == "tcp"
        cells.append(Cell("PUSH/PULL", transport, 16, "three parts", at_least=4, quick=quick))
    return cells


def _many_peers() -> list[Cell]:
    """One PUB and many SUB, one ROUTER and many DEALER."""
    cells = []
    for topics in (1, 1000):
        for peers in (10, 100):
            for transport in TRANSPORTS:
                quick = transport == "tcp" and (topics, peers) != (1000, 10)
                cells.append(
                    Cell(
                        "PUB/SUB",
                        transport,
                        64,
                        peers=peers,
                        topics=topics,
                        at_least=3,
                        quick=quick,
                    )
                )
    for transport in TRANSPORTS:
        quick = transport == "tcp"
        cells.append(Cell("ROUTER/DEALER", transport, 64, peers=100, at_least=3, quick=quick))
    return cells


CELLS = (
    *_pipeline(),
    *(Cell("REQ/REP", transport, 16, at_least=2, quick=True) for transport in TRANSPORTS),
    *_many_peers(),
    *(
        Cell(pattern, transport, 16, "asyncio", at_least=at_least, quick=transport == "tcp")
        for pattern, at_least in (("PUSH/PULL", 1.5), ("REQ/REP", 2))
        for transport in TRANSPORTS
    ),
    *(Cell("PUSH/PULL", "tcp", size, "CURVE", at_least=1.5, quick=True) for size in (16, 2**16)),
    *(
        Cell("REQ/REP", transport, 16, "connect each time", at_least=3, quick=transport == "tcp")
        for transport in TRANSPORTS
    ),
    *(
        Cell("Poller", transport, 16, "one ready", 100, at_least=5, quick=transport == "inproc")
        for transport in TRANSPORTS
    ),
)

SCENES = (
    Scene(
        "PUSH, its reader never reads, 1 KiB",
        Task("memory", "silent PULL", "tcp", KIB, 200_000),
    ),
    Scene(
        "PUB, its subscriber never reads, 1 KiB", Task("memory", "silent SUB", "tcp", KIB, 200_000)
    ),
    Scene(
        "1,000 idle tcp connections, each",
        Task("memory", "idle connections", "tcp", 0, 0, peers=1000),
        per=1000,
    ),
)

QUICK = Settings(rounds=3, seconds=0.3)
FULL = Settings(rounds=9, seconds=1.0)
