"""Sockets in a tornado event loop: `mqcore.eventloop.zmqstream.ZMQStream`.

Needs tornado, which nothing else in mqcore imports.
"""

from tornado.ioloop import IOLoop

__all__ = ["IOLoop"]
