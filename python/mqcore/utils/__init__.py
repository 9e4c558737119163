"""Helpers around sockets: JSON, Z85, monitor messages, and modules that old programs import.

Nothing is imported here. The three modules that pyzmq has loaded from the start (`interop`, `jsonapi`, `z85`) are imported
when they are first asked for as attributes; the others by their own names.
"""

import importlib
from typing import Any

_ATTRIBUTES = ("interop", "jsonapi", "z85")


def __getattr__(name: str) -> Any:
    if name in _ATTRIBUTES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
