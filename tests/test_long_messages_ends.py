"""How calls with long messages end: by a close, the end of a context or of a peer, by a signal. Nothing is lost or doubled by it
that would not be with short ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from peers.fixtures import nothing_left_behind  # noqa: F401  (used by all)
from peers.long_messages import KIB, MIB, exchange, long_stream, number_of, numbered
from peers.process import PeerProcess
from peers.raw import RawPeer, header
from peers.sockets import Sockets
from peers.subject import name as subject_name
from peers.subject import zmq
from peers.waiting import A_WHILE

DEADLINE = 10.0
DEADLINE_MS = 10_000

everywhere = pytest.mark.parametrize("transport", ["inproc", "ipc", "tcp"])
over_streams = pytest.mark.parametrize("transport", ["ipc", "tcp"])


def pair_in(context: Any, transport: str, **options: Any) -> tuple[Any, Any]:
    """A PUSH and a PULL socket in a context of their own."""
    made = Sockets(context, rcvtimeo=DEADLINE_MS, sndtimeo=DEADLINE_MS, linger=0)
    return made.pair(zmq.PUSH, zmq.PULL, transport, **options)


def bound(sockets: Any, transport: str) -> tuple[Any, str]:
    """A PULL socket, and where it is."""
    receiver = sockets(zmq.PULL)
    receiver.bind({"tcp": "tcp://127.0.0.1:*", "ipc": "ipc://*"}[transport])
    return receiver, receiver.last_endpoint.rstrip(b"\0").decode()


def receive_until_error(receiver: Any, came: threading.Semaphore) -> int:
    """Receives until that fails; the errno."""
    with pytest.raises(zmq.ZMQError) as caught:
        while True:
            receiver.recv()
            came.release()
    return caught.value.errno  # type: ignore[no-any-return]


@pytest.mark.deviation
@everywhere
def test_close_by_another_thread_ends_the_wait_for_the_next_long_message(
    sockets: Any, background: Any, transport: str
) -> None:
    for count in range(10):
        sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, transport)
        came = threading.Semaphore(0)
        join = background(partial(receive_until_error, receiver, came))
        for number in range(count):
            sender.send(numbered(number))
            assert came.acquire(timeout=DEADLINE)
        receiver.close()
        assert join() == zmq.ENOTSOCK
        sender.close()


@everywhere
def test_term_ends_the_wait_for_the_next_long_message(background: Any, transport: str) -> None:
    for count in range(10):
        context = zmq.Context()
        sender, receiver = pair_in(context, transport)
        came = threading.Semaphore(0)

        def receive(receiver: Any = receiver, came: Any = came) -> int:
            try:
                return receive_until_error(receiver, came)
            finally:
                receiver.close(linger=0)

        join = background(receive)
        for number in range(count):
            sender.send(numbered(number))
            assert came.acquire(timeout=DEADLINE)
        sender.close(linger=0)
        background(context.term)()
        assert join() == zmq.ETERM


def send_until_error(sender: Any, sent: threading.Semaphore) -> int:
    """Sends until that fails; the errno."""
    with pytest.raises(zmq.ZMQError) as caught:
        while True:
            sender.send(numbered(0, MIB))
            sent.release()
    return caught.value.errno  # type: ignore[no-any-return]


@pytest.mark.deviation
@everywhere
def test_close_by_another_thread_ends_the_sending_of_long_messages(
    sockets: Any, background: Any, transport: str
) -> None:
    for enough in range(1, 8):
        sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, transport, hwm=2)
        sent = threading.Semaphore(0)
        join = background(partial(send_until_error, sender, sent))
        for _ in range(enough):
            assert sent.acquire(timeout=DEADLINE)
            receiver.recv()
        sender.close(linger=0)
        assert join() == zmq.ENOTSOCK
        receiver.close()


@everywhere
def test_term_ends_the_sending_of_long_messages(background: Any, transport: str) -> None:
    for enough in range(1, 5):
        context = zmq.Context()
        sender, receiver = pair_in(context, transport, hwm=2, linger=0)
        sent = threading.Semaphore(0)

        def send(sender: Any = sender, sent: Any = sent) -> int:
            try:
                return send_until_error(sender, sent)
            finally:
                sender.close()

        join = background(send)
        for _ in range(enough):
            assert sent.acquire(timeout=DEADLINE)
            receiver.recv()
        receiver.close()
        background(context.term)()
        assert join() == zmq.ETERM


@over_streams
def test_what_was_sent_goes_out_after_the_close(
    sockets: Any, background: Any, transport: str
) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, transport)
    for message in long_stream(7, 100):
        sender.send_multipart(message)
    sender.close(linger=DEADLINE_MS)
    for message in long_stream(7, 100):
        assert receiver.recv_multipart() == message


@over_streams
def test_a_message_whose_sender_goes_away_in_its_middle_never_comes(
    sockets: Any, background: Any, transport: str
) -> None:
    receiver, endpoint = bound(sockets, transport)
    with RawPeer.ready_for(endpoint, b"PUSH") as peer:
        for number in range(3):
            peer.send_message(numbered(number))
            assert receiver.recv() == numbered(number)
        join = background(receiver.recv)
        peer.send(header(5 * MIB) + numbered(3, 2 * MIB))
    with RawPeer.ready_for(endpoint, b"PUSH") as other:
        other.send_message(numbered(4))
        assert join() == numbered(4)
        other.send_message(b"short")
        assert receiver.recv() == b"short"


@over_streams
def test_a_peer_process_is_killed_while_it_sends_long_messages(
    sockets: Any, background: Any, transport: str
) -> None:
    receiver, endpoint = bound(sockets, transport)
    peer = PeerProcess(subject_name)
    peer.submit(
        "run_and_leave",
        kind="PUSH",
        endpoint=endpoint,
        bind=False,
        count=1_000_000,
        size=5 * MIB,
        options={"SNDHWM": 1},
    )
    for number in range(5):
        message = receiver.recv()
        assert int.from_bytes(message[:8], "big") == number and len(message) == 5 * MIB
    peer.kill()
    other = sockets(zmq.PUSH)
    other.connect(endpoint)
    other.send(b"next")
    numbers = []
    while (message := receiver.recv()) != b"next":
        assert len(message) == 5 * MIB
        numbers.append(int.from_bytes(message[:8], "big"))
    assert numbers == list(range(5, 5 + len(numbers)))
    exchange(other, receiver, background, 0, 5)


# Signals.


class Interrupt(Exception):
    """What a handler raises."""


@everywhere
def test_harmless_signals_do_not_disturb_a_stream(
    sockets: Any, background: Any, alarm: Any, transport: str
) -> None:
    a, b = sockets.pair(zmq.PAIR, zmq.PAIR, transport, hwm=10)
    seen: list[int] = []
    alarm(0.001, lambda *_: seen.append(1), 0.001)

    def receive() -> int:
        number = 0
        while (message := b.recv()) != b"end":
            assert number_of(message) == number
            number += 1
        return number

    join = background(receive)
    number = 0
    while len(seen) < 20:
        a.send(numbered(number))
        number += 1
    a.send(b"end")
    assert join() == number

    seen.clear()
    enough = threading.Event()

    def send() -> int:
        number = 0
        while not enough.is_set():
            b.send(numbered(number))
            number += 1
        b.send(b"end")
        return number

    join = background(send)
    number = 0
    while (message := a.recv()) != b"end":
        assert number_of(message) == number
        number += 1
        if len(seen) >= 20:
            enough.set()
    assert join() == number


class Raising:
    """A handler that raises some times, and only out of the call that it is for."""

    TIMES = 20

    def __init__(self) -> None:
        self.raised = 0
        self.armed = False

    def __call__(self, number: int, frame: Any) -> None:
        if self.armed and self.raised < self.TIMES:
            self.armed = False
            self.raised += 1
            raise Interrupt

    def interrupts(self, call: Callable[[], None]) -> bool:
        """Whether it raised out of the call: before it did anything, or right after it, when its result is lost."""
        try:
            self.armed = True
            call()
            self.armed = False
        except Interrupt:
            return True
        return False


@everywhere
def test_what_a_handler_raises_out_of_a_stream_that_is_sent_doubles_and_loses_nothing(
    sockets: Any, background: Any, alarm: Any, transport: str
) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, transport, hwm=4)

    def receive() -> list[int]:
        found = []
        while (message := receiver.recv()) != b"end":
            found.append(number_of(message))
        return found

    join = background(receive)
    handler = Raising()
    alarm(0.001, handler, 0.001)
    unsure = []
    number = 0
    while handler.raised < handler.TIMES:
        if handler.interrupts(partial(sender.send, numbered(number))):
            unsure.append(number)  # before it was sent, or after
        number += 1
    sender.send(b"end")
    found = join()
    assert found == sorted(set(found))
    assert set(range(number)) - set(found) <= set(unsure)


@everywhere
def test_what_a_handler_raises_out_of_a_stream_that_is_received_doubles_and_loses_nothing(
    sockets: Any, background: Any, alarm: Any, transport: str
) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, transport, hwm=4)
    enough = threading.Event()

    def send() -> int:
        number = 0
        while not enough.is_set():
            sender.send(numbered(number))
            number += 1
        sender.send(b"end")
        return number

    join = background(send)
    handler = Raising()
    alarm(0.001, handler, 0.001)
    expected, unsure = 0, 0
    while True:
        got: list[bytes] = []
        handler.interrupts(lambda got=got: got.append(receiver.recv()))
        if handler.raised == handler.TIMES:
            enough.set()
        if not got:
            unsure += 1  # Python throws away what the call returned, if it did
        elif got == [b"end"]:
            break
        else:
            number = number_of(got[0])
            assert expected <= number <= expected + unsure
            expected, unsure = number + 1, 0
    assert join() - expected <= unsure


@everywhere
def test_what_a_handler_raises_out_of_a_wait_loses_nothing(
    sockets: Any, background: Any, alarm: Any, transport: str
) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, transport)
    for first in range(0, 30, 3):
        exchange(sender, receiver, background, first, 3)
        with pytest.raises(KeyboardInterrupt):
            alarm(0.002)
            receiver.recv()


@over_streams
def test_what_a_handler_raises_in_the_middle_of_a_message_loses_nothing_of_it(
    sockets: Any, alarm: Any, transport: str
) -> None:
    receiver, endpoint = bound(sockets, transport)
    with RawPeer.ready_for(endpoint, b"PUSH") as peer:
        for number in range(10):
            peer.send_message(numbered(number))
            assert receiver.recv() == numbered(number)
            long = header(MIB) + numbered(number, MIB)
            for step in range(0, len(long), 300 * KIB):
                with pytest.raises(KeyboardInterrupt):
                    alarm(0.005)
                    receiver.recv()
                peer.send(long[step : step + 300 * KIB])
            assert receiver.recv() == numbered(number, MIB)


@everywhere
def test_an_interrupted_send_of_a_long_message_sent_nothing(
    sockets: Any, alarm: Any, transport: str
) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, transport, hwm=1)
    sent = 0
    while sender.poll(int(A_WHILE * 1000), zmq.POLLOUT):
        sender.send(numbered(sent, MIB))
        sent += 1
    with pytest.raises(KeyboardInterrupt):
        alarm(0.02)
        sender.send(numbered(sent + 1, MIB))
    for number in range(sent):
        assert receiver.recv() == numbered(number, MIB)
    sender.send(numbered(sent, MIB))
    assert receiver.recv() == numbered(sent, MIB)
