"""Every pair of compatible socket types, over tcp and ipc, bound here or there: messages of all sizes and multipart
messages of 1 to 20 frames arrive complete, unchanged and in order, in every direction the types allow.
"""

import pytest
from peers.filler import filler
from peers.subject import zmq
from peers.waiting import eventually

KIB = 1024
MIB = 1024 * KIB
SIZES = (0, 1, 255, 256, 64 * KIB, 10 * MIB)

SINGLES = [[filler(size, seed)] for seed, size in enumerate(SIZES)]
MULTIPARTS = [
    [filler(SIZES[(i + count) % 5], 100 * count + i) for i in range(count)]
    for count in range(1, 21)
]
MESSAGES = SINGLES + MULTIPARTS
"""What is sent: single frames of every size, then 1 to 20 frames of mixed sizes."""

ONE_WAY = [("PUSH", "PULL"), ("PUB", "SUB"), ("PUB", "XSUB"), ("XPUB", "SUB")]
BOTH_WAYS = [
    ("PAIR", "PAIR"),
    ("DEALER", "DEALER"),
    ("DEALER", "ROUTER"),
    ("ROUTER", "ROUTER"),
    ("XPUB", "XSUB"),
]
LOCKSTEP = [("REQ", "REP"), ("REQ", "ROUTER"), ("DEALER", "REP")]
"""Pairs whose first type asks and whose second answers."""


def both_orders(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Each pair with either type on this side."""
    return pairs + [(b, a) for a, b in pairs if a != b]


with_identity = {"REQ", "DEALER", "ROUTER"}


class Ends:
    """Two connected ends, ours and theirs, and what each must put around a message for the other."""

    def __init__(self, make, peer, ours: str, theirs: str, where: str, binder: str) -> None:
        self.ours = make(ours, **self.options(ours, b"us"))
        self.theirs = peer.socket(theirs, **self.options(theirs, b"them"))
        first, second = (self.ours, self.theirs) if binder == "ours" else (self.theirs, self.ours)
        second.connect(first.bind(where))
        self.ids = {self.ours: b"us", self.theirs: b"them"}

    @staticmethod
    def options(kind: str, identity: bytes) -> dict:
        options = {"ROUTING_ID": identity} if kind in with_identity else {}
        return options | ({"ROUTER_MANDATORY": 1} if kind == "ROUTER" else {})

    def end(self, kind: str):
        return self.ours if self.ours.kind == kind else self.theirs

    def other(self, end):
        return self.theirs if end is self.ours else self.ours

    def outgoing(self, sender, message: list[bytes]) -> list[bytes]:
        """The frames the sender's application writes."""
        receiver = self.other(sender)
        if sender.kind == "ROUTER":
            return [self.ids[receiver]] + ([b""] if receiver.kind == "REQ" else []) + message
        return [b""] + message if (sender.kind, receiver.kind) == ("DEALER", "REP") else message

    def incoming(self, receiver, message: list[bytes]) -> list[bytes]:
        """The frames the receiver's application reads."""
        sender = self.other(receiver)
        if receiver.kind == "ROUTER":
            return [self.ids[sender]] + ([b""] if sender.kind == "REQ" else []) + message
        return [b""] + message if (receiver.kind, sender.kind) == ("DEALER", "REP") else message

    def subscribe(self) -> None:
        """Everything is subscribed and the publisher knows it."""
        publisher = next(end for end in (self.ours, self.theirs) if end.kind in ("PUB", "XPUB"))
        subscriber = self.other(publisher)
        if subscriber.kind == "SUB":
            subscriber.set("SUBSCRIBE", b"")
        else:
            subscriber.send([b"\x01"])
        if publisher.kind == "XPUB":
            # A subscriber that binds learns of the publisher when its own thread calls it.
            eventually(lambda: subscriber.poll(0) or publisher.receive_now() == [b"\x01"])
            return

        def probe_arrives() -> bool:
            publisher.send([b"probe"])
            return subscriber.poll(0.02)

        eventually(probe_arrives)
        publisher.send([b"start"])
        eventually(lambda: subscriber.receive() == [[b"start"]])

    def flow(self, sender) -> None:
        """All messages from one end to the other, none waiting for an answer."""
        receiver = self.other(sender)
        sender.send(*[self.outgoing(sender, message) for message in MESSAGES])
        for message in MESSAGES:
            (got,) = receiver.receive()
            assert got == self.incoming(receiver, message), (
                f"{len(message)} frames of {[len(f) for f in message]}"
            )

    def ask_and_answer(self, client) -> None:
        """All messages there, each followed by another one back."""
        server = self.other(client)
        for question, answer in zip(MESSAGES, MESSAGES[1:] + MESSAGES[:1], strict=True):
            client.send(self.outgoing(client, question))
            assert server.receive() == [self.incoming(server, question)]
            server.send(self.outgoing(server, answer))
            assert client.receive() == [self.incoming(client, answer)]


@pytest.fixture
def ends(make, peer, endpoint, ours, theirs, transport, binder):
    """The two ends, closed afterwards."""
    made = Ends(make, peer, ours, theirs, endpoint(transport), binder)
    yield made
    made.theirs.close()
    made.ours.close()


everywhere = [
    pytest.mark.parametrize("transport", ["tcp", "ipc"]),
    pytest.mark.parametrize("binder", ["ours", "theirs"]),
]


def for_each(pairs: list[tuple[str, str]]):
    """Runs the test for each pair, transport and binder."""

    def mark(test):
        for parametrize in everywhere:
            test = parametrize(test)
        pairs_ = both_orders(pairs)
        return pytest.mark.parametrize(
            "ours, theirs", pairs_, ids=[f"{a}_to_{b}" for a, b in pairs_]
        )(test)

    return mark


@for_each(ONE_WAY)
def test_messages_of_every_size_flow_one_way(ends):
    sender = next(end for end in (ends.ours, ends.theirs) if end.kind in ("PUSH", "PUB", "XPUB"))
    if sender.kind != "PUSH":
        ends.subscribe()
    ends.flow(sender)


@for_each(BOTH_WAYS)
def test_messages_of_every_size_flow_both_ways(ends):
    if "XPUB" in (ends.ours.kind, ends.theirs.kind):
        ends.subscribe()
    ends.flow(ends.ours)
    ends.flow(ends.theirs)


@for_each(LOCKSTEP)
def test_questions_and_answers_of_every_size(ends):
    ends.ask_and_answer(
        next(end for end in (ends.ours, ends.theirs) if end.kind in ("REQ", "DEALER"))
    )


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
@pytest.mark.parametrize("binder", ["ours", "theirs"])
def test_both_ends_of_a_pair_send_at_the_same_time(make, peer, endpoint, transport, binder):
    ends = Ends(make, peer, "PAIR", "PAIR", endpoint(transport), binder)
    ends.ours.send(*MESSAGES)
    ends.theirs.send(*MESSAGES)
    assert ends.ours.receive(len(MESSAGES)) == MESSAGES
    assert ends.theirs.receive(len(MESSAGES)) == MESSAGES
    ends.theirs.close()


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
@pytest.mark.parametrize("direction", ["to_them", "to_us"])
def test_many_small_messages_keep_their_order(make, peer, endpoint, transport, direction):
    count = 20_000
    push, pull = (
        (make("PUSH"), peer.socket("PULL"))
        if direction == "to_them"
        else (peer.socket("PUSH"), make("PULL"))
    )
    pull.connect(push.bind(endpoint(transport)))
    numbered = [[str(n).encode()] for n in range(count)]
    for begin in range(0, count, 500):
        push.send(*numbered[begin : begin + 500])
        assert pull.receive(500) == numbered[begin : begin + 500]
    (push if push is not None and direction == "to_us" else pull).close()


@pytest.mark.parametrize(
    "kind", ["REQ", "DEALER", "ROUTER", "REP", "PULL", "PUB", "XPUB", "SUB", "PAIR"]
)
def test_socket_type_can_be_read_back(make, kind):
    assert make(kind).socket.get(zmq.TYPE) == int(getattr(zmq, kind))
