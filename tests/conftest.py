"""What the tests share: contexts that always end, and threads that report.

The tests run against mqcore; `MQCORE_TEST_MODULE=zmq` runs those that are no deviation against pyzmq, to see
that what they expect is true.
"""

from __future__ import annotations

import importlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from peers.sockets import Sockets

zmq = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))

DEADLINE = 10.0
"""Seconds that no event of a test takes."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "deviation: where mqcore differs from pyzmq on purpose")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Started in the background of a script: what the tests start would ignore it too.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if zmq.__name__ == "mqcore":
        return
    for item in items:
        if item.get_closest_marker("deviation"):
            item.add_marker(pytest.mark.skip(reason="a deviation of mqcore from pyzmq"))


@pytest.fixture
def context() -> Iterator[Any]:
    """A context that ends with the test, whatever its sockets still have."""
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def sockets(context: Any) -> Sockets:
    """Makes sockets with timeouts, so that a mistake fails instead of hanging."""
    return Sockets(context, rcvtimeo=int(DEADLINE * 1000), sndtimeo=int(DEADLINE * 1000))


@pytest.fixture
def alarm() -> Iterator[Callable[..., None]]:
    """Delivers SIGALRM to this thread after some seconds, again and again if asked to; without a handler it raises
    KeyboardInterrupt.
    """
    before = signal.getsignal(signal.SIGALRM)

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    def after(seconds: float, handler: Any = interrupt, repeat: float = 0.0) -> None:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, seconds, repeat)

    yield after
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


class Background:
    """Runs functions in threads; their results and exceptions come back with `join`."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def __call__(self, function: Callable[[], Any]) -> Callable[[], Any]:
        outcome: dict[str, Any] = {}

        def run() -> None:
            try:
                outcome["result"] = function()
            except BaseException as error:
                outcome["error"] = error

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.threads.append(thread)

        def join() -> Any:
            thread.join(DEADLINE)
            assert not thread.is_alive(), "the thread hangs"
            if "error" in outcome:
                raise outcome["error"]
            return outcome["result"]

        return join


@pytest.fixture
def background() -> Background:
    return Background()
