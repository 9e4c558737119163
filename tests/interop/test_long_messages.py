"""Streams of mostly long messages, which mqcore writes and reads in the calling thread, to and from peers that know nothing
of that: with little room and with much, in either direction and in both at once, everything arrives whole and in order.
"""

import pytest
from peers.long_messages import long_stream
from peers.subject import zmq
from peers.waiting import eventually, send_patiently

COUNT = 100

everywhere = pytest.mark.parametrize("transport", ["tcp", "ipc"])
with_room = pytest.mark.parametrize("hwm", [2, 1000])

STREAMS = [
    ("PUSH", "PULL"),
    ("DEALER", "ROUTER"),
    ("ROUTER", "DEALER"),
    ("PAIR", "PAIR"),
]


def options(kind: str, hwm: int) -> dict[str, object]:
    made: dict[str, object] = {"SNDHWM": hwm, "RCVHWM": hwm}
    if kind == "DEALER":
        made["ROUTING_ID"] = b"name"
    if kind == "ROUTER":
        made["ROUTER_MANDATORY"] = 1
    return made


def envelope(kind: str) -> list[str]:
    """What the socket's application reads and writes before each message."""
    return ["name"] if kind == "ROUTER" else []


def send(end, seed: int) -> None:
    before = [part.encode() for part in envelope(end.kind)]
    for message in long_stream(seed, COUNT):
        send_patiently(zmq, end.socket, before + message)


def receive(end, seed: int) -> None:
    before = [part.encode() for part in envelope(end.kind)]
    for message in long_stream(seed, COUNT):
        assert end.socket.recv_multipart() == before + message


def submit(peer, end, op: str, seed: int) -> None:
    """Has the peer send or receive meanwhile."""
    peer.submit(op, socket=end.number, seed=seed, count=COUNT, envelope=envelope(end.kind))


@everywhere
@with_room
@pytest.mark.parametrize("sender, receiver", STREAMS)
def test_long_messages_to_a_peer(make, peer, endpoint, transport, hwm, sender, receiver):
    ours, theirs = (
        make(sender, **options(sender, hwm)),
        peer.socket(receiver, **options(receiver, hwm)),
    )
    ours.connect(theirs.bind(endpoint(transport)))
    submit(peer, theirs, "receive_long", hwm)
    send(ours, hwm)
    peer.result()
    theirs.close()


@everywhere
@with_room
@pytest.mark.parametrize("sender, receiver", STREAMS)
def test_long_messages_from_a_peer(make, peer, endpoint, transport, hwm, sender, receiver):
    ours, theirs = (
        make(receiver, **options(receiver, hwm)),
        peer.socket(sender, **options(sender, hwm)),
    )
    theirs.connect(ours.bind(endpoint(transport)))
    submit(peer, theirs, "send_long", hwm)
    receive(ours, hwm)
    peer.result()
    theirs.close()


@everywhere
@pytest.mark.parametrize("a, b", [("PAIR", "PAIR"), ("DEALER", "DEALER"), ("DEALER", "ROUTER")])
def test_both_sides_send_long_messages_first_and_receive_then(
    make, peer, endpoint, transport, a, b
):
    ours, theirs = make(a, **options(a, 1000)), peer.socket(b, **options(b, 1000))
    ours.connect(theirs.bind(endpoint(transport)))
    submit(peer, theirs, "send_long", 1)
    send(ours, 2)
    peer.result()
    submit(peer, theirs, "receive_long", 2)
    receive(ours, 1)
    peer.result()
    theirs.close()


@everywhere
@pytest.mark.parametrize("client", ["ours", "theirs"])
def test_long_questions_and_answers(make, peer, endpoint, transport, client):
    """With the usual room: a REP has libzmq drop what it finds none for."""
    asks = client == "ours"
    ours = make("REQ" if asks else "REP", **options("REQ", 1000))
    theirs = peer.socket("REP" if asks else "REQ", **options("REQ", 1000))
    ours.connect(theirs.bind(endpoint(transport)))
    peer.submit("answer_long" if asks else "ask_long", socket=theirs.number, seed=1, count=COUNT)
    for question, answer in zip(long_stream(1, COUNT), long_stream(2, COUNT), strict=True):
        if asks:
            ours.socket.send_multipart(question)
            assert ours.socket.recv_multipart() == answer
        else:
            assert ours.socket.recv_multipart() == question
            ours.socket.send_multipart(answer)
    peer.result()
    theirs.close()


def subscribed(publisher, subscriber) -> None:
    """Returns when what is published arrives, and all that was published before has."""
    subscriber.set("SUBSCRIBE", b"")

    def probe_arrives() -> bool:
        publisher.send([b"probe"])
        return subscriber.poll(0.02)

    eventually(probe_arrives)
    publisher.send([b"start"])
    eventually(lambda: subscriber.receive() == [[b"start"]])


@everywhere
@with_room
def test_long_messages_published_to_a_peer(make, peer, endpoint, transport, hwm):
    """XPUB_NODROP: with little room the publisher waits, so that everything must arrive."""
    ours = make("XPUB", XPUB_NODROP=1, **options("XPUB", hwm))
    theirs = peer.socket("SUB", **options("SUB", hwm))
    theirs.connect(ours.bind(endpoint(transport)))
    theirs.set("SUBSCRIBE", b"")
    assert ours.receive() == [[b"\x01"]]
    submit(peer, theirs, "receive_long", hwm)
    send(ours, hwm)
    peer.result()
    theirs.close()


@everywhere
@with_room
def test_long_messages_published_by_a_peer(make, peer, endpoint, transport, hwm):
    ours = make("SUB", **options("SUB", hwm))
    theirs = peer.socket("XPUB", XPUB_NODROP=1, **options("XPUB", hwm))
    ours.connect(theirs.bind(endpoint(transport)))
    ours.set("SUBSCRIBE", b"")
    assert theirs.receive() == [[b"\x01"]]
    submit(peer, theirs, "send_long", hwm)
    receive(ours, hwm)
    peer.result()
    theirs.close()


@everywhere
@pytest.mark.parametrize("publisher", ["ours", "theirs"])
def test_long_messages_of_a_plain_publisher(make, peer, endpoint, transport, publisher):
    if publisher == "ours":
        ours, theirs = (
            make("PUB", **options("PUB", 1000)),
            peer.socket("SUB", **options("SUB", 1000)),
        )
        theirs.connect(ours.bind(endpoint(transport)))
        subscribed(ours, theirs)
        submit(peer, theirs, "receive_long", 1)
        send(ours, 1)
    else:
        ours, theirs = (
            make("SUB", **options("SUB", 1000)),
            peer.socket("PUB", **options("PUB", 1000)),
        )
        theirs.connect(ours.bind(endpoint(transport)))
        subscribed(theirs, ours)
        submit(peer, theirs, "send_long", 1)
        receive(ours, 1)
    peer.result()
    theirs.close()
