"""Contexts."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, overload
from warnings import warn
from weakref import WeakSet

from mqcore import _core
from mqcore.attributes import AttributeSetter, OptValT
from mqcore.constants import ContextOption, Errno, SocketOption
from mqcore.error import ZMQError
from mqcore.socket import Socket
from mqcore.utils.interop import cast_int_addr

_ContextT = TypeVar("_ContextT", bound="Context[Any]")
if TYPE_CHECKING:
    from typing_extensions import TypeVar as _TypeVar

    # Where nobody says otherwise, as for `Context.instance()`, the sockets are plain ones.
    _SocketT = _TypeVar("_SocketT", bound="Socket[Any]", covariant=True, default=Socket[bytes])
else:
    _SocketT = TypeVar("_SocketT", bound="Socket[Any]", covariant=True)

_exiting = False


def _notice_exit() -> None:
    global _exiting
    _exiting = True


atexit.register(_notice_exit)


class Context(_core.Context, AttributeSetter, Generic[_SocketT]):
    """The I/O threads, the names of inproc endpoints and the sockets of an application.

    Context(io_threads=1, shadow=0): a new context with so many I/O threads (they start when a socket needs
    them), or another face of an existing one (`shadow`: a context, or the `underlying` of one). Raises
    ZMQError(EINVAL) for a number of threads that is not 0 to 1024, EFAULT for the shadow of nothing.

    A context may be used by all threads. Its options are attributes: `context.io_threads`; assigning a
    socket option (`context.linger = 0`) makes it the default of new sockets.
    """

    sockopts: dict[int, Any]
    """The defaults of new sockets: options and values."""
    _sockets: WeakSet[Any]
    _shadow: bool = False
    _shadow_obj: Any = None
    _warn_destroy_close: bool = False
    _socket_class: Callable[..., Any] = Socket
    _repr_cls: ClassVar[str] = "mqcore.Context"
    _instance: ClassVar[Any] = None
    _instance_lock: ClassVar[Any] = Lock()
    _instance_pid: ClassVar[int | None] = None

    @overload
    def __init__(self: Context[Socket[bytes]], io_threads: int = 1) -> None: ...
    @overload
    def __init__(self, io_threads: Context[_SocketT], /) -> None: ...
    @overload
    def __init__(self, *, shadow: Context[_SocketT]) -> None: ...
    @overload
    def __init__(self: Context[Socket[bytes]], io_threads: int = 1, shadow: Any = 0) -> None: ...
    def __init__(self, io_threads: Any = 1, shadow: Any = 0) -> None:
        if isinstance(io_threads, _core.Context):
            io_threads, shadow = 1, io_threads
        number = 0
        if isinstance(shadow, _core.Context):
            self._shadow_obj = shadow
            number = shadow.underlying
            if number == 0:
                raise ZMQError(Errno.EFAULT, f"Bad address: {shadow!r} is terminated")
        elif shadow:
            number = cast_int_addr(shadow)
        self._shadow = number != 0
        self.sockopts = {}
        self._sockets = WeakSet()
        super().__init__(io_threads, number)

    # Its life.

    def __enter__(self: _ContextT) -> _ContextT:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Sockets that nobody closed are a mistake: say so.
        self._warn_destroy_close = True
        self.destroy()

    def __del__(self) -> None:
        # Not while the interpreter ends, and not in a forked child: there is nobody to wait for.
        if self._shadow or self.closed or _exiting or self._inherited:
            return
        self._warn_destroy_close = True
        try:
            warn(f"Unclosed context {self!r}", ResourceWarning, stacklevel=2, source=self)
        finally:
            self.destroy()

    def destroy(self, linger: int | None = None) -> None:
        """Closes all sockets that `socket` made, and terminates the context.

        `linger`: how many milliseconds each goes on sending (-1: for ever); None: as its option LINGER says. Sockets
        must not be in use by other threads. Does nothing if the context is closed. Raises what `Socket.close` and
        `term` raise.
        """
        if self.closed:
            return
        for socket in list(self._sockets):
            if socket.closed:
                continue
            try:
                if self._warn_destroy_close:
                    warn(
                        f"Destroying context with unclosed socket {socket!r}",
                        ResourceWarning,
                        stacklevel=3,
                        source=socket,
                    )
            finally:  # also where warnings are errors
                socket.close(linger=linger)
        self._sockets.clear()
        self.term()

    @classmethod
    def instance(cls: type[_ContextT], io_threads: int = 1) -> _ContextT:
        """Returns the context that the whole process shares; made if there is none, it is closed, or after a fork.

        `io_threads` counts only where it is made now. A subclass shares the one of its base class, unless it has an
        `_instance` of its own.
        """
        if cls._instance is None or cls._instance_pid != os.getpid() or cls._instance.closed:
            with cls._instance_lock:
                if (
                    cls._instance is None
                    or cls._instance_pid != os.getpid()
                    or cls._instance.closed
                ):
                    cls._instance = cls(io_threads=io_threads)
                    cls._instance_pid = os.getpid()
        return cls._instance  # type: ignore[no-any-return]

    @classmethod
    def shadow(cls: type[_ContextT], address: Any) -> _ContextT:
        """Returns another face of the context `address`: a Context, or the `underlying` of one.

        Raises ZMQError(EFAULT) if there is no such context, ValueError for what is no number.
        """
        return cls(shadow=address)

    @classmethod
    def shadow_pyczmq(cls: type[_ContextT], ctx: Any) -> _ContextT:
        """Would be another face of `ctx`, a context of pyczmq. Raises ZMQError(ENOTSUP): that is one of libzmq."""
        raise ZMQError(
            Errno.ENOTSUP,
            f"{ctx!r} is a context of libzmq, which mqcore does not use; connect over ipc or tcp instead",
        )

    def __copy__(self: _ContextT, memo: Any = None) -> _ContextT:
        return type(self).shadow(self)

    __deepcopy__ = __copy__

    def __reduce__(self) -> Any:
        raise TypeError("a context cannot be pickled: it belongs to its process")

    def __repr__(self) -> str:
        cls = type(self)
        name = cls.__dict__.get("_repr_cls", f"{cls.__module__}.{cls.__qualname__}")
        count = len(self._sockets) if "_sockets" in self.__dict__ else 0
        sockets = f"{count} socket{'' if count == 1 else 's'}" if count else ""
        closed = " closed" if self.closed else ""
        return f"<{name}({sockets}) at {id(self):#x}{closed}>"

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *ContextOption.__members__})

    # Sockets.

    def socket(
        self: Context[_SocketT],
        socket_type: int,
        socket_class: Callable[[Context[_SocketT], int], _SocketT] | None = None,
        **kwargs: Any,
    ) -> _SocketT:
        """Returns a new socket of the type `socket_type` (PUSH, SUB, ...), with the defaults in `sockopts`.

        `socket_class` is used instead of the context's own; `kwargs` go to its constructor.

        Raises ZMQError with EINVAL for an unknown type, EMFILE when MAX_SOCKETS are open, ENOTSUP if the
        context is closed; ContextTerminated while it is being terminated.
        """
        if self.closed:
            raise ZMQError(
                Errno.ENOTSUP,
                f"{_core.strerror(Errno.ENOTSUP)}: the context is terminated; make a new one",
            )
        socket: _SocketT = (socket_class or self._socket_class)(self, socket_type, **kwargs)
        try:
            for option, value in self.sockopts.items():
                try:
                    socket.setsockopt(option, value)
                except ZMQError:
                    pass  # a default for other types of sockets
        except BaseException:
            socket.close(linger=0)
            raise
        self._sockets.add(socket)
        return socket

    def _add_socket(self, socket: Any) -> None:
        self._sockets.add(socket)

    def _rm_socket(self, socket: Any) -> None:
        self._sockets.discard(socket)

    def setsockopt(self, opt: int, value: Any) -> None:
        """Makes `value` the default of the socket option `opt` for new sockets.

        Nothing is checked now. Sockets that do not have the option or refuse the value are made without it; for a value
        of the wrong type `socket` raises TypeError.
        """
        self.sockopts[opt] = value

    def getsockopt(self, opt: int) -> OptValT:
        """Returns the default of the socket option `opt` for new sockets. Raises KeyError if none was set."""
        return self.sockopts[opt]  # type: ignore[no-any-return]

    # Options as attributes.

    def _set_attr_opt(self, name: str, option: int, value: OptValT) -> None:
        if name in ContextOption.__members__:
            self.set(option, value)  # type: ignore[arg-type]
        elif name in SocketOption.__members__:
            self.sockopts[option] = value
        else:
            raise AttributeError(f"No such context or socket option: {name}")

    def _get_attr_opt(self, name: str, option: int) -> Any:
        if name in ContextOption.__members__:
            return super()._get_attr_opt(name, option)
        if name in SocketOption.__members__ and option in self.sockopts:
            return self.sockopts[option]
        raise AttributeError(name)

    def __delattr__(self, key: str) -> None:
        if key in self.__dict__:
            object.__delattr__(self, key)
            return
        name = key.upper()
        if name not in SocketOption.__members__:
            raise AttributeError(f"No such socket option: {name}")
        option = SocketOption[name]
        if option not in self.sockopts:
            raise AttributeError(name)
        del self.sockopts[option]


__all__ = ["Context"]
