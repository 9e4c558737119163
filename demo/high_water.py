"""High-water marks: every pipe has a bound; at the bound a PUSH waits and a PUB drops

A returned send means that the message is queued. The queue is bounded by SNDHWM and RCVHWM (here small).
"""

from __future__ import annotations

import time
from typing import Any

from demo.story import LIBRARY, Place, Story, resident, wait_until

MARK = 10
BURST = 200_000
SIZE = 1024


def send_one_more(place: Place, push: Any) -> tuple[float, float]:
    """Sends with a wait; returns how long the send was held up, and the processor time it used meanwhile."""
    place.tell("sending")
    began, used = time.monotonic(), time.thread_time()
    push.send(b"one more")
    return time.monotonic() - began, time.thread_time() - used


def fill(place: Place, push: Any) -> int:
    """Sends without waiting until the socket says Again; returns how many it took."""
    accepted = 0
    try:
        while accepted < 100_000:
            push.send(b"%d" % accepted, place.zmq.DONTWAIT)
            accepted += 1
    except place.zmq.Again:
        pass
    return accepted


def push_that_waits(story: Story, place: Place, endpoint: str, room: int, meaning: str) -> None:
    """A PUSH at its mark: Again without waiting, held up with waiting, and free when the reader reads."""
    zmq = place.zmq
    where = endpoint.partition(":")[0]
    with place.socket(zmq.PUSH) as push, place.socket(zmq.PULL) as pull:
        push.sndhwm = pull.rcvhwm = MARK
        if where == "inproc":
            pull.bind(endpoint)
        push.connect(endpoint)
        accepted = fill(place, push)
        story.equal(
            accepted,
            room,
            f"{where}: {accepted} sends went through, the next gave Again ({meaning})",
        )
        held = story.thread(send_one_more, place, push)
        held.told()
        time.sleep(0.2)  # for the eyes: the send waits, because nobody reads
        if where != "inproc":
            pull.bind(endpoint)
        read = [pull.recv() for _ in range(room + 1)]
        waited, used = held.result()
        story.equal(
            read,
            [b"%d" % number for number in range(room)] + [b"one more"],
            f"{where}: a send that waits was held up {waited * 1000:.0f} ms, until the reader read; "
            "nothing was lost",
        )
        story.check(
            waited > 0.1 and used < waited / 20,
            f"{where}: meanwhile it used {used * 1000:.1f} ms of the processor: it slept, and did not spin",
        )


def doze(place: Place, endpoint: str) -> tuple[int, float]:
    """The slow subscriber: hears the first message, dozes until the burst is over, then reads what is left."""
    with place.socket(place.zmq.SUB) as subscriber:
        subscriber.subscribe(b"")
        subscriber.connect(endpoint)
        while subscriber.recv() != b"burst begins":
            pass
        place.tell("dozing")
        place.hear()  # sleeps until it is told that the burst is over
        received, last = 0, -1
        while (message := subscriber.recv()) != b"burst is over":
            number = int(message[:8])
            assert len(message) == SIZE and number > last, "messages stay whole and in order"
            received, last = received + 1, number
        return received, resident()


def pub_that_drops(story: Story, place: Place) -> None:
    """A PUB whose only subscriber does not read: it drops, and its memory stays flat."""
    zmq = place.zmq
    with place.socket(zmq.XPUB) as publisher:  # a PUB that can see its subscriptions come
        publisher.bind("tcp://127.0.0.1:*")
        slow = story.process(LIBRARY, doze, publisher.get_string(zmq.LAST_ENDPOINT))
        story.equal(publisher.recv(), b"\x01", "tcp: a subscriber came, and asked for everything")
        publisher.send(b"burst begins")
        slow.told()

        body = bytes(SIZE - 8)
        before = resident()
        began = time.monotonic()
        for number in range(BURST // 10):
            publisher.send(b"%08d" % number + body)
        early = resident()
        for number in range(BURST // 10, BURST):
            publisher.send(b"%08d" % number + body)
        took = time.monotonic() - began
        after = resident()
        story.line(
            f"sent {BURST:,} messages of {SIZE} bytes ({BURST * SIZE / 2**20:.0f} MiB) in {took:.2f} s "
            "to a subscriber that does not read"
        )
        story.line(
            f"memory of the publisher: {before:.1f} MiB before, {early:.1f} after a tenth, {after:.1f} at the end"
        )
        story.check(after - early < 8, "the publisher never waited, and its memory stayed flat")

        slow.say("wake up")

        # "burst is over" could be dropped too while the pipe is full: repeat it until it was heard.
        def heard() -> bool:
            publisher.send(b"burst is over")
            return slow.pending()

        wait_until(heard, "the end of the slow subscriber")
        received, memory = slow.result()
        story.check(
            0 < received < BURST,
            f"sent {BURST:,}, received {received:,}, dropped {BURST - received:,}, none torn, none out of "
            f"order; memory of the subscriber {memory:.1f} MiB",
        )


def tell(story: Story) -> None:
    place = story.place()
    push_that_waits(
        story,
        place,
        "inproc://mark",
        2 * MARK,
        f"SNDHWM {MARK} + RCVHWM {MARK}: the mark is {2 * MARK}",
    )
    push_that_waits(
        story, place, story.path(), MARK, f"SNDHWM {MARK}, the reader is not even bound yet"
    )
    pub_that_drops(story, place)
    place.context.term()
