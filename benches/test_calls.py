"""What one call costs, in one process: `make bench-calls` (pytest-benchmark). No assertion looks at a time.

A message that is sent here is received here as well, over inproc, so that queues neither fill nor run dry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest

from benches.cells import LIBRARIES

MESSAGE = bytes(range(64))
BATCH = 100  # messages that one round sends or receives


@pytest.fixture(params=LIBRARIES, scope="module")
def zmq(request: pytest.FixtureRequest) -> Any:
    return import_module(LIBRARIES[request.param].module)


@pytest.fixture
def pair(zmq: Any) -> Iterator[tuple[Any, Any]]:
    """A PUSH and a PULL that are connected."""
    context = zmq.Context()
    push, pull = context.socket(zmq.PUSH), context.socket(zmq.PULL)
    pull.bind("inproc://calls")
    push.connect("inproc://calls")
    yield push, pull
    push.close(0)
    pull.close(0)
    context.term()


@pytest.fixture(autouse=True)
def group_by_call(request: pytest.FixtureRequest, benchmark: Any) -> None:
    """One table for each call, the libraries side by side."""
    benchmark.group = request.node.originalname


def times_batch(call: Callable[[], Any]) -> Callable[[], None]:
    def calls() -> None:
        for _ in range(BATCH):
            call()

    return calls


def test_send_of_100_messages(pair: tuple[Any, Any], benchmark: Any) -> None:
    push, pull = pair
    receive_all = times_batch(pull.recv)
    benchmark.pedantic(
        times_batch(lambda: push.send(MESSAGE)), teardown=receive_all, rounds=500, warmup_rounds=20
    )


def test_recv_of_100_messages(pair: tuple[Any, Any], benchmark: Any) -> None:
    push, pull = pair
    send_all = times_batch(lambda: push.send(MESSAGE))
    benchmark.pedantic(times_batch(pull.recv), setup=send_all, rounds=500, warmup_rounds=20)


def test_send_and_recv(pair: tuple[Any, Any], benchmark: Any) -> None:
    push, pull = pair

    def there_and_back() -> Any:
        push.send(MESSAGE)
        return pull.recv()

    assert benchmark(there_and_back) == MESSAGE


def test_send_and_recv_of_three_parts(pair: tuple[Any, Any], benchmark: Any) -> None:
    push, pull = pair
    parts = [MESSAGE, b"", MESSAGE]

    def there_and_back() -> Any:
        push.send_multipart(parts)
        return pull.recv_multipart()

    assert benchmark(there_and_back) == parts


def test_poll_of_a_socket_that_is_ready(zmq: Any, pair: tuple[Any, Any], benchmark: Any) -> None:
    push, pull = pair
    push.send(MESSAGE)
    assert benchmark(pull.poll, 1000) == zmq.POLLIN


def test_poll_of_a_socket_that_is_not_ready(pair: tuple[Any, Any], benchmark: Any) -> None:
    _, pull = pair
    assert benchmark(pull.poll, 0) == 0


def test_poller_over_two_sockets(zmq: Any, pair: tuple[Any, Any], benchmark: Any) -> None:
    push, pull = pair
    poller = zmq.Poller()
    poller.register(pull, zmq.POLLIN)
    poller.register(push, zmq.POLLOUT)
    push.send(MESSAGE)
    assert len(benchmark(poller.poll, 1000)) == 2


def test_get_option(zmq: Any, pair: tuple[Any, Any], benchmark: Any) -> None:
    push, _ = pair
    assert benchmark(push.getsockopt, zmq.SNDHWM) == 1000


def test_get_option_as_attribute(pair: tuple[Any, Any], benchmark: Any) -> None:
    push, _ = pair
    assert benchmark(lambda: push.sndhwm) == 1000


def test_set_option(zmq: Any, pair: tuple[Any, Any], benchmark: Any) -> None:
    push, _ = pair
    benchmark(push.setsockopt, zmq.LINGER, 0)


def test_again(zmq: Any, pair: tuple[Any, Any], benchmark: Any) -> None:
    _, pull = pair

    def try_to_receive() -> bool:
        try:
            pull.recv(zmq.DONTWAIT)
        except zmq.Again:
            return True
        return False

    try:
        try_to_receive()
    except zmq.ZMQError as error:
        pytest.skip(f"{zmq.__name__} does not raise Again but {error!r}")
    assert benchmark(try_to_receive)


def test_make_a_frame(zmq: Any, benchmark: Any) -> None:
    assert len(bytes(benchmark(zmq.Frame, MESSAGE))) == len(MESSAGE)


def test_bytes_of_a_frame(zmq: Any, benchmark: Any) -> None:
    frame = zmq.Frame(MESSAGE)
    assert benchmark(lambda: frame.bytes) == MESSAGE
