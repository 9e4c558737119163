"""monitored_queue: a proxy that tells a third socket what passes, and from which side."""

from __future__ import annotations

import importlib
import os
import time
from typing import Any

import pytest

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))
devices: Any = importlib.import_module(f"{zmq.__name__}.devices")
deviation = pytest.mark.deviation


class Queue:
    """A monitored queue in a thread of its own context, with bound sockets."""

    def __init__(
        self,
        background: Any,
        sockets: Any,
        *kinds: int,
        monitor: int | None = None,
        prefixes: tuple[bytes, ...] = (),
        **options: Any,
    ) -> None:
        self.context = zmq.Context()
        made = [self.context.socket(kind) for kind in kinds]
        mon = self.context.socket(zmq.PUSH if monitor is None else monitor)
        for socket in made:
            for name, value in options.items():
                setattr(socket, name, value)
        for socket in [*made, mon]:
            socket.bind("tcp://127.0.0.1:*")
        self.front, self.back = made[0].last_endpoint, made[-1].last_endpoint
        self.watching = sockets(zmq.PULL if monitor is None else zmq.SUB)
        if monitor is not None:
            self.watching.subscribe(b"")
        self.watching.connect(mon.last_endpoint)

        def run() -> Any:
            try:
                return devices.monitored_queue(made[0], made[-1], mon, *prefixes)
            except zmq.ContextTerminated:
                return "terminated"
            finally:
                for socket in [*made, mon]:
                    socket.close(linger=0)

        self.join = background(run)

    def end(self) -> Any:
        self.context.term()
        return self.join()


def connected(sockets: Any, kind: int, endpoint: Any, **options: Any) -> Any:
    socket = sockets(kind, **options)
    socket.connect(endpoint)
    return socket


def test_monitor_gets_a_copy_with_the_side_in_front(sockets: Any, background: Any) -> None:
    queue = Queue(background, sockets, zmq.ROUTER, zmq.DEALER)
    client = connected(sockets, zmq.REQ, queue.front, routing_id=b"client")
    worker = connected(sockets, zmq.REP, queue.back)
    client.send_multipart([b"question", b"2"])
    assert worker.recv_multipart() == [b"question", b"2"]
    worker.send(b"answer")
    assert client.recv() == b"answer"
    assert queue.watching.recv_multipart() == [b"in", b"client", b"", b"question", b"2"]
    assert queue.watching.recv_multipart() == [b"out", b"client", b"", b"answer"]
    assert queue.end() == "terminated"


def test_between_two_routers_the_first_parts_are_exchanged(sockets: Any, background: Any) -> None:
    queue = Queue(background, sockets, zmq.ROUTER, zmq.ROUTER, prefixes=(b"a", b"b"))
    client = connected(sockets, zmq.DEALER, queue.front, routing_id=b"client")
    worker = connected(sockets, zmq.DEALER, queue.back, routing_id=b"worker")
    worker.send_multipart([b"nobody", b"here I am"])  # then the queue knows the worker
    assert queue.watching.recv_multipart() == [b"b", b"nobody", b"worker", b"here I am"]
    client.send_multipart([b"worker", b"question", b"2"])
    assert worker.recv_multipart() == [b"client", b"question", b"2"]
    assert queue.watching.recv_multipart() == [b"a", b"worker", b"client", b"question", b"2"]
    worker.send_multipart([b"client", b"answer"])
    assert client.recv_multipart() == [b"worker", b"answer"]
    assert queue.watching.recv_multipart() == [b"b", b"client", b"worker", b"answer"]
    queue.end()


@deviation
def test_message_without_a_receiver_leaves_the_next_ones_whole(
    sockets: Any, background: Any
) -> None:
    """pyzmq takes the first part of the next message for the missing one."""
    queue = Queue(background, sockets, zmq.ROUTER, zmq.ROUTER)
    client = connected(sockets, zmq.DEALER, queue.front, routing_id=b"client")
    worker = connected(sockets, zmq.DEALER, queue.back, routing_id=b"worker")
    worker.send_multipart([b"nobody", b"here I am"])
    queue.watching.recv_multipart()
    client.send(b"alone")
    client.send_multipart([b"worker", b"whole"])
    assert worker.recv_multipart() == [b"client", b"whole"]
    assert queue.watching.recv_multipart() == [b"in", b"alone", b"client"]
    assert queue.watching.recv_multipart() == [b"in", b"worker", b"client", b"whole"]
    queue.end()


def test_many_messages_pass_in_order_with_all_their_copies(sockets: Any, background: Any) -> None:
    queue = Queue(background, sockets, zmq.PULL, zmq.PUSH)
    source = connected(sockets, zmq.PUSH, queue.front)
    sink = connected(sockets, zmq.PULL, queue.back)
    count = 5000
    sending = background(lambda: [source.send(b"%d" % number) for number in range(count)])

    def watch() -> None:
        for number in range(count):
            assert queue.watching.recv_multipart() == [b"in", b"%d" % number]

    watching = background(watch)
    for number in range(count):
        assert sink.recv() == b"%d" % number
    sending()
    watching()
    queue.end()


def test_subscriptions_travel_back_and_are_seen(sockets: Any, background: Any) -> None:
    queue = Queue(background, sockets, zmq.XSUB, zmq.XPUB)
    publisher = connected(sockets, zmq.XPUB, queue.front)
    subscriber = connected(sockets, zmq.SUB, queue.back)
    subscriber.subscribe(b"t")
    assert publisher.recv() == b"\x01t"
    publisher.send_multipart([b"topic", b"1"])
    assert subscriber.recv_multipart() == [b"topic", b"1"]
    assert queue.watching.recv_multipart() == [b"out", b"\x01t"]
    assert queue.watching.recv_multipart() == [b"in", b"topic", b"1"]
    queue.end()


def test_one_socket_may_stand_on_both_sides(sockets: Any, background: Any) -> None:
    queue = Queue(background, sockets, zmq.DEALER)
    peer = connected(sockets, zmq.DEALER, queue.front)
    peer.send_multipart([b"there", b"and back"])
    assert peer.recv_multipart() == [b"there", b"and back"]
    assert queue.watching.recv_multipart() == [b"in", b"there", b"and back"]
    assert queue.watching.poll(50) == 0
    queue.end()


def test_lockstep_sockets_may_be_joined(sockets: Any, background: Any) -> None:
    queue = Queue(background, sockets, zmq.REP, zmq.REQ)
    client = connected(sockets, zmq.REQ, queue.front)
    worker = connected(sockets, zmq.REP, queue.back)
    for turn in (b"1", b"2", b"3"):
        client.send(turn)
        assert worker.recv() == turn
        worker.send(b"answer " + turn)
        assert client.recv() == b"answer " + turn
        assert queue.watching.recv_multipart() == [b"in", turn]
        assert queue.watching.recv_multipart() == [b"out", b"answer " + turn]
    queue.end()


def test_publishing_monitor_without_subscribers_holds_up_nothing(
    sockets: Any, background: Any
) -> None:
    queue = Queue(background, sockets, zmq.PULL, zmq.PUSH, monitor=zmq.PUB)
    queue.watching.close(linger=0)
    source = connected(sockets, zmq.PUSH, queue.front)
    sink = connected(sockets, zmq.PULL, queue.back)
    for number in range(100):
        source.send(b"%d" % number)
    assert [sink.recv() for _ in range(100)] == [b"%d" % number for number in range(100)]
    queue.end()


@deviation
def test_side_without_room_does_not_hold_up_the_other(sockets: Any, background: Any) -> None:
    """Nor does the queue spin meanwhile, and what it cannot pass on it leaves with the sender."""
    queue = Queue(background, sockets, zmq.DEALER, zmq.DEALER, sndhwm=5, rcvhwm=5)
    source = connected(sockets, zmq.DEALER, queue.front, sndhwm=5, rcvhwm=5)
    sent = 0
    rest = bytes(100_000)
    while source.poll(200, zmq.POLLOUT):
        source.send_multipart([b"%d" % sent, rest])
        sent += 1
        assert sent < 1000
    begin = time.process_time()
    source.poll(500)  # nothing comes: the time in which a queue that spins would show
    assert time.process_time() - begin < 0.3
    other = connected(sockets, zmq.DEALER, queue.back)
    other.send(b"backwards")
    assert source.recv() == b"backwards"
    for number in range(sent):
        assert other.recv_multipart() == [b"%d" % number, rest]
    assert queue.end() == "terminated"


@deviation
def test_router_whose_one_peer_is_full_makes_the_queue_wait(sockets: Any, background: Any) -> None:
    queue = Queue(
        background, sockets, zmq.ROUTER, zmq.ROUTER, router_mandatory=1, sndhwm=5, monitor=zmq.PUB
    )
    source = connected(sockets, zmq.DEALER, queue.front, routing_id=b"source")
    sink = connected(sockets, zmq.DEALER, queue.back, routing_id=b"sink", rcvhwm=5)
    sink.send_multipart([b"source", b"here I am"])
    assert source.recv_multipart() == [b"sink", b"here I am"]
    count = 300
    payload = bytes(100_000)
    join = background(
        lambda: [source.send_multipart([b"sink", b"%d" % n, payload]) for n in range(count)]
    )
    for number in range(count):
        assert sink.recv_multipart() == [b"source", b"%d" % number, payload]
    join()
    assert queue.end() == "terminated"


def test_what_is_no_socket_or_no_bytes_is_refused(context: Any) -> None:
    a, b = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    for arguments, name in (
        ((1, b, b), "in_socket"),
        ((a, None, b), "out_socket"),
        ((a, b, None), "mon_socket"),
        ((a, b, b, "in"), "in_prefix"),
        ((a, b, b, b"in", bytearray(b"out")), "out_prefix"),
    ):
        with pytest.raises(TypeError, match=f"Argument '{name}' has incorrect type"):
            devices.monitored_queue(*arguments)


def test_closed_socket_is_refused(context: Any) -> None:
    a, b, c = (context.socket(kind) for kind in (zmq.PULL, zmq.PUSH, zmq.PUB))
    a.close()
    with pytest.raises(zmq.ZMQError) as caught:
        devices.monitored_queue(a, b, c)
    assert caught.value.errno == zmq.ENOTSOCK
