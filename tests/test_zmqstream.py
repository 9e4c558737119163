"""Sockets with callbacks in a tornado loop: receiving, sending, flushing."""

from __future__ import annotations

import asyncio
import errno
import gc
import importlib
import logging
import os
from typing import Any

import pytest

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))
pytest.importorskip("tornado")
from peers.streams import Running, pair_fixture, running_fixture  # noqa: E402, F401

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
