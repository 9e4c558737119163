"""tornado: a ZMQStream calls back for each message, beside everything else in the loop. Needs tornado."""

import asyncio

import mqcore as zmq
from mqcore.eventloop.zmqstream import ZMQStream


async def main():
    context = zmq.Context()
    service = ZMQStream(context.socket(zmq.REP))
    port = service.socket.bind_to_random_port("tcp://127.0.0.1")
    client = ZMQStream(context.socket(zmq.REQ))
    client.connect(f"tcp://127.0.0.1:{port}")
    done = asyncio.Event()
    questions = ["one", "two", "three"]

    def answer(message):
        print("the service was called back with", message)
        service.send_multipart([message[0].upper()])

    def take(message):
        print("the client was called back with", message)
        ask()

    def ask():
        if questions:
            client.send_string(questions.pop(0))
        else:
            done.set()

    service.on_recv(answer)
    client.on_recv(take)
    ask()
    await done.wait()
    client.close()
    service.close()
    context.term()
    print("done")


if __name__ == "__main__":
    asyncio.run(main())
