"""Pollers for asyncio: sockets of all kinds and descriptors, with what the application does to them meanwhile."""

from __future__ import annotations

import asyncio
import os
import socket as system
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import pytest
from peers.loops import context_fixture, pair_fixture, pairs_fixture, run, turns, zmq, zmq_asyncio  # noqa: F401


@pytest.fixture
def plain() -> Iterator[Any]:
    """Two connected sockets of the system."""
    a, b = system.socketpair()
    a.setblocking(False)
    b.setblocking(False)
    with a, b:
        yield a, b


def poller_of(*registered: tuple[Any, int]) -> Any:
    poller = zmq_asyncio.Poller()
    for one, flags in registered:
        poller.register(one, flags)
    return poller


def test_what_is_ready_is_told_in_the_order_of_registration(pair: Any, plain: Any) -> None:
    push, pull = pair
    a, b = plain

    async def main() -> None:
        poller = poller_of((a, zmq.POLLOUT), (push, zmq.POLLOUT), (pull, zmq.POLLIN))
        polling = poller.poll()
        assert isinstance(polling, asyncio.Future)
        assert await polling == [(a.fileno(), zmq.POLLOUT), (push, zmq.POLLOUT)]
        await push.send(b"x")
        expected = [(a.fileno(), zmq.POLLOUT), (push, zmq.POLLOUT), (pull, zmq.POLLIN)]
        while (found := await poller.poll()) != expected:
            await asyncio.sleep(0)
        assert dict(found)[pull] == zmq.POLLIN

    run(main)


def test_a_poll_waits_for_a_message(pair: Any) -> None:
    push, pull = pair

    async def main() -> None:
        poller = poller_of((pull, zmq.POLLIN))
        polling = poller.poll(10_000)
        await turns()
        assert not polling.done()
        await push.send(b"x")
        assert await polling == [(pull, zmq.POLLIN)]
        assert await poller.poll() == [(pull, zmq.POLLIN)]
        assert await pull.recv() == b"x"
        assert await poller.poll(10) == []

    run(main)


def test_a_poll_waits_for_room(context: Any) -> None:
    push, pull = context.socket(zmq.PUSH), context.socket(zmq.PULL)

    async def main() -> None:
        polling = poller_of((push, zmq.POLLOUT)).poll(10_000)
        await turns()
        assert not polling.done()
        pull.bind("tcp://127.0.0.1:*")
        push.connect(pull.last_endpoint)
        assert await polling == [(push, zmq.POLLOUT)]

    run(main)


def test_poll_of_zero_is_done_at_return(pair: Any, plain: Any) -> None:
    push, pull = pair

    async def main() -> None:
        poller = poller_of((pull, zmq.POLLIN), (plain[0], zmq.POLLIN))
        polling = poller.poll(0)
        assert polling.done() and polling.result() == []
        plain[1].send(b"x")
        polling = poller.poll(0)
        assert polling.done() and polling.result() == [(plain[0].fileno(), zmq.POLLIN)]
        polling = poller.poll(timeout=0)
        assert polling.done()

    run(main)


def test_poll_of_nothing_is_over_at_once() -> None:
    async def main() -> None:
        assert await asyncio.wait_for(zmq_asyncio.Poller().poll(0), 10) == []

    run(main)


def test_timeouts_are_in_milliseconds(pair: Any, plain: Any) -> None:
    async def main() -> None:
        poller = poller_of((pair[1], zmq.POLLIN), (plain[0], zmq.POLLIN))
        begin = time.monotonic()
        assert await poller.poll(30) == []
        assert 0.029 <= time.monotonic() - begin < 5
        for for_ever in (None, -1):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(poller.poll(for_ever), 0.01)

    run(main)


def test_plain_sockets_can_be_registered(context: Any) -> None:
    other = zmq.Context.shadow(context.underlying)
    push, pull = other.socket(zmq.PUSH), other.socket(zmq.PULL)
    pull.bind("inproc://plain")
    push.connect("inproc://plain")

    async def main() -> None:
        polling = poller_of((pull, zmq.POLLIN)).poll()
        await turns()
        push.send(b"x")
        assert await polling == [(pull, zmq.POLLIN)]
        assert pull.recv() == b"x"

    with push, pull:
        run(main)


def test_descriptors_can_be_registered(plain: Any) -> None:
    a, b = plain

    async def main() -> None:
        for one in (a, a.fileno()):
            polling = poller_of((one, zmq.POLLIN)).poll()
            await turns()
            b.send(b"x")
            assert await polling == [(a.fileno(), zmq.POLLIN)]
            a.recv(1)
        while True:
            try:
                a.send(b"x" * 10_000)
            except BlockingIOError:
                break
        polling = poller_of((a, zmq.POLLOUT)).poll()
        await turns()
        assert not polling.done()
        while not polling.done():
            try:
                b.recv(10_000)
            except BlockingIOError:
                await asyncio.sleep(0)
        assert await polling == [(a.fileno(), zmq.POLLOUT)]

    run(main)


@pytest.mark.deviation  # epoll refuses it there
def test_a_plain_file_is_always_ready(pair: Any) -> None:
    async def main() -> None:
        with tempfile.TemporaryFile() as file:
            poller = poller_of((file, zmq.POLLIN), (pair[1], zmq.POLLIN))
            assert await poller.poll() == [(file.fileno(), zmq.POLLIN)]

    run(main)


@pytest.mark.deviation  # there the poll takes the application's place
def test_what_the_application_watches_itself_stays_watched(pair: Any, plain: Any) -> None:
    push, pull = pair
    a, b = plain
    heard: list[bytes] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_reader(a, lambda: heard.append(a.recv(1)))
        poller = poller_of((a, zmq.POLLIN), (pull, zmq.POLLIN))
        polling = poller.poll()
        await turns()
        await push.send(b"x")
        await polling
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(poller_of((a, zmq.POLLIN)).poll(), 0.001)
        b.send(b"1")
        while heard != [b"1"]:
            await asyncio.sleep(0)
        assert loop.remove_reader(a)

    run(main)


def test_several_polls_wait_for_the_same(pair: Any, plain: Any) -> None:
    push, pull = pair
    a, b = plain

    async def main() -> None:
        first = poller_of((pull, zmq.POLLIN))
        second = poller_of((pull, zmq.POLLIN), (a, zmq.POLLIN))
        polling = [first.poll(), first.poll(), second.poll(), second.poll(), pull.poll()]
        await turns()
        await push.send(b"x")
        for found in await asyncio.gather(*polling[:4]):
            assert found == [(pull, zmq.POLLIN)]
        assert await polling[4] == zmq.POLLIN
        assert await pull.recv() == b"x"

    run(main)


def test_a_poll_takes_nothing_from_who_receives(pair: Any) -> None:
    push, pull = pair

    async def main() -> None:
        poller = poller_of((pull, zmq.POLLIN))
        for _ in range(20):
            receiving, polling = pull.recv(), poller.poll(10_000)
            await push.send(b"1")
            assert await receiving == b"1"
            await push.send(b"2")
            assert await polling == [(pull, zmq.POLLIN)]
            assert await pull.recv() == b"2"

    run(main)


@pytest.mark.deviation  # there it is cancelled
def test_a_socket_that_closes_ends_the_poll(pair: Any) -> None:
    push, pull = pair

    async def main() -> None:
        poller = poller_of((pull, zmq.POLLIN))
        polling = poller.poll()
        await turns()
        pull.close()
        with pytest.raises(zmq.ZMQError) as caught:
            await polling
        assert caught.value.errno == zmq.ENOTSOCK

    run(main)


def test_a_closed_socket_cannot_be_polled(pair: Any) -> None:
    async def main() -> None:
        poller = poller_of((pair[1], zmq.POLLIN))
        pair[1].close()
        with pytest.raises(zmq.ZMQError) as caught:
            await poller.poll(10)
        assert caught.value.errno == zmq.ENOTSOCK

    run(main)


@pytest.mark.deviation
def test_end_of_the_context_ends_the_poll(background: Any) -> None:
    context = zmq_asyncio.Context()
    pull = context.socket(zmq.PULL)
    joined: list[Any] = []

    async def main() -> None:
        polling = poller_of((pull, zmq.POLLIN)).poll()
        await turns()
        joined.append(background(context.term))
        with pytest.raises(zmq.ContextTerminated):
            await polling
        pull.close()

    run(main)
    joined[0]()


@pytest.mark.deviation  # it asks for the internals of mqcore
def test_a_cancelled_poll_watches_nothing(pair: Any, plain: Any) -> None:
    push, pull = pair

    async def main() -> None:
        poller = poller_of((pull, zmq.POLLIN), (plain[0], zmq.POLLIN))
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(poller.poll(), 0.001)
        await turns()
        assert not poller._loop_watch.waiting
        # One for the loop's watch, made by the first poll; one for the poller's.
        assert len(os.listdir("/proc/self/fd")) <= before + 2

    run(main)


@pytest.mark.deviation
def test_what_is_registered_later_does_not_count_for_a_poll_that_waits(
    pair: Any, plain: Any
) -> None:
    """What was unregistered was still watched, but not looked at: the loop went round and round."""
    push, pull = pair
    a, b = plain

    async def main() -> None:
        poller = poller_of((pull, zmq.POLLIN), (a, zmq.POLLIN))
        for message, other in ((pull, a), (a, pull)):
            polling = poller.poll()
            await turns()
            poller.unregister(message)
            if message is pull:
                await push.send(b"x")
                assert await polling == [(pull, zmq.POLLIN)]
                await pull.recv()
            else:
                b.send(b"x")
                assert await polling == [(a.fileno(), zmq.POLLIN)]
                a.recv(1)
            poller.register(message, zmq.POLLIN)
            assert other in poller

    run(main)


@pytest.mark.deviation
def test_an_error_when_a_poll_begins_comes_with_the_future(pair: Any, plain: Any) -> None:
    class Moody:
        calls = 0
        last = 1 << 30

        def fileno(self) -> int:
            self.calls += 1
            if self.calls > self.last:
                raise ValueError("moody")
            return plain[0].fileno()  # type: ignore[no-any-return]

    async def main() -> None:
        moody = Moody()
        poller = poller_of((pair[1], zmq.POLLIN), (moody, zmq.POLLIN))
        assert await poller.poll(1) == []
        needed = moody.calls
        for last in range(needed):
            moody.calls, moody.last = 0, last
            polling = poller.poll(1)
            assert isinstance(polling, asyncio.Future)
            await asyncio.wait([polling])
            polling.exception()
        await turns()
        assert not poller._loop_watch.waiting

    run(main)
