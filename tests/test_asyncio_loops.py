"""Sockets for asyncio: which loop they are used in, and what a loop leaves behind."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from peers.forked import in_child
from peers.loops import (  # noqa: F401
    context_fixture,
    full,
    pair_fixture,
    pairs_fixture,
    run,
    turns,
    until,
    zmq,
    zmq_asyncio,
)

DEADLINE = 20.0


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# Several loops.


def test_several_loops_use_a_socket_one_after_another(pair: Any) -> None:
    push, pull = pair

    async def main() -> bytes:
        waiting = pull.recv()
        await push.send(b"x")
        await push.send(b"y")
        await pull.poll()
        assert await waiting == b"x"
        return await pull.recv()  # type: ignore[no-any-return]

    for _ in range(5):
        assert run(main) == b"y"


@pytest.mark.deviation  # there it takes the message of the next one
def test_who_waited_in_a_loop_that_is_closed_takes_nothing(pair: Any) -> None:
    push, pull = pair
    left: list[Any] = []

    async def leave() -> None:
        left.extend([pull.recv(), pull.recv_string(), pull.poll()])

    async def main() -> None:
        waiting = pull.recv()
        await push.send(b"1")
        assert await waiting == b"1"
        await push.send(b"2")
        assert pull.recv().result() == b"2"

    run(leave)
    run(main)
    assert not any(one.done() for one in left)


@pytest.mark.deviation
def test_who_waits_in_a_loop_goes_on_when_that_runs_again(pair: Any) -> None:
    push, pull = pair
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    waiting: list[Any] = []

    async def wait() -> None:
        waiting.append(pull.recv())
        await turns()

    async def send() -> None:
        await push.send(b"1")

    try:
        first.run_until_complete(wait())
        second.run_until_complete(wait())
        for _ in waiting:
            second.run_until_complete(send())
            for loop in (first, second):
                loop.run_until_complete(turns())
        assert [one.result() for one in waiting] == [b"1", b"1"]
        first.run_until_complete(wait())
        second.run_until_complete(turns())
        pull.close()
        first.run_until_complete(turns())
        assert waiting[2].cancelled()
    finally:
        first.close()
        second.close()


@pytest.mark.deviation  # it asks for the internals of mqcore
def test_a_loop_that_runs_again_is_as_quick_as_before(pair: Any) -> None:
    push, pull = pair
    loop = asyncio.new_event_loop()
    later: list[Any] = []

    class Noting(zmq_asyncio.Socket):
        def _recv_later(self, *arguments: Any) -> Any:
            later.append(arguments)
            return super()._recv_later(*arguments)

    noting = Noting(pull)

    async def main() -> None:
        for number in range(3):
            await push.send(b"x")
            await noting.recv()
            if number == 0:
                later.clear()  # it came here

    try:
        for _ in range(3):
            loop.run_until_complete(main())
            assert not later
    finally:
        loop.close()


def test_loops_in_several_threads_share_a_context(context: Any, background: Any) -> None:
    async def main(name: str) -> None:
        req, rep = context.socket(zmq.REQ), context.socket(zmq.REP)
        with req, rep:
            rep.bind(name)
            req.connect(name)
            for number in range(200):
                asking = rep.recv_string()
                await req.send_string(f"{name} {number}")
                assert await asking == f"{name} {number}"
                await rep.send_multipart([b"a", b"b"])
                assert await req.recv_multipart() == [b"a", b"b"]

    joins = [
        background(lambda name=f"inproc://thread-{number}": run(lambda: main(name)))
        for number in range(4)
    ]
    for join in joins:
        join()


def test_loops_in_several_threads_send_to_each_other(context: Any, background: Any) -> None:
    pull = context.socket(zmq.PULL)
    pull.bind("inproc://sink")
    count = 500

    def send(number: int) -> None:
        async def main() -> None:
            with context.socket(zmq.PUSH) as push:
                push.sndhwm = 5
                push.connect("inproc://sink")
                for index in range(count):
                    await push.send_multipart([b"%d" % number, b"%d" % index])

        run(main)

    async def main() -> dict[bytes, list[int]]:
        got: dict[bytes, list[int]] = {}
        for _ in range(3 * count):
            who, index = await pull.recv_multipart()
            got.setdefault(who, []).append(int(index))
        return got

    joins = [background(lambda number=number: send(number)) for number in range(3)]
    assert run(main) == {b"%d" % number: list(range(count)) for number in range(3)}
    for join in joins:
        join()


@pytest.mark.deviation  # there a socket has one loop
def test_loops_in_two_threads_wait_for_faces_of_one_socket(pair: Any, background: Any) -> None:
    push, pull = pair
    ready = threading.Barrier(3)

    def receive() -> bytes:
        async def main() -> bytes:
            waiting = zmq_asyncio.Socket.from_socket(pull).recv()
            await asyncio.to_thread(ready.wait, DEADLINE)
            return await waiting  # type: ignore[no-any-return]

        return run(main)  # type: ignore[no-any-return]

    joins = [background(receive) for _ in range(2)]
    ready.wait(DEADLINE)
    plain = zmq.Socket.shadow(push.underlying)
    plain.send(b"1")
    plain.send(b"2")
    assert sorted(join() for join in joins) == [b"1", b"2"]


# Plain sockets beside it.


def test_plain_and_asynchronous_sockets_talk_in_one_context(context: Any, background: Any) -> None:
    plain = zmq.Context.shadow(context.underlying)
    rep = plain.socket(zmq.REP)
    rep.rcvtimeo = int(DEADLINE * 1000)
    rep.bind("inproc://rep")

    def serve() -> None:
        for _ in range(50):
            rep.send(rep.recv() + b"!")

    async def main() -> None:
        with context.socket(zmq.REQ) as req:
            req.connect("inproc://rep")
            for _ in range(50):
                await req.send(b"x")
                assert await req.recv() == b"x!"

    join = background(serve)
    run(main)
    join()
    rep.close()


def test_a_plain_socket_gets_an_asynchronous_face() -> None:
    plain = zmq.Context()
    pull, push = plain.socket(zmq.PULL), plain.socket(zmq.PUSH)
    pull.bind("inproc://pair")
    push.connect("inproc://pair")

    async def main() -> None:
        for make in (zmq_asyncio.Socket.from_socket, zmq_asyncio.Socket):
            face = make(pull)
            assert type(face) is zmq_asyncio.Socket
            assert face.context is None and face._shadow_sock is pull
            assert face.underlying == pull.underlying
            waiting = face.recv()
            push.send(b"1")
            assert await waiting == b"1"
        face = zmq_asyncio.Socket.shadow(pull.underlying)
        push.send(b"2")
        assert await face.recv() == b"2"
        face.close()
        assert pull.closed

    run(main)
    push.close()
    plain.term()


def test_a_face_of_the_context_makes_asynchronous_sockets() -> None:
    plain = zmq.Context()
    shadow = zmq_asyncio.Context.shadow(plain.underlying)
    other = zmq_asyncio.Context(plain)
    for made in (shadow, other):
        with made.socket(zmq.PULL) as socket:
            assert type(socket) is zmq_asyncio.Socket
    plain.term()


@pytest.mark.deviation
def test_a_plain_face_in_another_thread_takes_part(pair: Any, background: Any) -> None:
    """What the thread takes is not there any more when the loop looks."""
    push, pull = pair
    count = 2000
    face = zmq.Socket.shadow(pull.underlying)
    face.rcvtimeo = int(DEADLINE * 1000)
    taken: list[int] = []

    def take() -> None:
        while (text := face.recv()) != b"end":
            taken.append(int(text))

    async def main() -> list[int]:
        got = []
        join = background(take)

        async def receive() -> None:
            while True:
                got.append(int(await pull.recv()))

        receiving = [asyncio.create_task(receive()) for _ in range(2)]
        for number in range(count):
            await push.send(b"%d" % number)
            if number % 10 == 0:
                await asyncio.sleep(0)
        await until(lambda: len(got) + len(taken) == count)
        for one in receiving:
            one.cancel()
        await asyncio.wait(receiving)
        await push.send(b"end")
        await asyncio.to_thread(join)
        return got

    got = run(main)
    assert sorted(got + taken) == list(range(count))


def test_the_singleton_is_its_own() -> None:
    mine, plain = zmq_asyncio.Context.instance(), zmq.Context.instance()
    assert type(mine) is zmq_asyncio.Context and type(plain) is zmq.Context
    assert zmq_asyncio.Context.instance() is mine
    mine.term()
    again = zmq_asyncio.Context.instance()
    assert again is not mine
    again.term()
    plain.term()


# No loop.


@pytest.mark.filterwarnings("ignore:There is no current event loop:DeprecationWarning")
def test_without_a_loop_it_can_be_made_but_not_used(context: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        socket = context.socket(zmq.PULL)
        poller = zmq_asyncio.Poller()
        poller.register(socket, zmq.POLLIN)
    asyncio.set_event_loop(None)
    for call in (socket.recv, socket.poll, poller.poll):
        with pytest.raises(RuntimeError, match="event loop"):
            call()


def test_a_loop_that_does_not_run_yet_is_used_with_a_warning(pair: Any) -> None:
    push, pull = pair
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        with pytest.warns(RuntimeWarning, match=r"No running event.loop\."):
            waiting = pull.recv()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            push.send(b"x")
        assert loop.run_until_complete(asyncio.wait_for(waiting, DEADLINE)) == b"x"

        async def main() -> bytes:
            await push.send(b"y")
            return await pull.recv()  # type: ignore[no-any-return]

        assert loop.run_until_complete(main()) == b"y"
    finally:
        asyncio.set_event_loop(None)
        loop.close()


@pytest.mark.deviation  # there it names its own file
def test_the_warning_that_no_loop_runs_names_who_called(pair: Any) -> None:
    pull = pair[1]
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    poller = zmq_asyncio.Poller()
    try:
        for call in (pull.recv, pull.recv_string, pull.recv_many, pull.poll, poller.poll):
            with pytest.warns(RuntimeWarning, match="No running event loop") as warned:
                call()
            assert [one.filename for one in warned] == [__file__]
    finally:
        asyncio.set_event_loop(None)
        loop.close()


# Other loops.


def test_uvloop_runs_it(context: Any, pairs: Any) -> None:
    uvloop = pytest.importorskip("uvloop")
    push, pull = pairs(zmq.PUSH, zmq.PULL, sndhwm=2, rcvhwm=2)
    reader, writer = os.pipe()

    async def main() -> None:
        waiting = [pull.recv(), pull.recv_string()]
        await push.send_multipart([b"a"])
        await push.send_string("b")
        assert await asyncio.gather(*waiting) == [b"a", "b"]
        sending = [push.send(b"%d" % number) for number in range(50)]
        assert [await pull.recv() for _ in sending] == [b"%d" % number for number in range(50)]
        await asyncio.gather(*sending)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pull.recv(), 0.01)
        poller = zmq_asyncio.Poller()
        poller.register(pull, zmq.POLLIN)
        poller.register(reader, zmq.POLLIN)
        assert await poller.poll(1) == []
        polling = poller.poll()
        os.write(writer, b"x")
        assert await polling == [(reader, zmq.POLLIN)]
        os.read(reader, 1)
        polling = poller.poll()
        await push.send(b"x")
        assert await polling == [(pull, zmq.POLLIN)]
        assert await pull.recv() == b"x"

    for _ in range(3):
        run(main, new_loop=uvloop.new_event_loop)
    os.close(reader)
    os.close(writer)


# Fairness.


@pytest.mark.deviation  # there they never let others run
@pytest.mark.parametrize("what", ["recv", "recv_multipart", "recv_string", "recv_many", "send",
                                  "send_multipart", "send_many", "poll", "poller"])  # fmt: skip
def test_a_socket_that_is_always_ready_lets_other_tasks_run(context: Any, what: str) -> None:
    a, b = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    for socket in (a, b):
        socket.sndhwm = socket.rcvhwm = 0
    a.bind("inproc://ready")
    b.connect("inproc://ready")
    count = 5000
    poller = zmq_asyncio.Poller()
    poller.register(b, zmq.POLLIN)
    calls: dict[str, Callable[[], Any]] = {
        "recv": b.recv,
        "recv_multipart": b.recv_multipart,
        "recv_string": b.recv_string,
        "recv_many": lambda: b.recv_many(1),
        "send": lambda: a.send(b"x"),
        "send_multipart": lambda: a.send_multipart([b"x"]),
        "send_many": lambda: a.send_many([b"x"]),
        "poll": b.poll,
        "poller": poller.poll,
    }
    others = 0

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    async def main() -> int:
        plain = zmq.Socket.shadow(a.underlying)
        for _ in range(count):
            plain.send(b"x")
        beside = asyncio.create_task(other())
        await asyncio.sleep(0)
        before = others
        for _ in range(count):
            await calls[what]()
        beside.cancel()
        return others - before

    assert run(main) >= count // 1000


# What is left behind.


def test_loops_leave_no_descriptors(context: Any, pair: Any) -> None:
    push, pull = pair
    reader, writer = os.pipe()

    async def main() -> None:
        waiting = pull.recv()
        await push.send(b"x")
        assert await waiting == b"x"
        poller = zmq_asyncio.Poller()
        poller.register(pull, zmq.POLLIN)
        poller.register(reader, zmq.POLLIN)
        await poller.poll(1)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(poller.poll(), 0.001)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pull.recv(), 0.001)

    run(main)
    gc.collect()
    before = open_descriptors()
    for _ in range(10):
        run(main)
    gc.collect()
    assert open_descriptors() == before
    os.close(reader)
    os.close(writer)


@pytest.mark.deviation
def test_what_still_waits_when_a_loop_closes_leaves_no_descriptors(pair: Any) -> None:
    """The descriptors that a poll watches are copies: they stayed open."""
    push, pull = pair
    reader, writer = os.pipe()

    async def main() -> None:
        poller = zmq_asyncio.Poller()
        poller.register(pull, zmq.POLLIN)
        poller.register(reader, zmq.POLLIN)
        poller.poll()
        pull.recv()
        pull.poll()

    run(main)
    gc.collect()
    before = open_descriptors()
    for _ in range(10):
        run(main)
    gc.collect()
    assert open_descriptors() == before
    os.close(reader)
    os.close(writer)


@pytest.mark.deviation  # there it is kept once it was used
def test_a_socket_that_is_dropped_is_closed_with_a_warning(context: Any) -> None:
    async def main() -> None:
        for use in (lambda s: None, lambda s: s.poll(0), lambda s: s.recv().cancel()):
            socket = context.socket(zmq.PULL)
            use(socket)
            await turns()
            there = weakref.ref(socket)
            with pytest.warns(ResourceWarning, match="Unclosed socket") as warned:
                del socket
                gc.collect()
            assert warned[0].filename == __file__
            warned.clear()
            assert there() is None

    run(main)


@pytest.mark.filterwarnings("ignore:Unclosed socket:ResourceWarning")
def test_a_socket_that_still_waited_when_its_loop_closed_is_collected(context: Any) -> None:
    async def main() -> Any:
        socket = context.socket(zmq.PULL)
        socket.recv()
        socket.poll()
        return weakref.ref(socket)

    there = run(main)
    gc.collect()
    assert there() is None


@pytest.mark.deviation  # it asks for the internals of mqcore
def test_a_face_that_is_dropped_is_not_watched_any_more(context: Any) -> None:
    """A face leaves its socket open, and the loop kept what it watched for it."""
    plain = zmq.Context()
    pull = plain.socket(zmq.PULL)

    async def main() -> None:
        for number in range(50):
            face = zmq_asyncio.Socket.from_socket(pull)
            face.recv().cancel()
            assert face._waiting.key < 3, number
            watch = face._waiting.watch
            await turns()
        del face
        gc.collect()
        assert not watch.waiting

    run(main)
    pull.close()
    plain.term()


# A forked child.


@pytest.mark.deviation
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.recv(),
        lambda s: s.recv_multipart(),
        lambda s: s.recv_string(),
        lambda s: s.recv_many(),
        lambda s: s.send(b"x"),
        lambda s: s.send_multipart([b"x"]),
        lambda s: s.poll(),
    ],
)
@pytest.mark.parametrize("has_waited", [False, True])
def test_a_forked_child_gets_errors(context: Any, call: Any, has_waited: bool) -> None:
    socket = context.socket(zmq.DEALER)

    async def use() -> None:
        with pytest.raises(zmq.ZMQError, match="fork") as caught:
            await call(socket)
        assert caught.value.errno == zmq.ENOTSOCK

    async def wait() -> None:
        if has_waited:
            socket.recv()
            socket.send(b"x")
        await turns()

    def child() -> None:
        run(use)
        run(use)
        with zmq_asyncio.Context() as own:

            async def work() -> None:
                with own.socket(zmq.PAIR) as a, own.socket(zmq.PAIR) as b:
                    a.bind("inproc://own")
                    b.connect("inproc://own")
                    waiting = b.recv()
                    await a.send(b"x")
                    assert await waiting == b"x"

            run(work)

    run(wait)
    in_child(child)


# A peer that is full.


@pytest.fixture
def router(context: Any) -> Any:
    """A ROUTER socket that has no room for one peer, but for another one; both peers are plain sockets."""
    plain = zmq.Context.shadow(context.underlying)
    router = context.socket(zmq.ROUTER)
    router.router_mandatory = 1
    router.sndhwm = 1
    router.bind("inproc://router")
    peers = []
    for name in (b"full", b"free"):
        dealer = plain.socket(zmq.DEALER)
        dealer.rcvhwm, dealer.routing_id, dealer.rcvtimeo = 1, name, int(DEADLINE * 1000)
        dealer.connect("inproc://router")
        peers.append(dealer)
    filling = zmq.Socket.shadow(router.underlying)
    with pytest.raises(zmq.Again):
        while True:
            filling.send_multipart([b"full", b"x"], zmq.DONTWAIT)
    yield router, *peers
    for peer in peers:
        peer.close(0)


@pytest.mark.deviation
def test_a_send_to_a_full_peer_waits_without_a_spin(router: Any) -> None:
    router, full_one, free_one = router

    async def main() -> None:
        waiting = [router.recv_multipart(), router.poll(), router.send_multipart([b"full", b"y"])]
        await turns(10)
        begin = time.process_time()
        await asyncio.sleep(0.3)
        assert time.process_time() - begin < 0.15
        assert not any(one.done() for one in waiting)
        free_one.send(b"hello")
        assert await waiting[0] == [b"free", b"hello"]
        full_one.recv()
        await waiting[2]

    run(main)


@pytest.mark.deviation
def test_what_comes_in_before_a_full_peer_is_noticed_is_not_missed(router: Any) -> None:
    """The socket was found writable, then not for that peer, and nobody looked again for what had come meanwhile."""
    router, full_one, free_one = router

    async def main() -> None:
        receiving, sending = router.recv_multipart(), router.send_multipart([b"full", b"y"])
        free_one.send(b"hello")
        assert await receiving == [b"free", b"hello"]
        assert not sending.done()
        full_one.recv()
        await sending

    run(main)


@pytest.mark.deviation
@pytest.mark.parametrize("noticed", [0, 6])
@pytest.mark.parametrize("leaves", ["cancel", "timeout"])
def test_when_a_send_to_a_full_peer_gives_up_the_next_one_goes(
    router: Any, noticed: int, leaves: str
) -> None:
    router, full_one, free_one = router

    async def main() -> None:
        if leaves == "timeout":
            router.sndtimeo = 20
        first = router.send_multipart([b"full", b"y"])
        router.sndtimeo = -1
        await turns(noticed)
        second = router.send_multipart([b"free", b"y"])
        await turns(noticed)
        if leaves == "cancel":
            first.cancel()
        await second
        await asyncio.wait([first])
        assert first.cancelled() or isinstance(first.exception(), zmq.Again)
        assert free_one.recv() == b"y"

    run(main)


@pytest.mark.deviation
def test_a_full_peer_does_not_hide_room_at_another_from_a_poll(router: Any) -> None:
    router, full_one, free_one = router

    async def main() -> None:
        waiting = router.send_multipart([b"full", b"y"])
        await turns(6)
        for _ in range(600):  # at some point it is time for other tasks
            assert await router.poll(None, zmq.POLLOUT) == zmq.POLLOUT
        waiting.cancel()

    run(main)
