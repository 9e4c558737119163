"""pyzmq's path to its compiled backend, kept for those who import it by name, as packagers do.

It has the names of `mqcore.backend`. What Cython modules would `cimport` is not there: mqcore is written in Rust.
"""

from __future__ import annotations

from mqcore import backend
from mqcore.backend import *  # noqa: F403
from mqcore.backend.cython import _zmq as _zmq
from mqcore.devices.monitoredqueue import monitored_queue as monitored_queue

__all__ = backend.__all__
