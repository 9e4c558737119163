"""Sockets: making, options, attributes, ending."""

from __future__ import annotations

import copy
import gc
import importlib
import os
import pickle
import sys
import warnings
import weakref
from typing import Any
from unittest import mock

import pytest

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))

KINDS = [
    "PAIR",
    "PUB",
    "SUB",
    "REQ",
    "REP",
    "DEALER",
    "ROUTER",
    "PULL",
    "PUSH",
    "XPUB",
    "XSUB",
    "STREAM",
]


# Making.


@pytest.mark.parametrize("name", KINDS)
def test_every_type_can_be_made(context: Any, name: str) -> None:
    with context.socket(getattr(zmq, name)) as socket:
        assert socket.type is getattr(zmq, name)
        assert type(socket.get(zmq.TYPE)) is int
        assert socket.context is context


def test_socket_of_a_context_alone_is_a_pair(context: Any) -> None:
    with zmq.Socket(context) as socket:
        assert socket.type is zmq.PAIR


def test_socket_without_context_is_a_type_error(context: Any) -> None:
    with pytest.raises(TypeError, match="context must be specified"):
        zmq.Socket()
    with pytest.raises(TypeError, match="socket_type must be specified"):
        zmq.Socket(context, -1)
    with pytest.raises(TypeError):
        zmq.Socket(5, zmq.PUSH)


def test_socket_of_an_unknown_type_is_refused(context: Any) -> None:
    with pytest.raises(zmq.ZMQError) as caught:
        zmq.Socket(context, 99)
    assert caught.value.errno == zmq.EINVAL


def test_subclass_may_have_any_constructor(context: Any) -> None:
    class Named(zmq.Socket):
        name: str

        def __init__(self, name: str, *, context: Any) -> None:
            super().__init__(context, zmq.PUSH)
            self.name = name

    with Named("n", context=context) as socket:
        assert (socket.name, socket.type) == ("n", zmq.PUSH)


def test_copy_threshold_is_the_modules_at_construction(
    context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with context.socket(zmq.PUSH) as socket:
        assert socket.copy_threshold == zmq.COPY_THRESHOLD == 65536
        socket.copy_threshold = 5
        assert socket.copy_threshold == 5
    monkeypatch.setattr(zmq, "COPY_THRESHOLD", 0)
    with context.socket(zmq.PUSH) as socket:
        assert socket.copy_threshold == 0
    with context.socket(zmq.PUSH, copy_threshold=9) as socket:
        assert socket.copy_threshold == 9


# Identity.


def test_sockets_are_equal_only_to_themselves_and_hashable(sockets: Any) -> None:
    a, b = sockets(zmq.PUSH), sockets(zmq.PUSH)
    assert a == a and a != b
    assert {a: 1, b: 2}[a] == 1
    assert weakref.ref(a)() is a


def test_socket_cannot_be_pickled(sockets: Any) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(sockets(zmq.PUSH))


def test_repr_names_class_type_and_end(context: Any) -> None:
    class Own(zmq.Socket):
        pass

    package = zmq.__name__
    socket = context.socket(zmq.PUSH)
    assert repr(socket).startswith(f"<{package}.Socket({package}.PUSH) at 0x")
    socket.close()
    assert repr(socket).endswith(" closed>")
    with Own(context, zmq.SUB) as own:
        assert f"Own({package}.SUB) at 0x" in repr(own)


def test_dir_lists_options_and_methods(sockets: Any) -> None:
    assert {"LINGER", "ROUTING_ID", "send", "recv_json"} <= set(dir(sockets(zmq.PUSH)))


def test_socket_can_be_the_model_of_a_mock(sockets: Any) -> None:
    model = mock.Mock(spec=sockets(zmq.PUSH))
    model.send(b"x")
    model.send.assert_called_with(b"x")


# Options.


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("LINGER", -1),
        ("SNDHWM", 1000),
        ("RCVHWM", 1000),
        ("RCVTIMEO", -1),
        ("SNDTIMEO", -1),
        ("RECONNECT_IVL", 100),
        ("BACKLOG", 100),
        ("HANDSHAKE_IVL", 30000),
        ("MAXMSGSIZE", -1),
        ("AFFINITY", 0),
        ("RCVMORE", 0),
        ("IPV6", 0),
        ("ROUTING_ID", b""),
        ("LAST_ENDPOINT", b""),
    ],
)
def test_defaults(context: Any, option: str, value: Any) -> None:
    with context.socket(zmq.DEALER) as socket:
        found = socket.get(getattr(zmq, option))
        assert found == value and type(found) is type(value)


@pytest.mark.parametrize("kind", ["SUB", "XSUB"])
def test_linger_of_subscribers(context: Any, kind: str) -> None:
    with context.socket(getattr(zmq, kind)) as socket:
        assert socket.linger in (0, -1)


@pytest.mark.parametrize(
    ("option", "value"),
    [("LINGER", 5), ("RCVHWM", 7), ("ROUTING_ID", b"me"), ("MAXMSGSIZE", 1 << 40), ("IPV6", True)],
)
def test_what_is_set_can_be_read(sockets: Any, option: str, value: Any) -> None:
    socket = sockets(zmq.DEALER)
    socket.set(getattr(zmq, option), value)
    assert socket.get(getattr(zmq, option)) == value
    assert socket.getsockopt(getattr(zmq, option)) == value


def test_old_names_of_get_and_set_are_the_same_methods() -> None:
    assert zmq.Socket.setsockopt is zmq.Socket.set
    assert zmq.Socket.getsockopt is zmq.Socket.get
    assert zmq.Socket.setsockopt_string is zmq.Socket.set_string


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        (17, "x", "unicode not allowed, use setsockopt_string"),
        (17, 1.5, "expected int, got: 1.5"),
        (17, None, "expected int, got: None"),
        (17, b"x", "expected int, got: b'x'"),
        (5, bytearray(b"x"), "expected bytes, got: bytearray"),
        (5, None, "expected bytes, got: None"),
        (5, 5, "expected bytes, got: 5"),
        ("x", 1, "an integer is required"),
    ],
)
def test_value_of_a_wrong_type_is_a_type_error(
    sockets: Any, option: Any, value: Any, error: str
) -> None:
    with pytest.raises(TypeError, match=error):
        sockets(zmq.PUSH).set(option, value)


@pytest.mark.parametrize(("option", "value"), [(17, 1 << 40), (17, -(1 << 40)), (22, 1 << 70)])
def test_value_that_is_too_long_is_an_overflow_error(sockets: Any, option: int, value: int) -> None:
    with pytest.raises(OverflowError):
        sockets(zmq.PUSH).set(option, value)


def test_unknown_option_is_einval(sockets: Any) -> None:
    socket = sockets(zmq.PUSH)
    for call in (
        lambda: socket.set(999, 1),
        lambda: socket.get(999),
        lambda: socket.get(zmq.SUBSCRIBE),
    ):
        with pytest.raises(zmq.ZMQError) as caught:
            call()
        assert caught.value.errno == zmq.EINVAL
    with pytest.raises(TypeError, match="an integer is required"):
        socket.get("x")


def test_text_options(sockets: Any) -> None:
    socket = sockets(zmq.DEALER)
    socket.set_string(zmq.ROUTING_ID, "ä", encoding="latin-1")
    assert socket.get(zmq.ROUTING_ID) == b"\xe4"
    assert socket.get_string(zmq.ROUTING_ID, encoding="latin-1") == "ä"
    with pytest.raises(TypeError, match="strings only"):
        socket.set_string(zmq.ROUTING_ID, b"x")
    with pytest.raises(TypeError, match="option 17 will not return a string"):
        socket.get_string(zmq.LINGER)
    with pytest.raises(ValueError, match="999 is not a valid SocketOption"):
        socket.get_string(999)


def test_hwm_is_both_marks(sockets: Any) -> None:
    socket = sockets(zmq.DEALER)
    socket.hwm = 5
    assert (socket.sndhwm, socket.rcvhwm, socket.hwm, socket.get_hwm()) == (5, 5, 5, 5)
    socket.set_hwm(6)
    assert socket.hwm == 6
    with pytest.raises(zmq.ZMQError):
        socket.hwm = -5


# Attributes.


def test_options_are_attributes_in_small_letters_and_capitals(sockets: Any) -> None:
    socket = sockets(zmq.DEALER)
    socket.linger = 3
    assert socket.linger == socket.LINGER == 3
    socket.IDENTITY = b"me"
    assert socket.routing_id == b"me"


def test_unknown_attributes_are_refused(sockets: Any) -> None:
    socket = sockets(zmq.PUSH)
    with pytest.raises(AttributeError, match=r"(?i)socket.* has no .*foo"):
        assert socket.foo
    with pytest.raises(AttributeError, match="Socket has no such option: _FOO"):
        socket._foo = 1
    assert not hasattr(socket, "foo")


def test_write_only_option_has_no_value_as_attribute(sockets: Any) -> None:
    socket = sockets(zmq.SUB)
    with pytest.raises(AttributeError, match="SUBSCRIBE attribute is write-only"):
        assert socket.SUBSCRIBE
    with pytest.raises(AttributeError, match="HWM attribute is write-only"):
        assert socket.HWM


def test_attribute_of_a_closed_socket_is_an_error_of_the_socket(context: Any) -> None:
    socket = context.socket(zmq.PUSH)
    socket.close()
    with pytest.raises(zmq.ZMQError) as caught:
        assert socket.linger
    assert caught.value.errno == zmq.ENOTSOCK


def test_subclass_declares_its_own_attributes(context: Any) -> None:
    class Own(zmq.Socket):
        declared: int
        with_value = 1

    with Own(context, zmq.PUSH) as socket:
        socket.declared = 2
        socket.with_value = 3
        assert (socket.declared, socket.with_value) == (2, 3)
        with pytest.raises(AttributeError):
            socket.other = 4


# The end.


def test_close_is_idempotent_and_shows(context: Any) -> None:
    socket = context.socket(zmq.PUSH)
    assert not socket.closed and socket.underlying != 0
    socket.close()
    socket.close(linger=0)
    assert socket.closed and socket._closed and socket.underlying == 0
    assert socket.type is zmq.PUSH and socket.context is context


def test_with_statement_closes(context: Any) -> None:
    with context.socket(zmq.PUSH) as socket:
        assert not socket.closed
    assert socket.closed


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.send(b"x"),
        lambda s: s.send_multipart([b"x"]),
        lambda s: s.recv(),
        lambda s: s.recv_multipart(),
        lambda s: s.recv_into(bytearray(1)),
        lambda s: s.get(zmq.LINGER),
        lambda s: s.set(zmq.LINGER, 0),
        lambda s: s.bind("inproc://x"),
        lambda s: s.connect("inproc://x"),
        lambda s: s.subscribe(b""),
    ],
)
def test_closed_socket_does_nothing(context: Any, call: Any) -> None:
    socket = context.socket(zmq.PAIR)
    socket.close()
    with pytest.raises(zmq.ZMQError) as caught:
        call(socket)
    assert caught.value.errno == zmq.ENOTSOCK
    assert str(caught.value).startswith(os.strerror(zmq.ENOTSOCK))


def test_closed_socket_cannot_be_polled(context: Any) -> None:
    socket = context.socket(zmq.PAIR)
    socket.close()
    with pytest.raises(zmq.ZMQError) as caught:
        socket.poll()
    assert caught.value.errno == zmq.ENOTSUP


def test_forgotten_socket_warns_and_closes(context: Any) -> None:
    with pytest.warns(ResourceWarning, match="Unclosed socket .*PUSH"):
        socket = context.socket(zmq.PUSH)
        del socket
        gc.collect()
    assert len(context._sockets) == 0


@pytest.mark.deviation
def test_forgotten_socket_is_closed_also_where_warnings_are_errors(context: Any) -> None:
    """A warning that raised in __del__ once left the socket open, and term() waited for it for ever."""
    complaints: list[Any] = []
    before = sys.unraisablehook
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sys.unraisablehook = complaints.append
        try:
            context.socket(zmq.PUSH)
            gc.collect()
        finally:
            sys.unraisablehook = before
    assert len(complaints) == 1
    assert "Unclosed socket" in str(complaints[0].exc_value)
    context.term(timeout=20_000)
    assert context.closed


def test_context_knows_only_the_open_sockets_it_made(context: Any) -> None:
    with context.socket(zmq.PUSH) as socket, zmq.Socket(context, zmq.PUSH):
        assert set(context._sockets) == {socket}
    assert set(context._sockets) == set()


def test_close_with_linger_sets_the_option_first(context: Any) -> None:
    socket = context.socket(zmq.PUSH)
    socket.connect("tcp://127.0.0.1:1")
    socket.send(b"never arrives")
    socket.close(linger=0)
    context.term()


# Shadows.


def test_shadow_is_the_same_socket(sockets: Any) -> None:
    a, b = sockets.pair(zmq.PAIR, zmq.PAIR)
    for shadow in (zmq.Socket.shadow(a), zmq.Socket(a), copy.copy(a), copy.deepcopy(a)):
        assert shadow is not a and shadow.underlying == a.underlying
        assert shadow.type is zmq.PAIR
        shadow.send(b"x")
        assert b.recv() == b"x"
    del shadow
    gc.collect()
    assert not a.closed


def test_shadow_of_a_socket_has_its_context(sockets: Any) -> None:
    a = sockets(zmq.PUSH)
    assert zmq.Socket.shadow(a).context is zmq.Socket(a).context is a.context


def test_shadow_of_a_number_has_no_context(sockets: Any) -> None:
    a = sockets(zmq.PUSH)
    shadow = zmq.Socket.shadow(a.underlying)
    assert shadow.context is None and shadow.underlying == a.underlying


def test_closing_a_shadow_closes_the_socket(sockets: Any) -> None:
    a = sockets(zmq.PUSH)
    zmq.Socket.shadow(a).close()
    assert a.closed
    with pytest.raises(zmq.ZMQError) as caught:
        a.send(b"x")
    assert caught.value.errno == zmq.ENOTSOCK


@pytest.mark.deviation
def test_number_of_a_closed_socket_stands_for_nothing(sockets: Any) -> None:
    a = sockets(zmq.PUSH)
    number = a.underlying
    a.close()
    sockets.kept.clear()
    del a
    gc.collect()
    with pytest.raises(zmq.ZMQError) as caught:
        zmq.Socket.shadow(number)
    assert caught.value.errno == zmq.ENOTSOCK


def test_socket_type_property_is_deprecated(sockets: Any) -> None:
    with pytest.warns(DeprecationWarning):
        assert sockets(zmq.PUSH).socket_type == zmq.PUSH


@pytest.mark.parametrize("method", ["join", "leave"])
def test_groups_need_another_type(sockets: Any, method: str) -> None:
    with pytest.raises(RuntimeError):
        getattr(sockets(zmq.PUSH), method)(b"group")


@pytest.mark.deviation
def test_statistics_count_by_name(sockets: Any) -> None:
    counters = sockets(zmq.PUB).statistics()
    assert counters["dropped_full"] == 0


def test_closed_socket_stays_closed_when_its_context_ends() -> None:
    context = zmq.Context()
    socket = context.socket(zmq.PAIR)
    socket.close()
    context.term()
    for call in (
        lambda: socket.send(b""),
        socket.recv,
        lambda: socket.linger,
        lambda: socket.set(zmq.LINGER, 0),
        lambda: socket.bind("inproc://a"),
    ):
        with pytest.raises(zmq.ZMQError) as caught:
            call()
        assert caught.value.errno == zmq.ENOTSOCK and not isinstance(
            caught.value, zmq.ContextTerminated
        )
