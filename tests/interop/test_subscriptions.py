"""Publish-subscribe with a peer in another process: filters, unsubscribing, and the notices an XPUB reads."""

import pytest
from peers.waiting import A_WHILE, eventually

pytestmark = pytest.mark.parametrize("transport", ["tcp", "ipc"])
SIDES = pytest.mark.parametrize("publisher_is", ["ours", "theirs"])


@pytest.fixture
def ends(make, peer, endpoint, transport):
    """Makes a connected publisher and subscriber; those of the peer are closed afterwards."""
    remote = []

    def connect(publisher_is: str, publisher: str = "XPUB", subscriber: str = "SUB", **options):
        here = publisher_is == "ours"
        out = make(publisher, **options) if here else peer.socket(publisher, **options)
        into = peer.socket(subscriber) if here else make(subscriber)
        remote.append(into if here else out)
        into.connect(out.bind(endpoint(transport)))
        return out, into

    yield connect
    for end in remote:
        end.close()


@SIDES
def test_only_matching_messages_arrive(ends, publisher_is):
    out, into = ends(publisher_is)
    into.set("SUBSCRIBE", b"a")
    into.set("SUBSCRIBE", b"bb")
    assert [out.receive()[0], out.receive()[0]] == [[b"\x01a"], [b"\x01bb"]]
    out.send([b"a"], [b"b"], [b"ab", b"tail"], [b""], [b"bbb"], [b"c", b"a"], [b"A"], [b"a\0"])
    assert into.receive(4) == [[b"a"], [b"ab", b"tail"], [b"bbb"], [b"a\0"]]


@SIDES
def test_unsubscribed_prefix_stops(ends, publisher_is):
    out, into = ends(publisher_is)
    into.set("SUBSCRIBE", b"a")
    into.set("SUBSCRIBE", b"z")
    out.receive(2)
    into.set("UNSUBSCRIBE", b"a")
    assert out.receive() == [[b"\x00a"]]
    out.send([b"a"], [b"z"])
    assert into.receive() == [[b"z"]]


@SIDES
def test_twice_subscribed_needs_two_unsubscribes(ends, publisher_is):
    out, into = ends(publisher_is)
    into.set("SUBSCRIBE", b"a")
    into.set("SUBSCRIBE", b"a")
    assert out.receive() == [[b"\x01a"]]
    into.set("UNSUBSCRIBE", b"a")
    into.set("SUBSCRIBE", b"b")
    assert out.receive() == [[b"\x01b"]], "the first unsubscribe must not go upstream"
    out.send([b"a"])
    assert into.receive() == [[b"a"]]
    into.set("UNSUBSCRIBE", b"a")
    assert out.receive() == [[b"\x00a"]]


@SIDES
def test_verbose_publisher_sees_every_subscribe(ends, publisher_is):
    out, into = ends(publisher_is, XPUB_VERBOSE=1)
    for _ in range(3):
        into.set("SUBSCRIBE", b"a")
    assert out.receive(3) == [[b"\x01a"]] * 3


@SIDES
def test_overlapping_prefixes_deliver_once(ends, publisher_is):
    out, into = ends(publisher_is)
    for prefix in (b"", b"a", b"ab"):
        into.set("SUBSCRIBE", prefix)
    out.receive(3)
    out.send([b"abc"], [b"end"])
    assert into.receive(2) == [[b"abc"], [b"end"]]


@SIDES
def test_subscriber_that_leaves_is_reported_as_unsubscribe(
    ends, make, peer, publisher_is, endpoint, transport
):
    out, into = ends(publisher_is)
    into.set("SUBSCRIBE", b"first")
    assert out.receive() == [[b"\x01first"]]
    second = (
        peer.socket("SUB", SUBSCRIBE=b"second")
        if publisher_is == "ours"
        else make("SUB", SUBSCRIBE=b"second")
    )
    where = out.bind(endpoint(transport))
    second.connect(where)
    assert out.receive() == [[b"\x01second"]]
    second.close()
    assert out.receive() == [[b"\x00second"]]


@SIDES
def test_xsub_subscribes_with_messages(ends, publisher_is):
    out, into = ends(publisher_is, subscriber="XSUB")
    into.send([b"\x01topic"])
    assert out.receive() == [[b"\x01topic"]]
    out.send([b"other"], [b"topic 1"])
    assert into.receive() == [[b"topic 1"]]
    into.send([b"\x00topic"], [b"\x01end"])
    assert out.receive(2) == [[b"\x00topic"], [b"\x01end"]]
    out.send([b"topic 2"], [b"end"])
    assert into.receive() == [[b"end"]]


@SIDES
def test_xsub_user_message_reaches_the_xpub(ends, publisher_is):
    out, into = ends(publisher_is, subscriber="XSUB")
    into.send([b"\x01"])
    into.send([b"upstream"], [b"up", b"stream"])
    assert out.receive(3) == [[b"\x01"], [b"upstream"], [b"up", b"stream"]]


@SIDES
def test_subscriptions_made_before_connecting_are_sent(
    make, peer, endpoint, transport, publisher_is
):
    here = publisher_is == "ours"
    out = make("XPUB") if here else peer.socket("XPUB")
    into = peer.socket("SUB") if here else make("SUB")
    for n in range(50):
        into.set("SUBSCRIBE", b"%02d" % n)
    into.connect(out.bind(endpoint(transport)))
    assert sorted(frame for (frame,) in out.receive(50)) == [b"\x01%02d" % n for n in range(50)]
    (into if here else out).close()


@SIDES
def test_one_subscriber_of_many_publishers_hears_all(make, peer, endpoint, transport, publisher_is):
    here = publisher_is == "ours"
    into = peer.socket("SUB", SUBSCRIBE=b"") if here else make("SUB", SUBSCRIBE=b"")
    where = into.bind(endpoint(transport))
    outs = [make("XPUB") if here else peer.socket("XPUB") for _ in range(5)]
    for out in outs:
        out.connect(where)
        # A subscriber that binds learns of the publisher when its own thread calls it.
        eventually(lambda out=out: into.poll(0) < 0 or out.receive_now() == [b"\x01"])
    for n, out in enumerate(outs):
        out.send([b"%d" % n])
    assert sorted(frame for (frame,) in into.receive(5)) == [b"0", b"1", b"2", b"3", b"4"]
    for end in [into] if here else outs:
        end.close()


@SIDES
def test_pub_delivers_to_each_subscriber_its_own(make, peer, endpoint, transport, publisher_is):
    here = publisher_is == "ours"
    out = make("PUB") if here else peer.socket("PUB")
    where = out.bind(endpoint(transport))
    intos = [peer.socket("SUB") if here else make("SUB") for _ in range(3)]
    for n, into in enumerate(intos):
        into.set("SUBSCRIBE", b"%d" % n)
        into.connect(where)

        def arrives(n=n, into=into) -> bool:
            out.send([b"%d" % n, b"probe"])
            return into.poll(0.02)

        eventually(arrives)
    out.send(*[[b"%d" % n, b"end"] for n in range(3)])
    for n, into in enumerate(intos):
        while True:
            (got,) = into.receive()
            assert got[0] == b"%d" % n
            if got[1] == b"end":
                break
        assert not into.poll(A_WHILE / 10)
    for end in intos if here else [out]:
        end.close()
