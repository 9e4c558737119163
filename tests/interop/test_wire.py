"""The bytes on the wire, read by a raw peer: greeting, READY, frames, commands; and older revisions of ZMTP."""

import pytest
from peers.filler import filler
from peers.raw import (
    COMMAND,
    LONG,
    MORE,
    SIGNATURE,
    RawListener,
    RawPeer,
    command,
    frame,
    greeting,
    header,
    ready,
)
from peers.subject import is_ours, ours, zmq

COMPATIBLE = {
    "PAIR": b"PAIR", "PUB": b"SUB", "SUB": b"PUB", "REQ": b"REP", "REP": b"REQ", "DEALER": b"ROUTER",
    "ROUTER": b"DEALER", "PULL": b"PUSH", "PUSH": b"PULL", "XPUB": b"XSUB", "XSUB": b"XPUB",
}  # fmt: skip


def properties(body: bytes) -> dict[bytes, bytes]:
    """A metadata list taken apart."""
    found = {}
    while body:
        name, body = body[1 : 1 + body[0]], body[1 + body[0] :]
        size = int.from_bytes(body[:4], "big")
        found[name], body = body[4 : 4 + size], body[4 + size :]
    return found


@pytest.mark.parametrize("kind", COMPATIBLE)
def test_greeting_and_ready_are_those_of_the_rfc(make, kind):
    end = make(kind)
    with RawPeer.connect(end.bind("tcp://127.0.0.1:*")) as raw:
        raw.send(greeting())
        got = raw.read_exactly(64)
        assert got[0] == 0xFF and got[9] == 0x7F
        assert got[10] == 3 and got[11] in (0, 1)
        assert got[12:32] == b"NULL".ljust(20, b"\0")
        assert got[32:] == bytes(32), "with NULL as-server must be zero, and so must the filler"
        raw.send(ready(COMPATIBLE[kind]))
        answer = raw.read_frame()
        assert answer.flags == COMMAND and answer.command == b"READY"
        assert properties(answer.data)[b"Socket-Type"] == kind.encode()


def test_identity_is_announced(make):
    dealer = make("DEALER", ROUTING_ID=b"me")
    with RawListener() as server:
        dealer.connect(server.endpoint)
        with server.accept() as raw:
            assert properties(raw.handshake(b"ROUTER").data)[b"Identity"] == b"me"


def test_frames_are_short_up_to_255_bytes_and_long_above(make):
    push = make("PUSH")
    with RawPeer.ready_for(push.bind("tcp://127.0.0.1:*"), b"PULL") as raw:
        push.send([b"", filler(255, 1), filler(256, 2)])
        first, second, third = (raw.read_frame() for _ in range(3))
        assert (first.flags, first.body) == (MORE, b"")
        assert (second.flags, second.body) == (MORE, filler(255, 1))
        assert (third.flags, third.body) == (LONG, filler(256, 2))


def test_long_form_of_a_short_frame_is_understood(make):
    pull = make("PULL")
    with RawPeer.ready_for(pull.bind("tcp://127.0.0.1:*"), b"PUSH") as raw:
        raw.send(frame(b"a", more=True, long=True) + frame(b"", long=True))
        assert pull.receive() == [[b"a", b""]]


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 63, 64, 65])
def test_bytes_may_be_cut_anywhere(make, piece):
    pull = make("PULL")
    with RawPeer.connect(pull.bind("tcp://127.0.0.1:*")) as raw:
        introduction = greeting() + ready(b"PUSH")
        messages = frame(b"one", more=True) + frame(filler(300, 5)) + frame(b"")
        for stream in (introduction, messages):
            for begin in range(0, len(stream), piece):
                raw.send(stream[begin : begin + piece])
            if stream is introduction:
                raw.read_exactly(64)
                assert raw.read_frame().command == b"READY"
        assert pull.receive(2) == [[b"one", filler(300, 5)], [b""]]


def test_subscription_to_a_3_1_peer_is_a_command(make):
    sub = make("SUB")
    with RawListener() as server:
        sub.connect(server.endpoint)
        with server.accept() as raw:
            raw.handshake(b"PUB")
            sub.set("SUBSCRIBE", b"topic")
            sub.poll(0)
            assert is_subscription(raw, b"SUBSCRIBE", b"\x01", b"topic")
            sub.set("UNSUBSCRIBE", b"topic")
            sub.poll(0)
            assert is_subscription(raw, b"CANCEL", b"\x00", b"topic")
            raw.send_message(b"topic is no longer wanted")
            sub.set("SUBSCRIBE", b"last")
            sub.poll(0)
            assert is_subscription(raw, b"SUBSCRIBE", b"\x01", b"last")
            raw.send_message(b"last")
            assert sub.receive() == [[b"last"]]


def is_subscription(raw, name: bytes, old: bytes, prefix: bytes) -> bool:
    """Whether the next frame asks for that, as a command (3.1) or as a message (3.0, and what libzmq may do)."""
    got = raw.read_frame()
    return (got.command == name and got.data == prefix) or (
        not got.command and got.body == old + prefix
    )


@pytest.mark.parametrize("form", ["command", "message"])
def test_publisher_understands_both_forms_of_subscription(make, form):
    pub = make("XPUB")
    with RawPeer.ready_for(pub.bind("tcp://127.0.0.1:*"), b"SUB") as raw:
        raw.send(command(b"SUBSCRIBE", b"a") if form == "command" else frame(b"\x01a"))
        assert pub.receive() == [[b"\x01a"]]
        pub.send([b"b"], [b"a", b"1"])
        assert raw.read_message() == [b"a", b"1"], "filtering is the publisher's work"
        raw.send(command(b"CANCEL", b"a") if form == "command" else frame(b"\x00a"))
        assert pub.receive() == [[b"\x00a"]]
        pub.send([b"a", b"2"])
        raw.send(command(b"SUBSCRIBE", b"end"))
        assert pub.receive() == [[b"\x01end"]]
        pub.send([b"end"])
        assert raw.read_message() == [b"end"]


@pytest.mark.parametrize("prefix", [0, 1, 244, 245, 246, 254, 255, 256, 1000])
def test_prefix_of_any_length_reaches_a_3_0_publisher_intact(make, prefix):
    if not is_ours and prefix == 255:
        pytest.skip("libzmq frames a prefix of 255 bytes wrongly for 3.0 peers")
    sub = make("SUB")
    with RawListener() as server:
        sub.connect(server.endpoint)
        with server.accept() as raw:
            raw.handshake(b"PUB", minor=0)
            sub.set("SUBSCRIBE", filler(prefix, 3))
            sub.poll(0)
            got = raw.read_frame()
            assert got.command is None and got.body == b"\x01" + filler(prefix, 3)
            raw.send_message(filler(prefix, 3) + b"!")
            assert sub.receive() == [[filler(prefix, 3) + b"!"]]


def test_peer_of_zmtp_2_0_is_understood(make):
    """Greeting of 12 bytes (revision 1, socket type), then the identity as a message; no READY, no commands."""
    router = make("ROUTER")
    with RawPeer.connect(router.bind("tcp://127.0.0.1:*")) as raw:
        raw.send(SIGNATURE + b"\x01" + b"\x05")
        assert raw.read_exactly(10)[0] == 0xFF
        assert raw.read_exactly(1) >= b"\x01"
        assert raw.read_exactly(1) == b"\x06", (
            "a 2.0 greeting ends with the socket type: ROUTER is 6"
        )
        raw.send(frame(b"old friend"))
        assert raw.read_frame().body == b""
        raw.send_message(b"hello", b"there")
        assert router.receive() == [[b"old friend", b"hello", b"there"]]
        router.send([b"old friend", b"welcome"])
        assert raw.read_message() == [b"welcome"]


def test_publisher_serves_a_2_0_subscriber(make):
    pub = make("XPUB")
    with RawPeer.connect(pub.bind("tcp://127.0.0.1:*")) as raw:
        raw.send(SIGNATURE + b"\x01" + b"\x02" + frame(b""))
        raw.read_exactly(12)
        raw.read_frame()
        raw.send(frame(b"\x01a"))
        assert pub.receive() == [[b"\x01a"]]
        pub.send([b"b"], [b"a"])
        assert raw.read_message() == [b"a"]


@pytest.mark.parametrize("major, minor", [(3, 0), (3, 1), (3, 2), (3, 200), (4, 0), (255, 255)])
def test_newer_peers_are_spoken_to_as_3_x(make, major, minor):
    pull = make("PULL")
    with RawPeer.connect(pull.bind("tcp://127.0.0.1:*")) as raw:
        raw.send(greeting(major, minor) + ready(b"PUSH"))
        raw.read_exactly(64)
        assert raw.read_frame().command == b"READY"
        raw.send_message(b"hello")
        assert pull.receive() == [[b"hello"]]


def test_property_names_are_compared_without_case(make):
    if not is_ours:
        pytest.skip("libzmq compares them exactly")
    router = make("ROUTER")
    with RawPeer.connect(router.bind("tcp://127.0.0.1:*")) as raw:
        body = b"\x0bsocket-TYPE\0\0\0\6DEALER" + b"\x08IDENTITY\0\0\0\2me"
        raw.send(greeting() + command(b"READY", body))
        raw.read_exactly(64)
        raw.read_frame()
        raw.send_message(b"hello")
        assert router.receive() == [[b"me", b"hello"]]


@ours
@pytest.mark.parametrize("revision", [0, 2])
def test_other_revisions_are_refused(make, revision):
    pull = make("PULL", HANDSHAKE_IVL=500)
    with RawPeer.connect(pull.bind("tcp://127.0.0.1:*")) as raw:
        raw.send(SIGNATURE + bytes([revision]) + b"\x08" + frame(b"") + frame(b"hello"))
        assert raw.is_closed()
    assert pull.receive_now() is None


def test_unknown_command_after_the_handshake_is_ignored(make):
    pull = make("PULL")
    with RawPeer.ready_for(pull.bind("tcp://127.0.0.1:*"), b"PUSH") as raw:
        raw.send(command(b"FUTURE", b"whatever") + frame(b"data"))
        assert pull.receive() == [[b"data"]]


def test_frame_over_maxmsgsize_ends_the_connection(make):
    pull = make("PULL", MAXMSGSIZE=1000)
    with RawPeer.ready_for(pull.bind("tcp://127.0.0.1:*"), b"PUSH") as raw:
        raw.send(frame(filler(1000, 1)))
        assert pull.receive() == [[filler(1000, 1)]]
        raw.send(header(1001))
        assert raw.is_closed()


def test_metadata_of_the_peer_can_be_read_on_the_message(make):
    router = make("ROUTER")
    with RawPeer.connect(router.bind("tcp://127.0.0.1:*")) as raw:
        raw.send(greeting() + ready(b"DEALER", b"me", **{"X-Colour": b"blue"}))
        raw.read_exactly(64)
        raw.read_frame()
        raw.send_message(b"hello")
        received = router.socket.recv(copy=False)
        assert received.get("Socket-Type") == "DEALER"
        assert received.get("Peer-Address") == "127.0.0.1"
        assert received.get("X-Colour") == "blue"
        with pytest.raises(zmq.ZMQError):
            received.get("X-Unknown")
