"""Sockets with callbacks in a tornado loop."""

from __future__ import annotations

import asyncio
import errno
import gc
import importlib
import logging
import os
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))
pytest.importorskip("tornado")
from tornado.ioloop import IOLoop  # noqa: E402

ZMQStream: Any = importlib.import_module(f"{zmq.__name__}.eventloop.zmqstream").ZMQStream

DEADLINE = 20.0


class Running:
    """A tornado loop that runs until something has happened, and the streams in it."""

    def __init__(self) -> None:
        self.asyncio_loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.asyncio_loop)
        self.loop = IOLoop.current()
        self.streams: list[Any] = []
        self.errors: list[dict[str, Any]] = []
        self.asyncio_loop.set_exception_handler(lambda loop, found: self.errors.append(found))

    def stream(self, socket: Any) -> Any:
        made = ZMQStream(socket, self.loop)
        self.streams.append(made)
        return made

    def until(self, happened: Callable[[], bool]) -> None:
        """Runs the loop until `happened()`, and fails after the deadline."""

        async def wait() -> None:
            while not happened():
                await asyncio.sleep(0.001)

        self.loop.run_sync(wait, timeout=DEADLINE)

    def turns(self, count: int = 20) -> None:
        """Runs the loop for so many turns."""

        async def wait() -> None:
            for _ in range(count):
                await asyncio.sleep(0)

        self.loop.run_sync(wait, timeout=DEADLINE)

    def close(self) -> None:
        for stream in self.streams:
            if not stream.closed():
                stream.close(linger=0)
        self.turns(2)
        self.loop.close()
        asyncio.set_event_loop(None)


@pytest.fixture
def running(context: Any) -> Iterator[Running]:
    running = Running()  # ends before the context
    yield running
    running.close()


@pytest.fixture
def pair(running: Running, sockets: Any) -> tuple[Any, Any]:
    a, b = sockets.pair(zmq.PAIR, zmq.PAIR)
    return running.stream(a), running.stream(b)


# Receiving.


def test_received_messages_go_to_the_callback_as_lists_of_parts(pair: Any, running: Any) -> None:
    a, b = pair
    found: list[Any] = []
    assert not b.receiving()
    b.on_recv(found.append)
    assert b.receiving()
    a.socket.send(b"one")
    a.socket.send_multipart([b"two", b"parts"])
    running.until(lambda: len(found) == 2)
    assert found == [[b"one"], [b"two", b"parts"]]


def test_received_parts_are_frames_without_copy(pair: Any, running: Any) -> None:
    a, b = pair
    found: list[Any] = []
    b.on_recv(found.append, copy=False)
    a.socket.send_multipart([b"x", b"y"])
    running.until(lambda: bool(found))
    assert [type(part) for part in found[0]] == [zmq.Frame, zmq.Frame]
    assert [part.bytes for part in found[0]] == [b"x", b"y"]


def test_on_recv_stream_gives_the_stream_too(pair: Any, running: Any) -> None:
    a, b = pair
    found: list[Any] = []
    b.on_recv_stream(lambda stream, parts: found.append((stream, parts)))
    a.send(b"x")
    running.until(lambda: bool(found))
    assert found == [(b, [b"x"])]
    b.on_recv_stream(None)
    assert not b.receiving()


def test_messages_wait_in_the_socket_while_there_is_no_callback(pair: Any, running: Any) -> None:
    a, b = pair
    for number in range(3):
        a.socket.send(b"%d" % number)
    running.turns()
    found: list[Any] = []
    b.on_recv(found.append)
    running.until(lambda: len(found) == 3)
    b.stop_on_recv()
    a.socket.send(b"later")
    running.turns()
    assert found == [[b"0"], [b"1"], [b"2"]]
    assert b.socket.recv() == b"later"


def test_a_coroutine_function_may_be_the_callback(pair: Any, running: Any) -> None:
    a, b = pair
    found: list[Any] = []

    async def echo(parts: list[bytes]) -> None:
        await asyncio.sleep(0)
        gc.collect()
        found.append(parts)

    b.on_recv(echo)
    a.send(b"1")
    a.send(b"2")
    running.until(lambda: len(found) == 2)
    assert found == [[b"1"], [b"2"]]


@pytest.mark.deviation  # there the next one waits for other news
def test_an_error_of_a_callback_is_logged_and_the_next_message_comes(
    pair: Any, running: Any, caplog: Any
) -> None:
    a, b = pair
    found: list[Any] = []

    def fail(parts: list[bytes]) -> None:
        found.append(parts)
        raise ValueError("my fault")

    b.on_recv(fail)
    with caplog.at_level(logging.ERROR):
        a.socket.send(b"1")
        a.socket.send(b"2")
        running.until(lambda: len(found) == 2)
    assert "Uncaught exception in ZMQStream callback" in caplog.text
    assert "my fault" in caplog.text


def test_an_error_of_a_coroutine_is_logged(pair: Any, running: Any, caplog: Any) -> None:
    a, b = pair

    async def fail(parts: list[bytes]) -> None:
        raise ValueError("my fault")

    b.on_recv(fail)
    with caplog.at_level(logging.ERROR):
        a.send(b"1")
        running.until(lambda: "my fault" in caplog.text)
    assert "Uncaught exception in ZMQStream callback" in caplog.text


def test_what_is_no_function_is_no_callback(pair: Any) -> None:
    stream = pair[0]
    for take in (stream.on_recv, stream.on_send):
        with pytest.raises(AssertionError):
            take(5)


def test_a_callback_may_stop_the_receiving(pair: Any, running: Any) -> None:
    a, b = pair
    found: list[Any] = []

    def once(parts: list[bytes]) -> None:
        found.append(parts)
        b.stop_on_recv()

    b.on_recv(once)
    a.socket.send(b"1")
    a.socket.send(b"2")
    running.until(lambda: bool(found))
    running.turns()
    assert found == [[b"1"]]
    assert b.socket.recv() == b"2"


# Sending.


def test_queued_messages_go_out_in_order(pair: Any, running: Any) -> None:
    a, b = pair
    found: list[Any] = []
    b.on_recv(found.append)
    assert a.send(b"1") is None
    a.send_multipart([b"2", b"3"])
    a.send_string("ä", encoding="latin-1")
    a.send_unicode("ä")
    a.send_json({"a": 1})
    a.send_pyobj([1])
    assert a.sending()
    running.until(lambda: len(found) == 6)
    assert not a.sending()
    assert found[:5] == [[b"1"], [b"2", b"3"], [b"\xe4"], ["ä".encode()], [b'{"a": 1}']]
    with pytest.raises(TypeError):
        a.send_string(b"bytes")


def test_on_send_hears_of_each_message_and_what_the_socket_returned(
    pair: Any, running: Any
) -> None:
    a, b = pair
    told: list[Any] = []
    a.on_send(lambda parts, status: told.append((parts, status)))
    a.send(b"x")
    a.send(b"y", copy=False, track=True)
    running.until(lambda: len(told) == 2)
    assert told[0] == ([b"x"], None)
    assert told[1][0] == [b"y"] and isinstance(told[1][1], zmq.MessageTracker)
    a.stop_on_send()
    a.send(b"z")
    running.until(lambda: not a.sending())
    assert len(told) == 2


def test_on_send_stream_gives_the_stream_too(pair: Any, running: Any) -> None:
    a, _ = pair
    told: list[Any] = []
    a.on_send_stream(lambda *arguments: told.append(arguments))
    a.send(b"x")
    running.until(lambda: bool(told))
    assert told == [(a, [b"x"], None)]


def test_a_callback_given_with_a_message_stays(pair: Any, running: Any) -> None:
    a, _ = pair
    told: list[Any] = []
    a.send(b"x", callback=lambda parts, status: told.append(parts))
    a.send(b"y")
    running.until(lambda: len(told) == 2)
    assert told == [[b"x"], [b"y"]]


@pytest.mark.deviation  # there the last callback hears of all
def test_each_message_tells_its_own_callback(pair: Any, running: Any) -> None:
    a, _ = pair
    told: list[Any] = []
    a.send(b"x", callback=lambda parts, status: told.append((1, parts)))
    a.send(b"y", callback=lambda parts, status: told.append((2, parts)))
    a.send(b"z")
    running.until(lambda: len(told) == 3)
    assert told == [(1, [b"x"]), (2, [b"y"]), (2, [b"z"])]


def test_what_is_no_message_is_logged_and_the_next_one_is_sent(
    pair: Any, running: Any, caplog: Any
) -> None:
    a, b = pair
    found: list[Any] = []
    b.on_recv(found.append)
    with caplog.at_level(logging.ERROR):
        a.send(5)
        a.send(b"fine")
        running.until(lambda: bool(found))
    assert found == [[b"fine"]]
    assert "does not support the buffer interface" in caplog.text


def test_what_the_socket_refuses_is_told_to_the_callback(running: Any, sockets: Any) -> None:
    told: list[Any] = []
    router = sockets(zmq.ROUTER, router_mandatory=1)
    router.bind("tcp://127.0.0.1:*")
    dealer = sockets(zmq.DEALER, routing_id=b"there")
    dealer.connect(router.last_endpoint)
    dealer.send(b"hello")
    assert router.recv_multipart() == [b"there", b"hello"]
    stream = running.stream(router)
    stream.on_send(lambda parts, status: told.append(status))
    stream.send_multipart([b"nobody", b"x"])
    stream.send_multipart([b"there", b"x"])
    running.until(lambda: len(told) == 2)
    assert isinstance(told[0], zmq.ZMQError) and told[0].errno == errno.EHOSTUNREACH
    assert told[1] is None
    assert dealer.recv() == b"x"


@pytest.mark.deviation  # there a message may miss the peer
def test_messages_wait_for_a_peer(running: Any, sockets: Any) -> None:
    push = running.stream(sockets(zmq.PUSH))
    push.socket.bind("inproc://late")
    push.send(b"patient")
    running.turns()
    assert push.sending()
    pull = running.stream(sockets(zmq.PULL))
    found: list[Any] = []
    pull.on_recv(found.append)
    pull.connect("inproc://late")
    running.until(lambda: bool(found))
    assert found == [[b"patient"]] and not push.sending()


def test_a_full_peer_is_waited_for_and_nothing_is_lost(running: Any, sockets: Any) -> None:
    a, b = sockets.pair(zmq.PUSH, zmq.PULL, hwm=3)
    push, pull = running.stream(a), running.stream(b)
    for number in range(50):
        push.send(b"%d" % number)
    running.turns(200)
    assert push.sending()
    found: list[Any] = []
    pull.on_recv(found.append)
    running.until(lambda: len(found) == 50)
    assert found == [[b"%d" % number] for number in range(50)]


def test_request_and_reply_take_turns(running: Any, sockets: Any) -> None:
    a, b = sockets.pair(zmq.REQ, zmq.REP, "tcp")
    client, server = running.stream(a), running.stream(b)
    server.on_recv(lambda parts: server.send(parts[0].upper()))
    found: list[Any] = []
    client.on_recv(found.append)
    for number in range(20):
        client.send(b"q%d" % number)
    running.until(lambda: len(found) == 20)
    assert found == [[b"Q%d" % number] for number in range(20)]


# Flush.


def test_flush_handles_what_is_there_at_once(pair: Any) -> None:
    a, b = pair
    told: list[Any] = []
    found: list[Any] = []
    a.on_send(lambda parts, status: told.append(parts))
    b.on_recv(found.append)
    for number in range(5):
        a.send(b"%d" % number)
    assert a.flush(limit=2) == 2 and a.sending()
    assert a.flush(zmq.POLLIN) == 0 and a.sending()
    assert a.flush(zmq.POLLOUT) == 3 and not a.sending()
    assert told == [[b"%d" % number] for number in range(5)]
    assert b.flush(zmq.POLLIN, limit=2) == 2
    assert b.flush() == 3
    assert found == told
    assert a.flush() == b.flush() == 0


def test_flush_drops_what_there_is_no_callback_for(pair: Any) -> None:
    a, b = pair
    a.socket.send(b"1")
    a.socket.send(b"2")
    assert b.flush(zmq.POLLOUT) == 0
    assert b.flush(zmq.POLLIN) == 2
    assert b.socket.poll(0) == 0


def test_what_a_flush_leaves_is_handled_by_the_loop(pair: Any, running: Any) -> None:
    a, b = pair
    found: list[Any] = []
    b.on_recv(found.append)
    running.turns()
    for number in range(10):
        a.socket.send(b"%d" % number)
    b.send(b"back")
    assert b.flush(zmq.POLLOUT) == 1
    assert b.flush(zmq.POLLIN, limit=1) == 1
    running.until(lambda: len(found) == 10)


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
