"""A broker: clients ask one address, and whichever worker is free answers.

    REQ client ──▶ ROUTER │ broker │ ROUTER ◀── REQ worker

A worker says that it is ready, and gets the next question as the answer to that. Its reply says that it is ready again.
The broker asks a client to wait by reading nothing from the clients' side while no worker is free.
"""

import threading
from collections import deque

import mqcore as zmq

WORKERS, CLIENTS, QUESTIONS = 2, 3, 2


def client(context, endpoint, name, report):
    with context.socket(zmq.REQ) as broker, context.socket(zmq.PUSH) as log:
        broker.connect(endpoint)
        log.connect(report)
        for number in range(QUESTIONS):
            broker.send_string(f"question {number} of {name}")
            log.send_string(f"{name} got: {broker.recv_string()}")


def worker(context, endpoint, name):
    with context.socket(zmq.REQ) as broker:
        broker.connect(endpoint)
        broker.send(b"ready")
        while True:
            message = broker.recv_multipart()
            if message == [b"stop"]:
                return
            whom, empty, question = message
            answer = f"{name} answered {question.decode()}"
            broker.send_multipart([whom, empty, answer.encode()])


def broker(frontend, backend, answers):
    free = deque()
    poller = zmq.Poller()
    poller.register(backend, zmq.POLLIN)
    while answers or len(free) < WORKERS:
        poller.register(frontend, zmq.POLLIN if free else 0)  # 0: leave the clients alone
        events = dict(poller.poll())
        if backend in events:
            who, _, *message = backend.recv_multipart()
            free.append(who)
            if message != [b"ready"]:
                frontend.send_multipart(message)  # the client's id, an empty part, the answer
                answers -= 1
        if frontend in events:
            backend.send_multipart([free.popleft(), b"", *frontend.recv_multipart()])
    for who in free:
        backend.send_multipart([who, b"", b"stop"])


def main():
    with (
        zmq.Context() as context,
        context.socket(zmq.ROUTER) as frontend,
        context.socket(zmq.ROUTER) as backend,
        context.socket(zmq.PULL) as report,
    ):
        frontend.bind("tcp://127.0.0.1:*")
        backend.bind("inproc://workers")
        report.bind("inproc://report")
        clients_at = frontend.get_string(zmq.LAST_ENDPOINT)
        threads = [
            threading.Thread(target=worker, args=(context, "inproc://workers", f"worker {n}"))
            for n in range(WORKERS)
        ] + [
            threading.Thread(
                target=client, args=(context, clients_at, f"client {n}", "inproc://report")
            )
            for n in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        broker(frontend, backend, CLIENTS * QUESTIONS)
        for thread in threads:
            thread.join()
        for line in sorted(report.recv_string() for _ in range(CLIENTS * QUESTIONS)):
            print(line)
        print(
            f"{CLIENTS * QUESTIONS} questions of {CLIENTS} clients, answered by {WORKERS} workers"
        )


if __name__ == "__main__":
    main()
