"""Many messages in one call: the same order, marks and atomicity as one by one, and nothing is lost."""

from __future__ import annotations

import array
import os
import random
import signal
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import mqcore as zmq
import pytest
import zmq as pyzmq

NUMBERS = [b"%d" % number for number in range(5000)]


@pytest.fixture(params=["inproc", "ipc", "tcp"])
def pipe(request: pytest.FixtureRequest, sockets: Any) -> Any:
    """A sender and a receiver."""
    return sockets.pair(zmq.PUSH, zmq.PULL, request.param)


@pytest.fixture
def inproc(sockets: Any) -> Any:
    return sockets.pair(zmq.PUSH, zmq.PULL)


@pytest.fixture
def narrow(sockets: Any) -> Any:
    """A pair with room for ten messages."""
    return sockets.pair(zmq.PUSH, zmq.PULL, sndhwm=5, rcvhwm=5)


def receive(socket: Any, count: int, most: int = 1024) -> list[bytes]:
    """As many messages as are wanted, in batches."""
    received: list[bytes] = []
    while len(received) < count:
        batch = socket.recv_many(most)
        assert 1 <= len(batch) <= most
        received += batch
    return received


# Sending.


@pytest.mark.parametrize("make", [list, tuple, iter, lambda numbers: (one for one in numbers)])
def test_batch_arrives_whole_and_in_order(pipe: Any, background: Any, make: Any) -> None:
    sender, receiver = pipe
    sent = background(lambda: sender.send_many(make(NUMBERS)))
    assert receive(receiver, len(NUMBERS)) == NUMBERS
    assert sent() == len(NUMBERS)


@pytest.mark.parametrize("seed", range(3))
def test_however_a_stream_is_sent_and_received_it_keeps_its_order(
    pipe: Any, background: Any, seed: int
) -> None:
    """Short messages that come together are passed on together; what stands between them must not be passed by."""
    dice = random.Random(seed)
    sender, receiver = pipe
    messages = []
    for number in range(4000):
        size = dice.choice(
            [0, 1, 16, 64, 65, 255, 256, 1000, 5000, 9000 if number % 50 else 70_000]
        )
        parts = 1 if dice.random() < 0.97 else dice.randrange(2, 5)
        messages.append([b"%d" % number + bytes([65 + number % 26]) * size for _ in range(parts)])

    def send() -> None:
        rest = deque(messages)
        chance = random.Random(seed + 100)
        while rest:
            if chance.random() < 0.3:
                many = [rest.popleft() for _ in range(min(len(rest), chance.randrange(1, 300)))]
                sender.send_many([parts[0] if len(parts) == 1 else parts for parts in many])
            elif len(rest[0]) == 1:
                sender.send(rest.popleft()[0], copy=chance.random() < 0.5)
            else:
                sender.send_multipart(rest.popleft())

    sent = background(send)
    received: list[list[bytes]] = []
    while len(received) < len(messages):
        way = dice.randrange(5)
        if way == 0:
            received.append(receiver.recv_multipart())
        elif way == 1:
            frame = receiver.recv(copy=False)
            received.append([frame.bytes])
            while frame.more:
                frame = receiver.recv(copy=False)
                received[-1].append(frame.bytes)
        elif way == 2:
            received.append([receiver.recv()])
            while receiver.getsockopt(zmq.RCVMORE):
                received[-1].append(receiver.recv())
        elif way == 3:
            received += receiver.recv_many_multipart(dice.randrange(1, 500))
        else:
            with suppress(ValueError, zmq.ZMQError):  # the next one has several parts
                received += [[payload] for payload in receiver.recv_many(dice.randrange(1, 500))]
    sent()
    assert received == messages


def test_batches_and_single_messages_keep_their_order(pipe: Any) -> None:
    sender, receiver = pipe
    sender.send(b"1")
    assert sender.send_many([b"2", b"3"]) == 2
    sender.send_multipart([b"4", b"4"])
    assert sender.send_many([[b"5", b"5"], b"6"]) == 2
    sender.send(b"7")
    assert receive(receiver, 3) == [b"1", b"2", b"3"]
    assert receiver.recv_multipart() == [b"4", b"4"]
    assert receiver.recv_many_multipart(1) == [[b"5", b"5"]]
    assert receiver.recv() == b"6"
    assert receive(receiver, 1) == [b"7"]


@pytest.mark.parametrize("size", [0, 1, 64, 65, 4096, 4097, 8191, 8192, 100_000])
def test_payloads_of_every_size_arrive(pipe: Any, size: int) -> None:
    sender, receiver = pipe
    payloads = [os.urandom(size) for _ in range(20)]
    assert sender.send_many(payloads) == 20
    assert receive(receiver, 20) == payloads


def test_every_kind_of_buffer_can_be_sent(inproc: Any) -> None:
    sender, receiver = inproc
    kinds = [bytearray(b"a"), memoryview(b"b"), array.array("B", b"c"), zmq.Frame(b"d"), b"e"]
    assert sender.send_many([*kinds, [b"f"], (bytearray(b"g"), zmq.Frame(b"h"))]) == 7
    assert receiver.recv_many_multipart() == [
        [b"a"],
        [b"b"],
        [b"c"],
        [b"d"],
        [b"e"],
        [b"f"],
        [b"g", b"h"],
    ]


def test_empty_batch_sends_nothing(inproc: Any) -> None:
    sender, receiver = inproc
    for nothing in ([], (), iter([])):
        assert sender.send_many(nothing) == 0
    with pytest.raises(zmq.Again):
        receiver.recv_many(timeout=0)


def test_count_says_how_many_were_taken_before_there_was_no_room(narrow: Any) -> None:
    sender, receiver = narrow
    assert sender.send_many(NUMBERS, zmq.DONTWAIT) == 10
    with pytest.raises(zmq.Again) as caught:
        sender.send_many(NUMBERS[10:], zmq.DONTWAIT)
    assert caught.value.errno == zmq.EAGAIN
    assert receive(receiver, 10) == NUMBERS[:10]
    sender.sndtimeo = 10
    assert sender.send_many(tuple(NUMBERS[10:])) == 10
    with pytest.raises(zmq.Again):
        sender.send_many(NUMBERS[20:])
    assert receive(receiver, 10) == NUMBERS[10:20]


@pytest.mark.parametrize("flags", [0, zmq.DONTWAIT])
def test_nothing_is_taken_from_an_iterator_that_has_no_room(narrow: Any, flags: int) -> None:
    sender, receiver = narrow
    sender.sndtimeo = 10
    source = iter(NUMBERS)
    assert sender.send_many(source, flags) == 10
    with pytest.raises(zmq.Again):
        sender.send_many(source, flags)
    assert receive(receiver, 10) == NUMBERS[:10]
    assert sender.send_many(source, flags) == 10
    assert receive(receiver, 10) == NUMBERS[10:20]
    assert next(source) == NUMBERS[20]


def test_marks_hold_for_batches_over_a_network_too(sockets: Any) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, "tcp", sndhwm=10, rcvhwm=10)
    sender.sndtimeo = 200
    body = bytes(100_000)
    taken = sender.send_many([body] * 5000)
    assert 10 <= taken < 1000, "more than the marks and the kernel's buffers hold"
    assert receive(receiver, taken) == [body] * taken


@pytest.mark.parametrize("wrong", ["text", 5, None, [b"a", "text"], [], object()])
def test_all_items_of_a_list_are_checked_before_one_is_sent(inproc: Any, wrong: Any) -> None:
    sender, receiver = inproc
    with pytest.raises((TypeError, IndexError)) as caught:
        sender.send_many([b"good", wrong])
    assert caught.value.messages_sent == 0  # type: ignore[attr-defined]
    with pytest.raises(zmq.Again):
        receiver.recv(zmq.DONTWAIT)


def test_error_in_the_middle_of_an_iterator_tells_what_was_sent(inproc: Any) -> None:
    sender, receiver = inproc

    def broken() -> Iterator[bytes]:
        yield b"1"
        yield b"2"
        raise LookupError("nothing left")

    with pytest.raises(LookupError, match="nothing left") as caught:
        sender.send_many(broken())
    assert caught.value.messages_sent == 2  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="not int") as wrong:
        sender.send_many(iter([b"3", 4, b"5"]))
    assert wrong.value.messages_sent == 1  # type: ignore[attr-defined]
    assert wrong.value.unsent == 4  # type: ignore[attr-defined]
    assert receive(receiver, 3) == [b"1", b"2", b"3"]


def test_one_message_is_no_batch(inproc: Any) -> None:
    sender, _ = inproc
    for one in (b"message", bytearray(b"message"), "text", zmq.Frame(b"message")):
        with pytest.raises(TypeError, match="iterable of messages"):
            sender.send_many(one)
    with pytest.raises(TypeError):
        sender.send_many(5)
    with pytest.raises(ValueError, match="SNDMORE"):
        sender.send_many([b"x"], zmq.SNDMORE)


def test_batch_does_not_end_a_message_that_is_sent_in_parts(inproc: Any) -> None:
    sender, receiver = inproc
    sender.send(b"a", zmq.SNDMORE)
    with pytest.raises(zmq.ZMQError) as caught:
        sender.send_many([b"x"])
    assert caught.value.errno == zmq.EFSM
    sender.send(b"b")
    assert receiver.recv_multipart() == [b"a", b"b"]


def test_iterator_may_use_the_socket_itself(inproc: Any) -> None:
    sender, receiver = inproc

    def busy() -> Iterator[bytes]:
        for number in range(3):
            sender.send(b"own %d" % number)
            yield b"%d" % number

    assert sender.send_many(busy()) == 3
    assert receive(receiver, 6) == [b"own 0", b"0", b"own 1", b"1", b"own 2", b"2"]


def test_types_keep_their_states(sockets: Any) -> None:
    request, reply = sockets.pair(zmq.REQ, zmq.REP)
    with pytest.raises(zmq.ZMQError) as caught:
        request.send_many([b"1", b"2"])
    assert caught.value.errno == zmq.EFSM
    assert caught.value.messages_sent == 1
    assert reply.recv_many() == [b"1"]
    reply.send(b"answer")
    assert request.recv_many() == [b"answer"]
    for wrong in (lambda: sockets(zmq.PULL).send_many([b"x"]), sockets(zmq.PUSH).recv_many):
        with pytest.raises(zmq.ZMQError) as caught:
            wrong()
        assert caught.value.errno == zmq.ENOTSUP


def test_messages_of_a_batch_go_to_the_peers_in_turn(sockets: Any) -> None:
    sender = sockets(zmq.PUSH)
    receivers = [sockets(zmq.PULL) for _ in range(3)]
    for number, receiver in enumerate(receivers):
        receiver.bind(f"inproc://{number}")
        sender.connect(f"inproc://{number}")
    assert sender.send_many(NUMBERS[:9]) == 9
    assert [receiver.recv_many() for receiver in receivers] == [
        NUMBERS[start:9:3] for start in range(3)
    ]


def test_published_batch_reaches_who_subscribed(sockets: Any) -> None:
    publisher, subscriber = sockets(zmq.XPUB), sockets(zmq.SUB)
    publisher.bind("tcp://127.0.0.1:*")
    subscriber.subscribe(b"a")
    subscriber.connect(publisher.last_endpoint)
    assert publisher.recv() == b"\x01a"
    assert publisher.send_many([b"a1", b"b1", [b"a2", b"x"], b"a3"]) == 4
    assert [subscriber.recv_multipart() for _ in range(3)] == [[b"a1"], [b"a2", b"x"], [b"a3"]]


def test_router_routes_each_message_of_a_batch(sockets: Any) -> None:
    router = sockets(zmq.ROUTER, router_mandatory=1)
    router.bind("inproc://router")
    dealers = []
    for name in (b"a", b"b"):
        dealers.append(sockets(zmq.DEALER, routing_id=name))
        dealers[-1].connect("inproc://router")
        dealers[-1].send(b"hello")
    assert sorted(router.recv_many_multipart() + []) == [[b"a", b"hello"], [b"b", b"hello"]]
    assert router.send_many([[b"a", b"1"], [b"b", b"2"], [b"a", b"3"]]) == 3
    with pytest.raises(zmq.ZMQError) as caught:
        router.send_many([[b"b", b"4"], [b"nobody", b"5"]])
    assert (caught.value.errno, caught.value.messages_sent) == (zmq.EHOSTUNREACH, 1)
    assert dealers[0].recv_many() == [b"1", b"3"]
    assert dealers[1].recv_many() == [b"2", b"4"]


# Receiving.


def test_batch_has_what_is_there_and_no_more_than_asked_for(inproc: Any) -> None:
    sender, receiver = inproc
    sender.send_many(NUMBERS[:10])
    assert receiver.recv_many(4) == NUMBERS[:4]
    assert receiver.recv_many(max=1) == NUMBERS[4:5]
    assert receiver.recv_many() == NUMBERS[5:10]
    for wrong, error in ((0, ValueError), (-1, ValueError)):
        with pytest.raises(error):
            receiver.recv_many(wrong)


def test_receiver_waits_for_the_first_message_only(pipe: Any, background: Any) -> None:
    sender, receiver = pipe
    received = background(receiver.recv_many)
    sender.send(b"only")
    assert received() == [b"only"]


def test_timeout_is_the_argument_or_the_option(inproc: Any) -> None:
    _, receiver = inproc
    receiver.rcvtimeo = 0
    for call in (receiver.recv_many, receiver.recv_many_multipart):
        for arguments in ({}, {"timeout": 0}, {"timeout": 0.5}, {"timeout": 10}):
            with pytest.raises(zmq.Again):
                call(**arguments)


def test_message_of_several_parts_ends_a_batch_and_stays(inproc: Any) -> None:
    sender, receiver = inproc
    sender.send_many([b"1", [b"2", b"2"], b"3"])
    assert receiver.recv_many() == [b"1"]
    for _ in range(2):
        with pytest.raises(zmq.ZMQError, match="2 parts.*recv_many_multipart") as caught:
            receiver.recv_many()
        assert caught.value.errno == zmq.EINVAL
        assert receiver.poll(0) == zmq.POLLIN
        assert receiver.rcvmore == 0
    assert receiver.recv() == b"2"
    assert receiver.rcvmore == 1
    with pytest.raises(zmq.ZMQError, match="1 part"):
        receiver.recv_many()
    assert receiver.recv_many_multipart() == [[b"2"], [b"3"]]


def test_iteration_over_batches_ends_when_nothing_comes(inproc: Any) -> None:
    sender, receiver = inproc
    sender.send_many(NUMBERS[:10])
    assert list(receiver.batches(4, timeout=0)) == [NUMBERS[:4], NUMBERS[4:8], NUMBERS[8:10]]
    sender.send_many([[b"a", b"b"], b"c"])
    assert list(receiver.batches(timeout=0, multipart=True)) == [[[b"a", b"b"], [b"c"]]]
    sender.send_multipart([b"a", b"b"])
    with pytest.raises(zmq.ZMQError):
        next(receiver.batches())


def test_iteration_over_batches_goes_on_while_something_comes(pipe: Any, background: Any) -> None:
    sender, receiver = pipe
    sent = background(lambda: sender.send_many([*NUMBERS, b"end"]))
    received: list[bytes] = []
    for batch in receiver.batches():
        received += batch
        if received[-1] == b"end":
            break
    assert received == [*NUMBERS, b"end"]
    assert sent() == len(received)


def test_close_ends_a_wait(sockets: Any, background: Any) -> None:
    for wait in (lambda s: s.recv_many(), lambda s: s.send_many([b"x"])):
        socket = sockets(zmq.DEALER)
        ended = background(lambda wait=wait, socket=socket: wait(socket))
        socket.close()
        with pytest.raises(zmq.ZMQError) as caught:
            ended()
        assert caught.value.errno == zmq.ENOTSOCK


def test_threads_that_share_sockets_lose_and_double_nothing(pipe: Any, background: Any) -> None:
    sender, receiver = pipe
    parts = [NUMBERS[start::4] for start in range(4)]
    senders = [background(lambda part=part: sender.send_many(part)) for part in parts[:2]]
    senders += [background(lambda part=part: sender.send_many(iter(part))) for part in parts[2:]]

    def take() -> list[bytes]:
        taken: list[bytes] = []
        for batch in receiver.batches(100):
            if b"end" in batch:
                return taken + batch
            taken += batch
        raise AssertionError("nothing came")

    receivers = [background(take) for _ in range(2)]
    assert [sent() for sent in senders] == [len(part) for part in parts]
    while any(thread.is_alive() for thread in background.threads):
        with suppress(zmq.Again):  # one of the two may take several, or end and leave the rest
            sender.send(b"end", zmq.DONTWAIT)
    received = [number for taken in receivers for number in taken()]
    assert sorted(one for one in received if one != b"end") == sorted(NUMBERS)


# Signals.


class Interrupted(Exception):
    """Raised by a signal handler."""


@pytest.fixture
def interrupt() -> Iterator[Any]:
    """Raises in the main thread in a moment."""

    def handler(number: int, frame: Any) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, handler)
    yield lambda: signal.setitimer(signal.ITIMER_REAL, 0.05)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("make", [list, iter])
def test_signal_while_sending_loses_nothing(narrow: Any, interrupt: Any, make: Any) -> None:
    sender, receiver = narrow
    source = make(NUMBERS)
    interrupt()
    with pytest.raises(Interrupted) as caught:
        sender.send_many(source)
    assert caught.value.messages_sent == 10  # type: ignore[attr-defined]
    assert receive(receiver, 10) == NUMBERS[:10]
    rest = source if make is iter else source[10:]
    assert sender.send_many(rest, zmq.DONTWAIT) == 10
    assert receive(receiver, 10) == NUMBERS[10:20]


def test_signal_while_receiving_loses_nothing(inproc: Any, interrupt: Any) -> None:
    sender, receiver = inproc
    for call in (receiver.recv_many, receiver.recv_many_multipart):
        interrupt()
        with pytest.raises(Interrupted):
            call()
    sender.send_many(NUMBERS[:3])
    assert receiver.recv_many() == NUMBERS[:3]


# Other peers.


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_batches_to_and_from_pyzmq(sockets: Any, background: Any, transport: str) -> None:
    address = "tcp://127.0.0.1:*" if transport == "tcp" else "ipc://*"
    messages = [[number] if index % 3 else [number, b""] for index, number in enumerate(NUMBERS)]
    with pyzmq.Context() as context, context.socket(pyzmq.DEALER) as other:
        other.rcvtimeo = other.sndtimeo = 10_000
        other.linger = 0
        ours = sockets(zmq.DEALER)
        ours.bind(address)
        other.connect(ours.last_endpoint)
        sent = background(lambda: ours.send_many(messages))
        assert [other.recv_multipart() for _ in messages] == messages
        assert sent() == len(messages)
        answered = background(lambda: [other.send_multipart(message) for message in messages])
        received: list[list[bytes]] = []
        while len(received) < len(messages):
            received += ours.recv_many_multipart(100)
        assert received == messages
        answered()
