"""Figures as people read them: three digits and a unit."""

from __future__ import annotations


def quantity(key: str, value: float) -> str:
    """A rate per second, or a time in microseconds."""
    if key != "rate":
        return f"{value:.3g} µs" if value < 1000 else f"{value / 1000:.3g} ms"
    for unit, factor in (("M/s", 1e6), ("k/s", 1e3)):
        if value >= 0.9995 * factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.3g}/s"


def size(value: float) -> str:
    """Bytes."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.0f} B"


def throughput(value: float) -> str:
    """Bytes per second, in powers of ten, as an axis has them."""
    for unit, factor in (("GB/s", 1e9), ("MB/s", 1e6), ("kB/s", 1e3)):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.0f} B/s"
