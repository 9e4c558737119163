"""Sockets for asyncio: their calls return `asyncio.Future`s.

```python
import asyncio
import mqcore.asyncio

async def main():
    context = mqcore.asyncio.Context()
    with context.socket(mqcore.PULL) as pull:
        pull.bind("tcp://127.0.0.1:5555")
        print(await pull.recv())

asyncio.run(main())
```

One context can make these and plain sockets: see `Context.shadow` and `Socket.from_socket`.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
from collections.abc import Callable
from typing import Any, ClassVar
from warnings import warn

from mqcore import _future
from mqcore.context import Context as _Context


class ProactorSelectorThreadWarning(RuntimeWarning):
    """Never issued: there is no such thread. Here for those who filter it."""


class _AsyncIO:
    """The running loop, and genuine `asyncio.Future`s."""

    _Future: ClassVar[Any] = asyncio.Future

    def _default_loop(self) -> asyncio.AbstractEventLoop:
        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            loop = asyncio.get_event_loop()
            warn(
                "No running event loop. mqcore.asyncio should be used from within an asyncio loop.",
                RuntimeWarning,
                stacklevel=_level_of_caller(),
            )
            return loop


def _level_of_caller() -> int:
    """How far up the first frame stands that is not mqcore's, for the warnings of who calls this."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("mqcore."):
        level, frame = level + 1, frame.f_back
    return level


class Poller(_AsyncIO, _future._AsyncPoller):
    """A poller whose `poll` returns a future."""


class Socket(_AsyncIO, _future._AsyncSocket):
    """A socket whose sends, receives and polls return futures.

    What can be done at once is done before the call returns; what waits is served in its order. A future that is
    cancelled takes no message. Bind, connect, options and close are as they are with `mqcore.Socket`.

    Made by `Context.socket`, or as another face of an existing socket: `Socket(socket)`. `io_loop` is deprecated and
    ignored: the running loop is used.
    """

    _poller_class: ClassVar[Any] = Poller
    _repr_cls: ClassVar[str] = "mqcore.asyncio.Socket"


class Context(_Context[Socket]):
    """A context whose sockets return futures. It may be made outside of a loop, and used by several one after another."""

    _socket_class: Callable[..., Any] = Socket
    _repr_cls: ClassVar[str] = "mqcore.asyncio.Context"
    _instance: ClassVar[Any] = None


Poller._socket_class = Socket


class ZMQEventLoop(asyncio.SelectorEventLoop):
    """An ordinary selector event loop. Deprecated: any loop will do."""

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
        _deprecated()
        super().__init__(selector)


def install() -> None:
    """Does nothing. Deprecated: any loop will do."""
    _deprecated()


_warned = False


def _deprecated() -> None:
    global _warned
    if not _warned:
        _warned = True
        warn(
            "ZMQEventLoop and mqcore.asyncio.install are deprecated: the default loop will do",
            DeprecationWarning,
            stacklevel=3,
        )


__all__ = ["Context", "Poller", "Socket", "ZMQEventLoop", "install"]
