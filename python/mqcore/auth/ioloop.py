"""An authenticator for tornado's IOLoop, which has been an asyncio loop for long. Deprecated, and so is the module:
`mqcore.auth.asyncio.AsyncioAuthenticator` is the same.
"""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

from mqcore.auth.asyncio import AsyncioAuthenticator
from mqcore.context import Context

warnings.warn(
    "mqcore.auth.ioloop.IOLoopAuthenticator is deprecated. Use mqcore.auth.asyncio.AsyncioAuthenticator",
    DeprecationWarning,
    stacklevel=2,
)


class IOLoopAuthenticator(AsyncioAuthenticator):
    """An authenticator in `io_loop` (an IOLoop of tornado; None: the loop that runs at `start`). Deprecated.

    The other parameters are those of `Authenticator`.
    """

    def __init__(
        self,
        context: Context[Any] | None = None,
        encoding: str = "utf-8",
        log: Any = None,
        io_loop: Any = None,
    ) -> None:
        super().__init__(context, None, encoding, log)
        self._given: asyncio.AbstractEventLoop | None = None
        if io_loop is not None:
            self._given = io_loop.asyncio_loop

    def _loop(self) -> asyncio.AbstractEventLoop:
        return super()._loop() if self._given is None else self._given


__all__ = ["IOLoopAuthenticator"]
