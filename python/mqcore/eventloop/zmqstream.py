"""A socket with callbacks in a tornado event loop.

A `ZMQStream` stands between one socket and one IOLoop: what comes in is given to a callback, what goes out waits in
a queue until the socket has room. It never waits for the socket, and never receives without being asked to.

How it hears of news: the loop watches the socket's FD. Reading EVENTS makes that unreadable; the socket makes it
readable again by itself when something changes, and after each receive that leaves more to receive. So incoming
messages need no callback of the loop to be scheduled, and outgoing ones need one only while there is room.
"""

from __future__ import annotations

import json
import pickle
import sys
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tornado.ioloop import IOLoop
from tornado.log import gen_log

import mqcore as zmq
from mqcore import POLLIN, POLLOUT
from mqcore.error import Again, ZMQError
from mqcore.eventloop.callbacks import check, run

_StreamT = TypeVar("_StreamT", bound="ZMQStream")
_SendCallback = Callable[[Any, Any], Any]

_IN = int(POLLIN)
_OUT = int(POLLOUT)
_EVENTS = int(zmq.EVENTS)
_DONTWAIT = int(zmq.DONTWAIT)
_LOCKSTEP = (zmq.REQ, zmq.REP)
_SEND_OPTIONS = ("copy", "track", "routing_id", "group")


class ZMQStream:
    """Callbacks for what a socket receives and sends, in an event loop.

    ZMQStream(socket, io_loop=None): `socket` is a plain Socket (of an asynchronous one a plain shadow is used, with
    a RuntimeWarning); `io_loop` an IOLoop, by default the current one.

    All methods are for the loop's thread, except that `send` and its relatives may be called from any.
    `bind`, `connect`, `setsockopt`, `getsockopt` and their relatives are the socket's own.
    After the close most methods raise OSError; what is given as a callback and is none raises AssertionError.
    """

    socket: Any
    """The socket; None after the close."""
    io_loop: IOLoop
    poller: zmq.Poller

    def __init__(self, socket: zmq.Socket[Any], io_loop: IOLoop | None = None) -> None:
        asynchronous = sys.modules.get("mqcore._future")
        if asynchronous is not None and isinstance(socket, asynchronous._AsyncSocket):
            warnings.warn(
                f"ZMQStream needs a plain Socket, got {socket!r}, and uses a plain shadow of it; make a plain one"
                " with context.socket(type, socket_class=zmq.Socket), or Socket(shadow=other)",
                RuntimeWarning,
                stacklevel=2,
            )
            socket = zmq.Socket(shadow=socket)
        self.socket = socket
        self.io_loop = io_loop or IOLoop.current()
        self.poller = zmq.Poller()
        self._fd: int = socket.FD
        self._send_queue: deque[tuple[Any, dict[str, Any], Callable[..., Any] | None]] = deque()
        self._recv_callback: Callable[..., Any] | None = None
        self._send_callback: Callable[..., Any] | None = None
        self._close_callback: Callable[[], Any] | None = None
        self._recv_copy = False
        self._lockstep = socket.type in _LOCKSTEP
        self._scheduled = False
        self._watching = False
        self.bind, self.connect = socket.bind, socket.connect
        self.bind_to_random_port = socket.bind_to_random_port
        self.setsockopt, self.getsockopt = socket.setsockopt, socket.getsockopt
        self.setsockopt_string = self.setsockopt_unicode = socket.setsockopt_string
        self.getsockopt_string = self.getsockopt_unicode = socket.getsockopt_string
        self._init_io_state()

    # What comes in.

    def on_recv(self, callback: Callable[[list[Any]], Any] | None, copy: bool = True) -> None:
        """Has `callback(parts)` called with each message: a list of bytes, or of Frames without `copy`.

        Replaces the callback before; None receives no more. What a coroutine function returns is awaited.
        """
        self._check_closed()
        check(callback)
        self._recv_callback = callback
        self._recv_copy = copy
        if callback is not None:
            self._schedule()  # what is there already is no news

    def on_recv_stream(
        self: _StreamT, callback: Callable[[_StreamT, list[Any]], Any] | None, copy: bool = True
    ) -> None:
        """The same as `on_recv`, for a callback that takes the stream too: `callback(stream, parts)`."""
        if callback is None:
            self.stop_on_recv()
            return
        check(callback)
        self.on_recv(lambda parts: callback(self, parts), copy=copy)

    def stop_on_recv(self) -> None:
        """Receives no more: what comes stays in the socket."""
        self.on_recv(None)

    def receiving(self) -> bool:
        """Whether there is a callback for what is received."""
        return self._recv_callback is not None

    # What goes out.

    def on_send(self, callback: _SendCallback | None) -> None:
        """Has `callback(parts, status)` called after each message was sent; None: nothing.

        `status` is what `send_multipart` of the socket returned (None or a MessageTracker), or the ZMQError that
        it raised.
        """
        self._check_closed()
        check(callback)
        self._send_callback = callback

    def on_send_stream(
        self: _StreamT, callback: Callable[[_StreamT, list[Any], Any], Any] | None
    ) -> None:
        """The same as `on_send`, for a callback that takes the stream too: `callback(stream, parts, status)`."""
        if callback is None:
            self.stop_on_send()
            return
        check(callback)
        self.on_send(lambda parts, status: callback(self, parts, status))

    def stop_on_send(self) -> None:
        """Calls nothing after messages were sent."""
        self.on_send(None)

    def sending(self) -> bool:
        """Whether messages wait to be sent."""
        return bool(self._send_queue)

    def send(
        self,
        msg: Any,
        flags: int = 0,
        copy: bool = True,
        track: bool = False,
        callback: _SendCallback | None = None,
        **kwargs: Any,
    ) -> None:
        """Queues `msg` as a message of one part; see `send_multipart`."""
        self.send_multipart([msg], flags, copy, track, callback, **kwargs)

    def send_multipart(
        self,
        msg: Sequence[Any],
        flags: int = 0,
        copy: bool = True,
        track: bool = False,
        callback: _SendCallback | None = None,
        **kwargs: Any,
    ) -> None:
        """Queues `msg`, a list of parts, to be sent by the loop as soon as the socket has room.

        `flags`, `copy`, `track` and `kwargs` are those of `mqcore.Socket.send_multipart`. With NOBLOCK in the flags
        it does not wait for more than room for some peer: what the socket refuses then is told to the callback.

        `callback(parts, status)` is called for this message, and from then on for those sent without one, as if
        given to `on_send`. An error that is no ZMQError (a part that is no buffer) is logged and goes to the loop;
        the message is dropped, and the following ones are sent.
        """
        self._check_closed()
        if callback is not None:
            self.on_send(callback)
        kwargs["flags"], kwargs["copy"], kwargs["track"] = flags, copy, track
        self._send_queue.append((msg, kwargs, callback))
        self._schedule()

    def send_string(
        self,
        u: str,
        flags: int = 0,
        encoding: str = "utf-8",
        callback: _SendCallback | None = None,
        **kwargs: Any,
    ) -> None:
        """Queues the text `u` in `encoding`, as one part; see `send_multipart`. Raises TypeError for other things."""
        if not isinstance(u, str):
            raise TypeError(f"unicode/str objects only, not {type(u).__name__}")
        self.send(u.encode(encoding), flags=flags, callback=callback, **kwargs)

    send_unicode = send_string

    def send_json(
        self, obj: Any, flags: int = 0, callback: _SendCallback | None = None, **kwargs: Any
    ) -> None:
        """Queues `obj` as JSON in UTF-8, as one part; `kwargs` that `send` does not have go to `json.dumps`.

        Raises what `mqcore.Socket.send_json` raises for an object that JSON cannot express.
        """
        own = {key: kwargs.pop(key) for key in _SEND_OPTIONS if key in kwargs}
        msg = json.dumps(obj, **kwargs).encode("utf-8")
        self.send(msg, flags=flags, callback=callback, **own)

    def send_pyobj(
        self,
        obj: Any,
        flags: int = 0,
        protocol: int = -1,
        callback: _SendCallback | None = None,
        **kwargs: Any,
    ) -> None:
        """Queues the Python object `obj`, pickled with `protocol` (-1: the highest); see `send_multipart`.

        Raises what `mqcore.Socket.send_pyobj` raises for an object that cannot be pickled.
        """
        self.send(pickle.dumps(obj, protocol), flags=flags, callback=callback, **kwargs)

    # Without the loop.

    def flush(self, flag: int = POLLIN | POLLOUT, limit: int | None = None) -> int:
        """Handles now what can be handled without waiting: what is there to receive (POLLIN in `flag`), and queued
        messages for which there is room (POLLOUT), one of each in turn, at most `limit` in all.

        Received messages are dropped if there is no callback for them. Returns how many messages were handled.
        An exception of a callback ends it, and comes through.
        """
        self._check_closed()
        flag = int(flag)
        count = 0
        try:
            while limit is None or count < limit:
                before = count
                events = self.socket.get(_EVENTS)
                if flag & events & _IN and self._handle_recv():
                    count += 1
                if self.socket is None or count == limit:
                    break
                if flag & events & _OUT and self._send_queue and self._handle_send():
                    count += 1
                if self.socket is None or count == before:
                    break
        finally:
            # Reading EVENTS has taken the news: the loop has to look for itself at what was left.
            if self.socket is not None and (self._send_queue or self._recv_callback is not None):
                self._schedule()
        return count

    # The end.

    def set_close_callback(self, callback: Callable[[], Any] | None) -> None:
        """Has `callback()` called at the close; None: nothing."""
        check(callback)
        self._close_callback = callback

    def close(self, linger: int | None = None) -> None:
        """Leaves the loop, closes the socket, and calls the close callback. Closing again does nothing.

        `linger`, in milliseconds, is that of `mqcore.Socket.close`. What still waits in the stream's queue is dropped.
        """
        if self.socket is None:
            return
        socket = self.socket
        if socket.closed:
            warnings.warn(
                f"Unregistering FD {self._fd} after closing socket: its handler was left to watch a socket that was"
                " gone. Close the stream, which closes its socket.",
                stacklevel=2,
            )
        self._unwatch()
        self.socket = None
        self._send_queue.clear()
        self._recv_callback = None
        socket.close(linger)
        if self._close_callback is not None:
            callback, self._close_callback = self._close_callback, None
            self._run_callback(callback)

    def closed(self) -> bool:
        """Whether the stream or its socket is closed; a stream whose socket is gone is closed too."""
        if self.socket is None:
            return True
        if self.socket.closed:
            self.close()
            return True
        return False

    def _check_closed(self) -> None:
        if self.socket is None:
            raise OSError("Stream is closed")

    # Errors: there are none.

    def on_err(self, callback: Callable[..., Any]) -> None:
        """Does nothing with `callback`, and logs a warning: sockets report no errors as events. Deprecated."""
        gen_log.warning("on_err does nothing, and will be removed")

    def stop_on_err(self) -> None:
        """Does nothing, and logs a warning. Deprecated."""
        gen_log.warning("on_err does nothing, and will be removed")

    # In the loop.

    def _init_io_state(self) -> None:
        """Has the loop watch the socket."""
        # The socket, not its number: a loop that closes all it watches shall close a socket.
        self.io_loop.add_handler(self.socket, self._handle_events, IOLoop.READ)
        self._watching = True

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            self.io_loop.remove_handler(self._fd)

    def _schedule(self) -> None:
        """Has the loop look at the socket in its next turn, once."""
        if not self._scheduled:
            self._scheduled = True
            self.io_loop.add_callback(self._handle_scheduled)

    def _handle_scheduled(self) -> None:
        self._scheduled = False
        if self.socket is not None:
            self._handle_events(self.socket, 0)

    def _handle_events(self, fd: Any, events: int) -> None:
        """One look at the socket: at most one message in, and one out."""
        socket = self.socket
        if socket is None:
            return
        try:
            events = socket.get(_EVENTS)
        except ZMQError as error:
            self._handle_end(error)
            return
        queue = self._send_queue
        try:
            if events & _IN and self._recv_callback is not None:
                self._handle_recv()
                if self._lockstep:
                    events |= _OUT  # having received, it may send: that is no news
            if queue and events & _OUT and self.socket is not None and not self._handle_send():
                events &= ~_OUT  # there was no room after all; there will be news
        finally:
            if queue and events & _OUT:
                self._schedule()

    def _handle_end(self, error: ZMQError) -> None:
        """The socket is closed, or its context terminated: there will be no more news."""
        if self.socket.closed:
            self.close()
            return
        self._unwatch()
        gen_log.error("ZMQStream stops watching %r: %s", self.socket, error)
        raise error

    def _handle_recv(self) -> bool:
        """Receives a message, if one is there, for the callback. Returns whether there was one."""
        try:
            message = self.socket.recv_multipart(_DONTWAIT, self._recv_copy)
        except Again:
            return False
        callback = self._recv_callback
        if callback is not None:
            self._run_callback(callback, message)
        return True

    def _handle_send(self) -> bool:
        """Sends the first message of the queue, if there is room. Returns whether it is done with."""
        try:
            message, options, callback = self._send_queue.popleft()
        except IndexError:
            return False
        flags = options["flags"]
        options["flags"] = flags | _DONTWAIT
        status: Any
        try:
            status = self.socket.send_multipart(message, **options)
        except Again as error:
            if not flags & _DONTWAIT:
                options["flags"] = flags
                self._send_queue.appendleft((message, options, callback))
                return False
            status = error
        except ZMQError as error:
            gen_log.error("ZMQStream could not send a message: %s", error)
            status = error
        except Exception:
            gen_log.error("ZMQStream drops a message that cannot be sent", exc_info=True)
            raise
        callback = callback or self._send_callback
        if callback is not None:
            self._run_callback(callback, message, status)
        return True

    def _run_callback(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Calls a callback; see `callbacks.run`."""
        run(self.io_loop, callback, *args, **kwargs)


__all__ = ["ZMQStream"]
