"""Rows 5 to 8, 15 and 16 of the hostile list: frames and commands that are wrong, endless or huge."""

import struct

import pytest
from peers.raw import (
    COMMAND,
    LONG,
    MORE,
    Closed,
    RawPeer,
    command,
    frame,
    greeting,
    header,
    ping,
    ready,
)
from peers.subject import is_ours, ours, zmq
from peers.waiting import A_WHILE, eventually, reserved, resident
from peers.watch import Watch, blames_the_peer, counter

MIB = 1 << 20


@pytest.fixture
def pull(make):
    """A PULL with its monitor and address."""
    end = make("PULL")
    with Watch(end.socket) as watch:
        yield end, watch, end.bind("tcp://127.0.0.1:*")


def another_peer_still_works(end, where: str) -> None:
    with RawPeer.ready_for(where, b"PUSH") as honest:
        honest.send_message(b"honest", b"work")
        assert end.receive() == [[b"honest", b"work"]]


def is_refused(end, watch, where: str, wrong: bytes, socket_type: bytes = b"PUSH") -> None:
    """The connection that says this is closed, the reason is told, and others go on."""
    with RawPeer.ready_for(where, socket_type) as raw:
        raw.send(wrong)
        assert raw.is_closed()
    watch.wait(zmq.EVENT_DISCONNECTED, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
    blames_the_peer(end.socket, watch)


# Rows 5 and 6: PING


@ours
@pytest.mark.parametrize("body", [b"", b"\0"])
def test_ping_without_its_ttl_is_refused(pull, body):
    end, watch, where = pull
    is_refused(end, watch, where, command(b"PING", body))
    another_peer_still_works(end, where)


@ours
@pytest.mark.parametrize("length", [17, 18, 100, 246, 247, 1000])
def test_ping_with_too_much_context_is_refused(pull, length):
    end, watch, where = pull
    is_refused(end, watch, where, ping(0, b"c" * length))
    another_peer_still_works(end, where)


@ours
@pytest.mark.parametrize("body", [b"", b"\0"])
def test_pong_never_carries_stale_bytes(pull, body):
    end, watch, where = pull
    with RawPeer.ready_for(where, b"PUSH") as raw:
        raw.send(command(b"PING", body))
        assert b"PONG" not in raw.rest()


@pytest.mark.parametrize("ttl", [1 << n for n in range(4, 16)] + [655, 656, 657, 0x7FFF, 0xFFFF])
def test_no_ttl_closes_early(pull, ttl):
    end, watch, where = pull
    if not is_ours and ttl >= 656:
        pytest.skip("libzmq wraps the TTL at 16 bits")
    with RawPeer.ready_for(where, b"PUSH") as raw:
        raw.send(ping(ttl, b"x"))
        assert raw.read_command(b"PONG").data == b"x"
        assert raw.is_silent(A_WHILE)
        raw.send_message(b"alive")
        assert end.receive() == [[b"alive"]]


# Row 7: messages without an end


@ours
@pytest.mark.timeout(120)
def test_endless_message_of_empty_frames_is_cut_off(pull):
    end, watch, where = pull
    before = resident()
    with RawPeer.ready_for(where, b"PUSH") as raw:
        sent = raw.send_until_closed(frame(b"", more=True) * 50_000, 64 * MIB)
        assert sent < 64 * MIB, "32 million frames of one message were taken"
        assert raw.is_closed()
    blames_the_peer(end.socket, watch)
    assert resident() - before < 256 * MIB
    assert end.receive_now() is None
    another_peer_still_works(end, where)


@ours
@pytest.mark.timeout(120)
def test_endless_message_of_large_frames_is_cut_off_where_a_limit_is_set(make):
    end = make("PULL", MAXMSGSIZE=4 * MIB)
    where = end.bind("tcp://127.0.0.1:*")
    before = resident()
    with RawPeer.ready_for(where, b"PUSH") as raw:
        sent = raw.send_until_closed(frame(b"x" * MIB, more=True), 2048 * MIB)
        assert sent < 2048 * MIB
        assert raw.is_closed()
    assert resident() - before < 1200 * MIB
    another_peer_still_works(end, where)


# Row 8: headers that promise too much


@pytest.mark.parametrize("length", [1 << 32, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
@ours
def test_header_alone_costs_no_memory(pull, length):
    end, watch, where = pull
    resident_before, reserved_before = resident(), reserved()
    with RawPeer.ready_for(where, b"PUSH") as raw:
        raw.send(header(length) + b"x" * 100_000)
        another_peer_still_works(end, where)
        assert resident() - resident_before < 32 * MIB
        assert reserved() - reserved_before < 256 * MIB
    assert end.receive_now() is None
    another_peer_still_works(end, where)


def test_hundred_huge_headers_at_once_cost_no_memory(pull):
    end, watch, where = pull
    if not is_ours:
        pytest.skip("libzmq reserves what the header says")
    resident_before, reserved_before = resident(), reserved()
    raws = [RawPeer.ready_for(where, b"PUSH") for _ in range(100)]
    for raw in raws:
        raw.send(header(1 << 40))
    another_peer_still_works(end, where)
    assert resident() - resident_before < 64 * MIB
    assert reserved() - reserved_before < 1024 * MIB
    for raw in raws:
        raw.close()


@pytest.mark.parametrize("more", [False, True])
def test_maxmsgsize_is_honoured_for_each_frame(make, more):
    end = make("PULL", MAXMSGSIZE=1000)
    with Watch(end.socket) as watch:
        where = end.bind("tcp://127.0.0.1:*")
        with RawPeer.ready_for(where, b"PUSH") as raw:
            raw.send(frame(b"x" * 1000, more=True) + frame(b"y" * 1000))
            assert end.receive() == [[b"x" * 1000, b"y" * 1000]]
            raw.send(header(1001, more=more))
            assert raw.is_closed()
        watch.wait(zmq.EVENT_DISCONNECTED)
        another_peer_still_works(end, where)


@ours
@pytest.mark.parametrize("length", [1 << 20, 1 << 40, (1 << 64) - 1])
def test_command_of_absurd_length_is_refused_at_its_header(pull, length):
    end, watch, where = pull
    with RawPeer.ready_for(where, b"PUSH") as raw:
        before = resident()
        raw.send(header(length, command=True))
        sent = raw.send_until_closed(b"x" * 65_536, 64 * MIB)
        assert sent < 64 * MIB
        assert resident() - before < 64 * MIB
    another_peer_still_works(end, where)


# Row 15: commands that do not belong here


@ours
@pytest.mark.parametrize(
    "kind, peer", [("PULL", b"PUSH"), ("DEALER", b"ROUTER"), ("PAIR", b"PAIR"), ("REP", b"REQ")]
)
@pytest.mark.parametrize("name", [b"SUBSCRIBE", b"CANCEL", b"JOIN", b"LEAVE", b"WHATEVER"])
def test_command_for_somebody_else_is_no_data(make, kind, peer, name):
    end = make(kind)
    with Watch(end.socket) as watch:
        where = end.bind("tcp://127.0.0.1:*")
        with RawPeer.ready_for(where, peer) as raw:
            raw.send(command(name, b"abc"))
            body = [b"", b"data"] if kind == "REP" else [b"data"]
            try:
                raw.send_message(*body)
            except ConnectionError:
                pass  # refusing the connection is an answer, too
            if end.poll(A_WHILE):
                assert end.receive() == [[b"data"]]
            else:
                assert raw.is_closed()
                watch.wait(zmq.EVENT_DISCONNECTED)
        assert not end.poll(0)


@pytest.mark.parametrize(
    "wrong",
    [frame(b"", command=True), frame(b"\x09PING", command=True), frame(b"\xff", command=True)],
    ids=["empty", "long", "255"],
)
@ours
def test_malformed_command_is_refused(pull, wrong):
    end, watch, where = pull
    is_refused(end, watch, where, wrong)
    another_peer_still_works(end, where)
    assert end.receive_now() is None


@ours
@pytest.mark.parametrize("name", [b"READY", b"HELLO", b"INITIATE", b"WELCOME", b"MESSAGE"])
def test_handshake_command_after_the_handshake_is_never_data(pull, name):
    end, watch, where = pull
    with RawPeer.ready_for(where, b"PUSH") as raw:
        raw.send(command(name, b"") + frame(b"data"))
        if end.poll(A_WHILE):
            assert end.receive() == [[b"data"]]
        else:
            assert raw.is_closed()
    another_peer_still_works(end, where)


# Row 16: flags


@ours
@pytest.mark.parametrize("flags", [COMMAND | MORE, 0x08, 0x10, 0x20, 0x40, 0x80, 0xF8, 0xFF])
def test_impossible_flags_are_refused(pull, flags):
    end, watch, where = pull
    is_refused(end, watch, where, bytes([flags & ~LONG, 5]) + b"\x04PING")
    another_peer_still_works(end, where)
    assert end.receive_now() is None


@ours
def test_command_in_the_middle_of_a_message_does_not_break_it(pull):
    """RFC 23 lets a command stand between two messages only; libzmq lets it stand between frames."""
    end, watch, where = pull
    with RawPeer.ready_for(where, b"PUSH") as raw:
        raw.send(frame(b"one", more=True) + ping(0, b"?") + frame(b"two"))
        if end.poll(A_WHILE):
            assert end.receive() == [[b"one", b"two"]]
            raw.read_command(b"PONG")
        else:
            assert raw.is_closed()
    another_peer_still_works(end, where)


def test_half_a_message_is_never_delivered(pull):
    end, watch, where = pull
    with RawPeer.ready_for(where, b"PUSH") as raw:
        raw.send(
            frame(b"one", more=True)
            + frame(b"two", more=True)
            + struct.pack(">BB", 0, 200)
            + b"thr"
        )
        another_peer_still_works(end, where)
    watch.wait(zmq.EVENT_DISCONNECTED)
    assert end.receive_now() is None
    another_peer_still_works(end, where)


def test_peer_that_does_not_wait_for_our_ready_is_served_or_closed(pull):
    """RFC 23 has a peer wait for READY before it sends messages. Nothing may be lost in silence if it does not."""
    end, watch, where = pull
    with RawPeer.connect(where) as raw:
        raw.send(greeting() + ready(b"PUSH") + b"".join(frame(b"%d" % n) for n in range(500)))
        if end.poll(2):
            assert end.receive(500) == [[b"%d" % n] for n in range(500)]
        else:
            assert raw.is_closed()
    another_peer_still_works(end, where)


def test_flood_of_pings_is_answered_within_bounds(pull):
    """A peer that never reads its PONGs must not make us keep them."""
    end, watch, where = pull
    if not is_ours:
        pytest.skip("libzmq has its own idea of bounds")
    before = resident()
    with RawPeer.ready_for(where, b"PUSH", receive_buffer=4096) as raw:
        raw.send_until_closed(ping(0, b"0123456789abcdef") * 5000, 64 * MIB)
        assert resident() - before < 48 * MIB
        another_peer_still_works(end, where)


@ours
def test_flood_of_unknown_commands_costs_nothing(pull):
    end, watch, where = pull
    before = resident()
    with RawPeer.ready_for(where, b"PUSH") as raw:
        try:
            raw.send_until_closed(command(b"NONSENSE", b"x" * 100) * 1000, 32 * MIB)
        except Closed:
            pass
        assert resident() - before < 32 * MIB
    another_peer_still_works(end, where)


@ours
def test_dropped_commands_or_errors_are_counted(pull):
    end, watch, where = pull
    with RawPeer.ready_for(where, b"PUSH") as raw:
        raw.send(command(b"NONSENSE", b"x"))
        eventually(
            lambda: (
                counter(end.socket, "dropped_unexpected") + counter(end.socket, "protocol_errors")
                >= 1
            ),
            what="a command nobody knows is counted",
        )
