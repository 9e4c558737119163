"""The end: what happens to messages that are not sent yet when sockets close and the context ends.

`close` returns at once, and the context goes on sending; `term` waits for that, by default for ever. LINGER bounds it.
`term(timeout=...)` is an addition of mqcore: it raises after so many milliseconds and says what it waits for.
"""

import socket

import mqcore as zmq


def port_without_server():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def main():
    endpoint = f"tcp://127.0.0.1:{port_without_server()}"

    context = zmq.Context()
    push = context.socket(zmq.PUSH)
    push.connect(endpoint)
    push.send(b"nobody will read this")
    push.close(linger=0)  # drop what is not sent
    context.term()
    print("with linger 0, term does not wait")

    context = zmq.Context()
    push = context.socket(zmq.PUSH)
    push.connect(endpoint)
    push.send(b"somebody may still come")
    push.close(linger=-1)  # keep it, as long as it takes (the default)
    try:
        context.term(timeout=100)
    except zmq.ZMQError as error:
        print("term raised", type(error).__name__)
        print("it says:", str(error).replace(endpoint, "tcp://127.0.0.1:PORT"))

    late = zmq.Context()
    with late.socket(zmq.PULL) as pull:
        pull.bind(endpoint)  # the reader comes after all
        print("the late reader got:", pull.recv_string())
        context.term()  # now it can end
    late.term()
    print("both contexts have ended")


if __name__ == "__main__":
    main()
