"""Signals: Ctrl-C ends any wait at once, other handlers do not lengthen it."""

from __future__ import annotations

import importlib
import os
import signal
import threading
import time
from typing import Any

import pytest
from peers.waiting import eventually

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))


WAITS = {
    "recv": lambda s: s.recv(),
    "recv_multipart": lambda s: s.recv_multipart(),
    "recv_into": lambda s: s.recv_into(bytearray(1)),
    "recv_json": lambda s: s.recv_json(),
    "send": lambda s: s.send(b"x"),
    "send_multipart": lambda s: s.send_multipart([b"x", b"y"]),
    "poll": lambda s: s.poll(),
    "zmq_poll": lambda s: zmq.zmq_poll([(s, zmq.POLLIN)]),
    "zmq_poll with a descriptor": lambda s: zmq.zmq_poll([(s, zmq.POLLIN), (0, zmq.POLLERR)]),
    "select": lambda s: zmq.select([s], [], []),
}


@pytest.mark.parametrize("name", WAITS)
def test_keyboard_interrupt_ends_a_wait_at_once(sockets: Any, alarm: Any, name: str) -> None:
    socket = sockets(zmq.DEALER, rcvtimeo=-1, sndtimeo=-1)
    alarm(0.05)
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        WAITS[name](socket)
    assert time.monotonic() - begin < 2


def test_keyboard_interrupt_ends_term_which_can_be_repeated(alarm: Any) -> None:
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    alarm(0.05)
    with pytest.raises(KeyboardInterrupt):
        context.term()
    assert not context.closed
    socket.close()
    context.term()
    assert context.closed


def test_keyboard_interrupt_ends_waiting_for_a_tracker(alarm: Any) -> None:
    frame = zmq.Frame(b"x" * 100_000, track=True)
    alarm(0.05)
    with pytest.raises(KeyboardInterrupt):
        frame.tracker.wait()


def test_socket_works_after_an_interrupted_call(sockets: Any, alarm: Any) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL)
    alarm(0.05)
    with pytest.raises(KeyboardInterrupt):
        receiver.recv()
    sender.send(b"not lost")
    assert receiver.recv() == b"not lost"


def test_interrupted_send_sent_nothing(sockets: Any, alarm: Any) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, hwm=1)
    sender.send(b"1")
    sender.send(b"2")
    alarm(0.05)
    with pytest.raises(KeyboardInterrupt):
        sender.send(b"3")
    assert [receiver.recv(), receiver.recv()] == [b"1", b"2"]
    sender.send(b"4")
    assert receiver.recv() == b"4"


@pytest.mark.parametrize("name", ["recv", "recv_multipart"])
def test_harmless_signals_do_not_end_a_receive(sockets: Any, alarm: Any, name: str) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL)
    seen: list[int] = []

    def handler(number: int, frame: Any) -> None:
        seen.append(number)
        if len(seen) == 3:
            signal.setitimer(signal.ITIMER_REAL, 0)
            sender.send(b"x")

    alarm(0.02, handler, 0.02)
    assert WAITS[name](receiver) in (b"x", [b"x"])
    assert len(seen) == 3


@pytest.mark.parametrize("name", ["send", "send_multipart"])
def test_harmless_signals_do_not_end_a_send(sockets: Any, alarm: Any, name: str) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, hwm=1)
    sender.send(b"1")
    sender.send(b"2")
    seen: list[int] = []

    def handler(number: int, frame: Any) -> None:
        seen.append(number)
        if len(seen) == 3:
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert (receiver.recv(), receiver.recv()) == (b"1", b"2")

    alarm(0.02, handler, 0.02)
    WAITS[name](sender)
    assert len(seen) == 3
    assert receiver.recv() == b"x"


@pytest.mark.deviation
@pytest.mark.parametrize("name", ["recv", "recv_multipart", "send", "send_multipart"])
def test_signals_do_not_lengthen_a_timeout(sockets: Any, alarm: Any, name: str) -> None:
    socket = sockets(zmq.DEALER, rcvtimeo=200, sndtimeo=200)
    seen: list[int] = []
    alarm(0.02, lambda *_: seen.append(1), 0.02)
    begin = time.monotonic()
    with pytest.raises(zmq.Again):
        WAITS[name](socket)
    # 200 ms after every one of an endless row of signals would never be over.
    assert 0.199 <= time.monotonic() - begin < 5
    assert len(seen) > 1


@pytest.mark.parametrize("milliseconds", [100])
def test_signals_do_not_lengthen_a_poll(sockets: Any, alarm: Any, milliseconds: int) -> None:
    socket = sockets(zmq.DEALER)
    alarm(0.01, lambda *_: None, 0.01)
    begin = time.monotonic()
    assert socket.poll(milliseconds) == 0
    assert 0.099 <= time.monotonic() - begin < 5


def test_harmless_signal_does_not_end_term(alarm: Any, background: Any) -> None:
    if zmq.__name__ == "zmq":
        pytest.skip("pyzmq ends term early")
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    seen = threading.Event()
    alarm(0.02, lambda *_: seen.set())

    def close() -> None:
        assert seen.wait(10)
        socket.close()

    join = background(close)
    context.term()
    assert seen.is_set() and context.closed and socket.closed
    join()


def test_signal_during_a_wait_of_another_thread_is_handled_by_the_main_thread(
    sockets: Any, alarm: Any, background: Any
) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL)
    join = background(receiver.recv)
    seen: list[int] = []
    alarm(0.02, lambda *_: seen.append(1))
    eventually(lambda: bool(seen))
    sender.send(b"x")
    assert join() == b"x"
