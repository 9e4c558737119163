"""Sockets and threads: who waits lets the others run, and any thread may call anything."""

from __future__ import annotations

import importlib
import os
import threading
import time
from typing import Any

import pytest

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))


@pytest.mark.parametrize(
    "wait",
    [
        lambda receiver, sender: receiver.recv(),
        lambda receiver, sender: receiver.recv_multipart(),
        lambda receiver, sender: receiver.recv_into(bytearray(9)),
        lambda receiver, sender: receiver.poll(),
        lambda receiver, sender: zmq.zmq_poll([(receiver, zmq.POLLIN)]),
    ],
)
def test_other_threads_run_while_one_waits_to_receive(
    sockets: Any, background: Any, wait: Any
) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL)
    started = threading.Event()

    def receive() -> Any:
        started.set()
        return wait(receiver, sender)

    join = background(receive)
    assert started.wait(10)
    # If the waiting thread kept the interpreter, this would not go on.
    assert sum(range(100_000)) == 4999950000
    sender.send(b"x")
    join()


@pytest.mark.parametrize("parts", [1, 3])
def test_other_threads_run_while_one_waits_to_send(
    sockets: Any, background: Any, parts: int
) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, hwm=1)
    for _ in range(2):
        sender.send(b"x")
    join = background(lambda: sender.send_multipart([b"last"] * parts))
    assert receiver.recv() == b"x"
    assert receiver.recv() == b"x"
    assert receiver.recv_multipart() == [b"last"] * parts
    join()


@pytest.mark.deviation
@pytest.mark.parametrize(
    "wait",
    [
        lambda socket: socket.recv(),
        lambda socket: socket.recv_multipart(),
        lambda socket: socket.send(b"x"),
        lambda socket: socket.send_multipart([b"x", b"y"]),
        lambda socket: zmq.zmq_poll([(socket, zmq.POLLIN)]),
    ],
)
def test_close_by_another_thread_ends_a_waiting_call(
    sockets: Any, background: Any, wait: Any
) -> None:
    socket = sockets(zmq.DEALER, rcvtimeo=-1, sndtimeo=-1)
    started = threading.Event()

    def run() -> Any:
        started.set()
        with pytest.raises(zmq.ZMQError) as caught:
            wait(socket)
        return caught.value.errno

    join = background(run)
    assert started.wait(10)
    socket.close()
    assert join() == zmq.ENOTSOCK


@pytest.mark.deviation
def test_many_threads_send_through_one_socket(sockets: Any, background: Any) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, "tcp")
    threads, count = 4, 500

    def send(thread: int) -> None:
        for index in range(count):
            sender.send_multipart([str(thread).encode(), str(index).encode()])

    joins = [background(lambda thread=thread: send(thread)) for thread in range(threads)]
    last = dict.fromkeys(range(threads), -1)
    for _ in range(threads * count):
        thread, index = map(int, receiver.recv_multipart())
        assert index == last[thread] + 1, "each thread's messages stay in order and whole"
        last[thread] = index
    for join in joins:
        join()
    assert set(last.values()) == {count - 1}


@pytest.mark.deviation
def test_many_threads_receive_from_one_socket(sockets: Any, background: Any) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL)
    total = 2000
    found: list[int] = []

    def receive() -> None:
        while (message := receiver.recv()) != b"end":
            found.append(int(message))

    joins = [background(receive) for _ in range(4)]
    for index in range(total):
        sender.send(str(index).encode())
    for _ in joins:
        sender.send(b"end")
    for join in joins:
        join()
    assert sorted(found) == list(range(total))


@pytest.mark.deviation
def test_one_thread_sends_while_another_receives_on_the_same_socket(
    sockets: Any, background: Any
) -> None:
    a, b = sockets.pair(zmq.DEALER, zmq.DEALER)
    count = 1000

    def send() -> None:
        for index in range(count):
            a.send(str(index).encode())

    def echo() -> None:
        for _ in range(count):
            b.send(b.recv())

    joins = [background(send), background(echo)]
    assert [int(a.recv()) for _ in range(count)] == list(range(count))
    for join in joins:
        join()


def test_context_is_shared_by_threads(context: Any, background: Any) -> None:
    barrier = threading.Barrier(4)

    def work(index: int) -> bytes:
        with context.socket(zmq.PAIR) as a, context.socket(zmq.PAIR) as b:
            barrier.wait(10)
            a.bind(f"inproc://{index}")
            b.connect(f"inproc://{index}")
            b.send(str(index).encode())
            return a.recv()  # type: ignore[no-any-return]

    joins = [background(lambda index=index: work(index)) for index in range(4)]
    assert [join() for join in joins] == [b"0", b"1", b"2", b"3"]


def test_waiting_call_makes_no_timer_ticks(sockets: Any, background: Any) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL)
    used: list[float] = []

    def receive() -> None:
        begin = time.thread_time()
        receiver.recv()
        used.append(time.thread_time() - begin)

    join = background(receive)
    join_poll = background(lambda: zmq.zmq_poll([(sockets(zmq.PULL), zmq.POLLIN)], 200))
    assert join_poll() == []
    sender.send(b"x")
    join()
    assert used[0] < 0.05, "a waiting thread uses no processor time"
