"""Properties that hold for any input, tried with generated ones."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))

# Long parts as a few bytes and how often: data of that size would be all that the generator does.
long_part = st.builds(
    lambda text, length: text * length, st.binary(min_size=1, max_size=3), st.integers(0, 9_000)
)
parts = st.lists(st.binary(max_size=70) | long_part, min_size=1, max_size=6)
quick = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="module", params=["inproc", "ipc", "tcp"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def ends(transport: str) -> Iterator[tuple[Any, Any]]:
    """A DEALER connected to a ROUTER."""
    context = zmq.Context()
    router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    for socket in (router, dealer):
        socket.rcvtimeo = socket.sndtimeo = 20_000
    router.bind(
        {"inproc": "inproc://property", "ipc": "ipc://*", "tcp": "tcp://127.0.0.1:*"}[transport]
    )
    dealer.connect(router.get(zmq.LAST_ENDPOINT).decode())
    yield router, dealer
    router.close(linger=0)
    dealer.close(linger=0)
    context.term()


@quick
@given(messages=st.lists(parts, min_size=1, max_size=5))
def test_any_messages_arrive_whole_and_in_order_and_so_do_the_answers(
    ends: tuple[Any, Any], messages: list[list[bytes]]
) -> None:
    router, dealer = ends
    for message in messages:
        dealer.send_multipart(message)
    for message in messages:
        identity, *received = router.recv_multipart()
        assert received == message
        router.send_multipart([identity, *message])
    for message in messages:
        assert dealer.recv_multipart() == message


@quick
@given(message=parts)
def test_any_message_may_be_sent_and_received_part_by_part(
    ends: tuple[Any, Any], message: list[bytes]
) -> None:
    router, dealer = ends
    for index, part in enumerate(message):
        dealer.send(part, zmq.SNDMORE if index < len(message) - 1 else 0)
    router.recv()
    received = []
    while router.get(zmq.RCVMORE):
        received.append(router.recv())
    assert received == message


@quick
@given(
    subscriptions=st.lists(st.binary(max_size=3), max_size=4),
    topics=st.lists(st.binary(min_size=1, max_size=4), min_size=1, max_size=8),
)
def test_subscriber_gets_exactly_what_begins_with_one_of_its_prefixes(
    subscriptions: list[bytes], topics: list[bytes]
) -> None:
    last = b"\xff the end"
    with zmq.Context() as context, context.socket(zmq.XPUB) as xpub, context.socket(zmq.SUB) as sub:
        xpub.rcvtimeo = sub.rcvtimeo = 20_000
        xpub.bind("inproc://topics")
        sub.connect("inproc://topics")
        for prefix in [*subscriptions, last]:
            sub.subscribe(prefix)
        while xpub.recv() != b"\x01" + last:
            pass
        for topic in [*topics, last]:
            xpub.send(topic)
        received = []
        while not received or received[-1] != last:
            received.append(sub.recv())
    wanted = [
        topic for topic in topics if any(topic.startswith(prefix) for prefix in subscriptions)
    ]
    assert received == [*wanted, last]
