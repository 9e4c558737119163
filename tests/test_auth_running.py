"""Authenticators that run by themselves: in a thread, and in an asyncio loop."""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from peers.subject import name, zmq
from peers.waiting import eventually

running = importlib.import_module(f"{name}.auth.thread")
asynchronous = importlib.import_module(f"{name}.auth.asyncio")

NULL = [b"1.0", b"id", b"home", b"127.0.0.1", b"peer", b"NULL"]
CURVE = [*NULL[:5], b"CURVE", bytes(32)]
ACCEPTED = [b"1.0", b"id", b"200", b"OK", b"anonymous", b""]


class Provider:
    """Judges keys by calling a function."""

    def __init__(self, callback: Any) -> None:
        self.callback = lambda domain, key: callback()


# In a thread.


@pytest.fixture
def rules(context: Any) -> Iterator[Any]:
    rules = running.ThreadAuthenticator(context)
    rules.start()
    yield rules
    rules.stop()


@pytest.fixture
def asker(rules: Any, sockets: Any) -> Any:
    asker = sockets(zmq.REQ)
    asker.connect("inproc://zeromq.zap.01")
    return asker


def ask(asker: Any, request: list[bytes]) -> list[bytes]:
    asker.send_multipart(request)
    return asker.recv_multipart()  # type: ignore[no-any-return]


def test_thread_answers_from_start_to_stop(rules: Any, asker: Any) -> None:
    assert rules.is_alive() and rules.thread.daemon and rules.thread.started.is_set()
    assert rules.pipe.type == zmq.PAIR and rules.pipe_endpoint.startswith("inproc://")
    assert ask(asker, NULL) == ACCEPTED
    thread = rules.thread
    rules.stop()
    assert not rules.is_alive() and not thread.is_alive()
    assert rules.thread is rules.pipe is rules.zap_socket is None
    rules.stop()


def test_authenticator_that_was_never_started_is_not_alive(context: Any) -> None:
    rules = running.ThreadAuthenticator(context)
    assert not rules.is_alive() and rules.thread is rules.pipe is None
    rules.stop()


@pytest.mark.deviation
def test_stopped_authenticator_starts_again_at_once(rules: Any, asker: Any) -> None:
    for _ in range(5):
        rules.stop()
        rules.start()
    assert rules.is_alive()


@pytest.mark.deviation
def test_second_start_is_refused_and_leaves_the_first_alone(rules: Any, asker: Any) -> None:
    thread = rules.thread
    with pytest.raises(zmq.ZMQError) as caught:
        rules.start()
    assert caught.value.errno == zmq.EADDRINUSE
    assert rules.thread is thread and ask(asker, NULL) == ACCEPTED


def test_rules_may_change_while_the_thread_runs(rules: Any, asker: Any) -> None:
    rules.deny("127.0.0.1")
    assert ask(asker, NULL)[2:4] == [b"400", b"Address denied"]
    rules.configure_plain("home", {"u": "p"})
    plain = [*NULL[:3], b"10.0.0.1", b"peer", b"PLAIN", b"u", b"p"]
    assert ask(asker, plain)[2:5] == [b"200", b"OK", b"u"]


async def yes() -> bool:
    await asyncio.sleep(0)
    return True


def test_thread_runs_callbacks_that_are_coroutines(rules: Any, asker: Any) -> None:
    rules.configure_curve_callback("home", Provider(yes))
    assert ask(asker, CURVE)[2] == b"200"
    rules.configure_curve_callback(
        "home", Provider(lambda: threading.current_thread() is rules.thread)
    )
    assert ask(asker, CURVE)[2] == b"200"


@pytest.mark.deviation
def test_mistake_of_a_callback_refuses_the_connection_and_is_logged(
    rules: Any, asker: Any, caplog: Any
) -> None:
    def fail() -> None:
        raise LookupError("a mistake")

    rules.configure_curve_callback("home", Provider(fail))
    with caplog.at_level(logging.ERROR, "zmq.auth"):
        assert ask(asker, CURVE) == [b"1.0", b"id", b"500", b"Internal error", b"", b""]
    assert "a mistake" in caplog.text
    assert ask(asker, NULL) == ACCEPTED


@pytest.mark.deviation
def test_mistake_after_the_answer_does_not_stop_the_thread(context: Any, sockets: Any) -> None:
    class Own(running.ThreadAuthenticator):  # type: ignore[misc]
        async def handle_zap_message(self, msg: list[bytes]) -> None:
            await super().handle_zap_message(msg)
            raise LookupError("too late")

    rules = Own(context)
    rules.start()
    asker = sockets(zmq.REQ)
    asker.connect("inproc://zeromq.zap.01")
    assert ask(asker, NULL) == ask(asker, NULL) == ACCEPTED
    rules.stop()


@pytest.mark.deviation
def test_nonsense_does_not_stop_the_thread(rules: Any, asker: Any) -> None:
    for request in ([b""], [b"1.0"], [b"1.0", b"id"], [b"\xff"] * 6, [b"1.0"] + [b"\xff"] * 5):
        assert ask(asker, request)[2] == b"400"
    assert ask(asker, NULL) == ACCEPTED


@pytest.mark.deviation
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_thread_that_was_ended_by_a_callback_does_not_open_the_door(
    rules: Any, asker: Any, context: Any
) -> None:
    """Without anybody at the address of ZAP, sockets accept every NULL connection."""

    def leave() -> None:
        raise SystemExit

    rules.configure_curve_callback("home", Provider(leave))
    asker.send_multipart(CURVE)
    rules.thread.join(10)
    assert not rules.is_alive()
    other = running.ThreadAuthenticator(context)
    with pytest.raises(zmq.ZMQError):
        other.start()
    rules.stop()
    other.start()
    other.stop()


@pytest.mark.deviation
def test_callback_may_stop_its_own_authenticator(rules: Any, sockets: Any) -> None:
    rules.configure_curve_callback("home", Provider(rules.stop))
    thread = rules.thread
    asker = sockets(zmq.REQ)
    asker.connect("inproc://zeromq.zap.01")
    asker.send_multipart(CURVE)
    thread.join(10)
    assert not thread.is_alive() and rules.zap_socket is None


@pytest.mark.deviation
def test_authenticator_that_nobody_keeps_goes_on(context: Any, sockets: Any) -> None:
    rules = running.ThreadAuthenticator(context)
    rules.start()
    seen, thread = weakref.ref(rules), rules.thread
    del rules
    gc.collect()
    asker = sockets(zmq.REQ)
    asker.connect("inproc://zeromq.zap.01")
    assert ask(asker, NULL) == ACCEPTED
    seen().stop()  # type: ignore[misc]
    assert not thread.is_alive()


@pytest.mark.deviation
def test_end_of_the_context_ends_the_thread() -> None:
    context = zmq.Context()
    rules = running.ThreadAuthenticator(context)
    rules.start()
    thread = rules.thread
    ended = threading.Thread(target=context.destroy, args=(0,))
    ended.start()
    thread.join(10)
    assert not thread.is_alive()
    rules.stop()
    ended.join(10)
    assert context.closed


def test_thread_ends_at_terminate_only(context: Any, sockets: Any) -> None:
    rules = importlib.import_module(f"{name}.auth").Authenticator(context)
    rules.start()
    near, far = sockets(zmq.PAIR), sockets(zmq.PAIR)
    near.bind("inproc://pipe")
    far.connect("inproc://pipe")
    thread = running.AuthenticationThread(rules, far)
    thread.start()
    assert thread.started.wait(10)
    near.send(b"nonsense")
    asker = sockets(zmq.REQ)
    asker.connect("inproc://zeromq.zap.01")
    assert ask(asker, NULL) == ACCEPTED
    near.send(b"TERMINATE")
    thread.join(10)
    assert not thread.is_alive()
    rules.stop()


# In an asyncio loop.


def test_module_of_the_loop_is_importable_without_a_loop() -> None:
    assert issubclass(asynchronous.AsyncioAuthenticator, running.Authenticator)


def test_loop_as_an_argument_is_deprecated(context: Any) -> None:
    with pytest.warns(DeprecationWarning, match="deprecated and ignored") as caught:
        asynchronous.AsyncioAuthenticator(context, loop=object())
    assert caught[0].filename == __file__


@pytest.fixture
def loops() -> Any:
    """The package for asyncio, which some of the tests need."""
    return pytest.importorskip(f"{name}.asyncio")


def test_task_answers_from_start_to_stop(context: Any, loops: Any) -> None:
    async def main() -> None:
        rules = asynchronous.AsyncioAuthenticator(context)
        rules.configure_curve_callback("home", Provider(yes))
        rules.start()
        own = loops.Context(context)
        with own.socket(zmq.REQ) as asker:
            asker.connect("inproc://zeromq.zap.01")
            for request, status in ((NULL, b"200"), (CURVE, b"200"), (CURVE[:6], b"400")):
                await asker.send_multipart(request)
                answer = await asyncio.wait_for(asker.recv_multipart(), 10)
                assert answer[2] == status
        rules.stop()
        assert rules.zap_socket is None
        rules.stop()

    asyncio.run(main())


@pytest.mark.deviation
def test_task_goes_on_after_a_mistake(context: Any, loops: Any) -> None:
    def fail() -> None:
        raise LookupError("a mistake")

    async def main() -> None:
        rules = asynchronous.AsyncioAuthenticator(loops.Context(context))
        rules.configure_curve_callback("home", Provider(fail))
        rules.start()
        with rules.context.socket(zmq.REQ) as asker:
            asker.connect("inproc://zeromq.zap.01")
            for request, status in ((CURVE, b"500"), (NULL, b"200")):
                await asker.send_multipart(request)
                assert (await asyncio.wait_for(asker.recv_multipart(), 10))[2] == status
        rules.stop()

    asyncio.run(main())


@pytest.mark.deviation
def test_authenticator_needs_a_loop(context: Any) -> None:
    rules = asynchronous.AsyncioAuthenticator(context)
    outcome: list[Any] = []

    def start() -> None:  # a thread of its own has no loop
        try:
            rules.start()
        except RuntimeError as error:
            outcome.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join(10)
    assert len(outcome) == 1 and rules.zap_socket is None


@pytest.mark.deviation
def test_authenticator_of_tornado_is_deprecated_and_uses_its_loop(context: Any, loops: Any) -> None:
    with pytest.warns(DeprecationWarning, match="AsyncioAuthenticator"):
        module = importlib.reload(importlib.import_module("mqcore.auth.ioloop"))
    loop = asyncio.new_event_loop()

    class IOLoop:
        asyncio_loop = loop

    rules = module.IOLoopAuthenticator(context, io_loop=IOLoop())
    rules.start()  # before the loop runs

    async def main() -> list[bytes]:
        with loops.Context(context).socket(zmq.REQ) as asker:
            asker.connect("inproc://zeromq.zap.01")
            await asker.send_multipart(NULL)
            answer = await asyncio.wait_for(asker.recv_multipart(), 10)
        rules.stop()
        return answer  # type: ignore[no-any-return]

    try:
        assert loop.run_until_complete(main()) == ACCEPTED
    finally:
        loop.close()
    eventually(lambda: rules.zap_socket is None)
