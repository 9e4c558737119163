"""Waiting for several sockets and descriptors at once."""

from __future__ import annotations

import contextlib
from typing import Any

from mqcore import _core
from mqcore._core import zmq_poll
from mqcore.constants import POLLERR, POLLIN, POLLOUT


class Poller:
    """A list of sockets and descriptors with the events wanted of each.

    A socket, a descriptor number or any object with `fileno()` can be registered. What a poll costs grows with what
    has news, not with what is registered. A descriptor that is closed while it is registered is reported with POLLERR,
    after a second at the latest. Not for use by several threads at once.
    """

    sockets: list[tuple[Any, int]]
    """What is registered, with its events, in the order of registration."""
    _map: dict[Any, int]
    _set: _core.PollSet
    _keys: dict[Any, int]
    """What the set watches, with its keys there."""
    _watched: dict[int, Any]
    """What a poll reports for a key: the socket, or the number of the descriptor."""

    def __init__(self) -> None:
        self.sockets = []
        self._map = {}
        self._set = _core.PollSet()
        self._keys = {}
        self._watched = {}

    def __contains__(self, socket: Any) -> bool:
        return socket in self._map

    def register(self, socket: Any, flags: int = POLLIN | POLLOUT) -> None:
        """Wants the events `flags` (POLLIN, POLLOUT, POLLERR, POLLPRI) of `socket`.

        Replaces what was wanted of it before; `flags=0` unregisters it, if it is registered.
        """
        if flags:
            index = self._map.get(socket)
            if index is None:
                self._map[socket] = len(self.sockets)
                self.sockets.append((socket, flags))
                self._watch(socket, flags)
            else:
                self.sockets[index] = (socket, flags)
                if (key := self._keys.get(socket)) is not None:
                    self._set.modify(key, flags)
        elif socket in self._map:
            self.unregister(socket)

    def modify(self, socket: Any, flags: int = POLLIN | POLLOUT) -> None:
        """The same as `register`."""
        self.register(socket, flags)

    def unregister(self, socket: Any) -> None:
        """Forgets `socket`. Raises KeyError if it is not registered."""
        index = self._map.pop(socket)
        del self.sockets[index]
        for later, _ in self.sockets[index:]:
            self._map[later] -= 1
        if (key := self._keys.pop(socket, None)) is not None:
            del self._watched[key]
            self._set.remove(key)

    def _watch(self, socket: Any, flags: int) -> None:
        """Has the engine watch it. What cannot be watched, like a closed socket, is left for `poll` to judge."""
        key = None
        reported = socket
        if isinstance(socket, _core.Socket):
            key = self._set.insert(socket, flags)
        else:
            if not isinstance(socket, int):
                with contextlib.suppress(Exception):
                    reported = socket.fileno()
            if isinstance(reported, int) and abs(reported) < 1 << 31:
                key = self._set.insert_fd(reported, flags)
        if key is not None:
            self._keys[socket] = key
            self._watched[key] = reported

    def poll(self, timeout: float | int | None = None) -> list[tuple[Any, int]]:
        """Waits at most `timeout` milliseconds for events; None and negative: for ever.

        Returns pairs in the order of registration: the socket, or the number of a descriptor, and its
        events as an int. Without anything registered it returns an empty list at once.

        Raises ZMQError(ENOTSOCK) for a closed socket, ContextTerminated, and TypeError for what cannot be
        polled.
        """
        if self.sockets and len(self._keys) == len(self.sockets):
            ready = self._set.poll(timeout)
            if ready is not None:
                watched = self._watched
                return [(watched[key], events) for key, events in ready]
        return zmq_poll(self.sockets, timeout)


def select(
    rlist: list[Any], wlist: list[Any], xlist: list[Any], timeout: float | None = None
) -> tuple[list[Any], list[Any], list[Any]]:
    """Like `select.select`, also for sockets: three lists of what can be read, written, and is in error.

    The timeout is in seconds; None and negative: for ever.
    """
    if timeout is not None:
        timeout = -1 if timeout < 0 else timeout * 1000.0
    wanted: dict[Any, int] = {}
    for things, event in ((rlist, POLLIN), (wlist, POLLOUT), (xlist, POLLERR)):
        for thing in things:
            wanted[thing] = wanted.get(thing, 0) | event
    readable, writable, in_error = [], [], []
    for thing, events in zmq_poll(list(wanted.items()), timeout):
        if events & POLLIN:
            readable.append(thing)
        if events & POLLOUT:
            writable.append(thing)
        if events & POLLERR:
            in_error.append(thing)
    return readable, writable, in_error


__all__ = ["Poller", "select", "zmq_poll"]
