"""Addresses of native objects as numbers, for `shadow` and other libraries in the same process."""

from __future__ import annotations

import sys
from typing import Any


def cast_int_addr(n: Any) -> int:
    """Returns the number that `n` is: an int, or a pointer or integer of cffi. Raises ValueError for anything else."""
    if isinstance(n, int):
        return n
    # Who has an object of cffi has imported cffi.
    cffi = sys.modules.get("cffi")
    if cffi is not None:
        ffi = cffi.FFI()
        if isinstance(n, ffi.CData):
            try:
                return int(ffi.cast("size_t", n))
            except TypeError:
                pass  # a struct or the like, which has no address of its own
    raise ValueError(f"Cannot cast {n!r} to int")
