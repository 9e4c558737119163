"""A tornado loop for tests, that runs until something has happened."""

import asyncio
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from peers.subject import name, zmq

ZMQStream: Any = importlib.import_module(f"{name}.eventloop.zmqstream").ZMQStream

DEADLINE = 20.0
"""Seconds that nothing takes."""


class Running:
    """A tornado loop that runs until something has happened, and the streams in it."""

    def __init__(self) -> None:
        self.asyncio_loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.asyncio_loop)
        self.loop = IOLoop.current()
        self.streams: list[Any] = []
        self.errors: list[dict[str, Any]] = []
        self.asyncio_loop.set_exception_handler(lambda loop, found: self.errors.append(found))

    def stream(self, socket: Any) -> Any:
        made = ZMQStream(socket, self.loop)
        self.streams.append(made)
        return made

    def until(self, happened: Callable[[], bool]) -> None:
        """Runs the loop until `happened()`, and fails after the deadline."""

        async def wait() -> None:
            while not happened():
                await asyncio.sleep(0.001)

        self.loop.run_sync(wait, timeout=DEADLINE)

    def turns(self, count: int = 20) -> None:
        """Runs the loop for so many turns."""

        async def wait() -> None:
            for _ in range(count):
                await asyncio.sleep(0)

        self.loop.run_sync(wait, timeout=DEADLINE)

    def close(self) -> None:
        for stream in self.streams:
            if not stream.closed():
                stream.close(linger=0)
        self.turns(2)
        self.loop.close()
        asyncio.set_event_loop(None)


@pytest.fixture(name="running")
def running_fixture(context: Any) -> Iterator[Running]:
    """A loop that ends before the context."""
    running = Running()
    yield running
    running.close()


@pytest.fixture(name="pair")
def pair_fixture(running: Running, sockets: Any) -> tuple[Any, Any]:
    """Two streams that speak with each other."""
    a, b = sockets.pair(zmq.PAIR, zmq.PAIR)
    return running.stream(a), running.stream(b)
