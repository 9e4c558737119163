"""Pollers whose `poll` returns a future, for any event loop that runs on asyncio."""

from __future__ import annotations

import contextlib
import os
from asyncio import Future
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from mqcore import _core
from mqcore._waiting import ERR, IN, OUT, LoopWatch, _Async, watch_of
from mqcore.poll import Poller, zmq_poll


class _AsyncPoller(_Async, Poller):
    """A poller whose `poll` returns a future. Sockets of any kind can be registered, and plain descriptors."""

    _socket_class: ClassVar[Any] = None
    _loop_watch: Any = None

    def poll(self, timeout: float | None = -1) -> Future[list[tuple[Any, int]]]:  # type: ignore[override]
        """Waits at most `timeout` milliseconds (None and negative: for ever); a future of what `Poller.poll` returns."""
        loop = self._get_loop()
        watch = self._loop_watch
        future: Any = watch.new_future()
        try:
            ready = super().poll(0)
        except Exception as error:
            future.set_exception(error)
            return future  # type: ignore[no-any-return]
        if timeout == 0 or not self.sockets or (ready and not watch.set.is_spent()):
            future.set_result(ready)
            return future  # type: ignore[no-any-return]
        if ready:  # it is time for other tasks
            loop.call_soon(watch.set.turn)
            timeout = 0
        wait = _Wait(self, watch, future)
        future.add_done_callback(wait.end)
        try:
            wait.begin(timeout)
        except Exception as error:
            future.set_exception(error)
        return future  # type: ignore[no-any-return]

    def _init_io_state(self, loop: Any = None) -> None:
        self._loop_watch = watch_of(loop, self._Future)

    def _look(self, sockets: list[tuple[Any, int]]) -> list[tuple[Any, int]]:
        """What is ready of what was registered when the wait began."""
        return super().poll(0) if sockets == self.sockets else zmq_poll(sockets, 0)

    def _watch_raw_socket(self, loop: Any, socket: Any, evt: int, f: Callable[..., None]) -> None:
        """Has the loop call `f` when a descriptor can be read or written."""
        if evt & self._READ:
            loop.add_reader(socket, f)
        if evt & self._WRITE:
            loop.add_writer(socket, f)

    def _unwatch_raw_sockets(self, loop: Any, *sockets: Any) -> None:
        """Ends that."""
        for socket in sockets:
            loop.remove_reader(socket)
            loop.remove_writer(socket)


class _Wait:
    """A poll that waits: what it has had watched, to be taken back when its future is done."""

    def __init__(self, poller: _AsyncPoller, watch: LoopWatch, future: Any) -> None:
        self.poller, self.watch, self.future = poller, watch, future
        self.sockets = list(poller.sockets)
        self.timer: Any = None
        self.keys: list[int] = []
        self.copies: list[int] = []

    def begin(self, timeout: float | None) -> None:
        """Has everything watched that is registered, for at most so many milliseconds."""
        watch = self.watch
        for socket, flags in self.sockets:
            if isinstance(socket, _core.Socket):
                key = watch.set.insert(socket)
                self.keys.append(key)
                watch.wait(key, flags & (IN | OUT), partial(self._look_again, key, flags))
                continue
            number = socket if isinstance(socket, int) else socket.fileno()
            if number >= 0:
                # The application may have the loop watch the descriptor itself.
                copy = os.dup(number)
                self.copies.append(copy)
                with contextlib.suppress(PermissionError):  # a plain file: never waits
                    self.poller._watch_raw_socket(watch.loop, copy, flags & ~ERR, self._look_now)
        if timeout is not None and timeout >= 0:
            self.timer = watch.loop.call_later(timeout / 1000, self.expire)

    def _look_again(self, key: int, flags: int, there: int) -> None:
        self._look_now()
        if not self.future.done():
            self.watch.wait(key, flags & (IN | OUT), partial(self._look_again, key, flags))

    def _look_now(self, *_: Any) -> None:
        if self.future.done():
            return
        try:
            ready = self.poller._look(self.sockets)
        except Exception as error:
            self.future.set_exception(error)
        else:
            if ready:
                self.future.set_result(ready)

    def expire(self) -> None:
        """The time is up."""
        self._look_now()
        if not self.future.done():
            self.future.set_result([])

    def end(self, _future: Any) -> None:
        """The future is done, or was cancelled."""
        if self.timer is not None:
            self.timer.cancel()
        for key in self.keys:
            self.watch.remove(key)
        if not self.watch.loop.is_closed():
            self.poller._unwatch_raw_sockets(self.watch.loop, *self.copies)
        self.__del__()

    def __del__(self) -> None:
        # Also of a loop that was closed before the future was done.
        while self.copies:
            os.close(self.copies.pop())


__all__ = ["_AsyncPoller"]
