"""Sockets and pollers whose calls return futures, for any event loop that runs on asyncio.

What is ready is done at once. What is not waits in a queue of its socket, first come, first served, and its socket is
watched by the loop through one descriptor that all sockets of the loop share. An attempt never blocks, so a message is
taken only when there is a future to give it to: one that was cancelled takes none.

`mqcore.asyncio` and `mqcore.eventloop.future` say which loop and which class of futures.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from errno import ENOTSOCK, ENOTSUP
from functools import partial
from typing import Any, ClassVar, TypeVar
from warnings import warn
from weakref import WeakKeyDictionary
from weakref import ref as weak

from mqcore import _core
from mqcore.constants import (
    DONTWAIT,
    FD,
    POLLERR,
    POLLIN,
    POLLOUT,
    RCVTIMEO,
    SNDTIMEO,
)
from mqcore.error import Again, ContextTerminated, ZMQError
from mqcore.poll import Poller
from mqcore.socket import Socket

_T = TypeVar("_T")
_AsyncSocketT = TypeVar("_AsyncSocketT", bound="_AsyncSocket")
Future = asyncio.Future

_running_loop = asyncio._get_running_loop
_IN, _OUT, _ERR, _AT_ONCE = int(POLLIN), int(POLLOUT), int(POLLERR), int(DONTWAIT)


class _LoopWatch:
    """What one loop watches: all sockets that somebody waits for there. Kept alive by the loop and by its sockets."""

    def __init__(self, loop: Any, future_class: Any) -> None:
        self.loop = loop
        self.set = _core.LoopSet(future_class, loop)
        self.new_future = self.set.new_future
        self.waiting: dict[int, Callable[[int], None]] = {}
        """By the keys of the set, whom to tell when a socket is ready; each once."""
        loop.add_reader(self.set.fileno(), self._take)

    def _take(self) -> None:
        for key, there in self.set.take():
            if (told := self.waiting.pop(key, None)) is not None:
                told(there)

    def wait(self, key: int, events: int, told: Callable[[int], None]) -> None:
        """Calls `told` once, with what is there, when a socket has one of the events or has ended."""
        self.waiting[key] = told
        if there := self.set.arm(key, events):
            self.loop.call_soon(self._tell, key, there)

    def listen(self, key: int, events: int, told: Callable[[int], None]) -> None:
        """The same, but waits for news even if one of the events is there."""
        self.waiting[key] = told
        self.set.listen(key, events)

    def _tell(self, key: int, there: int) -> None:
        self.set.turn()
        if (told := self.waiting.pop(key, None)) is not None:
            told(there)

    def remove(self, key: int) -> None:
        """Forgets a socket."""
        self.waiting.pop(key, None)
        self.set.remove(key)


_watches: WeakKeyDictionary[Any, dict[Any, weak[_LoopWatch]]] = WeakKeyDictionary()


def _watch_of(loop: Any, future_class: Any) -> _LoopWatch:
    """That of a loop, for one class of futures."""
    of_loop = _watches.setdefault(loop, {})
    known = of_loop.get(future_class)
    watch = known() if known is not None else None
    if watch is None:
        watch = _LoopWatch(loop, future_class)
        of_loop[future_class] = weak(watch)
    return watch


class _FutureEvent:
    """Somebody waits for an operation of a socket."""

    __slots__ = ("attempt", "expired", "flags", "forget", "future", "load", "queue", "timer")

    def __init__(self, future: Any, attempt: Callable[[], Any]) -> None:
        self.future = future
        self.attempt = attempt
        """Returns the result; raises Again if it is not ready."""
        self.load: Callable[[Any], Any] | None = None
        """Applied to the result."""
        self.expired: Callable[[], Any] = _raise_again
        """The result when the time is up."""
        self.flags = 0
        """What to wait for: POLLIN, POLLOUT."""
        self.queue: deque[_FutureEvent] | None = None
        """Where it stands, while it waits."""
        self.forget: Any = None
        """What the future calls then if somebody else settles it."""
        self.timer: Any = None

    def settle(self, attempt: Callable[[], Any], final: bool = False) -> bool:
        """Settles the future with what `attempt` returns or raises; not with Again, unless it is `final`."""
        try:
            result = attempt()
            if self.load is not None:
                result = self.load(result)
        except Exception as error:
            if not final and isinstance(error, Again):
                return False
            self._leave()
            self.future.set_exception(error)
        else:
            self._leave()
            self.future.set_result(result)
        return True

    def _leave(self) -> None:
        """It waits no more, and nobody needs to be called."""
        if self.queue is not None:
            self.future.remove_done_callback(self.forget)
            self.forgotten(None)

    def forgotten(self, _future: Any) -> None:
        """It waits no more."""
        if self.queue is not None:
            self.queue.remove(self)
            self.queue = None
            self.forget = None
            if self.timer is not None:
                self.timer.cancel()

    def expire(self) -> None:
        """Its time is up, unless it is ready just now."""
        if not self.future.done() and not self.settle(self.attempt):
            self.load = None
            self.settle(self.expired, final=True)


def _raise_again() -> Any:
    raise Again


class _Async:
    """What sockets and pollers have in common: the loop they are used in, which may change."""

    _Future: ClassVar[Any] = asyncio.Future
    _READ: ClassVar[int] = _IN
    _WRITE: ClassVar[int] = _OUT
    _current_loop: Any = None
    _watch: Any = None

    def _default_loop(self) -> Any:
        """The loop to use now."""
        raise NotImplementedError

    def _get_loop(self) -> Any:
        """The loop to use now; the object has moved there."""
        loop = self._default_loop()
        if loop is not self._current_loop:
            self._init_io_state(loop)
            self._current_loop = loop
        return loop

    def _init_io_state(self, loop: Any = None) -> None:
        """Moves to another loop."""


class _AsyncSocket(_Async, _core.AsyncSocket, Socket[Any]):
    """A socket whose sends, receives and polls return futures.

    What can be done at once is done before the call returns, so that its future is done. Calls that wait are served
    in their order. After many calls in a row that were done at once, one waits for the loop's next turn, so that other
    tasks run. Everything else (bind, connect, options, close) is as it is with `mqcore.Socket`.
    """

    _recv_futures: Any = None
    _send_futures: Any = None
    _poll_futures: Any = None
    _key: Any = None
    _state: int = 0
    _origin: Any = None
    _poller_class: ClassVar[Any] = None

    def __init__(
        self,
        context: Any = None,
        socket_type: int = -1,
        io_loop: Any = None,
        _from_socket: Any = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(context, _core.Socket):
            context, _from_socket = None, context
        if isinstance(kwargs.get("shadow"), _core.Socket):
            _from_socket = kwargs.pop("shadow")
        if _from_socket is not None:
            super().__init__(shadow=_from_socket.underlying)
            self._origin = _from_socket
        else:
            super().__init__(context, socket_type, **kwargs)
        if io_loop is not None:
            warn(
                f"{self.__class__.__name__}(io_loop) argument is deprecated: the running loop is used",
                DeprecationWarning,
                stacklevel=2,
            )
        self._recv_futures = deque()
        self._send_futures = deque()
        self._poll_futures = deque()

    @classmethod
    def from_socket(
        cls: type[_AsyncSocketT], socket: Socket[Any], io_loop: Any = None
    ) -> _AsyncSocketT:
        """Another face of an existing socket. `io_loop` is deprecated and ignored."""
        return cls(_from_socket=socket, io_loop=io_loop)

    @property
    def _shadow_sock(self) -> Any:
        """The same socket, with calls that wait."""
        if self._origin is None:
            self._origin = Socket.shadow(self.underlying)
        return self._origin

    @property
    def _fd(self) -> int:
        return _core.Socket.get(self, FD)  # type: ignore[no-any-return]

    # Where it is watched.

    def _init_io_state(self, loop: Any = None) -> None:
        """Moves to another loop. Who waits in the old one waits for ever, as that loop does not run."""
        self._clear_io_state()
        self._watch = _watch_of(loop, self._Future)
        self._settle_in(
            self._watch.loop, self._watch.set, self._recv_futures, self._send_futures
        )

    def _clear_io_state(self) -> None:
        if self._key is not None:
            self._watch.remove(self._key)
            self._key = None
        self._state = 0

    def _wait(self) -> None:
        """Has the loop tell of what somebody waits for."""
        wanted = 0
        if self._recv_futures:
            wanted = _IN
        if self._send_futures:
            wanted |= _OUT
        for event in self._poll_futures:
            wanted |= event.flags
        self._state = wanted
        if wanted:
            if self._key is None:
                self._key = self._watch.set.insert(self)
            self._watch.wait(self._key, wanted, self._handle_events)

    def _handle_events(self, there: int) -> None:
        """Serves those who wait for what is there; a socket that has ended says so to everybody."""
        if not self._serve_all(there):
            # It is ready, but not for who is first, whose own peer is full. From now on news are heard of; what came
            # before is found by another attempt.
            self._watch.listen(self._key, self._state, self._handle_events)
            if not self._serve_all(there):
                return
        self._wait()

    def _serve_all(self, there: int) -> bool:
        """False: somebody still waits for what is there."""
        in_vain = there & _IN and not self._serve(self._recv_futures)
        in_vain |= there & _OUT and not self._serve(self._send_futures)
        if there & _ERR:
            self._serve(self._recv_futures)
            self._serve(self._send_futures)
        for event in list(self._poll_futures):
            event.settle(event.attempt)
        return not in_vain

    def _serve(self, events: deque[_FutureEvent]) -> bool:
        """Settles all that are ready, in order. False if the first one is not."""
        first = True
        while events:
            event = events[0]
            if event.future.done():
                event.forgotten(None)
            elif event.settle(event.attempt):
                first = False
            else:
                return not first
        return True

    # Waiting.

    def _add(self, event: _FutureEvent, queue: Any, flags: int, timeout: float) -> Any:
        """Queues an event, for at most `timeout` milliseconds (negative: for ever)."""
        event.queue, event.flags = queue, flags
        queue.append(event)
        event.forget = event.forgotten
        event.future.add_done_callback(event.forget)
        if timeout >= 0:
            event.timer = self._watch.loop.call_later(timeout / 1000, event.expire)
        if flags & ~self._state:
            self._wait()
        return event.future

    def _begin(self, attempt: Callable[[], Any], queue: Any, must: int) -> _FutureEvent:
        """An event that is settled if it is ready and nobody was first, and in any case if it must be."""
        self._get_loop()
        event = _FutureEvent(self._watch.new_future(), attempt)
        if must:
            event.settle(attempt, final=True)
        elif not queue and not self._watch.set.is_spent():
            event.settle(attempt)
        return event

    def _add_recv_event(
        self, attempt: Callable[[], Any], flags: int = 0, timeout: float | None = None
    ) -> Any:
        """The future of a receive."""
        event = self._begin(attempt, self._recv_futures, flags & _AT_ONCE)
        if event.future.done():
            return event.future
        if timeout is None:
            timeout = _core.Socket.get(self, RCVTIMEO)
        return self._add(event, self._recv_futures, _IN, timeout)

    def _add_send_event(
        self,
        attempt: Callable[[], Any],
        flags: int = 0,
        expired: Callable[[], Any] = _raise_again,
    ) -> Any:
        """The future of a send."""
        event = self._begin(attempt, self._send_futures, flags & _AT_ONCE)
        if event.future.done():
            return event.future
        event.expired = expired
        return self._add(event, self._send_futures, _OUT, _core.Socket.get(self, SNDTIMEO))

    def _check_open(self) -> None:
        if self._closed:
            raise ZMQError(ENOTSOCK)

    # Receiving.

    def _recv_later(self, flags: int, copy: bool, track: bool) -> Any:
        """`recv`, when it has to wait or its future must be done."""
        self._check_open()
        attempt = partial(_core.Socket.recv, self, flags | _AT_ONCE, copy, track)
        return self._add_recv_event(attempt, flags)

    def _recv_multipart_later(self, flags: int, copy: bool, track: bool) -> Any:
        """The same for `recv_multipart`."""
        self._check_open()
        attempt = partial(_core.Socket.recv_multipart, self, flags | _AT_ONCE, copy, track)
        return self._add_recv_event(attempt, flags)

    def recv_into(  # type: ignore[override]
        self, buffer: Any, /, *, nbytes: int = 0, flags: int = 0
    ) -> Awaitable[int]:
        """Receives a part into a buffer; see `mqcore.Socket.recv_into`. Returns a future of its length."""
        self._check_open()
        attempt = partial(
            _core.Socket.recv_into, self, buffer, nbytes=nbytes, flags=flags | _AT_ONCE
        )
        return self._add_recv_event(attempt, flags)  # type: ignore[no-any-return]

    def recv_many(  # type: ignore[override]
        self, max: int = 1024, timeout: float | None = None
    ) -> Awaitable[list[bytes]]:
        """Receives the messages that are there, at least one; see `mqcore.Socket.recv_many`. Returns a future.

        A future that is cancelled takes no message.
        """
        self._check_open()
        attempt = partial(_core.Socket.recv_many, self, max, 0)
        return self._add_recv_event(attempt, 0, timeout)  # type: ignore[no-any-return]

    def recv_many_multipart(  # type: ignore[override]
        self, max: int = 1024, timeout: float | None = None
    ) -> Awaitable[list[list[bytes]]]:
        """The same, each message as the list of its parts."""
        self._check_open()
        attempt = partial(_core.Socket.recv_many_multipart, self, max, 0)
        return self._add_recv_event(attempt, 0, timeout)  # type: ignore[no-any-return]

    async def batches(  # type: ignore[override]
        self, max: int = 1024, timeout: float | None = None, *, multipart: bool = False
    ) -> AsyncIterator[Any]:
        """Iterates over what comes in, batch by batch: `async for batch in socket.batches(): ...`.

        See `mqcore.Socket.batches`.
        """
        receive = self.recv_many_multipart if multipart else self.recv_many
        while True:
            try:
                batch: Any = await receive(max, timeout)
            except Again:
                return
            yield batch

    def __aiter__(self: _AsyncSocketT) -> _AsyncSocketT:
        """Iterates over whole messages, each the list of its parts: `async for parts in socket: ...`.

        The iteration ends when the socket is closed or its context terminated.
        """
        return self

    async def __anext__(self) -> list[bytes]:
        if self._closed:
            raise StopAsyncIteration
        try:
            return await self.recv_multipart()  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and not (task is not None and task.cancelling()):
                raise StopAsyncIteration from None
            raise
        except ContextTerminated:
            raise StopAsyncIteration from None
        except ZMQError as error:
            if error.errno == ENOTSOCK:
                raise StopAsyncIteration from None
            raise

    def _deserialize(self, recvd: Any, load: Callable[[Any], Any]) -> Any:
        """The future of `load(received)`: the same one if it waits, so that cancelling it loses no message."""
        for event in reversed(self._recv_futures):
            if event.future is recvd and event.load is None and not recvd.done():
                event.load = load
                return recvd
        if isinstance(recvd, asyncio.Future) and recvd.done() and not recvd.cancelled():
            self._get_loop()
            event = _FutureEvent(self._watch.new_future(), recvd.result)
            event.load = load
            event.settle(recvd.result, final=True)
            return event.future

        async def chained() -> Any:
            return load(await recvd)

        return asyncio.ensure_future(chained())

    # Sending.

    def _send_later(self, data: Any, flags: int, copy: bool, track: bool, **kwargs: Any) -> Any:
        """`send`, when it has to wait or its future must be done."""
        if copy:
            data = _frozen(data)
        attempt = partial(_core.Socket.send, self, data, flags | _AT_ONCE, copy, track, **kwargs)
        return self._add_send_event(attempt, flags)

    def _send_multipart_later(
        self, msg_parts: Any, flags: int, copy: bool, track: bool, **kwargs: Any
    ) -> Any:
        """The same for `send_multipart`."""
        if isinstance(msg_parts, list | tuple):
            msg_parts = [_frozen(part) if copy else part for part in msg_parts]
        attempt = partial(
            _core.Socket.send_multipart, self, msg_parts, flags | _AT_ONCE, copy, track, **kwargs
        )
        return self._add_send_event(attempt, flags)

    def send_many(  # type: ignore[override]
        self, messages: Iterable[Any], flags: int = 0
    ) -> Awaitable[int]:
        """Sends many messages in order; see `mqcore.Socket.send_many`. Returns a future of how many were taken.

        It is done when all are taken, or when there was no room for the next one within SNDTIMEO. Messages that were
        taken before a future is cancelled are sent.
        """
        sending = _Sending(self, messages)
        return self._add_send_event(sending.attempt, flags, sending.expired)  # type: ignore[no-any-return]

    # Polling.

    def poll(  # type: ignore[override]
        self, timeout: float | None = None, flags: int = _IN
    ) -> Awaitable[int]:
        """Waits at most `timeout` milliseconds (None and negative: for ever) for events; a future of their bits.

        Raises ZMQError(ENOTSUP) for a closed socket.
        """
        if self._closed:
            raise ZMQError(ENOTSUP)
        self._get_loop()

        must = timeout == 0 or not flags & (_IN | _OUT)

        def attempt() -> int:
            there = _core.Socket.poll(self, 0, flags)
            if there or must:
                return there
            raise Again

        event = self._begin(attempt, None, must)
        if event.future.done():
            return event.future  # type: ignore[no-any-return]
        event.expired = lambda: 0
        timeout = -1 if timeout is None else timeout
        return self._add(event, self._poll_futures, flags & (_IN | _OUT), timeout)  # type: ignore[no-any-return]

    # Its end.

    def close(self, linger: int | None = None) -> None:
        """Closes the socket, as `mqcore.Socket.close` does, and cancels every future that waits."""
        if not self._closed:
            waiting = [*(self._recv_futures or ()), *(self._send_futures or ())]
            waiting += self._poll_futures or ()
            if self._current_loop is not None:
                self._clear_io_state()
                self._cancel(waiting)
        super().close(linger)

    def _cancel(self, events: list[_FutureEvent]) -> None:
        loop = self._current_loop
        if not events or loop.is_closed():
            return
        if loop.is_running() and _running_loop() is not loop:  # another thread's
            loop.call_soon_threadsafe(self._cancel, events)
            return
        for event in events:
            event.future.cancel()


def _frozen(data: Any) -> Any:
    """A copy of what could change before it is sent; what is no buffer is left for `send` to refuse."""
    if isinstance(data, bytes | _core.Frame):
        return data
    with contextlib.suppress(TypeError, BufferError):
        return memoryview(data).tobytes()
    return data


class _Sending:
    """`send_many` as attempts that go on where the last one ended."""

    def __init__(self, socket: _AsyncSocket, messages: Iterable[Any]) -> None:
        self.socket = socket
        self.messages = messages
        self.taken = 0

    def attempt(self) -> int:
        if not isinstance(self.messages, list):
            if isinstance(self.messages, str | bytes | bytearray | memoryview | _core.Frame):
                _core.Socket.send_many(self.socket, self.messages, _AT_ONCE)  # refuses it
            self.messages = list(self.messages)
        rest = self.messages[self.taken :] if self.taken else self.messages
        self.taken += _core.Socket.send_many(self.socket, rest, _AT_ONCE)
        if self.taken < len(self.messages):
            raise Again
        return self.taken

    def expired(self) -> int:
        if self.taken == 0:
            raise Again
        return self.taken


class _AsyncPoller(_Async, Poller):
    """A poller whose `poll` returns a future. Sockets of any kind can be registered, and plain descriptors."""

    _socket_class: ClassVar[Any] = _AsyncSocket

    def poll(self, timeout: float | None = -1) -> Awaitable[list[tuple[Any, int]]]:  # type: ignore[override]
        """Waits at most `timeout` milliseconds (None and negative: for ever); a future of what `Poller.poll` returns."""
        loop = self._get_loop()
        watch = self._watch
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
        if timeout is not None and timeout >= 0:
            wait.timer = loop.call_later(timeout / 1000, wait.expire)
        return future  # type: ignore[no-any-return]

    def _init_io_state(self, loop: Any = None) -> None:
        self._watch = _watch_of(loop, self._Future)

    def _look(self) -> list[tuple[Any, int]]:
        return super().poll(0)

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

    def __init__(self, poller: _AsyncPoller, watch: _LoopWatch, future: Any) -> None:
        self.poller, self.watch, self.future = poller, watch, future
        self.timer: Any = None
        self.keys: list[int] = []
        self.copies: list[int] = []
        for socket, flags in poller.sockets:
            if isinstance(socket, _core.Socket):
                key = watch.set.insert(socket)
                self.keys.append(key)
                watch.wait(key, flags & (_IN | _OUT), partial(self._look_again, key, flags))
                continue
            number = socket if isinstance(socket, int) else socket.fileno()
            if number >= 0:
                # The application may have the loop watch the descriptor itself.
                copy = os.dup(number)
                self.copies.append(copy)
                with contextlib.suppress(PermissionError):  # a plain file: never waits
                    poller._watch_raw_socket(watch.loop, copy, flags & ~_ERR, self._look_now)

    def _look_again(self, key: int, flags: int, there: int) -> None:
        self._look_now()
        if not self.future.done():
            self.watch.wait(key, flags & (_IN | _OUT), partial(self._look_again, key, flags))

    def _look_now(self, *_: Any) -> None:
        if self.future.done():
            return
        try:
            ready = self.poller._look()
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
        for copy in self.copies:
            os.close(copy)


__all__ = ["_Async", "_AsyncPoller", "_AsyncSocket", "_FutureEvent"]
