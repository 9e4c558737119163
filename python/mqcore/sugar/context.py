"""pyzmq's path to `mqcore.context`. Nothing is defined here."""

from __future__ import annotations

import mqcore as zmq  # noqa: F401
from mqcore import SyncContext
from mqcore import SyncSocket as SyncSocket
from mqcore._core import Context as ContextBase  # noqa: F401
from mqcore.attributes import AttributeSetter as AttributeSetter
from mqcore.attributes import OptValT as OptValT
from mqcore.constants import ContextOption as ContextOption
from mqcore.constants import Errno as Errno
from mqcore.constants import SocketOption as SocketOption
from mqcore.context import Context
from mqcore.context import _ContextT as _ContextType  # noqa: F401
from mqcore.context import _SocketT as _SocketType  # noqa: F401
from mqcore.error import ZMQError as ZMQError
from mqcore.socket import Socket as Socket
from mqcore.utils.interop import cast_int_addr  # noqa: F401

__all__ = ["Context", "SyncContext"]
