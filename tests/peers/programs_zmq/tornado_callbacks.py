"""An echo server and its client, both on streams with callbacks, in one tornado loop."""

import zmq
from tornado.ioloop import IOLoop
from zmq.eventloop.zmqstream import ZMQStream

COUNT = 200


def main():
    context = zmq.Context()
    loop = IOLoop.current()
    server = ZMQStream(context.socket(zmq.ROUTER))
    port = server.bind_to_random_port("tcp://127.0.0.1")
    client = ZMQStream(context.socket(zmq.DEALER), loop)
    client.connect(f"tcp://127.0.0.1:{port}")
    heard, sent = [], []

    def echo(stream, parts):
        stream.send_multipart(parts)

    def take(parts):
        heard.append(parts)
        if len(heard) == COUNT:
            client.on_recv(None)
            loop.add_callback(loop.stop)
        elif len(heard) % 2 == 0:
            client.send_multipart([b"later", b"%d" % len(heard)])

    server.on_recv_stream(echo)
    client.on_recv(take)
    client.on_send(lambda parts, status: sent.append(parts))
    for number in range(COUNT // 2 + 1):
        client.send_multipart([b"first", b"%d" % number])
    late = loop.call_later(30, loop.stop)
    loop.start()
    loop.remove_timeout(late)
    first = [body for kind, body in heard if kind == b"first"]
    print("echoed", len(heard), first == [b"%d" % number for number in range(len(first))])
    print("told of", len(sent) >= COUNT)
    client.close()
    server.close()
    print("closed", client.closed(), server.closed())
    context.term()


main()
print("zmq", zmq.Socket.__module__)
