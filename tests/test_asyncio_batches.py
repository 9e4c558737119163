"""Sockets for asyncio: many messages in one call, and iterating over what comes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from peers.loops import context_fixture, full, pair_fixture, pairs_fixture, run, turns, zmq  # noqa: F401

pytestmark = pytest.mark.deviation  # additions of mqcore

NUMBERS = [b"%d" % number for number in range(1000)]


def test_send_many_with_room_is_done_at_return(pair: Any) -> None:
    push, pull = pair

    async def main() -> None:
        sending = push.send_many(NUMBERS[:10])
        assert type(sending) is asyncio.Future and sending.done()
        assert await sending == 10
        assert await push.send_many(iter([b"a", [b"b", b"c"], zmq.Frame(b"d")])) == 3
        assert await push.send_many(()) == 0
        assert await pull.recv_many() == NUMBERS[:10] + [b"a"]
        assert await pull.recv_many_multipart() == [[b"b", b"c"], [b"d"]]

    run(main)


@pytest.mark.parametrize("kind", [list, tuple, iter])
def test_send_many_goes_on_when_there_is_room(pairs: Any, kind: Any) -> None:
    push, pull = pairs(zmq.PUSH, zmq.PULL, sndhwm=3, rcvhwm=3)

    async def main() -> None:
        sending = push.send_many(kind(NUMBERS))
        after = push.send(b"after")
        await turns()
        assert not sending.done()
        got = []
        while len(got) < len(NUMBERS) + 1:
            got += await pull.recv_many(7)
        assert got == [*NUMBERS, b"after"]
        assert await sending == len(NUMBERS)
        assert await after is None

    run(main)


def test_send_many_tells_how_many_were_taken_in_time(pairs: Any, context: Any) -> None:
    push, pull = pairs(zmq.PUSH, zmq.PULL, sndhwm=3, rcvhwm=3)
    push.sndtimeo = 20

    async def main() -> None:
        taken = await push.send_many(NUMBERS)
        assert 0 < taken < len(NUMBERS)
        with pytest.raises(zmq.Again):
            await push.send_many(NUMBERS)
        assert [await pull.recv() for _ in range(taken)] == NUMBERS[:taken]
        now = push.send_many(NUMBERS, zmq.DONTWAIT)
        assert now.done() and isinstance(now.exception(), zmq.Again) or now.result() > 0

    run(main)


def test_errors_of_send_many_come_with_the_future(pair: Any) -> None:
    push, pull = pair

    def broken() -> Iterator[bytes]:
        yield b"a"
        raise LookupError("broken")

    async def main() -> None:
        for messages, kind in (
            (b"one", TypeError),
            ("one", TypeError),
            (bytearray(b"one"), TypeError),
            (1, TypeError),
            ([b"a", 1], TypeError),
            (broken(), LookupError),
        ):
            sending = push.send_many(messages)
            assert sending.done() and isinstance(sending.exception(), kind), messages
        sending = push.send_many([b"a"], zmq.SNDMORE)
        assert sending.done() and isinstance(sending.exception(), ValueError)
        assert await pull.poll(0) == 0

    run(main)


def test_what_a_waiting_batch_was_given_may_be_changed(pairs: Any) -> None:
    push, pull = pairs(zmq.PUSH, zmq.PULL, sndhwm=2, rcvhwm=2)

    async def main() -> None:
        taken = full(push)
        buffer = bytearray(b"good")
        messages: list[Any] = [buffer, [buffer, buffer], b"x"]
        sending = push.send_many(messages)
        assert not sending.done()
        buffer[:] = b"evil"
        messages.append(b"late")
        for _ in range(taken):
            await pull.recv()
        assert await pull.recv_many_multipart(1) == [[b"good"]]
        assert await pull.recv_many_multipart(1) == [[b"good", b"good"]]
        assert await pull.recv() == b"x"
        assert await sending == 3
        assert not await pull.poll(10)

    run(main)


def test_recv_many_waits_for_the_first_message(pair: Any) -> None:
    push, pull = pair

    async def main() -> None:
        waiting = [pull.recv_many(), pull.recv_many_multipart(1), pull.recv()]
        assert not any(one.done() for one in waiting)
        await push.send_many(NUMBERS[:3])
        await push.send(b"x")
        assert await waiting[0] == [*NUMBERS[:3], b"x"]
        await push.send_multipart([b"a", b"b"])
        await push.send(b"c")
        assert await waiting[1] == [[b"a", b"b"]]
        assert await waiting[2] == b"c"

    run(main)


@pytest.mark.parametrize("wait", ["recv_many", "recv_many_multipart", "poll"])
def test_timeout_that_is_no_number_is_refused_and_takes_no_message(pair: Any, wait: str) -> None:
    """The receive was refused, but still stood in the queue and took what came next."""
    push, pull = pair

    async def main() -> None:
        with pytest.raises(TypeError):
            await getattr(pull, wait)(timeout="20")
        assert not pull._recv_futures
        await push.send_many(NUMBERS[:2])
        await turns()
        assert await asyncio.wait_for(pull.recv_many(), 10) == NUMBERS[:2]

    run(main)


def test_recv_many_keeps_its_timeout(pair: Any) -> None:
    push, pull = pair

    async def main() -> None:
        for call in (pull.recv_many, pull.recv_many_multipart):
            for timeout in (0, 10):
                with pytest.raises(zmq.Again):
                    await call(timeout=timeout)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(call(timeout=-1), 0.01)
            pull.rcvtimeo = 10
            with pytest.raises(zmq.Again):
                await call()
            pull.rcvtimeo = -1
            with pytest.raises(ValueError):
                await call(0)

    run(main)


def test_recv_many_takes_no_message_of_several_parts(pair: Any) -> None:
    push, pull = pair

    async def main() -> None:
        waiting = pull.recv_many()
        await push.send_multipart([b"a", b"b"])
        with pytest.raises(zmq.ZMQError) as caught:
            await waiting
        assert caught.value.errno == zmq.EINVAL
        assert await pull.recv_multipart() == [b"a", b"b"]

    run(main)


def test_batches_are_iterated_over(pair: Any) -> None:
    push, pull = pair

    async def main() -> None:
        await push.send_many(NUMBERS)
        got, sizes = [], set()
        async for batch in pull.batches(100, 20):
            got += batch
            sizes.add(len(batch))
        assert got == NUMBERS and max(sizes) == 100
        await push.send_multipart([b"a", b"b"])
        assert [batch async for batch in pull.batches(timeout=0, multipart=True)] == [
            [[b"a", b"b"]]
        ]

    run(main)


def test_messages_are_iterated_over_until_the_socket_closes(pair: Any) -> None:
    push, pull = pair
    got: list[Any] = []

    async def receive() -> str:
        async for parts in pull:
            got.append(parts)
        return "ended"

    async def main() -> None:
        receiving = asyncio.create_task(receive())
        for number in range(600):
            await push.send_multipart([b"%d" % number, b""])
        while len(got) < 600:
            await asyncio.sleep(0)
        pull.close()
        assert await receiving == "ended"
        assert await receive() == "ended"
        assert got == [[b"%d" % number, b""] for number in range(600)]

    run(main)


def test_an_iteration_that_is_cancelled_is_cancelled(pair: Any) -> None:
    push, pull = pair

    async def receive() -> None:
        async for _ in pull:
            pass

    async def main() -> None:
        receiving = asyncio.create_task(receive())
        await turns()
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving
        await push.send(b"x")
        assert await pull.recv() == b"x"

    run(main)


def test_end_of_the_context_ends_an_iteration(background: Any, context: Any) -> None:
    pull = context.socket(zmq.PULL)
    joined: list[Any] = []

    async def main() -> None:
        async def receive() -> str:
            async for _ in pull:
                pass
            return "ended"

        receiving = asyncio.create_task(receive())
        await turns()
        joined.append(background(context.term))
        assert await receiving == "ended"
        pull.close()

    run(main)
    joined[0]()
