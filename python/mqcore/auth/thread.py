"""An authenticator in a thread of its own, for programs without an event loop."""

from __future__ import annotations

import asyncio
from threading import Event, Thread, current_thread
from typing import Any

from mqcore.auth.base import Authenticator
from mqcore.constants import LINGER, NOBLOCK, PAIR, POLLIN, Errno
from mqcore.context import Context
from mqcore.error import Again, ZMQError
from mqcore.poll import Poller
from mqcore.socket import Socket

_STOP = b"TERMINATE"
_STARTS_WITHIN = 10.0
"""Seconds."""
_ENDED = (Errno.ETERM, Errno.ENOTSOCK, Errno.ENOTSUP)


class AuthenticationThread(Thread):
    """Answers the requests of `authenticator` until TERMINATE comes through `pipe`, a PAIR, or the context ends.

    It closes the sockets then. `ThreadAuthenticator` makes it.
    """

    poller: Any = None
    """What waits for requests and for the end."""

    def __init__(self, authenticator: Authenticator, pipe: Socket[Any]) -> None:
        super().__init__(daemon=True)
        self.authenticator = authenticator
        self.log = authenticator.log
        self.pipe = pipe
        self.started = Event()
        """Set when requests are answered."""

    def run(self) -> None:
        """What the thread does; nobody else calls it. Raises, and so has printed, what `Authenticator.start` does."""
        try:
            if self.authenticator.zap_socket is None:
                self.authenticator.start()
            zap = self.authenticator.zap_socket
            self.poller = Poller()
            self.poller.register(self.pipe, POLLIN)
            self.poller.register(zap, POLLIN)
            # A loop for callbacks that are coroutines.
            with asyncio.Runner() as runner:
                self.started.set()
                self._serve(zap, runner)
        except ZMQError as error:
            if error.errno not in _ENDED:
                raise
        finally:
            self.pipe.close()
        # Not where a mistake ended the thread: then connections wait for answers until somebody stops the
        # authenticator. A context without anybody at the address would let them in.
        Authenticator.stop(self.authenticator)

    def _serve(self, zap: Any, runner: asyncio.Runner) -> None:
        while True:
            ready = dict(self.poller.poll())
            if self.pipe in ready and self._handle_pipe_message(self.pipe.recv_multipart()):
                return
            if zap in ready:
                try:
                    message = zap.recv_multipart(NOBLOCK)
                except Again:
                    continue
                runner.run(self.authenticator._answer(message))

    def _handle_pipe_message(self, msg: list[bytes]) -> bool:
        """Whether the message says that this is the end. Others mean nothing."""
        return bool(msg) and msg[0] == _STOP


class ThreadAuthenticator(Authenticator):
    """An authenticator that answers from a thread: `start()`, and `stop()` at the end.

    The parameters are those of `Authenticator`. The rules may be changed while it runs. It runs until it is stopped or
    the context ends, also when nobody keeps it.
    """

    pipe: Any
    """A PAIR socket to the thread, while it runs."""
    pipe_endpoint: str = ""
    thread: Any
    """The thread, while it runs."""

    def __init__(
        self, context: Context[Any] | None = None, encoding: str = "utf-8", log: Any = None
    ) -> None:
        super().__init__(context, encoding, log)
        self.pipe = None
        self.pipe_endpoint = f"inproc://{id(self)}.inproc"
        self.thread = None

    def start(self) -> None:
        """Starts answering, and returns when the thread is ready.

        Raises ZMQError(EADDRINUSE) if the context has an authenticator, RuntimeError if the thread is not
        ready after 10 seconds.
        """
        super().start()
        far: Any = None
        try:
            self.pipe = self.context.socket(PAIR, socket_class=Socket)
            far = self.context.socket(PAIR, socket_class=Socket)
            for socket in (self.pipe, far):
                socket.set(LINGER, 1)
            self.pipe.bind(self.pipe_endpoint)
            far.connect(self.pipe_endpoint)
            self.thread = AuthenticationThread(self, far)
            self.thread.start()
        except BaseException:
            if far is not None:
                far.close(linger=0)
            self.thread = None
            self.stop()
            raise
        if not self.thread.started.wait(_STARTS_WITHIN):
            self.stop()
            raise RuntimeError("the authentication thread was not ready within 10 seconds")

    def stop(self) -> None:
        """Stops answering, and returns when the thread has ended. Does nothing if it does not run."""
        pipe, self.pipe = self.pipe, None
        thread, self.thread = self.thread, None
        if pipe is not None:
            if thread is not None and thread.is_alive():
                try:
                    pipe.send(_STOP, NOBLOCK)
                except ZMQError:
                    pass  # the thread ends already
                if thread is not current_thread():
                    thread.join()
            pipe.close()
        super().stop()

    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self.thread is not None and self.thread.is_alive()

    def __del__(self) -> None:
        if self.__dict__.get("pipe") is not None:
            self.stop()


__all__ = ["ThreadAuthenticator"]
