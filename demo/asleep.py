"""While the application sleeps: messages leave and arrive, because the I/O thread works on

This process queues messages for a reader that is not there yet, and then touches no socket until the other
process reports through an ordinary pipe what it sent and received meanwhile.
"""

from __future__ import annotations

import time

from demo.story import LIBRARY, Place, Story

OUT = 500
OUT_SIZE = 65536  # 500 of these are 31 MiB: far more than the kernel would keep for us
IN = 1000  # exactly the high-water mark of the queue they wait in


def other_side(place: Place, ours: str, theirs: str) -> tuple[float, float]:
    """Reads what the sleeper left in its queue and sends it IN messages; returns when that began and ended."""
    zmq = place.zmq
    with place.socket(zmq.PULL) as pull, place.socket(zmq.PUSH) as push:
        place.hear()  # the other one says: I sleep
        began = time.monotonic()
        pull.bind(ours)
        for number in range(OUT):
            message = pull.recv()
            assert len(message) == OUT_SIZE and int(message[:8]) == number, "whole and in order"
        push.connect(theirs)
        for number in range(IN):
            push.send(b"%d" % number)
        return began, time.monotonic()


def tell(story: Story) -> None:
    place = story.place()
    zmq = place.zmq
    with place.socket(zmq.PUSH) as push, place.socket(zmq.PULL) as pull:
        ours = story.path()
        pull.bind("tcp://127.0.0.1:*")
        theirs = pull.get_string(zmq.LAST_ENDPOINT)
        other = story.process(LIBRARY, other_side, ours, theirs)

        push.connect(ours)  # nobody has bound it yet: connecting early is allowed
        body = bytes(OUT_SIZE - 8)
        began = time.monotonic()
        for number in range(OUT):
            push.send(b"%08d" % number + body)
        took = time.monotonic() - began
        story.check(
            True,
            f"{OUT} sends of {OUT_SIZE >> 10} KiB returned in {took * 1000:.0f} ms, "
            "though no reader exists: a returned send means queued",
        )

        asleep = time.monotonic()
        other.say("I sleep")
        first, last = other.result()
        time.sleep(0.5)
        awake = time.monotonic()
        # All processes of a machine share the monotonic clock, so these times can be compared.
        story.check(
            asleep <= first <= last <= awake,
            f"asleep from 0 to {(awake - asleep) * 1000:.0f} ms; the other process bound, received {OUT} "
            f"and sent {IN} messages between {(first - asleep) * 1000:.0f} and {(last - asleep) * 1000:.0f} ms",
        )
        arrived = 0
        try:
            while int(pull.recv(zmq.DONTWAIT)) == arrived:
                arrived += 1
        except zmq.Again:
            pass
        story.equal(
            arrived, IN, f"awake: {arrived} messages lie in the queue, taken without a wait"
        )
    place.context.term()
