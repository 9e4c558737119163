"""Waiting for something that happens elsewhere, always with a deadline, never by guessing a time."""

import errno
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds after which an expected event counts as missing (a loaded machine is slow)."""

PATIENCE_MS = 15_000
"""The same as a socket's timeout, in milliseconds."""

A_WHILE = 0.3
"""Seconds in which an event that must not happen would have happened."""


def eventually(predicate: Callable[[], T], deadline: float = PATIENCE, what: str = "") -> T:
    """The first true value of `predicate`, asked until `deadline` seconds have passed; then AssertionError."""
    end = time.monotonic() + deadline
    pause = 0.001
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(
                f"{what or predicate} was not true within {deadline} s (last value: {value!r})"
            )
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def bind_when_free(socket, address) -> None:
    """Binds; an address that another socket is just letting go of is waited for."""

    def bound() -> bool:
        try:
            socket.bind(address)
        except Exception as error:
            if getattr(error, "errno", None) != errno.EADDRINUSE:
                raise
            return False
        return True

    eventually(bound, what=f"{address} became free")


def send_patiently(zmq, socket, frames) -> None:
    """Sends; a peer that a ROUTER does not know yet is waited for."""
    end = time.monotonic() + PATIENCE_MS / 1000
    while True:
        try:
            socket.send_multipart(frames)
            return
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH or time.monotonic() > end:
                raise
            time.sleep(0.005)


def resident() -> int:
    """Bytes of memory this process holds now (VmRSS)."""
    return status_field("VmRSS") * 1024


def reserved() -> int:
    """Bytes of address space this process has asked for (VmSize)."""
    return status_field("VmSize") * 1024


def status_field(name: str, pid: int | str = "self") -> int:
    """A number of /proc/<pid>/status."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith(name + ":"):
                return int(line.split()[1])
    raise LookupError(name)
