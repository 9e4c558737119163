"""SPIN: waiting calls look on before they sleep."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import mqcore as zmq
import pytest

LONGEST = 100_000  # microseconds


@pytest.fixture(params=["inproc://spin", "tcp://127.0.0.1:*"])
def pair(request: pytest.FixtureRequest, sockets: Any) -> Any:
    """Two sockets that look on for as long as they may."""
    receiving, sending = sockets(zmq.PAIR), sockets(zmq.PAIR)
    for socket in (receiving, sending):
        socket.set(zmq.SPIN, LONGEST)
    receiving.bind(request.param)
    sending.connect(receiving.last_endpoint)
    sending.send(b"hello")
    assert receiving.recv() == b"hello"
    return receiving, sending


def test_nothing_spins_unless_it_is_told_to(sockets: Any) -> None:
    assert sockets(zmq.PULL).get(zmq.SPIN) == 0


@pytest.mark.parametrize("value", [-1, LONGEST + 1])
def test_time_out_of_range_is_refused_with_the_range(sockets: Any, value: int) -> None:
    socket = sockets(zmq.PULL)
    with pytest.raises(zmq.ZMQError, match=f"SPIN.*{value}") as caught:
        socket.set(zmq.SPIN, value)
    assert caught.value.errno == zmq.EINVAL
    assert str(LONGEST) in str(caught.value)


def test_option_is_an_attribute_too(sockets: Any) -> None:
    socket = sockets(zmq.PULL)
    socket.spin = 50
    assert socket.spin == socket.get(zmq.SPIN) == 50


WAITS: dict[str, Callable[[Any], Any]] = {
    "recv": lambda socket: socket.recv(),
    "recv_many": lambda socket: socket.recv_many()[0],
    "poll": lambda socket: socket.poll() and socket.recv(),
}


@pytest.mark.parametrize("name", WAITS)
def test_message_ends_the_wait(pair: Any, background: Any, name: str) -> None:
    receiving, sending = pair
    for number in range(20):
        received = background(lambda: WAITS[name](receiving))
        sending.send(b"%d" % number)
        assert received() == b"%d" % number


def test_timeout_is_not_longer_for_it(pair: Any) -> None:
    receiving, _ = pair
    receiving.rcvtimeo = 5
    begin = time.monotonic()
    with pytest.raises(zmq.Again):
        receiving.recv()
    assert receiving.poll(5) == 0
    assert time.monotonic() - begin < LONGEST / 1e6  # both together


@pytest.mark.parametrize("name", WAITS)
def test_signal_while_it_looks_on_is_not_missed(pair: Any, alarm: Any, name: str) -> None:
    receiving, sending = pair
    alarm(LONGEST / 1e6 / 4)
    with pytest.raises(KeyboardInterrupt):
        WAITS[name](receiving)
    sending.send(b"still here")
    assert receiving.recv() == b"still here"


def test_signal_while_a_sender_looks_on_is_not_missed(sockets: Any, alarm: Any) -> None:
    sending = sockets(zmq.PUSH, sndtimeo=-1)
    sending.set(zmq.SPIN, LONGEST)
    alarm(LONGEST / 1e6 / 4)
    with pytest.raises(KeyboardInterrupt):
        sending.send(b"nobody is there")


def test_close_by_another_thread_ends_the_wait(pair: Any, background: Any) -> None:
    receiving, _ = pair
    received = background(receiving.recv)
    receiving.close()
    with pytest.raises(zmq.ZMQError) as caught:
        received()
    assert caught.value.errno == zmq.ENOTSOCK
