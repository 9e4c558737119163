"""An echo server whose stream has a coroutine as its callback, and a client of tornado futures."""

import asyncio

import zmq
import zmq.eventloop.future
from tornado import gen
from tornado.ioloop import IOLoop
from zmq.eventloop.zmqstream import ZMQStream

COUNT = 50


async def main():
    context = zmq.Context()
    server = ZMQStream(context.socket(zmq.REP))
    port = server.bind_to_random_port("tcp://127.0.0.1")

    async def echo(parts):
        await asyncio.sleep(0)
        server.send_multipart([b"echo", *parts])

    server.on_recv(echo)
    futures = zmq.eventloop.future.Context()
    client = futures.socket(zmq.REQ)
    client.connect(f"tcp://127.0.0.1:{port}")

    @gen.coroutine
    def ask(number):
        yield client.send(b"%d" % number)
        answer = yield client.recv_multipart()
        raise gen.Return(answer)

    answers = [await ask(number) for number in range(COUNT)]
    print("echoed", answers == [[b"echo", b"%d" % number] for number in range(COUNT)])

    poller = zmq.eventloop.future.Poller()
    poller.register(client, zmq.POLLIN)
    await client.send(b"last")
    events = await poller.poll(10_000)
    print("polled", events == [(client, zmq.POLLIN)], await client.recv_multipart())

    client.close()
    server.close()
    futures.term()
    context.term()


IOLoop.current().run_sync(main, timeout=30)
print("zmq", zmq.Socket.__module__)
