"""Calling what an application has given to a stream: functions, and coroutine functions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tornado.ioloop import IOLoop
from tornado.log import gen_log

_running: set[asyncio.Future[Any]] = set()
"""What callbacks have returned and is not done: an event loop alone does not keep its tasks alive."""


def check(callback: Any) -> None:
    """Raises AssertionError if `callback` is neither None nor callable."""
    assert callback is None or callable(callback), f"a callback is callable, not {callback!r}"


def run(loop: IOLoop, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Calls `callback` with `args` and `kwargs`.

    What it raises is logged, and raised; what it returns is awaited in `loop` if it can be.
    """
    try:
        result = callback(*args, **kwargs)
    except Exception:
        gen_log.error("Uncaught exception in ZMQStream callback", exc_info=True)
        raise
    if result is not None and isinstance(result, Awaitable):
        if not isinstance(result, asyncio.Future):
            result = asyncio.ensure_future(result, loop=getattr(loop, "asyncio_loop", None))
        _running.add(result)
        result.add_done_callback(_finish)


def _finish(future: asyncio.Future[Any]) -> None:
    _running.discard(future)
    if not future.cancelled() and (error := future.exception()) is not None:
        gen_log.error("Uncaught exception in ZMQStream callback", exc_info=error)


__all__ = ["check", "run"]
