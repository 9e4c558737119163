"""A caller that asks, waits, and asks again waits at the connection itself: everything that ends or changes such a
wait must reach it there.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import mqcore as zmq
import pytest
from peers.waiting import bind_when_free, eventually

PATIENCE = 10_000
LONGEST_SPIN = 100_000


@pytest.fixture(params=[0, LONGEST_SPIN], ids=["sleeps", "spins"])
def spin(request: pytest.FixtureRequest) -> Any:
    return request.param


class Spinning(zmq.Context):
    """Makes sockets that look on for so many microseconds before they sleep."""

    spin = 0

    def socket(self, *args: Any, **options: Any) -> Any:
        socket = super().socket(*args, **options)
        socket.set(zmq.SPIN, self.spin)
        return socket


@pytest.fixture
def context(spin: int) -> Iterator[Any]:
    context = Spinning()
    context.spin = spin
    yield context
    context.destroy(linger=0)


@pytest.fixture(params=["tcp://127.0.0.1:*", "ipc://*"])
def pair(request: pytest.FixtureRequest, context: Any) -> Any:
    """Two DEALERs that have just spoken in turn, so that the first one's next wait is at its connection."""
    served, asking = (context.socket(zmq.DEALER) for _ in range(2))
    for socket in (served, asking):
        socket.rcvtimeo = socket.sndtimeo = PATIENCE
    served.bind(request.param)
    asking.connect(served.last_endpoint)
    in_turn(asking, served)
    return asking, served


def in_turn(asking: Any, served: Any) -> None:
    for number in range(5):
        asking.send(b"question %d" % number)
        served.send(served.recv())
        assert asking.recv() == b"question %d" % number
    asking.send(b"last")
    assert served.recv() == b"last"


def waiting(background: Any, call: Callable[[], Any]) -> Any:
    """Starts `call` in a thread, and gives it the time to fall asleep: it has no other way to tell."""
    started: list[bool] = []

    def run() -> Any:
        started.append(True)
        return call()

    join = background(run)
    eventually(lambda: started)
    return join


@pytest.mark.parametrize("size", [0, 64, 4000, 5000, 1_000_000])
def test_answers_of_every_size_arrive(pair: Any, background: Any, size: int) -> None:
    asking, served = pair
    answer = os.urandom(size)
    for _ in range(3):
        received = waiting(background, asking.recv)
        served.send(answer)
        assert received() == answer
        asking.send(b"next")
        assert served.recv() == b"next"
    received = waiting(background, asking.recv_multipart)
    served.send_multipart([answer, b"", answer])
    assert received() == [answer, b"", answer]


def test_many_answers_to_one_question_arrive(pair: Any, background: Any) -> None:
    asking, served = pair
    answers = [b"%d" % number for number in range(3000)]
    sent = background(lambda: served.send_many(answers))
    assert [asking.recv() for _ in answers] == answers
    assert sent() == len(answers)


def test_timeout_ends_the_wait_and_the_answer_still_comes(pair: Any) -> None:
    asking, served = pair
    asking.rcvtimeo = 20
    for _ in range(3):
        with pytest.raises(zmq.Again):
            asking.recv()
    served.send(b"late")
    asking.rcvtimeo = PATIENCE
    assert asking.recv() == b"late"


def test_close_by_another_thread_ends_the_wait(pair: Any, background: Any) -> None:
    asking, _ = pair
    received = waiting(background, asking.recv)
    asking.close()
    with pytest.raises(zmq.ZMQError) as caught:
        received()
    assert caught.value.errno == zmq.ENOTSOCK


def test_end_of_the_context_ends_the_wait(pair: Any, context: Any, background: Any) -> None:
    asking, _ = pair
    asking.linger = 0

    def receive() -> None:
        with pytest.raises(zmq.ContextTerminated):
            asking.recv()
        asking.close()

    received = waiting(background, receive)
    pair[1].close(linger=0)
    context.term()
    received()


def test_message_of_another_peer_ends_the_wait(pair: Any, context: Any, background: Any) -> None:
    asking, _ = pair
    received = waiting(background, asking.recv)
    other = context.socket(zmq.DEALER)
    other.bind("tcp://127.0.0.1:*")
    asking.connect(other.last_endpoint)
    other.sndtimeo = PATIENCE
    other.send(b"from another")
    assert received() == b"from another"


def test_wait_outlives_the_peer_and_is_ended_by_its_successor(
    context: Any, background: Any
) -> None:
    asking = context.socket(zmq.DEALER)
    asking.rcvtimeo = asking.sndtimeo = PATIENCE
    asking.reconnect_ivl = 10
    served = context.socket(zmq.DEALER)
    served.bind("tcp://127.0.0.1:*")
    address = served.last_endpoint
    asking.connect(address)
    in_turn(asking, served)
    received = waiting(background, asking.recv)
    served.close(linger=0)
    successor = context.socket(zmq.DEALER)
    successor.sndtimeo = PATIENCE
    bind_when_free(successor, address)
    successor.send(b"from the successor")
    assert received() == b"from the successor"


def test_waiting_peer_answers_heartbeats(context: Any) -> None:
    served, asking = context.socket(zmq.DEALER), context.socket(zmq.DEALER)
    served.heartbeat_ivl, served.heartbeat_timeout = 20, 2000
    asking.rcvtimeo = served.rcvtimeo = PATIENCE
    served.bind("tcp://127.0.0.1:*")
    asking.connect(served.last_endpoint)
    in_turn(asking, served)
    asking.rcvtimeo = 300  # a dozen PINGs come during this wait
    with pytest.raises(zmq.Again):
        asking.recv()
    served.send(b"still here")
    asking.rcvtimeo = PATIENCE
    assert asking.recv() == b"still here"
    assert served.statistics()["disconnected"] == asking.statistics()["disconnected"] == 0


def test_two_threads_that_wait_get_a_message_each(pair: Any, background: Any) -> None:
    asking, served = pair
    first, second = (waiting(background, asking.recv) for _ in range(2))
    served.send(b"1")
    served.send(b"2")
    assert sorted([first(), second()]) == [b"1", b"2"]


def test_signal_ends_the_wait_at_once_and_loses_nothing(pair: Any) -> None:
    asking, served = pair

    class Interrupted(Exception):
        pass

    def handler(number: int, frame: Any) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(Interrupted):
            asking.recv()
    finally:
        signal.signal(signal.SIGALRM, before)
    served.send(b"answer")
    assert asking.recv() == b"answer"


def test_what_comes_after_the_wait_is_taken_in_by_the_background(pair: Any, context: Any) -> None:
    asking, served = pair
    served.send(b"1")
    assert asking.recv() == b"1"
    served.send(b"2")  # nobody waits now
    eventually(lambda: asking.poll(0) == zmq.POLLIN)
    assert asking.recv() == b"2"


def test_descriptor_for_waiting_goes_with_the_socket(context: Any) -> None:
    def bells() -> int:
        names = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
        return sum(os.path.lexists(n) and "eventfd" in os.readlink(n) for n in names)

    served, asking = context.socket(zmq.REP), context.socket(zmq.REQ)
    served.rcvtimeo = asking.rcvtimeo = PATIENCE
    served.bind("tcp://127.0.0.1:*")
    asking.connect(served.last_endpoint)
    before = bells()
    for _ in range(5):
        asking.send(b"x")
        served.send(served.recv())
        asking.recv()
    asking.rcvtimeo = 1
    asking.send(b"x")
    with pytest.raises(zmq.Again):
        asking.recv()
    asking.close(linger=0)
    served.close(linger=0)
    assert bells() <= before
