"""Who waits for a socket in an event loop, and how the loop is told to look.

All sockets that somebody waits for in a loop are watched through one descriptor. Attempts never block, so a message is
taken only when there is a future to give it to: one that was cancelled takes none.

`mqcore._future` puts sockets on top, `mqcore._polling` pollers.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar
from weakref import WeakKeyDictionary
from weakref import ref as weak

from mqcore import _core
from mqcore.constants import POLLERR, POLLIN, POLLOUT
from mqcore.error import Again

IN, OUT, ERR = int(POLLIN), int(POLLOUT), int(POLLERR)


class _Async:
    """What sockets and pollers have in common: the loop they are used in, which may change."""

    _Future: ClassVar[Any] = asyncio.Future
    _READ: ClassVar[int] = IN
    _WRITE: ClassVar[int] = OUT
    _current_loop: Any = None

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


class LoopWatch:
    """What one loop watches: all sockets that somebody waits for there. Kept alive by the loop and by its sockets."""

    def __init__(self, loop: Any, future_class: Any) -> None:
        self.loop = loop
        self.set = _core.LoopSet(future_class, loop)
        self.new_future = self.set.new_future
        self.waiting: dict[int, Callable[[int], None]] = {}
        """By the keys of the set, whom to tell when a socket is ready; each once."""
        loop.add_reader(self.set.fileno(), self._take)

    def _take(self) -> None:
        ready = iter(self.set.take())
        for key, there in ready:
            if (told := self.waiting.pop(key, None)) is not None:
                try:
                    told(there)
                except BaseException:
                    self._tell_later(key, there, told)
                    for other, there in ready:
                        self.loop.call_soon(self._tell, other, there)
                    raise

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
            try:
                told(there)
            except BaseException:
                self._tell_later(key, there, told)
                raise

    def _tell_later(self, key: int, there: int, told: Callable[[int], None]) -> None:
        """After an interrupt (KeyboardInterrupt, SystemExit): the loop may be run again."""
        self.waiting.setdefault(key, told)
        self.loop.call_soon(self._tell, key, there)

    def remove(self, key: int) -> None:
        """Forgets a socket."""
        self.waiting.pop(key, None)
        self.set.remove(key)


_watches: WeakKeyDictionary[Any, dict[Any, weak[LoopWatch]]] = WeakKeyDictionary()


def watch_of(loop: Any, future_class: Any) -> LoopWatch:
    """That of a loop, for one class of futures."""
    of_loop = _watches.setdefault(loop, {})
    known = of_loop.get(future_class)
    watch = known() if known is not None else None
    if watch is None:
        watch = LoopWatch(loop, future_class)
        of_loop[future_class] = weak(watch)
    return watch


def raise_again() -> Any:
    """The result of an operation whose time is up."""
    raise Again


_TASKS = (asyncio.Task, asyncio.tasks._PyTask)  # type: ignore[attr-defined]
"""The one in C, and the one in Python that some task factories make instead."""


def _task_alone(future: Any) -> Any:
    """How the task goes on that waits for a future, and in which context. None if others wait for it too, if it is no
    task, or if it cannot go on now because another one runs.
    """
    callbacks = future._callbacks
    if (
        callbacks is not None
        and len(callbacks) == 1
        and isinstance(getattr(callbacks[0][0], "__self__", None), _TASKS)
        and asyncio.current_task(future.get_loop()) is None
    ):
        return callbacks[0]
    return None


class FutureEvent:
    """Somebody waits for an operation of a socket."""

    expired: Callable[[], Any] = staticmethod(raise_again)
    """Returns the result when the time is up, or raises."""
    load: Callable[[Any], Any] | None = None
    """Applied to the result."""
    flags = 0
    """What to wait for: POLLIN, POLLOUT."""
    timer: Any = None

    def __init__(self, future: Any, attempt: Callable[[], Any]) -> None:
        self.future = future
        self.attempt = attempt
        """Returns the result; raises Again if it is not ready."""
        self.queue: deque[FutureEvent] | None = None
        """Where it stands, while it waits."""

    def settle(self, attempt: Callable[[], Any], final: bool = False) -> bool:
        """Settles the future with what `attempt` returns or raises; not with Again, unless it is `final`."""
        future = self.future
        try:
            result = attempt()
        except BaseException as error:
            if not final and isinstance(error, Again):
                return False
            self.fail(error.with_traceback(None))
            return True
        if self.load is not None:
            try:
                result = self.load(result)
            except BaseException as error:
                trace = error.__traceback__
                self.fail(error.with_traceback(trace and trace.tb_next))
                return True
            if future.done():  # by what `load` did
                return True
        if self.queue is not None:
            self.leave()
            if (alone := _task_alone(future)) is not None:
                # It goes on at once: there is no turn of the loop in between, in which the task could be cancelled, and
                # the message be nobody's. It also saves the turn.
                go_on, context = alone
                future.remove_done_callback(go_on)
                future.set_result(result)
                context.run(go_on, future)
                return True
        future.set_result(result)
        return True

    def fail(self, error: BaseException) -> None:
        """Settles the future with an exception, whose traceback must not lead here: it would keep the socket alive."""
        future = self.future
        if self.queue is not None:
            self.leave()
        if not future.done():
            if isinstance(error, StopIteration):  # which a future refuses
                said = RuntimeError(f"what was received could not be loaded: {error!r}")
                said.__cause__ = error
                future.set_exception(said)
            else:
                future.set_exception(error)
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise error

    def leave(self) -> None:
        """It waits no more, for its future is about to be settled."""
        self.future.remove_done_callback(self.forgotten)
        self.forgotten(self.future)

    def forgotten(self, _future: Any) -> None:
        """It waits no more. Called by its future if somebody else has settled it."""
        if (queue := self.queue) is not None:
            self.queue = None
            if queue[0] is self:
                queue.popleft()
            else:
                queue.remove(self)
            if self.timer is not None:
                self.timer.cancel()

    def expire(self) -> None:
        """Its time is up, unless it is ready just now, and nobody waits before it."""
        if self.queue is None or self.future.done():
            return
        first = next(event for event in self.queue if not event.future.done())
        if first is not self or not self.settle(self.attempt):
            self.load = None
            self.settle(self.expired, final=True)


class Waiting:
    """Those who wait for one socket in one loop: to receive, to send, to hear of it; each in their order."""

    __slots__ = (
        "blocking",
        "elsewhere",
        "heard",
        "key",
        "polling",
        "receiving",
        "sending",
        "state",
        "watch",
    )

    def __init__(self, watch: LoopWatch | None = None) -> None:
        self.receiving: deque[FutureEvent] = deque()
        self.sending: deque[FutureEvent] = deque()
        self.polling: deque[FutureEvent] = deque()
        self.watch: Any = watch
        """Of the loop, once it is known."""
        self.key: int | None = None
        """Of the socket in the watch, once somebody waited."""
        self.state = 0
        """What the loop will tell of."""
        self.heard = 0
        """What it will tell of only after news, when a socket is ready, but not for who is first. `state` is 0 then."""
        self.blocking: FutureEvent | None = None
        """Who is first then."""
        self.elsewhere: list[Waiting] = []
        """Those who wait for the same socket in other loops."""

    def in_loop(self, watch: LoopWatch) -> Waiting:
        """Those who wait in another loop, to which the socket moves. Who waits here goes on, unless the loop is closed."""
        if self.watch is None:
            self.watch = watch
            return self
        others = []
        for one in (*self.elsewhere, self):
            if one.watch.loop.is_closed() or all(event.future.done() for event in one.everybody()):
                one.leave()
            else:
                others.append(one)
        there = next((one for one in others if one.watch is watch), None) or Waiting(watch)
        there.elsewhere = [one for one in others if one is not there]
        self.elsewhere = []
        return there

    def leave(self) -> None:
        """The loop tells of nothing more."""
        if self.key is not None:
            self.watch.remove(self.key)
            self.key = None
        self.state = self.heard = 0

    def add(
        self,
        socket: _core.Socket,
        event: FutureEvent,
        queue: deque[FutureEvent],
        flags: int,
        timeout: float,
    ) -> None:
        """Queues an event, for at most `timeout` milliseconds (negative: for ever).

        What raises does so before the event is queued: its caller never gets the future that it would settle.
        """
        if timeout >= 0:
            event.timer = self.watch.loop.call_later(timeout / 1000, event.expire)
        if self.key is None and flags & ~self.state:
            self.key = self.watch.set.insert(socket)
        event.queue = queue
        event.flags = flags
        queue.append(event)
        event.future.add_done_callback(event.forgotten)
        if flags & ~self.state:
            self.state |= flags | self.heard
            self.watch.wait(self.key, self.state, self._handle)

    def _handle(self, there: int) -> None:
        """Serves those who wait for what is there; a socket that has ended says so to everybody."""
        key = self.key
        if key is None:
            return
        if not self._serve_all(there) and not self._listen(key):
            return
        wanted = IN if self.receiving else 0
        if self.sending:
            wanted |= OUT
        for event in self.polling:
            wanted |= event.flags
        self.state = wanted
        self.heard = 0
        if wanted and self.key == key:  # it may have been closed by what loads a message
            self.watch.wait(key, wanted, self._handle)

    def _listen(self, key: int) -> bool:
        """It is ready, but not for who is first, whose own peer is full. From now on news are heard of; what came before
        is found by another attempt: True.
        """
        if self.key != key:
            return False
        self.heard |= self.state
        self.state = 0
        self.watch.listen(key, self.heard, self._handle)
        if self._serve_all(IN | OUT):
            return True
        if self.sending and (first := self.sending[0]) is not self.blocking:
            self.blocking = first
            first.future.add_done_callback(self._unblock)
        return False

    def _unblock(self, _future: Any) -> None:
        """Who was first has left: perhaps it is ready for the next one."""
        self.blocking = None
        if self.heard and self.key is not None:
            self.state = self.heard
            self.watch.wait(self.key, self.state, self._handle)

    def _serve_all(self, there: int) -> bool:
        """False: somebody still waits for what is there."""
        done = True
        if there & (IN | ERR) and self.receiving:
            done = self._serve(self.receiving)
        if there & (OUT | ERR) and self.sending:
            done &= self._serve(self.sending)
        for event in list(self.polling) if self.polling else ():
            if not event.future.done():
                event.settle(event.attempt)
        return done

    def _serve(self, events: deque[FutureEvent]) -> bool:
        """Settles all that are ready, in order; who comes meanwhile waits for the loop's next turn. False if not even the
        first one is ready.
        """
        first = True
        for _ in range(len(events)):
            if not events:  # they left meanwhile
                break
            event = events[0]
            if event.future.done():
                event.forgotten(None)
            elif event.settle(event.attempt):
                first = False
            else:
                return not first
        return True

    def everybody(self) -> list[FutureEvent]:
        """Who waits for anything."""
        return [*self.receiving, *self.sending, *self.polling]


__all__ = [
    "ERR",
    "IN",
    "OUT",
    "FutureEvent",
    "LoopWatch",
    "Waiting",
    "_Async",
    "raise_again",
    "watch_of",
]
