"""Pollers and devices for gevent."""

from __future__ import annotations

import errno
import importlib
import os
import resource
import socket as system
import time
from collections.abc import Iterator
from typing import Any

import pytest

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))
pytest.importorskip("gevent")
from peers.greenlets import (  # noqa: E402, F401
    DEADLINE,
    context_fixture,
    gevent,
    green,
    no_hub_stays,
    nobody_hangs,
)


@pytest.fixture
def plain() -> Iterator[Any]:
    """Two connected sockets of the system."""
    a, b = system.socketpair()
    with a, b:
        yield a, b


def let_run(turns: int = 10) -> None:
    for _ in range(turns):
        gevent.sleep(0)


def result_of(greenlet: Any) -> Any:
    gevent.joinall([greenlet], raise_error=True)
    return greenlet.value


def pair(context: Any, a: int, b: int, **options: Any) -> tuple[Any, Any]:
    connected, bound = context.socket(a), context.socket(b)
    for socket in (connected, bound):
        for name, value in options.items():
            setattr(socket, name, value)
    bound.bind(f"inproc://{id(bound)}")
    connected.connect(bound.last_endpoint)
    return connected, bound


# Polling.


def test_a_poller_lets_others_run_until_a_socket_is_ready(context: Any) -> None:
    push, pull = pair(context, zmq.PUSH, zmq.PULL)
    other = context.socket(zmq.PULL)
    poller = green.Poller()
    poller.register(other, zmq.POLLIN)
    poller.register(pull, zmq.POLLIN)
    polling = gevent.spawn(poller.poll)
    let_run()
    assert not polling.ready()
    push.send(b"x")
    assert result_of(polling) == [(pull, zmq.POLLIN)]
    assert poller.poll(0) == poller.poll() == [(pull, zmq.POLLIN)]
    assert pull.recv() == b"x"
    assert poller.poll(0) == []


def test_sockets_are_polled_for_themselves(context: Any) -> None:
    push, pull = pair(context, zmq.PUSH, zmq.PULL)
    assert push.poll(0, zmq.POLLOUT) == zmq.POLLOUT
    polling = gevent.spawn(pull.poll)
    let_run()
    push.send(b"x")
    assert result_of(polling) == zmq.POLLIN
    assert type(pull.poll(0)) is int
    pull.close()
    with pytest.raises(zmq.ZMQError) as caught:
        pull.poll()
    assert caught.value.errno == errno.ENOTSUP


def test_a_poller_wakes_when_there_is_room(context: Any) -> None:
    push, pull = pair(context, zmq.PUSH, zmq.PULL, hwm=1)
    while push.poll(0, zmq.POLLOUT):
        push.send(b"x")
    polling = gevent.spawn(push.poll, 10_000, zmq.POLLOUT)
    let_run()
    assert not polling.ready()
    while pull.poll(10):
        pull.recv()
    assert result_of(polling) == zmq.POLLOUT


def test_a_poll_takes_its_time_and_no_more(context: Any) -> None:
    pull = context.socket(zmq.PULL)
    poller = green.Poller()
    begin = time.monotonic()
    assert poller.poll(30) == []
    poller.register(pull, zmq.POLLIN)
    assert poller.poll(30) == []
    assert pull.poll(30) == 0
    assert 0.085 <= time.monotonic() - begin < 5


@pytest.mark.deviation  # there it waits for ever
def test_an_empty_poller_does_not_wait_for_ever() -> None:
    assert green.Poller().poll() == []


def test_descriptors_are_polled_with_sockets(context: Any, plain: Any) -> None:
    push, pull = pair(context, zmq.PUSH, zmq.PULL)
    a, b = plain
    poller = green.Poller()
    poller.register(pull, zmq.POLLIN)
    poller.register(a, zmq.POLLIN)
    polling = gevent.spawn(poller.poll)
    let_run()
    assert not polling.ready()
    b.send(b"x")
    assert result_of(polling) == [(a.fileno(), zmq.POLLIN)]
    a.recv(1)
    polling = gevent.spawn(poller.poll)
    let_run()
    push.send(b"x")
    assert result_of(polling) == [(pull, zmq.POLLIN)]
    poller.register(b.fileno(), zmq.POLLOUT)
    assert (b.fileno(), zmq.POLLOUT) in poller.poll()


@pytest.mark.deviation
def test_a_descriptor_closed_meanwhile_is_reported(plain: Any) -> None:
    a, _ = plain
    poller = green.Poller()
    poller.register(a.fileno(), zmq.POLLIN)
    polling = gevent.spawn(poller.poll)
    let_run()
    number = a.fileno()
    a.close()
    assert result_of(polling) == [(number, zmq.POLLERR)]


@pytest.mark.deviation
def test_a_socket_closed_meanwhile_ends_the_poll(context: Any) -> None:
    pull = context.socket(zmq.PULL)
    poller = green.Poller()
    poller.register(pull, zmq.POLLIN)
    polling = gevent.spawn(poller.poll)
    let_run()
    pull.close()
    with pytest.raises(zmq.ZMQError) as caught:
        result_of(polling)
    assert caught.value.errno == errno.ENOTSOCK


@pytest.mark.deviation
def test_pollers_and_receivers_wait_for_one_socket(context: Any) -> None:
    push, pull = pair(context, zmq.PUSH, zmq.PULL)
    receiver = gevent.spawn(pull.recv)
    let_run()
    pollers = [gevent.spawn(pull.poll, 10_000) for _ in range(5)]
    let_run()
    push.send(b"1")
    assert result_of(receiver) == b"1"
    let_run()
    push.send(b"2")  # stays until the pollers have seen it
    assert [result_of(polling) for polling in pollers] == [zmq.POLLIN] * 5


@pytest.mark.deviation
def test_a_waiting_poll_takes_no_time(context: Any, plain: Any) -> None:
    push, pull = pair(context, zmq.PUSH, zmq.PULL)
    poller = green.Poller()
    poller.register(pull, zmq.POLLIN)
    poller.register(plain[0], zmq.POLLIN)
    polling = gevent.spawn(poller.poll)
    let_run()
    os.eventfd_write(pull.FD, 1)  # readable for nothing
    begin = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    gevent.sleep(0.3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - begin < 0.2
    push.send(b"x")
    assert result_of(polling) == [(pull, zmq.POLLIN)]


def test_a_killed_poll_leaves_nothing_behind(context: Any) -> None:
    push, pull = pair(context, zmq.PUSH, zmq.PULL)
    polling = gevent.spawn(pull.poll)
    let_run()
    gevent.kill(polling)
    let_run()
    assert polling.ready()
    if zmq.__name__ == "mqcore":
        assert not pull._waiting.sleepers
    push.send(b"x")
    assert pull.recv() == b"x"


# Devices.


def test_a_device_passes_requests_and_replies_on(context: Any) -> None:
    client, frontend = pair(context, zmq.REQ, zmq.ROUTER)
    server, backend = pair(context, zmq.REP, zmq.DEALER)
    device = gevent.spawn(green.device, zmq.QUEUE, frontend, backend)

    def serve() -> None:
        while True:
            server.send_multipart([part.upper() for part in server.recv_multipart()])

    serving = gevent.spawn(serve)
    for number in range(100):
        client.send_multipart([b"q%d" % number, b"more"])
        assert client.recv_multipart() == [b"Q%d" % number, b"MORE"]
    gevent.killall([device, serving])


def test_a_device_of_one_socket_answers_with_what_it_receives(context: Any) -> None:
    client, echo = pair(context, zmq.REQ, zmq.REP)
    device = gevent.spawn(green.device, zmq.FORWARDER, echo, -1)
    for number in range(10):
        client.send(b"%d" % number)
        assert client.recv() == b"%d" % number
    gevent.kill(device)


@pytest.mark.deviation
def test_a_device_whose_backend_is_full_waits_and_loses_nothing(context: Any) -> None:
    push, frontend = pair(context, zmq.PUSH, zmq.PULL, hwm=2)
    pull, backend = pair(context, zmq.PULL, zmq.PUSH, hwm=2)
    device = gevent.spawn(green.device, zmq.STREAMER, frontend, backend)

    def feed() -> None:
        for number in range(200):
            push.send(b"%d" % number)

    feeder = gevent.spawn(feed)
    let_run(50)
    assert not feeder.ready()
    gevent.kill(device)
    device = gevent.spawn(green.device, zmq.STREAMER, frontend, backend)
    assert [pull.recv() for _ in range(200)] == [b"%d" % number for number in range(200)]
    result_of(feeder)
    gevent.kill(device)


@pytest.mark.deviation
def test_a_device_ends_with_its_sockets(context: Any) -> None:
    frontend, backend = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    device = gevent.spawn(green.device, zmq.QUEUE, frontend, backend)
    let_run()
    backend.close()
    with pytest.raises(zmq.ZMQError) as caught:
        result_of(device)
    assert caught.value.errno == errno.ENOTSOCK


@pytest.mark.deviation
def test_a_green_proxy_shows_what_it_passes_on(context: Any) -> None:
    proxy = importlib.import_module(f"{green.__name__}.device").proxy
    push, frontend = pair(context, zmq.PUSH, zmq.PULL)
    pull, backend = pair(context, zmq.PULL, zmq.PUSH)
    seen, capture = pair(context, zmq.PULL, zmq.PUSH)
    passing = gevent.spawn(proxy, frontend, backend, capture)
    for number in range(100):
        push.send_multipart([b"%d" % number, b"more"])
    for socket in (pull, seen):
        assert [socket.recv_multipart() for _ in range(100)] == [
            [b"%d" % number, b"more"] for number in range(100)
        ]
    gevent.kill(passing)
