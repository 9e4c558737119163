"""High-water marks: how many messages fit, who blocks, who drops, and that memory stops growing there."""

import threading

import pytest
from peers.process import PeerProcess
from peers.subject import is_ours, name, ours, zmq
from peers.waiting import A_WHILE, eventually, resident
from peers.watch import counter

MIB = 1 << 20


def fill(socket, limit: int = 100_000, body: bytes = b"x") -> int:
    """Sends until EAGAIN; how many went in."""
    for n in range(limit):
        try:
            socket.send(body, zmq.DONTWAIT)
        except zmq.Again:
            return n
    return limit


def drain(socket) -> int:
    """Receives until EAGAIN; how many there were."""
    n = 0
    while True:
        try:
            socket.recv_multipart(zmq.DONTWAIT)
            n += 1
        except zmq.Again:
            return n


@pytest.mark.parametrize("kind", ["PUSH", "DEALER", "PAIR"])
@pytest.mark.parametrize("transport", ["tcp", "ipc", "inproc"])
@pytest.mark.parametrize("hwm", [1, 10, 1000])
def test_connecting_side_queues_its_send_mark_before_anyone_binds(
    make, endpoint, kind, transport, hwm
):
    socket = make(kind, SNDHWM=hwm).socket
    socket.connect("tcp://127.0.0.1:9" if transport == "tcp" else endpoint(transport))
    assert fill(socket) == hwm


def test_default_mark_is_a_thousand(make):
    socket = make("PUSH").socket
    assert socket.get(zmq.SNDHWM) == socket.get(zmq.RCVHWM) == 1000
    socket.connect("tcp://127.0.0.1:9")
    assert fill(socket) == 1000


@pytest.mark.parametrize("first", ["bind", "connect"])
@pytest.mark.parametrize(
    "send, receive, fits",
    [(2, 3, 5), (1, 1, 2), (10, 1, 11), (1000, 1000, 2000), (0, 5, None), (5, 0, None)],
)
def test_inproc_mark_is_the_sum_of_both_ends(make, endpoint, first, send, receive, fits):
    where = endpoint("inproc")
    push, pull = make("PUSH", SNDHWM=send).socket, make("PULL", RCVHWM=receive).socket
    if first == "bind":
        pull.bind(where)
        push.connect(where)
    else:
        push.connect(where)
        pull.bind(where)
    assert fill(push, limit=5000) == (fits or 5000)
    assert drain(pull) == (fits or 5000)


def test_multipart_message_counts_once(make, endpoint):
    where = endpoint("inproc")
    push, pull = make("PUSH", SNDHWM=2).socket, make("PULL", RCVHWM=2).socket
    pull.bind(where)
    push.connect(where)
    for n in range(4):
        push.send_multipart([b"%d" % n] * 20, zmq.DONTWAIT)
    with pytest.raises(zmq.Again):
        push.send_multipart([b"full"] * 20, zmq.DONTWAIT)
    for n in range(4):
        assert pull.recv_multipart() == [b"%d" % n] * 20


def test_refused_multipart_leaves_no_part_behind(make, endpoint):
    where = endpoint("inproc")
    push, pull = make("PUSH", SNDHWM=1).socket, make("PULL", RCVHWM=1).socket
    pull.bind(where)
    push.connect(where)
    assert fill(push) == 2
    for _ in range(3):
        with pytest.raises(zmq.Again):
            push.send_multipart([b"a", b"b"], zmq.DONTWAIT)
    assert drain(pull) == 2
    eventually(lambda: push.poll(0, zmq.POLLOUT))
    push.send_multipart([b"c", b"d"])
    assert pull.recv_multipart() == [b"c", b"d"]


def test_message_begun_can_always_be_finished(make, endpoint):
    """Room is asked for at the first part; the last one cannot fail for lack of it."""
    where = endpoint("inproc")
    push, pull = make("PUSH", SNDHWM=1).socket, make("PULL", RCVHWM=1).socket
    pull.bind(where)
    push.connect(where)
    push.send(b"0", zmq.DONTWAIT)
    push.send(b"a", zmq.DONTWAIT | zmq.SNDMORE)
    for _ in range(100):
        push.send(b"b", zmq.DONTWAIT | zmq.SNDMORE)
    push.send(b"c", zmq.DONTWAIT)
    with pytest.raises(zmq.Again):
        push.send(b"x", zmq.DONTWAIT)
    assert pull.recv() == b"0"
    assert pull.recv_multipart() == [b"a"] + [b"b"] * 100 + [b"c"]


@pytest.mark.parametrize("transport", ["tcp", "ipc", "inproc"])
def test_push_blocks_at_the_mark_and_wakes_when_there_is_room(make, endpoint, transport):
    push, pull = make("PUSH", SNDHWM=5).socket, make("PULL", RCVHWM=5)
    push.set(zmq.SNDBUF, 4096)
    push.connect(pull.bind(endpoint(transport)))
    total, sent = 200, []
    body = b"x" * 100_000

    def send_all() -> None:
        for n in range(total):
            push.send(b"%d" % n + body)
            sent.append(n)

    sender = threading.Thread(target=send_all)
    sender.start()
    try:
        eventually(lambda: len(sent) >= 5)
        sender.join(A_WHILE)
        assert len(sent) < total, "the sender should be waiting by now"
        for n in range(total):
            assert pull.receive() == [[b"%d" % n + body]]
    finally:
        sender.join(10)
    assert not sender.is_alive()


def test_blocked_send_gives_up_at_its_timeout(make, endpoint):
    where = endpoint("inproc")
    push, pull = make("PUSH", SNDHWM=1, SNDTIMEO=50).socket, make("PULL", RCVHWM=1).socket
    pull.bind(where)
    push.connect(where)
    push.send(b"1")
    push.send(b"2")
    with pytest.raises(zmq.Again):
        push.send(b"3")
    assert drain(pull) == 2


@pytest.mark.parametrize("transport", ["tcp", "ipc", "inproc"])
def test_push_without_a_reader_does_not_grow(make, endpoint, transport):
    push, pull = make("PUSH", SNDHWM=100).socket, make("PULL", RCVHWM=100)
    push.connect(pull.bind(endpoint(transport)))
    before = resident()
    body = b"x" * 100_000
    while push.poll(300, zmq.POLLOUT):
        push.send(body, zmq.DONTWAIT)
    assert resident() - before < 64 * MIB


@pytest.mark.parametrize("transport", ["tcp", "ipc", "inproc"])
def test_publisher_drops_for_a_slow_subscriber_and_memory_stays_flat(make, endpoint, transport):
    pub, sub = make("XPUB", SNDHWM=50).socket, make("SUB", RCVHWM=50)
    pub.set(zmq.RCVTIMEO, 10_000)
    pub.bind(endpoint(transport))
    sub.set("SUBSCRIBE", b"")
    sub.connect(pub.get(zmq.LAST_ENDPOINT).rstrip(b"\0").decode())
    assert pub.recv() == b"\x01"
    before = resident()
    total = 5000
    for n in range(total):
        pub.send(b"%06d" % n + b"x" * 50_000)
    assert resident() - before < 64 * MIB, "250 MB were published"
    numbers = []
    while sub.poll(A_WHILE):
        numbers.append(int(sub.receive()[0][0][:6]))
    assert 50 <= len(numbers) < total
    assert numbers == sorted(numbers)
    assert numbers[:50] == list(range(50)), "what fits is delivered from the first on"
    if is_ours:
        assert counter(pub, "dropped_full") == total - len(numbers)
    pub.send(b"999999 now there is room")
    assert sub.receive()[0][0].startswith(b"999999")


def test_publisher_with_nodrop_refuses_instead(make, endpoint):
    where = endpoint("inproc")
    pub, sub = make("XPUB", SNDHWM=2, XPUB_NODROP=1).socket, make("SUB", RCVHWM=2).socket
    pub.bind(where)
    sub.connect(where)
    sub.set(zmq.SUBSCRIBE, b"")
    assert pub.recv() == b"\x01"
    assert fill(pub) == 4
    assert drain(sub) == 4


def test_mark_is_per_peer(make, endpoint):
    push = make("PUSH", SNDHWM=10).socket
    for _ in range(3):
        push.connect(endpoint("inproc"))
    assert fill(push) == 30


def test_full_peer_is_passed_over(make, endpoint):
    push = make("PUSH", SNDHWM=1).socket
    full, roomy = make("PULL", RCVHWM=1).socket, make("PULL", RCVHWM=50).socket
    for pull in (full, roomy):
        where = endpoint("inproc")
        pull.bind(where)
        push.connect(where)
    assert fill(push) == 2 + 51
    assert drain(full) == 2
    assert drain(roomy) == 51


def test_router_drops_for_a_full_peer_only(make, endpoint):
    where = endpoint("inproc")
    router = make("ROUTER", SNDHWM=2).socket
    router.bind(where)
    full, roomy = (
        make("DEALER", ROUTING_ID=b"full", RCVHWM=2).socket,
        make("DEALER", ROUTING_ID=b"roomy").socket,
    )
    for dealer in (full, roomy):
        dealer.connect(where)
        dealer.send(b"hello")
        router.recv_multipart()
    for n in range(50):
        router.send_multipart([b"full", b"%d" % n])
        router.send_multipart([b"roomy", b"%d" % n])
    assert drain(full) == 4
    assert drain(roomy) == 50
    if is_ours:
        assert counter(router, "dropped_full") == 46


@ours
def test_unroutable_messages_are_counted(make, endpoint):
    router = make("ROUTER").socket
    router.bind(endpoint("inproc"))
    for _ in range(7):
        router.send_multipart([b"nobody", b"x"])
    assert counter(router, "dropped_unroutable") == 7


def test_conflate_keeps_the_newest(make, endpoint):
    where = endpoint("inproc")
    pull, push = make("PULL", CONFLATE=1).socket, make("PUSH", CONFLATE=1).socket
    pull.bind(where)
    push.connect(where)
    for n in range(100):
        push.send(b"%d" % n)
    assert pull.recv() == b"99"
    assert drain(pull) == 0


def test_zero_means_unlimited(make, endpoint):
    where = endpoint("inproc")
    pull, push = make("PULL", RCVHWM=0).socket, make("PUSH", SNDHWM=0).socket
    pull.bind(where)
    push.connect(where)
    assert fill(push, 50_000) == 50_000
    assert drain(pull) == 50_000


def test_reader_that_catches_up_frees_the_writer_of_another_process(make, endpoint):
    """Credit comes back over the network as well: 20 times the sum of all marks passes."""
    peer = PeerProcess(name)
    try:
        pull = make("PULL", RCVHWM=10)
        where = pull.bind(endpoint("ipc"))
        peer.submit(
            "run_and_leave",
            kind="PUSH",
            endpoint=where,
            bind=False,
            count=2000,
            size=10_000,
            options={"SNDHWM": 10},
        )
        for n in range(2000):
            assert pull.receive()[0][0][:8] == n.to_bytes(8, "big")
        peer.result()
    finally:
        peer.stop()
