"""pyzmq's old paths to the Python part: the classes of mqcore themselves under `mqcore.sugar`.

Nothing is defined here. `import mqcore` does not import this package.
"""

from __future__ import annotations

from mqcore import SyncContext, SyncSocket, __revision__, __version__, device
from mqcore import error as error
from mqcore import proxy as proxy
from mqcore.constants import DeviceType as DeviceType
from mqcore.error import (
    Again,
    ContextTerminated,
    DraftFDWarning,
    InterruptedSystemCall,
    NotDone,
    ZMQBaseError,
    ZMQBindError,
    ZMQError,
    ZMQVersionError,
)
from mqcore.sugar import attrsettr as attrsettr
from mqcore.sugar import context as context
from mqcore.sugar import frame as frame
from mqcore.sugar import poll as poll
from mqcore.sugar import socket as socket
from mqcore.sugar import stopwatch as stopwatch
from mqcore.sugar import tracker as tracker
from mqcore.sugar import version as version
from mqcore.sugar.context import Context
from mqcore.sugar.frame import Frame, Message
from mqcore.sugar.poll import Poller, select
from mqcore.sugar.socket import Socket
from mqcore.sugar.stopwatch import Stopwatch
from mqcore.sugar.tracker import _FINISHED_TRACKER, MessageTracker
from mqcore.sugar.version import (
    pyzmq_version,
    pyzmq_version_info,
    zmq_version,
    zmq_version_info,
)

__all__ = [
    "Again",
    "Context",
    "ContextTerminated",
    "DraftFDWarning",
    "Frame",
    "InterruptedSystemCall",
    "Message",
    "MessageTracker",
    "NotDone",
    "Poller",
    "Socket",
    "Stopwatch",
    "SyncContext",
    "SyncSocket",
    "ZMQBaseError",
    "ZMQBindError",
    "ZMQError",
    "ZMQVersionError",
    "_FINISHED_TRACKER",
    "__revision__",
    "__version__",
    "device",
    "pyzmq_version",
    "pyzmq_version_info",
    "select",
    "zmq_version",
    "zmq_version_info",
]
