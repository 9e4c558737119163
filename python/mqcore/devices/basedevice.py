"""Devices: two sockets that are made and joined by a proxy where the device runs, which may be a thread or a process.

What is asked of a device before it starts (options, addresses) is written down and done when it runs. The forwarding
itself is native (`mqcore.proxy`); a device never touches a message.
"""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import Process
from threading import Event, Thread
from typing import Any, ClassVar

from mqcore import Context, Socket, ZMQBindError, ZMQError, proxy
from mqcore.constants import ENOTSOCK, ETERM, PUSH, QUEUE

_RESERVATIONS = 5
"""How many ports are tried before one counts as not to be had."""


class Device:
    """A device in the calling thread: `start` returns when the device's context is terminated.

    Device(device_type=QUEUE, in_type=None, out_type=None): the types of the sockets must be given; a negative
    `out_type` uses the first socket for both sides. `device_type` makes no difference.

    `setsockopt_in`, `bind_in`, `connect_in` and the like for `out` may be called before the device starts. It does
    first what concerns options, then the binds, then the connects. Raises TypeError without the types.
    """

    context_factory: Callable[[], Context[Any]] = Context.instance
    """Makes the context that the device runs in."""
    daemon: bool = True
    """Whether the program may end while a background device runs."""
    device_type: int
    in_type: int
    out_type: int
    _context: Context[Any]
    """The device's context, from when it runs on; terminating it from outside ends the device."""
    _in_binds: list[str]
    _in_connects: list[str]
    _in_sockopts: list[tuple[int, Any]]
    _out_binds: list[str]
    _out_connects: list[str]
    _out_sockopts: list[tuple[int, Any]]
    _random_addrs: list[str]
    _sockets: list[Socket[Any]]
    _ended: Event

    def __init__(
        self,
        device_type: int = QUEUE,
        in_type: int | None = None,
        out_type: int | None = None,
    ) -> None:
        if in_type is None:
            raise TypeError("in_type must be specified")
        if out_type is None:
            raise TypeError("out_type must be specified")
        self.device_type = device_type
        self.in_type = in_type
        self.out_type = out_type
        self._in_binds = []
        self._in_connects = []
        self._in_sockopts = []
        self._out_binds = []
        self._out_connects = []
        self._out_sockopts = []
        self._random_addrs = []
        self._sockets = []
        self._ended = Event()
        self.daemon = True

    @property
    def done(self) -> bool:
        """Whether the device has run and ended; of a device in a process, only that process knows."""
        return self._ended.is_set()

    @done.setter
    def done(self, done: bool) -> None:
        if done:
            self._ended.set()
        else:
            self._ended.clear()

    def __getstate__(self) -> dict[str, Any]:
        # To a process that is not forked a device goes as a pickle, and an event cannot.
        return {name: value for name, value in self.__dict__.items() if name != "_ended"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _ended=Event())

    # What to do when it runs.

    def bind_in(self, addr: str) -> None:
        """Binds the first socket to `addr` when the device runs, which is where errors show."""
        self._in_binds.append(addr)

    def bind_in_to_random_port(self, addr: str, *args: int, **kwargs: int) -> int:
        """Binds the first socket to a free port of `addr` (tcp://interface) when the device runs; returns the port.

        Other arguments are those of `Socket.bind_to_random_port`. The port is free now; nothing holds it until the
        device runs. Raises ZMQBindError if none is found.
        """
        port = self._reserve_random_port(addr, *args, **kwargs)
        self.bind_in(f"{addr}:{port}")
        return port

    def connect_in(self, addr: str) -> None:
        """Connects the first socket to `addr` when the device runs, which is where errors show."""
        self._in_connects.append(addr)

    def setsockopt_in(self, opt: int, value: Any) -> None:
        """Sets the option `opt` of the first socket to `value` when the device runs, which is where errors show: those
        of `Socket.set`.
        """
        self._in_sockopts.append((opt, value))

    def bind_out(self, addr: str) -> None:
        """Binds the second socket, as `bind_in` does the first."""
        self._out_binds.append(addr)

    def bind_out_to_random_port(self, addr: str, *args: int, **kwargs: int) -> int:
        """Binds the second socket to a free port, and returns it, as `bind_in_to_random_port` does the first."""
        port = self._reserve_random_port(addr, *args, **kwargs)
        self.bind_out(f"{addr}:{port}")
        return port

    def connect_out(self, addr: str) -> None:
        """Connects the second socket, as `connect_in` does the first."""
        self._out_connects.append(addr)

    def setsockopt_out(self, opt: int, value: Any) -> None:
        """Sets an option of the second socket, as `setsockopt_in` does of the first."""
        self._out_sockopts.append((opt, value))

    def _reserve_random_port(self, addr: str, *args: int, **kwargs: int) -> int:
        """A port that is free now, and that this device has not been given before."""
        with Context() as context, context.socket(PUSH) as socket:
            for _ in range(_RESERVATIONS):
                port = socket.bind_to_random_port(addr, *args, **kwargs)
                chosen = f"{addr}:{port}"
                socket.unbind(chosen)
                if chosen not in self._random_addrs:
                    self._random_addrs.append(chosen)
                    return port
        raise ZMQBindError(f"{addr} has no free port that this device was not given already")

    # Running.

    def _open_socket(
        self,
        kind: int,
        sockopts: list[tuple[int, Any]],
        binds: list[str],
        connects: list[str],
    ) -> Socket[Any]:
        """A new socket of the device, with everything that was written down for it."""
        socket: Socket[Any] = self._context.socket(kind)
        self._sockets.append(socket)
        self._prepare_socket(socket, sockopts, binds, connects)
        return socket

    @staticmethod
    def _prepare_socket(
        socket: Socket[Any],
        sockopts: list[tuple[int, Any]],
        binds: list[str],
        connects: list[str],
    ) -> None:
        for opt, value in sockopts:
            socket.setsockopt(opt, value)
        for addr in binds:
            socket.bind(addr)
        for addr in connects:
            socket.connect(addr)

    def _setup_sockets(self) -> tuple[Socket[Any], Socket[Any]]:
        """Makes the context and the sockets."""
        self._context = self.context_factory()
        self._sockets = []
        ins = self._open_socket(self.in_type, self._in_sockopts, self._in_binds, self._in_connects)
        written_down = (self._out_sockopts, self._out_binds, self._out_connects)
        if self.out_type < 0:
            self._prepare_socket(ins, *written_down)
            return ins, ins
        return ins, self._open_socket(self.out_type, *written_down)

    def run_device(self) -> None:
        """Makes the sockets and forwards between them. Subclasses forward in other ways.

        Ends only by raising: what binding and connecting raise, and what `mqcore.proxy` does.
        """
        ins, outs = self._setup_sockets()
        proxy(ins, outs)

    def run(self) -> None:
        """Runs the device until its context is terminated or its sockets are closed, and closes its sockets.

        Raises ZMQError for everything else, as a bind that fails.
        """
        try:
            self.run_device()
        except ZMQError as error:
            if error.errno not in (ETERM, ENOTSOCK):
                raise
        finally:
            self._close_sockets()
            self.done = True

    def _close_sockets(self) -> None:
        for socket in self._sockets:
            if not socket.closed:
                socket.close()

    def start(self) -> None:
        """Runs the device as `run` does, in the calling thread; a background device returns at once."""
        return self.run()

    def join(self, timeout: float | None = None) -> None:
        """Waits until the device has ended, at most `timeout` seconds (None: for ever)."""
        self._ended.wait(timeout)


class BackgroundDevice(Device):
    """A device that something else runs: `_launch_class`, which ThreadDevice and ProcessDevice set."""

    launcher: Any = None
    """The thread or process, once the device is started."""
    _launch_class: ClassVar[Any] = None

    def start(self) -> None:
        """Starts the device in the background, and returns at once. What it raises there is shown, not raised here."""
        launcher = self._launch_class(target=self.run)
        launcher.daemon = self.daemon
        self.launcher = launcher
        launcher.start()

    def join(self, timeout: float | None = None) -> None:
        """Waits until the thread or process has ended, at most `timeout` seconds (None: for ever).

        Raises RuntimeError if the device was not started.
        """
        if self.launcher is None:
            raise RuntimeError(f"{type(self).__name__} cannot be joined before it is started")
        self.launcher.join(timeout=timeout)


class ThreadDevice(BackgroundDevice):
    """A device in a thread of its own, in the context that the process shares (`Context.instance()`)."""

    _launch_class: ClassVar[Any] = Thread


class ProcessDevice(BackgroundDevice):
    """A device in a process of its own, in a context of its own. `launcher.terminate()` ends it."""

    _launch_class: ClassVar[Any] = Process
    context_factory: Callable[[], Context[Any]] = Context


__all__ = ["Device", "ProcessDevice", "ThreadDevice"]
