"""A peer in a process of its own, with the library that is named: real pyzmq.

It hears words on its stdin and tells lines of JSON; `Remote` is the run's end of it, and starts it.
The role `push` sends numbered messages as `flow.Sender` does, `rep` binds a port, says which, and
gives every request back. Both end with their stdin.
"""

from __future__ import annotations

import importlib
import json
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from soak.messages import Stamp, burst, make

if TYPE_CHECKING:
    from soak.flow import Flow


class Remote:
    """The run's end of a peer process."""

    def __init__(self, *arguments: str) -> None:
        # Whatever finds this package and the module here finds it there.
        paths = [path or "." for path in sys.path]
        start = f"import sys; sys.path[:] = {paths!r}; from soak.peer import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", start, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def say(self, word: str) -> None:
        """A word for the peer: `over` or `settled`."""
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def hear(self, key: str) -> Any:
        """The value of its next line, which must have this key. EOFError if it has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise EOFError(f"the peer process ended with {self.process.wait()}")
        return json.loads(line)[key]

    def end(self) -> None:
        """Waits until the process has ended; by force after 20 seconds."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process.stdout.close()


class RemoteSender:
    """A PUSH socket of another process in the place of a `flow.Sender`."""

    def __init__(self, module: str, endpoint: str, name: int, seed: int) -> None:
        self.name = name
        self.breaks: Callable[[], int] = lambda: 0
        self.sent = 0
        self.mark: int | None = None
        self.done = False
        self._remote = Remote(module, "push", endpoint, str(name), str(seed))

    def play(self, flow: Flow) -> None:
        """The body of its thread."""
        try:
            flow.run.over.wait()
            self._remote.say("over")
            self.mark = int(self._remote.hear("mark"))
            while not flow.settled.wait(0.1) and not flow.run.is_late():
                pass
            self._remote.say("settled")
            self.sent = int(self._remote.hear("sent"))
            self.done = True
        finally:
            self._remote.end()


# In the process.


def push(zmq: Any, context: Any, words: set[str], endpoint: str, name: str, seed: str) -> None:
    """Sends until the word `settled`."""
    chance = random.Random(f"{seed}/{name}")
    socket = context.socket(zmq.PUSH)
    socket.sndhwm, socket.sndtimeo, socket.reconnect_ivl = 4000, 100, 5
    socket.sndbuf = socket.rcvbuf = 32 * 1024
    socket.connect(endpoint)
    number, marked, pause = 0, False, threading.Event()
    while "settled" not in words:
        if "over" in words and not marked:
            marked = True
            tell(mark=number)
        try:
            for _ in range(burst(chance)):
                socket.send(make(Stamp(int(name), number)))
                number += 1
        except zmq.Again:
            pass
        pause.wait(chance.uniform(0.005, 0.04))
    tell(sent=number)
    while "end" not in words:
        pause.wait(0.02)
    socket.close(linger=5000)


def rep(zmq: Any, context: Any, words: set[str]) -> None:
    """Gives requests back until its stdin ends."""
    socket = context.socket(zmq.REP)
    socket.rcvtimeo, socket.linger = 50, 0
    socket.bind("tcp://127.0.0.1:*")
    tell(endpoint=socket.last_endpoint.rstrip(b"\0").decode())
    while "end" not in words:
        try:
            socket.send_multipart(socket.recv_multipart())
        except zmq.Again:
            pass
    socket.close()


def tell(**line: Any) -> None:
    print(json.dumps(line), flush=True)


def main() -> None:
    """The body of the process; its arguments are a module, a role and what the role takes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run hears it, and says when to end
    module, role, *rest = sys.argv[1:]
    words: set[str] = set()

    def listen() -> None:
        for line in sys.stdin:
            words.add(line.strip())
        words.update(("over", "settled", "end"))

    threading.Thread(target=listen, daemon=True).start()
    zmq = importlib.import_module(module)
    context = zmq.Context()
    roles: dict[str, Callable[..., None]] = {"push": push, "rep": rep}
    roles[role](zmq, context, words, *rest)
    context.term()
