"""State machines and mute states: what each socket type answers when it cannot do what it is asked."""

import errno

import pytest
from peers.subject import errno_of, ours, zmq
from peers.waiting import A_WHILE, eventually

MUTE = {
    # type: (POLLOUT without peers, errno of a non-blocking send without peers)
    "PAIR": (0, zmq.EAGAIN),
    "PUB": (1, None),
    "SUB": (0, zmq.ENOTSUP),
    "REQ": (0, zmq.EAGAIN),
    "REP": (0, zmq.EFSM),
    "DEALER": (0, zmq.EAGAIN),
    "ROUTER": (1, None),
    "PULL": (0, zmq.ENOTSUP),
    "PUSH": (0, zmq.EAGAIN),
    "XPUB": (1, None),
    "XSUB": (1, None),
}
RECEIVE = {
    "PAIR": zmq.EAGAIN, "PUB": zmq.ENOTSUP, "SUB": zmq.EAGAIN, "REQ": zmq.EFSM, "REP": zmq.EAGAIN,
    "DEALER": zmq.EAGAIN, "ROUTER": zmq.EAGAIN, "PULL": zmq.EAGAIN, "PUSH": zmq.ENOTSUP, "XPUB": zmq.EAGAIN,
    "XSUB": zmq.EAGAIN, "STREAM": zmq.EAGAIN,
}  # fmt: skip


@pytest.mark.parametrize("kind", MUTE)
def test_send_without_peers(make, kind):
    socket = make(kind).socket
    pollout, refusal = MUTE[kind]
    assert bool(socket.poll(0, zmq.POLLOUT)) == bool(pollout)
    assert bool(socket.get(zmq.EVENTS) & zmq.POLLOUT) == bool(pollout)
    assert errno_of(socket.send, b"x", zmq.DONTWAIT) == refusal
    assert errno_of(socket.send_multipart, [b"x", b"y"], zmq.DONTWAIT) == refusal


@pytest.mark.parametrize("kind", RECEIVE)
def test_receive_without_peers(make, kind):
    socket = make(kind).socket
    assert not socket.poll(0)
    assert errno_of(socket.recv, zmq.DONTWAIT) == RECEIVE[kind]
    assert errno_of(socket.recv_multipart, zmq.DONTWAIT) == RECEIVE[kind]


@pytest.mark.parametrize("kind", ["PUSH", "DEALER", "PAIR", "REQ"])
def test_send_without_peers_blocks_until_its_timeout(make, kind):
    socket = make(kind, SNDTIMEO=50).socket
    with pytest.raises(zmq.Again):
        socket.send(b"x")


@pytest.mark.parametrize("kind", ["PULL", "DEALER", "PAIR", "REP", "SUB", "ROUTER", "XPUB", "XSUB"])
def test_receive_without_messages_blocks_until_its_timeout(make, kind):
    socket = make(kind, RCVTIMEO=50).socket
    with pytest.raises(zmq.Again):
        socket.recv()


@pytest.fixture
def req_rep(make, endpoint):
    """A connected pair of sockets."""
    req, rep = make("REQ").socket, make("REP").socket
    where = endpoint("inproc")
    rep.bind(where)
    req.connect(where)
    return req, rep


def test_req_walks_through_its_states(req_rep):
    req, rep = req_rep
    assert errno_of(req.recv) == zmq.EFSM
    req.send(b"a", zmq.SNDMORE)
    assert errno_of(req.recv) == zmq.EFSM, "a request partly sent cannot be answered"
    req.send(b"b")
    assert errno_of(req.send, b"c") == zmq.EFSM
    assert rep.recv_multipart() == [b"a", b"b"]
    rep.send_multipart([b"d", b"e"])
    assert req.recv() == b"d"
    assert req.get(zmq.RCVMORE)
    assert errno_of(req.send, b"f") == zmq.EFSM, "a reply partly read must be read to its end"
    assert req.recv() == b"e"
    assert not req.get(zmq.RCVMORE)
    assert errno_of(req.recv) == zmq.EFSM
    req.send(b"g")
    assert rep.recv() == b"g"


def test_rep_walks_through_its_states(req_rep):
    req, rep = req_rep
    assert errno_of(rep.send, b"x") == zmq.EFSM
    req.send_multipart([b"a", b"b"])
    assert rep.recv() == b"a"
    assert errno_of(rep.send, b"x") == zmq.EFSM, "a request partly read cannot be answered"
    assert rep.recv() == b"b"
    assert errno_of(rep.recv) == zmq.EFSM
    rep.send(b"c", zmq.SNDMORE)
    assert errno_of(rep.recv) == zmq.EFSM
    rep.send(b"d")
    assert errno_of(rep.send, b"x") == zmq.EFSM
    assert req.recv_multipart() == [b"c", b"d"]


def test_poll_knows_the_states_of_req_and_rep(req_rep):
    req, rep = req_rep
    both = zmq.POLLIN | zmq.POLLOUT
    assert req.poll(0, both) == zmq.POLLOUT
    assert rep.poll(0, both) == 0
    req.send(b"question")
    assert req.poll(0, both) == 0
    assert rep.poll(5000, both) == zmq.POLLIN
    rep.recv()
    assert rep.poll(0, both) == zmq.POLLOUT
    rep.send(b"answer")
    assert req.poll(5000, both) == zmq.POLLIN


def test_relaxed_req_may_ask_again(make, endpoint):
    req, router = make("REQ", REQ_RELAXED=1, REQ_CORRELATE=1).socket, make("ROUTER").socket
    where = endpoint("inproc")
    router.bind(where)
    req.connect(where)
    req.send(b"one")
    req.send(b"two")
    one, two = router.recv_multipart(), router.recv_multipart()
    router.send_multipart([*one[:-1], b"late"])
    router.send_multipart([*two[:-1], b"right"])
    assert req.recv() == b"right"


def test_rep_passes_over_a_message_without_delimiter(make, endpoint):
    rep, dealer = make("REP").socket, make("DEALER").socket
    where = endpoint("inproc")
    rep.bind(where)
    dealer.connect(where)
    dealer.send_multipart([b"no", b"delimiter"])
    dealer.send_multipart([b"hop", b"", b"body"])
    assert rep.recv_multipart() == [b"body"]
    rep.send(b"reply")
    assert dealer.recv_multipart() == [b"hop", b"", b"reply"]


def test_reply_to_a_requester_that_left_is_dropped(make, endpoint):
    rep = make("REP").socket
    rep.bind("tcp://127.0.0.1:*")
    where = rep.get(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()
    first = make("REQ").socket
    first.connect(where)
    first.send(b"question")
    assert rep.recv() == b"question"
    first.close()
    rep.send(b"into the void")
    second = make("REQ").socket
    second.connect(where)
    second.send(b"next")
    assert rep.recv() == b"next"
    rep.send(b"answer")
    assert second.recv() == b"answer"


def test_router_ignores_a_message_of_one_frame(make, endpoint):
    router, dealer = make("ROUTER").socket, make("DEALER", ROUTING_ID=b"d").socket
    where = endpoint("inproc")
    router.bind(where)
    dealer.connect(where)
    dealer.send(b"hello")
    assert router.recv_multipart() == [b"d", b"hello"]
    router.send(b"d")
    router.send_multipart([b"d", b"real"])
    assert dealer.recv() == b"real"


def test_mandatory_router_refuses_at_the_first_frame(make, endpoint):
    router, dealer = (
        make("ROUTER", ROUTER_MANDATORY=1, SNDHWM=2).socket,
        make("DEALER", ROUTING_ID=b"d", RCVHWM=2).socket,
    )
    where = endpoint("inproc")
    router.bind(where)
    dealer.connect(where)
    dealer.send(b"hello")
    router.recv_multipart()
    assert errno_of(router.send_multipart, [b"nobody", b"x"]) == errno.EHOSTUNREACH
    assert errno_of(router.send, b"nobody", zmq.SNDMORE) == errno.EHOSTUNREACH
    for n in range(4):
        router.send_multipart([b"d", b"%d" % n], zmq.DONTWAIT)
    assert errno_of(router.send, b"d", zmq.SNDMORE | zmq.DONTWAIT) == zmq.EAGAIN
    assert [dealer.recv() for _ in range(4)] == [b"0", b"1", b"2", b"3"]
    eventually(
        lambda: (
            dealer.poll(0) < 0
            or errno_of(router.send_multipart, [b"d", b"4"], zmq.DONTWAIT) is None
        )
    )
    assert dealer.recv() == b"4"


def test_second_peer_of_a_pair_is_not_heard(make, endpoint):
    pair = make("PAIR")
    where = pair.bind("tcp://127.0.0.1:*")
    first, second = make("PAIR"), make("PAIR")
    first.connect(where)
    first.send([b"first"])
    assert pair.receive() == [[b"first"]]
    second.connect(where)
    second.send([b"second"])
    assert not pair.poll(A_WHILE)
    pair.send([b"for the first"])
    assert first.receive() == [[b"for the first"]]


def test_new_peer_of_a_pair_is_heard_when_the_old_one_left(make):
    pair = make("PAIR")
    where = pair.bind("tcp://127.0.0.1:*")
    for n in range(3):
        peer = make("PAIR", RECONNECT_IVL=10)
        peer.connect(where)
        eventually(lambda n=n, peer=peer: peer.send([b"%d" % n]) is None and pair.poll(0.05))
        assert pair.receive()[0] == [b"%d" % n]
        peer.close()
        eventually(lambda: not pair.socket.poll(0, zmq.POLLOUT))
        while pair.receive_now():
            pass


def test_stream_without_its_id_frame_is_refused_or_ignored(make):
    stream = make("STREAM").socket
    stream.bind("tcp://127.0.0.1:*")
    assert errno_of(stream.send_multipart, [b"nobody", b"x"], zmq.DONTWAIT) == errno.EHOSTUNREACH


def test_bytes_of_a_subclass_are_bytes(make):
    class Name(bytes):
        pass

    dealer = make("DEALER")
    dealer.set("ROUTING_ID", Name(b"me"))
    assert dealer.socket.get(zmq.ROUTING_ID) == b"me"


@ours
def test_refusals_name_what_is_wrong(make):
    with pytest.raises(zmq.ZMQError) as refused:
        make("REQ").socket.recv()
    assert str(refused.value)
    with pytest.raises(zmq.ZMQError) as port:
        make("PUSH").socket.connect("tcp://127.0.0.1:70000")
    assert "70000" in str(port.value)
