"""One socket with many peers, which live in one process: all of them talk, or only one does."""

from __future__ import annotations

import time
from collections import Counter
from itertools import islice
from typing import Any

from benches.content import POOL, messages, pool, speed, take_all
from benches.job import Figures, Job, Wrong

HELLO = b"hello"


def echo(job: Job) -> Figures:
    """A ROUTER that sends every message back to where it came from."""
    return send_back(job, (turns(job) + 2) * job.task.peers)


def ask_in_turn(job: Job) -> Figures:
    """DEALERs with one message each under way: whenever one has its answer it asks again."""
    known = pool(job.task.size)
    dealers = job.sockets(job.zmq.DEALER, job.task.peers)
    for dealer in dealers:
        dealer.connect(job.endpoint)
        dealer.send(known[0])
    calls = [(dealer.recv, dealer.send) for dealer in dealers]
    one_turn(calls, known, 0)  # after it all are connected
    job.began()
    start = time.perf_counter()
    for turn in range(1, turns(job) + 1):
        one_turn(calls, known, turn)
    took = time.perf_counter() - start
    for dealer in dealers:
        dealer.recv()
    return speed(turns(job) * job.task.peers, took)


def turns(job: Job) -> int:
    """How often each of the peers is asked for the task's count."""
    return max(1, job.task.count // job.task.peers)


def one_turn(calls: list[tuple[Any, Any]], known: list[bytes], turn: int) -> None:
    expected, following = known[turn % POOL], known[(turn + 1) % POOL]
    for receive, send in calls:
        if receive() != expected:
            raise Wrong("the answer is not the question")
        send(following)


def echo_one(job: Job) -> Figures:
    """A ROUTER of whose peers only one talks, after a word from each."""
    return send_back(job, job.task.peers + job.task.count)


def send_back(job: Job, count: int) -> Figures:
    with job.context.socket(job.zmq.ROUTER) as socket:
        job.bind(socket)
        receive, send = socket.recv_multipart, socket.send_multipart
        for _ in range(job.task.peers):
            send(receive())
        job.began()
        for _ in range(count - job.task.peers):
            send(receive())
        job.wait_for_other()
        return {}


def ask_from_one(job: Job) -> Figures:
    """DEALERs that have had one answer each; then one goes on, with a single message under way."""
    dealers = job.sockets(job.zmq.DEALER, job.task.peers)
    for dealer in dealers:
        dealer.connect(job.endpoint)
        dealer.send(HELLO)
    for dealer in dealers:
        if dealer.recv() != HELLO:
            raise Wrong("the answer is not the question")
    known = pool(job.task.size)
    receive, send = dealers[0].recv, dealers[0].send
    job.began()
    start = time.perf_counter()
    for number in range(job.task.count):
        question = known[number % POOL]
        send(question)
        if receive() != question:
            raise Wrong("the answer is not the question")
    return speed(job.task.count, time.perf_counter() - start)


def hear_hello(job: Job, socket: Any) -> None:
    """Waits until each peer has said hello, and tells them that all were heard."""
    for _ in range(job.task.peers):
        if socket.recv() != HELLO:
            raise Wrong("the first message is not the first one sent")
    job.tell_other()


def say_hello(job: Job) -> list[Any]:
    """PUSHes that have said hello, when all were heard."""
    sockets = job.sockets(job.zmq.PUSH, job.task.peers)
    for socket in sockets:
        socket.connect(job.endpoint)
        socket.send(HELLO)
    job.wait_for_other()
    return sockets


def pull_from_one(job: Job) -> Figures:
    """A word from each peer, then a stream from one of them."""
    with job.context.socket(job.zmq.PULL) as socket:
        job.bind(socket)
        hear_hello(job, socket)
        return take_all(socket.recv, job.task, job.began)


def push_from_one(job: Job) -> Figures:
    """PUSHes that say hello; one goes on when all have been heard."""
    sockets = say_hello(job)
    job.began()
    send = sockets[0].send
    for message in messages(job.task):
        send(message)
    job.wait_for_other()
    return {}


def pull_from_all(job: Job) -> Figures:
    """A stream from each peer; how many of each message came is counted, their order is not looked at."""
    count, counted = turns(job) * job.task.peers, Counter[bytes]()
    with job.context.socket(job.zmq.PULL) as socket:
        job.bind(socket)
        hear_hello(job, socket)
        arriving = iter(socket.recv, None)
        counted.update(islice(arriving, 1))
        job.began()
        start = time.perf_counter()
        counted.update(islice(arriving, count - 1))
        took = time.perf_counter() - start
    for number, message in enumerate(pool(job.task.size)):
        rounds, rest = divmod(turns(job), POOL)
        if counted[message] != (rounds + (number < rest)) * job.task.peers:
            raise Wrong("a message was lost, changed or came twice")
    return speed(count - 1, took)


def push_from_all(job: Job) -> Figures:
    """PUSHes that say hello; when all have been heard, each sends in turn."""
    known = pool(job.task.size)
    sockets = say_hello(job)
    job.began()
    sends = [socket.send for socket in sockets]
    for turn in range(turns(job)):
        message = known[turn % POOL]
        for send in sends:
            send(message)
    job.wait_for_other()
    return {}
