"""Z85: bytes as printable ASCII, five characters for each four bytes (RFC 32). CURVE keys are written so."""

from __future__ import annotations

import struct

Z85CHARS = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
"""The digits, in the order of their values."""
Z85MAP = {character: value for value, character in enumerate(Z85CHARS)}
"""The value of each digit."""

_LARGEST = 0xFFFFFFFF


class _BadCharacter(ValueError, KeyError):
    """A character that is no digit of Z85. Also a KeyError, which is what pyzmq raises."""

    __str__ = ValueError.__str__


class _TooLarge(ValueError, struct.error):
    """Five digits that stand for more than 32 bits. Also a struct.error, which is what pyzmq raises."""


def encode(rawbytes: bytes | bytearray | memoryview) -> bytes:
    """Returns the Z85 text (RFC 32) of `rawbytes`, five bytes for each four.

    Raises ValueError if their number is no multiple of 4, TypeError for what has no buffer.
    """
    raw = bytes(memoryview(rawbytes))
    if len(raw) % 4:
        raise ValueError(f"length must be multiple of 4, not {len(raw)}")
    text = bytearray()
    for (number,) in struct.iter_unpack(">I", raw):
        digits = []
        for _ in range(5):
            number, digit = divmod(number, 85)
            digits.append(Z85CHARS[digit])
        text += bytes(reversed(digits))
    return bytes(text)


def decode(z85bytes: str | bytes | bytearray | memoryview) -> bytes:
    """Returns the bytes that `z85bytes`, a Z85 text (RFC 32), stands for: four for each five characters.

    Raises ValueError for a length that is no multiple of 5, for text that is not ASCII, for characters that are no
    digits of Z85 (this one is a KeyError, too), and for five digits of more than 32 bits (this one is a struct.error,
    too); TypeError for what is no text and has no buffer.
    """
    if isinstance(z85bytes, str):
        if not z85bytes.isascii():
            raise ValueError("string argument should contain only ASCII characters")
        z85bytes = z85bytes.encode("ascii")
    text = bytes(memoryview(z85bytes))
    if len(text) % 5:
        raise ValueError(f"Z85 length must be multiple of 5, not {len(text)}")
    raw = bytearray()
    for start in range(0, len(text), 5):
        number = 0
        for at, character in enumerate(text[start : start + 5], start):
            digit = Z85MAP.get(character)
            if digit is None:
                raise _BadCharacter(f"{bytes([character])!r} at {at} is no digit of Z85")
            number = number * 85 + digit
        if number > _LARGEST:
            shown = text[start : start + 5]
            raise _TooLarge(f"{shown!r} at {start} stands for {number}, more than 32 bits hold")
        raw += number.to_bytes(4, "big")
    return bytes(raw)
