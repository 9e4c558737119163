"""The collector of zero-copy payloads: pyzmq's interface, without its thread."""

from __future__ import annotations

import importlib
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from peers.subject import name, zmq
from peers.waiting import eventually

garbage = importlib.import_module(f"{name}.utils.garbage")


@pytest.fixture
def collector(context: Any) -> Iterator[Any]:
    collector = garbage.GarbageCollector(context)
    yield collector
    collector.stop()


def test_collector_of_the_process_is_there() -> None:
    assert isinstance(garbage.gc, garbage.GarbageCollector)
    assert garbage.gc.url.startswith("inproc://")


@pytest.mark.deviation
def test_zero_copy_sends_need_no_collector(sockets: Any) -> None:
    a, b = sockets.pair(zmq.PUSH, zmq.PULL)
    tracker = a.send(bytes(100_000), copy=False, track=True)
    assert not garbage.gc.is_alive() and garbage.gc.refs == {}
    assert len(b.recv()) == 100_000
    tracker.wait(10)


def test_context_can_be_assigned(context: Any) -> None:
    before = garbage.gc._context
    try:
        garbage.gc.context = context
        assert garbage.gc.context is context
    finally:
        garbage.gc.context = before


def test_stored_object_is_held_until_its_number_comes_back(collector: Any) -> None:
    released = threading.Event()
    collector.start()
    number = collector.store(payload := b"x" * 10, released)
    assert collector.refs[number] == garbage.gcref(payload, released)
    assert not released.is_set()
    collector._push_socket.send(struct.pack("P", number))
    assert released.wait(10)
    assert eventually(lambda: collector.refs == {})


def test_thread_runs_from_start_to_stop(collector: Any) -> None:
    assert not collector.is_alive()
    collector.start()
    assert collector.is_alive() and collector.thread.daemon
    collector.store(b"never sent back")
    collector.stop()
    assert not collector.is_alive() and collector.refs == {}
    collector.stop()


@pytest.mark.deviation
def test_second_start_does_nothing(collector: Any) -> None:
    collector.start()
    thread = collector.thread
    collector.start()
    assert collector.thread is thread


@pytest.mark.deviation
def test_stop_sets_the_events_of_what_was_held(collector: Any) -> None:
    released = threading.Event()
    collector.start()
    collector.store(b"x", released)
    collector.stop()
    assert released.is_set()


@pytest.mark.deviation
def test_unknown_numbers_and_nonsense_are_ignored(collector: Any) -> None:
    number = collector.store(b"x")
    push = collector._push_socket
    for message in (b"", b"nonsense", struct.pack("P", number + 1), struct.pack("P", number)):
        push.send(message)
    eventually(lambda: collector.refs == {})
    assert collector.is_alive()


@pytest.mark.deviation
def test_another_context_while_objects_are_held_is_warned_of(collector: Any) -> None:
    collector.start()
    collector.store(b"x")
    other = zmq.Context()
    with pytest.warns(RuntimeWarning, match="Replacing gc context while gc is running"):
        collector.context = other
    assert not collector.is_alive() and collector.context is other
    collector.start()
    collector.stop()
    other.term()


@pytest.mark.deviation
def test_taken_address_is_an_error_of_start(collector: Any) -> None:
    with collector.context.socket(zmq.PULL) as taken:
        taken.bind(collector.url)
        with pytest.raises(zmq.ZMQError) as caught:
            collector.start()
    assert caught.value.errno == zmq.EADDRINUSE and not collector.is_alive()


@pytest.mark.deviation
def test_own_context_ends_with_the_collector() -> None:
    collector = garbage.GarbageCollector()
    collector.start()
    context = collector.context
    collector.stop()
    assert context.closed


@pytest.mark.deviation
def test_end_of_the_context_ends_the_thread() -> None:
    context = zmq.Context()
    collector = garbage.GarbageCollector(context)
    collector.start()
    thread = collector.thread
    assert collector._push_socket.type == zmq.PUSH
    context.term()
    thread.join(10)
    assert not collector.is_alive()
    collector.stop()


@pytest.mark.deviation
def test_forked_child_starts_a_thread_of_its_own() -> None:
    code = (
        "import os, struct, threading, mqcore\n"
        "from mqcore.utils.garbage import gc\n"
        # The engine counts the processors when somebody waits for the first time: not during the fork.
        "with mqcore.Context() as c, c.socket(mqcore.PULL) as s:\n"
        "    s.rcvtimeo = 1\n"
        "    try: s.recv()\n"
        "    except mqcore.Again: pass\n"
        "gc.start()\n"
        "child = os.fork()\n"
        "assert gc.is_alive() == bool(child)\n"
        "done = threading.Event()\n"
        "gc._push_socket.send(struct.pack('P', gc.store(b'x', done)))\n"
        "assert done.wait(10)\n"
        "if child: assert os.waitpid(child, 0)[1] == 0\n"
        "print('end')\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ},
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "end\nend\n", "")
