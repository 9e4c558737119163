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
    # The two that no introspection finds.
    allowed = tmp_path / "allowed"
    allowed.write_text("mqcore._core.Frame.__buffer__\nmqcore._core.Frame.__getattr__\n")
    output = run("mypy.stubtest", "--allowlist", str(allowed), "mqcore._core")
    assert output.startswith("Success"), output


def test_program_of_a_user_checks(tmp_path: Path) -> None:
    output = check(
        tmp_path,
        """
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
sync: zmq.SyncSocket = push
context.destroy(linger=0)
""",
    )
    assert output.startswith("Success"), output


def test_mistakes_of_a_user_are_found(tmp_path: Path) -> None:
    output = check(
        tmp_path,
        """
import mqcore as zmq

socket = zmq.Context().socket(zmq.PULL)
number: int = socket.recv()
socket.recv(timeout=1)
socket.bind(5)
""",
    )
    for line in (5, 6, 7):
        assert f"program.py:{line}: error" in output, output
