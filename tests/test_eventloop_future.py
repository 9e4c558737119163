"""Sockets whose calls return futures, in a tornado loop."""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import socket as system
from collections.abc import Callable, Iterator
from typing import Any

import pytest

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))
pytest.importorskip("tornado")
pytest.importorskip(f"{zmq.__name__}._future")
from tornado import gen  # noqa: E402
from tornado.ioloop import IOLoop  # noqa: E402

future: Any = importlib.import_module(f"{zmq.__name__}.eventloop.future")

DEADLINE = 20.0


@pytest.fixture
def run() -> Iterator[Callable[[Any], Any]]:
    """Runs a coroutine function in a loop of its own."""
    asyncio_loop = asyncio.new_event_loop()
    asyncio.set_event_loop(asyncio_loop)
    loop = IOLoop.current()
    yield lambda function: loop.run_sync(function, timeout=DEADLINE)
    loop.close()
    asyncio.set_event_loop(None)


@pytest.fixture
def context() -> Iterator[Any]:
    made = future.Context()
    yield made
    made.destroy(linger=0)


@pytest.fixture
def pair(run: Any, context: Any) -> Any:
    push, pull = context.socket(zmq.PUSH), context.socket(zmq.PULL)
    push.bind("inproc://pair")
    pull.connect("inproc://pair")
    yield push, pull
    push.close()
    pull.close()


def test_sockets_of_the_context_return_futures(run: Any, pair: Any, context: Any) -> None:
    push, pull = pair
    assert type(push) is future.Socket and isinstance(context, zmq.Context)
    assert "eventloop.future.Socket" in repr(push)
    assert "eventloop.future.Context" in repr(context)

    async def main() -> None:
        waiting = pull.recv()
        assert not waiting.done()
        assert push.send(b"x").done()
        assert await waiting == b"x"
        await push.send_multipart([b"a", b"b"])
        assert await pull.recv_multipart() == [b"a", b"b"]
        await push.send_json({"a": 1})
        assert await pull.recv_json() == {"a": 1}
        await push.send_string("ä")
        assert await pull.recv_string() == "ä"

    run(main)


def test_generators_of_tornado_can_wait_for_them(run: Any, pair: Any) -> None:
    push, pull = pair

    @gen.coroutine
    def main() -> Any:
        waiting = pull.recv_multipart()
        yield push.send(b"x")
        return (yield waiting)

    assert run(main) == [b"x"]


def test_receivers_are_served_in_order(run: Any, pair: Any) -> None:
    push, pull = pair

    async def main() -> list[bytes]:
        waiting = [pull.recv() for _ in range(20)]
        for number in range(20):
            await push.send(b"%d" % number)
        return list(await asyncio.gather(*waiting))

    assert run(main) == [b"%d" % number for number in range(20)]


def test_a_cancelled_receive_takes_no_message(run: Any, pair: Any) -> None:
    push, pull = pair

    async def main() -> None:
        waiting = pull.recv()
        assert waiting.cancel() and waiting.cancelled() and not waiting.cancel()
        with pytest.raises(future.CancelledError):
            await waiting
        await push.send(b"x")
        assert await pull.recv() == b"x"

    run(main)
    assert issubclass(future.CancelledError, Exception)


@pytest.mark.deviation  # there it is not
def test_a_cancelled_task_is_cancelled(run: Any, pair: Any) -> None:
    push, pull = pair

    async def receive() -> Any:
        return await pull.recv()

    async def main() -> None:
        task = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        for wait in (pull.recv, receive):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(wait(), 0.01)
        await push.send(b"x")
        assert await pull.recv() == b"x"

    run(main)


@pytest.mark.deviation  # there it is logged
def test_a_forgotten_cancelled_future_is_no_error(run: Any, pair: Any) -> None:
    complaints: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, found: complaints.append(found)
        )
        pair[1].recv().cancel()
        await asyncio.sleep(0)
        gc.collect()

    run(main)
    assert not complaints


def test_the_timeouts_of_a_socket_are_kept(run: Any, pair: Any) -> None:
    pull = pair[1]
    pull.rcvtimeo = 10

    async def main() -> None:
        with pytest.raises(zmq.Again):
            await pull.recv()

    run(main)


def test_sockets_and_descriptors_are_polled(run: Any, pair: Any) -> None:
    push, pull = pair
    a, b = system.socketpair()

    async def main() -> None:
        poller = future.Poller()
        poller.register(pull, zmq.POLLIN)
        poller.register(a, zmq.POLLIN)
        at_once = poller.poll(0)
        assert at_once.done() and at_once.result() == []
        waiting = poller.poll()
        await push.send(b"x")
        assert await waiting == [(pull, zmq.POLLIN)]
        assert await pull.poll() == zmq.POLLIN
        assert await pull.recv() == b"x"
        waiting = poller.poll()
        b.send(b"x")
        assert await waiting == [(a.fileno(), zmq.POLLIN)]
        poller.unregister(a)
        poller.register(b, zmq.POLLOUT)
        assert await poller.poll() == [(b.fileno(), zmq.POLLOUT)]
        assert await poller.poll(1000) == [(b.fileno(), zmq.POLLOUT)]

    with a, b:
        run(main)


def test_closing_a_socket_cancels_what_waits_for_it(run: Any, pair: Any) -> None:
    pull = pair[1]

    async def main() -> None:
        waiting = pull.recv()
        polling = pull.poll()
        pull.close()
        for one in (waiting, polling):
            with pytest.raises(future.CancelledError):
                await one

    run(main)


def test_a_plain_socket_can_be_wrapped(run: Any, pair: Any) -> None:
    push, _ = pair
    plain = zmq.Context.instance().socket(zmq.PULL)
    wrapped = future.Socket.from_socket(plain)
    assert type(wrapped) is future.Socket
    wrapped.close()
    assert plain.closed
    zmq.Context.instance().term()


def test_a_loop_need_not_be_named_any_more(run: Any, context: Any) -> None:
    loop = IOLoop.current()
    with pytest.warns(DeprecationWarning, match="io_loop"):
        other = future.Context(io_loop=loop)
    assert other.io_loop is None
    other.term()
    with pytest.warns(DeprecationWarning, match="io_loop"):
        socket = future.Socket(context, zmq.PULL, io_loop=loop)
    socket.close()


def test_the_singleton_is_its_own() -> None:
    mine, other = future.Context.instance(), zmq.Context.instance()
    assert mine is not other and type(mine) is future.Context
    mine.term()
    other.term()
