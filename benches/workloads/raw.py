"""A plain socket of Python's standard library: how fast bytes go at all, with no messages and no queues.

The receiver knows the size of each message. Its `recv` waits for the whole of it and makes one bytes object.
"""

from __future__ import annotations

import socket
from functools import partial

from benches.content import messages, take_all
from benches.job import Figures, Job, Unsupported


def receive(job: Job) -> Figures:
    """Accepts one connection and receives everything."""
    if job.task.transport == "tcp":
        listener = socket.create_server(("127.0.0.1", 0))
        endpoint = str(listener.getsockname()[1])
    elif job.task.transport == "ipc":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(job.path)
        listener.listen()
        endpoint = job.path
    else:
        raise Unsupported("a socket of the system is no inproc transport")
    job.announce([endpoint])
    connection, _ = listener.accept()
    with listener, connection:
        return take_all(
            partial(connection.recv, job.task.size, socket.MSG_WAITALL), job.task, job.began
        )


def send(job: Job) -> Figures:
    """Connects and sends everything."""
    if job.task.transport == "tcp":
        connection = socket.create_connection(("127.0.0.1", int(job.endpoint)))
    else:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(job.endpoint)
    with connection:
        for message in messages(job.task):
            connection.sendall(message)
        job.wait_for_other()
    return {}
