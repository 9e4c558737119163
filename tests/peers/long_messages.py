"""Long messages that both sides of a test can make: each has a number, and is no other number's."""

import random
from collections.abc import Iterator
from typing import Any

from peers.filler import filler

KIB = 1024
MIB = 1024 * KIB
LONG = 64 * KIB

LENGTHS = {
    20: 20,
    KIB: 20,
    16 * KIB - 1: 10,
    16 * KIB: 10,
    16 * KIB + 1: 10,
    LONG: 25,
    MIB: 4,
    5 * MIB: 1,
}
"""Lengths of frames, on both sides of what counts as long, and how many of a hundred have them."""


def numbered(number: int, size: int = LONG) -> bytes:
    """`size` bytes, 8 at least, that begin with the number."""
    start = number % 1000
    return b"%08d" % number + filler(5 * MIB + 1000)[start : start + size - 8]


def number_of(message: bytes) -> int:
    """The number of what `numbered` made; AssertionError if the message is not as it was made."""
    number = int(message[:8])
    assert message == numbered(number, len(message))
    return number


def long_stream(seed: int, count: int) -> Iterator[list[bytes]]:
    """`count` messages, many of them long, of one frame or several."""
    dice = random.Random(seed)
    for number in range(count):
        parts = dice.randrange(2, 5) if dice.random() < 0.2 else 1
        sizes = dice.choices([*LENGTHS], [*LENGTHS.values()], k=parts)
        yield [numbered(10 * number + part, size) for part, size in enumerate(sizes)]


def exchange(sender: Any, receiver: Any, background: Any, first: int, count: int) -> None:
    """`count` long messages, one after the other, received by calls that wait."""

    def send() -> None:
        for number in range(first, first + count):
            sender.send(numbered(number))

    join = background(send)
    for number in range(first, first + count):
        assert receiver.recv() == numbered(number)
    join()
