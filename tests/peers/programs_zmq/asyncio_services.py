"""Services and clients as tasks of asyncio: requests behind a router, a pipeline with a sink, timeouts and cancelling."""

import asyncio

import zmq
import zmq.asyncio

CLIENTS, REQUESTS = 5, 40


async def service(context, endpoint):
    with context.socket(zmq.ROUTER) as socket:
        endpoint.set_result(socket.bind_to_random_port("tcp://127.0.0.1"))
        while True:
            name, empty, request = await socket.recv_multipart()
            await socket.send_multipart([name, empty, request[::-1]])


async def client(context, port, number):
    with context.socket(zmq.REQ) as socket:
        socket.connect(f"tcp://127.0.0.1:{port}")
        for request in range(REQUESTS):
            await socket.send_string(f"{number}/{request}")
            assert await socket.recv_string() == f"{number}/{request}"[::-1]
    return number


async def pipeline(context):
    with context.socket(zmq.PULL) as sink, context.socket(zmq.PUSH) as source:
        source.bind("inproc://jobs")
        sink.connect("inproc://jobs")
        await asyncio.gather(*[source.send_json({"job": number}) for number in range(100)])
        jobs = [(await sink.recv_json())["job"] for _ in range(100)]
        try:
            await asyncio.wait_for(sink.recv(), 0.02)
        except TimeoutError:
            print("nothing more")
        await source.send_pyobj(("kept", 1))
        poller = zmq.asyncio.Poller()
        poller.register(sink, zmq.POLLIN)
        events = dict(await poller.poll(10_000))
        print("pipeline", jobs == list(range(100)), events == {sink: zmq.POLLIN})
        print(await sink.recv_pyobj(), await sink.poll(0))


async def main():
    context = zmq.asyncio.Context.instance()
    endpoint = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(service(context, endpoint))
    port = await endpoint
    done = await asyncio.gather(*[client(context, port, number) for number in range(CLIENTS)])
    print("answered", done)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    print("cancelled", serving.cancelled())
    await pipeline(context)
    context.term()


asyncio.run(asyncio.wait_for(main(), 30))
print("zmq", zmq.Socket.__module__)
