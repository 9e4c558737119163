"""The messages that are sent, and the checks of what arrives.

Small messages come from a pool that goes round. From FRESH_FROM bytes on a user would make each message anew, so
we do: a head with the message's number, and a body.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import Any

from benches.job import Figures, Task, Wrong

POOL = 1024  # so many different messages go round
FRESH_FROM = 1024  # bytes
LOOK_CLOSELY = 64  # of the large messages, one in so many is compared as a whole

HEADS = [number.to_bytes(8, "little") for number in range(POOL)]


def body(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def pool(size: int) -> list[bytes]:
    """POOL messages; each begins with its number. Below two bytes there are only 256 different ones."""
    rest = body(max(0, size - 8))
    return [head[:size] + rest for head in HEADS]


def in_parts(size: int) -> list[list[bytes]]:
    """POOL messages of three parts; no two parts of a message are the same."""
    return [[message, bytes([1]) * size, message[::-1]] for message in pool(size)]


def round_and_round(things: list[Any], count: int) -> Iterator[Any]:
    """`count` things, going round; without a Python step for each."""
    return chain(
        chain.from_iterable(repeat(things, count // len(things))), things[: count % len(things)]
    )


def messages(task: Task) -> Iterator[bytes]:
    """What a sender sends. Large messages are made when they are asked for."""
    if task.size < FRESH_FROM:
        return round_and_round(pool(task.size), task.count)
    rest = body(task.size - 8)
    return (head + rest for head in round_and_round(HEADS, task.count))


def take_all(receive: Callable[[], Any], task: Task, began: Callable[[], None]) -> Figures:
    """Receives what `messages` gives, one by one."""
    if task.size < FRESH_FROM:
        return take_known(receive, pool(task.size), task.count, began)
    size, rest = task.size, body(task.size - 8)
    order = round_and_round(HEADS, task.count)
    if receive() != next(order) + rest:
        raise Wrong("the first message is not the first one sent")
    began()
    start = time.perf_counter()
    for number, head in enumerate(order, start=1):
        message = receive()
        if message[:8] != head or len(message) != size:
            raise Wrong("a message was lost, cut or out of order")
        if not number % LOOK_CLOSELY and not message.endswith(rest):
            raise Wrong("the content of a message was changed")
    return speed(task.count - 1, time.perf_counter() - start)


def take_known(
    receive: Callable[[], Any], known: list[Any], count: int, began: Callable[[], None]
) -> Figures:
    """Receives `count` messages that go round, one by one; the clock starts after the first."""
    expected = round_and_round(known, count)
    if receive() != next(expected):
        raise Wrong("the first message is not the first one sent")
    began()
    start = time.perf_counter()
    for message in expected:
        if receive() != message:
            raise Wrong("a message was lost, changed or out of order")
    return speed(count - 1, time.perf_counter() - start)


def speed(count: int, seconds: float) -> Figures:
    return {"rate": count / seconds if seconds else 0.0, "messages": count, "seconds": seconds}


def times(nanoseconds: array[int], seconds: float) -> Figures:
    """The figures of round trips: p50 and p99 in microseconds, and how many in a second."""
    ordered = sorted(nanoseconds)
    return {
        "p50": ordered[len(ordered) // 2] / 1000,
        "p99": ordered[len(ordered) * 99 // 100] / 1000,
        **speed(len(ordered), seconds),
    }
