"""mqcore for gevent: `import mqcore.green as zmq`.

Everything is as in mqcore, and the very same objects, but for Context, Socket, Poller and device: calls of these
that wait let other greenlets run. `proxy`, `proxy_steerable`, `select` and `zmq_poll` are mqcore's own, which block the
whole thread; a proxy for greenlets is `mqcore.green.device.proxy`. Needs gevent; no monkey-patching is necessary.
"""

from __future__ import annotations

import typing as _t

import mqcore as _zmq
from mqcore import *  # noqa: F403
from mqcore.green.core import _Context, _Socket
from mqcore.green.device import device as device  # type: ignore[assignment]
from mqcore.green.poll import _Poller

Context = _Context  # type: ignore[assignment, misc]
Socket = _Socket  # type: ignore[misc]
Poller = _Poller  # type: ignore[misc]

if not _t.TYPE_CHECKING:  # as in mqcore
    __all__ = [*_zmq.__all__]
