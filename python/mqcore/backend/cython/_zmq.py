"""pyzmq's path to its compiled module: the native names of mqcore. Nothing is defined here."""

from __future__ import annotations

from mqcore.backend import (
    IPC_PATH_MAX_LEN,
    PYZMQ_DRAFT_API,
    Context,
    Frame,
    Socket,
    curve_keypair,
    curve_public,
    has,
    proxy,
    proxy_steerable,
    strerror,
    zmq_errno,
    zmq_poll,
    zmq_version_info,
)
from mqcore.devices.monitoredqueue import monitored_queue as monitored_queue
from mqcore.error import Again as Again
from mqcore.error import ContextTerminated as ContextTerminated
from mqcore.error import InterruptedSystemCall as InterruptedSystemCall
from mqcore.error import ZMQError as ZMQError
from mqcore.tracker import MessageTracker as MessageTracker

__all__ = [
    "Context",
    "Frame",
    "IPC_PATH_MAX_LEN",
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
