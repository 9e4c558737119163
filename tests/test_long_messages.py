"""Long messages, which the sending thread writes and the waiting thread reads by itself: nobody sees that from outside.

Order, content and high-water marks are those of short messages, and whoever looks for the next one finds it.
"""

from __future__ import annotations

import asyncio
import random
import select
import socket as plain_sockets
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from peers.long_messages import KIB, LONG, MIB, exchange, long_stream, number_of, numbered
from peers.loops import run, zmq_asyncio
from peers.subject import is_ours, zmq
from peers.waiting import A_WHILE, bind_when_free, eventually

if is_ours:  # the reference keeps a context of its own, once something was sent without a copy
    from peers.fixtures import nothing_left_behind  # noqa: F401

DEADLINE = 10.0
DEADLINE_MS = 10_000

everywhere = pytest.mark.parametrize("transport", ["inproc", "ipc", "tcp"])
over_streams = pytest.mark.parametrize("transport", ["ipc", "tcp"])


# Streams.


def send_by_parts(socket: Any, parts: list[bytes]) -> None:
    for part in parts[:-1]:
        socket.send(part, zmq.SNDMORE)
    socket.send(parts[-1])


def send_at_once(socket: Any, parts: list[bytes]) -> None:
    while True:
        try:
            return socket.send_multipart(parts, zmq.DONTWAIT)  # type: ignore[no-any-return]
        except zmq.Again:
            assert socket.poll(DEADLINE_MS, zmq.POLLOUT)


def receive_by_parts(socket: Any) -> list[bytes]:
    parts = [socket.recv()]
    while socket.get(zmq.RCVMORE):
        parts.append(socket.recv())
    return parts


def receive_into(socket: Any) -> list[bytes]:
    buffer = bytearray(6 * MIB)
    size = socket.recv_into(buffer)
    rest = socket.recv_multipart() if socket.get(zmq.RCVMORE) else []
    return [bytes(buffer[:size]), *rest]


def receive_after_poll(socket: Any) -> list[bytes]:
    assert socket.poll(DEADLINE_MS)
    return socket.recv_multipart(zmq.DONTWAIT)  # type: ignore[no-any-return]


def receive_at_once(socket: Any) -> list[bytes]:
    """By looking again and again."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        try:
            return socket.recv_multipart(zmq.DONTWAIT)  # type: ignore[no-any-return]
        except zmq.Again:
            pass
    raise AssertionError("nothing came")


SENDS: list[Callable[[Any, list[bytes]], Any]] = [
    lambda socket, parts: socket.send_multipart(parts),
    lambda socket, parts: socket.send_multipart(parts, copy=False),
    send_by_parts,
    send_at_once,
]
RECEIVES: list[Callable[[Any], list[bytes]]] = [
    lambda socket: socket.recv_multipart(),
    lambda socket: [frame.bytes for frame in socket.recv_multipart(copy=False)],
    receive_by_parts,
    receive_into,
    receive_after_poll,
    receive_at_once,
]


@everywhere
@pytest.mark.parametrize("hwm", [2, 1000])
@pytest.mark.parametrize("kinds", ["PUSH PULL", "DEALER ROUTER", "PAIR PAIR"])
def test_messages_of_mixed_lengths_arrive_whole_and_in_order_however_they_are_sent_and_received(
    sockets: Any, background: Any, transport: str, hwm: int, kinds: str
) -> None:
    a, b = (getattr(zmq, kind) for kind in kinds.split())
    sender, receiver = sockets.pair(a, b, transport, hwm=hwm)
    count = 150
    ways = random.Random(1)

    def send() -> None:
        ways = random.Random(2)
        for message in long_stream(hwm, count):
            ways.choice(SENDS)(sender, message)

    join = background(send)
    for message in long_stream(hwm, count):
        received = ways.choice(RECEIVES)(receiver)
        assert received[len(received) - len(message) :] == message
    join()
    assert receiver.poll(0) == 0


@everywhere
@pytest.mark.parametrize("kind", ["PAIR", "DEALER"])
@pytest.mark.parametrize("size, count", [(LONG, 200), (MIB, 20)])
def test_both_sides_may_send_much_before_they_receive(
    sockets: Any, background: Any, transport: str, kind: str, size: int, count: int
) -> None:
    ends = sockets.pair(getattr(zmq, kind), getattr(zmq, kind), transport)
    barrier = threading.Barrier(2)

    def send_and_receive(socket: Any) -> None:
        barrier.wait(DEADLINE)
        for number in range(count):
            socket.send(numbered(number, size))
        barrier.wait(DEADLINE)
        for number in range(count):
            assert socket.recv() == numbered(number, size)

    joins = [background(lambda end=end: send_and_receive(end)) for end in ends]
    for join in joins:
        join()


@everywhere
def test_one_thread_may_send_much_through_both_ends_before_it_receives(
    sockets: Any, transport: str
) -> None:
    ends = sockets.pair(zmq.PAIR, zmq.PAIR, transport)
    for end in ends:
        for number in range(200):
            end.send(numbered(number))
    for end in ends:
        for number in range(200):
            assert end.recv() == numbered(number)


@everywhere
def test_long_questions_and_answers(sockets: Any, background: Any, transport: str) -> None:
    client, server = sockets.pair(zmq.REQ, zmq.REP, transport)

    def serve() -> None:
        for _ in range(100):
            server.send(server.recv()[::-1])

    join = background(serve)
    for number in range(100):
        client.send(numbered(number))
        assert client.recv() == numbered(number)[::-1]
    join()


@everywhere
def test_each_subscriber_gets_every_long_message(
    sockets: Any, background: Any, transport: str
) -> None:
    subscriber, publisher = sockets.pair(zmq.SUB, zmq.PUB, transport)
    subscribers = [subscriber, sockets(zmq.SUB), sockets(zmq.SUB)]
    for other in subscribers[1:]:
        other.connect(publisher.last_endpoint)
    for each in subscribers:
        each.subscribe(b"")

    def arrives(socket: Any) -> Any:
        publisher.send(b"probe")
        return socket.poll(20)

    for each in subscribers:
        eventually(lambda each=each: arrives(each))
    publisher.send(b"start")

    def receive(socket: Any) -> None:
        while socket.recv() != b"start":
            pass
        for message in long_stream(3, 100):
            assert socket.recv_multipart() == message

    joins = [background(lambda each=each: receive(each)) for each in subscribers]
    for message in long_stream(3, 100):
        publisher.send_multipart(message)
    for join in joins:
        join()


@everywhere
@pytest.mark.parametrize("size", [10, LONG])
@pytest.mark.parametrize("kinds", ["PUSH PULL", "DEALER DEALER", "PAIR PAIR", "PUB SUB"])
def test_conflate_keeps_no_message_back(
    sockets: Any, transport: str, kinds: str, size: int
) -> None:
    a, b = (getattr(zmq, kind) for kind in kinds.split())
    sender, receiver = sockets.pair(a, b, transport, conflate=1)
    if b == zmq.SUB:
        receiver.subscribe(b"")

        def probe_arrives() -> Any:
            sender.send(b"probe")
            return receiver.poll(20)

        eventually(probe_arrives)
    for number in range(5):
        sender.send(numbered(number, size))
        while (message := receiver.recv()) == b"probe":
            pass
        assert message == numbered(number, size)


@pytest.mark.deviation  # over inproc the reference now and then forgets the last one
@everywhere
def test_conflate_keeps_the_last_of_many_long_messages(
    sockets: Any, background: Any, transport: str
) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, transport, conflate=1)
    seen = -1
    for first in range(0, 200, 20):

        def send(first: int = first) -> None:
            for number in range(first, first + 20):
                sender.send(numbered(number))

        join = background(send)
        while seen < first + 19:
            number = number_of(receiver.recv())
            assert number > seen
            seen = number
        join()


@over_streams
def test_a_second_peer_is_heard_while_the_first_one_sends_long_messages(
    sockets: Any, background: Any, transport: str
) -> None:
    first, receiver = sockets.pair(zmq.PUSH, zmq.PULL, transport)
    exchange(first, receiver, background, 0, 20)
    second = sockets(zmq.PUSH)

    def connect_and_send() -> None:
        second.connect(receiver.last_endpoint)
        second.send(numbered(20))

    join = background(connect_and_send)
    assert receiver.recv() == numbered(20)
    join()
    joins = [
        background(lambda: [first.send(numbered(n)) for n in range(0, 200, 2)]),
        background(lambda: [second.send(numbered(n)) for n in range(1, 200, 2)]),
    ]
    found = [number_of(receiver.recv()) for _ in range(200)]
    for parity in (0, 1):
        assert [n for n in found if n % 2 == parity] == list(range(parity, 200, 2))
    for join in joins:
        join()


# High-water marks and timeouts.


@pytest.mark.parametrize("size", [10, LONG])
@pytest.mark.parametrize("timeout", [None, 0, 20])
def test_long_messages_are_counted_as_short_ones_are(
    sockets: Any, size: int, timeout: int | None
) -> None:
    """Without a timeout by NOBLOCK."""
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, hwm=10)
    if timeout is not None:
        sender.sndtimeo = timeout
    taken = 0
    with pytest.raises(zmq.Again):
        while True:
            sender.send(numbered(taken, size), zmq.DONTWAIT if timeout is None else 0)
            taken += 1
    assert taken == 20
    assert [receiver.recv() for _ in range(20)] == [numbered(n, size) for n in range(20)]


@pytest.mark.parametrize("size", [10, LONG])
def test_without_a_peer_as_many_long_messages_wait_as_short_ones(sockets: Any, size: int) -> None:
    with plain_sockets.socket() as taken_port:
        taken_port.bind(("127.0.0.1", 0))  # and does not listen
        endpoint = f"tcp://127.0.0.1:{taken_port.getsockname()[1]}"
        sender = sockets(zmq.PUSH, sndhwm=10)
        sender.connect(endpoint)
        for number in range(10):
            sender.send(numbered(number, size), zmq.DONTWAIT)
        with pytest.raises(zmq.Again):
            sender.send(b"x", zmq.DONTWAIT)
    receiver = sockets(zmq.PULL)
    bind_when_free(receiver, endpoint)
    assert [receiver.recv() for _ in range(10)] == [numbered(n, size) for n in range(10)]


@over_streams
@pytest.mark.parametrize("size", [10, LONG, MIB])
@pytest.mark.parametrize("has_read", [0, 10])
def test_a_blocking_sender_gets_as_far_as_the_high_water_marks_though_nobody_reads(
    sockets: Any, background: Any, transport: str, size: int, has_read: int
) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, transport, hwm=10)
    exchange(sender, receiver, background, 0, has_read)
    for number in range(20):
        sender.send(numbered(number, size))
    assert [receiver.recv() for _ in range(20)] == [numbered(n, size) for n in range(20)]


@over_streams
def test_a_receiver_that_does_not_come_back_does_not_hold_up_the_sender(
    sockets: Any, background: Any, transport: str
) -> None:
    """Neither the sender nor the kernel has room for what is sent."""
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, transport, sndhwm=1)
    for first in (0, 400):
        exchange(sender, receiver, background, first, 5)
        for number in range(first + 5, first + 400):
            sender.send(numbered(number))
        for number in range(first + 5, first + 400):
            assert receiver.recv() == numbered(number)


@everywhere
@pytest.mark.parametrize("milliseconds", [0, 1, 5])
def test_short_timeouts_lose_nothing(
    sockets: Any, background: Any, transport: str, milliseconds: int
) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, transport, hwm=2)
    sender.sndtimeo = receiver.rcvtimeo = milliseconds
    end = time.monotonic() + DEADLINE

    def patiently(call: Callable[[], Any]) -> Any:
        while True:
            try:
                return call()
            except zmq.Again:
                assert time.monotonic() < end

    def send() -> None:
        for message in long_stream(milliseconds, 100):
            patiently(lambda message=message: sender.send_multipart(message))

    join = background(send)
    for message in long_stream(milliseconds, 100):
        assert patiently(receiver.recv_multipart) == message
    join()


@everywhere
def test_trackers_of_long_messages_are_done(sockets: Any, background: Any, transport: str) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, transport)

    def send() -> list[Any]:
        sizes = [LONG, MIB, 5 * MIB] * 5
        return [
            sender.send(numbered(number, size), copy=False, track=True)
            for number, size in enumerate(sizes)
        ]

    join = background(send)
    for number in range(15):
        assert number_of(receiver.recv()) == number
    for tracker in join():
        tracker.wait(DEADLINE)
        assert tracker.done


# Who looks for the next message after calls that waited.


def by_zmq_poll(socket: Any) -> bytes:
    assert zmq.zmq_poll([(socket, zmq.POLLIN)], DEADLINE_MS) == [(socket, zmq.POLLIN)]
    return socket.recv(zmq.DONTWAIT)  # type: ignore[no-any-return]


def by_poller(socket: Any) -> bytes:
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    assert poller.poll(DEADLINE_MS) == [(socket, zmq.POLLIN)]
    return socket.recv(zmq.DONTWAIT)  # type: ignore[no-any-return]


def by_events(socket: Any) -> bytes:
    end = time.monotonic() + DEADLINE
    while not socket.get(zmq.EVENTS) & zmq.POLLIN:
        assert time.monotonic() < end
    return socket.recv(zmq.DONTWAIT)  # type: ignore[no-any-return]


def by_select(socket: Any) -> bytes:
    """As a loop of somebody else watches it."""
    fd = socket.get(zmq.FD)
    while not socket.get(zmq.EVENTS) & zmq.POLLIN:
        assert select.select([fd], [], [], DEADLINE)[0] == [fd]
    return socket.recv(zmq.DONTWAIT)  # type: ignore[no-any-return]


def by_asyncio(socket: Any) -> bytes:
    async def receive() -> bytes:
        face = zmq_asyncio.Socket(socket.context, shadow=socket.underlying)
        return await asyncio.wait_for(face.recv(), DEADLINE)  # type: ignore[no-any-return]

    return run(receive)  # type: ignore[no-any-return]


def by_asyncio_poll(socket: Any) -> bytes:
    async def receive() -> bytes:
        face = zmq_asyncio.Socket(socket.context, shadow=socket.underlying)
        assert await face.poll(DEADLINE_MS) == zmq.POLLIN
        return socket.recv(zmq.DONTWAIT)  # type: ignore[no-any-return]

    return run(receive)  # type: ignore[no-any-return]


def by_another_thread(socket: Any) -> bytes:
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(socket.recv()))
    thread.start()
    thread.join(DEADLINE)
    return found[0]


LOOKS: dict[str, Callable[[Any], bytes]] = {
    "recv": lambda socket: socket.recv(),
    "poll": lambda socket: receive_after_poll(socket)[0],
    "NOBLOCK": lambda socket: receive_at_once(socket)[0],
    "Poller": by_poller,
    "zmq_poll": by_zmq_poll,
    "EVENTS": by_events,
    "select": by_select,
    "asyncio": by_asyncio,
    "asyncio poll": by_asyncio_poll,
    "another thread": by_another_thread,
}


@over_streams
@pytest.mark.parametrize("size", [10, LONG, MIB])
@pytest.mark.parametrize("look", LOOKS)
def test_the_next_message_is_found_however_one_looks_for_it(
    sockets: Any, background: Any, transport: str, size: int, look: str
) -> None:
    for _ in range(2):  # a fresh socket each time: nobody has looked otherwise yet
        sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, transport)
        for number in (0, 1):
            exchange(sender, receiver, background, 10, 5)
            sender.send(numbered(number, size))
            assert LOOKS[look](receiver) == numbered(number, size)
        for number in (2, 3):
            exchange(sender, receiver, background, 10, 5)
            join = background(partial(sender.send, numbered(number, size)))
            assert LOOKS[look](receiver) == numbered(number, size)
            join()
        sender.close()
        receiver.close()


@over_streams
def test_a_poll_of_two_sockets_finds_the_next_message_of_either(
    sockets: Any, background: Any, transport: str
) -> None:
    pairs = [sockets.pair(zmq.PUSH, zmq.PULL, transport) for _ in range(2)]
    poller = zmq.Poller()
    for _, receiver in pairs:
        poller.register(receiver, zmq.POLLIN)
    for number in range(20):
        for sender, receiver in pairs:
            exchange(sender, receiver, background, number, 3)
            sender.send(numbered(number))
            assert poller.poll(DEADLINE_MS) == [(receiver, zmq.POLLIN)]
            assert receiver.recv() == numbered(number)


@over_streams
def test_heartbeats_are_answered_while_nobody_comes_back_for_the_next_message(
    sockets: Any, background: Any, transport: str
) -> None:
    beats = {"heartbeat_ivl": 50, "heartbeat_timeout": 1000}
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, transport, **beats)
    exchange(sender, receiver, background, 0, 10)
    monitor = receiver.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    assert monitor.poll(int(A_WHILE * 1000)) == 0
    exchange(sender, receiver, background, 10, 10)
    receiver.disable_monitor()
    monitor.close()


# Several threads.


@pytest.mark.deviation
@everywhere
@pytest.mark.parametrize("threads", [2, 3])
def test_threads_that_receive_from_one_socket_get_each_long_message_once(
    sockets: Any, background: Any, transport: str, threads: int
) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, transport)
    count = 300

    def receive() -> list[int]:
        found = []
        while (message := receiver.recv()) != b"end":
            found.append(number_of(message))
        return found

    joins = [background(receive) for _ in range(threads)]
    dice = random.Random(threads)
    for number in range(count):
        sender.send(numbered(number, dice.choice([10, KIB, LONG, LONG, 300 * KIB])))
    for _ in joins:
        sender.send(b"end")
    found = [join() for join in joins]
    assert all(numbers == sorted(numbers) for numbers in found)
    assert sorted(sum(found, [])) == list(range(count))


@pytest.mark.deviation
@over_streams
def test_of_two_threads_that_wait_each_gets_the_next_long_message_that_it_is_due(
    sockets: Any, background: Any, transport: str
) -> None:
    """One at a time: nobody may sleep on while a message is there."""
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, transport)
    found: list[int] = []
    came = threading.Semaphore(0)

    def receive() -> None:
        while (message := receiver.recv()) != b"end":
            found.append(number_of(message))
            came.release()

    joins = [background(receive) for _ in range(2)]
    for number in range(200):
        sender.send(numbered(number))
        assert came.acquire(timeout=DEADLINE)
    for _ in joins:
        sender.send(b"end")
    for join in joins:
        join()
    assert sorted(found) == list(range(200))


@pytest.mark.deviation
@everywhere
@pytest.mark.parametrize("hwm", [2, 1000])
def test_threads_that_send_through_one_socket_keep_their_order(
    sockets: Any, background: Any, transport: str, hwm: int
) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, transport, hwm=hwm)
    count = 150

    def send(thread: bytes) -> None:
        for message in long_stream(ord(thread), count):
            sender.send_multipart([thread, *message])

    joins = [background(lambda thread=thread: send(thread)) for thread in (b"a", b"b")]
    expected = {thread: long_stream(ord(thread), count) for thread in (b"a", b"b")}
    for _ in range(2 * count):
        thread, *message = receiver.recv_multipart()
        assert message == next(expected[thread])
    for join in joins:
        join()
