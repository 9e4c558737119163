"""The stage of the demo: prints and checks the steps, and plays parts in other threads and processes.

A *part* is an ordinary function `part(place, *arguments)`. The same function can run in a thread of this
process (`story.thread`) or in a process of its own (`story.process`), with mqcore or with pyzmq: the code is
the same, as it would be in your program. Everything here has a deadline, so a demo never hangs.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import multiprocessing.connection
import os
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import Any, NoReturn

# In your program this is one line: `import mqcore as zmq`. Here the module can be named from outside, to show
# that the same code runs with pyzmq: MQCORE_DEMO_MODULE=zmq make demo
LIBRARY = os.environ.get("MQCORE_DEMO_MODULE", "mqcore")
PYZMQ = "zmq"

PATIENCE = 10.0  # seconds that one send, one recv or one wait for another part may take
STEP_LIMIT = 30.0  # seconds that one step may take before the whole demo is given up


class Failure(Exception):
    """A step came out differently from what the demo promises."""


class Place:
    """Where a part is played: its library, its context, and the way to talk to the story."""

    def __init__(
        self,
        library: str,
        context: Any = None,
        tell: Callable[[Any], None] = lambda value: None,
        hear: Callable[[], Any] = lambda: None,
    ) -> None:
        self.library = library
        self.zmq = import_module(library)
        self.context = context if context is not None else self.zmq.Context()
        self.tell = tell  # hands a value to the story, which waits for it with `part.told()`
        self.hear = hear  # waits for the value of `part.say(value)`

    def socket(self, kind: int) -> Any:
        """A new socket whose calls give up after PATIENCE instead of waiting for ever."""
        socket = self.context.socket(kind)
        socket.rcvtimeo = socket.sndtimeo = socket.linger = int(PATIENCE * 1000)
        return socket


class Part:
    """A part that plays in another thread or process.

    `told()` and `result()` wait, with a deadline; a part that failed makes them raise Failure.
    """

    def __init__(
        self,
        name: str,
        receive: Callable[[float], tuple[str, Any]],
        say: Callable[[Any], None],
        pending: Callable[[], bool],
    ) -> None:
        self.name = name
        self.say = say  # hands a value to the part, which waits for it with `place.hear()`
        self.pending = (
            pending  # whether a word of the part is here, so that told() or result() will not wait
        )
        self._receive = receive

    def told(self, patience: float = PATIENCE) -> Any:
        """The next value that the part hands over with `place.tell(value)`."""
        return self._next("tell", patience)

    def result(self, patience: float = PATIENCE) -> Any:
        """What the part returned."""
        return self._next("return", patience)

    def _next(self, wanted: str, patience: float) -> Any:
        try:
            kind, value = self._receive(patience)
        except (Empty, TimeoutError):
            raise Failure(f"{self.name} was silent for {patience:.0f} s") from None
        except EOFError:
            raise Failure(f"{self.name} ended without a word") from None
        if kind == "failure":
            raise Failure(f"{self.name} failed:\n{value}")
        if kind != wanted:
            raise Failure(f"{self.name}: expected a '{wanted}', got a '{kind}' with {value!r}")
        return value


class Story:
    """Prints the steps, checks them and keeps account of everything that was started."""

    def __init__(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="mqcore-demo-")
        self.steps = 0
        self._paths = 0
        self._spawn = multiprocessing.get_context(
            "spawn"
        )  # a fork would copy contexts that are in use
        self._processes: list[Any] = []

    def place(self) -> Place:
        """A place in this thread, with a context of its own."""
        return Place(LIBRARY)

    def path(self) -> str:
        """A fresh ipc endpoint."""
        self._paths += 1
        return f"ipc://{self.directory}/{self._paths}"

    def chapter(self, title: str) -> None:
        print(f"\n{title}", flush=True)

    def line(self, text: str) -> None:
        print(f"    {text}", flush=True)

    def check(self, claim: bool, text: str) -> None:
        """One step: prints it if it is true, ends the demo if it is not."""
        if not claim:
            raise Failure(text)
        self.steps += 1
        print(f"  ✓ {text}", flush=True)

    def equal(self, got: Any, expected: Any, text: str) -> None:
        """One step whose value is known beforehand."""
        if got != expected:
            raise Failure(f"{text}\n    expected: {expected!r:.300}\n    got:      {got!r:.300}")
        self.check(True, text)

    def thread(self, part: Callable[..., Any], place: Place, *arguments: Any) -> Part:
        """Plays a part in a thread that shares the context of `place`, as inproc needs it."""
        news: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        words: SimpleQueue[Any] = SimpleQueue()
        inside = Place(
            place.library,
            place.context,
            tell=lambda value: news.put(("tell", value)),
            hear=lambda: words.get(timeout=PATIENCE),
        )

        def play() -> None:
            try:
                news.put(("return", part(inside, *arguments)))
            except BaseException:
                news.put(("failure", traceback.format_exc()))

        threading.Thread(target=play, daemon=True, name=part.__name__).start()
        return Part(
            f"thread {part.__name__}",
            receive=lambda patience: news.get(timeout=patience),
            say=words.put,
            pending=lambda: not news.empty(),
        )

    def process(self, library: str, part: Callable[..., Any], *arguments: Any) -> Part:
        """Plays a part in a process of its own, with mqcore or pyzmq."""
        ours, theirs = self._spawn.Pipe()
        process = self._spawn.Process(
            target=_play_in_process, args=(theirs, library, part, arguments), daemon=True
        )
        process.start()
        theirs.close()
        self._processes.append(process)

        def receive(patience: float) -> tuple[str, Any]:
            if not ours.poll(patience):
                raise TimeoutError
            kind, value = ours.recv()
            return kind, value

        return Part(
            f"process {part.__name__} ({library})", receive, say=ours.send, pending=ours.poll
        )

    @contextmanager
    def deadline(self, title: str) -> Iterator[None]:
        """Gives the demo up, with every thread's stack, if the block takes longer than STEP_LIMIT."""

        def give_up() -> NoReturn:
            print(f"  ✗ {title}: not done after {STEP_LIMIT:.0f} s", flush=True)
            faulthandler.dump_traceback()
            self.close()
            os._exit(1)

        watch = threading.Timer(STEP_LIMIT, give_up)
        watch.daemon = True
        watch.start()
        # The second watch runs without the interpreter, should something sit on the GIL.
        faulthandler.dump_traceback_later(STEP_LIMIT + 5, exit=True)
        try:
            yield
        finally:
            watch.cancel()
            faulthandler.cancel_dump_traceback_later()

    def reap(self) -> None:
        """Waits until every process has ended by itself; a demo leaves nothing behind."""
        for process in self._processes:
            process.join(PATIENCE)
            if process.exitcode != 0:
                raise Failure(
                    f"process {process.pid} did not end well: exit code {process.exitcode}"
                )
        self._processes.clear()

    def close(self) -> None:
        """Ends what still runs, after a failure, and removes the ipc paths."""
        for process in self._processes:
            if process.is_alive():
                process.kill()
                process.join(1)
        shutil.rmtree(self.directory, ignore_errors=True)


def _play_in_process(
    link: multiprocessing.connection.Connection,
    library: str,
    part: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    """The body of a new process: play the part, send its result, close the context."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()

    def hear() -> Any:
        if not link.poll(PATIENCE):
            raise TimeoutError(f"the story said nothing for {PATIENCE:.0f} s")
        return link.recv()

    try:
        place = Place(library, tell=lambda value: link.send(("tell", value)), hear=hear)
        result = part(place, *arguments)
        place.context.term()
        link.send(("return", result))
    except BaseException:
        link.send(("failure", traceback.format_exc()))
        sys.exit(1)


def _leave_with_parent() -> None:
    """Ends this process when the story's process is gone, whatever happened to it."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a part plays in a child process"
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Asks again and again until `true()`; a Failure after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            raise Failure(f"waited {PATIENCE:.0f} s in vain for {what}")
        time.sleep(0.002)


def resident() -> float:
    """MiB of memory that this process holds now (RSS)."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
