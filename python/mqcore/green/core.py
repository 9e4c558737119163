"""Contexts and sockets for gevent: a call that has to wait lets other greenlets run meanwhile.

Each call is tried without waiting first, so that a call on a ready socket costs what it costs in mqcore, and does not
switch greenlets. `waiting.py` says how the others wait, and why none waits in vain.

Any number of greenlets, in any number of threads, may wait for one socket, in the same direction too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, TypeVar

import mqcore as zmq
from mqcore import _core
from mqcore.context import Context as _original_Context
from mqcore.error import Again, ZMQError
from mqcore.green.poll import _Poller
from mqcore.green.waiting import Nap, Waiting, waiting_of
from mqcore.socket import Socket as _original_Socket

_T = TypeVar("_T")

TIMEOS = (zmq.RCVTIMEO, zmq.SNDTIMEO)
"""The options that bound how long a call waits; they do so here too."""

_IN = int(zmq.POLLIN)
_OUT = int(zmq.POLLOUT)
_BOTH = _IN | _OUT
_EVENTS = int(zmq.EVENTS)
_RCVTIMEO = int(zmq.RCVTIMEO)
_SNDTIMEO = int(zmq.SNDTIMEO)
_DONTWAIT = int(zmq.DONTWAIT)
_LOCKSTEP = (zmq.REQ, zmq.REP)

_core_get = _core.Socket.get
_core_send = _core.Socket.send
_core_send_multipart = _core.Socket.send_multipart
_core_send_many = _core.Socket.send_many
_core_recv = _core.Socket.recv
_core_recv_multipart = _core.Socket.recv_multipart
_core_recv_into = _core.Socket.recv_into
_core_recv_many = _core.Socket.recv_many
_core_recv_many_multipart = _core.Socket.recv_many_multipart

_SLICE = 4096
"""So many messages of a long list are tried at once."""


class _Socket(_original_Socket[bytes]):
    """A socket whose waiting calls let other greenlets run.

    The calls and their errors are those of `mqcore.Socket`; RCVTIMEO and SNDTIMEO are kept. A call that is ended by
    an exception of gevent (`Timeout`, `kill`) has taken no message, and sent none. Closing the socket ends the
    waiting calls with ENOTSOCK.
    """

    _repr_cls: ClassVar[str] = "mqcore.green.Socket"
    _poller_class: ClassVar[Any] = _Poller
    _waiting: Waiting
    _lockstep: bool

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Who overrides `send` or `recv` gets whole messages that use them, as in mqcore.Socket.
        for part, whole, careful in (
            ("send", "send_multipart", "_send_parts"),
            ("recv", "recv_multipart", "_recv_parts"),
        ):
            overridden = getattr(cls, part) is not getattr(_Socket, part)
            if overridden and getattr(cls, whole) is getattr(_Socket, whole):
                setattr(cls, whole, getattr(_original_Socket, careful))

    def __init__(self, *a: Any, **kw: Any) -> None:
        super().__init__(*a, **kw)
        self._waiting = waiting_of(self)
        self._lockstep = self.type in _LOCKSTEP

    def __del__(self) -> None:
        if not self._shadow and not self.closed:
            self.close()

    def close(self, linger: int | None = None) -> None:
        """Closes the socket at once; waiting calls, of other greenlets and threads, end with ENOTSOCK.

        `linger`, in milliseconds, and errors are those of `mqcore.Socket.close`.
        """
        super().close(linger)
        waiting = self.__dict__.get("_waiting")
        if waiting is not None and self.closed:
            waiting.close()

    # Options.

    def get(self, opt: int) -> Any:
        """Returns the value of the option `opt`, and raises what `mqcore.Socket.get` does.

        Reading EVENTS lets the greenlets that wait for these events look, too.
        """
        value = _core_get(self, opt)
        if opt == _EVENTS and self._waiting.sleepers:
            self._waiting.wake(value)
        return value

    def set(self, opt: int, val: Any) -> None:
        """Sets the option `opt` to `val`, and raises what `mqcore.Socket.set` does."""
        super().set(opt, val)
        if self._waiting.sleepers:
            self._waiting.wake(_BOTH)  # a mark that was moved makes room

    def getsockopt(self, option: int) -> Any:
        """The same as `get` of `option`."""
        return self.get(option)

    def setsockopt(self, option: int, optval: Any) -> None:
        """The same as `set` of `option` to `optval`."""
        self.set(option, optval)

    # How to wait.

    def _wait(self, attempt: Callable[[], _T], wants: int, timeout: float | None = None) -> _T:
        """Returns what `attempt()` returns as soon as it does not raise Again.

        `wants`: POLLIN or POLLOUT, what it waits for; `timeout` in milliseconds, None: what the option says.
        """
        if timeout is None:
            timeout = _core_get(self, _RCVTIMEO if wants == _IN else _SNDTIMEO)
        if timeout == 0:
            return attempt()
        waiting = self._waiting
        nap = Nap(timeout)
        done = False
        try:
            sleeper = waiting.enter(nap, self, wants)
            try:
                while True:
                    nap.renew()
                    sleeper.woken = False
                    try:
                        result = attempt()
                        done = True
                        return result
                    except Again:
                        if nap.over:
                            done = True
                            raise
                    nap.sleep()
            finally:
                waiting.leave(sleeper, done)
        finally:
            nap.end()

    def _turn(self) -> None:
        """Something was sent or received: what the others wait for may have become possible, or forbidden."""
        if self._lockstep and self._waiting.sleepers:
            self._waiting.wake_all()

    def poll(self, timeout: float | None = None, flags: int = _IN) -> int:
        """Waits at most `timeout` milliseconds (None: for ever) for events in `flags`; returns those that are there.

        Raises ZMQError(ENOTSUP) if the socket is closed.
        """
        if self._closed:
            raise ZMQError(zmq.ENOTSUP)
        flags = int(flags)
        found = _core.Socket.poll(self, 0, flags)
        if found or timeout == 0 or not flags:
            return found
        poller = self._poller_class()
        poller.register(self, flags)
        events: int = dict(poller.poll(timeout)).get(self, 0)
        return events

    # Messages.

    def send(  # type: ignore[override]
        self,
        data: Any,
        flags: int = 0,
        copy: bool = True,
        track: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Sends one part of a message. Other greenlets run while there is no room.

        Parameters, result and errors are those of `mqcore.Socket.send`.
        """
        now = flags | _DONTWAIT
        try:
            result = _core_send(self, data, now, copy, track, **kwargs)
        except Again:
            if flags & _DONTWAIT:
                raise
            result = self._wait(lambda: _core_send(self, data, now, copy, track, **kwargs), _OUT)
        self._turn()
        return result

    def send_multipart(self, *args: Any, **kwargs: Any) -> Any:
        """Sends a whole message: `send_multipart(msg_parts, flags=0, copy=True, track=False)`.

        Parameters, result and errors are those of `mqcore.Socket.send_multipart`.
        """
        return self._send_whole(*args, **kwargs)

    def _send_whole(
        self,
        msg_parts: Any,
        flags: int = 0,
        copy: bool = True,
        track: bool = False,
        **kwargs: Any,
    ) -> Any:
        now = flags | _DONTWAIT
        try:
            result = _core_send_multipart(self, msg_parts, now, copy, track, **kwargs)
        except Again:
            if flags & _DONTWAIT:
                raise
            result = self._wait(
                lambda: _core_send_multipart(self, msg_parts, now, copy, track, **kwargs), _OUT
            )
        self._turn()
        return result

    def recv(self, flags: int = 0, copy: bool = True, track: bool = False) -> Any:
        """Receives one part of a message. Other greenlets run while there is none.

        Parameters, result and errors are those of `mqcore.Socket.recv`.
        """
        now = flags | _DONTWAIT
        try:
            result = _core_recv(self, now, copy, track)
        except Again:
            if flags & _DONTWAIT:
                raise
            result = self._wait(lambda: _core_recv(self, now, copy, track), _IN)
        self._turn()
        return result

    def recv_multipart(self, *args: Any, **kwargs: Any) -> Any:
        """Receives a whole message: `recv_multipart(flags=0, copy=True, track=False)`.

        Parameters, result and errors are those of `mqcore.Socket.recv_multipart`.
        """
        return self._recv_whole(*args, **kwargs)

    def _recv_whole(self, flags: int = 0, copy: bool = True, track: bool = False) -> Any:
        now = flags | _DONTWAIT
        try:
            result = _core_recv_multipart(self, now, copy, track)
        except Again:
            if flags & _DONTWAIT:
                raise
            result = self._wait(lambda: _core_recv_multipart(self, now, copy, track), _IN)
        self._turn()
        return result

    def recv_into(self, buffer: Any, /, *, nbytes: int = 0, flags: int = 0) -> int:
        """Receives one part into `buffer`. Parameters, result and errors are those of `mqcore.Socket.recv_into`."""
        now = flags | _DONTWAIT

        def attempt() -> int:
            return _core_recv_into(self, buffer, nbytes=nbytes, flags=now)

        size = attempt() if flags & _DONTWAIT else self._wait(attempt, _IN)
        self._turn()
        return size

    # Batches.

    def send_many(self, messages: Iterable[Any], flags: int = 0) -> int:
        """Sends many messages. Parameters, result and errors are those of `mqcore.Socket.send_many`."""
        if flags & _DONTWAIT:
            return _core_send_many(self, messages, flags)
        batch = _Batch(self, messages, flags)
        timeout = _core_get(self, _SNDTIMEO)
        deadline = time.monotonic() + timeout / 1000.0
        try:
            while not batch.finished:
                left = timeout
                if timeout > 0:
                    left = max(0.0, (deadline - time.monotonic()) * 1000.0)
                self._wait(batch.send_more, _OUT, left)
        except Again:
            if batch.sent == 0:
                raise
        except ZMQError as error:
            setattr(error, "messages_sent", batch.sent + getattr(error, "messages_sent", 0))
            raise
        return batch.sent

    def recv_many(self, max: int = 1024, timeout: float | None = None) -> list[bytes]:
        """Receives what is there, at least one message and at most `max`; waits at most `timeout` milliseconds.

        Result and errors are those of `mqcore.Socket.recv_many`.
        """
        return self._wait(lambda: _core_recv_many(self, max, 0), _IN, timeout)

    def recv_many_multipart(
        self, max: int = 1024, timeout: float | None = None
    ) -> list[list[bytes]]:
        """Receives what is there, at least one message and at most `max`; waits at most `timeout` milliseconds.

        Result and errors are those of `mqcore.Socket.recv_many_multipart`.
        """
        return self._wait(lambda: _core_recv_many_multipart(self, max, 0), _IN, timeout)


class _Batch:
    """What `send_many` has still to send."""

    def __init__(self, socket: _Socket, messages: Iterable[Any], flags: int) -> None:
        self.socket = socket
        self.messages = messages
        self.flags = flags | _DONTWAIT
        self.sent = 0
        self.finished = False
        self.items: Iterator[Any] | None = None

    def send_more(self) -> None:
        """Sends what there is room for. Raises Again if there is none at all."""
        if isinstance(self.messages, (list, tuple)):
            # The first time all of them, so that all are checked before any is sent.
            end = self.sent + _SLICE
            part = self.messages if self.sent == 0 else self.messages[self.sent : end]
            self.sent += _core_send_many(self.socket, part, self.flags)
            self.finished = self.sent >= len(self.messages)
        else:
            if self.items is None:
                if isinstance(self.messages, (str, bytes, bytearray, memoryview, _core.Frame)):
                    _core_send_many(self.socket, self.messages, self.flags)  # raises TypeError
                self.items = self._drawn(iter(self.messages))
            self.sent += _core_send_many(self.socket, self.items, self.flags)

    def _drawn(self, items: Iterator[Any]) -> Iterator[Any]:
        yield from items
        self.finished = True


class _Context(_original_Context[_Socket]):
    """A context whose sockets let other greenlets run while they wait.

    Its `term` waits without doing so. `instance()` is a singleton of its own.
    """

    _socket_class = _Socket
    _repr_cls: ClassVar[str] = "mqcore.green.Context"
    _instance: ClassVar[Any] = None


__all__ = ["TIMEOS", "_Context", "_Poller", "_Socket"]
