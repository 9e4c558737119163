"""pyzmq's path to its compiled backend, kept for those who import it by name, as packagers do.

It has the names of `mqcore.backend`. What Cython modules would `cimport` is not there: mqcore is written in Rust.
"""

from __future__ import annotations

from mqcore.backend import (
    IPC_PATH_MAX_LEN,
    PYZMQ_DRAFT_API,
    Context,
    Frame,
    Message,
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
from mqcore.backend.cython import _zmq as _zmq
from mqcore.devices.monitoredqueue import monitored_queue as monitored_queue

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
