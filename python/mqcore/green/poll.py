"""A poller for gevent: other greenlets run while it waits. It looks at everything with one native call, and sleeps
as `waiting.py` says. Plain descriptors stand in an epoll of the call, which the hub watches: the hub itself could
not bear that one is closed meanwhile (libev ends the process), and knows no POLLPRI.
"""

from __future__ import annotations

from typing import Any

import gevent  # type: ignore[import-untyped, unused-ignore]
from gevent.monkey import get_original  # type: ignore[import-untyped, unused-ignore]

import mqcore as zmq
from mqcore import _core
from mqcore.green.waiting import Nap, Sleeper, Waiting, waiting_of
from mqcore.poll import Poller as _original_Poller

_IN = int(zmq.POLLIN)
_OUT = int(zmq.POLLOUT)
_PRI = int(zmq.POLLPRI)
_READ = 1  # of gevent's loops
_EPOLLIN, _EPOLLPRI, _EPOLLOUT = 1, 2, 4


class _Poller(_original_Poller):
    """A poller whose `poll` lets other greenlets run."""

    def poll(self, timeout: float | None = -1) -> list[tuple[Any, int]]:
        """Waits at most `timeout` milliseconds for events; None and negative: for ever.

        Returns and raises what `mqcore.Poller.poll` does. Without anything registered it sleeps for `timeout`, or
        returns at once if that would be for ever.
        """
        found = super().poll(0)
        if found or timeout == 0:
            return found
        milliseconds = -1.0 if timeout is None or timeout < 0 else float(timeout)
        if not self.sockets:
            if milliseconds > 0:
                gevent.sleep(milliseconds / 1000.0)
            return []
        nap = Nap(milliseconds)
        sleepers: list[tuple[Waiting, Sleeper]] = []
        descriptors: _Descriptors | None = None
        try:
            for socket, flags in self.sockets:
                if isinstance(socket, _core.Socket):
                    waiting = waiting_of(socket)
                    sleepers.append((waiting, waiting.enter(nap, socket, flags, takes=False)))
                else:
                    descriptors = descriptors or _Descriptors(nap)
                    descriptors.add(socket, flags)
            while True:
                nap.renew()
                for _, sleeper in sleepers:
                    sleeper.woken = False
                found = super().poll(0)
                if found or nap.over:
                    return found
                nap.sleep()
        finally:
            if descriptors is not None:
                descriptors.end()
            for waiting, sleeper in sleepers:
                waiting.leave(sleeper)
            nap.end()


class _Descriptors:
    """The plain descriptors that one poll waits for."""

    def __init__(self, nap: Nap) -> None:
        self._epoll: Any = get_original("select", "epoll")()
        self._masks: dict[int, int] = {}
        self._watcher: Any = nap.hub.loop.io(self._epoll.fileno(), _READ)
        self._watcher.start(nap.waiter.switch, None)
        nap.every(1.0)  # a descriptor that is closed is no event: only looking finds it

    def add(self, item: Any, flags: int) -> None:
        number = item if isinstance(item, int) else item.fileno()
        mask = self._masks.get(number, 0)
        mask |= (_EPOLLIN if flags & _IN else 0) | (_EPOLLOUT if flags & _OUT else 0)
        mask |= _EPOLLPRI if flags & _PRI else 0
        try:
            if number in self._masks:
                self._epoll.modify(number, mask)
            elif number >= 0:
                self._epoll.register(number, mask)
                self._masks[number] = mask
        except OSError:
            pass  # closed, or a file, which is always ready: looking will tell

    def end(self) -> None:
        self._watcher.stop()
        self._watcher.close()
        self._epoll.close()


__all__ = ["_Poller"]
