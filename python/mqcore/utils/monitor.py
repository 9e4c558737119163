"""Reading the messages of a socket's monitor, in their first form: two frames.

`Socket.get_monitor_socket` gives the socket to read them from. Nothing here starts or stops a monitor.
"""

from __future__ import annotations

import inspect
import struct
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, overload

from mqcore.constants import Event
from mqcore.socket import Socket

if TYPE_CHECKING:
    from mqcore._future import _AsyncSocket


class _MonitorMessage(TypedDict):
    """What happened to a connection or listener."""

    event: Event
    """What it was."""
    value: Event
    """A number that depends on the event: a descriptor, an errno, milliseconds, or a protocol error. It is an
    Event, which is an int, whatever it stands for."""
    endpoint: bytes
    """The endpoint that it happened to."""


_HEAD = struct.Struct("=hi")


def parse_monitor_message(msg: Sequence[bytes]) -> _MonitorMessage:
    """Returns the event in `msg`, the two parts of a monitor's message: a dict of `event`, `value` and `endpoint`.

    Raises RuntimeError for anything but two frames, the first of six bytes (16 and 32 bits in the machine's
    order); what a monitor of version 2 sends is such a thing.
    """
    if len(msg) != 2 or len(msg[0]) != _HEAD.size:
        raise RuntimeError(f"Invalid event message format: {msg}")
    event, value = _HEAD.unpack(msg[0])
    return {"event": Event(event), "value": Event(value), "endpoint": msg[1]}


async def _parse_later(message: Awaitable[Sequence[bytes]]) -> _MonitorMessage:
    return parse_monitor_message(await message)


@overload
def recv_monitor_message(socket: _AsyncSocket, flags: int = 0) -> Awaitable[_MonitorMessage]: ...
@overload
def recv_monitor_message(socket: Socket[bytes], flags: int = 0) -> _MonitorMessage: ...
def recv_monitor_message(
    socket: Socket[Any], flags: int = 0
) -> _MonitorMessage | Awaitable[_MonitorMessage]:
    """Receives one message from `socket`, that of a monitor, and returns the dict of `parse_monitor_message`.

    For an asyncio socket it is awaitable, and the message is parsed when it is there. `flags` are those of
    `Socket.recv_multipart`; raises what that and `parse_monitor_message` raise.
    """
    message: Any = socket.recv_multipart(flags)
    if inspect.isawaitable(message):
        return _parse_later(message)
    return parse_monitor_message(message)


__all__ = ["parse_monitor_message", "recv_monitor_message"]
