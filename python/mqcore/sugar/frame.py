"""pyzmq's path to `mqcore.frame`. Nothing is defined here."""

from __future__ import annotations

import mqcore as zmq  # noqa: F401
from mqcore._core import Frame as FrameBase  # noqa: F401
from mqcore.attributes import AttributeSetter as AttributeSetter
from mqcore.frame import Frame, Message

__all__ = ["Frame", "Message"]
