"""Message content that both processes can make from two numbers, and compare without shipping it through a pipe."""

import hashlib
import random
from functools import lru_cache


class Filler(bytes):
    """Bytes that know how they were made, so that a peer process can make them again."""

    recipe: tuple[int, int]


@lru_cache(maxsize=256)
def filler(size: int, seed: int = 0) -> Filler:
    """`size` bytes that depend on `seed`. The first is a capital letter: never taken for a subscription."""
    head = bytes([0x41 + seed % 26])
    made = Filler((head + random.Random(seed).randbytes(size - 1)) if size else b"")
    made.recipe = (size, seed)
    return made


def stream(seed: int, count: int) -> list[list[bytes]]:
    """`count` messages, mostly short and of one frame, none equal to another: both processes make the same ones."""
    dice = random.Random(seed)
    made = []
    for number in range(count):
        longest = dice.choice([0, 20, 100, 300, 10_000])
        parts = 1 if dice.random() < 0.95 else dice.randrange(2, 5)
        made.append(
            [b"%d " % number + b"x" * dice.randrange(longest + 1) for _ in range(parts)]
            if dice.random() < 0.98
            else [b""]
        )
    return made


class Fingerprint:
    """Stands for received bytes too long to carry back; equal to bytes of the same length and hash."""

    def __init__(self, size: int, digest: str) -> None:
        self.size = size
        self.digest = digest

    @classmethod
    def of(cls, data: bytes) -> "Fingerprint":
        return cls(len(data), hashlib.sha256(data).hexdigest())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, bytes):
            other = Fingerprint.of(other) if len(other) == self.size else None
        return isinstance(other, Fingerprint) and (self.size, self.digest) == (
            other.size,
            other.digest,
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{self.size} bytes, sha256 {self.digest[:8]}>"


def pack(data: bytes) -> object:
    """A frame as JSON, for sending: its recipe if it has one, else its text."""
    return list(data.recipe) if isinstance(data, Filler) else data.decode("latin-1")


def unpack(value: object) -> bytes:
    """The inverse of `pack`."""
    return filler(*value) if isinstance(value, list) else value.encode("latin-1")


def pack_received(data: bytes) -> object:
    """A received frame as JSON: short ones whole, long ones as a fingerprint."""
    if len(data) <= 512:
        return data.decode("latin-1")
    print_ = Fingerprint.of(data)
    return [print_.size, print_.digest]


def unpack_received(value: object) -> "bytes | Fingerprint":
    """The inverse of `pack_received`, as far as there is one."""
    return Fingerprint(*value) if isinstance(value, list) else value.encode("latin-1")
