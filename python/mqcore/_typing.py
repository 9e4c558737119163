"""The names of `typing` that pyzmq's users import from here; Python 3.11 has them all. Nothing of mqcore's own."""

from __future__ import annotations

import sys
from typing import TypeAlias

__all__ = ["TypeAlias", "sys"]
