"""A broker with workers and clients, all of them greenlets of one patched process: least recently used workers first."""

from gevent import monkey

monkey.patch_all()

import collections  # noqa: E402

import gevent.event  # noqa: E402
import zmq.green as zmq  # noqa: E402

CLIENTS, WORKERS, REQUESTS = 8, 4, 25


def client(context, endpoint, number, answers):
    with context.socket(zmq.REQ) as socket:
        socket.identity = b"client-%d" % number
        socket.connect(endpoint)
        for request in range(REQUESTS):
            socket.send(b"%d" % request)
            worker, answer = socket.recv_multipart()
            answers[number].append((worker, answer))


def worker(context, endpoint, number):
    with context.socket(zmq.REQ) as socket:
        socket.identity = b"worker-%d" % number
        socket.connect(endpoint)
        socket.send(b"ready")
        while True:
            caller, empty, request = socket.recv_multipart()
            if request == b"stop":
                return
            gevent.sleep(0)  # thinks
            socket.send_multipart([caller, b"", socket.identity, request * 2])


def broker(frontend, backend, finished):
    free = collections.deque()
    poller = zmq.Poller()
    poller.register(backend, zmq.POLLIN)
    while not finished.is_set() or len(free) < WORKERS:
        if free:
            poller.register(frontend, zmq.POLLIN)
        elif frontend in poller:
            poller.unregister(frontend)
        events = dict(poller.poll(20))
        if backend in events:
            name, _, caller, *answer = backend.recv_multipart()
            free.append(name)
            if caller != b"ready":
                frontend.send_multipart([caller, *answer])
        if frontend in events:
            caller, _, request = frontend.recv_multipart()
            backend.send_multipart([free.popleft(), b"", caller, b"", request])
    for name in free:
        backend.send_multipart([name, b"", b"", b"", b"stop"])


def main():
    context = zmq.Context()
    frontend, backend = context.socket(zmq.ROUTER), context.socket(zmq.ROUTER)
    port = frontend.bind_to_random_port("tcp://127.0.0.1")
    backend.bind("inproc://workers")
    answers = collections.defaultdict(list)
    finished = gevent.event.Event()
    workers = [gevent.spawn(worker, context, "inproc://workers", n) for n in range(WORKERS)]
    middle = gevent.spawn(broker, frontend, backend, finished)
    endpoint = f"tcp://127.0.0.1:{port}"
    clients = [gevent.spawn(client, context, endpoint, n, answers) for n in range(CLIENTS)]
    with gevent.Timeout(30):
        gevent.joinall(clients, raise_error=True)
        finished.set()
        gevent.joinall([middle, *workers], raise_error=True)
    expected = [b"%d%d" % (request, request) for request in range(REQUESTS)]
    right = [[answer for _, answer in answers[n]] == expected for n in range(CLIENTS)]
    used = {name for got in answers.values() for name, _ in got}
    print("answered", sum(right), "workers", len(used))
    frontend.close()
    backend.close()
    context.term()


main()
print("zmq", zmq.Socket.__module__)
