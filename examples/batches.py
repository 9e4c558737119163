"""Batches, an addition of mqcore: many messages in one call, which costs a fraction of as many calls."""

import threading

import mqcore as zmq

COUNT = 10_000


def send(context, endpoint):
    with context.socket(zmq.PUSH) as push:
        push.connect(endpoint)
        sent = push.send_many(
            b"reading %d" % n for n in range(COUNT)
        )  # waits when there is no room
        assert sent == COUNT
        push.send_many([[b"header", b"body"], b"single"])  # messages of several parts are lists


def main():
    with zmq.Context() as context, context.socket(zmq.PULL) as pull:
        pull.bind("tcp://127.0.0.1:*")
        sender = threading.Thread(target=send, args=(context, pull.get_string(zmq.LAST_ENDPOINT)))
        sender.start()

        received = calls = 0
        while received < COUNT:
            batch = pull.recv_many(
                max=min(1024, COUNT - received), timeout=5000
            )  # waits for the first only
            assert batch[-1] == b"reading %d" % (received + len(batch) - 1)  # in order
            received += len(batch)
            calls += 1
        print(f"received {received} messages in {calls} calls")

        parts = []
        while len(parts) < 2:
            parts += pull.recv_many_multipart(timeout=5000)
        print("messages of several parts:", parts)
        sender.join()

        for batch in pull.batches(timeout=0):  # all that is there, which is nothing
            print("unexpected:", batch)
        print("nothing is left")


if __name__ == "__main__":
    main()
