"""The collector of zero-copy payloads, for programs that know pyzmq's.

mqcore has no use for it. A payload that was sent without copying is held by the engine, which lets go of it as
soon as it is sent; `send(copy=False, track=True)` returns a tracker that says when. So there is no thread, and
`gc.refs` never lists what the sockets of mqcore are sending.

What stays is the interface. `gc.context` can be assigned. Who hands an object over with `gc.store` finds it in
`gc.refs` until its number arrives at `gc.url`, or the collector is stopped; a thread waits for such numbers from
`gc.start()` on, or from the first use of `gc._push_socket`, and never otherwise.
"""

from __future__ import annotations

import atexit
import os
import struct
import warnings
from threading import Event, Lock, Thread, current_thread
from typing import Any, NamedTuple

from mqcore.constants import PULL, PUSH, Errno
from mqcore.context import Context
from mqcore.error import ZMQError
from mqcore.socket import Socket

_NUMBER = struct.Struct("P")
_STOP = b"STOP"


class gcref(NamedTuple):
    """An object that is held, and the event (or None) that is set when it is let go."""

    obj: object
    event: Event | None


class GarbageCollectorThread(Thread):
    """Waits for the numbers of objects that are no longer needed, for the collector `gc`, which starts it."""

    def __init__(self, gc: GarbageCollector) -> None:
        super().__init__(name="mqcore-garbage", daemon=True)
        self.gc = gc
        self.pid = os.getpid()
        self.ready = Event()
        """Set when the thread is reachable, or has failed."""
        self.failure: BaseException | None = None
        """Why the thread could not begin."""

    def run(self) -> None:
        """Lets go of one object for each number, until it is told to stop or the context ends."""
        socket: Socket[bytes] | None = None
        try:
            socket = self.gc.context.socket(PULL, socket_class=Socket)
            socket.bind(self.gc.url)
        except BaseException as error:
            self.failure = error
            if socket is not None:
                socket.close(linger=0)
            return
        finally:
            self.ready.set()
        with socket:
            self._serve(socket)
        self.gc._close_push()  # or the end of the context would wait for it

    def _serve(self, socket: Socket[bytes]) -> None:
        while True:
            try:
                message = socket.recv()
            except ZMQError as error:
                if error.errno in (Errno.ETERM, Errno.ENOTSOCK, Errno.ENOTSUP):
                    return
                raise
            if message == _STOP:
                return
            if len(message) == _NUMBER.size:
                self.gc._release(_NUMBER.unpack(message)[0])


class GarbageCollector:
    """Holds objects until somebody says that they are no longer needed: see the module.

    `context` is where the thread listens, if it is started; a context of its own by default.
    """

    refs: dict[int, gcref]
    """What is held, by number."""
    url = "inproc://pyzmq.gc.01"
    """Where a PUSH socket sends the number of an object that is no longer needed, as a native pointer."""
    _context: Context[Any] | None = None

    def __init__(self, context: Context[Any] | None = None) -> None:
        self.refs = {}
        self.pid: int | None = None
        self.thread: GarbageCollectorThread | None = None
        self._lock = Lock()
        self._push: Socket[bytes] | None = None
        self._own_context = False
        self._context = context

    @property
    def context(self) -> Context[Any]:
        """The context where the thread listens.

        Assigning another one stops the thread, with a RuntimeWarning if objects are still held.
        """
        if self._context is None:
            self._context = Context()
            self._own_context = True
        return self._context

    @context.setter
    def context(self, context: Context[Any] | None) -> None:
        if self.is_alive():
            if self.refs:
                warnings.warn(
                    f"Replacing gc context while gc is running and holds {len(self.refs)} objects",
                    RuntimeWarning,
                    stacklevel=2,
                )
            self.stop()
        self._leave_context()
        self._context = context

    def is_alive(self) -> bool:
        """Whether the thread runs, in this process."""
        thread = self.thread
        return thread is not None and self.pid == os.getpid() and thread.is_alive()

    def start(self) -> None:
        """Starts the thread, if it does not run. Raises what `bind` raises if `url` is taken."""
        with self._lock:
            if self.is_alive():
                return
            if self.pid != os.getpid():  # after a fork: the parent's context is of no use
                if self._own_context:
                    self._context, self._own_context = None, False
                self._push = None
            self.pid = os.getpid()
            thread = GarbageCollectorThread(self)
            thread.start()
            thread.ready.wait()
            if thread.failure is not None:
                raise thread.failure
            self.thread = thread
            atexit.register(self._atexit)

    def stop(self) -> None:
        """Stops the thread and lets go of everything that is held. Does nothing if the thread does not run."""
        if self.is_alive():
            self._stop()
        self._leave_context()

    def _stop(self) -> None:
        thread = self.thread
        try:
            with self.context.socket(PUSH, socket_class=Socket) as push:
                push.linger = 0
                push.connect(self.url)
                push.send(_STOP)
                if thread is not None and thread is not current_thread():
                    thread.join()
        except ZMQError:
            pass  # the context ends, and the thread with it
        self.thread = None
        atexit.unregister(self._atexit)
        self._close_push()
        self._clear()

    def _close_push(self) -> None:
        push, self._push = self._push, None
        if push is not None:
            push.close(linger=0)

    def _leave_context(self) -> None:
        """Ends the context, if it is the collector's own."""
        if self._own_context and self._context is not None and self.pid in (None, os.getpid()):
            self._context.term()
            self._context, self._own_context = None, False

    def _clear(self) -> None:
        for number in list(self.refs):
            self._release(number)

    def _release(self, number: int) -> None:
        """Lets go of an object. A number that stands for nothing is none of our business."""
        ref = self.refs.pop(number, None)
        if ref is not None and ref.event is not None:
            ref.event.set()

    @property
    def _push_socket(self) -> Socket[bytes]:
        """A PUSH socket connected to the thread, which is started if need be."""
        self.start()
        if self._push is None or self._push.closed:
            self._push = self.context.socket(PUSH, socket_class=Socket)
            self._push.connect(self.url)
        return self._push

    def store(self, obj: object, event: Event | None = None) -> int:
        """Holds `obj`, and returns the number under which it is held.

        `event` is set when it is let go.
        """
        ref = gcref(obj, event)
        number = id(ref)  # unique as long as the reference is in `refs`
        self.refs[number] = ref
        return number

    def _atexit(self) -> None:
        self.stop()

    def __del__(self) -> None:
        if self.__dict__.get("thread") is not None:
            self.stop()


gc = GarbageCollector()
"""The collector of the process."""
