"""Sockets for asyncio: what each call gives, when its future is done, and where errors appear."""

from __future__ import annotations

import asyncio
import gc
import pickle
import weakref
from typing import Any

import pytest
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

# What a call gives.


def test_the_names_are_there() -> None:
    assert {*zmq_asyncio.__all__} == {"Context", "Socket", "Poller", "ZMQEventLoop", "install"}
    assert issubclass(zmq_asyncio.ProactorSelectorThreadWarning, RuntimeWarning)
    assert issubclass(zmq_asyncio.Context, zmq.Context)
    assert issubclass(zmq_asyncio.Socket, zmq.Socket)
    assert issubclass(zmq_asyncio.Poller, zmq.Poller)


def test_context_makes_sockets_of_its_kind(context: Any, pair: Any) -> None:
    assert type(pair[0]) is zmq_asyncio.Socket and pair[0].context is context
    assert repr(pair[0]).startswith(f"<{zmq.__name__}.asyncio.Socket({zmq.__name__}.PUSH)")
    assert repr(context).startswith(f"<{zmq.__name__}.asyncio.Context(")


def test_sockets_are_context_managers_but_not_asynchronous_ones(context: Any) -> None:
    async def main() -> None:
        with context.socket(zmq.PULL) as socket:
            pass
        assert socket.closed
        with context.socket(zmq.PULL) as socket, pytest.raises(TypeError):
            async with socket:
                pass

    run(main)


RECEIVERS: dict[str, Any] = {
    "recv": (lambda s: s.recv(), b'"1"'),
    "recv_multipart": (lambda s: s.recv_multipart(), [b'"1"']),
    "recv_string": (lambda s: s.recv_string(), '"1"'),
    "recv_unicode": (lambda s: s.recv_unicode(), '"1"'),
    "recv_json": (lambda s: s.recv_json(), "1"),
    "recv_serialized": (lambda s: s.recv_serialized(lambda parts: len(parts)), 1),
    "recv_into": (lambda s: s.recv_into(bytearray(10)), 3),
    "poll": (lambda s: s.poll(), zmq.POLLIN),
    "poll with a timeout": (lambda s: s.poll(10_000), zmq.POLLIN),
}


@pytest.mark.parametrize("name", RECEIVERS)
def test_receive_that_waits_is_a_future_of_its_result(pair: Any, name: str) -> None:
    push, pull = pair
    receive, expected = RECEIVERS[name]

    async def main() -> None:
        waiting = receive(pull)
        assert isinstance(waiting, asyncio.Future) and not waiting.done()
        await push.send(b'"1"')
        assert await waiting == expected
        assert not pull._recv_futures and not pull._send_futures

    run(main)


@pytest.mark.parametrize("name", RECEIVERS)
def test_receive_that_is_ready_is_a_future_of_its_result(pair: Any, name: str) -> None:
    push, pull = pair
    receive, expected = RECEIVERS[name]

    async def main() -> None:
        await push.send(b'"1"')
        await pull.poll()
        receiving = receive(pull)
        assert isinstance(receiving, asyncio.Future)
        if name in ("recv", "recv_multipart", "recv_into"):
            assert receiving.done()
        assert await receiving == expected

    run(main)


@pytest.mark.deviation  # there what is loaded is a second future, not done yet
@pytest.mark.parametrize("name", RECEIVERS)
def test_every_receive_that_is_ready_is_done_at_return(pair: Any, name: str) -> None:
    push, pull = pair
    receive, expected = RECEIVERS[name]

    async def main() -> None:
        await push.send(b'"1"')
        receiving = receive(pull)
        assert type(receiving) is asyncio.Future and receiving.done()
        assert receiving.result() == expected

    run(main)


SENDERS: dict[str, Any] = {
    "send": (lambda s: s.send(b"x"), [b"x"]),
    "send a frame": (lambda s: s.send(zmq.Frame(b"x")), [b"x"]),
    "send_multipart": (lambda s: s.send_multipart([b"a", bytearray(b"b")]), [b"a", b"b"]),
    "send_string": (lambda s: s.send_string("ä", encoding="latin-1"), [b"\xe4"]),
    "send_unicode": (lambda s: s.send_unicode("ä"), ["ä".encode()]),
    "send_json": (lambda s: s.send_json({"a": 1}, separators=(",", ":")), [b'{"a":1}']),
    "send_pyobj": (lambda s: s.send_pyobj((1, 2), protocol=2), [pickle.dumps((1, 2), 2)]),
    "send_serialized": (lambda s: s.send_serialized("ab", lambda m: [b"1", m.encode()]), [b"1", b"ab"]),
}  # fmt: skip


@pytest.mark.parametrize("name", SENDERS)
def test_send_with_room_is_done_at_return(pair: Any, name: str) -> None:
    push, pull = pair
    send, expected = SENDERS[name]

    async def main() -> None:
        sending = send(push)
        assert isinstance(sending, asyncio.Future) and sending.done()
        assert await sending is None
        assert await pull.recv_multipart() == expected

    run(main)


@pytest.mark.parametrize("name", SENDERS)
def test_send_without_room_waits_for_it(context: Any, name: str) -> None:
    push, pull = context.socket(zmq.PUSH), context.socket(zmq.PULL)
    send, expected = SENDERS[name]

    async def main() -> None:
        sending = send(push)
        await turns()
        assert not sending.done() and len(push._send_futures) == 1
        pull.bind("tcp://127.0.0.1:*")
        push.connect(pull.last_endpoint)
        assert await sending is None
        assert await pull.recv_multipart() == expected
        assert not push._send_futures

    run(main)


def test_pickled_objects_come_back(pair: Any) -> None:
    async def main() -> None:
        waiting = pair[1].recv_pyobj()
        await pair[0].send_pyobj({1: "a"})
        assert await waiting == {1: "a"}

    run(main)


def test_everything_else_returns_its_result(pair: Any) -> None:
    async def main() -> None:
        push, pull = pair
        assert pull.get(zmq.TYPE) == zmq.PULL and pull.type == zmq.PULL
        pull.set(zmq.RCVHWM, 5)
        assert pull.rcvhwm == 5 and pull.getsockopt(zmq.RCVHWM) == 5
        bound = pull.bind("tcp://127.0.0.1:*")
        assert bound.addr.startswith("tcp://127.0.0.1:")
        push.connect(bound.addr)
        push.disconnect(bound.addr)
        assert pull.get(zmq.EVENTS) == 0 and pull.fileno() > 0 and pull._fd == pull.fileno()

    run(main)


def test_a_request_is_answered_over_tcp(context: Any) -> None:
    req, rep = context.socket(zmq.REQ), context.socket(zmq.REP)

    async def serve() -> None:
        for _ in range(100):
            await rep.send(b"re: " + await rep.recv())

    async def main() -> None:
        rep.bind("tcp://127.0.0.1:*")
        req.connect(rep.last_endpoint)
        serving = asyncio.create_task(serve())
        for number in range(100):
            await req.send(b"%d" % number)
            assert await req.recv() == b"re: %d" % number
        await serving

    run(main)


def test_frames_are_received_without_a_copy(pair: Any) -> None:
    async def main() -> None:
        push, pull = pair
        waiting = pull.recv(copy=False)
        await push.send(b"x", zmq.SNDMORE)
        await push.send(b"y")
        frame = await waiting
        assert isinstance(frame, zmq.Frame) and frame.bytes == b"x" and frame.more
        [frame] = await pull.recv_multipart(copy=False)
        assert frame.bytes == b"y" and not frame.more

    run(main)


def test_tracker_of_what_is_sent_without_a_copy_comes_with_the_future(context: Any) -> None:
    push, pull = context.socket(zmq.PUSH), context.socket(zmq.PULL)
    data = b"x" * 100_000

    async def main() -> None:
        waiting = push.send(data, copy=False, track=True)
        pull.bind("inproc://late")
        push.connect("inproc://late")
        for sending in (waiting, push.send_multipart([b"a", data], copy=False, track=True)):
            tracker = await sending
            assert isinstance(tracker, zmq.MessageTracker) and not tracker.done
            assert (await pull.recv_multipart())[-1] == data
            await until(lambda tracker=tracker: tracker.done)

    run(main)


# Order.


def test_receivers_of_all_kinds_are_served_in_their_order(pair: Any) -> None:
    push, pull = pair
    buffer = bytearray(1)

    async def main() -> None:
        waiting = [
            pull.recv(),
            pull.recv_multipart(),
            pull.recv_into(buffer),
            pull.recv_string(),
            pull.recv_json(),
            pull.recv(),
        ]
        for number in range(6):
            await push.send(b"%d" % number)
        assert await asyncio.gather(*waiting) == [b"0", [b"1"], 1, "3", 4, b"5"]
        assert buffer == b"2"

    run(main)


def test_senders_are_served_in_their_order(pairs: Any) -> None:
    push, pull = pairs(zmq.PUSH, zmq.PULL, sndhwm=1, rcvhwm=1)

    async def main() -> None:
        taken = full(push)
        waiting = [push.send(b"a"), push.send_multipart([b"b", b"c"]), push.send_string("d")]
        await turns()
        assert not any(one.done() for one in waiting)
        for _ in range(taken):
            await pull.recv()
        got = [await pull.recv_multipart() for _ in waiting]
        assert got == [[b"a"], [b"b", b"c"], [b"d"]]
        await asyncio.gather(*waiting)

    run(main)


def test_parts_that_wait_stay_together(pairs: Any) -> None:
    push, pull = pairs(zmq.PUSH, zmq.PULL, sndhwm=1, rcvhwm=1)

    async def main() -> None:
        taken = full(push)
        parts = [push.send(b"a", zmq.SNDMORE), push.send(b"b", zmq.SNDMORE), push.send(b"c")]
        after = push.send(b"d")
        for _ in range(taken):
            await pull.recv()
        assert await pull.recv_multipart() == [b"a", b"b", b"c"]
        assert await pull.recv() == b"d"
        await asyncio.gather(*parts, after)

    run(main)


@pytest.mark.deviation  # nothing is promised there
def test_what_a_waiting_send_was_given_may_be_changed(context: Any) -> None:
    push, pull = context.socket(zmq.PUSH), context.socket(zmq.PULL)
    buffer = bytearray(b"good")
    parts = [buffer, memoryview(buffer)]

    async def main() -> None:
        waiting = [push.send(buffer), push.send_multipart(parts), push.send_many([buffer, parts])]
        buffer[:] = b"evil"
        parts.clear()
        pull.bind("inproc://late")
        push.connect("inproc://late")
        for expected in ([b"good"], [b"good"] * 2, [b"good"], [b"good"] * 2):
            assert await pull.recv_multipart() == expected
        assert await asyncio.gather(*waiting) == [None, None, 2]

    run(main)


# Timeouts and DONTWAIT.


def test_dontwait_is_done_at_return(context: Any) -> None:
    push, pull = context.socket(zmq.PUSH), context.socket(zmq.PULL)

    async def main() -> None:
        sending = push.send(b"x", zmq.DONTWAIT)
        assert sending.done() and isinstance(sending.exception(), zmq.Again)
        sending = push.send_multipart([b"x"], flags=zmq.DONTWAIT)
        assert sending.done() and isinstance(sending.exception(), zmq.Again)
        receiving = pull.recv(zmq.DONTWAIT)
        assert isinstance(receiving.exception(), zmq.Again)
        receiving = pull.recv_multipart(flags=zmq.DONTWAIT)
        assert isinstance(receiving.exception(), zmq.Again)
        with pytest.raises(zmq.Again):
            await pull.recv_string(zmq.DONTWAIT)
        pull.bind("inproc://late")
        push.connect("inproc://late")
        assert push.send(b"x", zmq.DONTWAIT).result() is None
        assert pull.recv(zmq.DONTWAIT).result() == b"x"

    run(main)


@pytest.mark.parametrize("name", [name for name in RECEIVERS if not name.startswith("poll")])
@pytest.mark.parametrize("timeout", [0, 20])
def test_receive_keeps_the_timeout_of_the_socket(pair: Any, name: str, timeout: int) -> None:
    push, pull = pair
    pull.rcvtimeo = timeout

    async def main() -> None:
        with pytest.raises(zmq.Again):
            await RECEIVERS[name][0](pull)
        assert not pull._recv_futures
        await push.send(b'"1"')
        assert await RECEIVERS[name][0](pull) == RECEIVERS[name][1]

    run(main)


@pytest.mark.parametrize("name", SENDERS)
def test_send_keeps_the_timeout_of_the_socket(context: Any, name: str) -> None:
    push = context.socket(zmq.PUSH)
    push.sndtimeo = 20

    async def main() -> None:
        with pytest.raises(zmq.Again):
            await SENDERS[name][0](push)
        assert not push._send_futures

    run(main)


def test_poll_keeps_its_timeout(pair: Any) -> None:
    async def main() -> None:
        push, pull = pair
        at_once = pull.poll(0)
        assert at_once.done() and at_once.result() == 0
        assert await pull.poll(20) == 0
        assert await push.poll(20, zmq.POLLOUT) == zmq.POLLOUT
        assert await push.poll(0, zmq.POLLOUT) == zmq.POLLOUT
        await push.send(b"x")
        assert await pull.poll() == zmq.POLLIN
        assert type(await pull.poll()) is int

    run(main)


@pytest.mark.deviation  # it asks for the internals of mqcore
def test_one_whose_time_is_up_does_not_go_before_others(pair: Any) -> None:
    push, pull = pair

    async def main() -> None:
        first = pull.recv()
        pull.rcvtimeo = 20
        second = pull.recv()
        expire = pull._recv_futures[1].expire
        zmq.Socket.shadow(push.underlying).send(b"1")
        expire()  # as its timer does, when the loop has not looked yet
        with pytest.raises(zmq.Again):
            await second
        assert await first == b"1"

    run(main)


# Errors.


def test_errors_of_sends_come_with_the_future(pair: Any, context: Any) -> None:
    async def main() -> None:
        push, pull = pair
        cases = [
            (push.send("text"), TypeError),
            (push.send(1), TypeError),
            (push.send_multipart([b"a", "b"]), TypeError),
            (pull.send(b"x"), zmq.ZMQError),
            (context.socket(zmq.REP).send(b"x"), zmq.ZMQError),
        ]
        for sending, kind in cases:
            assert sending.done() and isinstance(sending.exception(), kind)
        errors = [cases[3][0].exception(), cases[4][0].exception()]
        assert [error.errno for error in errors] == [zmq.ENOTSUP, zmq.EFSM]
        push.close()
        sending = push.send(b"x")
        assert sending.done() and sending.exception().errno == zmq.ENOTSOCK

    run(main)


def test_errors_that_are_raised_at_once(pair: Any) -> None:
    async def main() -> None:
        push, pull = pair
        with pytest.raises(TypeError):
            push.send_string(b"bytes")
        with pytest.raises(TypeError):
            push.send_json(object())
        with pytest.raises(zmq.ZMQError) as caught:
            pull.bind("nonsense")
        assert caught.value.errno == zmq.EINVAL
        pull.close()
        for call, number in (
            (pull.recv, zmq.ENOTSOCK),
            (pull.recv_multipart, zmq.ENOTSOCK),
            (pull.recv_string, zmq.ENOTSOCK),
            (lambda: pull.recv_into(bytearray(1)), zmq.ENOTSOCK),
            (pull.poll, zmq.ENOTSUP),
        ):
            with pytest.raises(zmq.ZMQError) as caught:
                call()
            assert caught.value.errno == number

    run(main)


@pytest.mark.deviation  # there they wait for ever
def test_receive_that_can_never_succeed_says_so(pair: Any) -> None:
    async def main() -> None:
        push, pull = pair
        for call in (push.recv, push.recv_multipart, push.recv_string):
            with pytest.raises(zmq.ZMQError) as caught:
                await call()
            assert caught.value.errno == zmq.ENOTSUP
        await push.send(b"x")
        with pytest.raises((TypeError, BufferError)):
            await pull.recv_into(b"read only")
        assert await pull.recv() == b"x"

    run(main)


def test_what_cannot_be_loaded_is_an_error_of_its_future_alone(pair: Any) -> None:
    push, pull = pair

    async def main() -> None:
        waiting = [pull.recv_json(), pull.recv_json(), pull.recv_string(), pull.recv()]
        for text in (b"{", b"1", b"\xff", b"2"):
            await push.send(text)
        with pytest.raises(ValueError):
            await waiting[0]
        assert await waiting[1] == 1
        with pytest.raises(UnicodeDecodeError):
            await waiting[2]
        assert await waiting[3] == b"2"
        await push.send(b"{")
        await pull.poll()
        with pytest.raises(ValueError):
            await pull.recv_json()

    run(main)


@pytest.mark.deviation  # there a future stays that nobody settles
@pytest.mark.parametrize("error", [StopIteration(), zmq.Again(), asyncio.CancelledError()])
@pytest.mark.parametrize("is_ready", [False, True])
def test_no_error_of_what_loads_leaves_somebody_waiting(
    pair: Any, error: BaseException, is_ready: bool
) -> None:
    """StopIteration is refused by futures, Again was taken for "not yet", and the others were not caught."""
    push, pull = pair

    def load(parts: Any) -> Any:
        raise error

    async def main() -> None:
        if is_ready:
            await push.send(b"1")
        loading, other = pull.recv_serialized(load), pull.recv()
        if not is_ready:
            await push.send(b"1")
        await push.send(b"2")
        assert await other == b"2"
        assert loading.done()
        raised = loading.exception()
        assert raised is error or raised.__cause__ is error

    run(main)


@pytest.mark.deviation
def test_what_loads_may_close_the_socket_and_use_others(pairs: Any) -> None:
    """The closed socket's key went to the other one, which then never heard of its message."""
    (push, pull), (other, far) = pairs(zmq.PUSH, zmq.PULL), pairs(zmq.PUSH, zmq.PULL)
    waiting: list[Any] = []

    def load(parts: Any) -> Any:
        pull.close()
        waiting.append(far.recv())

    async def main() -> None:
        loading, last = pull.recv_serialized(load), pull.recv()
        await push.send(b"1")
        for one in (loading, last):
            with pytest.raises(asyncio.CancelledError):
                await one
        await other.send(b"2")
        assert await waiting[0] == b"2"

    run(main)


@pytest.mark.deviation  # it asks for the internals of mqcore
def test_an_interrupt_while_waiters_are_served_strands_nobody(pairs: Any) -> None:
    sockets = [pairs(zmq.PUSH, zmq.PULL) for _ in range(3)]
    loop = asyncio.new_event_loop()

    def load(parts: Any) -> Any:
        raise KeyboardInterrupt

    async def begin() -> list[Any]:
        waiting = []
        for _, pull in sockets:
            waiting += [pull.recv_serialized(load), pull.recv(), pull.recv()]
        return waiting

    async def send() -> None:
        for push, _ in sockets:
            await push.send_many([b"1", b"2", b"3"])
        await asyncio.sleep(3600)

    try:
        waiting = loop.run_until_complete(begin())
        sending = loop.create_task(send())
        for _ in sockets:
            with pytest.raises(KeyboardInterrupt):
                loop.run_until_complete(sending)
        for index in range(0, 9, 3):
            assert isinstance(waiting[index].exception(), KeyboardInterrupt)
            rest = asyncio.gather(waiting[index + 1], waiting[index + 2])
            assert loop.run_until_complete(asyncio.wait_for(rest, 10)) == [b"2", b"3"]
        sending.cancel()
        loop.run_until_complete(asyncio.wait([sending]))
    finally:
        loop.close()


@pytest.mark.deviation  # there an error keeps the frames that raised it
def test_an_error_does_not_keep_the_socket_alive(context: Any) -> None:
    async def main() -> None:
        socket = context.socket(zmq.PULL)
        socket.rcvtimeo = 10
        receiving = socket.recv()
        await asyncio.wait([receiving])
        error = receiving.exception()
        assert isinstance(error, zmq.Again)
        del receiving
        socket.close()
        there = weakref.ref(socket)
        del socket
        await turns()
        assert there() is None, gc.get_referrers(there())

    gc.disable()
    try:
        run(main)
    finally:
        gc.enable()


# Classes that derive from it.


def test_overridden_receive_is_used_by_those_that_load(pairs: Any) -> None:
    class Counting(zmq_asyncio.Socket):
        received = 0

        def recv(self, *args: Any, **kwargs: Any) -> Any:
            self.received += 1
            return super().recv(*args, **kwargs)

    push, counting = pairs(zmq.PUSH, zmq.PULL, cls=Counting)

    async def main() -> None:
        waiting = counting.recv_string()
        for text in ("a", '"b"'):
            await push.send_string(text)
        assert await waiting == "a"
        assert await counting.recv_json() == "b"
        assert counting.received == 2

    run(main)


@pytest.mark.deviation  # there it must return a future
def test_overridden_receive_may_be_a_coroutine(pairs: Any) -> None:
    class Shouting(zmq_asyncio.Socket):
        async def recv(self, *args: Any, **kwargs: Any) -> bytes:
            return (await super().recv(*args, **kwargs)).upper()

    push, loud = pairs(zmq.PUSH, zmq.PULL, cls=Shouting)

    async def main() -> None:
        for text in ("a", '"b"'):
            await push.send_string(text)
        assert await loud.recv_string() == "A"
        assert await loud.recv_json() == "B"
        waiting = loud.recv_string()
        await push.send(b"c")
        assert await waiting == "C"

    run(main)


def test_overridden_send_is_used_by_those_that_dump(pairs: Any) -> None:
    class Shouting(zmq_asyncio.Socket):
        def send(self, data: bytes, *args: Any, **kwargs: Any) -> Any:
            return super().send(data.upper(), *args, **kwargs)

    loud, pull = pairs(zmq.PUSH, zmq.PULL, cls=Shouting)

    async def main() -> None:
        await loud.send_string("a")
        await loud.send_json("b")
        assert [await pull.recv(), await pull.recv()] == [b"A", b'"B"']

    run(main)


@pytest.mark.deviation  # there the second one is loaded twice
def test_overridden_deserialize_is_used(pairs: Any) -> None:
    class Noting(zmq_asyncio.Socket):
        loaded = 0

        def _deserialize(self, recvd: Any, load: Any) -> Any:
            self.loaded += 1
            return super()._deserialize(recvd, lambda part: [load(part)])

    push, noting = pairs(zmq.PUSH, zmq.PULL, cls=Noting)

    async def main() -> None:
        await push.send(b"1")
        assert await noting.recv_json() == [1]
        waiting = noting.recv_string()
        await push.send(b"2")
        assert await waiting == ["2"]
        assert noting.loaded == 2

    run(main)


# Deprecated.


def test_a_loop_is_not_given_any_more(context: Any) -> None:
    async def main() -> None:
        with pytest.warns(DeprecationWarning, match="io_loop"):
            socket = zmq_asyncio.Socket(context, zmq.PULL, io_loop=asyncio.get_running_loop())
        with pytest.warns(DeprecationWarning, match="io_loop"):
            zmq_asyncio.Socket.from_socket(socket, io_loop=asyncio.get_running_loop())
        socket.close()

    run(main)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_its_own_loop_is_an_ordinary_one(pair: Any) -> None:
    zmq_asyncio.install()

    async def main() -> bytes:
        await pair[0].send(b"x")
        return await pair[1].recv()  # type: ignore[no-any-return]

    assert run(main, new_loop=zmq_asyncio.ZMQEventLoop) == b"x"
