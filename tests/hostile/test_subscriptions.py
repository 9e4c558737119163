"""Rows 2, 9 and 10 of the hostile list: subscribers that subscribe too long, too much, or talk back."""

import contextlib

import pytest
from peers.raw import RawListener, RawPeer, command, frame
from peers.subject import ours, zmq
from peers.waiting import eventually, resident
from peers.watch import Watch, counter

MIB = 1 << 20


def another_subscriber_still_works(pub, where: str) -> None:
    """A new subscriber hears what it asked for."""
    with RawPeer.ready_for(where, b"SUB") as honest:
        honest.send(command(b"SUBSCRIBE", b"honest"))

        def heard() -> bool:
            pub.send([b"honest news"])
            return not honest.is_silent(0.02)

        eventually(heard)
        assert honest.read_message() == [b"honest news"]


@pytest.mark.parametrize("kind", ["PUB", "XPUB"])
@pytest.mark.parametrize("end_with", ["cancel", "disconnect"])
@pytest.mark.parametrize("form", ["command", "message"])
@ours
def test_prefix_of_ten_mebibytes_is_survived(make, kind, end_with, form):
    pub = make(kind)
    where = pub.bind("tcp://127.0.0.1:*")
    before = resident()
    prefix = b"p" * (10 * MIB)
    with RawPeer.ready_for(where, b"SUB") as raw:
        wrap = (
            (lambda first, name: command(name, prefix))
            if form == "command"
            else (lambda first, name: frame(first + prefix))
        )
        try:
            raw.send(wrap(b"\x01", b"SUBSCRIBE"))
            if end_with == "cancel":
                raw.send(wrap(b"\x00", b"CANCEL"))
        except ConnectionError:
            pass  # refused for its length, which is an answer
        another_subscriber_still_works(pub, where)
    another_subscriber_still_works(pub, where)
    assert resident() - before < 200 * MIB


@ours
@pytest.mark.timeout(120)
def test_subscription_bytes_of_one_peer_are_limited(make):
    """200 MiB of prefixes from one peer do not become 200 MiB (or more) of index."""
    pub = make("PUB")
    where = pub.bind("tcp://127.0.0.1:*")
    before = resident()
    with RawPeer.ready_for(where, b"SUB") as raw:
        for n in range(100):
            piece = b"".join(
                command(b"SUBSCRIBE", b"%08d" % (n * 200 + k) + b"s" * 10_000) for k in range(200)
            )
            try:
                raw.send(piece)
            except (ConnectionError, TimeoutError):
                break
            pub.send([b"so that the publisher looks at its subscriptions"])
        another_subscriber_still_works(pub, where)
    assert resident() - before < 150 * MIB


@ours
@pytest.mark.timeout(120)
def test_publisher_that_was_subscribed_to_too_much_connects_again(make):
    """The connection is closed, and the endpoint lives on."""
    pub = make("PUB", RECONNECT_IVL=10)
    with RawListener() as listener:
        pub.connect(listener.endpoint)
        with listener.accept() as greedy:
            greedy.handshake(b"SUB")
            eventually(lambda: pub.socket.statistics()["peers"] == 1)
            pieces = (
                b"".join(
                    command(b"SUBSCRIBE", b"%d/%d/" % (n, m) + b"p" * 1000) for m in range(1000)
                )
                for n in range(200)
            )
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    greedy.send(piece)
                    pub.send([b"news"])
            eventually(lambda: pub.send([b"news"]) or pub.socket.statistics()["peers"] == 0)
        with listener.accept() as honest:
            honest.handshake(b"SUB")
            honest.send(command(b"SUBSCRIBE", b"honest"))

            def heard() -> bool:
                pub.send([b"honest news"])
                return not honest.is_silent(0.02)

            eventually(heard)


@ours
@pytest.mark.timeout(120)
@pytest.mark.parametrize("verbose", [0, 1])
def test_flood_of_subscriptions_to_an_unread_xpub_is_held_back(make, verbose):
    pub = make("XPUB", XPUB_VERBOSE=verbose)
    with Watch(pub.socket) as watch:
        where = pub.bind("tcp://127.0.0.1:*")
        before = resident()
        with RawPeer.ready_for(where, b"SUB") as raw:
            number = 0
            total = 0
            raw.socket.settimeout(1)
            try:
                while total < 100 * MIB:
                    piece = b"".join(
                        command(b"SUBSCRIBE", b"%032d" % (number + k)) for k in range(1000)
                    )
                    number += 1000
                    raw.send(piece)
                    total += len(piece)
            except (TimeoutError, ConnectionError):
                pass
            assert total < 100 * MIB, "two million notices were queued"
            assert resident() - before < 100 * MIB
            assert pub.receive()[0][0].startswith(b"\x01")
        assert watch.count(zmq.EVENT_ACCEPTED) == 1


@pytest.mark.timeout(120)
@pytest.mark.parametrize("application", ["sends", "sleeps"])
def test_user_messages_to_a_pub_are_thrown_away(make, application):
    pub = make("PUB")
    where = pub.bind("tcp://127.0.0.1:*")
    with RawPeer.ready_for(where, b"SUB") as raw:
        raw.send(command(b"SUBSCRIBE", b"a"))
        raw.send_until_closed(frame(b"user message " * 50) * 100, 4 * MIB, seconds=2)
        before = resident()
        for _ in range(3):
            raw.send_until_closed(frame(b"user message " * 50) * 100, 10 * MIB, seconds=2)
            if application == "sends":
                pub.send([b"zzz nobody wants this"])
        assert resident() - before < 32 * MIB
    another_subscriber_still_works(pub, where)


@ours
def test_user_messages_to_a_pub_are_counted(make):
    pub = make("PUB")
    where = pub.bind("tcp://127.0.0.1:*")
    with RawPeer.ready_for(where, b"SUB") as raw:
        for _ in range(10):
            raw.send_message(b"user message")
        raw.send(command(b"SUBSCRIBE", b""))

        def heard() -> bool:
            pub.send([b"x"])
            return not raw.is_silent(0.02)

        eventually(heard)
        eventually(lambda: counter(pub.socket, "dropped_unexpected") >= 10)


def test_cancel_of_something_never_subscribed_is_harmless(make):
    pub = make("PUB")
    where = pub.bind("tcp://127.0.0.1:*")
    with RawPeer.ready_for(where, b"SUB") as raw:
        for n in range(1000):
            raw.send(command(b"CANCEL", b"never %d" % n))
        another_subscriber_still_works(pub, where)


def test_same_prefix_a_thousand_times_is_kept_once(make):
    pub = make("XPUB")
    where = pub.bind("tcp://127.0.0.1:*")
    with RawPeer.ready_for(where, b"SUB") as raw:
        for _ in range(1000):
            raw.send(command(b"SUBSCRIBE", b"same"))
        raw.send(command(b"CANCEL", b"same") + command(b"SUBSCRIBE", b"end"))
        assert pub.receive(3) == [[b"\x01same"], [b"\x00same"], [b"\x01end"]]
        pub.send([b"same"], [b"end"])
        assert raw.read_message() == [b"end"]


@pytest.mark.timeout(120)
def test_deep_prefixes_need_no_deep_stack(make):
    """Prefixes that each extend the last one: an index that recurses would go 5000 levels down."""
    pub = make("PUB")
    where = pub.bind("tcp://127.0.0.1:*")
    with RawPeer.ready_for(where, b"SUB") as raw:
        text = bytes(range(1, 251)) * 20
        for n in range(0, len(text), 10):
            raw.send(command(b"SUBSCRIBE", text[:n]))

        def heard() -> bool:
            pub.send([text])
            return not raw.is_silent(0.05)

        eventually(heard)
    another_subscriber_still_works(pub, where)
