"""Making sockets for a test, alone and in pairs."""

from typing import Any


class Sockets:
    """Makes sockets and keeps them. `defaults` are options of all of them."""

    def __init__(self, context: Any, **defaults: Any) -> None:
        self.context = context
        self.defaults = defaults
        self.kept: list[Any] = []

    def __call__(self, kind: int, **options: Any) -> Any:
        socket = self.context.socket(kind)
        self.kept.append(socket)
        for name, value in (self.defaults | options).items():
            setattr(socket, name, value)
        return socket

    def pair(self, a: int, b: int, transport: str = "inproc", **options: Any) -> tuple[Any, Any]:
        """Two connected sockets: the second one bound."""
        bound, connected = self(b, **options), self(a, **options)
        places = {"inproc": "inproc://pair", "ipc": "ipc://*", "tcp": "tcp://127.0.0.1:*"}
        bound.bind(places[transport])
        connected.connect(bound.last_endpoint)
        return connected, bound
