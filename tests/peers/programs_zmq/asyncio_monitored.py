"""Publishing to subscribers that the publisher waits for by its monitor; the end of each is seen there too."""

import asyncio

import zmq
import zmq.asyncio
from zmq.utils.monitor import parse_monitor_message, recv_monitor_message

SUBSCRIBERS, COUNT = 3, 50


async def subscriber(context, endpoint, topic):
    with context.socket(zmq.SUB) as socket:
        socket.connect(endpoint)
        socket.subscribe(topic)
        heard = []
        while True:
            parts = await socket.recv_multipart()
            if parts[1] == b"end":
                return heard
            heard.append(parts)


async def wait_for_events(monitor, event, count):
    """The addresses that `count` of these events told."""
    told = []
    while len(told) < count:
        message = await recv_monitor_message(monitor)
        if message["event"] == event:
            told.append(message["endpoint"])
    return told


async def main():
    context = zmq.asyncio.Context()
    publisher = context.socket(zmq.XPUB)
    monitor = publisher.get_monitor_socket()
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    endpoint = f"tcp://127.0.0.1:{port}"
    tasks = [
        asyncio.create_task(subscriber(context, endpoint, f"topic{number}"))
        for number in range(SUBSCRIBERS)
    ]
    await wait_for_events(monitor, zmq.EVENT_HANDSHAKE_SUCCEEDED, SUBSCRIBERS)
    topics = sorted([await publisher.recv() for _ in range(SUBSCRIBERS)])
    print("subscribed", topics)
    for number in range(COUNT):
        for topic in range(SUBSCRIBERS + 1):
            await publisher.send_multipart([b"topic%d" % topic, b"%d" % number])
    await publisher.send_multipart([b"topic", b"end"])
    for topic in range(SUBSCRIBERS):
        await publisher.send_multipart([b"topic%d" % topic, b"end"])
    heard = await asyncio.gather(*tasks)
    right = [
        parts == [[b"topic%d" % topic, b"%d" % number] for number in range(COUNT)]
        for topic, parts in enumerate(heard)
    ]
    print("heard", right)
    left = await wait_for_events(monitor, zmq.EVENT_DISCONNECTED, SUBSCRIBERS)
    print("left", len(left))
    publisher.disable_monitor()
    last = parse_monitor_message(await monitor.recv_multipart())
    print("monitor", last["event"] == zmq.EVENT_MONITOR_STOPPED)
    monitor.close()
    publisher.close()
    context.term()


asyncio.run(asyncio.wait_for(main(), 30))
print("zmq", zmq.Socket.__module__)
