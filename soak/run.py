"""One run of the soak: its seed, its clock, and what the workloads share."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import shutil
import socket
import tempfile
import threading
import time
from dataclasses import dataclass

from soak.faults import FaultProxy, draw

PATIENCE = 30.0
"""Seconds within which everything must have arrived when nothing is broken any more."""

_trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: 0)


@dataclass(frozen=True)
class Holdings:
    """What this process holds: descriptors, threads, bytes of memory."""

    descriptors: int
    threads: int
    memory: int

    @classmethod
    def now(cls) -> Holdings:
        """Without garbage, and without what the allocator keeps for later."""
        gc.collect()
        _trim(0)
        with open("/proc/self/statm", encoding="ascii") as statm:
            memory = int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
        return cls(len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), memory)


class Run:
    """The seed, the end, and things made for a workload.

    `over` is set when the time is up and no proxy breaks anything any more: then senders send until
    their receivers have heard of them once more, and everything must be complete within PATIENCE.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.over = threading.Event()
        self.directory = tempfile.mkdtemp(prefix="mqcore-soak-")
        self.deadline = float("inf")
        self._proxies: list[FaultProxy] = []
        self._lock = threading.Lock()
        self._names = 0

    def random(self, name: str) -> random.Random:
        """A generator that depends on the seed and this name only."""
        return random.Random(f"{self.seed}/{name}")

    def fresh(self, transport: str) -> str:
        """An endpoint to bind that nobody has bound: tcp, ipc or inproc."""
        with self._lock:
            self._names += 1
            name = str(self._names)
        if transport == "tcp":
            return "tcp://127.0.0.1:*"
        return f"ipc://{self.directory}/{name}" if transport == "ipc" else f"inproc://{name}"

    def proxy(self, endpoint: str, name: str) -> FaultProxy:
        """A proxy to a bound tcp endpoint, with faults drawn for this name."""
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        generator = self.random(f"faults of {name}")
        made = FaultProxy((host, int(port)), lambda: draw(generator))
        with self._lock:
            self._proxies.append(made)
        return made

    def end(self) -> None:
        """The time is up: no more faults, and the clock of PATIENCE runs."""
        for proxy in self._proxies:
            proxy.calm()
        self.deadline = time.monotonic() + PATIENCE
        self.over.set()

    def is_late(self) -> bool:
        """Whether everything should have arrived by now."""
        return time.monotonic() > self.deadline

    def close(self) -> None:
        """Ends the proxies and removes the ipc paths."""
        for proxy in self._proxies:
            proxy.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def free_port() -> int:
    """A tcp port of the loopback interface that nobody listens to now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
