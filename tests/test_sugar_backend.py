"""The old import paths: `sugar`, `backend`, `_typing`, and the stopwatch."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from typing import Any

import pytest

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))
ours = pytest.mark.deviation


def sub(name: str) -> Any:
    return importlib.import_module(f"{zmq.__name__}.{name}")


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("sugar", ["Context", "Socket", "Frame", "Message", "Poller", "select", "MessageTracker"]),
        ("sugar", ["device", "ZMQError", "Again", "__version__", "pyzmq_version", "error"]),
        ("sugar.context", ["Context", "Socket", "ZMQError", "ContextOption", "SyncContext"]),
        ("sugar.socket", ["Socket", "SyncSocket", "Poller", "SocketType", "ZMQBindError"]),
        ("sugar.frame", ["Frame", "Message"]),
        ("sugar.poll", ["Poller", "select", "zmq_poll", "POLLIN"]),
        ("sugar.tracker", ["MessageTracker", "_FINISHED_TRACKER", "NotDone"]),
        ("sugar.version", ["zmq_version", "zmq_version_info", "pyzmq_version_info", "__version__"]),
        ("backend", ["proxy", "proxy_steerable", "zmq_poll", "strerror", "zmq_errno", "has"]),
        ("backend", ["zmq_version_info", "IPC_PATH_MAX_LEN", "PYZMQ_DRAFT_API"]),
        ("backend.cython", ["proxy", "zmq_poll", "has", "IPC_PATH_MAX_LEN"]),
        ("backend.cython._zmq", ["proxy", "zmq_poll", "has", "ZMQError", "Again"]),
    ],
)
def test_old_paths_lead_to_the_same_objects(path: str, names: list[str]) -> None:
    module = sub(path)
    for name in names:
        assert getattr(module, name) is getattr(zmq, name), name


@pytest.mark.parametrize(
    "path",
    ["sugar", "sugar.attrsettr", "sugar.context", "sugar.frame", "sugar.poll", "sugar.socket"]
    + ["sugar.tracker", "sugar.version", "backend", "backend.cython", "backend.cython._zmq"],
)
def test_every_name_of_all_is_there(path: str) -> None:
    module = sub(path)
    assert module.__all__
    for name in module.__all__:
        assert hasattr(module, name), name


def test_classes_of_the_backend_are_the_bases_of_those_of_the_user() -> None:
    backend = sub("backend")
    assert issubclass(zmq.Context, backend.Context)
    assert issubclass(zmq.Socket, backend.Socket)
    assert issubclass(zmq.Frame, backend.Frame)
    assert sub("sugar.socket").SocketBase is backend.Socket
    assert sub("sugar.context").ContextBase is backend.Context
    assert issubclass(zmq.Socket, sub("sugar.attrsettr").AttributeSetter)


def test_version_is_there_in_numbers() -> None:
    version = sub("sugar.version")
    numbers = (version.VERSION_MAJOR, version.VERSION_MINOR, version.VERSION_PATCH)
    assert version.version_info == numbers == zmq.pyzmq_version_info()
    assert version.VERSION_EXTRA == "" and version.__revision__ == ""
    assert version.__version__ == ".".join(map(str, numbers))


def test_backend_is_selected_by_the_name_of_its_module() -> None:
    select = sub("backend.select")
    name = f"{zmq.__name__}.backend.cython"
    found = select.select_backend(name)
    assert set(found) == {*select.public_api, "monitored_queue"}
    assert found["Socket"] is sub("backend").Socket
    assert found["monitored_queue"] is sub("devices").monitored_queue
    with pytest.raises(ImportError):
        select.select_backend("nothing.like_it")
    with pytest.raises(AttributeError, match="module 'json'"):
        select.select_backend("json")


def test_backend_offers_all_that_a_backend_must() -> None:
    backend = sub("backend")
    assert set(backend.select.public_api) == set(backend.__all__)
    assert backend.monitored_queue is sub("devices").monitored_queue
    assert backend.cython is sub("backend.cython")
    assert backend.Message is backend.Frame or zmq.__name__ == "zmq"
    with pytest.raises(AttributeError):
        backend.nothing_like_it  # noqa: B018


def test_typing_has_its_name() -> None:
    assert sub("_typing").TypeAlias.__class__.__module__ == "typing"


def test_stopwatch_warns_and_counts_microseconds() -> None:
    with pytest.warns(DeprecationWarning, match="Stopwatch is deprecated"):
        watch = sub("sugar.stopwatch").Stopwatch()
    assert watch.start() is None
    before = time.monotonic()
    while time.monotonic() - before < 0.01:
        pass
    first = watch.stop()
    assert type(first) is int and 10_000 <= first
    assert watch.stop() >= first


@ours
def test_old_paths_are_not_imported_with_the_package() -> None:
    code = (
        "import sys, mqcore;"
        "print([m for m in sys.modules if m.startswith(('mqcore.sugar', 'mqcore.backend', 'mqcore.devices'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
