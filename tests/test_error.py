"""Exceptions: classes, numbers, texts."""

from __future__ import annotations

import errno
import importlib
import os
import pickle
from typing import Any

import pytest

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))
error: Any = importlib.import_module(zmq.__name__ + ".error")


def test_classes_have_the_bases_of_pyzmq() -> None:
    assert issubclass(zmq.ZMQError, zmq.ZMQBaseError)
    assert not issubclass(zmq.ZMQError, OSError)
    assert issubclass(zmq.Again, zmq.ZMQError)
    assert issubclass(zmq.ContextTerminated, zmq.ZMQError)
    assert issubclass(zmq.InterruptedSystemCall, (zmq.ZMQError, InterruptedError))
    assert issubclass(zmq.ZMQBindError, zmq.ZMQBaseError)
    assert issubclass(zmq.NotDone, zmq.ZMQBaseError)
    assert issubclass(zmq.ZMQVersionError, NotImplementedError)
    assert issubclass(zmq.DraftFDWarning, RuntimeWarning)


def test_error_made_of_a_number_has_its_text() -> None:
    made = zmq.ZMQError(errno.EINVAL)
    assert (made.errno, made.strerror, str(made)) == (22, "Invalid argument", "Invalid argument")
    assert repr(made) == "ZMQError('Invalid argument')"
    assert made.args == (22,)


def test_error_made_of_a_number_and_text_has_both() -> None:
    made = zmq.ZMQError(errno.EINVAL, "hello")
    assert (made.errno, str(made), made.args) == (22, "hello", (22, "hello"))


def test_error_made_of_text_has_no_number() -> None:
    made = zmq.ZMQError("text")
    assert (made.errno, made.strerror) == (None, "text")


@pytest.mark.parametrize(
    ("name", "number"), [("Again", errno.EAGAIN), ("ContextTerminated", 156384765)]
)
def test_specific_errors_ignore_their_arguments(name: str, number: int) -> None:
    made = getattr(zmq, name)(3, "ignored")
    assert made.errno == number
    assert made.errno is zmq.Errno(number)
    assert str(made) == zmq.strerror(number)


def test_error_without_arguments_describes_what_this_thread_saw_last(sockets: Any) -> None:
    socket = sockets(zmq.PULL)
    with pytest.raises(zmq.Again):
        socket.recv(zmq.DONTWAIT)
    assert zmq.zmq_errno() == errno.EAGAIN
    assert zmq.ZMQError().errno == errno.EAGAIN


def test_again_of_a_call_carries_its_number(sockets: Any) -> None:
    with pytest.raises(zmq.Again) as caught:
        sockets(zmq.PULL).recv(zmq.DONTWAIT)
    assert caught.value.errno == errno.EAGAIN
    assert caught.value.args == (errno.EAGAIN,)
    assert str(caught.value) == os.strerror(errno.EAGAIN)
    assert repr(caught.value) == f"Again({os.strerror(errno.EAGAIN)!r})"


def test_error_of_a_call_has_a_plain_number_and_a_text_that_begins_with_the_standard_one(
    sockets: Any,
) -> None:
    with pytest.raises(zmq.ZMQError) as caught:
        sockets(zmq.PULL).send(b"x")
    assert type(caught.value) is zmq.ZMQError
    assert type(caught.value.errno) is int
    assert caught.value.errno == zmq.ENOTSUP
    assert caught.value.args == (zmq.ENOTSUP,)
    assert str(caught.value).startswith(os.strerror(errno.ENOTSUP))


@pytest.mark.deviation
def test_error_of_a_call_says_what_was_wrong(sockets: Any) -> None:
    with pytest.raises(zmq.ZMQError, match="PULL"):
        sockets(zmq.PULL).send(b"x")


def test_request_out_of_turn_is_efsm(sockets: Any) -> None:
    with pytest.raises(zmq.ZMQError) as caught:
        sockets(zmq.REQ).recv(zmq.DONTWAIT)
    assert caught.value.errno == zmq.EFSM
    assert str(caught.value).startswith("Operation cannot be accomplished in current state")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (156384763, "Operation cannot be accomplished in current state"),
        (156384764, "The protocol is not compatible with the socket type"),
        (156384765, "Context was terminated"),
        (156384766, "No thread available"),
        (113, "Host unreachable"),
        (22, os.strerror(22)),
        (0, os.strerror(0)),
        (9999, "Unknown error 9999"),
        (-1, "Unknown error -1"),
    ],
)
def test_text_of_every_number(number: int, text: str) -> None:
    assert zmq.strerror(number) == text


def test_errors_survive_pickling(sockets: Any) -> None:
    with pytest.raises(zmq.ZMQError) as caught:
        sockets(zmq.PULL).send(b"x")
    for original in (caught.value, zmq.Again(), zmq.ContextTerminated(), zmq.ZMQError(5, "five")):
        copy = pickle.loads(pickle.dumps(original))
        assert type(copy) is type(original)
        assert (copy.errno, str(copy)) == (original.errno, str(original))


def test_version_error_says_what_is_there() -> None:
    made = zmq.ZMQVersionError("5.0", "F")
    assert (made.msg, made.min_version, made.version) == ("F", "5.0", "4.3.5")
    assert str(made) == "F requires libzmq >= 5.0, have 4.3.5"


def test_check_rc_raises_by_number() -> None:
    error._check_rc(0)
    for number, expected in [
        (errno.EAGAIN, zmq.Again),
        (errno.EINTR, zmq.InterruptedSystemCall),
        (156384765, zmq.ContextTerminated),
        (errno.EINVAL, zmq.ZMQError),
    ]:
        with pytest.raises(expected):
            error._check_rc(-1, number)


def test_check_version_raises_for_a_newer_one() -> None:
    error._check_version((4, 1), "old")
    with pytest.raises(zmq.ZMQVersionError, match=r"new requires libzmq >= 99\.0"):
        error._check_version((99, 0), "new")


def test_draft_warning_takes_a_text() -> None:
    assert str(zmq.DraftFDWarning("other")) == "other"
    assert str(zmq.DraftFDWarning())
