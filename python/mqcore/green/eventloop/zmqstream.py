"""Callbacks for green sockets in a tornado loop, which then runs in a greenlet where gevent has patched the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tornado.ioloop import IOLoop

from mqcore.eventloop import zmqstream

if TYPE_CHECKING:
    from mqcore.green.core import _Socket


class ZMQStream(zmqstream.ZMQStream):
    """`mqcore.eventloop.zmqstream.ZMQStream` of a green socket: ZMQStream(socket, io_loop=None)."""

    def __init__(self, socket: _Socket, io_loop: IOLoop | None = None) -> None:
        super().__init__(socket, io_loop or IOLoop.current())


__all__ = ["ZMQStream"]
