"""Annotations: the package is strictly typed, the stub is true, and users' programs check."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.timeout(300)


def run(*arguments: str, cwd: Path = ROOT) -> str:
    pytest.importorskip("mypy")
    result = subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, cwd=cwd, timeout=280
    )
    return result.stdout + result.stderr


def check(tmp_path: Path, program: str) -> str:
    (tmp_path / "program.py").write_text(program)
    return run(
        "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "program.py", cwd=tmp_path
    )


def test_package_is_strictly_typed(tmp_path: Path) -> None:
    output = run("mypy", "--cache-dir", str(tmp_path))
    assert output.startswith("Success"), output


def test_stub_of_the_native_module_is_true(tmp_path: Path) -> None:
    # What no introspection finds; the buffer it does from Python 3.12 on.
    unseen = ["__getattr__"] if sys.version_info >= (3, 12) else ["__getattr__", "__buffer__"]
    allowed = tmp_path / "allowed"
    allowed.write_text("".join(f"mqcore._core.Frame.{name}\n" for name in unseen))
    output = run("mypy.stubtest", "--allowlist", str(allowed), "mqcore._core")
    assert output.startswith("Success"), output


SYNCHRONOUS = """
import mqcore as zmq
from mqcore import Frame, MessageTracker

context = zmq.Context()
same: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
with context.socket(zmq.PUSH) as push, context.socket(zmq.PULL) as pull:
    push.linger = 0
    push.bind("inproc://a")
    with pull.connect("inproc://a") as connected:
        connected.recv()
    tracker: MessageTracker | None = push.send(b"x", copy=False, track=True)
    push.send_multipart([b"a", bytearray(b"b")], flags=zmq.SNDMORE | zmq.DONTWAIT)
    payload: bytes = pull.recv()
    frame: Frame = pull.recv(copy=False)
    parts: list[bytes] = pull.recv_multipart()
    frames: list[Frame] = pull.recv_multipart(copy=False)
    text: str = pull.recv_string()
    size: int = pull.recv_into(bytearray(3))
    events: int = pull.poll(10)
    view: memoryview = frame.buffer
    length: int = len(frame) + len(memoryview(frame)) + len(bytes(frame))
poller = zmq.Poller()
poller.register(push, zmq.POLLIN)
for socket, event in poller.poll(1.5):
    pass
try:
    push.send(b"x")
except zmq.Again as error:
    number: int | None = error.errno
except zmq.error.ZMQError:
    pass
sync: zmq.SyncSocket = push
context.destroy(linger=0)
"""

ASYNCHRONOUS = """
import asyncio
from typing import Any

import mqcore as zmq
import mqcore.asyncio
from mqcore.asyncio import Context, Poller, Socket


async def main() -> None:
    context = Context()
    same: Context = Context.instance()
    push: Socket = context.socket(zmq.PUSH)
    with context.socket(zmq.PULL) as pull:
        pull.bind("tcp://127.0.0.1:*")
        tracker: zmq.MessageTracker | None = await push.send(b"x", copy=False)
        await push.send_multipart([b"a", b"b"])
        await push.send_string("x")
        taken: int = await push.send_many([b"1", b"2"])
        body: bytes = await pull.recv()
        frame: zmq.Frame = await pull.recv(copy=False)
        text: str = await pull.recv_string()
        parts: list[bytes] = await asyncio.wait_for(pull.recv_multipart(), 1)
        number: int = await pull.recv_serialized(lambda parts: len(parts))
        events: int = await pull.poll(10)
        many: list[bytes] = await pull.recv_many(100)
        async for message in pull:
            part: bytes = message[0]
        async for batch in pull.batches():
            print(batch)
    poller = Poller()
    poller.register(push, zmq.POLLIN)
    ready: list[tuple[Any, int]] = await poller.poll(5)


asyncio.run(main())
"""

UNANNOTATED = """
import mqcore as zmq
import mqcore.asyncio

context = zmq.Context.instance()
payload: bytes = context.socket(zmq.PULL).recv()
with zmq.Context.shadow(context) as other:
    text: str = other.socket(zmq.SUB).recv_string()


def serve(context: zmq.Context) -> None:
    context.socket(zmq.REP).bind("inproc://a")


async def ask() -> str:
    own = mqcore.asyncio.Context.instance()
    serve(own)
    return await own.socket(zmq.REQ).recv_string()


serve(context)
"""

WITH_STAR = """
from mqcore import *
from mqcore import green

with Context() as context, context.socket(PUSH) as push:
    try:
        push.send(b"x", DONTWAIT)
    except Again as error:
        print(error.errno == EAGAIN, zmq_version())
kind: SocketType = green.PUSH
"""

PROGRAMS = pytest.mark.parametrize(
    "program",
    [SYNCHRONOUS, ASYNCHRONOUS, UNANNOTATED, WITH_STAR],
    ids=["synchronous", "asynchronous", "unannotated", "with star"],
)


@PROGRAMS
def test_program_of_a_user_checks(tmp_path: Path, program: str) -> None:
    output = check(tmp_path, program)
    assert output.startswith("Success"), output


def pyright(tmp_path: Path, program: str) -> str:
    pytest.importorskip("pyright")
    (tmp_path / "program.py").write_text(program)
    try:
        output = run("pyright", "--pythonpath", sys.executable, "program.py", cwd=tmp_path)
    except subprocess.TimeoutExpired:
        output = "it cannot get its node"
    if "informations" not in output:
        pytest.skip(f"pyright does not run here: {output[-200:]}")
    return output


@PROGRAMS
def test_program_of_a_user_checks_with_pyright_too(tmp_path: Path, program: str) -> None:
    output = pyright(tmp_path, program)
    assert "0 errors" in output, output


MISTAKES = """
import mqcore as zmq

socket = zmq.Context().socket(zmq.PULL)
number: int = socket.recv()
socket.recv(timeout=1)
socket.bind(5)
"""


def test_mistakes_of_a_user_are_found(tmp_path: Path) -> None:
    output = check(tmp_path, MISTAKES)
    for line in (5, 6, 7):
        assert f"program.py:{line}: error" in output, output


def test_mistakes_of_a_user_are_found_by_pyright_too(tmp_path: Path) -> None:
    """It took every context and socket for Any, and so everything for right."""
    output = pyright(tmp_path, MISTAKES)
    for line in (5, 6, 7):
        assert f"program.py:{line}:" in output, output
