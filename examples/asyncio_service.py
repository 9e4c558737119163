"""asyncio: a service and its clients as tasks; a receive that is cancelled loses nothing."""

import asyncio

import mqcore as zmq
from mqcore.asyncio import Context


async def serve(service):
    while True:
        client, question = await service.recv_multipart()
        await service.send_multipart([client, question.upper()])


async def ask(context, endpoint, name):
    with context.socket(zmq.DEALER) as service:
        service.connect(endpoint)
        await service.send_string(f"hello from {name}")
        return await service.recv_string()


async def main():
    context = Context()
    service = context.socket(zmq.ROUTER)
    service.bind("tcp://127.0.0.1:*")
    endpoint = service.get_string(zmq.LAST_ENDPOINT)
    serving = asyncio.create_task(serve(service))

    answers = await asyncio.gather(
        *(ask(context, endpoint, name) for name in ("anna", "ben", "cleo"))
    )
    for answer in answers:
        print("a client got:", answer)

    with context.socket(zmq.PUSH) as push, context.socket(zmq.PULL) as pull:
        pull.bind("inproc://slow")
        push.connect("inproc://slow")
        try:
            await asyncio.wait_for(pull.recv(), timeout=0.05)  # seconds
        except TimeoutError:
            print("nothing came within 50 ms: the receive was cancelled")
        await push.send(b"late")
        print("the next receive gets what came later:", (await pull.recv()).decode())

    serving.cancel()
    await asyncio.wait([serving])
    service.close()
    context.term()
    print("the service has ended")


if __name__ == "__main__":
    asyncio.run(main())
