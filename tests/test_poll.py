"""Polling sockets and descriptors."""

from __future__ import annotations

import copy
import importlib
import os
import pickle
import socket as system
import time
from typing import Any

import pytest

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))
ours = pytest.mark.deviation


@pytest.fixture
def pair(sockets: Any) -> Any:
    return sockets.pair(zmq.PAIR, zmq.PAIR)


@pytest.fixture
def plain() -> Any:
    """Two connected sockets of the system."""
    a, b = system.socketpair()
    with a, b:
        yield a, b


# One socket.


def test_socket_poll_says_what_is_there(pair: Any) -> None:
    a, b = pair
    assert b.poll(0) == 0
    assert b.poll(0, zmq.POLLOUT) == zmq.POLLOUT
    a.send(b"x")
    events = b.poll()
    assert events == zmq.POLLIN and type(events) is int
    assert b.poll(1000, zmq.POLLIN | zmq.POLLOUT) == zmq.POLLIN | zmq.POLLOUT
    assert b.poll(None, 0) == 0


def test_socket_poll_waits_its_milliseconds(pair: Any) -> None:
    begin = time.monotonic()
    assert pair[0].poll(30) == 0
    assert 0.029 <= time.monotonic() - begin < 5


def test_socket_poll_is_woken_by_a_message(pair: Any, background: Any) -> None:
    a, b = pair
    join = background(lambda: b.poll(10_000))
    a.send(b"x")
    assert join() == zmq.POLLIN


def test_rest_of_a_message_is_readable(pair: Any) -> None:
    a, b = pair
    a.send_multipart([b"a", b"b"])
    assert b.recv() == b"a"
    assert b.poll(0) == zmq.POLLIN
    assert b.recv() == b"b"
    assert b.poll(0) == 0


# Pollers.


def test_poller_reports_ready_sockets_in_the_order_of_registration(sockets: Any) -> None:
    a, b = sockets.pair(zmq.PUSH, zmq.PULL)
    poller = zmq.Poller()
    poller.register(b, zmq.POLLIN)
    poller.register(a, zmq.POLLOUT)
    assert poller.poll(0) == [(a, zmq.POLLOUT)]
    a.send(b"x")
    found = poller.poll(10_000)
    while len(found) < 2:
        found = poller.poll(10_000)
    assert found == [(b, zmq.POLLIN), (a, zmq.POLLOUT)]
    assert found[0][0] is b and type(found[0][1]) is int
    assert dict(found)[b] == zmq.POLLIN


def test_register_again_replaces_the_events_and_zero_removes(pair: Any) -> None:
    a, b = pair
    poller = zmq.Poller()
    poller.register(a)
    poller.register(b)
    poller.register(a, zmq.POLLIN)
    assert poller.sockets == [(a, zmq.POLLIN), (b, zmq.POLLIN | zmq.POLLOUT)]
    assert a in poller
    poller.modify(a, 0)
    assert a not in poller and poller.sockets == [(b, zmq.POLLIN | zmq.POLLOUT)]
    poller.register(a, 0)
    poller.unregister(b)
    assert poller.sockets == []
    with pytest.raises(KeyError):
        poller.unregister(b)


def test_indices_hold_after_unregistering(sockets: Any) -> None:
    kept = [sockets(zmq.PAIR) for _ in range(4)]
    poller = zmq.Poller()
    for socket in kept:
        poller.register(socket)
    poller.unregister(kept[1])
    poller.modify(kept[3], zmq.POLLIN)
    assert poller.sockets == [(kept[0], 3), (kept[2], 3), (kept[3], 1)]
    for socket in (kept[3], kept[0], kept[2]):
        poller.unregister(socket)
    assert poller.sockets == []


def test_poller_of_nothing_returns_at_once() -> None:
    begin = time.monotonic()
    assert zmq.Poller().poll() == []
    assert zmq.zmq_poll([], timeout=10_000) == []
    assert time.monotonic() - begin < 5


def test_unhashable_objects_cannot_be_registered() -> None:
    with pytest.raises(TypeError):
        zmq.Poller().register([])


def test_descriptors_are_reported_by_number(plain: Any, pair: Any) -> None:
    a, b = plain
    poller = zmq.Poller()
    poller.register(a, zmq.POLLIN)
    poller.register(b.fileno(), zmq.POLLIN | zmq.POLLOUT)
    poller.register(pair[0], zmq.POLLIN)
    assert poller.poll(0) == [(b.fileno(), zmq.POLLOUT)]
    b.send(b"x")
    assert (a.fileno(), zmq.POLLIN) in poller.poll(10_000)
    poller.unregister(b.fileno())
    pair[1].send(b"y")
    assert poller.poll(10_000) == [(a.fileno(), zmq.POLLIN), (pair[0], zmq.POLLIN)]


def test_negative_descriptor_is_ignored() -> None:
    assert zmq.zmq_poll([(-1, zmq.POLLIN)], 0) == []


def test_hang_up_of_a_descriptor_is_readable(plain: Any) -> None:
    a, b = plain
    b.close()
    ((fd, events),) = zmq.zmq_poll([(a, zmq.POLLIN | zmq.POLLERR)], 10_000)
    assert fd == a.fileno() and events & zmq.POLLIN


@pytest.mark.parametrize("thing", ["x", None, 5.5, object()])
def test_what_cannot_be_polled_is_a_type_error(thing: Any) -> None:
    poller = zmq.Poller()
    poller.register(thing)
    with pytest.raises(
        TypeError, match="Socket must be a 0MQ socket, an integer fd or have a fileno"
    ):
        poller.poll(0)


def test_fileno_that_gives_no_number_is_a_value_error() -> None:
    class Wrong:
        def fileno(self) -> str:
            return "x"

    with pytest.raises(ValueError, match="valid integer fd"):
        zmq.zmq_poll([(Wrong(), zmq.POLLIN)], 0)


@pytest.mark.deviation
def test_closed_socket_cannot_be_polled(pair: Any) -> None:
    poller = zmq.Poller()
    poller.register(pair[0])
    pair[0].close()
    with pytest.raises(zmq.ZMQError) as caught:
        poller.poll(0)
    assert caught.value.errno == zmq.ENOTSOCK


def test_timeout_of_a_wrong_type_is_refused(pair: Any) -> None:
    poller = zmq.Poller()
    poller.register(pair[0], zmq.POLLIN)
    with pytest.raises(TypeError):
        poller.poll("x")
    with pytest.raises(OverflowError):
        poller.poll(2**40)


@pytest.mark.parametrize("forever", [None, -1, -1.5])
def test_poll_without_limit_waits_for_the_event(pair: Any, background: Any, forever: Any) -> None:
    a, b = pair
    poller = zmq.Poller()
    poller.register(b, zmq.POLLIN)
    join = background(lambda: poller.poll(forever))
    a.send(b"x")
    assert join() == [(b, zmq.POLLIN)]


@pytest.mark.deviation
def test_fraction_of_a_millisecond_is_waited(pair: Any) -> None:
    begin = time.monotonic()
    assert zmq.zmq_poll([(pair[0], zmq.POLLIN)], 0.9) == []
    assert time.monotonic() - begin >= 0.0009


def test_term_wakes_a_poll() -> None:
    import threading

    context = zmq.Context()
    socket = context.socket(zmq.PULL)
    found: list[Any] = []

    def poll() -> None:
        poller = zmq.Poller()
        poller.register(socket, zmq.POLLIN)
        try:
            poller.poll(10_000)
        except zmq.ZMQError as error:
            found.append(error.errno)
        socket.close()

    thread = threading.Thread(target=poll)
    thread.start()
    context.term()
    thread.join(10)
    assert found == [zmq.ETERM]


def test_copy_of_a_poller_polls_for_itself(pair: Any) -> None:
    a, b = pair
    poller = zmq.Poller()
    poller.register(b, zmq.POLLIN)
    assert poller.poll(0) == []
    a.send(b"x")
    assert copy.copy(poller).poll(1000) == [(b, zmq.POLLIN)]
    [(other, events)] = copy.deepcopy(poller).poll(1000)
    assert other is not b and other.recv() == b"x" and events == zmq.POLLIN
    assert poller.poll(0) == []


@ours  # pyzmq's copies share their lists
def test_what_a_copy_of_a_poller_registers_is_its_own(pair: Any) -> None:
    a, b = pair
    poller = zmq.Poller()
    poller.register(b, zmq.POLLIN)
    other = copy.copy(poller)
    other.register(a, zmq.POLLOUT)
    other.modify(b, zmq.POLLOUT)
    assert other.poll(1000) == [(b, zmq.POLLOUT), (a, zmq.POLLOUT)]
    assert poller.sockets == [(b, zmq.POLLIN)] and a not in poller
    assert poller.poll(0) == []


def test_poller_of_descriptors_can_be_pickled(plain: Any) -> None:
    a, b = plain
    poller = zmq.Poller()
    poller.register(b.fileno(), zmq.POLLIN)
    a.send(b"x")
    assert pickle.loads(pickle.dumps(poller)).poll(1000) == [(b.fileno(), zmq.POLLIN)]


def test_many_sockets_with_one_ready(sockets: Any) -> None:
    a, b = sockets.pair(zmq.PUSH, zmq.PULL)
    poller = zmq.Poller()
    for socket in [sockets(zmq.PULL) for _ in range(50)] + [b]:
        poller.register(socket, zmq.POLLIN)
    a.send(b"x")
    assert poller.poll(10_000) == [(b, zmq.POLLIN)]


# select and descriptors of sockets.


def test_select_sorts_into_three_lists(pair: Any, plain: Any) -> None:
    a, b = pair
    a.send(b"x")
    b.poll(10_000)
    readable, writable, in_error = zmq.select([a, b, plain[0]], [a, plain[0]], [a, b])
    assert (readable, set(writable), in_error) == ([b], {a, plain[0].fileno()}, [])
    assert zmq.select([a], [], [], 0) == ([], [], [])
    assert zmq.select([], [], []) == ([], [], [])


def test_timeout_of_select_is_in_seconds(pair: Any) -> None:
    begin = time.monotonic()
    assert zmq.select([pair[0]], [], [], 0.03) == ([], [], [])
    assert 0.029 <= time.monotonic() - begin < 5


def test_descriptor_of_a_socket_becomes_readable(pair: Any) -> None:
    import select

    a, b = pair
    assert b.fileno() == b.FD == b.get(zmq.FD)
    b.get(zmq.EVENTS)
    a.send(b"x")
    readable, _, _ = select.select([b.fileno()], [], [], 10)
    assert readable == [b.fileno()]
    while not b.get(zmq.EVENTS) & zmq.POLLIN:
        pass
    assert b.recv() == b"x"


@pytest.mark.deviation
def test_descriptor_is_readable_again_while_messages_are_left(pair: Any) -> None:
    import select

    a, b = pair
    fd = b.fileno()
    for index in range(5):
        a.send(str(index).encode())
    received = []
    # One message per wake-up: nothing is stranded.
    while len(received) < 5:
        assert select.select([fd], [], [], 10)[0] == [fd]
        if b.get(zmq.EVENTS) & zmq.POLLIN:
            received.append(b.recv())
    assert received == [b"0", b"1", b"2", b"3", b"4"]
