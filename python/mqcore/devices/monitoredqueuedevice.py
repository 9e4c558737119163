"""Monitored queues as devices: the third socket is told what passes, and from which side."""

from __future__ import annotations

from mqcore.constants import PUB
from mqcore.devices.monitoredqueue import monitored_queue
from mqcore.devices.proxydevice import ProcessProxy, Proxy, ProxyBase, ThreadProxy


class MonitoredQueueBase(ProxyBase):
    """What the monitored queues have in common: what stands before the copies.

    (in_type, out_type, mon_type=PUB, in_prefix=b"in", out_prefix=b"out"): the types of the three sockets, and the first
    part of the copies; see `monitored_queue`.
    """

    _in_prefix: bytes = b""
    _out_prefix: bytes = b""

    def __init__(
        self,
        in_type: int,
        out_type: int,
        mon_type: int = PUB,
        in_prefix: bytes = b"in",
        out_prefix: bytes = b"out",
    ) -> None:
        ProxyBase.__init__(self, in_type=in_type, out_type=out_type, mon_type=mon_type)
        self._in_prefix = in_prefix
        self._out_prefix = out_prefix

    def run_device(self) -> None:
        """Makes the sockets and forwards between them; ends only by raising, what `monitored_queue` raises."""
        ins, outs, mons = self._setup_sockets()
        monitored_queue(ins, outs, mons, self._in_prefix, self._out_prefix)


class MonitoredQueue(MonitoredQueueBase, Proxy):
    """A monitored queue in the calling thread; the parameters are those of `MonitoredQueueBase`."""


class ThreadMonitoredQueue(MonitoredQueueBase, ThreadProxy):
    """A monitored queue in a thread of its own; the parameters are those of `MonitoredQueueBase`."""


class ProcessMonitoredQueue(MonitoredQueueBase, ProcessProxy):
    """A monitored queue in a process of its own; the parameters are those of `MonitoredQueueBase`."""


__all__ = ["MonitoredQueue", "ProcessMonitoredQueue", "ThreadMonitoredQueue"]
