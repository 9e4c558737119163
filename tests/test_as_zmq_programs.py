"""Whole programs that were written for pyzmq (`peers/programs_zmq`), unmodified, under `python -m mqcore.as_zmq`.

MQCORE_TEST_MODULE=zmq runs them with plain `python` on pyzmq, which shows that they ask for nothing of ours.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from peers.programs import Run
from peers.waiting import eventually

MODULE = os.environ.get("MQCORE_TEST_MODULE", "mqcore")
PROGRAMS = Path(__file__).parent / "peers" / "programs_zmq"
ours = pytest.mark.skipif(MODULE == "zmq", reason="needs mqcore")


class Programs:
    """Runs programs, and sees to it that nothing of them is left: each process has a mark in its environment."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.home = Run(directory).home
        self.mark = f"MQCORE_TEST_RUN={uuid.uuid4().hex}"

    def __call__(
        self, name: str, *arguments: str, module: str = MODULE, env: dict[str, str] | None = None
    ) -> list[str]:
        """The lines that a program printed; it must end well."""
        start = [] if module == "zmq" else ["-m", "mqcore.as_zmq"]
        done = subprocess.run(
            [sys.executable, *start, str(PROGRAMS / f"{name}.py"), *arguments],
            cwd=self.directory,
            env={
                **os.environ,
                "PYTHONPATH": self.home,
                "HOME": str(self.directory),
                "JUPYTER_RUNTIME_DIR": str(self.directory / "run"),
                "IPYTHONDIR": str(self.directory / "ipython"),
                **dict([self.mark.split("=")]),
                **(env or {}),
            },
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout.splitlines()

    def left(self) -> list[int]:
        """The processes that are still there."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                pass  # somebody else's, or gone
        return found


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Programs]:
    programs = Programs(tmp_path)
    yield programs
    try:
        eventually(lambda: not programs.left(), what=f"the processes end ({programs.left()})")
    finally:
        for process in programs.left():
            os.kill(process, signal.SIGKILL)


# Jupyter: jupyter_client drives ipykernel.

LIFE_OF_A_KERNEL = [
    "ok [('stdout', 'hello\\n'), ('result', '42')]",
    "error [('error', 'ZeroDivisionError')]",
    "language python",
    "completes True",
    "error [('stdout', 'going\\n'), ('error', 'KeyboardInterrupt')]",
    "ok [('result', '21')]",
    "ok 6000009",
    "True ok",
    "beats True",
    "error [('error', 'NameError')]",
    "ok [('result', '42')]",
    "alive False",
]
"""Executed, failed, told about itself, interrupted, sent much, asked for input, restarted, shut down."""


def need_jupyter() -> None:
    for name in ("jupyter_client", "ipykernel"):
        pytest.importorskip(name)


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_kernel_of_jupyter_lives_its_whole_life(run: Programs, transport: str) -> None:
    need_jupyter()
    lines = run("jupyter_blocking", "zmq.__name__", transport, "{}")
    assert lines == [f"client {MODULE}", f"kernel ('result', \"'{MODULE}'\")", *LIFE_OF_A_KERNEL]


@ours
def test_kernel_can_tell_the_version_of_mqcore(run: Programs) -> None:
    need_jupyter()
    version = importlib.import_module("mqcore").mqcore_version()
    lines = run("jupyter_async", "zmq.mqcore_version()")
    assert lines[:2] == ["client mqcore", f"kernel ('result', \"'{version}'\")"]


def test_kernel_is_driven_with_asyncio(run: Programs) -> None:
    need_jupyter()
    assert run("jupyter_async", "zmq.__name__") == [
        f"client {MODULE}",
        f"kernel ('result', \"'{MODULE}'\")",
        "ok [('stdout', 'hello\\n'), ('result', '42')]",
        "error [('error', 'LookupError')]",
        "True",
        "error [('stdout', 'going\\n'), ('error', 'KeyboardInterrupt')]",
        "ok [('result', '2')]",
        "beats True",
        "ok [('result', '42')]",
        "alive False",
    ]


@ours
def test_client_on_pyzmq_drives_a_kernel_on_mqcore(run: Programs) -> None:
    need_jupyter()
    pytest.importorskip("zmq")
    children = os.path.join(run.home, "mqcore", "_children")
    for_kernel = json.dumps({"MQCORE_AS_ZMQ": "1"})
    env = {"MQCORE_AS_ZMQ": "0", "PYTHONPATH": os.pathsep.join([children, run.home])}
    lines = run("jupyter_blocking", "zmq.__name__", "tcp", for_kernel, module="zmq", env=env)
    assert lines == ["client zmq", "kernel ('result', \"'mqcore'\")", *LIFE_OF_A_KERNEL]


@ours
def test_client_on_mqcore_drives_a_kernel_on_pyzmq(run: Programs) -> None:
    need_jupyter()
    pytest.importorskip("zmq")
    lines = run("jupyter_blocking", "zmq.__name__", "tcp", json.dumps({"MQCORE_AS_ZMQ": "0"}))
    assert lines == ["client mqcore", "kernel ('result', \"'zmq'\")", *LIFE_OF_A_KERNEL]


# Event loops.


def test_gevent_broker_serves_its_clients(run: Programs) -> None:
    pytest.importorskip("gevent")
    assert run("gevent_broker") == ["answered 8 workers 4", f"zmq {MODULE}.green.core"]


def came_from(module: str) -> str:
    return "zmq zmq.sugar.socket" if module == "zmq" else "zmq mqcore.socket"


def test_tornado_streams_with_callbacks_echo(run: Programs) -> None:
    pytest.importorskip("tornado")
    assert run("tornado_callbacks") == [
        "echoed 200 True",
        "told of True",
        "closed True True",
        came_from(MODULE),
    ]


def test_tornado_coroutines_echo(run: Programs) -> None:
    pytest.importorskip("tornado")
    assert run("tornado_coroutines") == [
        "echoed True",
        "polled True [b'echo', b'last']",
        came_from(MODULE),
    ]


def test_asyncio_services_answer(run: Programs) -> None:
    assert run("asyncio_services") == [
        "answered [0, 1, 2, 3, 4]",
        "cancelled True",
        "nothing more",
        "pipeline True True",
        "('kept', 1) 0",
        came_from(MODULE),
    ]


def test_publisher_waits_for_its_subscribers_by_its_monitor(run: Programs) -> None:
    assert run("asyncio_monitored") == [
        "subscribed [b'\\x01topic0', b'\\x01topic1', b'\\x01topic2']",
        "heard [True, True, True]",
        "left 3",
        "monitor True",
        came_from(MODULE),
    ]
