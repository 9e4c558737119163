"""Keys for CURVE: making a pair, and the public key of a secret one.

CURVE itself is not there yet: both functions check their arguments and then raise ENOTSUP. Nothing is stored.
"""

from __future__ import annotations

from typing import NoReturn

from mqcore.constants import Errno
from mqcore.error import ZMQError
from mqcore.utils import z85

_KEY_LENGTH = 40
"""Characters of a key in Z85: 32 bytes."""


def curve_keypair() -> tuple[bytes, bytes]:
    """Returns a new pair of keys of CURVE (RFC 26), the public one first, as 40 characters of Z85 each.

    Raises ZMQError(ENOTSUP): this version of mqcore has no CURVE.
    """
    _not_yet("curve_keypair")


def curve_public(secret_key: str | bytes) -> bytes:
    """Returns the public key of `secret_key`, a secret one of CURVE (RFC 26), both as 40 characters of Z85.

    Raises TypeError for what is neither str nor bytes, ValueError for another length, ZMQError(EINVAL) for
    characters that are no Z85, and then ZMQError(ENOTSUP): this version of mqcore has no CURVE.
    """
    # The value is not shown in these errors: it is a secret.
    if isinstance(secret_key, str):
        secret_key = secret_key.encode("utf-8")
    if not isinstance(secret_key, (bytes, bytearray)):
        raise TypeError(f"secret key must be str or bytes, not {type(secret_key).__name__}")
    if len(secret_key) != _KEY_LENGTH:
        raise ValueError(
            f"secret key must be a 40 byte z85 encoded string, but it has {len(secret_key)} bytes"
        )
    try:
        z85.decode(secret_key)
    except ValueError:
        raise ZMQError(Errno.EINVAL, "Invalid argument: the secret key is no Z85") from None
    _not_yet("curve_public")


def _not_yet(name: str) -> NoReturn:
    raise ZMQError(
        Errno.ENOTSUP,
        f"Operation not supported: {name} needs CURVE, which this mqcore does not have",
    )


__all__ = ["curve_keypair", "curve_public"]
