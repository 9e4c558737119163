"""Publish-subscribe: each subscriber gets the topics it asked for, and only those (PUB and SUB)

One publisher speaks to two threads (inproc), a process (ipc) and a pyzmq process (tcp) at the same time.
"""

from __future__ import annotations

from demo.story import LIBRARY, PYZMQ, Place, Story, wait_until

NEWS = 300  # of each topic: below the high-water mark of 1000, so nothing may be missing
TOPICS = (b"weather", b"sport", b"music")


def listen(place: Place, endpoint: str, topic: bytes) -> list[int]:
    """A subscriber: the numbers of the news it received, in the order in which they came."""
    with place.socket(place.zmq.SUB) as subscriber:
        subscriber.subscribe(topic)
        subscriber.subscribe(b"hello")  # the publisher's greeting, sent until everybody is there
        subscriber.subscribe(b"end")
        subscriber.connect(endpoint)
        subscriber.recv_multipart()
        place.tell("here")
        numbers = []
        while True:
            heard, number = subscriber.recv_multipart()
            if heard == topic:
                numbers.append(int(number))
            elif heard == b"end":
                return numbers
            elif heard != b"hello":
                raise AssertionError(f"subscribed to {topic!r}, yet {heard!r} came")


def tell(story: Story) -> None:
    place = story.place()
    with place.socket(place.zmq.PUB) as publisher:
        publisher.bind("inproc://news")
        path = story.path()
        publisher.bind(path)
        publisher.bind("tcp://127.0.0.1:*")
        port = publisher.get_string(place.zmq.LAST_ENDPOINT)
        listeners = {
            "inproc, a thread, 'weather'": story.thread(listen, place, "inproc://news", b"weather"),
            "inproc, a thread, 'sport'": story.thread(listen, place, "inproc://news", b"sport"),
            "ipc, a process, 'music'": story.process(LIBRARY, listen, path, b"music"),
            "tcp, a process, 'weather'": story.process(LIBRARY, listen, port, b"weather"),
            "tcp, real pyzmq, 'sport'": story.process(PYZMQ, listen, port, b"sport"),
        }

        # A subscriber that comes late misses what was sent before, so greet until all have answered.
        def all_here() -> bool:
            publisher.send_multipart([b"hello", b""])
            return all(listener.pending() for listener in listeners.values())

        wait_until(all_here, "all subscribers")
        for listener in listeners.values():
            listener.told()
        story.check(True, f"{len(listeners)} subscribers are here, on three transports")

        for number in range(NEWS):
            for topic in TOPICS:
                publisher.send_multipart([topic, b"%d" % number])
        publisher.send_multipart([b"end", b""])
        for name, listener in listeners.items():
            numbers = listener.result()
            story.equal(
                numbers,
                list(range(NEWS)),
                f"{name}: {len(numbers)} of {NEWS * len(TOPICS)} news came, all of the topic, in order",
            )
    place.context.term()
