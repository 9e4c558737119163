"""Ctrl-C on Windows: a name that portable programs import.

Nothing has to be done for it: Ctrl-C ends every waiting call of mqcore by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class allow_interrupt:
    """A context manager that does nothing: waiting calls end at Ctrl-C without it.

    `action` is what pyzmq calls on Windows, at Ctrl-C, to end the wait; it is not called here.
    """

    def __init__(self, action: Callable[[], Any] | None = None) -> None:
        pass

    def __enter__(self) -> None:
        return None

    def __exit__(self, *args: Any) -> None:
        return None
