"""Proxies as devices: the two sockets of a device, and a third that gets a copy of everything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mqcore as zmq
from mqcore import Socket
from mqcore.constants import PUB
from mqcore.devices.basedevice import Device, ProcessDevice, ThreadDevice

if TYPE_CHECKING:
    _Mixin = Device
else:
    _Mixin = object


class ProxyBase(_Mixin):
    """What the proxies have in common: the socket that gets the copies.

    (in_type, out_type, mon_type=PUB): the types of the three sockets.
    """

    mon_type: int
    _mon_binds: list[str]
    _mon_connects: list[str]
    _mon_sockopts: list[tuple[int, Any]]

    def __init__(self, in_type: int, out_type: int, mon_type: int = PUB) -> None:
        Device.__init__(self, in_type=in_type, out_type=out_type)
        self.mon_type = mon_type
        self._mon_binds = []
        self._mon_connects = []
        self._mon_sockopts = []

    def bind_mon(self, addr: str) -> None:
        """Binds the socket of the copies to `addr`, as `bind_in` does the first socket."""
        self._mon_binds.append(addr)

    def bind_mon_to_random_port(self, addr: str, *args: int, **kwargs: int) -> int:
        """Binds the socket of the copies to a free port of `addr`, and returns it, as `bind_in_to_random_port` does the
        first socket.
        """
        port = self._reserve_random_port(addr, *args, **kwargs)
        self.bind_mon(f"{addr}:{port}")
        return port

    def connect_mon(self, addr: str) -> None:
        """Connects the socket of the copies to `addr`, as `connect_in` does the first socket."""
        self._mon_connects.append(addr)

    def setsockopt_mon(self, opt: int, value: Any) -> None:
        """Sets the option `opt` of the socket of the copies to `value`, as `setsockopt_in` does of the first socket."""
        self._mon_sockopts.append((opt, value))

    def _setup_sockets(self) -> tuple[Socket[Any], ...]:  # type: ignore[override]
        """Makes the context and the sockets: two to forward between, and the one for copies."""
        ins, outs = Device._setup_sockets(self)
        mons = self._open_socket(
            self.mon_type, self._mon_sockopts, self._mon_binds, self._mon_connects
        )
        return ins, outs, mons

    def run_device(self) -> None:
        """Makes the sockets and forwards between them; ends only by raising, what `mqcore.proxy` raises."""
        ins, outs, mons = self._setup_sockets()
        zmq.proxy(ins, outs, mons)


class Proxy(ProxyBase, Device):
    """A proxy in the calling thread: Proxy(in_type, out_type, mon_type=PUB)."""


class ThreadProxy(ProxyBase, ThreadDevice):
    """A proxy in a thread of its own: ThreadProxy(in_type, out_type, mon_type=PUB)."""


class ProcessProxy(ProxyBase, ProcessDevice):
    """A proxy in a process of its own: ProcessProxy(in_type, out_type, mon_type=PUB)."""


__all__ = ["ProcessProxy", "Proxy", "ThreadProxy"]
