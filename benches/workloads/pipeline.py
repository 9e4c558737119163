"""PUSH to PULL: one by one, in batches, in parts, encrypted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benches.content import (
    POOL,
    in_parts,
    messages,
    pool,
    round_and_round,
    speed,
    take_all,
    take_known,
)
from benches.job import Figures, Job, Unsupported, Wrong

Prepare = Callable[[Job, Any], None]


def as_it_is(job: Job, socket: Any) -> None:
    """Leaves all options at their defaults."""


def pull(job: Job, prepare: Prepare = as_it_is) -> Figures:
    """Receives everything, one by one."""
    with job.context.socket(job.zmq.PULL) as socket:
        prepare(job, socket)
        job.bind(socket)
        return take_all(socket.recv, job.task, job.began)


def push(job: Job, prepare: Prepare = as_it_is) -> Figures:
    """Sends everything, one by one, as fast as the socket takes it."""
    with job.context.socket(job.zmq.PUSH) as socket:
        prepare(job, socket)
        socket.connect(job.endpoint)
        send = socket.send
        for message in messages(job.task):
            send(message)
        job.wait_for_other()
        return {}


def pull_parts(job: Job) -> Figures:
    """Receives messages of three parts."""
    with job.context.socket(job.zmq.PULL) as socket:
        job.bind(socket)
        return take_known(socket.recv_multipart, in_parts(job.task.size), job.task.count, job.began)


def push_parts(job: Job) -> Figures:
    """Sends messages of three parts."""
    with job.context.socket(job.zmq.PUSH) as socket:
        socket.connect(job.endpoint)
        send = socket.send_multipart
        for parts in round_and_round(in_parts(job.task.size), job.task.count):
            send(parts)
        job.wait_for_other()
        return {}


def pull_batches(job: Job) -> Figures:
    """Receives with `recv_many`: whatever is there, in lists."""
    with job.context.socket(job.zmq.PULL) as socket:
        receive = batch_call(socket, "recv_many")
        job.bind(socket)
        once = pool(job.task.size)
        twice = once + once
        received = len(check_batch(receive(1), twice, 0))
        job.began()
        start = time.perf_counter()
        while received < job.task.count:
            received += len(check_batch(receive(), twice, received % POOL))
        return speed(received - 1, time.perf_counter() - start)


def check_batch(batch: list[bytes], twice: list[bytes], at: int) -> list[bytes]:
    """The batch, if it is what comes next; `twice` is the pool two times over, `at` the place in it."""
    if batch != twice[at : at + len(batch)]:
        raise Wrong("a message was lost, changed or out of order")
    return batch


def push_batches(job: Job) -> Figures:
    """Sends with `send_many`, lists of POOL messages."""
    with job.context.socket(job.zmq.PUSH) as socket:
        send = batch_call(socket, "send_many")
        socket.connect(job.endpoint)
        batch = pool(job.task.size)
        for _ in range(job.task.count // POOL):
            if send(batch) != POOL:
                raise Wrong("send_many did not take the whole batch")
        job.wait_for_other()
        return {}


def batch_call(socket: Any, name: str) -> Callable[..., Any]:
    """The method of that name, if there is one."""
    method: Callable[..., Any] | None = getattr(type(socket), name, None) and getattr(socket, name)
    if method is None:
        raise Unsupported(f"sockets have no {name}")
    return method


# The test keys of libzmq's manual, zmq_curve(7).
SERVER_PUBLIC = b"rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
SERVER_SECRET = b"JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"
CLIENT_PUBLIC = b"Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
CLIENT_SECRET = b"D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"


def be_curve_server(job: Job, socket: Any) -> None:
    need_curve(job)
    socket.setsockopt(job.zmq.CURVE_SERVER, 1)
    socket.setsockopt(job.zmq.CURVE_PUBLICKEY, SERVER_PUBLIC)
    socket.setsockopt(job.zmq.CURVE_SECRETKEY, SERVER_SECRET)


def be_curve_client(job: Job, socket: Any) -> None:
    need_curve(job)
    socket.setsockopt(job.zmq.CURVE_SERVERKEY, SERVER_PUBLIC)
    socket.setsockopt(job.zmq.CURVE_PUBLICKEY, CLIENT_PUBLIC)
    socket.setsockopt(job.zmq.CURVE_SECRETKEY, CLIENT_SECRET)


def need_curve(job: Job) -> None:
    if not job.zmq.has("curve"):
        raise Unsupported(f"{job.zmq.__name__} has no CURVE")
