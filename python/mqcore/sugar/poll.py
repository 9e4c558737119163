"""pyzmq's path to `mqcore.poll`. Nothing is defined here."""

from __future__ import annotations

from mqcore.constants import POLLERR as POLLERR
from mqcore.constants import POLLIN as POLLIN
from mqcore.constants import POLLOUT as POLLOUT
from mqcore.poll import Poller, select
from mqcore.poll import zmq_poll as zmq_poll

__all__ = ["Poller", "select"]
