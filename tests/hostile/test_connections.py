"""Rows 22, 25 and 27 of the hostile list: peers that come and go by the thousand, names that do not resolve, and
peers that stop reading.
"""

import os
import socket
import struct
import threading

import pytest
from peers.fixtures import open_descriptors
from peers.raw import Closed, RawListener, RawPeer, frame, greeting
from peers.subject import is_ours, ours, rounds, zmq
from peers.waiting import PATIENCE, eventually, resident
from peers.watch import Watch, counter

MIB = 1 << 20


def reset(raw: RawPeer) -> None:
    """Leaves rudely: the other side gets ECONNRESET."""
    raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.close()


# Row 22


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["before_greeting", "in_handshake", "as_peer", "rudely"])
def test_peers_that_connect_and_disconnect_leave_nothing(make, how):
    router = make("ROUTER")
    where = router.bind("tcp://127.0.0.1:*")

    def visit() -> None:
        raw = RawPeer.connect(where)
        if how == "in_handshake":
            raw.send(greeting()[:40])
        elif how != "before_greeting":
            raw.handshake(b"DEALER")
            raw.send_message(b"hello")
        reset(raw) if how == "rudely" else raw.close()

    def drained() -> None:
        while router.receive_now() is not None:
            pass

    with RawPeer.ready_for(where, b"DEALER", b"resident") as honest:
        for _ in range(200):
            visit()
            drained()
        descriptors, memory, threads = (
            len(open_descriptors()),
            resident(),
            len(os.listdir("/proc/self/task")),
        )
        for _ in range(rounds(1000, 10_000)):
            visit()
            drained()
        eventually(lambda: len(open_descriptors()) <= descriptors + 2, what="descriptors return")
        assert len(os.listdir("/proc/self/task")) <= threads
        drained()
        assert resident() - memory < 16 * MIB
        honest.send_message(b"still here")

        def resident_is_heard() -> bool:
            got = router.receive_now()
            return got == [b"resident", b"still here"]

        eventually(resident_is_heard)


def test_thousand_unread_short_lived_peers_are_bounded(make):
    """Peers that leave a message and go, while the application does not read at all, then reads everything."""
    pull = make("PULL")
    where = pull.bind("tcp://127.0.0.1:*")
    count = rounds(300, 3000)
    for n in range(count):
        with RawPeer.ready_for(where, b"PUSH") as raw:
            raw.send_message(b"%d" % n)
    got = [pull.receive()[0][0] for _ in range(count)]
    assert sorted(got, key=int) == [b"%d" % n for n in range(count)]
    eventually(
        lambda: len([name for name in open_descriptors() if name.startswith("socket:")]) <= 4
    )


def test_client_that_opens_and_closes_sockets_leaves_nothing(context):
    with RawListener() as server:
        before = len(open_descriptors())
        for _ in range(rounds(200, 2000)):
            push = context.socket(zmq.PUSH)
            push.connect(server.endpoint)
            push.close(linger=0)
        server.socket.settimeout(0.05)
        try:
            while True:
                server.socket.accept()[0].close()
        except TimeoutError:
            pass
        eventually(lambda: len(open_descriptors()) <= before + 4, what="descriptors return")


# Row 25


@pytest.mark.parametrize("name", ["nosuch.invalid", "nosuch.host.invalid"])
def test_name_that_does_not_resolve_holds_nobody_up(make, name):
    lost = make("PUSH", RECONNECT_IVL=10)
    push, pull = make("PUSH"), make("PULL")
    with Watch(lost.socket) as watch:
        for n in range(5):
            lost.connect(f"tcp://{name}:{5000 + n}")
        push.connect(pull.bind("tcp://127.0.0.1:*"))
        for n in range(200):
            push.send([b"%d" % n])
            assert pull.receive() == [[b"%d" % n]]
        if is_ours:
            watch.wait(zmq.EVENT_CONNECT_RETRIED, times=3)


def test_socket_with_unresolved_name_closes_at_once():
    context = zmq.Context()
    lost = context.socket(zmq.PUSH)
    lost.connect("tcp://nosuch.invalid:5555")
    lost.close(linger=0)
    ended = threading.Thread(target=context.term)
    ended.start()
    ended.join(PATIENCE * 3)
    assert not ended.is_alive()


def test_localhost_resolves(make):
    push, pull = make("PUSH"), make("PULL")
    where = pull.bind("tcp://127.0.0.1:*")
    push.connect(where.replace("127.0.0.1", "localhost"))
    push.send([b"by name"])
    assert pull.receive() == [[b"by name"]]


# Row 27


@pytest.mark.parametrize(
    "kind, peer", [("PUSH", b"PULL"), ("DEALER", b"ROUTER"), ("PAIR", b"PAIR")]
)
def test_sender_to_a_peer_that_stops_reading_is_bounded(make, kind, peer):
    push = make(kind, SNDHWM=100)
    body = b"x" * 100_000
    with RawPeer.ready_for(push.bind("tcp://127.0.0.1:*"), peer) as raw:
        before = resident()
        sent = 0
        eventually(lambda: push.socket.poll(0, zmq.POLLOUT))
        while push.socket.poll(500, zmq.POLLOUT):
            push.socket.send(body, zmq.DONTWAIT)
            sent += 1
            assert sent < 1000, "the high-water mark of 100 does not hold"
        assert sent >= 100
        assert resident() - before < 64 * MIB
        for _ in range(sent):
            assert raw.read_message() == [body]


@ours
def test_everything_written_before_a_hang_up_is_delivered(make):
    """The peer fills our window, goes away, and only then we read."""
    pull = make("PULL", RCVHWM=10)
    with Watch(pull.socket) as watch:
        where = pull.bind("tcp://127.0.0.1:*")
        raw = RawPeer.ready_for(where, b"PUSH")
        raw.socket.settimeout(1)
        data, sent = bytearray(), 0
        try:
            while sent < 100_000:
                message = frame(b"%06d" % sent + b"x" * 1000)
                data[:] = message
                while data:
                    del data[: raw.socket.send(data)]
                sent += 1
        except TimeoutError:
            pass
        complete = sent  # the one in the middle, if any, is half a message
        assert 10 < complete < 100_000
        raw.close()
        for n in range(complete):
            assert pull.receive()[0][0][:6] == b"%06d" % n
        watch.wait(zmq.EVENT_DISCONNECTED)
        assert pull.receive_now() is None


def test_peer_that_stops_reading_and_hangs_up_does_not_hurt_others(make):
    push = make("PUSH", SNDHWM=10)
    where = push.bind("tcp://127.0.0.1:*")
    with RawPeer.ready_for(where, b"PULL") as raw:
        eventually(lambda: push.socket.poll(0, zmq.POLLOUT))
        while push.socket.poll(300, zmq.POLLOUT):
            push.socket.send(b"x" * 100_000, zmq.DONTWAIT)
        with RawPeer.ready_for(where, b"PULL") as other:
            for n in range(20):
                push.send([b"%d" % n])
                assert other.read_message() == [b"%d" % n]
        reset(raw)
    with RawPeer.ready_for(where, b"PULL") as another:

        def delivered() -> bool:
            push.send([b"after"])
            return not another.is_silent(0.05)

        eventually(delivered)
        assert another.read_message() == [b"after"]


def test_publisher_drops_for_the_slow_and_serves_the_quick(make):
    pub = make("XPUB", SNDHWM=100)
    where = pub.bind("tcp://127.0.0.1:*")
    with RawPeer.ready_for(where, b"SUB") as slow, RawPeer.ready_for(where, b"SUB") as quick:
        for raw, topic in ((slow, b"a"), (quick, b"ab")):
            raw.send(frame(b"\x01" + topic))
            assert pub.receive() == [[b"\x01" + topic]]
        before = resident()
        for n in range(2000):
            pub.send([b"ab%06d" % n + b"x" * 50_000])
            assert quick.read_message()[0][:8] == b"ab%06d" % n
        assert resident() - before < 64 * MIB
        if is_ours:
            assert counter(pub.socket, "dropped_full") > 0
        received = 0
        try:
            while not slow.is_silent(0.5):
                slow.read_message()
                received += 1
        except Closed:
            pytest.fail("a slow subscriber is not disconnected")
        assert 100 <= received < 2000


def test_connection_reset_in_the_middle_of_a_message_is_survived(make):
    pull = make("PULL")
    with Watch(pull.socket) as watch:
        where = pull.bind("tcp://127.0.0.1:*")
        for _ in range(20):
            raw = RawPeer.ready_for(where, b"PUSH")
            raw.send(frame(b"part", more=True) + b"\x02" + bytes(6) + b"\x10\x00" + b"half")
            reset(raw)
        with RawPeer.ready_for(where, b"PUSH") as honest:
            honest.send_message(b"whole")
            assert pull.receive() == [[b"whole"]]
        watch.wait(zmq.EVENT_DISCONNECTED)
        assert pull.receive_now() is None
