"""Zero-copy: large payloads are sent from where they are, and received without a copy.

With `copy=False` the payload's memory belongs to the socket until it has been sent. A tracker says when that is; only then
the memory may be changed. Small payloads are copied all the same, which is faster.
"""

import mqcore as zmq

SIZE = 8 << 20


def main():
    with (
        zmq.Context() as context,
        context.socket(zmq.PUSH) as push,
        context.socket(zmq.PULL) as pull,
    ):
        pull.bind("tcp://127.0.0.1:*")
        push.connect(pull.get_string(zmq.LAST_ENDPOINT))

        payload = bytearray(b"x") * SIZE
        tracker = push.send(payload, copy=False, track=True)
        frame = pull.recv(copy=False)
        print(f"received a {type(frame).__name__} of {len(frame) >> 20} MiB")
        view = frame.buffer  # a memoryview: nothing is copied
        print("it begins with", bytes(view[:3]), "and ends with", bytes(view[-3:]))

        tracker.wait(timeout=5)  # seconds
        print("the sender's memory is free again:", tracker.done)
        payload[:3] = b"new"  # allowed from now on
        print("what was received does not change:", bytes(view[:3]))

        push.send(b"straight into a buffer")
        buffer = bytearray(64)
        count = pull.recv_into(buffer)
        print(f"{count} bytes, received into a buffer of our own:", buffer[:count].decode())


if __name__ == "__main__":
    main()
