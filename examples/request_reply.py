"""Request and reply: a client asks, a service answers, in turn.

    REQ ──tcp──▶ REP

The service runs in a thread here; it could as well be another process or another machine.
"""

import threading

import mqcore as zmq


def serve(context, endpoints):
    with context.socket(zmq.REP) as service:
        service.bind("tcp://127.0.0.1:*")  # the system chooses a port
        endpoints.append(service.get_string(zmq.LAST_ENDPOINT))
        ready.set()
        while (question := service.recv_string()) != "enough":
            service.send_string(question.upper())
        service.send_string("goodbye")


ready = threading.Event()


def main():
    endpoints = []
    with zmq.Context() as context:
        service = threading.Thread(target=serve, args=(context, endpoints))
        service.start()
        ready.wait()
        with context.socket(zmq.REQ) as client:
            client.connect(endpoints[0])
            for question in ("hello", "how are you", "enough"):
                client.send_string(question)
                print(f"asked {question!r}, got {client.recv_string()!r}")
        service.join()


if __name__ == "__main__":
    main()
