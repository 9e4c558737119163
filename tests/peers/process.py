"""Driving a peer process, and ends of a conversation that look alike whether they live here or there."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from peers.filler import pack, unpack_received
from peers.subject import zmq
from peers.waiting import PATIENCE_MS, send_patiently

TESTS = Path(__file__).resolve().parents[1]


class PeerError(Exception):
    """What the peer's call raised; `errno` as there."""

    def __init__(self, errno: int | None, text: str) -> None:
        super().__init__(text)
        self.errno = errno


class PeerProcess:
    """A peer in its own process. One call at a time: `submit` starts one, `result` waits for it, `call` does both."""

    def __init__(self, module: str) -> None:
        path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
        self.module = module
        self.process = subprocess.Popen(
            [sys.executable, "-m", "peers.zmq_peer", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path},
        )

    def submit(self, op: str, **arguments: object) -> None:
        self.process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
        self.process.stdin.flush()

    def result(self) -> object:
        guard = threading.Timer(3 * PATIENCE_MS / 1000, self.process.kill)
        guard.start()
        try:
            line = self.process.stdout.readline()
        finally:
            guard.cancel()
            guard.join()
        if not line:
            raise PeerError(None, f"the peer process ended with {self.process.wait()}")
        answer = json.loads(line)
        if "text" in answer:
            raise PeerError(answer["errno"], answer["text"])
        return answer["ok"]

    def call(self, op: str, **arguments: object) -> object:
        self.submit(op, **arguments)
        return self.result()

    def socket(self, kind: str, **options: object) -> "RemoteEnd":
        return RemoteEnd(self, kind, options)

    def stop(self) -> None:
        """Ends the process in good order, or by force."""
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the {self.module} peer did not end by itself") from None
        finally:
            self.process.stdout.close()

    def kill(self) -> None:
        """As if it had crashed."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class RemoteEnd:
    """A socket in the peer process."""

    def __init__(self, peer: PeerProcess, kind: str, options: dict) -> None:
        self.peer = peer
        self.kind = kind
        self.number = peer.call(
            "socket", kind=kind, options={k: as_json(v) for k, v in options.items()}
        )

    def _call(self, op: str, **arguments: object) -> object:
        return self.peer.call(op, socket=self.number, **arguments)

    def set(self, option: str, value: object) -> None:
        self._call("set", option=option, value=as_json(value))

    def bind(self, endpoint: str) -> str:
        return self._call("bind", endpoint=endpoint)

    def connect(self, endpoint: str) -> None:
        self._call("connect", endpoint=endpoint)

    def unbind(self, endpoint: str) -> None:
        self._call("unbind", endpoint=endpoint)

    def disconnect(self, endpoint: str) -> None:
        self._call("disconnect", endpoint=endpoint)

    def send(self, *messages: list) -> None:
        self._call("send", messages=[[pack(frame) for frame in message] for message in messages])

    def receive(self, count: int = 1) -> list:
        return [
            [unpack_received(f) for f in message] for message in self._call("receive", count=count)
        ]

    def receive_now(self) -> list | None:
        message = self._call("receive_now")
        return message and [unpack_received(f) for f in message]

    def poll(self, seconds: float) -> bool:
        return self._call("poll", milliseconds=int(seconds * 1000))

    def close(self, linger: int = 0) -> None:
        self._call("close", linger=linger)


class LocalEnd:
    """A socket of the module under test, with the same calls as a `RemoteEnd`."""

    def __init__(self, context, kind: str, **options: object) -> None:
        self.kind = kind
        self.socket = context.socket(getattr(zmq, kind))
        self.socket.set(zmq.LINGER, 0)
        self.socket.set(zmq.RCVTIMEO, PATIENCE_MS)
        self.socket.set(zmq.SNDTIMEO, PATIENCE_MS)
        for name, value in options.items():
            self.set(name, value)

    def set(self, option: str, value: object) -> None:
        self.socket.set(getattr(zmq, option), value)

    def bind(self, endpoint: str) -> str:
        self.socket.bind(endpoint)
        return self.socket.get(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()

    def connect(self, endpoint: str) -> None:
        self.socket.connect(endpoint)

    def unbind(self, endpoint: str) -> None:
        self.socket.unbind(endpoint)

    def disconnect(self, endpoint: str) -> None:
        self.socket.disconnect(endpoint)

    def send(self, *messages: list) -> None:
        for message in messages:
            send_patiently(zmq, self.socket, message)

    def receive(self, count: int = 1) -> list:
        return [self.socket.recv_multipart() for _ in range(count)]

    def receive_now(self) -> list | None:
        try:
            return self.socket.recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            return None

    def poll(self, seconds: float) -> bool:
        return bool(self.socket.poll(int(seconds * 1000)))

    def close(self, linger: int = 0) -> None:
        self.socket.close(linger=linger)


def as_json(value: object) -> object:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def read_stream(stream: LocalEnd, identity: bytes, count: int) -> bytes:
    """Joins the pieces that a STREAM receives from that connection until there are `count` bytes."""
    data = b""
    while len(data) < count:
        ((name, piece),) = stream.receive()
        assert name == identity and piece
        data += piece
    return data
