"""An authenticator that is a task of an asyncio loop."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

from mqcore.auth.base import Authenticator
from mqcore.constants import NOBLOCK, POLLIN, Errno
from mqcore.context import Context
from mqcore.error import Again, ZMQError

_ENDED = (Errno.ETERM, Errno.ENOTSOCK, Errno.ENOTSUP)


class AsyncioAuthenticator(Authenticator):
    """An authenticator that answers from an asyncio loop: `start()` in the loop, and `stop()` at the end.

    AsyncioAuthenticator(context=None, loop=None, encoding='utf-8', log=None): `loop` is deprecated and ignored,
    the others are those of `Authenticator`. Callbacks that are coroutines run in the same loop.
    """

    def __init__(
        self,
        context: Context[Any] | None = None,
        loop: Any = None,
        encoding: str = "utf-8",
        log: Any = None,
    ) -> None:
        if loop is not None:
            warnings.warn(
                "AsyncioAuthenticator(loop) is deprecated and ignored",
                DeprecationWarning,
                stacklevel=2,
            )
        super().__init__(context, encoding, log)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts answering, in the loop that runs, or else in the thread's current one when it runs.

        Raises RuntimeError if there is no loop, ZMQError(EADDRINUSE) if the context has an authenticator.
        """
        loop = self._loop()
        super().start()
        self._task = loop.create_task(self._serve(self.zap_socket))

    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_event_loop()

    async def _serve(self, zap: Any) -> None:
        # The socket is closed by `stop` and by the end of the context only. Where a mistake ends the task, connections
        # wait for answers: a context without anybody at the address would let them in.
        from mqcore.asyncio import Poller  # only now: this module is importable without it

        poller = Poller()
        poller.register(zap, POLLIN)
        try:
            while True:
                await poller.poll()
                try:
                    message = zap.recv_multipart(NOBLOCK)
                except Again:
                    continue
                await self._answer(message)
        except ZMQError as error:
            if error.errno not in _ENDED:
                raise
            zap.close()

    def stop(self) -> None:
        """Stops answering. Does nothing if the authenticator is not started."""
        task, self._task = self._task, None
        if task is not None and not task.get_loop().is_closed():
            task.cancel()
        super().stop()


__all__ = ["AsyncioAuthenticator"]
