"""Whole gevent programs, as somebody wrote them for pyzmq: in a process of their own, with everything patched."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import textwrap
from typing import Any

import pytest

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))
pytest.importorskip("gevent")

REQUESTS = """
    from gevent import monkey
    monkey.patch_all()
    import gevent
    import ZMQ.green as zmq

    context = zmq.Context()
    ticks = []

    def server():
        socket = context.socket(zmq.REP)
        socket.bind("tcp://127.0.0.1:*")
        endpoint.set(socket.last_endpoint)
        for request in range(100):
            msg = socket.recv()
            socket.send(b"World " + msg)
        socket.close()

    def client():
        socket = context.socket(zmq.REQ)
        socket.connect(endpoint.get())
        for request in range(100):
            socket.send(b"%d" % request)
            assert socket.recv() == b"World %d" % request
        socket.close()

    def ticker():
        while True:
            ticks.append(1)
            gevent.sleep(0.001)

    import gevent.event
    endpoint = gevent.event.AsyncResult()
    clock = gevent.spawn(ticker)
    gevent.joinall([gevent.spawn(server), gevent.spawn(client)], raise_error=True)
    clock.kill()
    context.term()
    assert len(ticks) > 5
    print("done")
"""

PIPELINE = """
    from gevent import monkey
    monkey.patch_all()
    import gevent
    from gevent.pool import Group
    from ZMQ import green as zmq

    context = zmq.Context.instance()

    def ventilator(socket):
        for number in range(1000):
            socket.send_json(number)

    def worker(_):
        source = context.socket(zmq.PULL)
        source.connect("inproc://tasks")
        sink = context.socket(zmq.PUSH)
        sink.connect("inproc://results")
        with source, sink:
            while True:
                number = source.recv_json()
                if number is None:
                    return
                sink.send_json(number * number)

    tasks = context.socket(zmq.PUSH)
    tasks.hwm = 2
    tasks.bind("inproc://tasks")
    results = context.socket(zmq.PULL)
    results.bind("inproc://results")
    workers = Group()
    for number in range(30):
        workers.spawn(worker, number)
    gevent.spawn(ventilator, tasks)
    found = sorted(results.recv_json() for _ in range(1000))
    assert found == [number * number for number in range(1000)]
    for _ in range(30):
        tasks.send_json(None)
    workers.join(timeout=20, raise_error=True)
    tasks.close()
    results.close()
    context.term()
    print("done")
"""

TIMEOUTS = """
    from gevent import monkey
    monkey.patch_all()
    import gevent
    from gevent import Timeout
    import ZMQ.green as zmq

    context = zmq.Context()
    publisher = context.socket(zmq.XPUB)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    subscriber = context.socket(zmq.SUB)
    subscriber.subscribe(b"")
    subscriber.connect("tcp://127.0.0.1:%d" % port)
    assert publisher.recv() == b"\\x01"

    def publish():
        for number in range(300):
            publisher.send(b"%d" % number)
            if number % 3 == 0:
                gevent.sleep(0.002)

    gevent.spawn(publish)
    found = []
    missed = 0
    while len(found) < 300:
        message = None
        with Timeout(0.0015, False):
            message = subscriber.recv()
        if message is None:
            missed += 1
        else:
            found.append(int(message))
    assert found == list(range(300))
    assert missed > 0
    publisher.close()
    subscriber.close()
    context.term()
    print("done")
"""

POLLER = """
    from gevent import monkey
    monkey.patch_all()
    import gevent
    import socket
    import ZMQ.green as zmq

    context = zmq.Context()
    pull = context.socket(zmq.PULL)
    pull.bind("inproc://work")
    push = context.socket(zmq.PUSH)
    push.connect("inproc://work")
    plain, other = socket.socketpair()

    def feed():
        for number in range(50):
            push.send(b"%d" % number)
            other.sendall(b".")
            gevent.sleep(0.0005)

    poller = zmq.Poller()
    poller.register(pull, zmq.POLLIN)
    poller.register(plain, zmq.POLLIN)
    gevent.spawn(feed)
    messages = dots = 0
    while messages < 50 or dots < 50:
        events = dict(poller.poll(5000))
        assert events, (messages, dots)
        if pull in events:
            pull.recv()
            messages += 1
        if plain.fileno() in events:
            dots += len(plain.recv(100))
    pull.close()
    push.close()
    plain.close()
    other.close()
    context.term()
    print("done")
"""

STREAM = """
    from gevent import monkey
    monkey.patch_all()
    import gevent
    import ZMQ.green as zmq
    from tornado.ioloop import IOLoop
    from ZMQ.green.eventloop.zmqstream import ZMQStream

    context = zmq.Context()
    pull = context.socket(zmq.PULL)
    pull.bind("inproc://work")
    push = context.socket(zmq.PUSH)
    push.connect("inproc://work")
    found = []

    def received(parts):
        found.extend(parts)
        if len(found) == 100:
            IOLoop.current().stop()

    loop = IOLoop.current()
    stream = ZMQStream(pull)
    stream.on_recv(received)

    def feed():
        for number in range(100):
            push.send(b"%d" % number)
            gevent.sleep(0)

    gevent.spawn(feed)
    loop.start()
    assert found == [b"%d" % number for number in range(100)]
    stream.close()
    push.close()
    context.term()
    print("done")
"""


@pytest.mark.parametrize(
    "program",
    [REQUESTS, PIPELINE, TIMEOUTS, POLLER, STREAM],
    ids=["requests", "pipeline", "timeouts", "poller", "stream"],
)
def test_a_gevent_program_runs_unchanged(program: str) -> None:
    if program is STREAM:
        pytest.importorskip("tornado")
    text = re.sub(r"\bZMQ\b", zmq.__name__, textwrap.dedent(program))
    ran = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", text],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.stdout, ran.stderr) == ("done\n", "")


def test_without_gevent_only_green_cannot_be_imported() -> None:
    code = (
        "import sys; sys.modules['gevent'] = None\n"
        f"import {zmq.__name__}\n"
        f"try:\n import {zmq.__name__}.green\n"
        "except ImportError: print('missing')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout == "missing\n"
