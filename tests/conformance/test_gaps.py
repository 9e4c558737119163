"""What a suite easily forgets: a name that becomes free, more prefixes than a mark, what prefixes
cost, and that no two processes behave alike.
"""

import socket
import subprocess
import sys

import pytest
from peers.raw import RawPeer, command
from peers.subject import drafts, name, zmq
from peers.waiting import PATIENCE, bind_when_free, eventually, resident
from peers.watch import Watch

networks = pytest.mark.parametrize("transport", ["tcp", "ipc"])


@pytest.mark.deviation  # the reference keeps the newcomer as a connection that nobody reads
@networks
def test_peer_refused_for_its_name_is_heard_when_the_name_is_free(make, endpoint, transport):
    router, newcomer = make("ROUTER"), make("DEALER", ROUTING_ID=b"name", RECONNECT_IVL=10)
    where = router.bind(endpoint(transport))
    with Watch(newcomer.socket) as watch:
        with RawPeer.ready_for(where, b"DEALER", b"name") as owner:
            owner.send_message(b"mine")
            assert router.receive() == [[b"name", b"mine"]]
            newcomer.connect(where)
            eventually(lambda: router.poll(0) or watch.count(zmq.EVENT_DISCONNECTED) >= 2)
            assert router.receive_now() is None

        def heard() -> bool:
            newcomer.socket.send(b"mine now", zmq.DONTWAIT)
            return router.poll(0.05)

        eventually(heard)
        assert router.receive() == [[b"name", b"mine now"]]


@pytest.mark.deviation  # the reference loses what goes beyond the mark
@networks
def test_more_prefixes_than_the_mark_are_asked_for_at_every_connection(make, endpoint, transport):
    sub = make("SUB", SNDHWM=10, RECONNECT_IVL=10)
    prefixes = [b"%03d" % n for n in range(500)]
    for prefix in prefixes:
        sub.set("SUBSCRIBE", prefix)
    where = endpoint(transport)
    for _ in range(3):
        publisher = make("XPUB")
        bind_when_free(publisher.socket, where)
        where = publisher.socket.get(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()
        sub.connect(where)
        heard = [frame for (frame,) in publisher.receive(500)]
        assert sorted(heard) == [b"\x01" + prefix for prefix in prefixes]
        publisher.send([b"nobody"], [b"499!"])
        assert sub.receive() == [[b"499!"]]
        publisher.close()


@pytest.mark.deviation
def test_more_prefixes_than_the_mark_are_asked_for_in_memory(make, endpoint):
    sub, publisher = make("SUB", SNDHWM=10), make("XPUB", RCVHWM=10)
    for n in range(500):
        sub.set("SUBSCRIBE", b"%03d" % n)
    sub.connect(publisher.bind(endpoint("inproc")))
    heard = [frame for (frame,) in publisher.receive(500)]
    assert sorted(heard) == [b"\x01%03d" % n for n in range(500)]


@pytest.mark.deviation  # the reference keeps a node of a tree for every byte
def test_byte_of_a_prefix_costs_few_bytes_of_memory(make):
    publisher = make("PUB")
    where = publisher.bind("tcp://127.0.0.1:*")
    count, size = 2000, 2000
    with RawPeer.ready_for(where, b"SUB") as raw:
        before = resident()
        for n in range(count):
            raw.send(command(b"SUBSCRIBE", b"%08d" % n + b"p" * (size - 8)))

        def is_taken_in() -> bool:
            publisher.send([b"%08d" % (count - 1) + b"p" * size])
            return not raw.is_silent(0.05)

        eventually(is_taken_in)
        assert resident() - before < 4 * count * size


@drafts
@pytest.mark.deviation  # the reference goes on counting them
@pytest.mark.parametrize("kind", ["PUB", "XPUB"])
@pytest.mark.parametrize("transport", ["inproc", "tcp", "ipc"])
def test_topics_of_a_subscriber_that_left_are_not_counted(make, endpoint, transport, kind):
    publisher = make(kind)
    where = publisher.bind(endpoint(transport))

    def topics() -> int:
        return publisher.socket.get(zmq.TOPICS_COUNT)

    staying, leaving = make("SUB"), make("SUB")
    for sub, prefixes in ((staying, (b"both", b"1")), (leaving, (b"both", b"2", b"3"))):
        for prefix in prefixes:
            sub.set("SUBSCRIBE", prefix)
        sub.connect(where)
    eventually(lambda: topics() == 4, deadline=3)
    leaving.close()
    eventually(lambda: topics() == 2, deadline=3)


# What is chosen at random.

CHOICES = """
import importlib, struct, sys
zmq = importlib.import_module(sys.argv[1])
context = zmq.Context()
dealer = context.socket(zmq.DEALER)
dealer.reconnect_ivl = 1_000_000
monitor = dealer.get_monitor_socket(zmq.EVENT_CONNECT_RETRIED)
monitor.rcvtimeo = 10_000
dealer.connect(sys.argv[2])
_, wait = struct.unpack("=HI", monitor.recv_multipart()[0])
req, router = context.socket(zmq.REQ), context.socket(zmq.ROUTER)
req.req_correlate = 1
router.rcvtimeo = 10_000
router.bind("inproc://choices")
req.connect("inproc://choices")
req.send(b"")
routing_id, request_id, *_ = router.recv_multipart()
print(wait, routing_id.hex(), request_id.hex())
context.destroy(linger=0)
"""


@pytest.fixture(scope="module")
def choices():
    """What each of three fresh processes chose: milliseconds to wait, routing id, request id."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        where = "tcp://{}:{}".format(*nobody.getsockname())
        runs = [
            subprocess.run(
                [sys.executable, "-c", CHOICES, name, where],
                stdout=subprocess.PIPE,
                text=True,
                timeout=3 * PATIENCE,
                check=True,
            )
            for _ in range(3)
        ]
    return [run.stdout.split() for run in runs]


@pytest.mark.deviation  # the reference chooses the same in every process
@pytest.mark.parametrize("which", ["wait_before_reconnecting", "routing_id", "request_id"])
def test_processes_choose_differently(choices, which):
    column = ["wait_before_reconnecting", "routing_id", "request_id"].index(which)
    assert len({choice[column] for choice in choices}) == 3, choices


def test_wait_before_reconnecting_is_the_interval_and_less_than_as_much_again(choices):
    for wait, _, _ in choices:
        assert 1_000_000 <= int(wait) < 2_000_000
