"""pyzmq's path to `mqcore.socket`. Nothing is defined here."""

from __future__ import annotations

from pickle import DEFAULT_PROTOCOL as DEFAULT_PROTOCOL

import mqcore as zmq  # noqa: F401
from mqcore import SyncSocket
from mqcore._core import Socket as SocketBase  # noqa: F401
from mqcore.attributes import AttributeSetter as AttributeSetter
from mqcore.constants import SocketOption as SocketOption
from mqcore.constants import SocketType as SocketType
from mqcore.constants import _OptType as _OptType
from mqcore.error import ZMQBindError as ZMQBindError
from mqcore.error import ZMQError as ZMQError
from mqcore.poll import Poller as Poller
from mqcore.socket import Socket
from mqcore.socket import _SocketContext as _SocketContext
from mqcore.utils.interop import cast_int_addr  # noqa: F401

__all__ = ["Socket", "SyncSocket"]
