"""Options as attributes of sockets and contexts: which names they have, and what comes before them."""

from __future__ import annotations

import copy
import importlib
import inspect
import os
import pydoc
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))
ours = pytest.mark.deviation

SOCKETS = ["Socket", "asyncio.Socket", "green.Socket", "eventloop.future.Socket"]
NEEDS = {"green": "gevent", "eventloop": "tornado"}


def class_of(path: str) -> Any:
    """A class of the package by its path; skips the test without the library that its module needs."""
    module, _, name = path.rpartition(".")
    if module:
        package = module.partition(".")[0]
        if package in NEEDS:
            pytest.importorskip(NEEDS[package])
        return getattr(importlib.import_module(f"{zmq.__name__}.{module}"), name)
    return getattr(zmq, name)


@pytest.fixture
def make(context: Any) -> Iterator[Any]:
    """Makes sockets of any class, which are closed in the end."""
    made = []

    def make_one(cls: Any) -> Any:
        made.append(cls(context, zmq.DEALER))
        return made[-1]

    yield make_one
    for socket in made:
        socket.close(0)


# How they are found.


@ours
@pytest.mark.parametrize("path", SOCKETS)
def test_no_class_of_a_socket_has_a_hook_for_attributes(path: str) -> None:
    """With one, CPython looks up each attribute of a socket in the slow way and makes a bound method for each call of
    `send` and `recv`: that costs more than the call itself. No test of behaviour would notice.
    """
    for base in class_of(path).__mro__[:-1]:
        assert not {"__getattr__", "__getattribute__"} & set(vars(base)), base


@pytest.mark.parametrize("path", SOCKETS)
def test_every_class_of_sockets_has_options_as_attributes(make: Any, path: str) -> None:
    socket = make(class_of(path))
    socket.linger = 3
    assert socket.linger == socket.LINGER == socket.get(zmq.LINGER) == 3
    socket.RCVHWM = 4
    assert socket.rcvhwm == socket.RCVHWM == 4
    socket.LiNgEr = 5
    assert socket.linger == 5


@ours  # there in any mixture of small letters and capitals
def test_mixed_case_is_not_read(make: Any, context: Any) -> None:
    for thing in (make(zmq.Socket), context):
        thing.Linger = 3
        assert thing.linger == 3
        assert not hasattr(thing, "Linger")


def test_option_is_no_attribute_of_the_class() -> None:
    for cls in (zmq.Socket, zmq.Context):
        for name in ("linger", "LINGER", "POLLIN", "max_msgsz"):
            assert not hasattr(cls, name), (cls, name)
            with pytest.raises(AttributeError, match=cls.__name__):
                getattr(cls, name)


def test_names_of_the_class_are_no_options(make: Any) -> None:
    socket = make(zmq.Socket)
    assert callable(socket.subscribe) and callable(socket.unsubscribe)
    assert socket.hwm == 1000 and not hasattr(socket, "HWM")
    assert socket.type is zmq.DEALER and type(socket.TYPE) is int
    assert socket.closed is False


def test_dir_lists_options_by_capitals_and_no_other_constants(make: Any, context: Any) -> None:
    for thing, option in ((make(zmq.Socket), "LINGER"), (context, "IO_THREADS")):
        names = dir(thing)
        assert option in names and len(names) == len(set(names))
        assert not {"linger", "io_threads", "POLLIN", "pollin", "EAGAIN"} & set(names)


def test_class_can_be_inspected_and_be_the_model_of_a_mock() -> None:
    assert {"send", "recv", "bind"} <= set(dict(inspect.getmembers(zmq.Socket)))
    assert "recv_multipart" in pydoc.render_doc(zmq.Socket)
    model = mock.create_autospec(zmq.Socket)
    model.send(b"x")
    model.send.assert_called_once_with(b"x")


def test_copy_has_the_options_of_the_socket(make: Any) -> None:
    socket = make(zmq.Socket)
    other = copy.copy(socket)
    other.linger = 3
    assert socket.linger == other.LINGER == 3


def test_option_cannot_be_deleted_from_a_socket(make: Any) -> None:
    socket = make(zmq.Socket)
    socket.linger = 3
    with pytest.raises(AttributeError, match="linger"):
        del socket.linger
    assert socket.linger == 3


# What comes before them.


def test_attribute_that_a_class_declares_hides_the_option_once_it_is_set(make: Any) -> None:
    class Own(zmq.Socket):
        rate: int

    socket = make(Own)
    assert socket.rate == socket.RATE == 100
    socket.rate = 3
    assert (socket.rate, socket.RATE, socket.get(zmq.RATE)) == (3, 100, 100)
    del socket.rate
    assert socket.rate == 100


def test_value_in_the_dict_of_a_socket_hides_the_option(make: Any) -> None:
    socket = make(zmq.Socket)
    socket.__dict__["backlog"] = 4
    assert (socket.backlog, socket.BACKLOG) == (4, 100)
    socket.backlog = 9
    assert (socket.backlog, socket.__dict__["backlog"], socket.BACKLOG) == (9, 9, 100)


def test_attribute_of_a_subclass_hides_the_option(make: Any) -> None:
    class Own(zmq.Socket):
        backlog = 4

        @property
        def linger(self) -> Any:
            return 2 * self.get(zmq.LINGER)

        @linger.setter
        def linger(self, value: int) -> None:
            self.set(zmq.LINGER, value // 2)

    socket = make(Own)
    socket.linger = 8
    assert (socket.linger, socket.LINGER) == (8, 4)
    socket.backlog = 5
    assert (socket.backlog, socket.BACKLOG, Own.backlog) == (5, 100, 4)


def test_attribute_of_a_class_behind_the_socket_hides_the_option(make: Any) -> None:
    class Mixin:
        linger = 4

        def rate(self) -> str:
            return "a method"

    class Own(zmq.Socket, Mixin):
        pass

    class Further(Own):
        pass

    for cls in (Own, Further):
        socket = make(cls)
        assert (cls.linger, socket.linger, socket.LINGER) == (4, 4, -1)
        assert (socket.rate(), socket.RATE) == ("a method", 100)
        socket.linger = 5
        assert (socket.linger, socket.LINGER, Mixin.linger) == (5, -1, 4)


def test_subclass_refines_how_options_are_read_and_written(make: Any, context: Any) -> None:
    class Own(zmq.Socket):
        notes: list[Any]

        def _get_attr_opt(self, name: str, option: int) -> Any:
            return name, int(option), super()._get_attr_opt(name, option)

        def _set_attr_opt(self, name: str, option: int, value: Any) -> None:
            self.notes.append((name, int(option)))
            super()._set_attr_opt(name, option, value + 1)

    socket = make(Own)
    socket.notes = []
    socket.linger = 2
    socket.BACKLOG = 4
    assert socket.notes == [("LINGER", 17), ("BACKLOG", 19)]
    assert socket.LINGER == socket.linger == ("LINGER", 17, 3)
    assert socket.get(zmq.BACKLOG) == 5


def test_subclass_answers_for_unknown_names(make: Any) -> None:
    class Own(zmq.Socket):
        def __getattr__(self, key: str) -> Any:
            if key == "note":
                return "mine"
            return super().__getattr__(key)

    socket = make(Own)
    assert (socket.note, socket.linger) == ("mine", -1)
    assert not hasattr(socket, "nothing_like_it")


# Classes of others.


def test_class_of_ones_own_reads_and_writes_options_by_attributes() -> None:
    class Box(class_of("sugar.attrsettr.AttributeSetter")):  # type: ignore[misc]
        values: dict[int, Any]

        def __init__(self) -> None:
            self.values = {}

        def get(self, option: int) -> Any:
            return self.values.get(option, 0)

        def set(self, option: int, optval: Any) -> None:
            self.values[option] = optval

    box = Box()
    box.linger = 3
    box.IO_THREADS = 4
    assert box.values == {zmq.LINGER: 3, zmq.IO_THREADS: 4}
    assert (box.LINGER, box.io_threads, box.MORE) == (3, 4, 4)
    assert not hasattr(box, "nothing") and not hasattr(Box, "linger")
    with pytest.raises(AttributeError, match="Box has no such option: NOTHING"):
        box.nothing = 1
