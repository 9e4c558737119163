"""Round robin and fair queuing as an application sees them, and that a busy peer starves nobody."""

import threading

import pytest
from peers.raw import RawPeer, frame
from peers.subject import zmq
from peers.waiting import eventually
from peers.watch import Watch

TRANSPORTS = pytest.mark.parametrize("transport", ["inproc", "tcp", "ipc"])


@pytest.mark.parametrize("kind, peer", [("PUSH", "PULL"), ("DEALER", "DEALER")])
@TRANSPORTS
def test_messages_go_round(make, endpoint, transport, kind, peer):
    sender = make(kind)
    peers = [make(peer) for _ in range(5)]
    for end in peers:
        sender.connect(end.bind(endpoint(transport)))
    for n in range(100):
        sender.send([b"%d" % n])
    shares = [[int(frame) for (frame,) in end.receive(20)] for end in peers]
    for share in shares:
        assert [n % 5 for n in share] == [share[0] % 5] * 20, "each peer gets every fifth message"
        assert share == sorted(share)
    assert sorted(n for share in shares for n in share) == list(range(100))


@TRANSPORTS
def test_req_asks_its_servers_in_turn(make, endpoint, transport):
    req = make("REQ")
    reps = [make("REP") for _ in range(3)]
    for rep in reps:
        req.connect(rep.bind(endpoint(transport)))
    order = []
    for n in range(12):
        req.send([b"%d" % n])
        asked = []
        eventually(
            lambda asked=asked: (
                asked or asked.extend(i for i, rep in enumerate(reps) if rep.poll(0)) or asked
            )
        )
        (who,) = asked
        assert reps[who].receive() == [[b"%d" % n]]
        reps[who].send([b"a%d" % n])
        assert req.receive() == [[b"a%d" % n]]
        order.append(who)
    assert order == order[:3] * 4 and sorted(order[:3]) == [0, 1, 2]


def test_multipart_message_stays_with_one_peer(make, endpoint):
    push, pulls = make("PUSH"), [make("PULL") for _ in range(3)]
    for pull in pulls:
        push.connect(pull.bind(endpoint("inproc")))
    for n in range(9):
        for part in range(4):
            push.socket.send(b"%d.%d" % (n, part), zmq.SNDMORE)
        push.socket.send(b"end")
    for pull in pulls:
        for message in pull.receive(3):
            assert len(message) == 5 and len({part.split(b".")[0] for part in message[:4]}) == 1


@pytest.mark.parametrize(
    "kind, peer", [("PULL", "PUSH"), ("DEALER", "DEALER"), ("ROUTER", "DEALER"), ("SUB", "PUB")]
)
def test_messages_are_taken_from_each_peer_in_turn(make, endpoint, kind, peer):
    receiver = make(kind)
    if kind == "SUB":
        receiver.set("SUBSCRIBE", b"")
    where = endpoint("inproc")
    receiver.socket.bind(where)
    senders = [make(peer) for _ in range(4)]
    for sender in senders:
        sender.connect(where)
    receiver.poll(0)
    for n in range(10):
        for i, sender in enumerate(senders):
            sender.poll(0) if kind != "SUB" else sender.socket.get(zmq.EVENTS)
            sender.send([b"%d" % i, b"%d" % n])
    order = [message[-2:] for message in receiver.receive(40)]
    for turn in range(10):
        assert sorted(i for i, _ in order[4 * turn : 4 * turn + 4]) == [b"0", b"1", b"2", b"3"], (
            f"turn {turn}"
        )
    for i in range(4):
        assert [n for who, n in order if who == b"%d" % i] == [b"%d" % n for n in range(10)]


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_flooding_peer_does_not_starve_a_quiet_one(make, endpoint, transport):
    """A raw peer floods as fast as it can; another's single messages are read within a few hundred others."""
    pull = make("PULL", RCVHWM=100)
    where = pull.bind(endpoint(transport))
    stop = threading.Event()
    with RawPeer.ready_for(where, b"PUSH") as flood, RawPeer.ready_for(where, b"PUSH") as quiet:
        chunk = frame(b"flood") * 1000
        flood.socket.settimeout(0.1)

        def run() -> None:
            left = b""
            while not stop.is_set():
                left = left or chunk
                try:
                    left = left[flood.socket.send(left) :]
                except TimeoutError:
                    pass
                except OSError:
                    return

        thread = threading.Thread(target=run)
        thread.start()
        try:
            assert pull.receive(1000)
            for n in range(20):
                quiet.send_message(b"quiet %d" % n)
                for _ in range(5_000):
                    if pull.receive() == [[b"quiet %d" % n]]:
                        break
                else:
                    pytest.fail(f"message {n} of the quiet peer did not come among 5,000 others")
        finally:
            stop.set()
            thread.join()


def test_busy_socket_does_not_starve_another_of_the_same_io_thread(make, endpoint):
    """Two pairs of sockets on one I/O thread: one under full load, the other asks and answers in between."""
    busy_push, busy_pull = make("PUSH"), make("PULL")
    busy_push.connect(busy_pull.bind(endpoint("tcp")))
    req, rep = make("REQ"), make("REP")
    req.connect(rep.bind(endpoint("tcp")))
    stop = threading.Event()
    counts = [0]

    def flood() -> None:
        body = b"x" * 1000
        while not stop.is_set():
            if busy_push.socket.poll(50, zmq.POLLOUT):
                busy_push.socket.send(body, zmq.DONTWAIT)

    def drain() -> None:
        while not stop.is_set():
            if busy_pull.socket.poll(50):
                busy_pull.socket.recv()
                counts[0] += 1

    threads = [threading.Thread(target=flood), threading.Thread(target=drain)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: counts[0] > 1000)
        for n in range(50):
            req.send([b"%d" % n])
            assert rep.receive() == [[b"%d" % n]]
            rep.send([b"a"])
            assert req.receive() == [[b"a"]]
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_peer_that_is_full_gets_its_turn_again(make, endpoint):
    push = make("PUSH", SNDHWM=1)
    slow, quick = make("PULL", RCVHWM=1), make("PULL", RCVHWM=1)
    for pull in (slow, quick):
        push.connect(pull.bind(endpoint("inproc")))
    for n in range(4):
        push.send([b"%d" % n])
    for n in range(4, 24):
        quick.receive()
        eventually(lambda: push.socket.poll(0, zmq.POLLOUT))
        push.send([b"%d" % n])
    before = slow.receive(2)
    assert before in ([[b"0"], [b"2"]], [[b"1"], [b"3"]])
    while quick.poll(0):
        quick.receive()
    shares = {"slow": 0, "quick": 0}
    for _ in range(10):
        eventually(lambda: push.socket.poll(0, zmq.POLLOUT))
        push.send([b"x"])
        for which, pull in (("slow", slow), ("quick", quick)):
            if pull.poll(0):
                pull.receive()
                shares[which] += 1
    assert shares == {"slow": 5, "quick": 5}


# A SUB of libzmq subscribes again only when its application next calls it.
RESTARTS = [
    pytest.param(zmq.PUSH, zmq.PULL, id="PUSH-PULL"),
    pytest.param(zmq.XPUB, zmq.SUB, id="XPUB-SUB", marks=pytest.mark.deviation),
    pytest.param(zmq.XPUB, zmq.XSUB, id="XPUB-XSUB", marks=pytest.mark.deviation),
    pytest.param(zmq.DEALER, zmq.ROUTER, id="DEALER-ROUTER"),
    pytest.param(zmq.DEALER, zmq.DEALER, id="DEALER-DEALER"),
    pytest.param(zmq.PAIR, zmq.PAIR, id="PAIR-PAIR"),
]


@pytest.mark.parametrize("sending, receiving", RESTARTS)
def test_what_one_connection_brought_comes_before_what_the_next_one_brings(
    context, sending, receiving
):
    """The receiver is slow: both connections have ended before it reads anything."""
    receiver = context.socket(receiving)
    if receiving == zmq.SUB:
        receiver.subscribe(b"")
    endpoint = "tcp://127.0.0.1:*"
    with Watch(receiver) as watch:
        for session in range(2):
            senders = zmq.Context()
            sender = senders.socket(sending)
            sender.bind(endpoint)
            if session == 0:
                endpoint = sender.get_string(zmq.LAST_ENDPOINT)
                if receiving == zmq.XSUB:
                    receiver.send(b"\x01")
                receiver.connect(endpoint)
            if sending == zmq.XPUB:
                assert sender.recv() == b"\x01"
            for number in range(20):
                sender.send(b"%d" % (20 * session + number))
            sender.close()
            senders.term()
            watch.wait(zmq.EVENT_DISCONNECTED, times=session + 1)
        received = [int(receiver.recv_multipart()[-1]) for _ in range(40)]
    assert received == list(range(40))
    receiver.close(linger=0)
