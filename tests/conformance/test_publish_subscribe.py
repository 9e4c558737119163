"""Publishers and subscribers: how many messages fit, what an XPUB hears in each of its modes,
prefixes of every length, and subscriptions that travel through a broker.
"""

import pytest
from peers.filler import filler
from peers.raw import RawPeer, ping
from peers.subject import drafts, zmq
from peers.waiting import A_WHILE, bind_when_free, eventually

transports = pytest.mark.parametrize("transport", ["inproc", "tcp", "ipc"])
networks = pytest.mark.parametrize("transport", ["tcp", "ipc"])
manual_modes = pytest.mark.parametrize(
    "mode", ["XPUB_MANUAL", pytest.param("XPUB_MANUAL_LAST_VALUE", marks=drafts)]
)


def numbers(end) -> list[int]:
    """The numbers that are there to be read, until nothing comes for a while."""
    found = []
    while end.poll(A_WHILE):
        found.append(int(end.receive()[0][0]))
    return found


def subscribed(make, publisher, where: str, **options):
    """A SUB for everything, of which the XPUB knows."""
    sub = make("SUB", **options)
    sub.set("SUBSCRIBE", b"")
    sub.connect(where)
    assert publisher.receive() == [[b"\x01"]]
    return sub


# High-water marks.


@pytest.mark.parametrize("kind", ["PUB", "XPUB"])
@pytest.mark.parametrize("mark", [100, 1000])
def test_subscriber_in_memory_gets_what_fits_and_after_reading_as_much_again(
    make, endpoint, kind, mark
):
    publisher, sub = make(kind, SNDHWM=mark), make("SUB", RCVHWM=mark)
    sub.set("SUBSCRIBE", b"")
    sub.connect(publisher.bind(endpoint("inproc")))
    for _ in range(2):
        publisher.socket.get(zmq.EVENTS)
        publisher.send(*[[b"%d" % n] for n in range(2 * mark + 50)])
        assert numbers(sub) == list(range(2 * mark))


@pytest.mark.parametrize("mark", [100, 1000])
@networks
def test_as_many_as_the_mark_are_never_dropped(make, endpoint, transport, mark):
    publisher = make("XPUB", SNDHWM=mark)
    sub = subscribed(make, publisher, publisher.bind(endpoint(transport)), RCVHWM=mark)
    for _ in range(3):
        publisher.socket.get(zmq.EVENTS)
        publisher.send(*[[b"%d" % n] for n in range(mark)])
        assert sub.receive(mark) == [[b"%d" % n] for n in range(mark)]
    assert not sub.poll(0)


@transports
def test_publisher_that_may_not_drop_waits_and_everything_arrives(
    make, background, endpoint, transport
):
    publisher = make("XPUB", SNDHWM=5, XPUB_NODROP=1)
    sub = subscribed(make, publisher, publisher.bind(endpoint(transport)), RCVHWM=5)
    body, total, sent = filler(100_000, 1), 200, []

    def publish() -> None:
        for n in range(total):
            publisher.send([b"%d" % n, body])
            sent.append(n)

    join = background(publish)
    eventually(lambda: len(sent) >= 5)
    assert sub.poll(A_WHILE)
    assert len(sent) < total
    for n in range(total):
        assert sub.receive() == [[b"%d" % n, body]]
    join()


def test_what_a_closed_connecter_had_sent_waits_for_the_bind(make, endpoint):
    where = endpoint("inproc")
    push, pull = make("PUSH", SNDHWM=7, LINGER=-1), make("PULL")
    push.connect(where)
    for n in range(7):
        push.socket.send(b"%d" % n, zmq.DONTWAIT)
    with pytest.raises(zmq.Again):
        push.socket.send(b"7", zmq.DONTWAIT)
    push.socket.close()
    pull.bind(where)
    assert numbers(pull) == list(range(7))


def test_closed_binder_took_nothing_and_leaves_nothing(make, endpoint):
    where = endpoint("inproc")
    push, pull = make("PUSH", SNDHWM=7, LINGER=-1), make("PULL")
    push.bind(where)
    with pytest.raises(zmq.Again):
        push.socket.send(b"0", zmq.DONTWAIT)
    push.socket.close()
    successor = make("PUSH")
    bind_when_free(successor, where)
    pull.connect(where)
    successor.send([b"1"])
    assert pull.receive() == [[b"1"]]
    assert pull.receive_now() is None


@networks
def test_conflating_receiver_keeps_the_last_of_twenty(make, endpoint, transport):
    pull = make("PULL", CONFLATE=1)
    with RawPeer.ready_for(pull.bind(endpoint(transport)), b"PUSH") as raw:
        for n in range(20):
            raw.send_message(b"%d" % n)
        for turn in (b"1", b"2"):  # the second answer comes when the messages are in their place
            raw.send(ping(context=turn))
            assert raw.read_command(b"PONG").data == turn
        assert pull.receive() == [[b"19"]]
        assert pull.receive_now() is None


# What is delivered.


@pytest.mark.parametrize("kind", ["PUB", "XPUB"])
@transports
def test_inverted_matching_delivers_what_does_not_match(make, endpoint, transport, kind):
    publisher = make(kind, INVERT_MATCHING=1)
    sub = make("SUB", INVERT_MATCHING=1)
    sub.set("SUBSCRIBE", b"a")
    sub.set("SUBSCRIBE", b"bb")
    sub.connect(publisher.bind(endpoint(transport)))
    if kind == "XPUB":
        assert sorted(publisher.receive(2)) == [[b"\x01a"], [b"\x01bb"]]
    else:
        eventually(lambda: publisher.send([b"x"]) or sub.poll(0.02))
    publisher.send([b"a"], [b"ab"], [b"bb", b"c"], [b"b"], [b""], [b"c", b"a"], [b"A"], [b"end"])
    got = []
    while not got or got[-1] != [b"end"]:
        got += [message for message in sub.receive() if message != [b"x"]]
    assert got == [[b"b"], [b""], [b"c", b"a"], [b"A"], [b"end"]]


@pytest.mark.parametrize("size", [0, 1, 244, 245, 246, 247, 254, 255, 256, 257, 1000])
@transports
def test_prefix_of_any_length_is_asked_for_served_and_cancelled(make, endpoint, transport, size):
    """A command of 255 bytes has a prefix of 245, and one of 256 needs the long form of a frame."""
    publisher, sub = make("XPUB"), make("SUB")
    prefix = bytes(filler(size, 3))
    sub.connect(publisher.bind(endpoint(transport)))
    sub.set("SUBSCRIBE", prefix)
    assert publisher.receive() == [[b"\x01" + prefix]]
    if size:
        publisher.send([prefix[:-1]])
    publisher.send([prefix + b"!"])
    assert sub.receive() == [[prefix + b"!"]]
    sub.set("UNSUBSCRIBE", prefix)
    assert publisher.receive() == [[b"\x00" + prefix]]


# What an XPUB hears.


class Table:
    """An XPUB with some subscribers; tells what it heard of each step."""

    def __init__(self, publisher, subscribers: list) -> None:
        self.publisher = publisher
        self.subscribers = subscribers
        self.steps = 0

    def __call__(self, who: int, what: str, prefix: bytes) -> list[bytes]:
        """The notices of that step: what comes before a marker that the same peer asks for next."""
        self.steps += 1
        marker = b"marker %d" % self.steps
        self.subscribers[who].set(what, prefix)
        self.subscribers[who].set("SUBSCRIBE", marker)
        heard = []
        while (notice := self.publisher.receive()[0][0]) != b"\x01" + marker:
            heard.append(notice)
        return heard


@pytest.fixture
def table(make, endpoint):
    """Makes a table: `table("tcp", 2, XPUB_VERBOSE=1)`."""

    def make_table(transport: str, subscribers: int, **options: int) -> Table:
        publisher = make("XPUB", **options)
        where = publisher.bind(endpoint(transport))
        subs = [make("SUB") for _ in range(subscribers)]
        for sub in subs:
            sub.connect(where)
        return Table(publisher, subs)

    return make_table


MODES = {"usual": {}, "verbose": {"XPUB_VERBOSE": 1}, "verboser": {"XPUB_VERBOSER": 1}}
A = b"A"
YES, NO = [b"\x01A"], [b"\x00A"]


@pytest.mark.parametrize("mode", MODES)
@transports
def test_notices_of_one_subscriber(table, transport, mode):
    step = table(transport, 1, **MODES[mode])
    again = [] if mode == "usual" else YES
    assert step(0, "SUBSCRIBE", A) == YES
    assert step(0, "SUBSCRIBE", A) == again
    assert step(0, "UNSUBSCRIBE", A) == [], "the subscriber still wants it once"
    assert step(0, "UNSUBSCRIBE", A) == NO
    assert step(0, "UNSUBSCRIBE", A) == [], "nobody has it"
    assert step(0, "SUBSCRIBE", A) == YES


@pytest.mark.parametrize("mode", MODES)
@transports
def test_notices_of_two_subscribers(table, transport, mode):
    step = table(transport, 2, **MODES[mode])
    again = [] if mode == "usual" else YES
    not_the_last = NO if mode == "verboser" else []
    assert step(0, "SUBSCRIBE", A) == YES
    assert step(1, "SUBSCRIBE", A) == again
    assert step(0, "SUBSCRIBE", A) == again
    step.publisher.send([b"A for both"])
    assert [sub.receive() for sub in step.subscribers] == [[[b"A for both"]]] * 2
    assert step(0, "UNSUBSCRIBE", A) == []
    assert step(0, "UNSUBSCRIBE", A) == not_the_last
    step.publisher.send([b"A for the second"])
    assert step.subscribers[1].receive() == [[b"A for the second"]]
    assert not step.subscribers[0].poll(0)
    assert step(1, "UNSUBSCRIBE", A) == NO
    assert step(1, "SUBSCRIBE", A) == YES


@pytest.mark.parametrize("mode", MODES)
@transports
def test_notices_of_a_subscriber_that_leaves_another_behind(table, transport, mode):
    step = table(transport, 2, **MODES[mode])
    assert step(0, "SUBSCRIBE", A) == YES
    assert step(1, "SUBSCRIBE", A) == ([] if mode == "usual" else YES)
    assert step(0, "SUBSCRIBE", b"own") == [b"\x01own"]
    step.subscribers[0].close()
    of_first = [b"\x00own", *[b"\x00marker %d" % n for n in (1, 3)]]
    of_first += NO if mode == "verboser" else []
    assert sorted(step.publisher.receive()[0][0] for _ in of_first) == sorted(of_first)
    step.publisher.send([b"A for the second"])
    assert step.subscribers[1].receive() == [[b"A for the second"]]
    assert step(1, "UNSUBSCRIBE", A) == NO


# Manual subscriptions.


@manual_modes
@transports
def test_no_request_is_lost_however_many_peers_ask_at_once(make, endpoint, transport, mode):
    publisher = make("XPUB", **{mode: 1})
    where = publisher.bind(endpoint(transport))
    subs = [make("SUB") for _ in range(5)]
    for n, sub in enumerate(subs):
        for k in range(20):
            sub.set("SUBSCRIBE", b"%d.%02d" % (n, k))
        sub.connect(where)
    for _ in range(100):
        ((notice,),) = publisher.receive()
        assert notice[0] == 1
        publisher.set("SUBSCRIBE", notice[1:])
        publisher.send([notice[1:]])
    for n, sub in enumerate(subs):
        got = sorted(frame for (frame,) in sub.receive(20))
        assert got == [b"%d.%02d" % (n, k) for k in range(20)]


@manual_modes
@transports
def test_manual_publisher_reads_what_subscribers_write(make, endpoint, transport, mode):
    publisher, xsub = make("XPUB", **{mode: 1}), make("XSUB")
    xsub.connect(publisher.bind(endpoint(transport)))
    xsub.send([b"\x01a"], [b"user"], [b"user", b"message"], [b"\x02b"])
    assert publisher.receive() == [[b"\x01a"]]
    publisher.set("SUBSCRIBE", b"a")
    assert publisher.receive(3) == [[b"user"], [b"user", b"message"], [b"\x02b"]]
    publisher.send([b"a"])
    assert xsub.receive() == [[b"a"]]
    xsub.send([b"more"], [b"\x00a"])
    assert publisher.receive(2) == [[b"more"], [b"\x00a"]]


@manual_modes
@transports
def test_cancellation_can_be_granted_for_another_prefix(make, endpoint, transport, mode):
    publisher, sub = make("XPUB", **{mode: 1}), make("SUB")
    sub.connect(publisher.bind(endpoint(transport)))
    for prefix, granted in ((b"a", b"ax"), (b"b", b"bx")):
        sub.set("SUBSCRIBE", prefix)
        assert publisher.receive() == [[b"\x01" + prefix]]
        publisher.set("SUBSCRIBE", granted)
        publisher.send([granted])
        assert sub.receive() == [[granted]]
    sub.set("SUBSCRIBE", b"")  # its own filter lets everything through
    assert publisher.receive() == [[b"\x01"]]
    sub.set("UNSUBSCRIBE", b"a")
    assert publisher.receive() == [[b"\x00a"]]
    publisher.set("UNSUBSCRIBE", b"ax")
    publisher.send([b"a"], [b"ax"], [b"b"], [b"bx"])
    assert sub.receive() == [[b"bx"]]


class Broker:
    """An XPUB for subscribers and an XSUB towards a publisher, all bound or connected."""

    def __init__(self, make, endpoint, transport: str, **options: int) -> None:
        self.publisher, self.back = make("XPUB"), make("XSUB")
        self.front = make("XPUB", **options)
        self.back.connect(self.publisher.bind(endpoint(transport)))
        self.where = self.front.bind(endpoint(transport))
        self.manual = bool(options)

    def ask(self) -> bytes:
        """Passes the next request on to the publisher, who is told of it."""
        ((request,),) = self.front.receive()
        if self.manual:
            self.front.set("SUBSCRIBE" if request[0] else "UNSUBSCRIBE", request[1:])
        self.back.send([request])
        assert self.publisher.receive() == [[request]]
        return request

    def publish(self, *messages: list[bytes]) -> None:
        """The publisher sends, and the broker passes on what it gets."""
        self.publisher.send(*messages, [b"end"])
        while (message := self.back.receive()[0]) != [b"end"]:
            self.front.send(message)


@transports
def test_subscriptions_go_up_and_messages_come_down_through_a_broker(make, endpoint, transport):
    broker = Broker(make, endpoint, transport)
    broker.back.send([b"\x01end"])
    assert broker.publisher.receive() == [[b"\x01end"]]
    sub = make("SUB")
    sub.connect(broker.where)
    sub.set("SUBSCRIBE", b"news")
    assert broker.ask() == b"\x01news"
    broker.publish([b"other"], [b"news", b"1"])
    assert sub.receive() == [[b"news", b"1"]]
    sub.set("SUBSCRIBE", b"other")
    sub.set("UNSUBSCRIBE", b"news")
    assert [broker.ask(), broker.ask()] == [b"\x01other", b"\x00news"]
    broker.publish([b"news", b"2"], [b"other", b"2"])
    assert sub.receive() == [[b"other", b"2"]]


@manual_modes
@transports
def test_subscriber_that_leaves_is_unsubscribed_through_a_manual_broker(
    make, endpoint, transport, mode
):
    broker = Broker(make, endpoint, transport, **{mode: 1})
    broker.back.send([b"\x01end"])
    assert broker.publisher.receive() == [[b"\x01end"]]
    staying, leaving = make("SUB"), make("SUB")
    for sub, prefix in ((staying, b"A"), (leaving, b"B")):
        sub.set("SUBSCRIBE", prefix)
        sub.connect(broker.where)
        assert broker.ask() == b"\x01" + prefix
        broker.publish([prefix + b" is there"])
        assert sub.receive() == [[prefix + b" is there"]]
    leaving.close()
    assert broker.ask() == b"\x00B"
    broker.publish([b"B for nobody"], [b"A for one"])
    assert staying.receive() == [[b"A for one"]]


# TOPICS_COUNT.


@drafts
@pytest.mark.parametrize("kind", ["PUB", "XPUB"])
@transports
def test_number_of_topics_follows_what_subscribers_want(make, endpoint, transport, kind):
    publisher, sub = make(kind), make("SUB")
    sub.connect(publisher.bind(endpoint(transport)))

    def topics() -> int:
        return publisher.socket.get(zmq.TOPICS_COUNT)

    assert topics() == 0
    for n, prefix in enumerate((b"A", b"AB", b"ABC"), 1):
        sub.set("SUBSCRIBE", prefix)
        sub.set("SUBSCRIBE", prefix)
        eventually(lambda n=n: topics() == n, deadline=3)
    for n, prefix in ((2, b"AB"), (1, b"A"), (0, b"ABC")):
        sub.set("UNSUBSCRIBE", prefix)
        sub.set("UNSUBSCRIBE", prefix)
        eventually(lambda n=n: topics() == n, deadline=3)
