"""Contexts: making, options, sharing, ending."""

from __future__ import annotations

import copy
import errno
import gc
import importlib
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from peers.raw import RawPeer

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))


def test_context_without_sockets_ends_at_once() -> None:
    context = zmq.Context()
    assert not context.closed
    context.term()
    assert context.closed
    context.term()


@pytest.mark.deviation
def test_import_starts_no_thread_and_makes_no_context() -> None:
    code = (
        "import os, threading, mqcore\n"
        "assert threading.active_count() == 1\n"
        "assert len(os.listdir('/proc/self/task')) == 1\n"
        "assert mqcore.Context._instance is None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_number_of_io_threads_is_an_option(count: int) -> None:
    context = zmq.Context(count)
    assert context.io_threads == context.IO_THREADS == context.get(zmq.IO_THREADS) == count
    context.term()


def test_negative_number_of_io_threads_is_refused() -> None:
    with pytest.raises(zmq.ZMQError) as caught:
        zmq.Context(-1)
    assert caught.value.errno == zmq.EINVAL
    del caught
    gc.collect()


def test_io_threads_given_as_text_are_a_type_error() -> None:
    with pytest.raises(TypeError):
        zmq.Context("1")
    gc.collect()


def test_options_are_attributes_in_small_letters_and_capitals(context: Any) -> None:
    assert context.max_sockets == context.MAX_SOCKETS == 1023
    context.Max_Sockets = 5
    assert context.get(zmq.MAX_SOCKETS) == 5
    assert context.get(zmq.SOCKET_LIMIT) == 65535


def test_unknown_options_are_refused(context: Any) -> None:
    with pytest.raises(zmq.ZMQError) as caught:
        context.get(99)
    assert caught.value.errno == zmq.EINVAL
    with pytest.raises(TypeError, match="expected int, got: 'x'"):
        context.set(zmq.IO_THREADS, "x")
    with pytest.raises(TypeError):
        context.get("x")
    with pytest.raises(AttributeError, match=r"(?i)context.* has no .*foo"):
        assert context.foo
    with pytest.raises(AttributeError, match="Context has no such option: FOO"):
        context.foo = 1
    with pytest.raises(AttributeError):
        context.push = 1


def test_socket_options_of_a_context_are_the_defaults_of_new_sockets(context: Any) -> None:
    with pytest.raises(AttributeError, match="LINGER"):
        assert context.linger
    context.linger = 5
    context.setsockopt(zmq.RCVHWM, 7)
    assert context.linger == context.getsockopt(zmq.LINGER) == 5
    assert context.sockopts == {zmq.LINGER: 5, zmq.RCVHWM: 7}
    with context.socket(zmq.PULL) as socket:
        assert (socket.linger, socket.rcvhwm) == (5, 7)
    del context.linger
    with pytest.raises(AttributeError):
        assert context.linger
    with pytest.raises(AttributeError):
        del context.linger
    with pytest.raises(KeyError):
        context.getsockopt(zmq.LINGER)


def test_default_that_does_not_suit_a_socket_type_is_left_out(context: Any) -> None:
    context.subscribe = b""
    with context.socket(zmq.PUSH), context.socket(zmq.SUB):
        pass


def test_default_of_a_wrong_type_is_a_type_error_for_every_new_socket(context: Any) -> None:
    context.linger = "x"
    with pytest.raises(TypeError):
        context.socket(zmq.PUSH)
    del context.linger


@pytest.mark.parametrize(
    ("kind", "expected"), [(99, "ZMQError"), ("x", "TypeError"), (-1, "TypeError")]
)
def test_unknown_socket_types_are_refused(context: Any, kind: Any, expected: str) -> None:
    with pytest.raises((zmq.ZMQError, TypeError)) as caught:
        context.socket(kind)
    assert type(caught.value).__name__ == expected


def io_threads_of(start: Any) -> list[int]:
    """The kernel's ids of the threads that `start` brings up."""
    before = set(os.listdir("/proc/self/task"))
    start()
    return [int(thread) for thread in set(os.listdir("/proc/self/task")) - before]


def test_io_threads_run_under_the_policy_that_was_asked_for(context: Any) -> None:
    assert context.get(zmq.THREAD_SCHED_POLICY) == -1
    context.set(zmq.THREAD_SCHED_POLICY, os.SCHED_BATCH)
    assert context.get(zmq.THREAD_SCHED_POLICY) == os.SCHED_BATCH
    threads = io_threads_of(lambda: context.socket(zmq.PULL).bind("tcp://127.0.0.1:*"))
    assert os.SCHED_BATCH in {os.sched_getscheduler(thread) for thread in threads}


def test_io_threads_have_the_priority_that_was_asked_for(context: Any) -> None:
    context.set(zmq.THREAD_SCHED_POLICY, os.SCHED_RR)
    context.set(zmq.THREAD_PRIORITY, 3)
    allowed = subprocess.run(["chrt", "--rr", "3", "true"], capture_output=True, check=False)
    if allowed.returncode:
        if zmq.__name__ == "mqcore":
            with pytest.raises(zmq.ZMQError, match="SCHED_RR and priority 3") as caught:
                context.socket(zmq.PULL).bind("tcp://127.0.0.1:*")
            assert caught.value.errno == errno.EPERM
        return
    threads = io_threads_of(lambda: context.socket(zmq.PULL).bind("tcp://127.0.0.1:*"))
    run = [(os.sched_getscheduler(thread), os.sched_getparam(thread)) for thread in threads]
    assert (os.SCHED_RR, os.sched_param(3)) in run


@pytest.mark.deviation
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"THREAD_AFFINITY_CPU_ADD": 1023}, "processors"),
        ({"THREAD_SCHED_POLICY": os.SCHED_FIFO, "THREAD_PRIORITY": 100}, "SCHED_FIFO"),
    ],
)
def test_threads_that_cannot_run_as_asked_for_are_an_error_at_the_first_bind(
    context: Any, options: dict[str, int], reason: str
) -> None:
    for name, value in options.items():
        context.set(getattr(zmq, name), value)
    socket = context.socket(zmq.PULL)
    for _ in range(2):
        with pytest.raises(zmq.ZMQError, match=reason) as caught:
            socket.bind("tcp://127.0.0.1:*")
        assert caught.value.errno == zmq.EINVAL
    socket.bind("inproc://needs-no-thread")


@pytest.mark.deviation
def test_unknown_policy_is_refused_with_those_there_are(context: Any) -> None:
    with pytest.raises(zmq.ZMQError, match="SCHED_BATCH") as caught:
        context.set(zmq.THREAD_SCHED_POLICY, 77)
    assert caught.value.errno == zmq.EINVAL


def test_closed_context_makes_no_sockets() -> None:
    context = zmq.Context()
    context.term()
    with pytest.raises(zmq.ZMQError) as caught:
        context.socket(zmq.PUSH)
    assert caught.value.errno == zmq.ENOTSUP
    with pytest.raises(RuntimeError, match="Context has been destroyed"):
        context.get(zmq.IO_THREADS)
    assert context.underlying == 0


def test_number_of_sockets_is_limited(context: Any) -> None:
    context.max_sockets = 3
    kept = [context.socket(zmq.PAIR) for _ in range(3)]
    with pytest.raises(zmq.ZMQError) as caught:
        context.socket(zmq.PAIR)
    assert caught.value.errno == 24
    kept[0].close()
    for socket in kept:
        socket.close()


def test_arguments_of_the_socket_class_go_through_the_context(context: Any) -> None:
    class Own(zmq.Socket):
        extra: int

        def __init__(self, *args: Any, extra: int = 0, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.extra = extra

    with context.socket(zmq.PUSH, Own, extra=3) as socket:
        assert (type(socket), socket.extra) == (Own, 3)
    with pytest.raises(TypeError):
        context.socket(zmq.PUSH, unknown=1)


def test_subclass_chooses_its_socket_class() -> None:
    class OwnSocket(zmq.Socket):
        pass

    class OwnContext(zmq.Context):
        _socket_class = OwnSocket

        def __init__(self, name: str) -> None:
            super().__init__()
            self.__dict__["name"] = name

    with OwnContext("n") as context:
        assert context.name == "n"
        with context.socket(zmq.SUB) as socket:
            assert type(socket) is OwnSocket


def test_repr_says_class_sockets_and_end() -> None:
    class Own(zmq.Context):
        pass

    package = zmq.__name__
    context = zmq.Context()
    assert repr(context).startswith(f"<{package}.Context() at 0x")
    a = context.socket(zmq.PUSH)
    assert repr(context).startswith(f"<{package}.Context(1 socket) at 0x")
    b = context.socket(zmq.PUSH)
    assert repr(context).startswith(f"<{package}.Context(2 sockets) at 0x")
    a.close()
    b.close()
    context.term()
    assert repr(context).endswith(" closed>")
    with Own() as own:
        assert repr(own).startswith(f"<{__name__}.Own() at 0x") or "Own() at 0x" in repr(own)


def test_dir_lists_options(context: Any) -> None:
    assert {"IO_THREADS", "MAX_SOCKETS", "socket"} <= set(dir(context))


def test_context_cannot_be_pickled(context: Any) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(context)


# The shared instance.


@pytest.fixture
def no_instance() -> Any:
    before, zmq.Context._instance = zmq.Context._instance, None
    yield
    if zmq.Context._instance is not None:
        zmq.Context._instance.term()
    zmq.Context._instance = before


@pytest.mark.usefixtures("no_instance")
def test_instance_is_shared_and_made_anew_after_its_end() -> None:
    first = zmq.Context.instance()
    assert zmq.Context.instance(io_threads=3) is first
    first.term()
    second = zmq.Context.instance()
    assert second is not first and not second.closed


@pytest.mark.usefixtures("no_instance")
def test_subclass_shares_the_instance_unless_it_has_its_own() -> None:
    class Sharing(zmq.Context):
        pass

    class Apart(zmq.Context):
        _instance = None

    base = zmq.Context.instance()
    assert Sharing.instance() is base
    own = Apart.instance()
    assert type(own) is Apart and Apart.instance() is own
    own.term()


@pytest.mark.usefixtures("no_instance")
def test_threads_that_ask_at_once_get_the_same_instance() -> None:
    barrier = threading.Barrier(8)
    found = []

    def ask() -> None:
        barrier.wait()
        found.append(zmq.Context.instance())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(context) for context in found}) == 1


# Shadows.


def test_shadow_of_a_number_shares_the_context(context: Any) -> None:
    shadow = zmq.Context.shadow(context.underlying)
    assert shadow.underlying == context.underlying
    with context.socket(zmq.PAIR) as a, shadow.socket(zmq.PAIR) as b:
        a.bind("inproc://shared")
        b.connect("inproc://shared")
        b.send(b"x")
        assert a.recv() == b"x"
        assert b.context is shadow
    del shadow
    gc.collect()
    assert not context.closed


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, zmq.Context.shadow, zmq.Context])
def test_copies_are_shadows(context: Any, make: Any) -> None:
    shadow = make(context)
    assert type(shadow) is zmq.Context and shadow is not context
    assert shadow.underlying == context.underlying


def test_shadow_of_nothing_is_a_new_context(context: Any) -> None:
    for nothing in (None, 0):
        new = zmq.Context.shadow(nothing)
        assert new.underlying not in (0, context.underlying)
        new.term()


def test_shadow_of_no_number_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="Cannot cast 'x' to int"):
        zmq.Context.shadow("x")


@pytest.mark.deviation
def test_shadow_of_a_number_that_stands_for_nothing_is_refused() -> None:
    with pytest.raises(zmq.ZMQError) as caught:
        zmq.Context.shadow(123456789)
    assert caught.value.errno == zmq.EFAULT


# The end.


def test_destroy_closes_the_sockets_and_ends_the_context() -> None:
    context = zmq.Context()
    kept = [context.socket(zmq.PUSH), context.socket(zmq.SUB)]
    context.destroy(linger=0)
    assert context.closed and all(socket.closed for socket in kept)
    context.destroy()


def test_destroy_with_linger_does_not_wait_for_unsent_messages() -> None:
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.connect("tcp://127.0.0.1:1")
    socket.send(b"never arrives")
    context.destroy(linger=0)
    assert socket.closed


def test_with_statement_ends_the_context_and_names_what_was_not_closed() -> None:
    with pytest.warns(ResourceWarning, match="Destroying context with unclosed socket .*PUSH"):
        with zmq.Context() as context:
            socket = context.socket(zmq.PUSH)
    assert context.closed and socket.closed


def test_forgotten_context_warns_and_ends() -> None:
    with pytest.warns(ResourceWarning, match="Unclosed context"):
        context = zmq.Context()
        del context
        gc.collect()


def test_socket_keeps_its_context_alive() -> None:
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    number = context.underlying
    del context
    gc.collect()
    assert socket.context.underlying == number
    context = socket.context
    socket.close()
    context.term()


def test_term_wakes_a_waiting_call_with_context_terminated(background: Any) -> None:
    context = zmq.Context()
    socket = context.socket(zmq.PULL)

    def receive() -> Any:
        try:
            with pytest.raises(zmq.ContextTerminated) as caught:
                socket.recv()
            with pytest.raises(zmq.ContextTerminated):
                socket.get(zmq.LINGER)
            assert not socket.closed
        finally:
            socket.close()
        return caught.value.errno

    join = background(receive)
    context.term()
    assert join() == zmq.ETERM
    assert context.closed


@pytest.mark.deviation
def test_term_with_a_timeout_says_what_holds_the_context() -> None:
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    with pytest.raises(zmq.Again, match="PUSH"):
        context.term(timeout=10)
    assert not context.closed
    socket.close()
    context.term()
    assert context.closed


@pytest.mark.deviation
def test_term_with_a_timeout_names_each_socket_with_its_endpoints_and_unsent_messages(
    tmp_path: Path,
) -> None:
    context = zmq.Context()
    nowhere = f"ipc://{tmp_path}/nobody"
    kinds = (zmq.PULL, zmq.PUSH, zmq.DEALER, zmq.SUB)
    idle, waiting, closed, subscriber = (context.socket(kind) for kind in kinds)
    bound = idle.bind("tcp://127.0.0.1:*").addr
    subscriber.subscribe(b"topic")
    subscriber.connect(nowhere)
    for socket, count in ((waiting, 3), (closed, 1)):
        socket.connect(nowhere)
        for _ in range(count):
            socket.send(b"to nobody")
    closed.close(linger=-1)
    with pytest.raises(zmq.Again) as caught:
        context.term(timeout=10)
    text = str(caught.value)
    assert f"PULL is not closed (at {bound}; 0 peers)" in text
    assert f"PUSH is not closed (at {nowhere}; 1 peer; unsent: 3 messages for" in text
    assert f"DEALER is closed and still has to send 1 message for {nowhere}" in text
    assert f"SUB is not closed (at {nowhere}; 1 peer; unsent: 1 subscription for" in text
    for socket in (idle, waiting, subscriber):
        socket.close(linger=0)
    with pytest.raises(zmq.Again) as caught:
        context.term(timeout=10)
    assert "DEALER" in str(caught.value) and "PU" not in str(caught.value)
    receiver = zmq.Context()
    with receiver.socket(zmq.ROUTER) as router:
        router.bind(nowhere)
        assert router.recv_multipart()[1] == b"to nobody"
    context.term()
    receiver.destroy()


@pytest.mark.deviation
def test_term_with_a_timeout_names_a_socket_that_waits_for_a_slow_peer_only() -> None:
    """Everything is in our kernel, and the peer's does not take it."""
    context = zmq.Context()
    push = context.socket(zmq.PUSH)
    push.sndbuf = 1 << 20
    address = push.bind("tcp://127.0.0.1:*").addr
    with RawPeer.connect(address, receive_buffer=4096) as slow:
        slow.handshake(b"PULL")
        push.send(bytes(300_000))
        push.close(linger=-1)
        with pytest.raises(zmq.Again, match="PUSH is closed and still has to send .* for tcp://"):
            context.term(timeout=300)
        assert slow.read_message() == [bytes(300_000)]
        slow.close()
        context.term()


@pytest.mark.deviation
def test_context_is_unusable_while_it_ends() -> None:
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    with pytest.raises(zmq.Again):
        context.term(timeout=0)
    with pytest.raises(zmq.ContextTerminated):
        context.socket(zmq.PUSH)
    socket.close()
    context.term()


@pytest.mark.parametrize("body", ["", "s.send(b'x' * 1000);", "s.close();"])
def test_interpreter_ends_at_once_with_everything_open(body: str) -> None:
    code = (
        f"import {zmq.__name__} as zmq\n"
        "c = zmq.Context(); s = c.socket(zmq.PUSH)\n"
        f"s.connect('tcp://127.0.0.1:1');{body}\n"
        "print('end')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "end\n", "")


def test_interpreter_ends_while_a_daemon_thread_waits() -> None:
    code = (
        f"import threading, {zmq.__name__} as zmq\n"
        "s = zmq.Context.instance().socket(zmq.PULL)\n"
        "s.bind('inproc://x')\n"
        "threading.Thread(target=s.recv, daemon=True).start()\n"
        "print('end')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "end\n", "")
