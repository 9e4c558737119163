"""A poller: waiting for several sockets and a plain descriptor at once."""

import os

import mqcore as zmq


def main():
    reader, writer = os.pipe()
    with zmq.Context() as context:
        orders, replies = context.socket(zmq.PULL), context.socket(zmq.PULL)
        poller = zmq.Poller()
        for socket in (orders, replies, reader):
            poller.register(socket, zmq.POLLIN)
        orders.bind("inproc://orders")
        replies.bind("inproc://replies")

        print("nothing yet:", poller.poll(10))  # milliseconds
        for endpoint, text in (("inproc://orders", b"one tea"), ("inproc://replies", b"thanks")):
            with context.socket(zmq.PUSH) as push:
                push.connect(endpoint)
                push.send(text)
        os.write(writer, b"a line of a pipe")

        open_ends = {orders, replies, reader}
        while open_ends:
            for ready, events in poller.poll(1000):
                assert events & zmq.POLLIN
                if ready == reader:
                    print("descriptor:", os.read(reader, 100).decode())
                else:
                    print("orders:" if ready is orders else "replies:", ready.recv_string())
                poller.unregister(ready)
                open_ends.discard(ready)
        print("an empty poller returns at once:", poller.poll())
        orders.close()
        replies.close()
    os.close(reader)
    os.close(writer)


if __name__ == "__main__":
    main()
