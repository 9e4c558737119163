"""The patterns one by one: who is asked, who is read, what waits, what is thrown away, and what an
envelope looks like on the way.
"""

import errno
import itertools

import pytest
from peers.filler import filler
from peers.raw import RawPeer, free_endpoint, ping
from peers.subject import zmq
from peers.waiting import A_WHILE, PATIENCE_MS, eventually
from peers.watch import Watch, counter

transports = pytest.mark.parametrize("transport", ["inproc", "tcp", "ipc"])
networks = pytest.mark.parametrize("transport", ["tcp", "ipc"])


def everything_is_read(raw: RawPeer) -> None:
    """Waits until the other side has taken in all that was sent: it answers a PING after what came
    before. The second answer comes from a later turn, when the messages of the first are in their
    pipe.
    """
    for turn in (b"1", b"2"):
        raw.send(ping(context=turn))
        assert raw.read_command(b"PONG").data == turn


def named_dealer(make, router, where: str):
    """A DEALER with the name "name" that the ROUTER has heard of. The name may be taken until a
    former owner is gone.
    """

    def attempt():
        dealer = make("DEALER", ROUTING_ID=b"name")
        dealer.connect(where)
        try:
            dealer.socket.send(b"here", zmq.DONTWAIT)
        except zmq.Again:
            pass  # refused over inproc
        if router.poll(0.1):
            assert router.receive() == [[b"name", b"here"]]
            return dealer
        dealer.close()
        return None

    return eventually(attempt)


def is_full(push) -> bool:
    """Whether nothing more goes out for a while."""
    return not push.socket.poll(int(A_WHILE * 1000), zmq.POLLOUT)


# Waiting for a peer.


@pytest.mark.parametrize("kind", ["REQ", "DEALER", "PUSH", "PAIR"])
@transports
def test_bound_socket_without_peers_waits_until_its_timeout(make, endpoint, transport, kind):
    end = make(kind, SNDTIMEO=50)
    end.bind(endpoint(transport))
    assert not end.socket.poll(0, zmq.POLLOUT)
    with pytest.raises(zmq.Again):
        end.socket.send(b"x", zmq.DONTWAIT)
    with pytest.raises(zmq.Again):
        end.socket.send(b"x")


@pytest.mark.parametrize(
    "kind, peer", [("REQ", "REP"), ("DEALER", "DEALER"), ("PUSH", "PULL"), ("PAIR", "PAIR")]
)
@transports
def test_waiting_send_goes_to_the_first_peer_that_comes(
    make, background, endpoint, transport, kind, peer
):
    end, newcomer = make(kind), make(peer)
    where = end.bind(endpoint(transport))
    sent = background(lambda: end.send([b"waited"]))
    newcomer.connect(where)
    assert newcomer.receive() == [[b"waited"]]
    sent()


# REQ


@transports
def test_request_travels_behind_an_empty_frame(make, endpoint, transport):
    req, router = make("REQ"), make("ROUTER")
    req.connect(router.bind(endpoint(transport)))
    req.send([b"a", b"", b"b"])
    ((name, *rest),) = router.receive()
    assert rest == [b"", b"a", b"", b"b"]
    router.send([name, b"", b"c", b"", b"d"])
    assert req.receive() == [[b"c", b"", b"d"]]


@networks
def test_request_is_a_delimiter_and_its_body_on_the_wire(make, endpoint, transport):
    req = make("REQ")
    with RawPeer.ready_for(req.bind(endpoint(transport)), b"REP") as raw:
        req.send([b"question"])
        assert raw.read_exactly(12) == b"\x01\x00" + b"\x00\x08question"
        raw.send(b"\x01\x00" + b"\x00\x06answer")
        assert req.receive() == [[b"answer"]]


@transports
def test_only_the_peer_that_was_asked_may_answer(make, endpoint, transport):
    req = make("REQ", ROUTING_ID=b"req")
    where = req.bind(endpoint(transport))
    routers = [make("ROUTER", ROUTER_MANDATORY=1) for _ in range(3)]
    for router in routers:
        router.connect(where)
    req.send([b"question"])
    asked = eventually(lambda: next((router for router in routers if router.poll(0)), None))
    assert asked.receive() == [[b"req", b"", b"question"]]
    for router in routers:
        if router is not asked:
            for _ in range(3):
                router.send([b"req", b"", b"answer of somebody else"])
    req.set("RCVTIMEO", int(A_WHILE * 1000))
    with pytest.raises(zmq.Again):
        req.receive()
    req.set("RCVTIMEO", PATIENCE_MS)
    asked.send([b"req", b"", b"answer"])
    assert req.receive() == [[b"answer"]]


def test_reply_without_a_delimiter_is_passed_over_in_memory(make, endpoint):
    """Over a network it ends the connection, which the hostile suite shows."""
    req, router = make("REQ"), make("ROUTER")
    req.connect(router.bind(endpoint("inproc")))
    req.send([b"question"])
    ((name, _, _),) = router.receive()
    router.send([name, b"no delimiter"], [name, b"not", b"empty"], [name, b"", b"answer"])
    assert req.receive() == [[b"answer"]]


@transports
def test_correlated_reply_must_carry_the_number_of_its_request(make, endpoint, transport):
    req, router = make("REQ", REQ_CORRELATE=1), make("ROUTER")
    req.connect(router.bind(endpoint(transport)))
    before = None
    for turn in range(3):
        req.send([b"question %d" % turn])
        ((name, number, *rest),) = router.receive()
        assert len(number) == 4 and rest == [b"", b"question %d" % turn]
        wrong = (int.from_bytes(number, "little") ^ 0x5A5A5A5A).to_bytes(4, "little")
        router.send([name, wrong, b"", b"wrong number"])
        router.send([name, b"", b"no number"])
        if before:
            router.send([name, before, b"", b"stale"])
        router.send([name, number, b"", b"answer %d" % turn])
        assert req.receive() == [[b"answer %d" % turn]]
        before = number


@transports
def test_relaxed_request_moves_on_to_the_next_peer_and_takes_its_answer(make, endpoint, transport):
    req = make("REQ", REQ_RELAXED=1, REQ_CORRELATE=1)
    reps = [make("REP") for _ in range(2)]
    for rep in reps:
        req.connect(rep.bind(endpoint(transport)))
    for turn in range(4):
        asked = []
        for try_ in range(2):
            req.send([b"%d.%d" % (turn, try_)])
            asked.append(eventually(lambda: next((rep for rep in reps if rep.poll(0)), None)))
            assert asked[-1].receive() == [[b"%d.%d" % (turn, try_)]]
        assert asked[0] is not asked[1], "peers are asked in turn"
        asked[0].send([b"stale"])
        asked[1].send([b"answer %d" % turn])
        assert req.receive() == [[b"answer %d" % turn]]


@transports
def test_relaxed_request_discards_the_answer_that_has_come_already(make, endpoint, transport):
    req = make("REQ", REQ_RELAXED=1, REQ_CORRELATE=1)
    rep = make("REP")
    req.connect(rep.bind(endpoint(transport)))
    for turn in range(3):
        req.send([b"first"])
        assert rep.receive() == [[b"first"]]
        rep.send([b"unread"])
        assert req.poll(10)
        req.send([b"second"])
        assert rep.receive() == [[b"second"]]
        rep.send([b"answer %d" % turn])
        assert req.receive() == [[b"answer %d" % turn]]


@transports
def test_relaxed_requests_may_be_made_before_a_peer_is_there(make, endpoint, transport):
    req, rep = make("REQ", REQ_RELAXED=1, REQ_CORRELATE=1, RECONNECT_IVL=10), make("REP")
    where = free_endpoint(endpoint, transport)
    req.connect(where)
    req.send([b"one"])
    req.send([b"two"])
    rep.bind(where)
    for question in (b"one", b"two"):
        assert rep.receive() == [[question]]
        rep.send([b"answer to " + question])
    assert req.receive() == [[b"answer to two"]]


# REP


@transports
def test_reply_goes_back_through_an_envelope_of_many_frames(make, endpoint, transport):
    dealer, rep = make("DEALER"), make("REP")
    dealer.connect(rep.bind(endpoint(transport)))
    for hops in (0, 1, 2, 5, 40):
        envelope = [b"hop %d" % n for n in range(hops)] + [b""]
        dealer.send([*envelope, b"body", b"", b"tail"])
        assert rep.receive() == [[b"body", b"", b"tail"]]
        rep.send([b"reply", b""])
        assert dealer.receive() == [[*envelope, b"reply", b""]]


def test_rep_takes_the_requests_of_each_peer_in_turn(make, endpoint):
    rep = make("REP")
    where = rep.bind(endpoint("inproc"))
    dealers = [make("DEALER") for _ in range(4)]
    for n, dealer in enumerate(dealers):
        dealer.connect(where)
        dealer.send(*[[b"", b"%d" % n, b"%d" % turn] for turn in range(10)])
    for turn in range(10):
        round_ = []
        for _ in dealers:
            (request,) = rep.receive()
            rep.send(request)
            round_.append(request)
        assert sorted(round_) == [[b"%d" % n, b"%d" % turn] for n in range(4)]
    for n, dealer in enumerate(dealers):
        assert dealer.receive(10) == [[b"", b"%d" % n, b"%d" % turn] for turn in range(10)]


# Fair queuing over a network.


@pytest.mark.parametrize(
    "kind, peer",
    [
        ("PULL", b"PUSH"),
        ("DEALER", b"DEALER"),
        ("ROUTER", b"DEALER"),
        ("REP", b"DEALER"),
        ("SUB", b"PUB"),
    ],
)
@networks
def test_network_peers_are_read_in_turn(make, endpoint, transport, kind, peer):
    receiver = make(kind)
    if kind == "SUB":
        receiver.set("SUBSCRIBE", b"")
    where = receiver.bind(endpoint(transport))
    raws = [RawPeer.ready_for(where, peer) for _ in range(4)]
    try:
        receiver.poll(0)
        delimiter = [b""] if kind == "REP" else []
        for n, raw in enumerate(raws):
            for turn in range(10):
                raw.send_message(*delimiter, b"%d" % n, b"%d" % turn)
            everything_is_read(raw)
        for turn in range(10):
            round_ = []
            for _ in raws:
                round_.append(receiver.receive()[0][-2:])
                if kind == "REP":
                    receiver.send([b"answer"])
            assert sorted(round_) == [[b"%d" % n, b"%d" % turn] for n in range(4)]
    finally:
        for raw in raws:
            raw.close()


# What is queued for a peer that leaves.


@networks
def test_messages_queued_for_a_pull_that_left_are_not_for_its_successor(make, endpoint, transport):
    push = make("PUSH", SNDHWM=5)
    body = filler(200_000, 1)
    with Watch(push.socket) as watch:
        where = push.bind(endpoint(transport))
        with RawPeer.ready_for(where, b"PULL"):
            while not is_full(push):
                push.send([b"old", body])
        watch.wait(zmq.EVENT_DISCONNECTED)
        with RawPeer.ready_for(where, b"PULL") as raw:
            push.send([b"new"])
            assert raw.read_message() == [b"new"]


@networks
def test_messages_queued_for_a_dealer_that_left_are_not_for_its_successor(
    make, endpoint, transport
):
    router = make("ROUTER")
    with Watch(router.socket) as watch:
        where = router.bind(endpoint(transport))
        with RawPeer.ready_for(where, b"DEALER", b"name") as raw:
            raw.send_message(b"here")
            assert router.receive() == [[b"name", b"here"]]
            for _ in range(100):
                router.send([b"name", b"old", filler(200_000, 1)])
        watch.wait(zmq.EVENT_DISCONNECTED)
    successor = named_dealer(make, router, where)
    router.send([b"name", b"new"])
    assert successor.receive() == [[b"new"]]


def test_messages_queued_in_memory_for_a_pull_go_with_it(make, endpoint):
    push = make("PUSH")
    where = push.bind(endpoint("inproc"))
    for life in range(3):
        pull = make("PULL")
        pull.connect(where)
        push.send(*[[b"%d" % life, b"%d" % n] for n in range(5)])
        assert pull.receive() == [[b"%d" % life, b"0"]]
        pull.close()
        eventually(lambda: not push.socket.poll(0, zmq.POLLOUT))


def test_messages_queued_in_memory_for_a_dealer_go_with_it(make, endpoint):
    router = make("ROUTER")
    where = router.bind(endpoint("inproc"))
    for life in range(3):
        dealer = named_dealer(make, router, where)
        router.send(*[[b"name", b"%d" % life, b"%d" % n] for n in range(5)])
        assert dealer.receive() == [[b"%d" % life, b"0"]]
        dealer.close()


@pytest.mark.deviation  # the reference throws them away, with the queue
@transports
def test_what_was_received_before_a_disconnect_can_still_be_read(make, endpoint, transport):
    push, pull = make("PUSH"), make("PULL")
    where = push.bind(endpoint(transport))
    pull.connect(where)
    push.send([b"read"], [b"unread"])
    assert pull.receive() == [[b"read"]]
    assert pull.poll(10)
    pull.disconnect(where)
    assert pull.receive() == [[b"unread"]]
    assert pull.receive_now() is None


# A peer that leaves in the middle of a message.


def begun(make, endpoint, transport):
    """A PUSH that has sent one part of three when its only peer leaves, and where it is bound."""
    push, pull = make("PUSH"), make("PULL")
    with Watch(push.socket) as watch:
        where = push.bind(endpoint(transport))
        pull.connect(where)
        push.send([b"before"])
        assert pull.receive() == [[b"before"]]
        push.socket.send(b"first", zmq.SNDMORE)
        pull.close()
        if transport != "inproc":
            watch.wait(zmq.EVENT_DISCONNECTED)
    eventually(lambda: not push.poll(0) and counter(push.socket, "peers") == 0)
    return push, where


def first_arrival(push, newcomer) -> list:
    """What the newcomer gets first, if the PUSH goes on with other messages."""

    def arrives() -> bool:
        push.send([b"next", b"message"])
        return newcomer.poll(0.05)

    eventually(arrives)
    return newcomer.receive()


@transports
def test_peer_never_gets_the_end_of_a_message_that_another_got_the_beginning_of(
    make, endpoint, transport
):
    push, where = begun(make, endpoint, transport)
    newcomer = make("PULL")
    newcomer.connect(where)
    push.socket.send(b"second", zmq.SNDMORE)
    push.socket.send(b"third")
    got = first_arrival(push, newcomer)
    if got == [[b"first", b"second", b"third"]]:
        got = newcomer.receive()
    assert got == [[b"next", b"message"]]


@pytest.mark.parametrize("flags", [0, zmq.DONTWAIT], ids=["waiting", "not_waiting"])
@transports
def test_message_after_an_interrupted_one_starts_cleanly(make, endpoint, transport, flags):
    push, where = begun(make, endpoint, transport)
    push.set("SNDTIMEO", 50)
    for part, more in ((b"second", zmq.SNDMORE), (b"third", 0)):
        try:
            push.socket.send(part, more | flags)
        except zmq.Again:
            pass  # the rest is dropped either way
    newcomer = make("PULL")
    newcomer.connect(where)
    push.set("SNDTIMEO", PATIENCE_MS)
    assert first_arrival(push, newcomer) == [[b"next", b"message"]]


# Many rounds.


@transports
def test_router_reaches_each_of_a_hundred_dealers_by_its_own_name(make, endpoint, transport):
    router = make("ROUTER", ROUTER_MANDATORY=1)
    where = router.bind(endpoint(transport))
    for n in range(100):
        dealer = make("DEALER", ROUTING_ID=b"dealer %d" % n)
        dealer.connect(where)
        router.send([b"dealer %d" % n, b"hello"])
        assert dealer.receive() == [[b"hello"]]
        dealer.close()


@transports
def test_one_part_and_several_parts_bounce_between_two_pairs(make, endpoint, transport):
    one, other = make("PAIR"), make("PAIR")
    one.connect(other.bind(endpoint(transport)))
    for message in ([b""], [filler(32, 1)], [filler(32, 2)] * 2, [b"", filler(70_000, 3), b""]):
        one.send(message)
        assert other.receive() == [message]
        other.send(message)
        assert one.receive() == [message]


@networks
def test_socket_bound_and_connected_several_times_answers_on_every_way(make, endpoint, transport):
    rep, req = make("REP"), make("REQ")
    ways = [rep.bind(endpoint(transport)) for _ in range(3)]

    def ask(times: int) -> None:
        for n in range(times):
            req.send([b"question", b"%d" % n])
            assert rep.receive() == [[b"question", b"%d" % n]]
            rep.send([b"answer"])
            assert req.receive() == [[b"answer"]]

    for way in ways:
        req.connect(way)
    ask(6)
    for left, way in enumerate(ways):
        req.disconnect(way)
        if left < 2:
            ask(4)
    with pytest.raises(zmq.Again):
        req.socket.send(b"nobody is left", zmq.DONTWAIT)
    for way in ways:
        req.connect(way)
    ask(6)


@networks
def test_two_clients_use_the_same_two_addresses(make, endpoint, transport):
    rep = make("REP")
    ways = [rep.bind(endpoint(transport)) for _ in range(2)]
    clients = [make("REQ"), make("REQ")]
    for client, way in itertools.product(clients, ways):
        client.connect(way)
    for turn in range(4):
        for n, client in enumerate(clients):
            client.send([b"%d.%d" % (n, turn)])
            assert rep.receive() == [[b"%d.%d" % (n, turn)]]
            rep.send([b"answer"])
            assert client.receive() == [[b"answer"]]
    for client in clients:
        client.disconnect(ways[0])
    for client in clients:
        client.send([b"the other way"])
        assert rep.receive() == [[b"the other way"]]
        rep.send([b"answer"])
        assert client.receive() == [[b"answer"]]


@pytest.mark.parametrize(
    "kind, peer", [("DEALER", "DEALER"), ("REQ", "REP"), ("PUB", "SUB"), ("SUB", "PUB")]
)
def test_second_connect_to_the_same_address_is_the_same_connection(make, kind, peer):
    end, accepting = make(kind), make(peer)
    with Watch(accepting.socket) as watch:
        where = accepting.bind("tcp://127.0.0.1:*")
        end.connect(where)
        end.connect(where)
        another = make(kind)
        another.connect(where)
        watch.wait(zmq.EVENT_HANDSHAKE_SUCCEEDED, times=2)
        watch.read(int(A_WHILE * 1000))
        assert watch.count(zmq.EVENT_ACCEPTED) == 2


def test_pair_can_be_held_to_one_interface(make):
    one, other = make("PAIR"), make("PAIR")
    for end in (one, other):
        end.set("BINDTODEVICE", b"lo")
    try:
        one.connect(other.bind("tcp://127.0.0.1:*"))
    except zmq.ZMQError as error:
        assert error.errno == errno.EPERM
        pytest.skip("the system allows it to nobody without CAP_NET_RAW")
    one.send([b"over lo"])
    assert other.receive() == [[b"over lo"]]
