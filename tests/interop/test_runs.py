"""Streams of mostly short messages, which mqcore passes on many at a time, to and from peers that know nothing of that:
random lengths and parts, little room, a slow reader; everything arrives in order.
"""

import random
import threading

import pytest
from peers.filler import stream
from peers.subject import is_ours

COUNT = 3000

pytestmark = [
    pytest.mark.parametrize("sender, receiver", [("PUSH", "PULL"), ("DEALER", "ROUTER")]),
    pytest.mark.parametrize("hwm", [1, 2, 10, 1000]),
    pytest.mark.parametrize("transport", ["tcp", "ipc"]),
]


def named(kind: str) -> dict[str, bytes]:
    return {"ROUTING_ID": b"name"} if kind == "DEALER" else {}


def envelope(kind: str) -> list[str]:
    return ["name"] if kind == "ROUTER" else []


def test_stream_to_a_slow_peer(make, peer, endpoint, sender, receiver, hwm, transport):
    ours = make(sender, SNDHWM=hwm, **named(sender))
    theirs = peer.socket(receiver, RCVHWM=hwm)
    ours.connect(theirs.bind(endpoint(transport)))
    peer.submit(
        "receive_stream",
        socket=theirs.number,
        seed=hwm,
        count=COUNT,
        envelope=envelope(receiver),
    )
    dice = random.Random(hwm)
    rest = stream(hwm, COUNT)
    while rest:
        many = dice.choice([1, 1, 1, 10, 1000]) if is_ours else 1
        now, rest = rest[:many], rest[many:]
        if many == 1:
            ours.socket.send_multipart(now[0])
        else:
            batch = [message if len(message) > 1 else message[0] for message in now]
            assert ours.socket.send_many(batch) == len(batch)
    peer.result()
    theirs.close()


def test_stream_to_us_while_we_are_slow(make, peer, endpoint, sender, receiver, hwm, transport):
    ours = make(receiver, RCVHWM=hwm)
    theirs = peer.socket(sender, SNDHWM=hwm, **named(sender))
    theirs.connect(ours.bind(endpoint(transport)))
    peer.submit("send_stream", socket=theirs.number, seed=hwm, count=COUNT)
    dice = random.Random(hwm)
    before = [part.encode() for part in envelope(receiver)]
    expected = [[*before, *message] for message in stream(hwm, COUNT)]
    while expected:
        if dice.random() < 0.002:
            threading.Event().wait(0.002)  # being slow is the point here
        if is_ours and dice.random() < 0.5:
            got = ours.socket.recv_many_multipart(dice.choice([1, 10, 1000]))
        else:
            got = [ours.socket.recv_multipart()]
        assert got == expected[: len(got)]
        del expected[: len(got)]
    peer.result()
    assert not ours.poll(0)
    theirs.close()
