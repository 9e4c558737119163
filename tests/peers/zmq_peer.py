"""A ZeroMQ peer in its own process: `python -m peers.zmq_peer MODULE`, where MODULE is zmq or mqcore. One JSON
request a line on stdin, one JSON answer a line on stdout. It does what it is told and ends with its stdin.
"""

import importlib
import json
import os
import sys
import threading
import time

from peers.filler import filler, pack_received, stream, unpack
from peers.long_messages import long_stream
from peers.waiting import PATIENCE_MS, send_patiently

zmq = importlib.import_module(sys.argv[1])


class Peer:
    """The operations: one method each, named as in the request."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        self.sockets: dict[int, object] = {}
        self.next = 0

    def socket(self, kind: str, options: dict) -> int:
        made = self.context.socket(getattr(zmq, kind))
        made.set(zmq.LINGER, 0)
        made.set(zmq.RCVTIMEO, PATIENCE_MS)
        made.set(zmq.SNDTIMEO, PATIENCE_MS)
        self.next += 1
        self.sockets[self.next] = made
        for name, value in options.items():
            self.set(self.next, name, value)
        return self.next

    def set(self, socket: int, option: str, value: object) -> None:
        self.sockets[socket].set(
            getattr(zmq, option), value.encode("latin-1") if isinstance(value, str) else value
        )

    def get(self, socket: int, option: str) -> object:
        value = self.sockets[socket].get(getattr(zmq, option))
        return value.decode("latin-1") if isinstance(value, bytes) else int(value)

    def bind(self, socket: int, endpoint: str) -> str:
        self.sockets[socket].bind(endpoint)
        return self.get(socket, "LAST_ENDPOINT").rstrip("\0")

    def connect(self, socket: int, endpoint: str) -> None:
        self.sockets[socket].connect(endpoint)

    def unbind(self, socket: int, endpoint: str) -> None:
        self.sockets[socket].unbind(endpoint)

    def disconnect(self, socket: int, endpoint: str) -> None:
        self.sockets[socket].disconnect(endpoint)

    def send(self, socket: int, messages: list) -> None:
        for message in messages:
            send_patiently(zmq, self.sockets[socket], [unpack(frame) for frame in message])

    def receive(self, socket: int, count: int) -> list:
        return [
            [pack_received(frame) for frame in self.sockets[socket].recv_multipart()]
            for _ in range(count)
        ]

    def receive_now(self, socket: int) -> list | None:
        """One message if there is one at once."""
        try:
            return [
                pack_received(frame) for frame in self.sockets[socket].recv_multipart(zmq.DONTWAIT)
            ]
        except zmq.Again:
            return None

    def poll(self, socket: int, milliseconds: int) -> bool:
        return bool(self.sockets[socket].poll(milliseconds))

    def echo(self, socket: int, count: int) -> None:
        """Sends `count` messages back as they came."""
        for _ in range(count):
            self.sockets[socket].send_multipart(self.sockets[socket].recv_multipart())

    def send_stream(self, socket: int, seed: int, count: int) -> None:
        for message in stream(seed, count):
            self.sockets[socket].send_multipart(message)

    def receive_stream(self, socket: int, seed: int, count: int, envelope: list) -> None:
        """Slowly, so that everything runs full in between."""
        for number, message in enumerate(stream(seed, count)):
            if number % 500 == 499:
                threading.Event().wait(0.002)
            assert self.sockets[socket].recv_multipart() == [*map(unpack, envelope), *message]

    def send_long(self, socket: int, seed: int, count: int, envelope: list) -> None:
        """A stream of long messages, each with `envelope` before it."""
        for message in long_stream(seed, count):
            frames = [*map(unpack, envelope), *message]
            send_patiently(zmq, self.sockets[socket], frames)

    def receive_long(self, socket: int, seed: int, count: int, envelope: list) -> None:
        for message in long_stream(seed, count):
            assert self.sockets[socket].recv_multipart() == [*map(unpack, envelope), *message]

    def answer_long(self, socket: int, seed: int, count: int) -> None:
        """Answers one stream with another, message by message."""
        for question, answer in zip(
            long_stream(seed, count), long_stream(seed + 1, count), strict=True
        ):
            assert self.sockets[socket].recv_multipart() == question
            self.sockets[socket].send_multipart(answer)

    def ask_long(self, socket: int, seed: int, count: int) -> None:
        """The other side of `answer_long`."""
        for question, answer in zip(
            long_stream(seed, count), long_stream(seed + 1, count), strict=True
        ):
            self.sockets[socket].send_multipart(question)
            assert self.sockets[socket].recv_multipart() == answer

    def close(self, socket: int, linger: int) -> None:
        self.sockets.pop(socket).close(linger=linger)

    def run_and_leave(
        self, kind: str, endpoint: str, bind: bool, count: int, size: int, options: dict
    ) -> None:
        """In a context of its own: sends `count` numbered messages of at least 8 bytes, closes, terminates."""
        context = zmq.Context()
        socket = context.socket(getattr(zmq, kind))
        for name, value in options.items():
            socket.set(getattr(zmq, name), value)
        (socket.bind if bind else socket.connect)(endpoint)
        rest = filler(max(size - 8, 0), 7)
        for number in range(count):
            socket.send(number.to_bytes(8, "big") + rest)
        socket.close()
        context.term()

    def spin(self, seconds: float) -> None:
        """Holds the interpreter: no Python line of this process but this loop runs meanwhile."""
        sys.setswitchinterval(seconds + 1)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass
        sys.setswitchinterval(0.005)

    def threads(self) -> int:
        return len(os.listdir("/proc/self/task"))

    def die(self) -> None:
        """Ends at once, without any farewell."""
        os._exit(0)


def main() -> None:
    peer = Peer()
    for line in sys.stdin:
        request = json.loads(line)
        operation = request.pop("op")
        try:
            answer = {"ok": getattr(peer, operation)(**request)}
        except zmq.ZMQError as error:
            answer = {"errno": error.errno, "text": f"{operation}: {error}"}
        except Exception as error:  # the test shall see it, not only this process's stderr
            answer = {"errno": None, "text": f"{operation}: {error!r}"}
        print(json.dumps(answer), flush=True)
    peer.context.destroy(linger=0)
    assert threading.active_count() == 1


if __name__ == "__main__":
    main()
