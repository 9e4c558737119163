"""Logging over a PUB socket: records become messages, and whoever subscribes reads them.

`python -m mqcore.log tcp://HOST:PORT` shows them in a terminal.
"""

import logging

import mqcore as zmq
from mqcore.log.handlers import PUBHandler


def main():
    with (
        zmq.Context() as context,
        context.socket(zmq.XPUB) as publisher,
        context.socket(zmq.SUB) as warnings,
    ):
        publisher.bind("tcp://127.0.0.1:*")
        warnings.connect(publisher.get_string(zmq.LAST_ENDPOINT))
        warnings.subscribe("shop.WARNING")
        publisher.recv()  # the subscription has arrived

        handler = PUBHandler(publisher)
        handler.root_topic = "shop"
        handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
        logger = logging.getLogger("shop")
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.addHandler(handler)

        logger.info("a customer came in")  # nobody subscribed to shop.INFO
        logger.warning("the tea is running out")
        logger.warning(
            "kitchen::the kettle is hot"
        )  # the part before :: becomes a part of the topic
        for _ in range(2):
            topic, text = warnings.recv_multipart()
            print(f"topic {topic.decode()}, text {text.decode()!r}")
        logger.removeHandler(handler)
        handler.close()


if __name__ == "__main__":
    main()
