"""Greenlets that wait for a socket: how they sleep, and who wakes them.

A socket tells news by its FD, an eventfd that stays readable until somebody reads EVENTS. While a greenlet sleeps, its
hub watches that descriptor. No edge is missed, so nothing needs to be looked at again after some time, because

1. who wants to sleep first registers, then tries its operation once more, and only then sleeps: news before the try
   are seen by the try, and news after it find the sleeper registered;
2. whoever reads EVENTS, and so takes the news, wakes the sleepers that they are for: the hub's watcher does, and
   `get(EVENTS)` of a green socket does. All faces of a socket (shadows) share one list of sleepers, in all threads;
3. of the greenlets that want to take the same thing one is woken, and it passes the news on if it leaves with some
   of it unused: killed, timed out, or with room left to send. A receiver need not: the socket makes its FD readable
   again after each receive that leaves more.

And nothing spins: EVENTS is read when the FD is readable, which makes it unreadable; readable without a reason costs
one look and wakes nobody. When the socket is closed or the context terminated, the FD stays readable, but then all
sleepers leave, and with the last one the watcher goes.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from gevent._hub_local import get_hub_if_exists  # type: ignore[import-untyped, unused-ignore]
from gevent.hub import Waiter, get_hub  # type: ignore[import-untyped, unused-ignore]
from gevent.monkey import get_original  # type: ignore[import-untyped, unused-ignore]

import mqcore as zmq
from mqcore import _core
from mqcore.error import ZMQError

_EVENTS = int(zmq.EVENTS)
_FD = int(zmq.FD)
_OUT = int(zmq.POLLOUT)
_ALL = int(zmq.POLLIN | zmq.POLLOUT)
_READ = 1  # of gevent's loops

# Of threads, also where locks are patched to be those of greenlets: nobody switches while he has it.
_make_lock = get_original("_thread", "allocate_lock")


class Nap:
    """How one greenlet sleeps, until a sleeper of it is woken or the time is over. For its own thread only.

    Nap(milliseconds): how long in all, from now on; negative: for ever.
    """

    def __init__(self, milliseconds: float) -> None:
        self.hub: Any = get_hub()
        self.waiter: Any = Waiter(self.hub)
        self.over = False
        self._timers: list[Any] = []
        if milliseconds >= 0:
            self.hub.loop.update_now()
            self._start(self.hub.loop.timer(milliseconds / 1000.0), self._expire)

    def every(self, seconds: float) -> None:
        """Wakes it every `seconds` seconds, too."""
        self._start(self.hub.loop.timer(seconds, seconds), self.waiter.switch, None)

    def _start(self, timer: Any, callback: Any, *args: Any) -> None:
        self._timers.append(timer)
        timer.start(callback, *args)

    def _expire(self) -> None:
        self.over = True
        self.waiter.switch(None)

    def sleep(self) -> None:
        """Lets others run until it is woken, or at once if it was since `renew`."""
        self.waiter.get()

    def renew(self) -> None:
        """Forgets that it was woken. Look whether there is a reason to sleep afterwards."""
        self.waiter.clear()

    def end(self) -> None:
        """Stops its timers. It must not sleep any more."""
        for timer in self._timers:
            timer.stop()
            timer.close()


class Sleeper:
    """`nap` for the events `wants` of `socket`; `takes` says whether it takes what it is woken for."""

    __slots__ = ("nap", "socket", "takes", "wants", "woken")

    def __init__(self, nap: Nap, socket: Any, wants: int, takes: bool) -> None:
        self.nap = nap
        self.socket = socket
        self.wants = wants
        self.takes = takes
        """Whether it takes what it is woken for, so that there is nothing for the next one."""
        self.woken = False


class _Watch:
    """A hub's watcher of the descriptor, and how many sleepers want it."""

    __slots__ = ("count", "io")

    def __init__(self, io: Any) -> None:
        self.io = io
        self.count = 0


class Waiting:
    """Who waits for one socket, in whatever thread and by whatever face of it."""

    def __init__(self) -> None:
        self.sleepers: list[Sleeper] = []
        self._lock = _make_lock()
        self._watches: WeakKeyDictionary[Any, _Watch] = WeakKeyDictionary()
        self._closed = False

    def enter(self, nap: Nap, socket: Any, wants: int, takes: bool = True) -> Sleeper:
        """Registers `nap`, of this greenlet: from now on it is woken for the events `wants` of `socket`.

        Returns the Sleeper to give to `leave`; `takes` is that of `Sleeper`. Raises ZMQError if the socket is closed or
        its context terminated.
        """
        descriptor = _core.Socket.get(socket, _FD)
        sleeper = Sleeper(nap, socket, wants, takes)
        with self._lock:
            self.sleepers.append(sleeper)
            watch = self._watches.get(nap.hub)
            if watch is None:
                watch = self._watches[nap.hub] = _Watch(nap.hub.loop.io(descriptor, _READ))
            watch.count += 1
            first = watch.count == 1
        if first:
            watch.io.start(self._look)
        return sleeper

    def leave(self, sleeper: Sleeper, done: bool = True) -> None:
        """Unregisters `sleeper`. Not `done`: it leaves without having tried its operation after it was woken."""
        with self._lock:
            self.sleepers.remove(sleeper)
            watch = self._watches[sleeper.nap.hub]
            watch.count -= 1
            last = watch.count == 0
            if last and self._closed:
                del self._watches[sleeper.nap.hub]
        if last:
            watch.io.stop()
            if self._closed:
                watch.io.close()
        if self.sleepers and sleeper.takes:
            if sleeper.woken or not done or sleeper.wants & _OUT:
                self.wake(sleeper.wants)

    def _look(self) -> None:
        """The descriptor is readable: there are news, or were."""
        try:
            socket = self.sleepers[0].socket
            events = _core.Socket.get(socket, _EVENTS)
        except IndexError:
            return  # the last one is leaving
        except ZMQError:
            self.wake_all()  # to hear it themselves
        else:
            self.wake(events)

    def wake(self, events: int) -> None:
        """Wakes whom `events` are for: of those who would take the same, the one who waits for longest."""
        found = []
        with self._lock:
            for sleeper in self.sleepers:
                wanted = sleeper.wants & events
                if wanted and not sleeper.woken:
                    sleeper.woken = True
                    found.append(sleeper.nap)
                    if sleeper.takes:
                        events &= ~wanted
        _wake(found)

    def wake_all(self) -> None:
        """Wakes everybody."""
        with self._lock:
            for sleeper in self.sleepers:
                sleeper.woken = True
            found = [sleeper.nap for sleeper in self.sleepers]
        _wake(found)

    def close(self) -> None:
        """The socket is closed: wakes everybody, and leaves no watcher behind in this thread."""
        with self._lock:
            self._closed = True
            hub = get_hub_if_exists()
            watch = self._watches.get(hub) if hub is not None else None
            if watch is not None and watch.count == 0:
                del self._watches[hub]
                watch.io.close()
        self.wake_all()


def _wake(naps: list[Nap]) -> None:
    here = get_hub_if_exists() if naps else None
    for nap in naps:
        loop = nap.hub.loop
        if loop is None:
            continue  # its thread is gone
        if nap.hub is here:
            loop.run_callback(nap.waiter.switch, None)
        else:
            loop.run_callback_threadsafe(nap.waiter.switch, None)


_of_sockets: WeakValueDictionary[int, Waiting] = WeakValueDictionary()
_of_sockets_lock = _make_lock()


def waiting_of(socket: _core.Socket) -> Waiting:
    """Returns who waits for the socket that `socket` is a face of. Raises nothing, also if it is closed."""
    number = socket.underlying
    with _of_sockets_lock:
        waiting = _of_sockets.get(number)
        if waiting is None:
            waiting = Waiting()
            if number:
                _of_sockets[number] = waiting
    return waiting


__all__ = ["Nap", "Sleeper", "Waiting", "waiting_of"]
