"""Waiting for several sockets and descriptors at once."""

from __future__ import annotations

import contextlib
from time import monotonic
from typing import Any

from mqcore import _core
from mqcore._core import zmq_poll
from mqcore.constants import POLLERR, POLLIN, POLLOUT

_TRUST = 1.0
"""For how many seconds a busy poller believes that an object has the descriptor it had."""


class Poller:
    """A list of sockets and descriptors with the events wanted of each.

    A socket, a descriptor number or any object with `fileno()` can be registered. What a poll costs grows with what
    has news, not with what is registered. A descriptor that is closed while it is registered is reported with POLLERR,
    and the new descriptor of an object is found, after a second at the latest. Not for use by several threads at once.
    """

    sockets: list[tuple[Any, int]]
    """What is registered, with its events, in the order of registration."""
    _map: dict[Any, int]
    _set: _core.PollSet
    _keys: dict[Any, int]
    """What the set watches, with its keys there."""
    _watched: dict[int, Any]
    """What a poll reports for a key: the socket, or the number of the descriptor."""
    _files: dict[int, Any]
    """The objects with `fileno()` that keys stand for."""
    _asked: float
    """When they were all asked for their descriptors, in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self.sockets = []
        self._map = {}
        self._forget_all()

    def __getstate__(self) -> dict[str, Any]:
        """What a copy takes along: what is registered, which it watches for itself."""
        watching = ("_set", "_keys", "_watched", "_files", "_asked")
        state = {name: value for name, value in self.__dict__.items() if name not in watching}
        return {**state, "sockets": list(self.sockets), "_map": dict(self._map)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget_all()

    def __contains__(self, socket: Any) -> bool:
        return socket in self._map

    def register(self, socket: Any, flags: int = POLLIN | POLLOUT) -> None:
        """Wants the events `flags` (POLLIN, POLLOUT, POLLERR, POLLPRI) of `socket`.

        Replaces what was wanted of it before; `flags=0` unregisters it, if it is registered. Raises TypeError for
        what has no hash; that it can be polled is looked at by `poll`.
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
        """The same as `register`: also a `socket` that was not registered is, with the events `flags`."""
        self.register(socket, flags)

    def unregister(self, socket: Any) -> None:
        """Forgets `socket`. Raises KeyError if it is not registered."""
        index = self._map.pop(socket)
        del self.sockets[index]
        for later, _ in self.sockets[index:]:
            self._map[later] -= 1
        if (key := self._keys.pop(socket, None)) is not None:
            del self._watched[key]
            self._files.pop(key, None)
            self._set.remove(key)

    def _watch(self, socket: Any, flags: int) -> None:
        """Has the engine watch it. What cannot be watched, like a closed socket, is left for `poll` to judge."""
        key = None
        reported = socket
        if isinstance(socket, _core.Socket):
            key = self._set.insert(socket, flags)
        else:
            is_file = not isinstance(socket, int)
            if is_file:
                reported = _descriptor(socket)
            if isinstance(reported, int) and abs(reported) < 1 << 31:
                key = self._set.insert_fd(reported, flags)
                if key is not None and is_file:
                    self._files[key] = socket
        if key is not None:
            self._keys[socket] = key
            self._watched[key] = reported

    def _forget_all(self) -> None:
        self._set = _core.PollSet()
        self._keys = {}
        self._watched = {}
        self._files = {}
        self._asked = 0.0

    def _watch_anew(self) -> None:
        self._forget_all()
        self._asked = monotonic()
        for socket, flags in self.sockets:  # in their order, which becomes that of the keys
            self._watch(socket, flags)

    def _ask_again(self) -> None:
        """Asks all objects for their descriptors. If one has another than before, all are watched anew."""
        self._asked = monotonic()
        if any(_descriptor(file) != self._watched[key] for key, file in self._files.items()):
            self._watch_anew()

    def poll(self, timeout: float | int | None = None) -> list[tuple[Any, int]]:
        """Waits at most `timeout` milliseconds for events; None and negative: for ever.

        Returns pairs in the order of registration: the socket, or the number of a descriptor, and its
        events as an int. Without anything registered it returns an empty list at once.

        Raises ZMQError(ENOTSOCK) for a closed socket, ContextTerminated, and TypeError for what cannot be
        polled.
        """
        if len(self._keys) != len(self.sockets):
            self._watch_anew()  # what could not be watched before perhaps can now
        if self._files and len(self._keys) == len(self.sockets):
            ready = self._poll_files(timeout)
        elif self._keys and len(self._keys) == len(self.sockets):
            ready = self._set.poll(timeout)
        else:
            ready = None
        if ready is None:
            return zmq_poll(self.sockets, timeout)
        watched = self._watched
        return [(watched[key], events) for key, events in ready]

    def _poll_files(self, timeout: float | int | None) -> list[tuple[int, int]] | None:
        """Polls with objects among what is registered, and asks for their descriptors as seldom as is safe.

        Before it waits all are asked; those that are reported are asked again; and while others keep it busy, all
        are asked every second. None if an object has no descriptor any more.
        """
        deadline = None if timeout is None or timeout < 0 else monotonic() + timeout / 1000
        if monotonic() - self._asked >= _TRUST:
            self._ask_again()
        span: float | int | None = 0
        waited = False
        while len(self._keys) == len(self.sockets):
            ready = self._set.poll(span)
            if ready is None:
                return None
            moved = any(
                key in self._files and _descriptor(self._files[key]) != self._watched[key]
                for key, _ in ready
            )
            if not moved and (ready or waited or timeout == 0):
                return ready
            self._ask_again()
            waited = not moved
            span = None if deadline is None else max(0.0, (deadline - monotonic()) * 1000)
        return None


def _descriptor(file: Any) -> Any:
    """What `file.fileno()` says; None if it says nothing."""
    with contextlib.suppress(Exception):
        return file.fileno()
    return None


def select(
    rlist: list[Any], wlist: list[Any], xlist: list[Any], timeout: float | None = None
) -> tuple[list[Any], list[Any], list[Any]]:
    """Like `select.select`, also for sockets: waits until something of `rlist` can be read, of `wlist` be written, or
    of `xlist` is in error, at most `timeout` seconds (None and negative: for ever).

    Returns three lists of what can be read, be written, and is in error; a descriptor in them is a number, also where
    an object with `fileno()` was given. Raises what `zmq_poll` raises.
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
