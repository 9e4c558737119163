"""Sockets for asyncio under stress: loops in several threads whose tasks change their minds all the time."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from typing import Any

import pytest
from peers.loops import context_fixture, run, turns, zmq  # noqa: F401
from peers.subject import rounds

pytestmark = pytest.mark.deviation  # the reference loses some

PEERS, MESSAGES = 4, rounds(150, 1500)


class Echo:
    """A ROUTER socket in a loop of its own that sends everything back, also to peers that are full."""

    def __init__(self, context: Any, chance: random.Random) -> None:
        self.socket = context.socket(zmq.ROUTER)
        self.socket.router_mandatory = 1
        self.socket.sndhwm = self.socket.rcvhwm = 2
        self.socket.bind("inproc://echo")
        self.addresses = ["inproc://echo", self.socket.bind("tcp://127.0.0.1:*").addr]
        self.chance = chance
        self.ended = 0
        self.sending: list[Any] = []

    async def main(self) -> None:
        while self.ended < PEERS:
            receiving = self.socket.recv_multipart()
            receiving.add_done_callback(self.reply)
            if self.chance.random() < 0.4:
                await turns(self.chance.randrange(3))
                receiving.cancel()
            if self.chance.random() < 0.2:
                await self.socket.poll(0)
            await asyncio.wait([receiving])
            await asyncio.sleep(0)
        await asyncio.gather(*self.sending)
        self.socket.close(10_000)

    def reply(self, received: Any) -> None:
        """Called in the order in which futures are settled."""
        if not received.cancelled():
            peer, text, _ = received.result()
            self.ended += text == b"end"
            self.sending.append(self.socket.send_multipart([peer, text]))


class Peer:
    """A DEALER socket in a loop of its own; what it sends is what it gets back, in this order."""

    def __init__(self, context: Any, name: bytes, address: str, chance: random.Random) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.routing_id = name
        self.socket.sndhwm = self.socket.rcvhwm = 2
        self.socket.connect(address)
        self.chance = chance
        self.sent: list[bytes] = []
        self.got: list[bytes] = []

    async def main(self) -> None:
        await asyncio.gather(self.send(), self.receive())
        self.socket.close(0)

    async def send(self) -> None:
        for number in range(MESSAGES):
            text = b"%d" % number
            size = self.chance.choice((1, 200, 20_000))
            sending = self.socket.send_multipart([text, bytes(size)])
            if self.chance.random() < 0.3:
                await turns(self.chance.randrange(3))
                sending.cancel()
            elif self.chance.random() < 0.2:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(sending, 0.001)
            await asyncio.wait([sending])
            if not sending.cancelled():
                self.sent.append(text)
        await self.socket.send_multipart([b"end", b""])
        self.sent.append(b"end")

    async def receive(self) -> None:
        while self.got[-1:] != [b"end"]:
            receiving = self.socket.recv_multipart()
            receiving.add_done_callback(self.note)
            if self.chance.random() < 0.4:
                await turns(self.chance.randrange(3))
                receiving.cancel()
            await asyncio.wait([receiving])
            await asyncio.sleep(0)

    def note(self, received: Any) -> None:
        """Called in the order in which futures are settled."""
        if not received.cancelled():
            [text] = received.result()
            self.got.append(text)


@pytest.mark.parametrize("seed", range(rounds(2, 20)))
def test_every_peer_gets_back_what_it_sent_in_order(
    context: Any, background: Any, seed: int
) -> None:
    echo = Echo(context, random.Random(seed))
    peers = [
        Peer(context, b"%d" % number, echo.addresses[number % 2], random.Random(f"{seed} {number}"))
        for number in range(PEERS)
    ]
    joins = [background(lambda one=one: run(one.main)) for one in (echo, *peers)]
    for join in joins:
        join()
    for peer in peers:
        assert peer.got == peer.sent


def test_faces_in_several_loops_and_threads_share_what_comes(context: Any, background: Any) -> None:
    """Each message goes to one of them; what one has received is in order."""
    pull = context.socket(zmq.PULL)
    pull.bind("inproc://shared")
    count = rounds(1500, 20_000)
    lock = threading.Lock()
    got: list[int] = []

    def receive(seed: int) -> list[int]:
        chance = random.Random(seed)
        mine: list[int] = []

        def note(received: Any) -> None:
            if not received.cancelled():
                mine.append(int(received.result()))
                with lock:
                    got.append(mine[-1])

        async def main() -> None:
            face = type(pull).from_socket(pull)
            while len(got) < count:
                receiving = face.recv_string()
                receiving.add_done_callback(note)
                if chance.random() < 0.3:
                    await turns(chance.randrange(3))
                    receiving.cancel()
                await asyncio.wait([receiving], timeout=0.1)
                receiving.cancel()
                await asyncio.sleep(0)

        run(main)
        return mine

    async def send() -> None:
        with context.socket(zmq.PUSH) as push:
            push.sndhwm = 3
            push.connect("inproc://shared")
            for number in range(count):
                await push.send_string(str(number))

    joins = [background(lambda seed=seed: receive(seed)) for seed in range(3)]
    run(send)
    received = [join() for join in joins]
    assert sorted(number for one in received for number in one) == list(range(count))
    assert all(one == sorted(one) for one in received)
