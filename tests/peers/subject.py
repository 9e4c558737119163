"""The module under test. MQCORE_TEST_MODULE=zmq runs the suites against pyzmq itself, which shows that a test asks
for ZeroMQ's behaviour and not for ours; tests of deliberate deviations carry `ours` and are skipped then.
"""

import importlib
import os

import pytest

name = os.environ.get("MQCORE_TEST_MODULE", "mqcore")
zmq = importlib.import_module(name)
is_ours = name != "zmq"

ours = pytest.mark.skipif(
    not is_ours, reason="mqcore differs from the reference on purpose (see the README)"
)
long_run = os.environ.get("MQCORE_LONG") == "1"


def rounds(short: int, long: int) -> int:
    """How often to repeat: `short` normally, `long` with MQCORE_LONG=1."""
    return long if long_run else short
