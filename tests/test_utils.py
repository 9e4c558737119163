"""The helpers of `utils`: JSON, Z85, old string types, monitor messages, native addresses."""

from __future__ import annotations

import asyncio
import importlib
import struct
import subprocess
import sys
import warnings
from typing import Any

import pytest
from peers.subject import name, zmq

jsonapi = importlib.import_module(f"{name}.utils.jsonapi")
z85 = importlib.import_module(f"{name}.utils.z85")
strtypes = importlib.import_module(f"{name}.utils.strtypes")
win32 = importlib.import_module(f"{name}.utils.win32")
interop = importlib.import_module(f"{name}.utils.interop")
monitor = importlib.import_module(f"{name}.utils.monitor")


@pytest.mark.deviation
def test_importing_the_package_imports_none_of_the_helpers_but_one() -> None:
    """`interop`, which contexts and sockets need for the numbers of others."""
    code = (
        "import sys, mqcore\n"
        "found = {name for name in sys.modules if name.startswith('mqcore.utils')}\n"
        "assert found == {'mqcore.utils', 'mqcore.utils.interop'}, found\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_modules_that_pyzmq_has_loaded_are_attributes() -> None:
    code = (
        f"import {name}.utils as utils\n"
        "assert utils.jsonapi.loads(b'1') == 1\n"
        "assert utils.interop.cast_int_addr(5) == 5\n"
        "from " + name + ".utils import z85, monitor\n"
        "assert not hasattr(utils, 'nonsense')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# JSON.


def test_json_is_bytes_in_utf8() -> None:
    assert jsonapi.dumps({"a": "é"}, ensure_ascii=False) == b'{"a": "\xc3\xa9"}'
    assert jsonapi.dumps({1: 2}, indent=1) == b'{\n "1": 2\n}'
    assert jsonapi.jsonmod.loads("[1]") == [1]
    assert sorted(jsonapi.__all__) == ["dumps", "loads"]


@pytest.mark.parametrize(
    "text", ['{"a": "é"}', '{"a": "é"}'.encode(), bytearray(b'{"a": "\\u00e9"}')]
)
def test_json_is_read_from_text_and_bytes(text: Any) -> None:
    assert jsonapi.loads(text) == {"a": "é"}


def test_options_of_the_json_module_are_passed_on() -> None:
    assert jsonapi.loads("1.5", parse_float=str) == "1.5"
    with pytest.raises(ValueError, match="Expecting value"):
        jsonapi.loads(b"no")
    with pytest.raises(TypeError):
        jsonapi.loads(5)


# Z85.

PAIRS = [
    (bytes.fromhex("864FD26FB559F75B"), b"HelloWorld"),  # RFC 32's own example
    (b"", b""),
    (bytes(4), b"00000"),
    (b"\xff" * 4, b"%nSc0"),
]


@pytest.mark.parametrize(("raw", "text"), PAIRS)
def test_z85_encodes_and_decodes(raw: bytes, text: bytes) -> None:
    assert z85.encode(raw) == z85.encode(bytearray(raw)) == z85.encode(memoryview(raw)) == text
    assert z85.decode(text) == z85.decode(text.decode()) == z85.decode(memoryview(text)) == raw


def test_z85_knows_85_digits() -> None:
    assert len(z85.Z85CHARS) == len(set(z85.Z85CHARS)) == len(z85.Z85MAP) == 85
    assert all(z85.Z85CHARS[value] == digit for digit, value in z85.Z85MAP.items())


@pytest.mark.parametrize("length", [1, 2, 3, 5, 31])
def test_z85_encodes_multiples_of_four_only(length: int) -> None:
    with pytest.raises(ValueError, match=f"multiple of 4, not {length}"):
        z85.encode(bytes(length))


@pytest.mark.parametrize("wrong", ["abcd", 5, None])
def test_z85_encodes_bytes_only(wrong: Any) -> None:
    with pytest.raises(TypeError):
        z85.encode(wrong)


@pytest.mark.parametrize("wrong", [b"0000", "000000", "é0000"])
def test_z85_refuses_lengths_and_text_that_it_never_writes(wrong: Any) -> None:
    with pytest.raises(ValueError, match="multiple of 5|only ASCII"):
        z85.decode(wrong)


@pytest.mark.parametrize("wrong", [b"     ", b"\xff0000", "0000~"])
def test_character_that_is_no_digit_is_a_key_error(wrong: Any) -> None:
    with pytest.raises(KeyError):
        z85.decode(wrong)


def test_digits_of_more_than_32_bits_are_a_struct_error() -> None:
    with pytest.raises(struct.error):
        z85.decode(b"%nSc1")


@pytest.mark.deviation
@pytest.mark.parametrize("wrong", [b"0000000 00", b"#####"])
def test_every_bad_text_is_a_value_error_that_says_what_is_wrong(wrong: bytes) -> None:
    with pytest.raises(ValueError, match="no digit of Z85|more than 32 bits"):
        z85.decode(wrong)


# Text and bytes.


@pytest.mark.parametrize("cast", ["cast_bytes", "asbytes", "b"])
def test_text_becomes_bytes(cast: str) -> None:
    function = getattr(strtypes, cast)
    with pytest.warns(DeprecationWarning, match="strtypes is deprecated"):
        assert function("é") == function(b"\xc3\xa9") == b"\xc3\xa9"
        assert function("é", "latin1") == b"\xe9"
        assert function("é", "ascii", errors="replace") == b"?"


@pytest.mark.parametrize("cast", ["cast_unicode", "u"])
def test_bytes_become_text(cast: str) -> None:
    function = getattr(strtypes, cast)
    with pytest.warns(DeprecationWarning, match="strtypes is deprecated"):
        assert function("é") == function(b"\xc3\xa9") == "é"
        assert function(b"\xe9", encoding="latin1") == "é"


@pytest.mark.parametrize("cast", ["cast_bytes", "cast_unicode"])
@pytest.mark.parametrize("wrong", [5, None, bytearray(b"a")])
def test_anything_else_is_neither_text_nor_bytes(cast: str, wrong: Any) -> None:
    with pytest.warns(DeprecationWarning), pytest.raises(TypeError, match="unicode or bytes"):
        getattr(strtypes, cast)(wrong)


def test_deprecation_names_the_caller() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        strtypes.b("x")
    assert caught[0].filename == __file__
    assert (strtypes.bytes, strtypes.unicode, strtypes.basestring) == (bytes, str, (str,))


# Windows and native code.


def test_interrupts_need_no_help() -> None:
    called: list[int] = []
    with win32.allow_interrupt(lambda: called.append(1)):
        pass
    with win32.allow_interrupt():
        pass
    assert called == []


@pytest.mark.parametrize("wrong", ["7", None, 5.5, object()])
def test_only_ints_and_pointers_are_addresses(wrong: Any) -> None:
    assert interop.cast_int_addr(2**40) == 2**40
    with pytest.raises(ValueError, match="Cannot cast .* to int"):
        interop.cast_int_addr(wrong)


def test_pointers_of_cffi_are_addresses() -> None:
    ffi = pytest.importorskip("cffi").FFI()
    assert interop.cast_int_addr(ffi.cast("void*", 77)) == 77
    assert interop.cast_int_addr(ffi.cast("int", 5)) == 5
    with pytest.raises((ValueError, TypeError)):
        interop.cast_int_addr(ffi.new("struct { int a; } *")[0])


# Monitor messages.


def test_monitor_message_is_event_value_and_endpoint() -> None:
    found = monitor.parse_monitor_message([struct.pack("=hi", 512, 115), b"tcp://x"])
    assert found == {"event": zmq.EVENT_DISCONNECTED, "value": 115, "endpoint": b"tcp://x"}
    assert type(found["event"]) is type(found["value"]) is zmq.Event


def test_value_of_all_bits_is_read() -> None:
    found = monitor.parse_monitor_message((struct.pack("=hi", 1, -1), b""))
    assert isinstance(found["value"], zmq.Event) and found["value"] & zmq.EVENT_ALL == zmq.EVENT_ALL


@pytest.mark.parametrize(
    "wrong", [[], [b"a" * 6], [b"a" * 5, b""], [b"a" * 8, b""], [b"a" * 6, b"", b""]]
)
def test_what_is_no_monitor_message_is_refused(wrong: list[bytes]) -> None:
    with pytest.raises(RuntimeError, match="Invalid event message format"):
        monitor.parse_monitor_message(wrong)


def test_monitor_message_is_received(sockets: Any) -> None:
    socket = sockets(zmq.PULL)
    with socket.get_monitor_socket() as events:
        events.rcvtimeo = 10_000
        socket.bind("tcp://127.0.0.1:*")
        found = monitor.recv_monitor_message(events)
        assert found["event"] == zmq.EVENT_LISTENING
        assert found["endpoint"] == socket.last_endpoint
        with pytest.raises(zmq.Again):
            monitor.recv_monitor_message(events, zmq.DONTWAIT)
        socket.disable_monitor()


def test_monitor_message_of_a_socket_that_gives_futures_is_awaited() -> None:
    """Whatever loop the socket is of: mqcore.asyncio's and others."""

    class Later:
        async def recv_multipart(self, flags: int = 0) -> list[bytes]:
            await asyncio.sleep(0)
            return [struct.pack("=hi", 1, 7), b"here"]

    async def main() -> Any:
        return await monitor.recv_monitor_message(Later())

    if name == "zmq":
        pytest.skip("pyzmq asks for its own class of sockets")
    assert asyncio.run(main())["endpoint"] == b"here"


def test_monitor_message_of_an_asyncio_socket_is_awaited() -> None:
    package = pytest.importorskip(f"{name}.asyncio")

    async def main() -> Any:
        with package.Context() as context, context.socket(zmq.PULL) as socket:
            with socket.get_monitor_socket() as events:
                coming = monitor.recv_monitor_message(events)
                socket.bind("tcp://127.0.0.1:*")
                found = await asyncio.wait_for(coming, 10)
                socket.disable_monitor()
                return found

    assert asyncio.run(main())["event"] == zmq.EVENT_LISTENING
