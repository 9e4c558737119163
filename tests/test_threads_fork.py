"""After fork(): the child's inherited objects raise instead of hanging, and new ones work."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest
from peers.forked import in_child

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))

pytestmark = [
    pytest.mark.deviation,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.send(b"x"),
        lambda s: s.send_multipart([b"x", b"y"]),
        lambda s: s.recv(),
        lambda s: s.recv_multipart(zmq.DONTWAIT),
        lambda s: s.poll(),
        lambda s: s.get(zmq.LINGER),
        lambda s: s.set(zmq.LINGER, 0),
        lambda s: s.bind("tcp://127.0.0.1:*"),
        lambda s: zmq.zmq_poll([(s, zmq.POLLIN)]),
        lambda s: zmq.Socket.shadow(s).send(b"x"),
    ],
)
def test_inherited_socket_raises_at_once(sockets: Any, call: Any) -> None:
    socket = sockets(zmq.DEALER)
    socket.bind("tcp://127.0.0.1:*")

    def child() -> None:
        with pytest.raises(zmq.ZMQError, match="fork") as caught:
            call(socket)
        assert caught.value.errno == zmq.ENOTSOCK

    in_child(child)
    socket.linger = 5
    assert socket.linger == 5


def test_inherited_context_makes_no_sockets(context: Any) -> None:
    def child() -> None:
        with pytest.raises(zmq.ZMQError, match="fork") as caught:
            context.socket(zmq.PUSH)
        assert caught.value.errno == zmq.ENOTSUP

    in_child(child)
    with context.socket(zmq.PUSH):
        pass


def test_closing_and_ending_in_the_child_changes_nothing_for_the_parent(sockets: Any) -> None:
    a, b = sockets.pair(zmq.PUSH, zmq.PULL, "tcp")

    def child() -> None:
        a.close()
        b.close(linger=0)
        sockets.context.destroy(linger=0)
        sockets.context.term()
        assert a.closed and sockets.context.closed

    in_child(child)
    a.send(b"x")
    assert b.recv() == b"x"


def test_forgetting_what_was_inherited_changes_nothing_for_the_parent() -> None:
    context = zmq.Context()
    a, b = context.socket(zmq.PUSH), context.socket(zmq.PULL)
    b.bind("tcp://127.0.0.1:*")
    a.connect(b.last_endpoint)
    kept = {"context": context, "a": a, "b": b}

    def child() -> None:
        nonlocal context, a, b
        kept.clear()
        del context, a, b

    in_child(child)
    kept["a"].send(b"x")
    assert kept["b"].recv() == b"x"
    kept["context"].destroy(linger=0)


def test_new_context_in_the_child_talks_to_the_parent(sockets: Any) -> None:
    server = sockets(zmq.REP)
    server.bind("tcp://127.0.0.1:*")
    address = server.last_endpoint

    child = os.fork()
    if child == 0:
        try:
            with zmq.Context() as context, context.socket(zmq.REQ) as client:
                client.rcvtimeo = 10_000
                client.connect(address)
                client.send(b"from the child")
                answer = client.recv()
            os._exit(0 if answer == b"from the parent" else 1)
        finally:
            os._exit(2)
    assert server.recv() == b"from the child"
    server.send(b"from the parent")
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_child_gets_an_instance_of_its_own() -> None:
    shared = zmq.Context.instance()

    def child() -> None:
        own = zmq.Context.instance()
        assert own is not shared
        with own.socket(zmq.PUSH):
            pass
        own.term()

    in_child(child)
    assert zmq.Context.instance() is shared
    shared.term()


def test_child_is_silent_about_what_it_inherited(sockets: Any) -> None:
    import gc
    import warnings

    socket = sockets(zmq.PUSH)

    def child() -> None:
        nonlocal socket
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            sockets.kept.clear()
            del socket
            gc.collect()

    in_child(child)
