"""The event loop helpers for green sockets; see `mqcore.eventloop`."""

from tornado.ioloop import IOLoop

__all__ = ["IOLoop"]
