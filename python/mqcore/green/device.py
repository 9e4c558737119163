"""Passing messages on between two sockets, as greenlets.

A message is received only when there is room to send it on, so that ending a device loses none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import gevent  # type: ignore[import-untyped, unused-ignore]

import mqcore as zmq
from mqcore import _core
from mqcore.error import Again
from mqcore.green.poll import _Poller as Poller

if TYPE_CHECKING:
    from mqcore.green.core import _Socket

_IN = int(zmq.POLLIN)
_OUT = int(zmq.POLLOUT)
_DONTWAIT = int(zmq.DONTWAIT)

_FAIR = 64
"""After so many messages in a row other greenlets run."""


def device(device_type: zmq.DeviceType, isocket: _Socket, osocket: _Socket) -> NoReturn:
    """Passes whole messages on between two green sockets, in both directions; `device_type` makes no difference.

    Where `osocket` is -1 or `isocket`, what this one socket receives is sent by it. Does not return: raises
    ContextTerminated when the context is terminated, ENOTSOCK when a socket is closed. Ends with the greenlet that
    called it.
    """
    proxy(isocket, isocket if _is_none(osocket) else osocket)


def proxy(frontend: _Socket, backend: _Socket, capture: _Socket | None = None) -> NoReturn:
    """`mqcore.proxy` for green sockets, during which other greenlets run: passes messages on between `frontend` and
    `backend` in both directions, and sends a copy of each to `capture`, if that is given.

    Does not return; raises what `device` does.
    """
    ends = (
        [(frontend, backend)] if backend is frontend else [(frontend, backend), (backend, frontend)]
    )
    ways = [gevent.spawn(_forward, source, target, capture) for source, target in ends]
    try:
        (ended,) = gevent.wait(ways, count=1)[:1]
        raise ended.value
    finally:
        gevent.killall(ways)


def _is_none(socket: Any) -> bool:
    return isinstance(socket, int) and socket < 0


def _forward(source: _Socket, target: _Socket, capture: _Socket | None) -> BaseException:
    """Passes messages on in one direction; returns the error that ends it."""
    in_a_row = 0
    answers = source is target and source.type in (zmq.REP, zmq.REQ)  # no room before it receives
    try:
        while True:
            _await(source, _IN)
            if not answers:
                _await(target, _OUT)
            try:
                parts = source.recv_multipart(_DONTWAIT, copy=False)
            except Again:
                continue  # somebody else has taken it
            if capture is not None:
                capture.send_multipart(parts, copy=False)
            target.send_multipart(parts, copy=False)
            in_a_row += 1
            if in_a_row % _FAIR == 0:
                gevent.sleep(0)
    except gevent.GreenletExit:
        raise
    except Exception as error:
        return error


def _await(socket: _Socket, event: int) -> None:
    if _core.Socket.poll(socket, 0, event):
        return
    poller = Poller()
    poller.register(socket, event)
    poller.poll()


__all__ = ["device", "proxy"]
