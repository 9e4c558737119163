"""Sockets for asyncio: what is cancelled takes nothing and leaves nothing, and what ends tells everybody."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from peers.loops import (  # noqa: F401
    context_fixture,
    full,
    pair_fixture,
    pairs_fixture,
    run,
    turns,
    zmq,
    zmq_asyncio,
)

RECEIVERS: dict[str, Any] = {
    "recv": lambda s: s.recv(),
    "recv_multipart": lambda s: s.recv_multipart(),
    "recv_into": lambda s: s.recv_into(bytearray(1)),
    "recv_string": lambda s: s.recv_string(),
    "recv_json": lambda s: s.recv_json(),
    "recv_serialized": lambda s: s.recv_serialized(len),
    "poll": lambda s: s.poll(),
}
BATCHES: dict[str, Any] = {
    "recv_many": lambda s: s.recv_many(),
    "recv_many_multipart": lambda s: s.recv_many_multipart(),
    "anext": lambda s: s.__anext__(),
}
ALL = [
    *RECEIVERS,
    *[pytest.param(name, marks=pytest.mark.deviation) for name in BATCHES],
]


CAREFUL = [
    pytest.param(name, marks=pytest.mark.deviation)
    if name in {*BATCHES, "recv_string", "recv_json", "recv_serialized"}  # these drop it there
    else name
    for name in {**RECEIVERS, **BATCHES}
]


def receive(name: str, socket: Any) -> Any:
    return asyncio.ensure_future({**RECEIVERS, **BATCHES}[name](socket))


# Receives.


@pytest.mark.parametrize("name", CAREFUL)
def test_a_cancelled_receive_takes_no_message(pair: Any, name: str) -> None:
    push, pull = pair

    async def main() -> None:
        waiting = receive(name, pull)
        await turns()
        waiting.cancel()
        await push.send(b"1")
        assert await pull.recv() == b"1"
        await turns()
        assert waiting.cancelled() and not pull._recv_futures

    run(main)


@pytest.mark.deviation  # there those that load may take the message and drop it
@pytest.mark.parametrize("name", [*RECEIVERS, "recv_many", "recv_many_multipart"])
def test_a_receive_cancelled_at_any_turn_takes_the_message_or_leaves_it(
    pair: Any, name: str
) -> None:
    push, pull = pair

    async def main() -> None:
        for number in range(6):
            waiting = receive(name, pull)
            zmq.Socket.shadow(push.underlying).send(b"1")
            await turns(number)
            waiting.cancel()
            await turns()
            assert waiting.done()
            if waiting.cancelled() or name == "poll":
                assert pull.recv().result() == b"1"
            assert not await pull.poll(0)

    run(main)


def test_next_receiver_gets_what_a_cancelled_one_left(pair: Any) -> None:
    push, pull = pair

    async def main() -> None:
        waiting = [pull.recv() for _ in range(5)]
        for index in (0, 3):
            waiting[index].cancel()
        for number in range(3):
            await push.send(b"%d" % number)
        assert [await waiting[index] for index in (1, 2, 4)] == [b"0", b"1", b"2"]

    run(main)


@pytest.mark.parametrize("name", ALL)
def test_wait_for_leaves_nothing_behind(pair: Any, name: str) -> None:
    push, pull = pair

    async def main() -> None:
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(receive(name, pull), 0.01)
            await turns()
            assert not pull._recv_futures
        await push.send(b"1")
        assert await asyncio.wait_for(pull.recv(), 10) == b"1"

    run(main)


def test_a_receive_that_is_done_cannot_be_cancelled(pair: Any) -> None:
    async def main() -> None:
        await pair[0].send(b"1")
        receiving = pair[1].recv()
        assert not receiving.cancel() and await receiving == b"1"

    run(main)


@pytest.mark.deviation  # it asks for the internals of mqcore
def test_cancelled_polls_are_forgotten(pair: Any) -> None:
    push, pull = pair

    async def main() -> None:
        for _ in range(10):
            pull.poll().cancel()
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(pull.poll(10_000), 0.001)
        await turns()
        assert not pull._waiting.everybody()

    run(main)


def test_a_poll_cancelled_just_when_it_is_served_disturbs_nobody(pair: Any) -> None:
    """It was given a result although it was cancelled, and who came after it was not told."""
    push, pull = pair

    async def main() -> None:
        loop = asyncio.get_running_loop()
        first, second = pull.poll(), pull.poll()
        await turns()
        await push.send(b"1")
        loop.call_soon(first.cancel)
        assert await second == zmq.POLLIN

    run(main)


# Sends.


@pytest.mark.parametrize("name", ["send", "send_multipart"])
def test_a_cancelled_send_sends_nothing(pairs: Any, name: str) -> None:
    push, pull = pairs(zmq.PUSH, zmq.PULL, sndhwm=1, rcvhwm=1)

    async def main() -> None:
        taken = full(push)
        waiting = push.send(b"no") if name == "send" else push.send_multipart([b"no", b"no"])
        after = push.send(b"yes")
        await turns()
        assert waiting.cancel()
        for _ in range(taken):
            await pull.recv()
        assert await pull.recv_multipart() == [b"yes"]
        await after
        assert not await pull.poll(10)
        assert not push._send_futures

    run(main)


def test_a_send_whose_time_is_up_sends_nothing(pairs: Any) -> None:
    push, pull = pairs(zmq.PUSH, zmq.PULL, sndhwm=1, rcvhwm=1)

    async def main() -> None:
        taken = full(push)
        push.sndtimeo = 10
        with pytest.raises(zmq.Again):
            await push.send(b"no")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(push.send(b"no"), 0.001)
        for number in range(taken):
            assert await pull.recv() == b"%d" % number
        assert not await pull.poll(10)

    run(main)


@pytest.mark.deviation
def test_a_cancelled_batch_has_sent_what_was_taken(pairs: Any) -> None:
    push, pull = pairs(zmq.PUSH, zmq.PULL, sndhwm=2, rcvhwm=2)

    async def main() -> None:
        waiting = push.send_many([b"%d" % number for number in range(100)])
        await turns()
        assert waiting.cancel()
        got = 0
        while await pull.poll(10):
            assert await pull.recv() == b"%d" % got
            got += 1
        assert 0 < got < 100

    run(main)


# Its end.


def test_closing_cancels_who_receives_and_who_sends(pair: Any, context: Any) -> None:
    async def main() -> None:
        lonely = context.socket(zmq.PUSH)
        waiting = [pair[1].recv(), pair[1].recv_multipart(), lonely.send(b"x")]
        await turns()
        pair[1].close()
        lonely.close()
        for one in waiting:
            with pytest.raises(asyncio.CancelledError):
                await one

    run(main)


@pytest.mark.deviation  # there some wait for ever
def test_closing_cancels_everybody(pair: Any, context: Any) -> None:
    push, pull = pair
    lonely = context.socket(zmq.PUSH)

    async def main() -> None:
        receiving = [call(pull) for call in RECEIVERS.values()]
        sending = [lonely.send(b"x"), lonely.send_multipart([b"x"])]
        await turns()
        pull.close()
        lonely.close()
        for one in (*receiving, *sending):
            with pytest.raises(asyncio.CancelledError):
                await one
        await turns()
        assert not pull._recv_futures and not lonely._send_futures

    run(main)


@pytest.mark.deviation  # there it depends
def test_send_after_the_close_says_so_also_if_others_waited(context: Any) -> None:
    lonely = context.socket(zmq.PUSH)

    async def main() -> None:
        waiting = lonely.send(b"x")
        lonely.close()
        sending = lonely.send(b"x")
        assert sending.done() and sending.exception().errno == zmq.ENOTSOCK
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run(main)


@pytest.mark.deviation
def test_closing_from_another_thread_cancels_everybody(pair: Any, context: Any) -> None:
    push, pull = pair
    lonely = context.socket(zmq.PUSH)

    async def main() -> None:
        waiting = [*(call(pull) for call in RECEIVERS.values()), lonely.send(b"x")]
        await turns()
        await asyncio.to_thread(lambda: (pull.close(), lonely.close()))
        for one in waiting:
            with pytest.raises(asyncio.CancelledError):
                await one

    run(main)


@pytest.mark.deviation
def test_closing_another_face_of_it_ends_what_waits(pair: Any) -> None:
    push, pull = pair
    face = zmq.Socket.shadow(pull.underlying)

    async def main() -> None:
        waiting = [call(pull) for call in RECEIVERS.values()]
        await turns()
        await asyncio.to_thread(face.close)
        for one in waiting:
            with pytest.raises(zmq.ZMQError) as caught:
                await one
            assert caught.value.errno in (zmq.ENOTSOCK, zmq.ENOTSUP)  # the latter from a poll
        assert pull.closed

    run(main)


@pytest.mark.deviation
def test_end_of_the_context_is_told_to_everybody(background: Any) -> None:
    context = zmq_asyncio.Context()
    pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)

    async def main() -> None:
        waiting = [*(call(pull) for call in RECEIVERS.values()), push.send(b"x")]
        await turns()
        joined.append(background(context.term))
        for one in waiting:
            with pytest.raises(zmq.ContextTerminated):
                await one
        for call in (pull.recv, lambda: push.send(b"x"), pull.poll):
            with pytest.raises(zmq.ContextTerminated):
                await call()
        pull.close()
        push.close()

    joined: list[Any] = []
    run(main)
    joined[0]()


# All of it at once.


@pytest.mark.deviation  # there some is lost
def test_nothing_is_lost_or_out_of_order_whatever_is_cancelled(context: Any) -> None:
    """Senders and receivers that change their minds at random; what was not cancelled counts."""
    chance = random.Random(1)
    senders, per_sender = 4, 400
    sent: dict[int, list[int]] = {number: [] for number in range(senders)}
    got: dict[int, list[int]] = {number: [] for number in range(senders)}

    async def send(number: int, socket: Any) -> None:
        for count in range(per_sender):
            text = b"%d %d" % (number, count)
            way = chance.randrange(3)
            if way == 0:
                sending = socket.send(text)
            elif way == 1:
                sending = socket.send_multipart([text])
            else:
                sending = socket.send_many([text])
            if chance.random() < 0.3:
                await turns(chance.randrange(3))
                sending.cancel()
            try:
                await sending
            except asyncio.CancelledError:
                continue
            sent[number].append(count)

    async def receive(socket: Any) -> None:
        while not ended:
            way = chance.randrange(5)
            if way == 0:
                receiving = socket.recv()
            elif way == 1:
                receiving = socket.recv_string()
            elif way == 2:
                receiving = socket.recv_multipart()
            elif way == 3:
                receiving = socket.recv_many(chance.randrange(1, 4))
            else:
                receiving = socket.poll()
            if way != 4:
                receiving.add_done_callback(note)
            if chance.random() < 0.5:
                await turns(chance.randrange(3))
                receiving.cancel()
            await asyncio.wait([receiving])

    def note(received: Any) -> None:
        """Called in the order in which futures are settled."""
        if received.cancelled():
            return
        result = received.result()
        for text in result if isinstance(result, list) else [result]:
            number, count = map(int, text.split())
            got[number].append(count)

    ended = False

    async def main() -> None:
        nonlocal ended
        pull = context.socket(zmq.PULL)
        pull.rcvhwm = 2
        pull.bind("inproc://all")
        tcp = pull.bind("tcp://127.0.0.1:*").addr
        pushes = []
        for number in range(senders):
            push = context.socket(zmq.PUSH)
            push.sndhwm = 2
            push.connect("inproc://all" if number % 2 else tcp)
            pushes.append(push)
        receivers = [asyncio.create_task(receive(pull)) for _ in range(3)]
        await asyncio.gather(*(send(number, push) for number, push in enumerate(pushes)))
        while got != sent:
            await asyncio.sleep(0.01)
            assert all(len(got[number]) <= len(sent[number]) for number in sent)
        ended = True
        for one in receivers:
            one.cancel()
        await asyncio.wait(receivers)

    run(main)
    assert got == sent
