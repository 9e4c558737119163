"""pyzmq's path to its compiled module: the native names of mqcore. Nothing is defined here."""

from __future__ import annotations

from mqcore import backend
from mqcore.backend import *  # noqa: F403
from mqcore.devices.monitoredqueue import monitored_queue as monitored_queue
from mqcore.error import Again as Again
from mqcore.error import ContextTerminated as ContextTerminated
from mqcore.error import InterruptedSystemCall as InterruptedSystemCall
from mqcore.error import ZMQError as ZMQError
from mqcore.tracker import MessageTracker as MessageTracker

__all__ = backend.__all__
