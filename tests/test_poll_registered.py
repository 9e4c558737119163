"""A poller that is used again and again: it looks only at sockets with news, and must miss none."""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import random
import socket as plain_socket
import threading
import time
from typing import Any

import pytest
from peers.waiting import eventually

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))

TRANSPORTS = ["inproc", "tcp"]


def poller_of(*registered: tuple[Any, int]) -> Any:
    poller = zmq.Poller()
    for socket, flags in registered:
        poller.register(socket, flags)
    return poller


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_ready_socket_is_reported_until_it_is_read(sockets: Any, transport: str) -> None:
    a, b = sockets.pair(zmq.PUSH, zmq.PULL, transport)
    poller = poller_of((b, zmq.POLLIN))
    assert poller.poll(0) == []
    for _ in range(3):
        a.send(b"x")
    for left in (3, 2, 1):
        for _ in range(2):
            assert poller.poll(10_000) == [(b, zmq.POLLIN)]
        b.recv()
        assert left == 1 or poller.poll(10_000)
    assert poller.poll(0) == []


def test_room_that_the_application_makes_by_receiving_is_news(sockets: Any) -> None:
    """A REP may send after it has received: nothing else tells the poller."""
    req, rep = sockets.pair(zmq.REQ, zmq.REP)
    poller = poller_of((rep, zmq.POLLIN | zmq.POLLOUT), (req, zmq.POLLIN | zmq.POLLOUT))
    for _ in range(3):
        assert poller.poll(10_000) == [(req, zmq.POLLOUT)]
        req.send(b"x")
        assert poller.poll(10_000) == [(rep, zmq.POLLIN)]
        rep.recv()
        assert poller.poll(0) == [(rep, zmq.POLLOUT)]
        rep.send(b"y")
        assert poller.poll(10_000) == [(req, zmq.POLLIN)]
        req.recv()


def test_rest_of_a_message_is_news(sockets: Any) -> None:
    a, b = sockets.pair(zmq.PUSH, zmq.PULL)
    poller = poller_of((b, zmq.POLLIN))
    a.send_multipart([b"1", b"2"])
    assert poller.poll(10_000)
    b.recv()
    assert poller.poll(0) == [(b, zmq.POLLIN)]
    b.recv()
    assert poller.poll(0) == []


@pytest.mark.deviation  # pyzmq lets a REP send between the parts of a request
def test_half_read_request_is_no_error_of_the_poll(sockets: Any) -> None:
    req, rep = sockets.pair(zmq.REQ, zmq.REP)
    poller = poller_of((rep, zmq.POLLIN | zmq.POLLOUT))
    req.send_multipart([b"1", b"2"])
    assert poller.poll(10_000) == [(rep, zmq.POLLIN)]
    rep.recv()
    assert poller.poll(0) == [(rep, zmq.POLLIN)]
    assert rep.poll(0, zmq.POLLIN | zmq.POLLOUT) == zmq.POLLIN
    rep.recv()
    assert poller.poll(0) == [(rep, zmq.POLLOUT)]


def test_full_queue_is_not_reported_until_there_is_room(sockets: Any) -> None:
    a, b = sockets.pair(zmq.PUSH, zmq.PULL, sndhwm=5, rcvhwm=5)
    poller = poller_of((a, zmq.POLLOUT))
    sent = 0
    while poller.poll(0):
        a.send(b"%d" % sent)
        sent += 1
    assert sent == 10
    for number in range(sent):
        assert b.recv() == b"%d" % number
    assert poller.poll(10_000) == [(a, zmq.POLLOUT)]


def test_events_can_be_changed(sockets: Any) -> None:
    a, b = sockets.pair(zmq.PAIR, zmq.PAIR)
    poller = poller_of((b, zmq.POLLIN))
    a.send(b"x")
    assert poller.poll(10_000) == [(b, zmq.POLLIN)]
    poller.modify(b, zmq.POLLOUT)
    assert poller.poll(10_000) == [(b, zmq.POLLOUT)]
    poller.register(b, zmq.POLLIN | zmq.POLLOUT)
    assert poller.poll(10_000) == [(b, zmq.POLLIN | zmq.POLLOUT)]
    poller.register(b, 0)
    assert poller.poll(0) == [] and b not in poller


def test_socket_that_is_unregistered_is_not_reported(sockets: Any) -> None:
    pairs = [sockets.pair(zmq.PUSH, zmq.PULL, "tcp") for _ in range(3)]
    poller = poller_of(*((b, zmq.POLLIN) for _, b in pairs))
    for a, _ in pairs:
        a.send(b"x")
    eventually(lambda: len(poller.poll(0)) == 3)
    poller.unregister(pairs[1][1])
    assert [socket for socket, _ in poller.poll(0)] == [pairs[0][1], pairs[2][1]]
    poller.register(pairs[1][1], zmq.POLLIN)
    assert [socket for socket, _ in poller.poll(0)] == [pairs[0][1], pairs[2][1], pairs[1][1]]


@pytest.mark.deviation
def test_closed_socket_is_an_error_of_every_poll_until_it_is_unregistered(sockets: Any) -> None:
    a, b = sockets.pair(zmq.PUSH, zmq.PULL)
    other_a, other_b = sockets(zmq.PUSH), sockets(zmq.PULL)
    other_b.bind("inproc://other")
    other_a.connect("inproc://other")
    poller = poller_of((b, zmq.POLLIN), (other_b, zmq.POLLIN))
    other_a.send(b"x")
    b.close()
    for _ in range(3):
        with pytest.raises(zmq.ZMQError) as caught:
            poller.poll(0)
        assert caught.value.errno == zmq.ENOTSOCK
    poller.unregister(b)
    assert poller.poll(0) == [(other_b, zmq.POLLIN)]
    a.close(linger=0)


@pytest.mark.deviation
def test_socket_that_was_closed_before_is_an_error_of_the_poll(sockets: Any) -> None:
    open_one, closed = sockets(zmq.PULL), sockets(zmq.PULL)
    closed.close()
    poller = poller_of((open_one, zmq.POLLIN), (closed, zmq.POLLIN))
    with pytest.raises(zmq.ZMQError) as caught:
        poller.poll(0)
    assert caught.value.errno == zmq.ENOTSOCK


def test_end_of_the_context_wakes_it(background: Any) -> None:
    context = zmq.Context()
    socket = context.socket(zmq.PULL)
    poller = poller_of((socket, zmq.POLLIN))

    def wait() -> None:
        with pytest.raises(zmq.ContextTerminated):
            poller.poll()
        socket.close()

    join = background(wait)
    context.term()
    join()


@pytest.mark.deviation
def test_socket_registered_by_another_thread_wakes_it(sockets: Any, background: Any) -> None:
    idle = sockets(zmq.PULL)
    a, b = sockets.pair(zmq.PUSH, zmq.PULL)
    a.send(b"x")
    poller = poller_of((idle, zmq.POLLIN))
    join = background(lambda: poller.poll(10_000))
    poller.register(b, zmq.POLLIN)
    assert join() == [(b, zmq.POLLIN)]


@pytest.mark.deviation
def test_several_threads_may_poll(sockets: Any, background: Any) -> None:
    a, b = sockets.pair(zmq.PUSH, zmq.PULL)
    poller = poller_of((b, zmq.POLLIN))
    joins = [background(lambda: poller.poll(10_000)) for _ in range(4)]
    a.send(b"x")
    assert [join() for join in joins] == [[(b, zmq.POLLIN)]] * 4


def test_signal_ends_it(sockets: Any, alarm: Any) -> None:
    poller = poller_of((sockets(zmq.PULL), zmq.POLLIN))
    alarm(0.05)
    with pytest.raises(KeyboardInterrupt):
        poller.poll()


def test_descriptors_among_sockets_are_polled_too(sockets: Any) -> None:
    a, b = sockets.pair(zmq.PUSH, zmq.PULL)
    read, write = os.pipe()
    try:
        poller = poller_of((b, zmq.POLLIN), (read, zmq.POLLIN))
        assert poller.poll(0) == []
        os.write(write, b"x")
        a.send(b"x")
        assert poller.poll(10_000) == [(b, zmq.POLLIN), (read, zmq.POLLIN)]
        poller.unregister(read)
        assert poller.poll(10_000) == [(b, zmq.POLLIN)]
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.deviation
def test_forked_child_gets_an_error(sockets: Any) -> None:
    poller = poller_of((sockets(zmq.PULL), zmq.POLLIN))
    child = os.fork()
    if child == 0:
        try:
            poller.poll(1000)
            os._exit(1)
        except zmq.ZMQError:
            del poller
            os._exit(0)
        except BaseException:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


def test_poller_lets_go_of_its_sockets(context: Any) -> None:
    """A poller that is gone must not keep a context from ending, nor hear of later news."""
    own = zmq.Context()
    a, b = own.socket(zmq.PUSH), own.socket(zmq.PULL)
    b.bind("inproc://gone")
    a.connect("inproc://gone")
    poller = poller_of((b, zmq.POLLIN))
    del poller
    a.send(b"x")
    kept = poller_of((b, zmq.POLLIN))
    assert b.recv() == b"x"
    a.close()
    b.close()
    own.term()
    del kept


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_nothing_is_missed_in_the_long_run(sockets: Any, background: Any, transport: str) -> None:
    """Many senders at random times; the poller alone says when to receive."""
    pairs = [sockets.pair(zmq.PUSH, zmq.PULL, transport) for _ in range(1)]
    for number in range(19):
        a, b = sockets(zmq.PUSH), sockets(zmq.PULL)
        b.bind(f"inproc://{number}" if transport == "inproc" else "tcp://127.0.0.1:*")
        a.connect(b.last_endpoint)
        pairs.append((a, b))
    poller = poller_of(*((b, zmq.POLLIN) for _, b in pairs))
    count = 3000
    choices = random.Random(7)
    order = [choices.randrange(len(pairs)) for _ in range(count)]
    barrier = threading.Semaphore(50)

    def send() -> None:
        for number, index in enumerate(order):
            barrier.acquire()
            pairs[index][0].send(b"%d" % number)

    join = background(send)
    expected: dict[Any, list[int]] = {b: [] for _, b in pairs}
    for number, index in enumerate(order):
        expected[pairs[index][1]].append(number)
    got: dict[Any, list[int]] = {b: [] for _, b in pairs}
    left = count
    while left:
        ready = poller.poll(10_000)
        assert ready, f"{left} messages were never reported"
        for socket, events in ready:
            assert events == zmq.POLLIN
            got[socket].append(int(socket.recv(zmq.DONTWAIT)))
            barrier.release()
            left -= 1
    join()
    assert got == expected


# Descriptors.


@pytest.fixture
def plain() -> Any:
    """Two ends of a plain stream."""
    ends = plain_socket.socketpair()
    yield ends
    for end in ends:
        end.close()


def test_descriptor_is_reported_until_it_is_read(plain: Any) -> None:
    a, b = plain
    poller = poller_of((b, zmq.POLLIN))
    assert poller.poll(0) == []
    for _ in range(3):
        a.send(b"123")
        for _ in range(3):
            assert poller.poll(10_000) == [(b.fileno(), zmq.POLLIN)]
            assert poller.poll(0) == [(b.fileno(), zmq.POLLIN)]
            b.recv(1)
        assert poller.poll(0) == []


def test_descriptor_with_room_is_reported_until_it_is_full(plain: Any) -> None:
    a, b = plain
    a.setblocking(False)
    poller = poller_of((a.fileno(), zmq.POLLOUT))
    sent = 0
    while poller.poll(0):
        with contextlib.suppress(BlockingIOError):
            sent += a.send(bytes(10_000))
    assert sent > 10_000
    while sent:
        sent -= len(b.recv(1 << 20))
    assert poller.poll(10_000) == [(a.fileno(), zmq.POLLOUT)]


def test_message_and_descriptor_wake_the_same_poll(
    sockets: Any, plain: Any, background: Any
) -> None:
    a, b = plain
    push, pull = sockets.pair(zmq.PUSH, zmq.PULL, "tcp")
    poller = poller_of((b, zmq.POLLIN), (pull, zmq.POLLIN))
    turns: queue.Queue[Any] = queue.Queue()

    def other() -> None:
        while (act := turns.get()) is not None:
            act()

    done = background(other)
    for _ in range(200):
        turns.put(lambda: a.send(b"x"))
        assert poller.poll(10_000) == [(b.fileno(), zmq.POLLIN)]
        b.recv(1)
        turns.put(lambda: push.send(b"x"))
        assert poller.poll(10_000) == [(pull, zmq.POLLIN)]
        pull.recv()
    turns.put(None)
    done()


def test_readiness_comes_in_the_order_of_registration(sockets: Any, plain: Any) -> None:
    a, b = plain
    push, pull = sockets.pair(zmq.PUSH, zmq.PULL)
    poller = poller_of((b, zmq.POLLIN), (pull, zmq.POLLIN), (a, zmq.POLLOUT))
    a.send(b"x")
    push.send(b"x")
    expected = [(b.fileno(), zmq.POLLIN), (pull, zmq.POLLIN), (a.fileno(), zmq.POLLOUT)]
    assert poller.poll(10_000) == expected


def test_descriptor_can_be_registered_by_number_and_by_object(plain: Any) -> None:
    a, b = plain
    poller = poller_of((b, zmq.POLLIN), (b.fileno(), zmq.POLLOUT))
    a.send(b"x")
    both = [(b.fileno(), zmq.POLLIN), (b.fileno(), zmq.POLLOUT)]
    assert poller.poll(10_000) == both
    poller.unregister(b)
    assert poller.poll(10_000) == both[1:]
    poller.modify(b.fileno(), zmq.POLLIN)
    assert poller.poll(10_000) == both[:1]
    poller.unregister(b.fileno())
    assert poller.poll(0) == []


def test_plain_file_is_always_ready(tmp_path: Any) -> None:
    with open(tmp_path / "file", "wb") as file:
        poller = poller_of((file, zmq.POLLIN | zmq.POLLOUT))
        for _ in range(3):
            assert poller.poll(None) == [(file.fileno(), zmq.POLLIN | zmq.POLLOUT)]


def test_descriptor_that_was_closed_is_an_error() -> None:
    a, b = plain_socket.socketpair()
    poller = poller_of((b.fileno(), zmq.POLLIN))
    assert poller.poll(0) == []
    number = b.fileno()
    b.close()
    for _ in range(3):
        assert poller.poll(10_000) == [(number, zmq.POLLERR)]
    a.close()


def test_closed_descriptor_is_found_by_polls_that_do_not_wait_too() -> None:
    a, b = plain_socket.socketpair()
    poller = poller_of((b.fileno(), zmq.POLLIN))
    assert poller.poll(0) == []
    number = b.fileno()
    b.close()
    assert eventually(lambda: poller.poll(0)) == [(number, zmq.POLLERR)]
    a.close()


def test_descriptor_with_the_number_of_one_that_was_closed_is_polled(plain: Any) -> None:
    first, second = plain_socket.socketpair()
    number = second.fileno()
    poller = poller_of((number, zmq.POLLIN))
    assert poller.poll(0) == []
    second.close()
    os.dup2(plain[1].fileno(), number)
    plain[0].send(b"x")
    assert poller.poll(10_000) == [(number, zmq.POLLIN)]
    os.close(number)
    first.close()


class Moving:
    """Something whose descriptor changes, as that of a client that connects again does."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket

    def fileno(self) -> int:
        return self.socket.fileno()  # type: ignore[no-any-return]


def test_object_that_gets_another_descriptor_is_followed(plain: Any) -> None:
    a, b = plain_socket.socketpair()
    moving = Moving(b)
    poller = poller_of((moving, zmq.POLLIN), (a, zmq.POLLIN))
    assert poller.poll(0) == []
    moving.socket = plain[1]
    plain[0].send(b"x")
    b.send(b"x")
    assert eventually(lambda: len(poller.poll(0)) == 2)
    assert poller.poll(None) == [(plain[1].fileno(), zmq.POLLIN), (a.fileno(), zmq.POLLIN)]
    a.recv(1)
    plain[1].recv(1)
    moving.socket = b
    a.send(b"x")
    assert poller.poll(None) == [(b.fileno(), zmq.POLLIN)], "asked before it waits"
    for end in (a, b):
        end.close()


def test_closed_object_is_not_reported_when_its_number_is_anothers(plain: Any) -> None:
    a, b = plain_socket.socketpair()
    poller = poller_of((b, zmq.POLLIN))
    number = b.fileno()
    assert poller.poll(0) == []
    b.close()
    os.dup2(plain[1].fileno(), number)
    plain[0].send(b"x")
    for _ in range(3):
        assert poller.poll(20) == []
    os.close(number)
    a.close()


def test_closed_descriptor_is_forgotten_though_a_copy_of_it_lives_on(plain: Any) -> None:
    a, b = plain_socket.socketpair()
    number = b.fileno()
    copy = os.dup(number)
    poller = poller_of((number, zmq.POLLIN))
    assert poller.poll(0) == []
    os.dup2(plain[1].fileno(), number)
    plain[0].send(b"x")
    assert eventually(lambda: poller.poll(0)) == [(number, zmq.POLLIN)]
    plain[1].recv(1)
    a.send(b"x")  # the copy can be read now, not what has its number
    assert poller.poll(20) == []
    os.dup2(copy, number)
    assert poller.poll(10_000) == [(number, zmq.POLLIN)], "once, and back again"
    os.close(copy)
    for end in (a, b):
        end.close()


def test_hang_up_is_reported_until_the_descriptor_is_unregistered(plain: Any) -> None:
    poller = poller_of((plain[1], zmq.POLLIN))
    plain[0].close()
    for _ in range(3):
        ((number, events),) = poller.poll(10_000)
        assert number == plain[1].fileno() and events & zmq.POLLIN
    poller.unregister(plain[1])
    assert poller.poll(0) == []


def test_poll_of_a_descriptor_ends_at_its_deadline_and_hears_signals(
    plain: Any, alarm: Any
) -> None:
    poller = poller_of((plain[1], zmq.POLLIN))
    assert poller.poll(20) == []
    alarm(0.05)
    with pytest.raises(KeyboardInterrupt):
        poller.poll(10_000)


@pytest.mark.deviation
def test_what_a_poll_of_descriptors_costs_does_not_grow_with_the_idle_ones() -> None:
    """Of 500 descriptors one is ready: the others are not even asked about."""
    ends = [plain_socket.socketpair() for _ in range(500)]
    poller = poller_of(*((b, zmq.POLLIN) for _, b in ends))
    assert poller.poll(0) == []
    a, b = ends[250]

    def cost() -> int:
        """System calls cannot be counted here; the processor's time can, against another poller's."""
        before = time.thread_time_ns()
        for _ in range(200):
            a.send(b"x")
            assert poller.poll(10_000) == [(b.fileno(), zmq.POLLIN)]
            b.recv(1)
        return time.thread_time_ns() - before

    many = min(cost() for _ in range(5))
    poller = poller_of((b, zmq.POLLIN))
    one = min(cost() for _ in range(5))
    assert many < 3 * one, "500 would cost about fifty times as much"
    for pair in ends:
        for end in pair:
            end.close()
