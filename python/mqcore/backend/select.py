"""What a backend has to offer, and loading one by the name of its module."""

from __future__ import annotations

from importlib import import_module
from typing import Any

public_api = [
    "Context",
    "Socket",
    "Frame",
    "Message",
    "proxy",
    "proxy_steerable",
    "zmq_poll",
    "strerror",
    "zmq_errno",
    "has",
    "curve_keypair",
    "curve_public",
    "zmq_version_info",
    "IPC_PATH_MAX_LEN",
    "PYZMQ_DRAFT_API",
]
"""The public names of a backend."""


def select_backend(name: str) -> dict[str, Any]:
    """The names of `public_api` and `monitored_queue` from the module `name`.

    Raises ImportError if there is no such module, AttributeError if it lacks one of the names.
    """
    module = import_module(name)
    wanted = [*public_api, "monitored_queue"]
    missing = [api for api in wanted if not hasattr(module, api)]
    if missing:
        raise AttributeError(
            f"module {name!r} is no backend: it has no attribute {', '.join(map(repr, missing))}"
        )
    return {api: getattr(module, api) for api in wanted}
