"""What mkdocstrings reads of the native module: signatures from its stub, and docstrings from the module itself.

The stub has no docstrings, so the built module is imported for them: build it before the documentation.
"""

from __future__ import annotations

import inspect
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import griffe

_NATIVE = "_core"


class NativeDocstrings(griffe.Extension):
    """Writes the docstrings of `mqcore._core` into what griffe read of its stub."""

    def on_package(self, *, pkg: griffe.Module, **_kwargs: Any) -> None:
        """Called when all of the package was read."""
        if pkg.name == "mqcore" and _NATIVE in pkg.members:
            sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))
            try:
                _fill(pkg[_NATIVE], import_module(f"mqcore.{_NATIVE}"))
            finally:
                del sys.path[0]


def _fill(documented: Any, real: Any) -> None:
    # A stub may have nothing but overloads of a function: griffe makes no member of those.
    for name, overloads in list(getattr(documented, "overloads", {}).items()):
        if name not in documented.members:
            widest = overloads[-1]
            widest.overloads = [*overloads]
            documented.set_member(name, widest)
    for name, member in documented.members.items():
        if member.is_alias or name.startswith("_") or not hasattr(real, name):
            continue
        there = getattr(real, name)
        text = None if isinstance(there, (int, str)) else inspect.getdoc(there)
        if text and member.docstring is None:
            member.docstring = griffe.Docstring(text, parent=member)
        if member.is_class:
            _fill(member, there)
