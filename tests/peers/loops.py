"""Programs in an event loop, each with a deadline, on the module under test."""

from __future__ import annotations

import asyncio
import importlib
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))
zmq_asyncio: Any = importlib.import_module(f"{zmq.__name__}.asyncio")

DEADLINE = 20.0
"""Seconds after which a program hangs."""


def run(program: Callable[[], Coroutine[Any, Any, Any]], new_loop: Any = None) -> Any:
    """Runs a program in a loop of its own; what the loop's callbacks raise fails it."""
    complaints: list[Any] = []

    async def watched() -> Any:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, found: complaints.append(found))
        return await asyncio.wait_for(program(), DEADLINE)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        result = runner.run(watched())
    assert not complaints, complaints
    return result


async def turns(number: int = 3) -> None:
    """Lets the loop go round."""
    for _ in range(number):
        await asyncio.sleep(0)


async def until(predicate: Callable[[], Any], seconds: float = DEADLINE / 2) -> Any:
    """The first true value of `predicate`, asked at each turn of the loop."""
    end = time.monotonic() + seconds
    while not (value := predicate()):
        assert time.monotonic() < end, f"{predicate} was not true in time (last: {value!r})"
        await asyncio.sleep(0.001)
    return value


@pytest.fixture(name="context")
def context_fixture() -> Iterator[Any]:
    """A context for event loops that ends with the test."""
    made = zmq_asyncio.Context()
    yield made
    made.destroy(linger=0)


class Pairs:
    """Makes connected sockets."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.number = 0

    def __call__(self, a: int, b: int, cls: Any = None, **options: Any) -> tuple[Any, Any]:
        """The first one connected to the second one, over inproc; both, or of class `cls`."""
        bound, connected = (
            self.context.socket(kind, **({"socket_class": cls} if cls else {})) for kind in (b, a)
        )
        for socket in (bound, connected):
            for name, value in options.items():
                setattr(socket, name, value)
        self.number += 1
        bound.bind(f"inproc://pair-{self.number}")
        connected.connect(f"inproc://pair-{self.number}")
        return connected, bound


@pytest.fixture(name="pairs")
def pairs_fixture(context: Any) -> Pairs:
    return Pairs(context)


@pytest.fixture(name="pair")
def pair_fixture(pairs: Pairs) -> tuple[Any, Any]:
    """A PUSH socket and the PULL socket that it is connected to."""
    return pairs(zmq.PUSH, zmq.PULL)


def full(socket: Any) -> int:
    """Fills a socket's queues by plain sends; how many messages it took."""
    plain = zmq.Socket.shadow(socket.underlying)
    taken = 0
    while True:
        try:
            plain.send(b"%d" % taken, zmq.DONTWAIT)
        except zmq.Again:
            return taken
        taken += 1
