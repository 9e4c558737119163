"""What both kinds of tunnel need: the parts of a server's name, and their optional modules. No connections here."""

from __future__ import annotations

import re
from getpass import getuser
from importlib import import_module
from typing import Any


def _import(name: str, purpose: str) -> Any:
    """The optional module `name`, which `purpose` needs. Raises ImportError with a hint."""
    try:
        return import_module(name)
    except ImportError as error:
        other = "or use paramiko=True" if name == "pexpect" else "or use paramiko=False"
        raise ImportError(
            f"{purpose} needs {name}, which cannot be imported ({error}): install it, {other}",
            name=name,
        ) from error


def parse_server(server: str) -> tuple[str | None, str, int | None]:
    """Returns user, host and port of `server`, which is [user@]host[:port]; None for what is not said.

    Raises ValueError for anything else. The host may be an IPv6 address, in brackets if a port follows.
    """
    user, at, place = server.rpartition("@")
    bracketed = re.fullmatch(r"\[([^\]]+)\](?::(\d+))?", place)
    if bracketed:
        host, number = bracketed[1], bracketed[2]
    elif place.count(":") == 1:
        host, number = place.split(":")
    else:
        host, number = place, None
    if not host or host.startswith("-") or server.startswith("-"):
        raise ValueError(f"{server!r} is no server: say [user@]host[:port]")
    if number is not None and not (number.isdigit() and 0 < int(number) < 65536):
        raise ValueError(f"{number!r} in {server!r} is no port: ports are 1 to 65535")
    return (user if at else None), host, (None if number is None else int(number))


def _split_server(server: str) -> tuple[str, str, int]:
    """User, host and port of `[user@]host[:port]`; without a user it is this one, without a port 22."""
    user, host, port = parse_server(server)
    return (getuser() if user is None else user), host, (22 if port is None else port)


__all__ = ["parse_server"]
