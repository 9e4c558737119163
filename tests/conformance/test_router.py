"""ROUTER: names that two peers want, room that is missing, notices, names given at connect, hello
to a late bind.
"""

import socket

import pytest
from peers.filler import filler
from peers.raw import RawPeer, frame, free_endpoint, greeting, ping, ready
from peers.subject import drafts, errno_of, zmq
from peers.waiting import A_WHILE, PATIENCE_MS, eventually
from peers.watch import Watch, counter

transports = pytest.mark.parametrize("transport", ["inproc", "tcp", "ipc"])
networks = pytest.mark.parametrize("transport", ["tcp", "ipc"])


# Two peers of one name.


@transports
def test_name_stays_with_its_first_owner_without_handover(make, endpoint, transport):
    router = make("ROUTER")
    where = router.bind(endpoint(transport))
    first, second = (make("DEALER", ROUTING_ID=b"name", RECONNECT_IVL=60_000) for _ in range(2))
    first.connect(where)
    first.send([b"1"])
    assert router.receive() == [[b"name", b"1"]]
    second.connect(where)
    assert errno_of(second.socket.send, b"2", zmq.DONTWAIT) in (None, zmq.EAGAIN)
    assert not router.poll(A_WHILE)
    first.send([b"3"])
    assert router.receive() == [[b"name", b"3"]]
    router.send([b"name", b"for the first"])
    assert first.receive() == [[b"for the first"]]
    assert second.receive_now() is None


def test_name_goes_to_the_newcomer_with_handover_in_memory(make, endpoint):
    router = make("ROUTER", ROUTER_HANDOVER=1)
    where = router.bind(endpoint("inproc"))
    first, second = (make("DEALER", ROUTING_ID=b"name") for _ in range(2))
    for n, dealer in enumerate((first, second)):
        dealer.connect(where)
        dealer.send([b"%d" % n])
        assert router.receive() == [[b"name", b"%d" % n]]
        router.send([b"name", b"for %d" % n])
        assert dealer.receive() == [[b"for %d" % n]]
    router.send([b"name", b"for the second alone"])
    assert second.receive() == [[b"for the second alone"]]
    assert first.receive_now() is None


# ROUTER_MANDATORY.


@networks
def test_mandatory_router_waits_for_room_and_loses_nothing_of_what_it_took(
    make, background, endpoint, transport
):
    router = make("ROUTER", ROUTER_MANDATORY=1, SNDHWM=2)
    body = filler(200_000, 1)
    with RawPeer.ready_for(router.bind(endpoint(transport)), b"DEALER", b"name") as raw:
        raw.send_message(b"here")
        assert router.receive() == [[b"name", b"here"]]
        router.set("SNDTIMEO", int(A_WHILE * 1000))
        taken = 0
        while errno_of(router.socket.send_multipart, [b"name", b"%d" % taken, body]) is None:
            taken += 1
            assert taken < 1000
        assert taken >= 2
        router.socket.set(zmq.SNDTIMEO, PATIENCE_MS)
        assert errno_of(router.socket.send, b"name", zmq.SNDMORE | zmq.DONTWAIT) == zmq.EAGAIN
        waited = background(lambda: router.socket.send_multipart([b"name", b"waited"]))
        for n in range(taken):
            assert raw.read_message() == [b"%d" % n, body]
        waited()
        assert raw.read_message() == [b"waited"]


@transports
def test_body_for_a_peer_that_left_after_its_address_is_dropped(make, endpoint, transport):
    router = make("ROUTER")
    leaving, staying = make("DEALER", ROUTING_ID=b"leaving"), make("DEALER", ROUTING_ID=b"staying")
    with Watch(router.socket) as watch:
        where = router.bind(endpoint(transport))
        for dealer in (leaving, staying):
            dealer.connect(where)
            dealer.send([b"here"])
            assert router.receive()[0][1] == b"here"
        router.socket.send(b"leaving", zmq.SNDMORE)
        leaving.close()
        if transport != "inproc":
            watch.wait(zmq.EVENT_DISCONNECTED)
        eventually(lambda: not router.poll(0) and counter(router.socket, "peers") <= 1)
    router.socket.send(b"half", zmq.SNDMORE)
    router.socket.send(b"rest")
    router.send([b"staying", b"clean"])
    assert staying.receive() == [[b"clean"]]


# ROUTER_NOTIFY.


@drafts
@pytest.mark.parametrize("value", [-1, 4, 100])
def test_notices_other_than_of_coming_and_going_are_refused(make, value):
    router = make("ROUTER", ROUTER_NOTIFY=1)
    assert errno_of(router.socket.set, zmq.ROUTER_NOTIFY, value) == zmq.EINVAL
    assert router.socket.get(zmq.ROUTER_NOTIFY) == 1


@drafts
@pytest.mark.parametrize("kind", ["DEALER", "PULL"])
def test_notices_are_for_routers_alone(make, kind):
    assert errno_of(make(kind).socket.set, zmq.ROUTER_NOTIFY, 1) == zmq.EINVAL


@drafts
@pytest.mark.parametrize(
    "said",
    [greeting() + ready(b"PUB"), greeting(mechanism=b"PLAIN"), greeting()[:20], b"GET / HTTP/1.0"],
    ids=["other_type", "other_mechanism", "half_a_greeting", "not_zmtp"],
)
def test_no_notice_of_a_peer_whose_handshake_fails(make, said):
    router = make("ROUTER", ROUTER_NOTIFY=3)
    with Watch(router.socket) as watch:
        where = router.bind("tcp://127.0.0.1:*")
        with RawPeer.connect(where) as raw:
            raw.send(said)
            raw.socket.shutdown(socket.SHUT_WR)
            assert raw.is_closed()
        watch.wait(zmq.EVENT_DISCONNECTED)
        with RawPeer.ready_for(where, b"DEALER", b"honest"):
            assert router.receive() == [[b"honest", b""]]
    assert router.receive() == [[b"honest", b""]]


@drafts
@networks
def test_half_a_message_is_forgotten_before_the_notice_of_the_end(make, endpoint, transport):
    router = make("ROUTER", ROUTER_NOTIFY=3)
    where = router.bind(endpoint(transport))
    with RawPeer.ready_for(where, b"DEALER", b"name") as raw:
        assert router.receive() == [[b"name", b""]]
        raw.send_message(b"whole", b"message")
        raw.send(frame(b"half of", more=True) + frame(b"another", more=True) + ping(context=b"?"))
        assert raw.read_command(b"PONG").data == b"?"
    assert router.receive(2) == [[b"name", b"whole", b"message"], [b"name", b""]]
    with RawPeer.ready_for(where, b"DEALER", b"next"):
        assert router.receive() == [[b"next", b""]]


# CONNECT_ROUTING_ID.


@transports
def test_name_given_at_connect_is_for_one_connect(make, endpoint, transport):
    router = make("ROUTER", ROUTER_MANDATORY=1)
    peers = [make("DEALER", ROUTING_ID=b"own %d" % n) for n in range(2)]
    ways = [peer.bind(endpoint(transport)) for peer in peers]
    router.set("CONNECT_ROUTING_ID", b"given")
    for way in ways:
        router.connect(way)
    router.send([b"given", b"first"])
    assert peers[0].receive() == [[b"first"]]
    for n, peer in enumerate(peers):
        eventually(lambda peer=peer: errno_of(peer.socket.send, b"here", zmq.DONTWAIT) is None)
        assert router.receive() == [[(b"given", b"own 1")[n], b"here"]]
    router.send([b"own 1", b"second"])
    assert peers[1].receive() == [[b"second"]]


@transports
def test_peer_can_be_named_while_messages_of_another_come_in(make, background, endpoint, transport):
    router, source = make("ROUTER"), make("DEALER", ROUTING_ID=b"source")
    source.connect(router.bind(endpoint(transport)))
    sent = background(lambda: source.send(*[[b"%d" % n] for n in range(2000)]))
    received = router.receive(100)
    others = []
    for n in range(10):
        other = make("ROUTER", ROUTING_ID=b"its own name")
        router.set("CONNECT_ROUTING_ID", b"other %d" % n)
        router.connect(other.bind(endpoint(transport)))
        router.send([b"other %d" % n, b"hello"])
        received += router.receive(100)
        others.append(other)
    received += router.receive(900)
    sent()
    assert received == [[b"source", b"%d" % n] for n in range(2000)]
    for n, other in enumerate(others):
        ((_, text),) = other.receive()
        assert text == b"hello"
        router.send([b"other %d" % n, b"again"])
        assert other.receive()[0][1] == b"again"


@pytest.mark.deviation  # the reference ends the process
@pytest.mark.parametrize(
    "transport",
    ["inproc", "tcp", "ipc"],
)
def test_name_of_a_peer_that_is_there_cannot_be_given_again(make, endpoint, transport):
    router, first, second = make("ROUTER", ROUTER_MANDATORY=1), make("DEALER"), make("DEALER")
    for peer, refusal in ((first, None), (second, zmq.EADDRINUSE)):
        way = peer.bind(endpoint(transport))
        router.set("CONNECT_ROUTING_ID", b"name")
        assert errno_of(router.connect, way) == refusal
    router.send([b"name", b"for the first"])
    assert first.receive() == [[b"for the first"]]
    router.set("CONNECT_ROUTING_ID", b"another name")
    router.connect(way)
    router.send([b"another name", b"for the second"])
    assert second.receive() == [[b"for the second"]]


# HELLO_MSG, DISCONNECT_MSG.


@drafts
@transports
def test_hello_of_both_sides_comes_first_when_the_bind_is_late(make, endpoint, transport):
    router, dealer = make("ROUTER", HELLO_MSG=b"from the router"), make("DEALER", RECONNECT_IVL=10)
    dealer.set("HELLO_MSG", b"from the dealer")
    where = free_endpoint(endpoint, transport)
    dealer.connect(where)
    dealer.send([b"early"])
    router.bind(where)
    ((name, text),) = router.receive()
    assert text == b"from the dealer"
    assert router.receive() == [[name, b"early"]]
    assert dealer.receive() == [[b"from the router"]]


@drafts
@transports
def test_disconnect_message_comes_last_when_the_bind_was_late(make, endpoint, transport):
    router, dealer = make("ROUTER", DISCONNECT_MSG=b"gone"), make("DEALER", RECONNECT_IVL=10)
    where = free_endpoint(endpoint, transport)
    dealer.connect(where)
    dealer.send([b"early"])
    router.bind(where)
    ((name, text),) = router.receive()
    assert text == b"early"
    dealer.close()
    assert router.receive() == [[name, b"gone"]]
