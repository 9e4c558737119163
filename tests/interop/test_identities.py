"""Routing ids and envelopes with a peer in another process."""

import pytest
from peers.process import PeerError
from peers.subject import zmq
from peers.waiting import A_WHILE, eventually

pytestmark = pytest.mark.parametrize("transport", ["tcp", "ipc"])


def test_peer_without_id_gets_five_bytes_that_start_with_zero(make, peer, endpoint, transport):
    router = make("ROUTER")
    where = router.bind(endpoint(transport))
    dealers = [peer.socket("DEALER") for _ in range(3)]
    ids = set()
    for n, dealer in enumerate(dealers):
        dealer.connect(where)
        dealer.send([b"%d" % n])
        (identity, body) = router.receive()[0]
        assert len(identity) == 5 and identity[0] == 0 and body == b"%d" % n
        ids.add(identity)
        router.send([identity, b"for %d" % n])
        assert dealer.receive() == [[b"for %d" % n]]
        dealer.close()
    assert len(ids) == 3


@pytest.mark.parametrize("identity", [b"x", b"name", b"n" * 255, b"\xff\x00\x01"])
def test_given_id_is_announced_and_used(make, peer, endpoint, transport, identity):
    ours, theirs = make("ROUTER"), peer.socket("ROUTER")
    our_dealer, their_dealer = (
        make("DEALER", ROUTING_ID=identity),
        peer.socket("DEALER", ROUTING_ID=identity),
    )
    their_dealer.connect(ours.bind(endpoint(transport)))
    our_dealer.connect(theirs.bind(endpoint(transport)))
    for router, dealer in ((ours, their_dealer), (theirs, our_dealer)):
        dealer.send([b"hello"])
        assert router.receive() == [[identity, b"hello"]]
        router.send([identity, b"and", b"", b"back"])
        assert dealer.receive() == [[b"and", b"", b"back"]]
    theirs.close()
    their_dealer.close()


def test_unknown_destination_is_dropped_or_refused(make, peer, endpoint, transport):
    router = make("ROUTER")
    dealer = peer.socket("DEALER", ROUTING_ID=b"known")
    dealer.connect(router.bind(endpoint(transport)))
    dealer.send([b"here"])
    assert router.receive() == [[b"known", b"here"]]
    router.send([b"unknown", b"lost"])
    router.set("ROUTER_MANDATORY", 1)
    with pytest.raises(zmq.ZMQError) as refused:
        router.socket.send_multipart([b"unknown", b"refused"])
    assert refused.value.errno == zmq.EHOSTUNREACH
    router.send([b"known", b"found"])
    assert dealer.receive() == [[b"found"]]
    dealer.close()


def test_peer_that_left_becomes_unreachable(make, peer, endpoint, transport):
    router = make("ROUTER", ROUTER_MANDATORY=1)
    dealer = peer.socket("DEALER", ROUTING_ID=b"guest")
    dealer.connect(router.bind(endpoint(transport)))
    dealer.send([b"here"])
    assert router.receive() == [[b"guest", b"here"]]
    dealer.close()

    def unreachable() -> bool:
        try:
            router.socket.send_multipart([b"guest", b"?"])
            return False
        except zmq.ZMQError as error:
            assert error.errno == zmq.EHOSTUNREACH
            return True

    eventually(unreachable)


def test_connect_routing_id_names_the_peer_locally(make, peer, endpoint, transport):
    ours, theirs = make("ROUTER", ROUTER_MANDATORY=1), peer.socket("DEALER", ROUTING_ID=b"its own")
    ours.set("CONNECT_ROUTING_ID", b"my name for it")
    ours.connect(theirs.bind(endpoint(transport)))
    ours.send([b"my name for it", b"hello"])
    assert theirs.receive() == [[b"hello"]]
    theirs.send([b"back"])
    assert ours.receive() == [[b"my name for it", b"back"]]
    theirs.close()


def test_probe_lets_a_router_learn_a_router(make, peer, endpoint, transport):
    ours = make("ROUTER", ROUTING_ID=b"us", PROBE_ROUTER=1)
    theirs = peer.socket("ROUTER", ROUTING_ID=b"them")
    ours.connect(theirs.bind(endpoint(transport)))
    assert theirs.receive() == [[b"us", b""]]
    theirs.send([b"us", b"hello"])
    assert ours.receive() == [[b"them", b"hello"]]
    theirs.close()


def test_their_probe_reaches_our_router(make, peer, endpoint, transport):
    ours = make("ROUTER", ROUTING_ID=b"us")
    theirs = peer.socket("DEALER", ROUTING_ID=b"them", PROBE_ROUTER=1)
    theirs.connect(ours.bind(endpoint(transport)))
    assert ours.receive() == [[b"them", b""]]
    theirs.close()


@pytest.mark.parametrize("broker_is", ["ours", "theirs"])
def test_envelope_survives_a_chain_of_brokers(make, peer, endpoint, transport, broker_is):
    """REQ - ROUTER/DEALER - ROUTER/DEALER - REP: the envelope grows by a frame a hop and shrinks on the way back."""
    end, other = (make, peer.socket) if broker_is == "ours" else (peer.socket, make)
    fronts, backs = (
        [end("ROUTER"), end("ROUTER")],
        [end("DEALER", ROUTING_ID=b"hop"), end("DEALER")],
    )
    client, server = other("REQ", ROUTING_ID=b"client"), other("REP")
    client.connect(fronts[0].bind(endpoint(transport)))
    backs[0].connect(fronts[1].bind(endpoint(transport)))
    server.connect(backs[1].bind(endpoint(transport)))

    client.send([b"question", b"two"])
    (first,) = fronts[0].receive()
    assert first == [b"client", b"", b"question", b"two"]
    backs[0].send(first)
    (second,) = fronts[1].receive()
    assert second == [b"hop", *first]
    backs[1].send(second)
    assert server.receive() == [[b"question", b"two"]]
    server.send([b"answer"])
    assert backs[1].receive() == [[b"hop", b"client", b"", b"answer"]]
    fronts[1].send([b"hop", b"client", b"", b"answer"])
    assert backs[0].receive() == [[b"client", b"", b"answer"]]
    fronts[0].send([b"client", b"", b"answer"])
    assert client.receive() == [[b"answer"]]
    for remote in [client, server] if broker_is == "ours" else fronts + backs:
        remote.close()


def test_lockstep_is_kept_on_both_sides(make, peer, endpoint, transport):
    ours, theirs = make("REQ"), peer.socket("REP")
    ours.connect(theirs.bind(endpoint(transport)))
    for _ in range(3):
        with pytest.raises(zmq.ZMQError) as early:
            ours.socket.recv(zmq.DONTWAIT)
        assert early.value.errno == zmq.EFSM
        ours.send([b"question"])
        with pytest.raises(zmq.ZMQError) as twice:
            ours.socket.send(b"again")
        assert twice.value.errno == zmq.EFSM
        with pytest.raises(PeerError) as unasked:
            theirs.send([b"unasked"])
        assert unasked.value.errno == zmq.EFSM
        assert theirs.receive() == [[b"question"]]
        theirs.send([b"answer"])
        assert ours.receive() == [[b"answer"]]
    theirs.close()


def test_one_rep_serves_many_reqs_each_with_its_own_answer(make, peer, endpoint, transport):
    server = make("REP")
    where = server.bind(endpoint(transport))
    clients = [peer.socket("REQ") for _ in range(5)]
    for n, client in enumerate(clients):
        client.connect(where)
        client.send([b"from %d" % n])
    for _ in clients:
        (question,) = server.receive()
        server.send([b"to" + question[0][4:]])
    for n, client in enumerate(clients):
        assert client.receive() == [[b"to %d" % n]]
        client.close()


def test_router_handover_gives_the_name_to_the_newcomer(make, peer, endpoint, transport):
    router = make("ROUTER", ROUTER_HANDOVER=1)
    where = router.bind(endpoint(transport))
    old, new = (peer.socket("DEALER", ROUTING_ID=b"name", RECONNECT_IVL=60_000) for _ in range(2))
    old.connect(where)
    old.send([b"old"])
    assert router.receive() == [[b"name", b"old"]]
    new.connect(where)
    new.send([b"new"])
    assert router.receive() == [[b"name", b"new"]]
    router.send([b"name", b"for whom"])
    assert new.receive() == [[b"for whom"]]
    assert not old.poll(A_WHILE / 3)
    old.close()
    new.close()


def test_correlated_requests_are_answered(make, peer, endpoint, transport):
    ours = make("REQ", REQ_CORRELATE=1, REQ_RELAXED=1)
    theirs = peer.socket("ROUTER")
    ours.connect(theirs.bind(endpoint(transport)))
    ours.send([b"first"])
    (first,) = theirs.receive()
    assert len(first) == 4 and len(first[1]) == 4 and first[2:] == [b"", b"first"]
    ours.send([b"second"])
    (second,) = theirs.receive()
    assert second[1] != first[1]
    theirs.send([*first[:3], b"too late"], [*second[:3], b"in time"])
    assert ours.receive() == [[b"in time"]]
    theirs.close()
