"""Steerable proxies as devices: a fourth socket takes PAUSE, RESUME, TERMINATE and STATISTICS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mqcore as zmq
from mqcore import Socket
from mqcore.constants import PUB
from mqcore.devices.proxydevice import ProcessProxy, Proxy, ProxyBase, ThreadProxy

if TYPE_CHECKING:
    _Mixin = ProxyBase
else:
    _Mixin = object


class ProxySteerableBase(_Mixin):
    """What the steerable proxies have in common: the socket that takes the commands.

    (in_type, out_type, mon_type=PUB, ctrl_type=None): the types of the sockets, of which the last is mostly PAIR,
    REP or SUB. Without it the proxy runs, but nobody steers it.
    """

    ctrl_type: int | None
    _ctrl_binds: list[str]
    _ctrl_connects: list[str]
    _ctrl_sockopts: list[tuple[int, Any]]

    def __init__(
        self, in_type: int, out_type: int, mon_type: int = PUB, ctrl_type: int | None = None
    ) -> None:
        super().__init__(in_type, out_type, mon_type)
        self.ctrl_type = ctrl_type
        self._ctrl_binds = []
        self._ctrl_connects = []
        self._ctrl_sockopts = []

    def bind_ctrl(self, addr: str) -> None:
        """Binds the socket of the commands to `addr`, as `bind_in` does the first socket.

        Without a `ctrl_type` the device raises TypeError when it runs.
        """
        self._ctrl_binds.append(addr)

    def bind_ctrl_to_random_port(self, addr: str, *args: int, **kwargs: int) -> int:
        """Binds the socket of the commands to a free port of `addr`, and returns it, as `bind_in_to_random_port` does
        the first socket.
        """
        port = self._reserve_random_port(addr, *args, **kwargs)
        self.bind_ctrl(f"{addr}:{port}")
        return port

    def connect_ctrl(self, addr: str) -> None:
        """Connects the socket of the commands to `addr`; see `bind_ctrl`."""
        self._ctrl_connects.append(addr)

    def setsockopt_ctrl(self, opt: int, value: Any) -> None:
        """Sets the option `opt` of the socket of the commands to `value`; see `setsockopt_in` and `bind_ctrl`."""
        self._ctrl_sockopts.append((opt, value))

    def _setup_sockets(self) -> tuple[Any, ...]:
        """Makes the context and the sockets; the last is None without `ctrl_type`."""
        written_down = (self._ctrl_sockopts, self._ctrl_binds, self._ctrl_connects)
        if self.ctrl_type is None and any(written_down):
            raise TypeError("ctrl_type must be specified: there is no socket to bind or connect")
        sockets: tuple[Socket[Any], ...] = super()._setup_sockets()
        ctrls = None
        if self.ctrl_type is not None:
            ctrls = self._open_socket(self.ctrl_type, *written_down)
        return (*sockets, ctrls)

    def run_device(self) -> None:
        """Makes the sockets and forwards between them; ends by TERMINATE, or by raising what `mqcore.proxy` raises."""
        ins, outs, mons, ctrls = self._setup_sockets()
        zmq.proxy_steerable(ins, outs, mons, ctrls)


class ProxySteerable(ProxySteerableBase, Proxy):
    """A steerable proxy in the calling thread: ProxySteerable(in_type, out_type, mon_type=PUB, ctrl_type=None)."""


class ThreadProxySteerable(ProxySteerableBase, ThreadProxy):
    """A steerable proxy in a thread of its own; the parameters are those of `ProxySteerable`."""


class ProcessProxySteerable(ProxySteerableBase, ProcessProxy):
    """A steerable proxy in a process of its own; the parameters are those of `ProxySteerable`."""


__all__ = ["ProcessProxySteerable", "ProxySteerable", "ThreadProxySteerable"]
