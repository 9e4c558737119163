"""The old place of the event loop: tornado's names, and an `install` that has nothing left to do.

Deprecated: sockets work with every tornado and asyncio loop, so import from `tornado.ioloop`.
"""

from __future__ import annotations

import warnings

from tornado.ioloop import *  # noqa: F403
from tornado.ioloop import IOLoop


def _deprecated() -> None:
    warnings.warn(
        "mqcore.eventloop.ioloop is deprecated: sockets work with the default loops of tornado and asyncio,"
        " so import from tornado.ioloop",
        DeprecationWarning,
        stacklevel=3,
    )


_deprecated()

ZMQIOLoop = IOLoop


def install() -> None:
    """Does nothing but to warn (DeprecationWarning): no loop needs to be installed any more."""
    _deprecated()
