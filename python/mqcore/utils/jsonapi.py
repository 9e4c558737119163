"""JSON as bytes in UTF-8, as `send_json` and `recv_json` put it into messages.

The module `json` of the standard library does the work; `jsonmod` is that module.
"""

from __future__ import annotations

import json
from typing import Any

jsonmod = json


def dumps(o: object, **kwargs: Any) -> bytes:
    """Returns the JSON text of `o`, in UTF-8. `kwargs` go to `json.dumps`, whose errors are raised."""
    return json.dumps(o, **kwargs).encode("utf-8")


def loads(s: bytes | str, **kwargs: Any) -> dict[str, Any] | list[Any] | str | float:
    """Returns the object that the JSON text `s` (bytes: in UTF-8) stands for. `kwargs` go to `json.loads`.

    Raises UnicodeDecodeError for bytes that are no UTF-8, ValueError for what is no JSON.
    """
    if isinstance(s, bytes):
        s = s.decode("utf-8")
    return json.loads(s, **kwargs)  # type: ignore[no-any-return]


__all__ = ["dumps", "loads"]
