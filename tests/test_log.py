"""Logging over PUB sockets: the handler, the logger of topics, and the tool that shows what is published."""

from __future__ import annotations

import importlib
import logging
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from peers.subject import name, zmq
from peers.waiting import eventually

handlers = importlib.import_module(f"{name}.log.handlers")
LEVELS = ["debug", "info", "warning", "error", "critical"]


@pytest.fixture
def pub(sockets: Any) -> Any:
    """An XPUB, which is a PUB that says who subscribes."""
    socket = sockets(zmq.XPUB)
    socket.bind("inproc://log")
    return socket


@pytest.fixture
def sub(sockets: Any, pub: Any) -> Any:
    socket = sockets(zmq.SUB)
    socket.connect("inproc://log")
    socket.subscribe(b"")
    assert pub.recv() == b"\x01"
    return socket


@pytest.fixture
def handler(pub: Any) -> Any:
    return handlers.PUBHandler(pub)


@pytest.fixture
def logger(handler: Any) -> Any:
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger


@pytest.fixture
def topics(handler: Any) -> Any:
    logger = handlers.TopicLogger("test")
    logger.addHandler(handler)
    return logger


# The handler.


def test_info_is_published_as_it_is(logger: Any, sub: Any) -> None:
    logger.info("hello %s", "you")
    assert sub.recv_multipart() == [b"INFO", b"hello you\n"]


@pytest.mark.parametrize("level", ["debug", "warning", "critical"])
def test_other_levels_say_where_they_come_from(logger: Any, sub: Any, level: str) -> None:
    getattr(logger, level)("hello %d", 1)
    topic, text = sub.recv_multipart()
    assert topic.decode() == level.upper()
    assert re.fullmatch(rf"{level.upper()} test_log\.py:\d+ - hello 1\n", text.decode())


def test_error_comes_with_its_exception(logger: Any, sub: Any) -> None:
    logger.error("plain")
    assert sub.recv_multipart()[1].endswith(b" - plain - None\n")
    try:
        raise LookupError("lost")
    except LookupError:
        logger.exception("boom")
    topic, text = sub.recv_multipart()
    assert topic == b"ERROR"
    assert b" - boom - (<class 'LookupError'>" in text and text.endswith(b"LookupError: lost")


@pytest.mark.parametrize(
    ("message", "args", "topic", "text"),
    [
        ("hello", (), b"root.INFO", b"hello"),
        ("cats::meow", (), b"root.INFO.cats", b"meow"),
        ("cats::a::b %s", ("x",), b"root.INFO.cats", b"a::b x"),
        ("::meow", (), b"root.INFO", b"meow"),
        ("%s", ("no::topic",), b"root.INFO", b"no::topic"),
        ("é::ü", (), "root.INFO.é".encode(), "ü".encode()),
        (5, (), b"root.INFO", b"5"),
        ({"a": 1}, (), b"root.INFO", b"{'a': 1}"),
    ],
)
def test_topic_is_root_level_and_what_the_message_says(
    handler: Any, logger: Any, sub: Any, message: Any, args: Any, topic: bytes, text: bytes
) -> None:
    handler.root_topic = "root"
    logger.info(message, *args)
    assert sub.recv_multipart() == [topic, text + b"\n"]


def test_root_topic_may_be_set_as_bytes(handler: Any, logger: Any, sub: Any) -> None:
    handler.setRootTopic("é".encode())
    assert handler.root_topic == "é"
    logger.info("x")
    assert sub.recv_multipart()[0] == "é.INFO".encode()
    handler.setRootTopic("")
    logger.info("x")
    assert sub.recv_multipart()[0] == b"INFO"


def test_record_stays_as_it_was_for_other_handlers(handler: Any, sub: Any) -> None:
    record = logging.LogRecord("n", logging.INFO, "file", 1, "cats::meow", (), None)
    handler.emit(record)
    assert sub.recv_multipart() == [b"INFO.cats", b"meow\n"]
    assert record.msg == "cats::meow"
    assert handler.format(record) == "cats::meow\n"


def test_formats_are_of_all_levels_or_of_one(handler: Any, logger: Any, sub: Any) -> None:
    handler.setFormatter(logging.Formatter("F %(message)s"))
    handler.setFormatter(logging.Formatter("G %(message)s"), logging.ERROR)
    for level in LEVELS:
        getattr(logger, level)("x")
    texts = [sub.recv_multipart()[1] for _ in LEVELS]
    assert texts == [b"F x", b"F x", b"F x", b"G x", b"F x"]
    assert sorted(handler.formatters) == [10, 20, 30, 40, 50]


def test_level_of_ones_own_needs_a_format(handler: Any, logger: Any, sub: Any) -> None:
    failed: list[Any] = []
    handler.handleError = failed.append
    logger.log(25, "not sent")
    assert [record.msg for record in failed] == ["not sent"]
    handler.setFormatter(logging.Formatter("own %(message)s"), 25)
    logger.log(25, "sent")
    assert sub.recv_multipart() == [b"Level 25", b"own sent"]


@pytest.mark.deviation
def test_no_format_brings_back_the_handlers_own(handler: Any, logger: Any, sub: Any) -> None:
    for level in (logging.NOTSET, 25):
        handler.setFormatter(logging.Formatter("F %(message)s"), level)
        handler.setFormatter(None, level)
    logger.info("x")
    assert sub.recv_multipart()[1] == b"x\n"
    assert sorted(handler.formatters) == [10, 20, 30, 40, 50]


@pytest.mark.deviation
def test_record_that_cannot_be_sent_does_not_stop_the_program(handler: Any, logger: Any) -> None:
    failed: list[Any] = []
    handler.handleError = failed.append
    handler.socket.close()
    logger.info("lost")
    assert len(failed) == 1


def test_handler_makes_its_socket_at_an_endpoint(context: Any) -> None:
    handler = handlers.PUBHandler("inproc://made", context, root_topic="root")
    assert handler.ctx is context and handler.socket.type == zmq.PUB
    assert handler.socket.last_endpoint == b"inproc://made"
    assert handler.root_topic == "root"
    own = handlers.PUBHandler("inproc://made")
    assert own.ctx is not context
    own.ctx.destroy()


def test_handler_takes_a_socket_and_its_context(context: Any, pub: Any) -> None:
    handler = handlers.PUBHandler(pub)
    assert handler.socket is pub and handler.ctx is context
    handler.close()
    assert not pub.closed


def test_endpoint_that_cannot_be_bound_is_an_error(context: Any) -> None:
    with pytest.raises(zmq.ZMQError):
        handlers.PUBHandler("nonsense", context)
    with pytest.raises(TypeError):
        handlers.PUBHandler(5, context)


@pytest.mark.deviation
def test_handler_that_cannot_bind_leaves_no_socket_behind(context: Any) -> None:
    with pytest.raises(zmq.ZMQError):
        handlers.PUBHandler("nonsense", context)
    assert all(socket.closed for socket in list(context._sockets))


def test_handler_works_with_an_asyncio_socket_from_any_thread(sub: Any, background: Any) -> None:
    package = pytest.importorskip(f"{name}.asyncio")
    if name == "zmq":
        pytest.skip("pyzmq sends from the thread of the loop only")
    context = package.Context(sub.context)
    with context.socket(zmq.PUB) as socket:
        socket.bind("inproc://later")
        sub.connect("inproc://later")
        logger = logging.Logger("later")
        logger.addHandler(handlers.PUBHandler(socket))

        def arrived() -> bool:
            logger.info("x")
            return bool(sub.poll(100))

        background(lambda: eventually(arrived))()


# The logger of topics.


def test_log_takes_level_topic_and_message(topics: Any, sub: Any) -> None:
    topics.log(logging.INFO, "cats", "meow %s", "loud")
    assert sub.recv_multipart() == [b"INFO.cats", b"meow loud\n"]
    topics.log(logging.INFO, "number", 5)
    assert sub.recv_multipart() == [b"INFO.number", b"5\n"]
    with pytest.raises(TypeError, match="level must be an integer"):
        topics.log("x", "topic", "message")


@pytest.mark.deviation
@pytest.mark.parametrize("method", [*LEVELS, "warn", "fatal", "exception"])
def test_every_method_takes_topic_and_message(topics: Any, sub: Any, method: str) -> None:
    level = {"warn": "WARNING", "fatal": "CRITICAL", "exception": "ERROR"}.get(
        method, method.upper()
    )
    getattr(topics, method)("cats", "meow %s", "loud", extra={"more": 1})
    topic, text = sub.recv_multipart()
    assert topic.decode() == f"{level}.cats" and b"meow loud" in text
    if level != "INFO":
        assert b" test_log.py:" in text, "the record names the caller of the logger"


@pytest.mark.deviation
def test_record_of_log_names_the_caller(topics: Any, sub: Any) -> None:
    topics.log(logging.DEBUG, "cats", "meow")
    assert b" test_log.py:" in sub.recv_multipart()[1]


@pytest.mark.deviation
def test_exception_is_logged_with_its_topic(topics: Any, sub: Any) -> None:
    try:
        raise LookupError("lost")
    except LookupError:
        topics.exception("cats", "boom")
    topic, text = sub.recv_multipart()
    assert topic == b"ERROR.cats" and text.endswith(b"LookupError: lost")


@pytest.mark.deviation
def test_level_of_the_logger_is_heeded(topics: Any, sub: Any) -> None:
    topics.setLevel(logging.ERROR)
    topics.info("cats", "meow")
    topics.log(logging.WARNING, "cats", "meow")
    topics.error("dogs", "woof")
    assert sub.recv_multipart()[0] == b"ERROR.dogs"


# The tool.


@pytest.fixture
def watcher(sockets: Any) -> Iterator[Callable[..., Any]]:
    """`watcher(*options)` runs the tool and gives a function that publishes a message and returns its line."""
    running: list[Any] = []

    def start(*options: str, topic: bytes = b"") -> Callable[..., str]:
        pub = sockets(zmq.XPUB)
        pub.bind("tcp://127.0.0.1:*")
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", f"{name}.log", *options, pub.last_endpoint.decode()],
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        assert pub.recv() == b"\x01" + topic

        def show(*parts: bytes) -> str:
            pub.send_multipart(parts)
            return process.stdout.readline()  # type: ignore[union-attr]

        return show

    yield start
    for process in running:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        process.stdout.close()


def test_tool_shows_topic_and_message(watcher: Any) -> None:
    show = watcher()
    assert show(b"root.INFO", b"hello\n") == "root.INFO | hello\n"
    assert show(b"ERROR", b"no newline") == "ERROR | no newline\n"


@pytest.mark.deviation
def test_tool_shows_messages_of_other_publishers_too(watcher: Any) -> None:
    show = watcher()
    assert show(b"one") == "one | \n"
    assert show(b"a", b"b", b"\xff") == "a | b \ufffd\n"


def test_tool_subscribes_to_a_topic(watcher: Any) -> None:
    show = watcher("-t", "root", topic=b"root")
    show_next = show(b"root.x", b"1")
    assert show_next == "root.x | 1\n"


def test_tool_prints_time_and_separator(watcher: Any) -> None:
    show = watcher("--timestamp", "--dateformat", "T%H", "--separator", " # ")
    assert re.fullmatch(r"T\d\d INFO # x\n", show(b"INFO", b"x"))


def test_tool_keeps_topics_in_columns(watcher: Any) -> None:
    show = watcher("--align")
    assert show(b"root.INFO", b"x") == "root.INFO | x\n"
    assert len(show(b"INFO", b"x")) == len("root.INFO | x\n")
    assert len(show(b"r.ERROR", b"x")) == len("root.ERROR | x\n")


@pytest.mark.deviation
def test_tool_colours_topics_by_level(watcher: Any) -> None:
    show = watcher("--color")
    assert show(b"root.ERROR.x", b"y") == "\x1b[31mroot.ERROR.x\x1b[0m | y\n"
    assert show(b"other", b"y") == "other | y\n"
