"""Sockets for asyncio: a task that waits for a message goes on in the moment in which it is served. So no cancel, however
close, comes between the message and the task.
"""

from __future__ import annotations

import asyncio
import importlib
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest
from peers.loops import (  # noqa: F401
    context_fixture,
    pair_fixture,
    pairs_fixture,
    run,
    turns,
    until,
    zmq,
    zmq_asyncio,
)


def plain(socket: Any) -> Any:
    """A face of it with calls that wait."""
    return zmq.Socket.shadow(socket.underlying)


async def first_batch(socket: Any, **options: Any) -> Any:
    async for batch in socket.batches(**options):
        return batch


async def into(socket: Any) -> bytes:
    buffer = bytearray(8)
    return bytes(buffer[: await socket.recv_into(buffer)])


def octets(received: Any) -> bytes:
    """All that was received, one behind the other."""
    if isinstance(received, list):
        return b"".join(octets(part) for part in received)
    return bytes(getattr(received, "bytes", received))


FORMS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "recv": lambda socket: socket.recv(),
    "recv of a Frame": lambda socket: socket.recv(copy=False),
    "recv_multipart": lambda socket: socket.recv_multipart(),
    "recv_multipart of Frames": lambda socket: socket.recv_multipart(copy=False),
    "recv_many": lambda socket: socket.recv_many(),
    "recv_many_multipart": lambda socket: socket.recv_many_multipart(),
    "recv_into": into,
    "recv_string": lambda socket: socket.recv_string(encoding="latin-1"),
    "recv_json": lambda socket: socket.recv_json(),
    "recv_serialized": lambda socket: socket.recv_serialized(lambda parts: parts[0]),
    "async for": lambda socket: socket.__anext__(),
    "batches": first_batch,
}


async def waiting(receive: Callable[[], Awaitable[Any]], *, to: list[Any]) -> asyncio.Task[Any]:
    """A task that waits for what `receive` returns, and goes on to do so; what it has received goes to a list."""

    async def wait() -> None:
        while True:
            to.append(await receive())

    task = asyncio.create_task(wait())
    await until(lambda: task._fut_waiter is not None)  # type: ignore[attr-defined]
    return task


def after_what_came(call: Callable[[], Any]) -> None:
    """Calls in the turn of the loop in which sockets tell of what is there now, and after they have."""
    loop = asyncio.get_running_loop()
    loop.call_at(loop.time() - 1, call)  # what is due comes after what the descriptors tell


@pytest.fixture(name="over", params=["inproc", "tcp"])
def over_fixture(request: pytest.FixtureRequest, context: Any) -> Iterator[tuple[Any, Any]]:
    pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    pull.bind({"inproc": "inproc://over", "tcp": "tcp://127.0.0.1:*"}[request.param])
    push.connect(pull.last_endpoint)
    yield push, pull


@pytest.mark.deviation  # there the message is lost
@pytest.mark.parametrize("form", FORMS)
def test_task_cancelled_in_the_turn_of_a_message_has_it_or_leaves_it(over: Any, form: str) -> None:
    push, pull = over

    async def main() -> None:
        for number in range(10):
            got: list[Any] = []
            task = await waiting(lambda: FORMS[form](pull), to=got)
            payload = b"%d" % number
            plain(push).send(payload)
            assert plain(pull).poll(5000)
            after_what_came(task.cancel)
            await asyncio.wait([task])
            assert task.cancelled()
            while await pull.poll(0):
                got.append(await pull.recv())
            assert (
                octets([str(one).encode() if isinstance(one, str | int) else one for one in got])
                == payload
            )

    run(main)


def written_in_python(loop: Any, coro: Any, **options: Any) -> Any:
    return asyncio.tasks._PyTask(coro, loop=loop, **options)  # type: ignore[attr-defined]


eager = getattr(asyncio, "eager_task_factory", None)
since_312 = pytest.mark.skipif(eager is None, reason="tasks are eager from Python 3.12 on")


@pytest.mark.deviation
@pytest.mark.parametrize(
    "factory",
    [
        pytest.param(written_in_python, id="written in Python"),
        pytest.param(eager, id="eager", marks=since_312),
    ],
)
def test_tasks_of_other_kinds_have_it_or_leave_it_too(over: Any, factory: Any) -> None:
    push, pull = over

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        for number in range(10):
            got: list[Any] = []
            task = await waiting(pull.recv, to=got)
            plain(push).send(b"%d" % number)
            assert plain(pull).poll(5000)
            after_what_came(task.cancel)
            await asyncio.wait([task])
            assert task.cancelled()
            while await pull.poll(0):
                got.append(await pull.recv())
            assert got == [b"%d" % number]

    run(main)


@since_312
def test_eager_task_that_a_task_starts_when_it_goes_on_runs_at_once(pair: Any) -> None:
    push, pull = pair

    async def main() -> None:
        async def receive() -> Any:
            received = await pull.recv()
            return received, asyncio.current_task()

        async def parent() -> None:
            assert await receive() == (b"1", task)
            children = [asyncio.create_task(receive()) for _ in range(2)]
            assert [child.done() for child in children] == [True, False]
            assert asyncio.current_task() is task
            await push.send(b"3")
            assert [await child for child in children] == [
                (b"2", children[0]),
                (b"3", children[1]),
            ]

        asyncio.get_running_loop().set_task_factory(eager)
        task = asyncio.create_task(parent())
        for message in (b"1", b"2"):
            plain(push).send(message)
        await task

    run(main)


@pytest.mark.deviation
def test_timeout_that_is_up_in_the_turn_of_the_message_loses_nothing(pair: Any) -> None:
    push, pull = pair

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def both(until: float) -> None:
            plain(push).send(b"1")
            while loop.time() <= until:
                pass

        got = []
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01) as timeout:
                loop.call_soon(both, timeout.when() + 0.001)  # type: ignore[operator]
                got.append(await pull.recv())
        got += [await pull.recv() for _ in range(1 - len(got))]
        assert got == [b"1"] and not await pull.poll(0)

    run(main)


@pytest.mark.deviation
@pytest.mark.parametrize("form", ["future", "coroutine"])
def test_wait_for_whose_time_is_up_in_the_turn_of_the_message_loses_nothing(
    pair: Any, form: str
) -> None:
    """From Python 3.12 on it waits in the task itself, before in a future of its own."""
    push, pull = pair

    async def receive() -> Any:
        return await pull.recv()

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def both() -> None:
            until = loop.time() + 0.02
            plain(push).send(b"1")
            while loop.time() <= until:
                pass

        got = []
        loop.call_soon(loop.call_soon, both)  # what receives has a turn to begin
        with suppress(TimeoutError):
            got.append(await asyncio.wait_for(pull.recv() if form == "future" else receive(), 0.01))
        got += [await pull.recv() for _ in range(1 - len(got))]
        assert got == [b"1"] and not await pull.poll(0)

    run(main)


def test_task_goes_on_as_itself(pair: Any) -> None:
    push, pull = pair
    variable: ContextVar[str] = ContextVar("variable", default="nothing")

    async def main() -> None:
        async def wait() -> None:
            variable.set("mine")
            await pull.recv()
            seen.append((asyncio.current_task(), variable.get()))

        task = asyncio.create_task(wait())
        await turns()
        await push.send(b"1")
        await task
        assert seen == [(task, "mine")]
        assert variable.get() == "nothing"

    seen: list[Any] = []
    run(main)


def test_tasks_get_their_messages_in_the_order_in_which_they_asked(pair: Any) -> None:
    push, pull = pair

    async def main() -> None:
        async def wait(number: int) -> None:
            for _ in range(2):
                got.append((number, await pull.recv()))

        tasks = [asyncio.create_task(wait(number)) for number in range(3)]
        await turns()
        for number in range(6):
            plain(push).send(b"%d" % number)
        await asyncio.gather(*tasks)
        assert [message for _, message in got] == [b"%d" % number for number in range(6)]
        assert [number for number, _ in got] == [0, 1, 2, 0, 1, 2]

    got: list[tuple[int, bytes]] = []
    run(main)


@pytest.mark.deviation
def test_task_that_goes_on_may_close_and_cancel_whatever_it_likes(pairs: Any) -> None:
    """All sockets are told of in one turn; the first task changes what is there for the others."""
    three = [pairs(zmq.PUSH, zmq.PULL) for _ in range(3)]

    async def main() -> None:
        async def first() -> None:
            assert await three[0][1].recv() == b"0"
            await turns(0)
            three[0][1].close()
            three[1][1].close()
            others[1].cancel()

        async def other(number: int) -> bytes:
            return await three[number][1].recv()  # type: ignore[no-any-return]

        task = asyncio.create_task(first())
        others = [asyncio.create_task(other(number)) for number in (1, 2)]
        await turns()
        for number, (push, _) in enumerate(three):
            plain(push).send(b"%d" % number)
        await asyncio.wait([task, *others])
        assert task.exception() is None
        received = [] if others[1].cancelled() else [others[1].result()]
        while await three[2][1].poll(0):
            received.append(await three[2][1].recv())
        assert received == [b"2"]

    run(main)


def test_interrupt_in_the_task_leaves_the_others_their_messages(pair: Any, pairs: Any) -> None:
    push, pull = pair
    other_push, other_pull = pairs(zmq.PUSH, zmq.PULL)
    loop = asyncio.new_event_loop()

    async def interrupted() -> None:
        await pull.recv()
        raise KeyboardInterrupt

    async def other() -> Any:
        return await other_pull.recv(), await pull.recv()

    tasks: list[asyncio.Task[Any]] = []

    async def main() -> None:
        tasks.extend((loop.create_task(interrupted()), loop.create_task(other())))
        await turns()
        for message in (b"1", b"2"):
            plain(push).send(message)
        plain(other_push).send(b"3")
        await asyncio.wait(tasks)

    waits = main()
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(waits)
        assert loop.run_until_complete(asyncio.wait_for(tasks[1], 10)) == (b"3", b"2")
        assert isinstance(tasks[0].exception(), KeyboardInterrupt)
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
    finally:
        loop.close()


@pytest.mark.deviation
def test_task_that_always_has_more_lets_others_run(pair: Any) -> None:
    push, pull = pair
    push.sndhwm = pull.rcvhwm = 0

    async def main() -> None:
        async def answer_itself() -> None:
            while True:
                message = await pull.recv()
                plain(push).send(message)
                counted.append(message)

        task = asyncio.create_task(answer_itself())
        await turns()
        plain(push).send(b"1")
        for _ in range(5):
            before = len(counted)
            await asyncio.sleep(0)
            assert len(counted) - before < 2000
        task.cancel()
        await asyncio.wait([task])
        assert counted

    counted: list[bytes] = []
    run(main)


@pytest.mark.parametrize("hold", [lambda f: asyncio.wait({f}), asyncio.gather, asyncio.shield])
def test_future_that_others_have_too_keeps_its_result(pair: Any, hold: Any) -> None:
    push, pull = pair

    async def main() -> None:
        async def wait() -> None:
            await hold(receiving)

        receiving = pull.recv()
        task = asyncio.create_task(wait())
        await turns()
        plain(push).send(b"1")
        while not receiving.done():
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert receiving.result() == b"1"
        assert not await pull.poll(0)

    run(main)


def test_tasks_that_wait_for_the_same_future_all_get_the_message(pair: Any) -> None:
    push, pull = pair

    async def main() -> None:
        async def wait() -> Any:
            return await receiving

        receiving = pull.recv()
        receiving.add_done_callback(seen.append)
        tasks = [asyncio.create_task(wait()) for _ in range(2)]
        await turns()
        plain(push).send(b"1")
        assert await asyncio.gather(*tasks) == [b"1", b"1"]
        assert seen == [receiving]

    seen: list[Any] = []
    run(main)


def test_tasks_written_in_python_go_on_too(pair: Any) -> None:
    push, pull = pair

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(written_in_python)

        async def wait() -> Any:
            return await pull.recv()

        task = asyncio.create_task(wait())
        await turns()
        assert type(task) is not asyncio.Task
        plain(push).send(b"1")
        assert await task == b"1"
        loop.set_task_factory(None)

    run(main)


@pytest.mark.deviation
def test_sockets_for_tornado_lose_nothing_either() -> None:
    pytest.importorskip("tornado")
    context = importlib.import_module(f"{zmq.__name__}.eventloop.future").Context()
    push, pull = context.socket(zmq.PUSH), context.socket(zmq.PULL)
    pull.bind("inproc://tornado")
    push.connect("inproc://tornado")

    async def main() -> None:
        got: list[Any] = []
        task = await waiting(pull.recv, to=got)
        plain(push).send(b"1")
        after_what_came(task.cancel)
        await asyncio.wait([task])
        got += [await pull.recv() for _ in range(1 - len(got))]
        assert got == [b"1"]

    run(main)
    context.destroy(linger=0)


@pytest.mark.deviation
@pytest.mark.parametrize("transport", ["inproc://any", "tcp://127.0.0.1:*"])
def test_every_message_is_received_once_whatever_is_cancelled(context: Any, transport: str) -> None:
    """Tasks are cancelled at random, at every point of a turn."""
    chance = random.Random(1)
    total = 5000
    got: list[int] = []
    cancelled = 0
    forms = [FORMS[name] for name in ("recv", "recv_multipart", "recv_many", "async for")]

    async def receive(pull: Any) -> None:
        received = await chance.choice(forms)(pull)
        messages = received if isinstance(received, list) else [received]
        got.extend(int(message) for message in messages)

    async def main() -> None:
        nonlocal cancelled
        loop = asyncio.get_running_loop()
        pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
        pull.bind(transport)
        push.connect(pull.last_endpoint)
        tasks: set[asyncio.Task[Any]] = set()
        sent = 0
        end = time.monotonic() + 15
        while len(got) < total:
            assert time.monotonic() < end, (len(got), sent)
            while len(tasks) < 3:
                task = asyncio.create_task(receive(pull))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            for _ in range(min(chance.randrange(4), total - sent)):
                await push.send(b"%d" % sent)
                sent += 1
            for task in list(tasks):
                if chance.random() < 0.1:
                    cancelled += 1
                    when = chance.choice([task.cancel, partial(after_what_came, task.cancel)])
                    loop.call_soon(when)
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await turns()

    run(main)
    assert sorted(got) == list(range(total))
    assert cancelled > 100
