"""What asynchronous sends keep until there is room: the rest of a batch, and copies of what the application may change."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from mqcore import _core
from mqcore.constants import DONTWAIT
from mqcore.error import Again

_AT_ONCE = int(DONTWAIT)


class Sending:
    """`send_many` as attempts that go on where the last one ended."""

    def __init__(self, socket: _core.Socket, messages: Iterable[Any], flags: int) -> None:
        self.socket = socket
        self.flags = flags | _AT_ONCE
        self.rest = messages if isinstance(messages, list) else _listed(messages)
        self.taken = 0

    def attempt(self) -> int:
        try:
            count = _core.Socket.send_many(self.socket, self.rest, self.flags)
        except Exception as error:
            if hasattr(error, "messages_sent"):
                error.messages_sent += self.taken
            raise
        self.taken += count
        if count < len(self.rest):
            self.rest = self.rest[count:]
            raise Again
        return self.taken

    def freeze(self) -> None:
        """It waits: what the application changes from now on changes nothing."""
        self.rest = [
            [frozen(part) for part in message]
            if isinstance(message, list | tuple)
            else frozen(message)
            for message in self.rest
        ]

    def expired(self) -> int:
        if self.taken == 0:
            raise Again
        return self.taken


def _listed(messages: Any) -> Any:
    """What an iterable gives; a message is left for `send_many` to refuse."""
    if isinstance(messages, str | _core.Frame):
        return messages
    with contextlib.suppress(TypeError, BufferError):
        memoryview(messages)
        return messages
    return list(messages)


def frozen(data: Any) -> Any:
    """A copy of what could change before it is sent; what cannot be sent is left for `send` to refuse."""
    if isinstance(data, bytes | _core.Frame):
        return data
    with contextlib.suppress(TypeError, BufferError):
        view = memoryview(data)
        if view.c_contiguous:
            return view.tobytes()
    return data


__all__ = ["Sending", "frozen"]
