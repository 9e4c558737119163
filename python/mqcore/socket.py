"""Sockets: what the native part leaves to Python, because it need not be fast.

`send`, `recv`, `send_multipart`, `recv_multipart`, `recv_into`, `send_many`, `recv_many`, `poll`, `get`, `set` and
`close` are native.
"""

from __future__ import annotations

import builtins
import json
import pickle
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from errno import EACCES, EADDRINUSE, ENOTSUP
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, overload
from warnings import warn

from mqcore import _core
from mqcore.attributes import AttributeSetter
from mqcore.constants import (
    EVENT_ALL,
    FD,
    LAST_ENDPOINT,
    PAIR,
    POLLIN,
    RCVHWM,
    SNDHWM,
    SNDMORE,
    SUBSCRIBE,
    TYPE,
    UNSUBSCRIBE,
    SocketOption,
    SocketType,
    _OptType,
)
from mqcore.error import Again, ZMQBindError, ZMQError
from mqcore.poll import Poller
from mqcore.utils.interop import cast_int_addr

if TYPE_CHECKING:
    from mqcore.context import Context
    from mqcore.tracker import MessageTracker

_T = TypeVar("_T")
_ReturnT = TypeVar("_ReturnT", bytes, Any)
_SocketT = TypeVar("_SocketT", bound="Socket[Any]")


class _SocketContext(Generic[_SocketT]):
    """What bind and connect return: in a `with` statement it undoes them at the end."""

    socket: _SocketT
    kind: str
    addr: str | bytes

    def __init__(self, socket: _SocketT, kind: str, addr: str | bytes) -> None:
        self.socket = socket
        self.kind = kind
        self.addr = addr

    def __repr__(self) -> str:
        return f"<SocketContext({self.kind}={self.addr!r})>"

    def __enter__(self) -> _SocketT:
        return self.socket

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.socket.closed:
            return
        if self.kind == "bind":
            self.socket.unbind(self.addr)
        else:
            self.socket.disconnect(self.addr)


class Socket(_core.Socket, AttributeSetter, Generic[_ReturnT]):
    """A socket. Make one with `context.socket(type)`.

    Any thread may call anything at any time; messages sent in parts (SNDMORE) by several threads at once get
    mixed up, whole ones do not. Options are attributes: `socket.linger = 0`, `socket.RCVHWM`.

    Socket(ctx_or_socket, socket_type=PAIR, *, copy_threshold=None): of a Context a new socket; of another socket
    (or with its `underlying` as `shadow`) another face of that one. `copy_threshold` is in bytes; None:
    `mqcore.COPY_THRESHOLD`. Raises what `Context.socket` raises, TypeError without a context, ZMQError(ENOTSOCK)
    for the shadow of nothing.
    """

    context: Any = None
    """The Context, or None for the shadow of a number."""
    type: Any
    """The SocketType."""
    _type_name: str
    _shadow: bool = False
    _shadow_obj: Any = None
    _monitor_socket: Any = None
    _poller_class: ClassVar[Any] = Poller
    _repr_cls: ClassVar[str] = "mqcore.Socket"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # The native methods do not look for overrides: who overrides gets the ones that do.
        for part, whole, careful in (
            ("send", "send_multipart", "_send_parts"),
            ("recv", "recv_multipart", "_recv_parts"),
            ("_poller_class", "poll", "_poll_with_class"),
        ):
            overridden = getattr(cls, part) is not getattr(Socket, part)
            if overridden and getattr(cls, whole) is getattr(Socket, whole):
                setattr(cls, whole, getattr(Socket, careful))

    @overload
    def __init__(
        self: Socket[bytes],
        ctx_or_socket: Context[Any],
        socket_type: int = 0,
        *,
        copy_threshold: int | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: Socket[bytes],
        *,
        shadow: Socket[Any] | int,
        copy_threshold: int | None = None,
    ) -> None: ...
    @overload
    def __init__(self: Socket[bytes], ctx_or_socket: Socket[Any]) -> None: ...
    def __init__(
        self: Any,
        ctx_or_socket: Any = None,
        socket_type: int = 0,
        *,
        shadow: Any = 0,
        copy_threshold: int | None = None,
    ) -> None:
        if isinstance(ctx_or_socket, _core.Socket):
            ctx_or_socket, shadow = None, ctx_or_socket
        if isinstance(shadow, _core.Socket):
            self._shadow_obj = shadow
            ctx_or_socket = getattr(shadow, "context", None)
        elif shadow:
            shadow = cast_int_addr(shadow)
            ctx_or_socket = None
        else:
            shadow = None
        self._shadow = shadow is not None
        self.context = ctx_or_socket
        _core.Socket.__init__(
            self, ctx_or_socket, socket_type, shadow=shadow, copy_threshold=copy_threshold
        )
        number = _core.Socket.get(self, TYPE)
        try:
            self.type = SocketType(number)
            self._type_name = self.type.name
        except ValueError:
            self.type = number
            self._type_name = str(number)

    # Its life.

    @classmethod
    def shadow(cls: builtins.type[_SocketT], address: Any) -> _SocketT:
        """Returns another face of the socket `address`: a Socket, or the `underlying` of one.

        Closing any of them closes the socket. Raises ZMQError(ENOTSOCK) if there is no such open socket, ValueError
        for what is no number.
        """
        return cls(shadow=address)

    def __copy__(self: _SocketT, memo: Any = None) -> _SocketT:
        return type(self).shadow(self)

    __deepcopy__ = __copy__

    def __reduce__(self) -> Any:
        raise TypeError("a socket cannot be pickled: it belongs to its process")

    def close(self, linger: int | None = None) -> None:
        """Closes the socket at once; what was sent goes out in the background.

        `linger`: for at most so many milliseconds (-1: for ever); None: as the option LINGER says. Waiting
        calls of other threads end with ENOTSOCK. Closing again does nothing, nor does it in a forked child.
        Raises ZMQError(EINVAL), and does not close, for a `linger` below -1.
        """
        _core.Socket.close(self, linger)
        context = self.__dict__.get("context")
        if context is not None:
            context._rm_socket(self)

    def __enter__(self: _SocketT) -> _SocketT:
        return self

    def __exit__(
        self,
        exc_type: builtins.type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._shadow or self.closed:
            return
        try:
            warn(f"Unclosed socket {self!r}", ResourceWarning, stacklevel=2, source=self)
        finally:  # also where warnings are errors: a socket left open would hold its context for ever
            self.close()

    @property
    def socket_type(self) -> int:
        """The same as `type`, with a DeprecationWarning."""
        warn("Socket.socket_type is deprecated, use Socket.type", DeprecationWarning, stacklevel=2)
        return self.type  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        cls = self.__class__
        name = cls.__dict__.get("_repr_cls", f"{cls.__module__}.{cls.__qualname__}")
        kind = self.__dict__.get("_type_name", "?")
        if kind in SocketType.__members__:
            kind = f"mqcore.{kind}"
        closed = " closed" if self._closed else ""
        return f"<{name}({kind}) at {id(self):#x}{closed}>"

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *SocketOption.__members__})

    # Endpoints.

    def bind(self: _SocketT, addr: str | bytes) -> _SocketContext[_SocketT]:
        """Accepts connections at `addr`: tcp://interface:port (`*` for all interfaces, a free port),
        ipc://path, inproc://name.

        Returns a context manager that unbinds; its `addr` has the port that was chosen.

        Raises ZMQError: EINVAL (not an address), EADDRINUSE, EADDRNOTAVAIL, ENODEV (no such interface),
        EPROTONOSUPPORT, ENOENT and ENAMETOOLONG (ipc paths), ENOTSOCK (closed); TypeError if it is no text.
        """
        _core.Socket.bind(self, addr)
        if isinstance(addr, str):
            addr = _core.Socket.get(self, LAST_ENDPOINT).decode("utf-8", "surrogateescape")
        return _SocketContext(self, "bind", addr)

    def connect(self: _SocketT, addr: str | bytes) -> _SocketContext[_SocketT]:
        """Connects to `addr` in the background, again and again until the peer is there.

        Returns a context manager that disconnects. Raises ZMQError as `bind` does.
        """
        _core.Socket.connect(self, addr)
        return _SocketContext(self, "connect", addr)

    def bind_to_random_port(
        self,
        addr: str,
        min_port: int = 49152,
        max_port: int = 65536,
        max_tries: int = 100,
    ) -> int:
        """Binds to a free port of `addr` (tcp://interface) and returns it.

        With the default range the system chooses. Otherwise ports from `min_port` to below `max_port` are
        tried at random, at most `max_tries` times.

        Raises ZMQBindError if none was free, ValueError for an empty range, and what `bind` raises otherwise.
        """
        if (min_port, max_port) == (49152, 65536):
            self.bind(f"{addr}:*")
            return int(self.get(LAST_ENDPOINT).decode().rpartition(":")[2])
        for _ in range(max_tries):
            port = random.randrange(min_port, max_port)
            try:
                self.bind(f"{addr}:{port}")
            except ZMQError as error:
                in_use = error.errno == EADDRINUSE
                if not in_use and not (sys.platform == "win32" and error.errno == EACCES):
                    raise
            else:
                return port
        raise ZMQBindError("Could not bind socket to random port.")

    # Options.

    setsockopt = _core.Socket.set
    getsockopt = _core.Socket.get

    def set_string(self, option: int, optval: str, encoding: str = "utf-8") -> None:
        """Sets `option`, one with a binary value, to the text `optval` in `encoding`.

        Raises TypeError for what is no text and options of other kinds, UnicodeEncodeError, and what `set` raises.
        """
        if not isinstance(optval, str):
            raise TypeError(f"strings only, not {optval.__class__!r}: {optval!r}")
        self.set(option, optval.encode(encoding))

    setsockopt_string = setsockopt_unicode = set_string

    def get_string(self, option: int, encoding: str = "utf-8") -> str:
        """Returns the value of `option`, one with a binary value, as text in `encoding`.

        Raises TypeError for options of other kinds, ValueError for an unknown one, UnicodeDecodeError, and what `get`
        raises.
        """
        if SocketOption(option)._opt_type is not _OptType.bytes:
            raise TypeError(f"option {option} will not return a string to be decoded")
        value: bytes = self.get(option)
        return value.decode(encoding)

    getsockopt_string = getsockopt_unicode = get_string

    def get_hwm(self) -> int:
        """Returns the high-water mark in messages: SNDHWM, or RCVHWM if that cannot be read. Raises what `get` does."""
        try:
            return self.get(SNDHWM)  # type: ignore[no-any-return]
        except ZMQError:
            return self.get(RCVHWM)  # type: ignore[no-any-return]

    def set_hwm(self, value: int) -> None:
        """Sets SNDHWM and RCVHWM to `value`: how many messages wait for each peer; 0 is no limit.

        Raises what `set` raises, after it has tried both: ZMQError(EINVAL) for a negative one, TypeError.
        """
        failure = None
        for option in (SNDHWM, RCVHWM):
            try:
                self.set(option, value)
            except ZMQError as error:
                failure = error
        if failure is not None:
            raise failure

    hwm = property(get_hwm, set_hwm, doc="SNDHWM and RCVHWM at once, in messages.")

    def subscribe(self, topic: str | bytes) -> None:
        """Wants the messages that begin with `topic` (text counts as UTF-8); all of them for b''.

        For SUB sockets, and XPUB ones with XPUB_MANUAL; several calls with the same topic count. Raises
        ZMQError(EINVAL) for sockets of other types, and what `set` raises.
        """
        self.set(SUBSCRIBE, topic.encode("utf-8") if isinstance(topic, str) else topic)

    def unsubscribe(self, topic: str | bytes) -> None:
        """Undoes one `subscribe` to `topic`. Does nothing if there was none. Raises what `subscribe` does."""
        self.set(UNSUBSCRIBE, topic.encode("utf-8") if isinstance(topic, str) else topic)

    def join(self, group: str | bytes) -> None:
        """Would join `group`. Raises RuntimeError: that is for DISH sockets, and there are none yet."""
        raise RuntimeError("join needs a DISH socket, which this version of mqcore does not have")

    def leave(self, group: str | bytes) -> None:
        """Would leave `group`. Raises RuntimeError: that is for DISH sockets, and there are none yet."""
        raise RuntimeError("leave needs a DISH socket, which this version of mqcore does not have")

    def fileno(self) -> int:
        """Returns the descriptor FD, for event loops.

        It is edge-triggered: readable means that EVENTS may have changed; read EVENTS then. Raises ZMQError(ENOTSOCK)
        for a closed socket.
        """
        return self.get(FD)  # type: ignore[no-any-return]

    def __setattr__(self, key: str, value: Any) -> None:
        name = key.lower()
        if name in ("subscribe", "unsubscribe") and key not in self.__dict__:
            getattr(self, name)(value)
            return
        super().__setattr__(key, value)

    def _get_attr_opt(self, name: str, option: int) -> Any:
        try:
            return super()._get_attr_opt(name, option)
        except ZMQError as error:
            if error.errno == ENOTSUP:
                raise AttributeError(f"{name}: {error}") from None
            raise

    # Messages.

    def _send_parts(
        self,
        msg_parts: Sequence[Any],
        flags: int = 0,
        copy: bool = True,
        track: bool = False,
        **kwargs: Any,
    ) -> Any:
        """`send_multipart` of classes with a `send` of their own."""
        for index, part in enumerate(msg_parts):
            if isinstance(part, (_core.Frame, bytes, memoryview)):
                continue
            try:
                memoryview(part)
            except Exception as error:
                shown = repr(part)
                if len(shown) > 32:
                    shown = shown[:32] + "..."
                raise TypeError(
                    f"Frame {index} ({shown}) does not support the buffer interface."
                ) from error
        for part in msg_parts[:-1]:
            self.send(part, SNDMORE | flags, copy=copy, track=track, **kwargs)
        return self.send(msg_parts[-1], flags, copy=copy, track=track, **kwargs)

    def _recv_parts(self, flags: int = 0, copy: bool = True, track: bool = False) -> list[Any]:
        """`recv_multipart` of classes with a `recv` of their own."""
        parts = [self.recv(flags, copy=copy, track=track)]
        while self.get(SocketOption.RCVMORE):
            parts.append(self.recv(flags, copy=copy, track=track))
        return parts

    def _poll_with_class(self, timeout: float | None = None, flags: int = POLLIN) -> Any:
        """`poll` of classes with a `_poller_class` of their own."""
        if self._closed:
            raise ZMQError(ENOTSUP)
        poller = self._poller_class()
        poller.register(self, flags)
        return dict(poller.poll(timeout)).get(self, 0)

    def _deserialize(self, recvd: Any, load: Callable[[Any], Any]) -> Any:
        """Applies `load` to what was received; subclasses whose `recv` gives a future override this."""
        return load(recvd)

    def send_string(
        self,
        u: str,
        flags: int = 0,
        copy: bool = True,
        encoding: str = "utf-8",
        **kwargs: Any,
    ) -> MessageTracker | None:
        """Sends the text `u` in `encoding`, as one part. Other parameters, result and errors are those of `send`.

        Raises TypeError for what is no text, and UnicodeEncodeError, besides.
        """
        if not isinstance(u, str):
            raise TypeError("str objects only")
        return self.send(u.encode(encoding), flags=flags, copy=copy, **kwargs)

    send_unicode = send_string

    def recv_string(self, flags: int = 0, encoding: str = "utf-8") -> str:
        """Receives one part and returns it as text in `encoding`. `flags` and errors are those of `recv`.

        A part that is no such text raises UnicodeDecodeError, and is lost: it was taken.
        """
        msg = self.recv(flags=flags)
        return self._deserialize(msg, lambda part: part.decode(encoding))  # type: ignore[no-any-return]

    recv_unicode = recv_string

    def send_pyobj(
        self,
        obj: Any,
        flags: int = 0,
        protocol: int = pickle.DEFAULT_PROTOCOL,
        **kwargs: Any,
    ) -> MessageTracker | None:
        """Sends the Python object `obj`, pickled with `protocol`, as one part.

        Other parameters, result and errors are those of `send`, and the errors of `pickle.dumps` besides:
        PicklingError, AttributeError or TypeError for an object that cannot be pickled, ValueError for a protocol that
        there is not.
        """
        return self.send(pickle.dumps(obj, protocol), flags=flags, **kwargs)

    def recv_pyobj(self, flags: int = 0) -> Any:
        """Receives one part and returns the Python object that it is the pickle of.

        Never from peers that you do not trust: pickles run code. `flags` and errors are those of `recv`; a part that
        is no pickle raises what `pickle.loads` does, mostly UnpicklingError, and is lost.
        """
        return self._deserialize(self.recv(flags=flags), pickle.loads)

    def send_json(self, obj: Any, flags: int = 0, **kwargs: Any) -> MessageTracker | None:
        """Sends `obj` as JSON in UTF-8, as one part. `kwargs` go to `json.dumps`.

        `flags`, result and errors are those of `send`; TypeError or ValueError for what JSON cannot express.
        """
        send_kwargs = {key: kwargs.pop(key) for key in ("routing_id", "group") if key in kwargs}
        msg = json.dumps(obj, **kwargs).encode("utf-8")
        return self.send(msg, flags=flags, **send_kwargs)

    def recv_json(self, flags: int = 0, **kwargs: Any) -> Any:
        """Receives one part and returns the object that it is the JSON of. `kwargs` go to `json.loads`.

        `flags` and errors are those of `recv`; a part that is no JSON raises ValueError (JSONDecodeError,
        UnicodeDecodeError), and is lost.
        """
        msg = self.recv(flags=flags)
        return self._deserialize(msg, lambda part: json.loads(part, **kwargs))

    def send_serialized(
        self,
        msg: _T,
        serialize: Callable[[_T], Sequence[Any]],
        flags: int = 0,
        copy: bool = True,
        **kwargs: Any,
    ) -> MessageTracker | None:
        """Sends what `serialize(msg)` returns: a sequence of parts.

        Other parameters, result and errors are those of `send_multipart`; what `serialize` raises comes through.
        """
        return self.send_multipart(serialize(msg), flags=flags, copy=copy, **kwargs)

    def recv_serialized(
        self,
        deserialize: Callable[[list[Any]], _T],
        flags: int = 0,
        copy: bool = True,
    ) -> _T:
        """Receives a whole message and returns `deserialize(parts)`, of the list of its parts.

        `flags`, `copy` and errors are those of `recv_multipart`; what `deserialize` raises comes through, and the
        message is lost.
        """
        parts = self.recv_multipart(flags=flags, copy=copy)
        return self._deserialize(parts, deserialize)  # type: ignore[no-any-return]

    # Batches.

    @overload
    def batches(
        self, max: int = 1024, timeout: float | None = None, *, multipart: Literal[False] = False
    ) -> Iterator[list[bytes]]: ...

    @overload
    def batches(
        self, max: int = 1024, timeout: float | None = None, *, multipart: Literal[True]
    ) -> Iterator[list[list[bytes]]]: ...

    @overload
    def batches(
        self, max: int = 1024, timeout: float | None = None, *, multipart: bool
    ) -> Iterator[list[bytes]] | Iterator[list[list[bytes]]]: ...

    def batches(
        self, max: int = 1024, timeout: float | None = None, *, multipart: bool = False
    ) -> Iterator[Any]:
        """Iterates over what comes in, batch by batch: `for batch in socket.batches(): ...`.

        Each batch is what `recv_many(max, timeout)` returns, or with `multipart` what `recv_many_multipart` does.
        The iteration ends when nothing came within `timeout` milliseconds (None: as RCVTIMEO says, which is never
        by default; 0: as soon as nothing is there), and raises what `recv_many` raises otherwise.

        An addition of mqcore.
        """
        receive = self.recv_many_multipart if multipart else self.recv_many
        while True:
            try:
                batch = receive(max, timeout)
            except Again:
                return
            yield batch

    # The monitor.

    def get_monitor_socket(
        self: _SocketT, events: int | None = None, addr: str | None = None
    ) -> _SocketT:
        """Returns a PAIR socket that receives the connection events in `events` (None: all) of this socket.

        The monitor sends them to `addr` (inproc; None: one made for it), in two frames each, which
        `mqcore.utils.monitor.parse_monitor_message` reads. The next call returns the same socket, as long as it is
        open. Raises what `monitor` and `Context.socket` raise.
        """
        if self._monitor_socket is not None and not self._monitor_socket.closed:
            return self._monitor_socket  # type: ignore[no-any-return]
        if addr is None:
            addr = f"inproc://monitor.s-{self.underlying}"
        self.monitor(addr, EVENT_ALL if events is None else events)
        self._monitor_socket = self.context.socket(PAIR)
        self._monitor_socket.connect(addr)
        return self._monitor_socket  # type: ignore[no-any-return]

    def disable_monitor(self) -> None:
        """Stops the monitor: its socket receives MONITOR_STOPPED (if it asked for it), and stays open.

        Does nothing without a monitor. Raises ZMQError(ENOTSOCK) for a closed socket.
        """
        self._monitor_socket = None
        self.monitor(None, 0)


__all__ = ["Socket"]
