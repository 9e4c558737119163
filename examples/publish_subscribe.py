"""Publish and subscribe, with a proxy between: publishers and subscribers know only the proxy.

    PUB ──▶ XSUB │ XPUB ──▶ SUB       subscriptions go the other way

Subscriptions need a moment to reach a publisher, and what is published before is not kept. Here the publisher is an
XPUB, which can read the subscriptions that arrive: so it knows when to begin.
"""

import threading

import mqcore as zmq


def run_proxy(frontend, backend):
    try:
        zmq.proxy(frontend, backend)  # returns only by raising
    except zmq.ContextTerminated:
        frontend.close()
        backend.close()


def main():
    context = zmq.Context()
    frontend, backend = context.socket(zmq.XSUB), context.socket(zmq.XPUB)
    frontend.bind("tcp://127.0.0.1:*")
    backend.bind("tcp://127.0.0.1:*")
    publish_to = frontend.get_string(zmq.LAST_ENDPOINT)
    subscribe_at = backend.get_string(zmq.LAST_ENDPOINT)
    proxy = threading.Thread(target=run_proxy, args=(frontend, backend))
    proxy.start()

    with (
        context.socket(zmq.XPUB) as publisher,
        context.socket(zmq.SUB) as weather,
        context.socket(zmq.SUB) as everything,
    ):
        publisher.connect(publish_to)
        weather.connect(subscribe_at)
        weather.subscribe("weather")
        everything.connect(subscribe_at)
        everything.subscribe("")
        for _ in range(2):
            subscription = (
                publisher.recv()
            )  # a byte that says 1 (wants) or 0 (wants no more), and the topic
            print(f"the proxy subscribed to {subscription[1:].decode()!r}")

        publisher.send_multipart([b"weather.berlin", b"rain"])
        publisher.send_multipart([b"sports", b"2:1"])
        publisher.send_multipart([b"weather.rome", b"sun"])
        for _ in range(2):
            topic, text = weather.recv_multipart()
            print(f"the subscriber to 'weather' got {topic.decode()}: {text.decode()}")
        for _ in range(3):
            topic, text = everything.recv_multipart()
            print(f"the subscriber to everything got {topic.decode()}: {text.decode()}")

    context.term()  # ends the proxy
    proxy.join()


if __name__ == "__main__":
    main()
