"""Messages that prove themselves: each carries its sender, its number, its size and a checksum of
all that.

The size follows from sender and number, so that it is known of a lost message too.
"""

from __future__ import annotations

import random
import struct
import zlib
from typing import NamedTuple

_HEAD = struct.Struct("!4sIQII")
_MAGIC = b"soak"
_POOL = random.Random(7).randbytes(64 * 1024)

LARGEST = 16 * 1024
"""Bytes of the largest message."""


class Stamp(NamedTuple):
    """Who made a message, and which of its messages it is, from 0."""

    sender: int
    number: int


class Damaged(Exception):
    """A message that is not as it was made."""


def size_of(stamp: Stamp) -> int:
    """Bytes of a message: mostly up to 2,000, one in fifty up to LARGEST."""
    spread = (stamp.number * 2_654_435_761 + stamp.sender * 40_503) >> 7
    limit = LARGEST if stamp.number % 50 == 17 else 2000
    return _HEAD.size + spread % (limit - _HEAD.size)


def make(stamp: Stamp) -> bytes:
    """The message of this stamp."""
    size = size_of(stamp)
    start = (stamp.number * 97 + stamp.sender) % (len(_POOL) - LARGEST)
    body = _POOL[start : start + size - _HEAD.size]
    return _HEAD.pack(_MAGIC, *stamp, size, _checksum(stamp, body)) + body


def parse(message: bytes) -> Stamp:
    """The stamp of a message. Raises Damaged if anything about it is not as it was made."""
    if len(message) < _HEAD.size:
        raise Damaged(f"{len(message)} bytes are no message: {message[:40]!r}")
    magic, sender, number, size, checksum = _HEAD.unpack_from(message)
    stamp = Stamp(sender, number)
    if magic != _MAGIC:
        raise Damaged(f"a message begins with {message[:40]!r}")
    if not size == len(message) == size_of(stamp):
        raise Damaged(f"{stamp} has {len(message)} bytes instead of {size_of(stamp)}")
    if checksum != _checksum(stamp, memoryview(message)[_HEAD.size :]):
        raise Damaged(f"the content of {stamp} was changed")
    return stamp


def burst(random: random.Random) -> int:
    """How many messages to send at once: some, and now and then so many that a queue is far longer
    than what can be on its way, so that a queue that gets lost shows.
    """
    return 3500 if random.random() < 0.01 else random.randrange(1, 40)


def _checksum(stamp: Stamp, body: bytes | memoryview) -> int:
    return zlib.crc32(body, stamp.sender * 31 + stamp.number & 0xFFFFFFFF)
