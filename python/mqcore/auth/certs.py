"""Files with CURVE keys, in the format of pyzmq and czmq: a public one to give away and a secret one.

The secret file can be read by its owner only. Nothing else about files is changed here.
"""

from __future__ import annotations

import datetime
import glob
import os

from mqcore import curve

_PUBLIC_BANNER = """\
#   ****  Generated on {0} by mqcore  ****
#   Public key of a ZeroMQ CURVE certificate. It may be given to everybody who can check
#   that it comes from you.

"""
_SECRET_BANNER = """\
#   ****  Generated on {0} by mqcore  ****
#   SECRET key of a ZeroMQ CURVE certificate. Keep it to yourself, and readable by its owner only.

"""


def create_certificates(
    key_dir: str | os.PathLike[str], name: str, metadata: dict[str, str] | None = None
) -> tuple[str, str]:
    """Makes a pair of keys and writes it to `name.key` (public) and `name.key_secret` in the directory `key_dir`.

    `metadata` goes into the secret file. Existing files are overwritten. Returns the paths of both files.

    Raises OSError for a directory that cannot be written, ValueError for metadata of more than a line, and
    ZMQError(ENOTSUP) as long as there is no CURVE.
    """
    public_key, secret_key = curve.curve_keypair()
    path = os.path.join(os.fspath(key_dir), name)
    public_file, secret_file = f"{path}.key", f"{path}.key_secret"
    now = datetime.datetime.now()
    secret_text = _SECRET_BANNER.format(now) + _certificate(public_key, secret_key, metadata)
    with open(public_file, "w", encoding="utf-8") as file:
        file.write(_PUBLIC_BANNER.format(now) + _certificate(public_key))
    with open(secret_file, "w", encoding="utf-8", opener=_open_for_the_owner) as file:
        file.write(secret_text)
    return public_file, secret_file


def _open_for_the_owner(path: str, flags: int) -> int:
    """Opens a file that only its owner can read from the first byte on, also if it was there before."""
    descriptor = os.open(path, flags, 0o600)
    if hasattr(os, "fchmod"):
        os.fchmod(descriptor, 0o600)
    return descriptor


def _certificate(
    public_key: bytes, secret_key: bytes | None = None, metadata: dict[str, str] | None = None
) -> str:
    """The text of a file, without what stands at its head."""
    lines = ["metadata"]
    for key, value in (metadata or {}).items():
        if len(f"{key} = {value}".splitlines()) != 1:
            raise ValueError(f"metadata must be of one line each, not {key!r}: {value!r}")
        lines.append(f"    {key} = {value}")
    lines += ["curve", f'    public-key = "{public_key.decode("ascii")}"']
    if secret_key is not None:
        lines.append(f'    secret-key = "{secret_key.decode("ascii")}"')
    return "\n".join(lines) + "\n"


def load_certificate(filename: str | os.PathLike[str]) -> tuple[bytes, bytes | None]:
    """Returns the public and the secret key in the file `filename`, in Z85; the secret one is None if it is a public
    file.

    Raises OSError for what is no file, ValueError for a file without a public key.
    """
    if not os.path.isfile(filename):
        raise OSError(f"Invalid certificate file: {os.fspath(filename)}")
    keys: dict[str, bytes] = {}
    in_metadata = False
    with open(filename, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            name, equals, value = (part.strip() for part in text.partition("="))
            if not equals:
                in_metadata = name == "metadata"
            elif name in ("public-key", "secret-key") and not in_metadata:
                # The whole rest of the line: '#' and '=' are characters of keys.
                keys[name] = value.strip(" \t'\"").encode("utf-8", "surrogateescape")
    if not keys.get("public-key"):
        raise ValueError(f"No public key found in {os.fspath(filename)}")
    return keys["public-key"], keys.get("secret-key")


def load_certificates(directory: str | os.PathLike[str] = ".") -> dict[bytes, bool]:
    """Returns the public keys, in Z85, in all files `*.key` of `directory`, each with True.

    Raises OSError for what is no directory, ValueError if one of the files has no public key.
    """
    if not os.path.isdir(directory):
        raise OSError(f"Invalid certificate directory: {os.fspath(directory)}")
    pattern = os.path.join(glob.escape(os.fspath(directory)), "*.key")
    return {load_certificate(file)[0]: True for file in glob.glob(pattern)}


__all__ = ["create_certificates", "load_certificate", "load_certificates"]
