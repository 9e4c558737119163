"""Decorators: a function that is given a context and sockets, which are closed when it returns."""

import mqcore as zmq
from mqcore.decorators import context, socket


@context("ctx")
@socket("push", zmq.PUSH, context_name="ctx")
@socket("pull", zmq.PULL, context_name="ctx")
def deliver(text, ctx, push, pull):
    pull.bind("inproc://letters")
    push.connect("inproc://letters")
    push.send_string(text)
    print("delivered:", pull.recv_string())
    return ctx, push, pull


def main():
    for text in ("first letter", "second letter"):  # each call has a context of its own
        ctx, push, pull = deliver(text)
        print("closed afterwards:", ctx.closed, push.closed, pull.closed)


if __name__ == "__main__":
    main()
