"""The same as `mqcore.eventloop.ioloop`. Deprecated."""

from mqcore.eventloop.ioloop import *  # noqa: F403
