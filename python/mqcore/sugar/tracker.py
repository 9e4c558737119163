"""pyzmq's path to `mqcore.tracker`. Nothing is defined here."""

from __future__ import annotations

from mqcore.error import NotDone as NotDone
from mqcore.frame import Frame as Frame
from mqcore.tracker import _FINISHED_TRACKER, MessageTracker

__all__ = ["MessageTracker", "_FINISHED_TRACKER"]
