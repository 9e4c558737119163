"""Exclusive pair: two threads that talk to each other and to nobody else (PAIR)"""

from __future__ import annotations

from collections.abc import Callable

from demo.story import LIBRARY, PYZMQ, Part, Place, Story

TURNS = 500


def count_along(place: Place, endpoint: str) -> int:
    """The other half: sends each number back, plus one, and speaks first, as either side of a pair may."""
    with place.socket(place.zmq.PAIR) as pair:
        pair.connect(endpoint)
        pair.send(b"hello from the other side")
        while (number := int(pair.recv())) >= 0:
            pair.send(b"%d" % (number + 1))
        return -number


def tell(story: Story) -> None:
    place = story.place()

    def count(where: str, endpoint: str, start: Callable[[str], Part]) -> None:
        with place.socket(place.zmq.PAIR) as pair:
            pair.bind(endpoint)
            other = start(pair.get_string(place.zmq.LAST_ENDPOINT))
            story.equal(
                pair.recv(), b"hello from the other side", f"{where}: the other side spoke first"
            )
            number = 0
            for _ in range(TURNS):
                pair.send(b"%d" % number)
                number = int(pair.recv())
            pair.send(b"-1")
            other.result()
            story.equal(number, TURNS, f"{where}: counted to {number} together")

    count(
        "inproc, two threads",
        "inproc://pair",
        lambda endpoint: story.thread(count_along, place, endpoint),
    )
    count(
        "ipc, two processes",
        story.path(),
        lambda endpoint: story.process(LIBRARY, count_along, endpoint),
    )
    count(
        "tcp, with real pyzmq",
        "tcp://127.0.0.1:*",
        lambda endpoint: story.process(PYZMQ, count_along, endpoint),
    )

    zmq = place.zmq
    with (
        place.socket(zmq.PAIR) as one,
        place.socket(zmq.PAIR) as two,
        place.socket(zmq.PAIR) as late,
    ):
        one.bind("inproc://couple")
        two.connect("inproc://couple")
        two.send(b"I was first")
        story.equal(one.recv(), b"I was first", "a pair is found")
        late.sndtimeo = late.linger = 0
        late.connect("inproc://couple")
        try:
            late.send(b"may I join?")
        except zmq.Again:
            pass  # either answer will do: nobody listens to a third one
        one.rcvtimeo = 200
        try:
            heard = one.recv()
        except zmq.Again:
            heard = None
        story.equal(heard, None, "a third socket is not heard: the pair is exclusive")
    place.context.term()
