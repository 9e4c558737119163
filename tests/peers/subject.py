"""The module under test. MQCORE_TEST_MODULE=zmq runs the suites against pyzmq itself, which shows that a test asks
for ZeroMQ's behaviour and not for ours; tests of deliberate deviations carry `ours` and are skipped then.
"""

import importlib
import os
import socket

import pytest

name = os.environ.get("MQCORE_TEST_MODULE", "mqcore")
zmq = importlib.import_module(name)
is_ours = name != "zmq"

ours = pytest.mark.skipif(
    not is_ours, reason="mqcore differs from the reference on purpose (see the README)"
)
drafts = pytest.mark.skipif(not is_ours, reason="pyzmq is built without the draft options")


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this host")
long_run = os.environ.get("MQCORE_LONG") == "1"


def rounds(short: int, long: int) -> int:
    """How often to repeat: `short` normally, `long` with MQCORE_LONG=1."""
    return long if long_run else short


def errno_of(call, *arguments, **options) -> int | None:
    """The errno with which the call is refused, None if it succeeds."""
    try:
        call(*arguments, **options)
    except zmq.ZMQError as error:
        return error.errno
    return None
