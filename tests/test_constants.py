"""Constants: names, numbers and the behaviour of the enums."""

from __future__ import annotations

import enum
import importlib
import os
from typing import Any

import pytest

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))

ENUMS = [
    "ContextOption",
    "DeviceType",
    "Errno",
    "Event",
    "Flag",
    "MessageOption",
    "NormMode",
    "PollEvent",
    "ReconnectStop",
    "RouterNotify",
    "SecurityMechanism",
    "SocketOption",
    "SocketType",
]

OWN_OPTIONS = ["SPIN"]  # of mqcore, not of pyzmq


@pytest.fixture(scope="module")
def reference() -> Any:
    return pytest.importorskip("zmq")


@pytest.mark.parametrize("name", ENUMS)
def test_every_enum_has_the_members_and_numbers_of_pyzmq(reference: Any, name: str) -> None:
    ours, theirs = getattr(zmq, name), getattr(reference, name)
    own = OWN_OPTIONS if ours is zmq.SocketOption and ours is not theirs else []
    assert {n: int(m) for n, m in ours.__members__.items() if n not in own} == {
        n: int(m) for n, m in theirs.__members__.items()
    }
    # Which of several names with one number is the member, and which are aliases:
    assert [m.name for m in ours if m.name not in own] == [m.name for m in theirs]
    assert issubclass(ours, enum.IntFlag) == issubclass(theirs, enum.IntFlag)


def test_every_constant_of_pyzmq_is_a_name_of_the_module_with_its_number(reference: Any) -> None:
    names = [n for n in reference.constants.__all__ if n.isupper()]
    assert len(names) == 244
    for name in names:
        assert getattr(zmq, name) == getattr(reference, name), name
        assert name in zmq.__all__
        assert type(getattr(zmq, name)).__name__ == type(getattr(reference, name)).__name__


def test_kinds_of_option_values_are_those_of_pyzmq(reference: Any) -> None:
    for option in reference.SocketOption:
        assert (
            zmq.SocketOption[option.name]._opt_type.name
            == reference.SocketOption[option.name]._opt_type.name
        )


def test_native_code_takes_the_kinds_of_values_that_the_constants_announce(sockets: Any) -> None:
    socket = sockets(zmq.PAIR)
    for option in zmq.SocketOption:
        expected = "bytes" if option._opt_type is zmq.constants._OptType.bytes else "int"
        with pytest.raises(TypeError, match=f"expected {expected}, got: 1.5"):
            socket.set(option, 1.5)
    wide = [o for o in zmq.SocketOption if o._opt_type is zmq.constants._OptType.int64]
    for option in wide:
        try:
            socket.set(option, 1 << 40)
        except zmq.ZMQError:
            pass  # the value may not suit the option; it was not too long
    with pytest.raises(OverflowError):
        socket.set(zmq.LINGER, 1 << 40)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("PUSH", 8),
        ("SUBSCRIBE", 6),
        ("DONTWAIT", 1),
        ("POLLOUT", 2),
        ("EFSM", 156384763),
        ("HWM", 1),
    ],
)
def test_some_numbers_that_never_change(name: str, number: int) -> None:
    assert getattr(zmq, name) == number


def test_names_of_the_module_are_members_of_the_enums() -> None:
    assert zmq.PUSH is zmq.SocketType.PUSH
    assert zmq.EVENT_CONNECTED is zmq.Event.CONNECTED
    assert zmq.PROTOCOL_ERROR_ZAP_UNSPECIFIED is zmq.Event.PROTOCOL_ERROR_ZAP_UNSPECIFIED
    assert zmq.NOTIFY_CONNECT is zmq.RouterNotify.CONNECT
    assert zmq.NORM_CC is zmq.NormMode.CC
    assert zmq.RECONNECT_STOP_CONN_REFUSED is zmq.ReconnectStop.CONN_REFUSED


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("IDENTITY", "ROUTING_ID"),
        ("CONNECT_RID", "CONNECT_ROUTING_ID"),
        ("DELAY_ATTACH_ON_CONNECT", "IMMEDIATE"),
        ("FAIL_UNROUTABLE", "ROUTER_MANDATORY"),
        ("ROUTER_BEHAVIOR", "ROUTER_MANDATORY"),
        ("XREQ", "DEALER"),
        ("XREP", "ROUTER"),
        ("NOBLOCK", "DONTWAIT"),
        ("EVENT_ALL", "EVENT_ALL_V1"),
        ("THREAD_PRIORITY", "SOCKET_LIMIT"),
    ],
)
def test_alias_is_the_same_member(alias: str, name: str) -> None:
    assert getattr(zmq, alias) is getattr(zmq, name)


def test_text_of_a_constant_is_its_number() -> None:
    assert str(zmq.PUB) == "1"
    assert f"{zmq.LINGER}" == "17"


def test_repr_of_every_event_has_its_name() -> None:
    for name, event in zmq.Event.__members__.items():
        assert event.name in repr(event)
        assert name in repr(event) or zmq.Event[name].name != name


def test_flags_combine_to_flags() -> None:
    assert zmq.SNDMORE | zmq.DONTWAIT == 3
    assert isinstance(zmq.POLLIN | zmq.POLLOUT, zmq.PollEvent)


def test_every_name_in_all_exists_once() -> None:
    assert [name for name in zmq.__all__ if not hasattr(zmq, name)] == []
    if zmq.__name__ == "mqcore":
        assert len(zmq.__all__) == len(set(zmq.__all__))


def test_versions_are_numbers_that_code_can_compare() -> None:
    assert zmq.zmq_version_info() >= (4, 3, 5)
    assert zmq.zmq_version() == ".".join(map(str, zmq.zmq_version_info()))
    assert zmq.pyzmq_version_info() >= (27, 3)
    assert zmq.pyzmq_version() == zmq.__version__


@pytest.mark.parametrize("name", ["ipc", "draft", "nonsense"])
def test_has_answers_for_known_and_unknown_capabilities(name: str) -> None:
    assert zmq.has(name) is (name == "ipc")


def test_has_takes_text_only() -> None:
    with pytest.raises(TypeError):
        zmq.has(b"ipc")
