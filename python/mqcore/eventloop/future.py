"""Sockets for tornado: their calls return futures, in tornado's current loop.

The same as `mqcore.asyncio` but for two things: the loop may be current without running yet, and a future that is
cancelled raises `CancelledError`, which is an Exception.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

from tornado.ioloop import IOLoop

import mqcore as _zmq
from mqcore._future import _AsyncPoller, _AsyncSocket

_UNSAID: Any = object()
_IN = int(_zmq.POLLIN)
_OUT = int(_zmq.POLLOUT)


class CancelledError(asyncio.CancelledError, Exception):
    """What a future raises that was cancelled."""


class _TornadoFuture(asyncio.Future[Any]):
    """A future that ends with this module's CancelledError when it is cancelled."""

    def cancel(self, msg: Any = _UNSAID) -> bool:
        """Cancels it; False if it was done."""
        if self.done():
            return False
        if (
            msg is not _UNSAID
        ):  # a task that waits for it is being cancelled, and wants asyncio's own error
            return super().cancel(msg)
        self.set_exception(CancelledError())
        self._log_traceback = False  # nobody needs to ask
        return True

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        if super().cancelled():
            return True
        return self.done() and isinstance(self.exception(), CancelledError)


class _CancellableTornadoTimeout:
    """A timeout of a loop, with a `cancel`."""

    def __init__(self, loop: IOLoop, timeout: Any) -> None:
        self.loop = loop
        self.timeout = timeout

    def cancel(self) -> None:
        self.loop.remove_timeout(self.timeout)


class _AsyncTornado:
    """The current loop of tornado, and cancellable futures of tornado's kind."""

    _Future: ClassVar[Any] = _TornadoFuture
    _READ: ClassVar[int] = IOLoop.READ
    _WRITE: ClassVar[int] = IOLoop.WRITE

    def _default_loop(self) -> Any:
        """The asyncio loop on which tornado's current loop runs."""
        return IOLoop.current().asyncio_loop  # type: ignore[attr-defined]

    def _call_later(self, delay: float, callback: Callable[[], Any]) -> _CancellableTornadoTimeout:
        loop = IOLoop.current()
        return _CancellableTornadoTimeout(loop, loop.call_later(delay, callback))


class Poller(_AsyncTornado, _AsyncPoller):
    """A poller whose `poll` returns a future."""

    def _watch_raw_socket(self, loop: Any, socket: Any, evt: int, f: Callable[..., None]) -> None:
        """Has the loop call `f` when a descriptor can be read (POLLIN in `evt`) or written (POLLOUT)."""
        if evt & _IN:
            loop.add_reader(socket, f)
        if evt & _OUT:
            loop.add_writer(socket, f)

    def _unwatch_raw_sockets(self, loop: Any, *sockets: Any) -> None:
        """Ends that."""
        for socket in sockets:
            loop.remove_reader(socket)
            loop.remove_writer(socket)


class Socket(_AsyncTornado, _AsyncSocket):
    """A socket whose sends, receives and polls return futures; see `mqcore.asyncio.Socket`.

    `io_loop` is deprecated and ignored: the current loop is used.
    """

    _poller_class: ClassVar[Any] = Poller


Poller._socket_class = Socket


class Context(_zmq.Context[Socket]):
    """A context whose sockets return futures. `io_loop` is deprecated and ignored: the current loop is used."""

    io_loop: Any = None
    _socket_class: Callable[..., Any] = Socket
    _instance: ClassVar[Any] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs.pop("io_loop", None) is not None:
            warnings.warn(
                f"{type(self).__name__}(io_loop) argument is deprecated: the current loop is used",
                DeprecationWarning,
                stacklevel=2,
            )
        super().__init__(*args, **kwargs)


__all__ = ["CancelledError", "Context", "Poller", "Socket"]
