"""Running something in a forked child, with a deadline."""

import os
import signal
import sys
from collections.abc import Callable


def in_child(function: Callable[[], None]) -> None:
    """Runs `function` in a forked child; its exception, or more than ten seconds, fails the test."""
    sys.stdout.flush()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)  # ends a child that hangs
        report = b"nothing"
        try:
            os.close(reader)
            function()
            report = b"done"
        except BaseException as error:
            report = repr(error).encode()
        finally:
            os.write(writer, report)
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        report = file.read()
    os.waitpid(child, 0)
    assert report == b"done", report or "the child hung"
