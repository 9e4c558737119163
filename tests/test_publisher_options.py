"""Options of publishers: manual subscriptions, welcome messages, who hears of what."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest
from peers.subject import drafts

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))
OURS = zmq.__name__ == "mqcore"


@pytest.fixture(params=["inproc", "tcp://127.0.0.1:*", "ipc://*"])
def endpoint(request: pytest.FixtureRequest) -> Any:
    return "inproc://publisher" if request.param == "inproc" else request.param


def subscriber(sockets: Any, publisher: Any, *prefixes: bytes) -> Any:
    socket = sockets(zmq.SUB)
    for prefix in prefixes:
        socket.subscribe(prefix)
    socket.connect(publisher.last_endpoint)
    return socket


@pytest.fixture
def manual(sockets: Any, endpoint: str) -> Any:
    publisher = sockets(zmq.XPUB)
    publisher.setsockopt(zmq.XPUB_MANUAL, 1)
    publisher.bind(endpoint)
    return publisher


def test_manual_subscription_is_the_one_that_the_application_makes(
    sockets: Any, manual: Any
) -> None:
    peer = subscriber(sockets, manual, b"a", b"b")
    asked = {manual.recv(): b"a", manual.recv(): b"b"}
    assert set(asked) == {b"\1a", b"\1b"}
    manual.setsockopt(zmq.SUBSCRIBE, b"b")  # for the peer of the last notification
    manual.send(b"a")
    manual.send(b"b")
    assert peer.recv() == b"b"


def test_manual_subscription_is_undone_by_the_application_only(sockets: Any, manual: Any) -> None:
    peer = subscriber(sockets, manual, b"a")
    assert manual.recv() == b"\1a"
    manual.setsockopt(zmq.SUBSCRIBE, b"a")
    other = subscriber(sockets, manual, b"other")
    assert manual.recv() == b"\1other"
    manual.setsockopt(zmq.SUBSCRIBE, b"")
    manual.send(b"a1")
    assert peer.recv() == b"a1"
    peer.unsubscribe(b"a")
    assert manual.recv() == b"\0a"
    manual.setsockopt(zmq.UNSUBSCRIBE, b"a")
    manual.send(b"a2")
    manual.send(b"other")
    assert other.recv() == b"other"


def test_decision_goes_to_each_peer_by_itself(sockets: Any, manual: Any) -> None:
    peers = []
    for number in range(3):
        peers.append(subscriber(sockets, manual, b"all", b"%d" % number))
        assert {manual.recv(), manual.recv()} == {b"\1all", b"\1%d" % number}
        manual.setsockopt(zmq.SUBSCRIBE, b"%d" % number)
    for number in range(3):
        manual.send(b"%d" % number)
    for number, peer in enumerate(peers):
        assert peer.recv() == b"%d" % number


def test_manual_application_hears_of_what_a_leaving_peer_had_asked_for(
    sockets: Any, manual: Any
) -> None:
    peer = subscriber(sockets, manual, b"a")
    assert manual.recv() == b"\1a"
    peer.close(linger=0)
    assert manual.recv() == b"\0a"
    manual.setsockopt(zmq.UNSUBSCRIBE, b"a")  # as for any other; there is nobody to whom it matters


def test_decision_that_nobody_asked_for_changes_nothing(sockets: Any, manual: Any) -> None:
    manual.setsockopt(zmq.SUBSCRIBE, b"")
    peer = subscriber(sockets, manual, b"a", b"b")
    assert {manual.recv(), manual.recv()} == {b"\1a", b"\1b"}
    manual.send(b"a")
    manual.setsockopt(zmq.SUBSCRIBE, b"b")
    manual.send(b"b")
    assert peer.recv() == b"b"


def test_nothing_to_decide_without_manual_mode(sockets: Any) -> None:
    publisher = sockets(zmq.XPUB)
    with pytest.raises(zmq.ZMQError) as caught:
        publisher.setsockopt(zmq.SUBSCRIBE, b"a")
    assert caught.value.errno == zmq.EINVAL
    if OURS:
        assert "XPUB_MANUAL" in str(caught.value)


@drafts
def test_last_value_goes_to_the_new_peer_alone(sockets: Any, endpoint: str) -> None:
    publisher = sockets(zmq.XPUB)
    publisher.setsockopt(zmq.XPUB_MANUAL_LAST_VALUE, 1)
    publisher.bind(endpoint)
    peers = []
    for number in range(2):
        peers.append(subscriber(sockets, publisher, b"a"))
        assert publisher.recv() == b"\1a"
        publisher.setsockopt(zmq.SUBSCRIBE, b"a")
        publisher.send(b"a: the last value, for %d" % number)
    publisher.send(b"a: news")
    for number, peer in enumerate(peers):
        assert peer.recv() == b"a: the last value, for %d" % number
        assert peer.recv() == b"a: news"


def test_new_subscriber_is_welcomed(sockets: Any, endpoint: str) -> None:
    publisher = sockets(zmq.XPUB)
    publisher.setsockopt(zmq.XPUB_WELCOME_MSG, b"welcome")
    publisher.bind(endpoint)
    peer = subscriber(sockets, publisher, b"wel")
    assert publisher.recv() == b"\1wel"
    assert peer.recv() == b"welcome"
    publisher.setsockopt(zmq.XPUB_WELCOME_MSG, b"")
    later = subscriber(sockets, publisher, b"")
    while publisher.recv() != b"\1":
        pass
    publisher.send(b"no welcome before this")
    assert later.recv() == b"no welcome before this"


@drafts
def test_only_the_first_frame_makes_a_message_a_subscription(sockets: Any, endpoint: str) -> None:
    publisher = sockets(zmq.XPUB)
    publisher.setsockopt(zmq.ONLY_FIRST_SUBSCRIBE, 1)
    publisher.bind(endpoint)
    peer = sockets(zmq.XSUB)
    peer.setsockopt(zmq.ONLY_FIRST_SUBSCRIBE, 1)
    peer.connect(publisher.last_endpoint)
    peer.send_multipart([b"user", b"\1a"])
    assert publisher.recv_multipart() == [b"user", b"\1a"]
    peer.send(b"\1b")
    assert publisher.recv_multipart() == [b"\1b"]
    publisher.send(b"a")
    publisher.send(b"b")
    assert peer.recv() == b"b"


@drafts
def test_every_cancellation_is_forwarded_if_wanted(sockets: Any, endpoint: str) -> None:
    publisher = sockets(zmq.XPUB)
    publisher.setsockopt(zmq.XPUB_VERBOSER, 1)
    publisher.bind(endpoint)
    peer = sockets(zmq.XSUB)
    peer.setsockopt(zmq.XSUB_VERBOSE_UNSUBSCRIBE, 1)
    peer.connect(publisher.last_endpoint)
    for message in (b"\1a", b"\1a", b"\0a", b"\0a"):
        peer.send(message)
    assert [publisher.recv() for _ in range(4)] == [b"\1a", b"\1a", b"\0a", b"\0a"]


@pytest.mark.skipif(not OURS, reason="pyzmq's PUB accepts these, and then never sends anything")
@pytest.mark.parametrize("option", ["XPUB_MANUAL", "XPUB_WELCOME_MSG", "ONLY_FIRST_SUBSCRIBE"])
def test_options_of_xpub_are_none_of_pub(sockets: Any, option: str) -> None:
    publisher = sockets(zmq.PUB)
    value = b"x" if option.endswith("MSG") else 1
    with pytest.raises(zmq.ZMQError) as caught:
        publisher.setsockopt(getattr(zmq, option), value)
    assert caught.value.errno == zmq.EINVAL
