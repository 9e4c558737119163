"""Scripts in processes of their own: for what would hurt the process of the tests."""

import os
import subprocess
import sys
import textwrap

from peers.process import TESTS
from peers.subject import name


def start(code: str, *arguments: str) -> subprocess.Popen:
    """Starts a script with the module under test as `zmq`; its output is a pipe of text."""
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-c", f"import {name} as zmq\n" + textwrap.dedent(code), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )


def in_a_fresh_process(code: str) -> str:
    """Runs a script to its end; what it printed. A crash or a hang is a failure."""
    process = start(code)
    try:
        out, _ = process.communicate(timeout=50)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
        raise AssertionError(f"the script hangs: {out}") from None
    assert process.returncode == 0, out
    return out.strip()
