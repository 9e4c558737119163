"""Names for text and bytes from the time of two Pythons. Deprecated: use str and bytes.

Each function warns with DeprecationWarning when it is called.
"""

from __future__ import annotations

import builtins
import warnings

bytes = builtins.bytes
unicode = str
basestring = (str,)


def _warn() -> None:
    warnings.warn(
        "mqcore.utils.strtypes is deprecated, as in pyzmq since 23: use str and bytes",
        DeprecationWarning,
        stacklevel=3,
    )


def cast_bytes(s: str | bytes, encoding: str = "utf8", errors: str = "strict") -> bytes:
    """Returns `s` as bytes: text is encoded in `encoding`, and `errors` is that of `str.encode`. Deprecated.

    Raises TypeError for what is neither, UnicodeEncodeError.
    """
    _warn()
    if isinstance(s, bytes):
        return s
    if isinstance(s, str):
        return s.encode(encoding, errors)
    raise TypeError(f"Expected unicode or bytes, got {s!r}")


def cast_unicode(s: str | bytes, encoding: str = "utf8", errors: str = "strict") -> str:
    """Returns `s` as text: bytes are decoded from `encoding`, and `errors` is that of `bytes.decode`. Deprecated.

    Raises TypeError for what is neither, UnicodeDecodeError.
    """
    _warn()
    if isinstance(s, bytes):
        return s.decode(encoding, errors)
    if isinstance(s, str):
        return s
    raise TypeError(f"Expected unicode or bytes, got {s!r}")


b = asbytes = cast_bytes
u = cast_unicode

__all__ = [
    "asbytes",
    "b",
    "basestring",
    "bytes",
    "cast_bytes",
    "cast_unicode",
    "u",
    "unicode",
]
