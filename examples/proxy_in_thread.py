"""A device: a proxy with sockets of its own, which runs in a thread and shows what passes through.

REQ ──▶ ROUTER │ DEALER ──▶ REP        PUB ──▶ SUB gets a copy of everything
"""

import mqcore as zmq
from mqcore.devices import ThreadProxy


def main():
    device = ThreadProxy(zmq.ROUTER, zmq.DEALER, zmq.PUSH)
    device.daemon = True
    device.bind_in("inproc://clients")
    device.bind_out("inproc://services")
    device.connect_mon("inproc://copies")

    context = zmq.Context.instance()  # devices in threads use this one: so inproc reaches them
    with context.socket(zmq.PULL) as copies:
        copies.bind("inproc://copies")
        device.start()
        with context.socket(zmq.REP) as service, context.socket(zmq.REQ) as client:
            service.connect("inproc://services")
            client.connect("inproc://clients")
            client.send(b"hello")
            question = service.recv()
            service.send(question.upper())
            print("question:", question.decode())
            print("answer:", client.recv().decode())
        for direction in ("to the service", "back"):
            route = copies.recv_multipart()
            print(f"the proxy forwarded {direction}: {len(route)} parts, the last is {route[-1]}")
    context.term()  # ends the device
    device.join(5)
    print("the device has ended:", device.done)


if __name__ == "__main__":
    main()
