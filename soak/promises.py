"""The judge: what has arrived, what is missing, and whether that was promised otherwise.

A sender numbers its messages from 0. While a connection lasts, its messages arrive complete and in
order: what a receiver gets through one connection is an unbroken stretch of numbers. A break may
lose the messages in flight, so that the next stretch begins later; it never takes one back.
Stretches of several connections may be read alternately, because a receiver takes from its
connections in turn, an ended one with unread messages too.
"""

from __future__ import annotations

from bisect import bisect_right
from math import ceil
from typing import NamedTuple

from soak.messages import Damaged, Stamp, parse, size_of

SHOWN = 20
"""Broken promises that are kept with their words; the others are only counted."""

IN_SUCCESSION = 3
"""Breaks that leave one gap, because nothing arrived between them."""


class Broken:
    """The broken promises of a workload."""

    def __init__(self) -> None:
        self.count = 0
        self.texts: list[str] = []

    def add(self, text: str) -> None:
        """One more, as a sentence."""
        self.count += 1
        if len(self.texts) < SHOWN:
            self.texts.append(text)


class Loss(NamedTuple):
    """What is missing of a sender's messages: how many, and the bytes of each gap."""

    messages: int
    gaps: list[int]

    @property
    def largest(self) -> int:
        """Bytes of the largest gap."""
        return max(self.gaps, default=0)


class Stretches:
    """The numbers of one sender that have arrived, as unbroken stretches.

    Invariant: `starts` and `ends` (the number after the last) are of one length and increase, and
    stretches do not touch.
    """

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.begun = 0

    @property
    def last(self) -> int:
        """The highest number that arrived, -1 if none has."""
        return self.ends[-1] - 1 if self.ends else -1

    def add(self, number: int) -> bool:
        """Adds a number; False if it was there already."""
        place = bisect_right(self.starts, number) - 1
        if place >= 0 and number < self.ends[place]:
            return False
        if place >= 0 and number == self.ends[place]:
            self.ends[place] += 1
        else:
            place += 1
            self.starts.insert(place, number)
            self.ends.insert(place, number + 1)
            self.begun += 1
        if place + 1 < len(self.starts) and self.ends[place] == self.starts[place + 1]:
            del self.starts[place + 1], self.ends[place]
        return True

    def gaps(self) -> list[range]:
        """The numbers that are missing below the highest one."""
        befores = [0, *self.ends[:-1]]
        return [
            range(before, start)
            for before, start in zip(befores, self.starts, strict=True)
            if before < start
        ]


class Arrivals:
    """What one receiver gets.

    `ordered`: the numbers of a sender must increase, since all of them come through one queue.
    """

    def __init__(self, broken: Broken, ordered: bool = False) -> None:
        self.broken = broken
        self.ordered = ordered
        self.count = 0
        self.of: dict[int, Stretches] = {}

    def take(self, message: bytes) -> Stamp | None:
        """Checks and counts a message. Returns its stamp, None if it is damaged."""
        try:
            stamp = parse(message)
        except Damaged as error:
            self.broken.add(str(error))
            return None
        self.count += 1
        stretches = self.of.setdefault(stamp.sender, Stretches())
        before = stretches.last
        if not stretches.add(stamp.number):
            self.broken.add(f"{stamp} was delivered twice")
        elif self.ordered and stamp.number < before:
            self.broken.add(f"{stamp} came after number {before}")
        return stamp

    def last(self, sender: int) -> int:
        """The highest number of a sender that arrived, -1 if none has."""
        return self.of[sender].last if sender in self.of else -1

    def loss(self, sender: int) -> Loss:
        """What is missing of a sender's messages up to the last one that arrived."""
        gaps = self.of[sender].gaps() if sender in self.of else []
        sizes = [sum(size_of(Stamp(sender, number)) for number in gap) for gap in gaps]
        return Loss(sum(map(len, gaps)), sizes)

    def judge(self, sender: int, sent: int, breaks: int, in_flight: int) -> Loss:
        """Compares with what was promised, at the end.

        `sent`: messages that the sender sent; `breaks`: connections of it that were broken;
        `in_flight`: bytes that each of them may lose. Gaps of breaks in succession can be one: it
        is as large as those together.
        """
        loss = self.loss(sender)
        if self.last(sender) != sent - 1:
            self.broken.add(
                f"sender {sender} sent {sent} messages; the last that arrived is number "
                f"{self.last(sender)}, although nothing was broken any more"
            )
        if sum(ceil(gap / max(in_flight, 1)) for gap in loss.gaps) > breaks:
            self.broken.add(
                f"{loss.messages} messages of sender {sender} are missing in {len(loss.gaps)} "
                f"places (the first: {self.of[sender].gaps()[:3]}); {breaks} connections were "
                f"broken, which may lose {in_flight} bytes each"
            )
        if sender in self.of and self.of[sender].begun > breaks + 1:
            self.broken.add(
                f"messages of sender {sender} came in {self.of[sender].begun} stretches; "
                f"{breaks} connections were broken, and each keeps the order"
            )
        if loss.largest > IN_SUCCESSION * in_flight:
            self.broken.add(
                f"{loss.largest} bytes of sender {sender} are missing in one place; at most "
                f"{in_flight} can be on their way, and what is queued survives"
            )
        return loss


class Connections:
    """Messages by the connection they came through, where the receiver can tell (ROUTER, STREAM):
    in each the numbers follow each other without a gap.
    """

    def __init__(self, broken: Broken) -> None:
        self.broken = broken
        self.next: dict[bytes, int] = {}

    def take(self, connection: bytes, stamp: Stamp) -> None:
        """One message of `connection`."""
        expected = self.next.get(connection, stamp.number)
        if stamp.number != expected:
            self.broken.add(f"{stamp} came where number {expected} of the same connection should")
        self.next[connection] = stamp.number + 1
