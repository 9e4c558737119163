"""pyzmq's path to `mqcore.stopwatch`. Nothing is defined here."""

from __future__ import annotations

from mqcore.stopwatch import Stopwatch

__all__ = ["Stopwatch"]
