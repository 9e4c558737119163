"""The native part under the names of pyzmq's backends: what stock pyzmq's Python part would stand on.

These are the native base classes and functions themselves. mqcore has this one backend: the environment variable
PYZMQ_BACKEND, by which pyzmq chooses between its own, changes nothing here.
"""

from __future__ import annotations

from errno import ENOTSUP
from typing import TYPE_CHECKING

from mqcore import PYZMQ_DRAFT_API, _core, zmq_version_info
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
from mqcore.error import ZMQError

Message = Frame


def curve_keypair() -> tuple[bytes, bytes]:
    """A new pair of CURVE keys, public and secret, in 40 characters of Z85 each.

    Raises ZMQError(ENOTSUP) as long as mqcore has no CURVE.
    """
    raise ZMQError(ENOTSUP, "Operation not supported: this version of mqcore has no CURVE")


def curve_public(secret_key: bytes | str) -> bytes:
    """The public key, in 40 characters of Z85, that belongs to a secret one.

    Raises ZMQError(ENOTSUP) as long as mqcore has no CURVE.
    """
    raise ZMQError(ENOTSUP, "Operation not supported: this version of mqcore has no CURVE")


if TYPE_CHECKING:
    from mqcore.devices.monitoredqueue import monitored_queue as monitored_queue
else:
    if hasattr(_core, "curve_keypair"):
        curve_keypair = _core.curve_keypair
        curve_public = _core.curve_public

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
