"""The old place of the event loop."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from typing import Any

import pytest

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))
pytest.importorskip("tornado")


def test_the_event_loop_is_tornados() -> None:
    from tornado.ioloop import IOLoop

    package = importlib.import_module(f"{zmq.__name__}.eventloop")
    assert package.IOLoop is IOLoop
    assert package.__all__ == ["IOLoop"]


def test_the_old_module_warns_when_it_is_imported_and_when_it_is_used() -> None:
    name = f"{zmq.__name__}.eventloop.ioloop"
    sys.modules.pop(name, None)
    with pytest.warns(DeprecationWarning, match="deprecated"):
        module: Any = importlib.import_module(name)
    from tornado import ioloop

    assert module.IOLoop is module.ZMQIOLoop is ioloop.IOLoop
    assert module.PeriodicCallback is ioloop.PeriodicCallback
    with pytest.warns(DeprecationWarning, match="deprecated"):
        assert module.install() is None


def test_without_tornado_only_the_event_loop_cannot_be_imported() -> None:
    code = (
        "import sys; sys.modules['tornado'] = None\n"
        f"import {zmq.__name__}\n"
        f"try:\n import {zmq.__name__}.eventloop.zmqstream\n"
        "except ImportError: print('missing')\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout == "missing\n"
