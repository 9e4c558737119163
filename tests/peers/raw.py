"""A peer that speaks ZMTP by hand over a plain socket, so that it can also speak it wrongly. It keeps no state but
the bytes not yet consumed, and never answers by itself.
"""

import socket
import struct
import time
from dataclasses import dataclass

from peers.waiting import PATIENCE

MORE, LONG, COMMAND = 1, 2, 4
SIGNATURE = b"\xff" + bytes(7) + b"\x01\x7f"


class Closed(Exception):
    """The other side has closed the connection."""


@dataclass(frozen=True)
class RawFrame:
    """A frame as it was on the wire."""

    flags: int
    body: bytes

    @property
    def more(self) -> bool:
        return bool(self.flags & MORE)

    @property
    def command(self) -> bytes | None:
        """The name, if this is a command."""
        return self.body[1 : 1 + self.body[0]] if self.flags & COMMAND else None

    @property
    def data(self) -> bytes:
        """What follows a command's name."""
        return self.body[1 + self.body[0] :]


def greeting(
    major: int = 3, minor: int = 1, mechanism: bytes = b"NULL", as_server: int = 0
) -> bytes:
    """The 64 bytes of ZMTP 3.x."""
    return (
        SIGNATURE
        + bytes([major, minor])
        + mechanism.ljust(20, b"\0")
        + bytes([as_server])
        + bytes(31)
    )


def frame(
    body: bytes, more: bool = False, command: bool = False, flags: int = 0, long: bool | None = None
) -> bytes:
    """A frame; `flags` are set in addition, `long` forces a form of the length."""
    flags |= MORE * more | COMMAND * command
    if len(body) > 255 if long is None else long:
        return bytes([flags | LONG]) + len(body).to_bytes(8, "big") + body
    return bytes([flags, len(body)]) + body


def header(length: int, more: bool = False, command: bool = False) -> bytes:
    """The header of a LONG frame whose body may never come."""
    return bytes([MORE * more | COMMAND * command | LONG]) + length.to_bytes(8, "big")


def command(name: bytes, data: bytes = b"") -> bytes:
    """A command frame."""
    return frame(bytes([len(name)]) + name + data, command=True)


def prop(name: bytes, value: bytes) -> bytes:
    """A property of READY."""
    return bytes([len(name)]) + name + struct.pack(">I", len(value)) + value


def ready(socket_type: bytes, identity: bytes | None = None, **more: bytes) -> bytes:
    """A READY command."""
    properties = [prop(b"Socket-Type", socket_type)]
    if identity is not None:
        properties.append(prop(b"Identity", identity))
    properties += [prop(name.encode(), value) for name, value in more.items()]
    return command(b"READY", b"".join(properties))


def ping(ttl_tenths: int = 0, context: bytes = b"") -> bytes:
    """A PING command."""
    return command(b"PING", struct.pack(">H", ttl_tenths) + context)


class RawPeer:
    """One connection. Use it as a context manager; every read has a deadline."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.settimeout(PATIENCE)
        if connection.family == socket.AF_INET:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()

    @classmethod
    def connect(cls, endpoint: str, receive_buffer: int | None = None) -> "RawPeer":
        """To `tcp://host:port`, `ipc://path` or `ipc://@name`."""
        scheme, address = endpoint.split("://")
        if scheme == "tcp":
            host, port = address.rsplit(":", 1)
            family, target = socket.AF_INET, ("127.0.0.1" if host == "0.0.0.0" else host, int(port))
        else:
            family, target = (
                socket.AF_UNIX,
                ("\0" + address[1:] if address.startswith("@") else address),
            )
        connection = socket.socket(family)
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(PATIENCE)
        connection.connect(target)
        return cls(connection)

    @classmethod
    def ready_for(
        cls, endpoint: str, socket_type: bytes, identity: bytes | None = None, **options
    ) -> "RawPeer":
        """Connected, with the NULL handshake done."""
        peer = cls.connect(endpoint, **options)
        peer.handshake(socket_type, identity)
        return peer

    def __enter__(self) -> "RawPeer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def handshake(
        self, socket_type: bytes, identity: bytes | None = None, minor: int = 1
    ) -> RawFrame:
        """Greeting and READY in both directions; returns the other side's READY."""
        self.send(greeting(minor=minor) + ready(socket_type, identity))
        self.read_exactly(64)
        answer = self.read_frame()
        assert answer.command == b"READY", answer
        return answer

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_message(self, *frames: bytes) -> None:
        last = len(frames) - 1
        self.send(b"".join(frame(body, more=i < last) for i, body in enumerate(frames)))

    def send_until_closed(self, chunk: bytes, limit: int, seconds: float = 3 * PATIENCE) -> int:
        """Sends `chunk` again and again until the other side closes, stops reading for a second, or `limit` bytes
        went out; returns how many did."""
        self.socket.settimeout(1)
        sent = 0
        end = time.monotonic() + seconds
        try:
            while sent < limit and time.monotonic() < end:
                sent += self.socket.send(chunk)
        except (TimeoutError, ConnectionError):
            pass
        finally:
            self.socket.settimeout(PATIENCE)
        return sent

    def read_exactly(self, count: int) -> bytes:
        """`count` bytes, or `Closed`, or TimeoutError."""
        while len(self.buffer) < count:
            try:
                piece = self.socket.recv(1 << 16)
            except ConnectionError:
                piece = b""
            if not piece:
                raise Closed(bytes(self.buffer))
            self.buffer += piece
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    def read_frame(self) -> RawFrame:
        flags, short = self.read_exactly(2)
        length = short
        if flags & LONG:
            length = int.from_bytes(bytes([short]) + self.read_exactly(7), "big")
        return RawFrame(flags, self.read_exactly(length))

    def read_message(self) -> list[bytes]:
        """The next whole message; commands on the way are passed over."""
        parts = []
        while True:
            got = self.read_frame()
            if got.command is None:
                parts.append(got.body)
                if not got.more:
                    return parts

    def read_command(self, name: bytes) -> RawFrame:
        """The next command of that name."""
        while (got := self.read_frame()).command != name:
            pass
        return got

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing comes for that long (an end of the connection is something)."""
        if self.buffer:
            return False
        self.socket.settimeout(seconds)
        try:
            piece = self.socket.recv(1 << 16)
            self.buffer += piece
            return False
        except TimeoutError:
            return True
        except ConnectionError:
            return False
        finally:
            self.socket.settimeout(PATIENCE)

    def rest(self, seconds: float = PATIENCE) -> bytes:
        """Everything until the other side closes; TimeoutError if it does not."""
        end = time.monotonic() + seconds
        try:
            while True:
                self.socket.settimeout(max(0.001, end - time.monotonic()))
                piece = self.socket.recv(1 << 16)
                if not piece:
                    break
                self.buffer += piece
        except ConnectionError:
            pass
        finally:
            self.socket.settimeout(PATIENCE)
        rest = bytes(self.buffer)
        self.buffer.clear()
        return rest

    def is_closed(self, seconds: float = PATIENCE) -> bool:
        """Whether the other side closes within that time."""
        try:
            self.rest(seconds)
            return True
        except TimeoutError:
            return False


class RawListener:
    """A listening tcp socket on a free port of the loopback."""

    def __init__(self, port: int = 0) -> None:
        self.socket = socket.create_server(("127.0.0.1", port))
        self.socket.settimeout(PATIENCE)
        self.port = self.socket.getsockname()[1]
        self.endpoint = f"tcp://127.0.0.1:{self.port}"

    def accept(self, seconds: float = PATIENCE) -> RawPeer:
        self.socket.settimeout(seconds)
        return RawPeer(self.socket.accept()[0])

    def __enter__(self) -> "RawListener":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def nobodys_port() -> int:
    """A port of the loopback that refuses connections, and that can be bound."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def free_endpoint(endpoint, transport: str) -> str:
    """An endpoint with a definite name that nobody has bound, made by the fixture `endpoint`."""
    return f"tcp://127.0.0.1:{nobodys_port()}" if transport == "tcp" else endpoint(transport)
