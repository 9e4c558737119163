"""Sockets for gevent: a call that waits lets other greenlets run, and none waits in vain."""

from __future__ import annotations

import copy
import errno
import importlib
import os
import resource
import time
import warnings
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
from peers.sockets import Sockets  # noqa: E402


@pytest.fixture
def sockets(context: Any) -> Sockets:
    return Sockets(context)


def all_of(*greenlets: Any) -> list[Any]:
    """Their results, as soon as all have ended."""
    gevent.joinall(greenlets, raise_error=True)
    return [one.value for one in greenlets]


def let_run(turns: int = 10) -> None:
    """Lets the others run until they wait."""
    for _ in range(turns):
        gevent.sleep(0)


# The names.


def test_everything_else_is_the_same_object() -> None:
    other = {n for n in zmq.__all__ if getattr(green, n) is not getattr(zmq, n)}
    assert other == {"Context", "Socket", "Poller", "device"}
    assert set(green.__all__) == set(zmq.__all__)
    assert issubclass(green.Context, zmq.Context) and issubclass(green.Socket, zmq.Socket)
    assert issubclass(green.Poller, zmq.Poller)


def test_the_modules_have_the_private_names_that_others_use() -> None:
    core = importlib.import_module(f"{green.__name__}.core")
    assert core._Context is green._Context is green.Context
    assert core._Socket is green._Socket is green.Socket
    assert importlib.import_module(f"{green.__name__}.poll")._Poller is green._Poller
    assert importlib.import_module(f"{green.__name__}.device").device is green.device
    assert tuple(core.TIMEOS) == (zmq.RCVTIMEO, zmq.SNDTIMEO)


def test_sockets_of_a_green_context_are_green(context: Any, sockets: Any) -> None:
    socket = sockets(zmq.PAIR)
    assert type(socket) is green.Socket
    assert f"{green.__name__}.Socket" in repr(socket)
    assert f"{green.__name__}.Context" in repr(context)


def test_the_green_singleton_is_its_own() -> None:
    mine, other = green.Context.instance(), zmq.Context.instance()
    assert mine is green.Context.instance() is not other
    assert type(mine) is green.Context
    mine.term()
    other.term()


def test_an_unclosed_green_socket_is_closed_without_a_warning(context: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        context.socket(zmq.PULL)


# Waiting.


@pytest.mark.parametrize("transport", ["inproc", "tcp"])
def test_a_waiting_receiver_lets_others_run(sockets: Any, transport: str) -> None:
    push, pull = sockets.pair(zmq.PUSH, zmq.PULL, transport)
    order: list[str] = []

    def receive() -> Any:
        order.append("waits")
        message = pull.recv()
        order.append("has it")
        return message

    receiver = gevent.spawn(receive)
    let_run()
    assert order == ["waits"]
    push.send(b"x")
    assert all_of(receiver) == [b"x"]
    assert order == ["waits", "has it"]


def test_a_waiting_sender_lets_others_run(sockets: Any) -> None:
    push, pull = sockets.pair(zmq.PUSH, zmq.PULL, hwm=1)
    sent: list[int] = []

    def send() -> None:
        for number in range(10):
            push.send(b"%d" % number)
            sent.append(number)

    sender = gevent.spawn(send)
    let_run()
    assert 0 < len(sent) < 10
    assert [pull.recv() for _ in range(10)] == [b"%d" % number for number in range(10)]
    all_of(sender)


def test_a_sender_waits_for_a_peer(sockets: Any) -> None:
    push, pull = sockets(zmq.PUSH), sockets(zmq.PULL)
    push.bind("inproc://late")
    sender = gevent.spawn(push.send, b"patient")
    let_run()
    assert not sender.ready()
    pull.connect("inproc://late")
    assert pull.recv() == b"patient"
    all_of(sender)


def test_requests_and_replies_between_greenlets(sockets: Any) -> None:
    client, server = sockets.pair(zmq.REQ, zmq.REP, "tcp")

    def serve() -> None:
        for _ in range(100):
            server.send_string(server.recv_string().upper())

    def ask() -> list[str]:
        answers = []
        for number in range(100):
            client.send_string(f"q{number}")
            answers.append(client.recv_string())
        return answers

    _, answers = all_of(gevent.spawn(serve), gevent.spawn(ask))
    assert answers == [f"Q{number}" for number in range(100)]


def test_every_way_to_send_and_receive_waits_as_a_greenlet(sockets: Any) -> None:
    a, b = sockets.pair(zmq.PAIR, zmq.PAIR)
    buffer = bytearray(8)
    for send, receive, wanted in (
        (lambda: a.send(b"x"), lambda: b.recv(), b"x"),
        (lambda: a.send(b"x" * 3, copy=False), lambda: b.recv(copy=False).bytes, b"xxx"),
        (lambda: a.send_multipart([b"x", b"y"]), lambda: b.recv_multipart(), [b"x", b"y"]),
        (lambda: a.send_string("ä"), lambda: b.recv_string(), "ä"),
        (lambda: a.send_json([1]), lambda: b.recv_json(), [1]),
        (lambda: a.send_pyobj((1,)), lambda: b.recv_pyobj(), (1,)),
        (lambda: a.send(b"into"), lambda: b.recv_into(buffer), 4),
        (
            lambda: a.send_serialized([1, 2], lambda m: [b"%d" % n for n in m]),
            lambda: b.recv_serialized(lambda parts: [int(p) for p in parts]),
            [1, 2],
        ),
    ):
        receiver = gevent.spawn(receive)
        let_run(3)
        assert not receiver.ready()
        send()
        assert all_of(receiver) == [wanted]
    assert buffer[:4] == b"into"


def test_a_message_may_be_sent_and_received_in_parts(sockets: Any) -> None:
    a, b = sockets.pair(zmq.PAIR, zmq.PAIR)
    receiver = gevent.spawn(lambda: [b.recv(), b.rcvmore, b.recv(), b.rcvmore])
    let_run()
    a.send(b"1", zmq.SNDMORE)
    let_run()
    a.send(b"2")
    assert all_of(receiver) == [[b"1", 1, b"2", 0]]


def test_who_may_not_wait_hears_again(sockets: Any) -> None:
    push, pull = sockets(zmq.PUSH), sockets(zmq.PULL)
    with pytest.raises(zmq.Again):
        push.send(b"x", zmq.DONTWAIT)
    with pytest.raises(zmq.Again):
        push.send_multipart([b"x"], zmq.NOBLOCK)
    with pytest.raises(zmq.Again):
        pull.recv(zmq.DONTWAIT)
    with pytest.raises(zmq.Again):
        pull.recv_multipart(zmq.DONTWAIT)
    with pytest.raises(zmq.Again):
        pull.recv_into(bytearray(1), flags=zmq.DONTWAIT)


def test_errors_that_waiting_does_not_mend_come_at_once(sockets: Any) -> None:
    for call, number in (
        (lambda: sockets(zmq.PUSH).recv(), errno.ENOTSUP),
        (lambda: sockets(zmq.PULL).send(b"x"), errno.ENOTSUP),
        (lambda: sockets(zmq.REQ).recv(), zmq.EFSM),
    ):
        with pytest.raises(zmq.ZMQError) as caught:
            call()
        assert caught.value.errno == number
    closed = sockets(zmq.PULL)
    closed.close()
    with pytest.raises(zmq.ZMQError) as caught:
        closed.recv()
    assert caught.value.errno == errno.ENOTSOCK


@pytest.mark.deviation
def test_timeouts_of_the_socket_are_kept(sockets: Any) -> None:
    push, pull = sockets(zmq.PUSH, sndtimeo=30), sockets(zmq.PULL, rcvtimeo=30)
    for call in (
        pull.recv,
        pull.recv_multipart,
        pull.recv_json,
        lambda: pull.recv_into(bytearray(1)),
        lambda: push.send(b"x"),
        lambda: push.send_multipart([b"x"]),
    ):
        begin = time.monotonic()
        with pytest.raises(zmq.Again):
            call()
        assert time.monotonic() - begin >= 0.029
    pull.rcvtimeo = push.sndtimeo = 0
    with pytest.raises(zmq.Again):
        pull.recv()
    with pytest.raises(zmq.Again):
        push.send(b"x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pull.get(zmq.RCVTIMEO) == 0


def test_a_timeout_of_gevent_around_a_receive_loses_nothing(sockets: Any) -> None:
    push, pull = sockets.pair(zmq.PUSH, zmq.PULL)

    def feed() -> None:
        for number in range(200):
            push.send(b"%d" % number)
            gevent.sleep(0.0005 * (number % 4))

    feeder = gevent.spawn(feed)
    found: list[bytes] = []
    timeouts = 0
    while len(found) < 200:
        try:
            with gevent.Timeout(0.001):
                found.append(pull.recv())
        except gevent.Timeout:
            timeouts += 1
    all_of(feeder)
    assert found == [b"%d" % number for number in range(200)]
    assert timeouts > 0


# Several greenlets.


@pytest.mark.deviation
def test_many_greenlets_wait_for_one_socket(sockets: Any) -> None:
    push, pull = sockets.pair(zmq.PUSH, zmq.PULL)
    receivers = [gevent.spawn(pull.recv) for _ in range(50)]
    let_run()
    for number in range(50):
        push.send(b"%d" % number)
    assert sorted(all_of(*receivers), key=int) == [b"%d" % number for number in range(50)]


@pytest.mark.deviation
def test_many_greenlets_send_by_one_full_socket(sockets: Any) -> None:
    push, pull = sockets.pair(zmq.PUSH, zmq.PULL, hwm=1)
    senders = [gevent.spawn(push.send, b"%d" % number) for number in range(50)]
    let_run()
    found = [pull.recv() for _ in range(50)]
    all_of(*senders)
    assert sorted(found, key=int) == [b"%d" % number for number in range(50)]


def test_one_greenlet_sends_while_another_receives(sockets: Any) -> None:
    a, b = sockets.pair(zmq.PAIR, zmq.PAIR, "tcp", hwm=10)

    def send(socket: Any) -> None:
        for number in range(500):
            socket.send(b"%d" % number)

    def receive(socket: Any) -> list[bytes]:
        return [socket.recv() for _ in range(500)]

    ended = all_of(*(gevent.spawn(job, socket) for socket in (a, b) for job in (send, receive)))
    assert ended[1] == ended[3] == [b"%d" % number for number in range(500)]


@pytest.mark.deviation
def test_a_killed_greenlet_passes_the_news_on(sockets: Any) -> None:
    push, pull = sockets.pair(zmq.PUSH, zmq.PULL)
    for kill_first in (False, True) * 10:
        first, second = gevent.spawn(pull.recv), gevent.spawn(pull.recv)
        let_run(3)
        push.send(b"x")
        if kill_first:
            first.kill(block=False)
        pull.get(zmq.EVENTS)  # the news are for the first
        if not kill_first:
            first.kill(block=False)
        gevent.joinall([first])
        if isinstance(first.value, gevent.GreenletExit):
            assert all_of(second) == [b"x"]
        else:
            assert first.value == b"x"
            gevent.kill(second)


def test_who_reads_the_events_takes_the_news_from_nobody(sockets: Any) -> None:
    push, pull = sockets.pair(zmq.PUSH, zmq.PULL)
    receiver = gevent.spawn(pull.recv)
    let_run()
    push.send(b"x")
    assert pull.events & zmq.POLLIN
    assert pull.getsockopt(zmq.EVENTS) & zmq.POLLIN
    assert all_of(receiver) == [b"x"]


@pytest.mark.deviation
def test_all_faces_of_a_socket_wait_together(sockets: Any) -> None:
    push, pull = sockets.pair(zmq.PUSH, zmq.PULL)
    face = copy.copy(pull)
    receivers = [gevent.spawn(pull.recv), gevent.spawn(face.recv)]
    let_run()
    push.send(b"1")
    push.send(b"2")
    assert sorted(all_of(*receivers)) == [b"1", b"2"]


@pytest.mark.deviation
def test_a_closed_socket_wakes_who_waits_for_it(sockets: Any, background: Any) -> None:
    for close in (lambda s: s.close(), lambda s: background(s.close)()):
        pull, push = sockets(zmq.PULL), sockets(zmq.PUSH)
        waiting = [gevent.spawn(pull.recv), gevent.spawn(pull.recv), gevent.spawn(push.send, b"x")]
        let_run()
        close(pull)
        close(push)
        for greenlet in waiting:
            with pytest.raises(zmq.ZMQError) as caught:
                all_of(greenlet)
            assert caught.value.errno == errno.ENOTSOCK


@pytest.mark.deviation
def test_a_terminated_context_wakes_who_waits(background: Any) -> None:
    context = green.Context()
    pull = context.socket(zmq.PULL)
    waiting = [gevent.spawn(pull.recv) for _ in range(3)]
    let_run()
    join = background(context.term)
    for greenlet in waiting:
        with pytest.raises(zmq.ContextTerminated):
            all_of(greenlet)
    pull.close()
    join()


# Idle greenlets and other threads.


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@pytest.mark.deviation
def test_waiting_takes_no_time_though_the_descriptor_is_readable(sockets: Any) -> None:
    push, pull = sockets.pair(zmq.PUSH, zmq.PULL)
    receiver = gevent.spawn(pull.recv)
    sender = gevent.spawn(sockets(zmq.PUSH).send, b"never")
    let_run()
    waiting = pull._waiting
    looks: list[int] = []
    wake = waiting.wake
    waiting.wake = lambda events: (looks.append(events), wake(events))
    os.eventfd_write(pull.FD, 1)  # readable for nothing
    begin = processor_seconds()
    gevent.sleep(0.3)
    assert len(looks) == 1
    assert processor_seconds() - begin < 0.2
    push.send(b"x")
    assert all_of(receiver) == [b"x"]
    gevent.kill(sender)


def test_a_receiver_is_woken_by_another_thread(sockets: Any, background: Any) -> None:
    push, pull = sockets.pair(zmq.PUSH, zmq.PULL)
    plain = zmq.Socket.shadow(push)

    def feed() -> None:
        for number in range(3000):
            plain.send(b"%d" % number)

    join = background(feed)
    assert [pull.recv() for _ in range(3000)] == [b"%d" % number for number in range(3000)]
    join()


@pytest.mark.deviation
def test_threads_with_greenlets_of_their_own_share_a_socket(sockets: Any, background: Any) -> None:
    push, pull = sockets.pair(zmq.PUSH, zmq.PULL, hwm=20)

    def work() -> list[bytes]:
        found: list[bytes] = []

        def receive() -> None:
            while (message := pull.recv()) != b"end":
                found.append(message)

        gevent.joinall([gevent.spawn(receive) for _ in range(3)], raise_error=True)
        gevent.get_hub().destroy(destroy_loop=True)
        return found

    joins = [background(work) for _ in range(2)]
    for number in range(2000):
        push.send(b"%d" % number)
        if number % 50 == 0:
            gevent.sleep(0.001)
    for _ in range(6):
        push.send(b"end")
    ended = gevent.get_hub().threadpool.map(lambda join: join(), joins)
    assert sorted((m for found in ended for m in found), key=int) == [
        b"%d" % number for number in range(2000)
    ]


def test_a_subclass_with_its_own_send_and_recv_is_heard(context: Any) -> None:
    class Counting(green.Socket):  # type: ignore[misc]
        sent = 0
        received = 0

        def send(self, *arguments: Any, **options: Any) -> Any:
            self.sent += 1
            return super().send(*arguments, **options)

        def recv(self, *arguments: Any, **options: Any) -> Any:
            self.received += 1
            return super().recv(*arguments, **options)

    a, b = (context.socket(zmq.PAIR, socket_class=Counting) for _ in "ab")
    a.bind("inproc://counted")
    b.connect("inproc://counted")
    receiver = gevent.spawn(b.recv_multipart)
    let_run()
    a.send_multipart([b"1", b"2", b"3"])
    assert all_of(receiver) == [[b"1", b"2", b"3"]]
    assert (a.sent, b.received) == (3, 3)


# Batches.


@pytest.mark.deviation
@pytest.mark.parametrize("kind", [list, iter])
def test_batches_wait_as_greenlets(sockets: Any, kind: Any) -> None:
    push, pull = sockets.pair(zmq.PUSH, zmq.PULL, hwm=7)
    messages = [b"%d" % number for number in range(5000)]
    sender = gevent.spawn(lambda: push.send_many(kind(messages)))
    found: list[bytes] = []
    for batch in pull.batches(timeout=200):
        found += batch
    assert all_of(sender) == [5000]
    assert found == messages
    receiver = gevent.spawn(pull.recv_many_multipart)
    let_run()
    push.send_multipart([b"a", b"b"])
    assert all_of(receiver) == [[[b"a", b"b"]]]


@pytest.mark.deviation
def test_batches_keep_the_timeouts(sockets: Any) -> None:
    push, pull = sockets.pair(zmq.PUSH, zmq.PULL, hwm=5, sndtimeo=20)
    sent = push.send_many([b"x"] * 100)
    assert 0 < sent < 100
    with pytest.raises(zmq.Again):
        push.send_many([b"x"])
    assert len(pull.recv_many()) > 0
    with pytest.raises(TypeError):
        push.send_many(b"one message")
    with pytest.raises(TypeError) as caught:
        push.send_many([b"fine", 5])
    assert getattr(caught.value, "messages_sent", 0) == 0
