"""Frames: parts of messages, kept by reference. The class is native; `Message` is its old name."""

from __future__ import annotations

from mqcore._core import Frame

Message = Frame

__all__ = ["Frame", "Message"]
