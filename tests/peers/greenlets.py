"""Fixtures of tests that run greenlets: import them by name."""

import importlib
from collections.abc import Iterator
from typing import Any

import pytest

from peers.subject import name

gevent: Any = pytest.importorskip("gevent")
green: Any = importlib.import_module(f"{name}.green")

DEADLINE = 20.0
"""Seconds that nothing takes."""


@pytest.fixture(scope="module", autouse=True)
def no_hub_stays() -> Iterator[None]:
    """gevent's loop has descriptors."""
    yield
    gevent.get_hub().destroy(destroy_loop=True)


@pytest.fixture(autouse=True)
def nobody_hangs() -> Iterator[None]:
    """A test that hangs fails."""
    with gevent.Timeout(DEADLINE, AssertionError("the greenlet hangs")):
        yield


@pytest.fixture(name="context")
def context_fixture() -> Iterator[Any]:
    """A green context."""
    context = green.Context()
    yield context
    context.destroy(linger=0)
