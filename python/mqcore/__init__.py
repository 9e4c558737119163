"""ZeroMQ for Python with its own core, in the names of pyzmq: `import mqcore as zmq`.

Importing it starts no thread and makes no context.
"""

from __future__ import annotations

import os as _os
import typing as _t

from mqcore import _core
from mqcore import constants as _constants
from mqcore import error as _error
from mqcore._core import IPC_PATH_MAX_LEN as IPC_PATH_MAX_LEN
from mqcore._core import has as has
from mqcore._core import proxy as proxy
from mqcore._core import proxy_steerable as proxy_steerable
from mqcore._core import strerror as strerror
from mqcore._core import zmq_errno as zmq_errno
from mqcore._core import zmq_poll as zmq_poll
from mqcore.context import Context as Context
from mqcore.frame import Frame as Frame
from mqcore.frame import Message as Message
from mqcore.poll import Poller as Poller
from mqcore.poll import select as select
from mqcore.socket import Socket as Socket
from mqcore.tracker import _FINISHED_TRACKER as _FINISHED_TRACKER
from mqcore.tracker import MessageTracker as MessageTracker

# In this form, so that pyright takes `mqcore.constants` and `mqcore.error` for names of the package too.
from .constants import *  # noqa: F403
from .error import *  # noqa: F403

COPY_THRESHOLD = 65536
"""From how many bytes on `send(copy=False)` tracks a payload instead of copying it; read by new sockets."""

DRAFT_API = has("draft")
PYZMQ_DRAFT_API = DRAFT_API

__version__ = "27.3.0"
"""The version of pyzmq whose interface this is; `mqcore_version()` is the version of mqcore."""
__revision__ = ""

SyncContext = Context[Socket[bytes]]
SyncSocket = Socket[bytes]


def mqcore_version() -> str:
    """Returns the version of mqcore itself, as text."""
    return _core.VERSION


def zmq_version() -> str:
    """Returns the version of libzmq whose behaviour this is, as text."""
    return "4.3.5"


def zmq_version_info() -> tuple[int, int, int]:
    """Returns the version of libzmq whose behaviour this is, as three numbers: major, minor, patch."""
    return (4, 3, 5)


def pyzmq_version() -> str:
    """Returns the version of pyzmq whose interface this is, as text."""
    return __version__


def pyzmq_version_info() -> tuple[int, int, int]:
    """Returns the version of pyzmq whose interface this is, as three numbers: major, minor, patch."""
    return (27, 3, 0)


def device(device_type: int, frontend: Socket[bytes], backend: Socket[bytes]) -> int:
    """The old name of `proxy` between `frontend` and `backend`: `device_type` makes no difference.

    Does not return; raises what `proxy` raises.
    """
    return proxy(frontend, backend)


def get_includes() -> list[str]:
    """Returns the directories that pyzmq names for those who compile against it: paths, here without a header.

    mqcore has nothing to compile against.
    """
    package = _os.path.dirname(_os.path.abspath(__file__))
    return [_os.path.dirname(package), _os.path.join(package, "utils")]


def get_library_dirs() -> list[str]:
    """Returns a list with one path: the directory of the native module."""
    return [_os.path.dirname(_os.path.abspath(__file__))]


if _t.TYPE_CHECKING:
    from mqcore import _typing as _typing
    from mqcore import backend as backend
    from mqcore import sugar as sugar
    from mqcore import utils as utils
    from mqcore.curve import curve_keypair as curve_keypair
    from mqcore.curve import curve_public as curve_public
    from mqcore.install import install_as_zmq as install_as_zmq
    from mqcore.stopwatch import Stopwatch as Stopwatch
else:
    # What is needed once at most, or never, is imported when somebody asks for it: a module, or a name of one.
    _LATER = {
        "Stopwatch": "mqcore.stopwatch",
        "curve_keypair": "mqcore.curve",
        "curve_public": "mqcore.curve",
        "install_as_zmq": "mqcore.install",
    }
    _MODULES_LATER = ("_typing", "backend", "sugar", "utils")

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name in _MODULES_LATER:
            return import_module(f"{__name__}.{name}")
        if name in _LATER:
            found = globals()[name] = getattr(import_module(_LATER[name]), name)
            return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *_LATER, *_MODULES_LATER})


# A forked child has none of the parent's threads: what it inherits raises instead of waiting for them.
if hasattr(_os, "register_at_fork"):
    _os.register_at_fork(after_in_child=_core._after_fork_in_child)

if not _t.TYPE_CHECKING:
    # mypy does not read a list that is made of other lists: without this one it takes all names above for public.
    __all__ = [
        *_constants.__all__,
        *_error.__all__,
        "COPY_THRESHOLD",
        "Context",
        "DRAFT_API",
        "Frame",
        "IPC_PATH_MAX_LEN",
        "Message",
        "MessageTracker",
        "PYZMQ_DRAFT_API",
        "Poller",
        "Socket",
        "Stopwatch",
        "SyncContext",
        "SyncSocket",
        "_FINISHED_TRACKER",
        "__revision__",
        "__version__",
        "curve_keypair",
        "curve_public",
        "device",
        "get_includes",
        "has",
        "mqcore_version",
        "proxy",
        "proxy_steerable",
        "pyzmq_version",
        "pyzmq_version_info",
        "select",
        "strerror",
        "zmq_errno",
        "zmq_poll",
        "zmq_version",
        "zmq_version_info",
    ]
