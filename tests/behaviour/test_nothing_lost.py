"""Nothing is lost (hostile row 28): a sender that sends N, closes and terminates while the receiver is slow and at its
high-water mark. MQCORE_LONG=1 repeats each case a thousand times.
"""

import threading

import pytest
from peers.fixtures import PEER_MODULES
from peers.process import PeerProcess
from peers.subject import is_ours, name, rounds, zmq
from peers.waiting import A_WHILE

CASES = [(200, 8), (100, 1000), (20, 100_000), (1500, 50)]
"""Messages, and bytes of each."""


def slow_reader(context, where: str, kind: int = zmq.PULL):
    """A receiver with little room in its queue and in the kernel; bound."""
    pull = context.socket(kind)
    pull.set(zmq.RCVHWM, 2)
    pull.set(zmq.RCVTIMEO, 20_000)
    if not where.startswith("inproc"):
        pull.set(zmq.RCVBUF, 4096)
    pull.bind(where)
    return pull, pull.get(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()


def read_all(pull, count: int, size: int, pauses: int = 3) -> None:
    """Reads `count` numbered messages and nothing else, with some pauses in which everything runs full."""
    for n in range(count):
        if n and n % (count // (pauses + 1)) == 0:
            threading.Event().wait(0.002)  # being slow is the point here
        body = pull.recv()
        assert int.from_bytes(body[:8], "big") == n
        assert len(body) == max(size, 8)
    assert not pull.poll(0)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("count, size", CASES)
@pytest.mark.parametrize("transport", ["tcp", "ipc", "inproc"])
def test_sender_in_this_process_closes_and_terminates(endpoint, transport, count, size):
    """Over inproc both live in one context, and term waits for both; else each has its own."""
    if not is_ours and transport == "ipc":
        pytest.skip("libzmq loses messages over ipc now and then")
    body = b"x" * (size - 8)
    for _ in range(rounds(30, 1000)):
        context = zmq.Context()
        pull, where = slow_reader(context, endpoint(transport))

        def send(context=context, where=where) -> None:
            mine = context if transport == "inproc" else zmq.Context()
            push = mine.socket(zmq.PUSH)
            push.set(zmq.SNDHWM, 5)
            push.connect(where)
            for n in range(count):
                push.send(n.to_bytes(8, "big") + body)
            push.close()
            if mine is not context:
                mine.term()

        sender = threading.Thread(target=send)
        sender.start()
        try:
            read_all(pull, count, size)
        finally:
            sender.join(20)
        assert not sender.is_alive()
        pull.close()
        context.term()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("module", PEER_MODULES)
@pytest.mark.parametrize("count, size", CASES)
@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_sender_in_another_process_closes_and_terminates(endpoint, module, transport, count, size):
    if module == "zmq" and transport == "ipc":
        pytest.skip("libzmq loses messages over ipc now and then")
    peer = PeerProcess(module)
    try:
        for _ in range(rounds(30, 1000)):
            context = zmq.Context()
            pull, where = slow_reader(context, endpoint(transport))
            peer.submit(
                "run_and_leave",
                kind="PUSH",
                endpoint=where,
                bind=False,
                count=count,
                size=size,
                options={"SNDHWM": 5},
            )
            try:
                read_all(pull, count, size)
                peer.result()
            finally:
                context.destroy(linger=0)
    finally:
        peer.stop()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_everything_is_in_the_kernel_or_with_us_when_the_sender_is_gone(endpoint, transport):
    """The receiver does not read at all until the sending process's context has terminated: 30 small messages fit
    between the two, and none may be lost although the connection is long closed.
    """
    peer = PeerProcess(name)
    try:
        for _ in range(rounds(30, 1000)):
            context = zmq.Context()
            pull, where = slow_reader(context, endpoint(transport))
            peer.call(
                "run_and_leave",
                kind="PUSH",
                endpoint=where,
                bind=False,
                count=30,
                size=10,
                options={},
            )
            read_all(pull, 30, 10)
            context.destroy(linger=0)
    finally:
        peer.stop()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("transport", ["tcp", "ipc", "inproc"])
@pytest.mark.parametrize(
    "sender, receiver",
    [("DEALER", "ROUTER"), ("DEALER", "DEALER"), ("PAIR", "PAIR"), ("ROUTER", "DEALER")],
)
def test_other_types_lose_nothing_either(endpoint, transport, sender, receiver):
    if not is_ours and transport == "ipc":
        pytest.skip("libzmq loses messages over ipc now and then")
    count = 100
    for _ in range(rounds(10, 300)):
        context = zmq.Context()
        into = context.socket(getattr(zmq, receiver))
        into.set(zmq.ROUTING_ID, b"into")
        into.set(zmq.RCVHWM, 2)
        into.set(zmq.RCVTIMEO, 20_000)
        into.bind(endpoint(transport))
        out_context = context if transport == "inproc" else zmq.Context()
        out = out_context.socket(getattr(zmq, sender))
        out.set(zmq.ROUTING_ID, b"out")
        out.set(zmq.SNDHWM, 5)
        if sender == "ROUTER":
            out.set(zmq.ROUTER_MANDATORY, 1)
            out.set(zmq.CONNECT_ROUTING_ID, b"into")
        out.connect(into.get(zmq.LAST_ENDPOINT).rstrip(b"\0").decode())

        def send(out=out, out_context=out_context, context=context) -> None:
            for n in range(count):
                out.send_multipart(
                    ([b"into"] if sender == "ROUTER" else []) + [b"%d" % n, b"x" * 3000]
                )
            out.close()
            if out_context is not context:
                out_context.term()

        thread = threading.Thread(target=send)
        thread.start()
        try:
            for n in range(count):
                got = into.recv_multipart()
                assert got[-2:] == [b"%d" % n, b"x" * 3000]
            assert not into.poll(0)
        finally:
            thread.join(20)
        into.close()
        context.term()


def test_linger_zero_throws_away_and_term_returns_at_once(endpoint):
    context = zmq.Context()
    push = context.socket(zmq.PUSH)
    push.connect("tcp://127.0.0.1:9")
    for _ in range(100):
        push.send(b"x" * 1000)
    push.close(linger=0)
    ended = threading.Thread(target=context.term)
    ended.start()
    ended.join(5)
    assert not ended.is_alive()


def test_linger_of_some_time_ends_by_itself(endpoint):
    context = zmq.Context()
    push = context.socket(zmq.PUSH)
    push.set(zmq.LINGER, 200)
    push.connect("tcp://127.0.0.1:9")
    push.send(b"nobody will ever read this")
    push.close()
    ended = threading.Thread(target=context.term)
    ended.start()
    ended.join(0.1)
    assert ended.is_alive(), "200 ms of linger cannot be over"
    ended.join(5)
    assert not ended.is_alive()


def test_term_waits_for_a_message_that_can_still_be_delivered(endpoint):
    where = endpoint("ipc")
    context = zmq.Context()
    push = context.socket(zmq.PUSH)
    assert push.get(zmq.LINGER) == -1
    push.set(zmq.RECONNECT_IVL, 10)
    push.connect(where)
    push.send(b"patience")
    push.close()
    ended = threading.Thread(target=context.term)
    ended.start()
    ended.join(A_WHILE)
    assert ended.is_alive(), "term waits as long as the message is here"
    other = zmq.Context()
    pull = other.socket(zmq.PULL)
    pull.set(zmq.RCVTIMEO, 10_000)
    pull.bind(where)
    assert pull.recv() == b"patience"
    ended.join(10)
    assert not ended.is_alive()
    other.destroy(linger=0)


def test_messages_already_delivered_stay_readable_when_the_sender_is_gone(make, endpoint):
    for transport in ("inproc", "tcp", "ipc"):
        pull, push = make("PULL"), make("PUSH")
        push.connect(pull.bind(endpoint(transport)))
        push.send(*[[b"%d" % n] for n in range(50)])
        push.close(linger=-1)
        assert pull.receive(50) == [[b"%d" % n] for n in range(50)]
        pull.close()


def test_disconnect_delivers_what_was_sent_before(make, endpoint):
    for transport in ("inproc", "tcp", "ipc"):
        pull, push = make("PULL"), make("PUSH", LINGER=-1)
        where = pull.bind(endpoint(transport))
        push.connect(where)
        push.send(*[[b"%d" % n] for n in range(50)])
        push.disconnect(where)
        assert pull.receive(50) == [[b"%d" % n] for n in range(50)]
        pull.close()
