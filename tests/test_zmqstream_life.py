"""Streams of sockets in a tornado loop: their ends, many of them, and whole programs."""

from __future__ import annotations

import asyncio
import errno
import importlib
import logging
import os
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from typing import Any

import pytest

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))
pytest.importorskip("tornado")
from peers.streams import Running, ZMQStream, pair_fixture, running_fixture  # noqa: E402, F401
from tornado.ioloop import IOLoop  # noqa: E402

# The end.


def test_after_the_close_the_stream_says_so(pair: Any, running: Any) -> None:
    stream = pair[0]
    socket = stream.socket
    told: list[Any] = []
    stream.set_close_callback(lambda: told.append(stream.closed()))
    stream.send(b"x")
    assert not stream.closed()
    stream.close()
    assert told == [True] and socket.closed and stream.closed() and stream.socket is None
    stream.close()
    assert told == [True]
    assert not stream.receiving()
    for call in (
        lambda: stream.send(b"x"),
        lambda: stream.send_json(1),
        lambda: stream.on_recv(print),
        lambda: stream.on_send(None),
        stream.stop_on_recv,
        stream.stop_on_send,
        stream.flush,
    ):
        with pytest.raises(OSError, match="Stream is closed"):
            call()
    running.turns()


def test_a_stream_may_be_closed_by_its_callback(pair: Any, running: Any) -> None:
    a, b = pair
    b.on_recv(lambda parts: b.close())
    b.send(b"never mind")
    a.socket.send(b"1")
    a.socket.send(b"2")
    running.until(b.closed)
    running.turns()
    assert not running.errors


def test_a_socket_closed_behind_its_stream_is_noticed(pair: Any) -> None:
    stream = pair[0]
    stream.socket.close()
    with pytest.warns(UserWarning, match=r"Unregistering FD \d+ after closing socket"):
        assert stream.closed()
    assert stream.socket is None
    with pytest.raises(OSError, match="Stream is closed"):
        stream.send(b"x")


@pytest.mark.deviation
def test_the_loop_notices_that_a_socket_was_closed(
    pair: Any, running: Any, background: Any
) -> None:
    stream = pair[0]
    told: list[bool] = []
    stream.set_close_callback(lambda: told.append(True))
    socket = stream.socket
    with pytest.warns(UserWarning, match="after closing socket"):
        background(socket.close)()
        running.until(lambda: bool(told))
    assert stream.closed()


@pytest.mark.deviation
def test_a_terminated_context_is_told_once_and_takes_no_time(
    running: Any, background: Any, caplog: Any
) -> None:
    context = zmq.Context()
    stream = running.stream(context.socket(zmq.PULL))
    join = background(context.term)
    running.until(lambda: bool(running.errors))
    running.turns(100)
    assert [type(found["exception"]) for found in running.errors] == [zmq.ContextTerminated]
    stream.close()
    join()


def test_a_loop_closed_with_its_descriptors_closes_the_sockets(sockets: Any) -> None:
    asyncio_loop = asyncio.new_event_loop()
    asyncio.set_event_loop(asyncio_loop)
    loop = IOLoop.current()
    socket = sockets(zmq.PULL)
    stream = ZMQStream(socket, loop)
    loop.close(all_fds=True)
    asyncio.set_event_loop(None)
    assert socket.closed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert stream.closed()


# The stream and its socket.


def test_the_stream_has_the_methods_of_its_socket(pair: Any) -> None:
    stream = pair[0]
    for name in ("bind", "connect", "setsockopt", "getsockopt", "bind_to_random_port"):
        assert getattr(stream, name) == getattr(stream.socket, name)
    stream.setsockopt(zmq.LINGER, 7)
    assert stream.getsockopt(zmq.LINGER) == 7
    stream.setsockopt_string(zmq.IDENTITY, "me")
    assert stream.getsockopt_unicode(zmq.IDENTITY) == "me"


def test_errors_as_events_are_no_more(pair: Any, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING):
        pair[0].on_err(print)
        pair[0].stop_on_err()
    assert caplog.text.count("on_err does nothing") == 2


def test_a_closed_socket_has_no_stream(sockets: Any, running: Any) -> None:
    socket = sockets(zmq.PULL)
    socket.close()
    with pytest.raises(zmq.ZMQError) as caught:
        running.stream(socket)
    assert caught.value.errno == errno.ENOTSOCK


def test_an_asynchronous_socket_is_used_through_a_plain_shadow(running: Any) -> None:
    asynchronous = pytest.importorskip(f"{zmq.__name__}.asyncio")
    context = asynchronous.Context()
    socket = context.socket(zmq.PUSH)
    with pytest.warns(RuntimeWarning, match="Socket"):
        stream = running.stream(socket)
    assert type(stream.socket) is zmq.Socket
    stream.close()
    assert socket.closed
    context.term()


# Many messages, streams and threads.


@pytest.mark.parametrize("transport", ["inproc", "tcp"])
def test_no_message_is_lost_in_either_direction(running: Any, sockets: Any, transport: str) -> None:
    a, b = (running.stream(s) for s in sockets.pair(zmq.PAIR, zmq.PAIR, transport, hwm=50))
    there: list[Any] = []
    back: list[Any] = []
    b.on_recv(there.append)
    a.on_recv(back.append)
    messages = [[b"%d" % number] for number in range(2000)]
    for message in messages:
        a.send_multipart(message)
        b.send_multipart(message)
    running.until(lambda: len(there) == len(back) == 2000)
    assert there == back == messages


def test_several_streams_share_a_loop_and_other_callbacks_come_to_their_turn(
    running: Any, sockets: Any
) -> None:
    found: dict[int, int] = dict.fromkeys(range(4), 0)
    turns: list[int] = []

    def receiver(index: int) -> Callable[[Any], None]:
        def count(parts: Any) -> None:
            found[index] += 1

        return count

    for index in found:
        pull = sockets(zmq.PULL)
        pull.bind(f"inproc://{index}")
        push = sockets(zmq.PUSH)
        push.connect(f"inproc://{index}")
        for _ in range(500):
            push.send(b"x")
        running.stream(pull).on_recv(receiver(index))

    def turn() -> None:
        turns.append(sum(found.values()))
        if turns[-1] < 2000:
            running.loop.add_callback(turn)

    running.loop.add_callback(turn)
    running.until(lambda: sum(found.values()) == 2000 and turns[-1] == 2000)
    assert set(found.values()) == {500}
    # At most one message in a turn from each stream, and one more that was looked for.
    assert max(b - a for a, b in zip(turns, turns[1:], strict=False)) <= 8


def test_a_stream_is_fed_by_another_thread(running: Any, sockets: Any, background: Any) -> None:
    push, pull = sockets.pair(zmq.PUSH, zmq.PULL)
    found: list[Any] = []
    running.stream(pull).on_recv(found.append)

    def feed() -> None:
        for number in range(3000):
            push.send(b"%d" % number)

    join = background(feed)
    running.until(lambda: len(found) == 3000)
    join()
    assert found == [[b"%d" % number] for number in range(3000)]


@pytest.mark.deviation
def test_other_threads_may_send_by_a_stream(running: Any, sockets: Any, background: Any) -> None:
    push, pull = (running.stream(s) for s in sockets.pair(zmq.PUSH, zmq.PULL))
    found: list[Any] = []
    pull.on_recv(found.append)

    def feed(name: bytes) -> None:
        for number in range(500):
            push.send_multipart([name, b"%d" % number])

    joins = [background(lambda name=name: feed(name)) for name in (b"a", b"b")]
    running.until(lambda: len(found) == 1000)
    for join in joins:
        join()
    for name in (b"a", b"b"):
        assert [n for of, n in found if of == name] == [b"%d" % number for number in range(500)]


@pytest.mark.deviation
def test_an_idle_stream_takes_no_time(running: Any, sockets: Any) -> None:
    push, pull = sockets.pair(zmq.PUSH, zmq.PULL)
    stream = running.stream(pull)
    looks: list[int] = []
    look = stream._handle_events
    stream._handle_events = lambda fd, events: (looks.append(1), look(fd, events))
    running.loop.update_handler(pull, IOLoop.READ)
    running.loop.remove_handler(pull)
    running.loop.add_handler(pull, stream._handle_events, IOLoop.READ)
    push.send(b"nobody wants it yet")
    running.turns(100)
    assert len(looks) <= 2


# Whole programs, as somebody wrote them for pyzmq.

PROGRAM = """
    import sys
    import ZMQ as zmq
    from tornado import ioloop
    from ZMQ.eventloop.zmqstream import ZMQStream

    class Server:
        def __init__(self, context, endpoint):
            socket = context.socket(zmq.ROUTER)
            socket.linger = 1000
            self.port = socket.bind_to_random_port(endpoint)
            self.stream = ZMQStream(socket)
            self.stream.on_recv(self.answer)

        def answer(self, msg):
            client, empty, request = msg
            if request == b"bye":
                self.stream.send_multipart([client, empty, b"BYE"], callback=self.stop)
            else:
                self.stream.send_multipart([client, empty, request.upper()])

        def stop(self, msg, status):
            loop = ioloop.IOLoop.current()
            self.stream.close()
            loop.add_callback(loop.stop)

    class Client:
        def __init__(self, context, endpoint, count):
            self.count = count
            self.answers = []
            socket = context.socket(zmq.REQ)
            socket.connect(endpoint)
            self.stream = ZMQStream(socket)
            self.stream.on_recv(self.received)
            self.stream.send(b"request 0")

        def received(self, msg):
            self.answers.append(msg[0])
            if len(self.answers) < self.count:
                self.stream.send(b"request %d" % len(self.answers))
            elif msg[0] != b"BYE":
                self.stream.send(b"bye")
            else:
                self.stream.close()
                ioloop.IOLoop.current().stop()

    def check(answers):
        assert answers == [b"REQUEST %d" % n for n in range(200)] + [b"BYE"], answers
"""

TOGETHER = """
    async def main():
        pass

    context = zmq.Context()
    server = Server(context, "tcp://127.0.0.1")
    client = Client(context, "tcp://127.0.0.1:%d" % server.port, 200)
    server.stop = lambda msg, status: None
    ioloop.IOLoop.current().start()
    server.stream.close()
    check(client.answers)
    context.term()
    print("done")
"""

SERVER = """
    context = zmq.Context()
    server = Server(context, "tcp://127.0.0.1")
    print(server.port, flush=True)
    ioloop.IOLoop.current().start()
    context.term()
"""

CLIENT = """
    context = zmq.Context()
    client = Client(context, "tcp://127.0.0.1:" + sys.argv[1], 200)
    ioloop.IOLoop.current().start()
    check(client.answers)
    context.term()
    print("done")
"""


def program(*parts: str) -> list[str]:
    text = "".join(textwrap.dedent(part) for part in parts).replace("ZMQ as", f"{zmq.__name__} as")
    return [sys.executable, "-c", text.replace("from ZMQ.", f"from {zmq.__name__}.")]


def test_a_program_with_server_and_client_in_one_process_runs_unchanged() -> None:
    ran = subprocess.run(program(PROGRAM, TOGETHER), capture_output=True, text=True, timeout=60)
    assert (ran.stdout, ran.stderr) == ("done\n", "")


def test_a_program_with_server_and_client_in_two_processes_runs_unchanged() -> None:
    server = subprocess.Popen(
        program(PROGRAM, SERVER), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        client = program(PROGRAM, CLIENT)
        ran = subprocess.run([*client, port], capture_output=True, text=True, timeout=60)
        assert (ran.stdout, ran.stderr) == ("done\n", "")
        _, errors = server.communicate(timeout=60)
        assert server.returncode == 0
        if zmq.__name__ == "mqcore":
            assert errors == ""
    finally:
        server.kill()
        server.communicate()
