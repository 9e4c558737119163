"""Devices: sockets joined by a proxy, in the calling thread, a thread or a process. `import mqcore` does not import this."""

from __future__ import annotations

from mqcore import proxy as proxy
from mqcore.constants import DeviceType as DeviceType
from mqcore.devices import basedevice as basedevice
from mqcore.devices import monitoredqueue as monitoredqueue
from mqcore.devices import monitoredqueuedevice as monitoredqueuedevice
from mqcore.devices import proxydevice as proxydevice
from mqcore.devices import proxysteerabledevice as proxysteerabledevice
from mqcore.devices.basedevice import Device, ProcessDevice, ThreadDevice
from mqcore.devices.monitoredqueue import monitored_queue
from mqcore.devices.monitoredqueuedevice import (
    MonitoredQueue,
    ProcessMonitoredQueue,
    ThreadMonitoredQueue,
)
from mqcore.devices.proxydevice import ProcessProxy, Proxy, ThreadProxy
from mqcore.devices.proxysteerabledevice import (
    ProcessProxySteerable,
    ProxySteerable,
    ThreadProxySteerable,
)

__all__ = [
    "Device",
    "MonitoredQueue",
    "ProcessDevice",
    "ProcessMonitoredQueue",
    "ProcessProxy",
    "ProcessProxySteerable",
    "Proxy",
    "ProxySteerable",
    "ThreadDevice",
    "ThreadMonitoredQueue",
    "ThreadProxy",
    "ThreadProxySteerable",
    "monitored_queue",
]
