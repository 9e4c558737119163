"""The deprecated stopwatch of pyzmq, over `time.monotonic`. Nothing in mqcore uses it."""

from __future__ import annotations

import time
import warnings


class Stopwatch:
    """Measures microseconds. Deprecated, and warns so: use `time.monotonic` or `time.perf_counter`."""

    def __init__(self) -> None:
        warnings.warn(
            "zmq.Stopwatch is deprecated. Use time.monotonic or time.perf_counter instead",
            DeprecationWarning,
            stacklevel=2,
        )
        self._start: float = 0.0
        self._monotonic = time.monotonic

    def start(self) -> None:
        """Begins to measure, again if it had begun before."""
        self._start = self._monotonic()

    def stop(self) -> int:
        """Returns the microseconds since `start`, an int; it goes on, so that this can be asked again."""
        return int(1e6 * (self._monotonic() - self._start))


__all__ = ["Stopwatch"]
