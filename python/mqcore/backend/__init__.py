"""The native part under the names of pyzmq's backends: what stock pyzmq's Python part would stand on.

These are the native base classes and functions themselves. mqcore has this one backend: the environment variable
PYZMQ_BACKEND, by which pyzmq chooses between its own, changes nothing here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqcore import PYZMQ_DRAFT_API, zmq_version_info
from mqcore._core import (
    IPC_PATH_MAX_LEN,
    Context,
    Frame,
    Socket,
    has,
    proxy,
    proxy_steerable,
    strerror,
    zmq_errno,
    zmq_poll,
)
from mqcore.backend.select import public_api as public_api
from mqcore.backend.select import select_backend as select_backend
from mqcore.curve import curve_keypair, curve_public

Message = Frame

if TYPE_CHECKING:
    from mqcore.devices.monitoredqueue import monitored_queue as monitored_queue
else:

    def __getattr__(name: str) -> object:
        if name == "monitored_queue":
            from mqcore.devices.monitoredqueue import monitored_queue

            return monitored_queue
        if name == "cython":
            from importlib import import_module

            return import_module("mqcore.backend.cython")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Context",
    "Frame",
    "IPC_PATH_MAX_LEN",
    "Message",
    "PYZMQ_DRAFT_API",
    "Socket",
    "curve_keypair",
    "curve_public",
    "has",
    "proxy",
    "proxy_steerable",
    "strerror",
    "zmq_errno",
    "zmq_poll",
    "zmq_version_info",
]
