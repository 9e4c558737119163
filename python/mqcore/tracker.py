"""Watching when the engine no longer needs a payload."""

from __future__ import annotations

import time
from threading import Event

from mqcore._core import Frame, Release
from mqcore.error import NotDone

_A_WEEK = 7 * 24 * 3600.0


class MessageTracker:
    """Says when all of several payloads were released.

    `MessageTracker(*towatch)` watches events, frames and other trackers. A tracker of nothing is done.
    Raises ValueError for a frame that is not tracked, TypeError for anything else.
    """

    events: set[Event | Release]
    """What is set at the release of a payload."""
    peers: set[MessageTracker]
    """The trackers that must be done as well."""

    def __init__(self, *towatch: Event | Release | MessageTracker | Frame) -> None:
        self.events = set()
        self.peers = set()
        for watched in towatch:
            if isinstance(watched, (Event, Release)):
                self.events.add(watched)
            elif isinstance(watched, MessageTracker):
                self.peers.add(watched)
            elif isinstance(watched, Frame):
                if watched.tracker is None:
                    raise ValueError(f"Not a tracked message: {watched!r}")
                self.peers.add(watched.tracker)
            else:
                raise TypeError(
                    f"MessageTracker watches events, trackers and frames, not {watched!r}"
                )

    @property
    def done(self) -> bool:
        """Whether everything was released. Never waits."""
        return all(event.is_set() for event in self.events) and all(
            peer.done for peer in self.peers
        )

    def wait(self, timeout: float | int = -1) -> None:
        """Waits at most `timeout` seconds until everything was released; negative: for ever.

        Raises NotDone after the timeout.
        """
        if timeout is False or timeout < 0:
            timeout = _A_WEEK
        deadline = time.monotonic() + timeout
        for event in self.events:
            event.wait(timeout=max(0.0, deadline - time.monotonic()))
            if not event.is_set():
                raise NotDone
        for peer in self.peers:
            peer.wait(timeout=max(0.0, deadline - time.monotonic()))


_FINISHED_TRACKER = MessageTracker()

__all__ = ["MessageTracker", "_FINISHED_TRACKER"]
