"""Sockets whose calls return futures, for any event loop that runs on asyncio.

What is ready is done at once; what is not waits in a queue of its socket, first come, first served (`mqcore._waiting`).
`mqcore.asyncio` and `mqcore.eventloop.future` say which loop and which class of futures.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import Future
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from errno import ENOTSOCK, ENOTSUP
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from warnings import warn

from mqcore import _core, _waiting
from mqcore._polling import _AsyncPoller
from mqcore._sending import Sending, frozen
from mqcore._waiting import IN, OUT, FutureEvent, _Async, raise_again, watch_of
from mqcore.constants import DONTWAIT, FD, RCVTIMEO, SNDTIMEO
from mqcore.error import Again, ContextTerminated, ZMQError
from mqcore.socket import Socket

if TYPE_CHECKING:
    from mqcore.tracker import MessageTracker

_AsyncSocketT = TypeVar("_AsyncSocketT", bound="_AsyncSocket")
_T = TypeVar("_T")

_running_loop = asyncio._get_running_loop
_receive, _get = _core.Socket.recv, _core.Socket.get
_RCVTIMEO, _SNDTIMEO, AT_ONCE = int(RCVTIMEO), int(SNDTIMEO), int(DONTWAIT)


class _AsyncSocket(_Async, _core.AsyncSocket, Socket[Any]):
    """A socket whose sends, receives and polls return futures.

    What can be done at once is done before the call returns, so that its future is done. Calls that wait are served
    in their order. After many calls in a row that were done at once, one waits for the loop's next turn, so that other
    tasks run. Everything else (bind, connect, options, close) is as it is with `mqcore.Socket`.
    """

    _waiting: Any = None
    _run: Any = None
    _origin: Any = None
    _poller_class: ClassVar[Any] = None

    if TYPE_CHECKING:
        # What comes from `Socket` and returns what `send`, `recv` and `_deserialize` do here.

        def send_string(  # type: ignore[override]
            self, u: str, flags: int = 0, copy: bool = True, encoding: str = "utf-8", **kwargs: Any
        ) -> Future[MessageTracker | None]: ...

        send_unicode = send_string  # type: ignore[assignment]

        def send_json(  # type: ignore[override]
            self, obj: Any, flags: int = 0, **kwargs: Any
        ) -> Future[MessageTracker | None]: ...
        def send_pyobj(  # type: ignore[override]
            self, obj: Any, flags: int = 0, protocol: int = 4, **kwargs: Any
        ) -> Future[MessageTracker | None]: ...
        def send_serialized(  # type: ignore[override]
            self,
            msg: _T,
            serialize: Callable[[_T], Sequence[Any]],
            flags: int = 0,
            copy: bool = True,
            **kwargs: Any,
        ) -> Future[MessageTracker | None]: ...
        def recv_string(  # type: ignore[override]
            self, flags: int = 0, encoding: str = "utf-8"
        ) -> Future[str]: ...

        recv_unicode = recv_string  # type: ignore[assignment]

        def recv_json(self, flags: int = 0, **kwargs: Any) -> Future[Any]: ...
        def recv_pyobj(self, flags: int = 0) -> Future[Any]: ...
        def recv_serialized(  # type: ignore[override]
            self, deserialize: Callable[[list[Any]], _T], flags: int = 0, copy: bool = True
        ) -> Future[_T]: ...

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
        self._waiting = _waiting.Waiting()

    @classmethod
    def from_socket(
        cls: type[_AsyncSocketT], socket: Socket[Any], io_loop: Any = None
    ) -> _AsyncSocketT:
        """Another face of `socket`. `io_loop` is deprecated and ignored: the running loop is used."""
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

    @property
    def _recv_futures(self) -> Any:
        return self._waiting.receiving

    @property
    def _send_futures(self) -> Any:
        return self._waiting.sending

    @property
    def _state(self) -> int:
        return self._waiting.state  # type: ignore[no-any-return]

    # Waiting.

    def _init_io_state(self, loop: Any = None) -> None:
        self._waiting = self._waiting.in_loop(watch_of(loop, self._Future))
        self._run = None

    def _come(self) -> Any:
        """Who waits in the loop that runs now."""
        loop = self._get_loop()
        waiting = self._waiting
        run = getattr(loop, "_thread_id", loop)
        if run is not self._run:  # it has moved to the loop, or that runs anew
            self._settle_in(loop, waiting.watch.set, waiting.receiving, waiting.sending)
            self._run = run
        return waiting

    def _begin(self, attempt: Callable[[], Any], queue: Any, must: int) -> FutureEvent:
        """An event that is settled if it is ready and nobody was first, and in any case if it must be."""
        watch = self._waiting.watch
        event = FutureEvent(watch.new_future(), attempt)
        if must:
            event.settle(attempt, final=True)
        elif not queue and not watch.set.is_spent():
            event.settle(attempt)
        return event

    def _add_recv_event(
        self,
        attempt: Callable[[], Any],
        flags: int = 0,
        timeout: float | None = None,
        tried: bool = False,
    ) -> Any:
        """The future of a receive."""
        if tried:
            waiting = self._waiting
            event = FutureEvent(waiting.watch.new_future(), attempt)
        else:
            self._check_open()
            waiting = self._come()
            event = self._begin(attempt, waiting.receiving, flags & AT_ONCE)
            if event.future.done():
                return event.future
        if timeout is None:
            timeout = _get(self, _RCVTIMEO)
        waiting.add(self, event, waiting.receiving, IN, timeout)
        return event.future

    def _add_send_event(
        self,
        attempt: Callable[[], Any],
        flags: int = 0,
        expired: Callable[[], Any] = raise_again,
    ) -> Any:
        """The future of a send."""
        waiting = self._come()
        event = self._begin(attempt, waiting.sending, flags & AT_ONCE or self._closed)
        if event.future.done():
            return event.future
        event.expired = expired
        waiting.add(self, event, waiting.sending, OUT, _get(self, _SNDTIMEO))
        return event.future

    def _check_open(self) -> None:
        if self._closed:
            _get(self, _RCVTIMEO)  # says why, after fork()
            raise ZMQError(ENOTSOCK)

    # Receiving.

    def _recv_later(self, flags: int, copy: bool, track: bool, tried: bool) -> Any:
        """`recv`, when it has to wait (then it was tried), or perhaps, or its future must be done."""
        attempt = partial(_receive, self, flags | AT_ONCE, copy, track)
        return self._add_recv_event(attempt, flags, None, tried)

    def _recv_multipart_later(self, flags: int, copy: bool, track: bool, tried: bool) -> Any:
        """The same for `recv_multipart`."""
        attempt = partial(_core.Socket.recv_multipart, self, flags | AT_ONCE, copy, track)
        return self._add_recv_event(attempt, flags, None, tried)

    def recv_into(  # type: ignore[override]
        self, buffer: Any, /, *, nbytes: int = 0, flags: int = 0
    ) -> Future[int]:
        """Receives a part into a buffer; see `mqcore.Socket.recv_into`. Returns a future of its length."""
        attempt = partial(
            _core.Socket.recv_into, self, buffer, nbytes=nbytes, flags=flags | AT_ONCE
        )
        return self._add_recv_event(attempt, flags)  # type: ignore[no-any-return]

    def recv_many(  # type: ignore[override]
        self, max: int = 1024, timeout: float | None = None
    ) -> Future[list[bytes]]:
        """Receives the messages that are there, at least one; see `mqcore.Socket.recv_many`. Returns a future.

        A future that is cancelled takes no message.
        """
        attempt = partial(_core.Socket.recv_many, self, max, 0)
        return self._add_recv_event(attempt, 0, timeout)  # type: ignore[no-any-return]

    def recv_many_multipart(  # type: ignore[override]
        self, max: int = 1024, timeout: float | None = None
    ) -> Future[list[list[bytes]]]:
        """The same, each message as the list of its parts.

        `max` and `timeout` (in milliseconds) are those of `recv_many`.
        """
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
            return await self.recv_multipart()
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
            event = FutureEvent(self._come().watch.new_future(), recvd.result)
            event.load = load
            event.settle(recvd.result, final=True)
            return event.future

        async def chained() -> Any:
            return load(await recvd)

        return asyncio.ensure_future(chained())

    # Sending.

    def _send_later(self, data: Any, flags: int, copy: bool, *others: Any) -> Any:
        """`send`, when it has to wait or its future must be done."""
        if copy:
            data = frozen(data)
        attempt = partial(_core.Socket.send, self, data, flags | AT_ONCE, copy, *others)
        return self._add_send_event(attempt, flags)

    def _send_multipart_later(self, msg_parts: Any, flags: int, copy: bool, *others: Any) -> Any:
        """The same for `send_multipart`."""
        if isinstance(msg_parts, list | tuple):
            msg_parts = [frozen(part) if copy else part for part in msg_parts]
        attempt = partial(
            _core.Socket.send_multipart, self, msg_parts, flags | AT_ONCE, copy, *others
        )
        return self._add_send_event(attempt, flags)

    def send_many(  # type: ignore[override]
        self, messages: Iterable[Any], flags: int = 0
    ) -> Future[int]:
        """Sends many messages in order; see `mqcore.Socket.send_many`. Returns a future of how many were taken.

        It is done when all are taken, or when there was no room for the next one within SNDTIMEO. Messages that were
        taken before a future is cancelled are sent.
        """
        try:
            sending = Sending(self, messages, flags)
        except Exception as error:
            event = FutureEvent(self._come().watch.new_future(), raise_again)
            trace = error.__traceback__
            event.fail(error.with_traceback(trace and trace.tb_next))
            return event.future  # type: ignore[no-any-return]
        future = self._add_send_event(sending.attempt, flags, sending.expired)
        if not future.done():
            sending.freeze()
        return future  # type: ignore[no-any-return]

    # Polling.

    def poll(  # type: ignore[override]
        self, timeout: float | None = None, flags: int = IN
    ) -> Future[int]:
        """Waits at most `timeout` milliseconds (None and negative: for ever) for the events `flags` (POLLIN, POLLOUT).

        Returns a future of the bits that are there, 0 after the timeout.

        Raises ZMQError(ENOTSUP) for a closed socket.
        """
        if self._closed:
            _core.Socket.poll(self, 0, flags)  # says why, after fork()
            raise ZMQError(ENOTSUP)
        waiting = self._come()
        must = timeout == 0 or not flags & (IN | OUT)

        def attempt() -> int:
            there = _core.Socket.poll(self, 0, flags)
            if there or must:
                return there
            raise Again

        event = self._begin(attempt, None, must)
        if event.future.done():
            return event.future  # type: ignore[no-any-return]
        event.expired = lambda: _core.Socket.poll(self, 0, flags)
        timeout = -1 if timeout is None else timeout
        waiting.add(self, event, waiting.polling, flags & (IN | OUT), timeout)
        return event.future  # type: ignore[no-any-return]

    # Its end.

    def close(self, linger: int | None = None) -> None:
        """Closes the socket, as `mqcore.Socket.close` does, and cancels every future that waits."""
        if not self._closed:
            for waiting in self._waitings():
                waiting.leave()
                _cancel(waiting.watch.loop, waiting.everybody())
        super().close(linger)

    def _waitings(self) -> Iterable[_waiting.Waiting]:
        """Who waits, in all loops."""
        waiting = self._waiting
        return () if waiting is None or waiting.watch is None else (waiting, *waiting.elsewhere)

    def __del__(self) -> None:
        if self._shadow or self.closed:
            for waiting in self._waitings():  # a face leaves the socket open
                waiting.leave()
            return
        try:  # as in `Socket`, not by it: the warning names who dropped the socket
            warn(f"Unclosed socket {self!r}", ResourceWarning, stacklevel=2, source=self)
        finally:
            self.close()


def _cancel(loop: Any, events: list[FutureEvent]) -> None:
    """Cancels futures of a loop, on its thread."""
    if not events or loop.is_closed():
        return
    if loop.is_running() and _running_loop() is not loop:
        with contextlib.suppress(RuntimeError):  # it was closed meanwhile
            loop.call_soon_threadsafe(_cancel, loop, events)
        return
    for event in events:
        event.future.cancel()


_AsyncPoller._socket_class = _AsyncSocket
_FutureEvent = FutureEvent

__all__ = ["_Async", "_AsyncPoller", "_AsyncSocket", "_FutureEvent"]
