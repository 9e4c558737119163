"""Rows 1, 4, 11, 13, 14 and 20 of the hostile list: peers that lie, stammer or say nothing before they are peers."""

import os

import pytest
from peers.raw import (
    SIGNATURE,
    RawListener,
    RawPeer,
    command,
    frame,
    greeting,
    nobodys_port,
    prop,
    ready,
)
from peers.subject import is_ours, ours, zmq
from peers.waiting import A_WHILE, eventually
from peers.watch import Watch, blames_the_peer, counter

TLS_CLIENT_HELLO = bytes.fromhex("160301020001000001fc0303") + bytes(range(256))
SUCCEEDED = zmq.EVENT_HANDSHAKE_SUCCEEDED
FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
    zmq.EVENT_HANDSHAKE_FAILED_AUTH,
)


@pytest.fixture
def router(make):
    """A ROUTER with its monitor and address."""
    end = make("ROUTER", HANDSHAKE_IVL=2000)
    with Watch(end.socket) as watch:
        yield end, watch, end.bind("tcp://127.0.0.1:*")


def another_peer_still_works(router, where: str, name: bytes = b"honest") -> None:
    """A normal conversation over the same listener."""
    with RawPeer.ready_for(where, b"DEALER", name) as honest:
        honest.send_message(b"hello")
        assert router.receive() == [[name, b"hello"]]
        router.send([name, b"welcome"])
        assert honest.read_message() == [b"welcome"]


def is_closed_by(end, raw: RawPeer) -> bool:
    """Whether the connection ends; the socket is called meanwhile, since its routing runs on the caller's thread."""

    def closed() -> bool:
        end.poll(0)
        return raw.is_closed(0.02)

    return bool(eventually(closed))


# Row 1: identities


@ours
@pytest.mark.parametrize(
    "identity", [b"\0", b"\0abcd", b"\0" * 5, b"i" * 256, b"i" * 100_000], ids=len
)
def test_forbidden_identity_is_refused(router, identity):
    end, watch, where = router
    with RawPeer.connect(where) as raw:
        raw.send(greeting() + ready(b"DEALER", identity) + frame(b"never delivered"))
        assert raw.is_closed()
    watch.wait(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_DISCONNECTED)
    blames_the_peer(end.socket, watch)
    another_peer_still_works(end, where)
    assert end.receive_now() is None


@ours
def test_identity_in_use_is_refused_to_the_newcomer(router):
    end, watch, where = router
    with RawPeer.ready_for(where, b"DEALER", b"name") as first:
        first.send_message(b"1")
        assert end.receive() == [[b"name", b"1"]]
        with RawPeer.connect(where) as second:
            second.send(greeting() + ready(b"DEALER", b"name") + frame(b"impostor"))
            assert is_closed_by(end, second)
        first.send_message(b"2")
        assert end.receive() == [[b"name", b"2"]]
        end.send([b"name", b"for the first"])
        assert first.read_message() == [b"for the first"]
    another_peer_still_works(end, where)


@ours
def test_name_is_free_again_when_its_owner_left(router):
    end, watch, where = router
    for n in range(5):
        with RawPeer.ready_for(where, b"DEALER", b"name") as owner:
            owner.send_message(b"%d" % n)
            assert end.receive() == [[b"name", b"%d" % n]]
        watch.wait(zmq.EVENT_DISCONNECTED, times=n + 1)
        # The router drops the name when its own thread next looks; being asked for events is enough.
        end.poll(0)


@ours
def test_automatic_id_cannot_be_occupied_in_advance(router):
    end, watch, where = router
    with RawPeer.ready_for(where, b"DEALER") as first:
        first.send_message(b"x")
        ((identity, _),) = end.receive()
        following = b"\0" + ((int.from_bytes(identity[1:], "big") + 1) % (1 << 32)).to_bytes(
            4, "big"
        )
        with RawPeer.connect(where) as thief:
            thief.send(greeting() + ready(b"DEALER", following))
            assert is_closed_by(end, thief)
        with RawPeer.ready_for(where, b"DEALER") as second:
            second.send_message(b"y")
            assert end.receive()[0][1] == b"y"


@pytest.mark.skipif(not is_ours, reason="ids of the reference are the same in every process")
def test_automatic_ids_are_not_predictable(context):
    seen = set()
    for _ in range(3):
        end = context.socket(zmq.ROUTER)
        end.set(zmq.RCVTIMEO, 10_000)
        end.bind("tcp://127.0.0.1:*")
        with RawPeer.ready_for(end.get(zmq.LAST_ENDPOINT).rstrip(b"\0").decode(), b"DEALER") as raw:
            raw.send_message(b"x")
            seen.add(end.recv_multipart()[0])
    assert b"\0\x6b\x8b\x45\x67" not in seen
    assert len(seen) == 3


# Row 13: the same identity many times


@ours
def test_many_connections_with_one_identity_leave_no_zombie(router):
    end, watch, where = router
    with RawPeer.ready_for(where, b"DEALER", b"name") as owner:
        owner.send_message(b"mine")
        assert end.receive() == [[b"name", b"mine"]]
        for _ in range(15):
            with RawPeer.connect(where) as raw:
                raw.send(greeting() + ready(b"DEALER", b"name"))
                raw.send_until_closed(frame(b"z" * 1000) * 100, 1 << 22, seconds=2)
                assert is_closed_by(end, raw)
        owner.send_message(b"still mine")
        assert end.receive() == [[b"name", b"still mine"]]
        assert end.receive_now() is None


def test_handover_takes_the_name_from_the_old_connection(make):
    end = make("ROUTER", ROUTER_HANDOVER=1)
    where = end.bind("tcp://127.0.0.1:*")
    connections = []
    for n in range(10):
        raw = RawPeer.ready_for(where, b"DEALER", b"name")
        raw.send_message(b"%d" % n)
        assert end.receive() == [[b"name", b"%d" % n]]
        connections.append(raw)
    end.send([b"name", b"for the last"])
    assert connections[-1].read_message() == [b"for the last"]
    for raw in connections[:-1]:
        if is_ours:  # the reference keeps some of them open
            assert raw.is_closed()
        raw.close()
    connections[-1].close()


# Row 4: not ZMTP at all


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        TLS_CLIENT_HELLO,
        os.urandom(64).replace(b"\xff", b"\0"),
        b"\0" * 64,
        b"\x01\0",
    ],
    ids=["http", "tls", "random", "zeros", "zmtp1"],
)
@ours
def test_junk_never_becomes_a_peer_and_never_gets_a_message(make, junk):
    push = make("PUSH", HANDSHAKE_IVL=300)
    with Watch(push.socket) as watch:
        where = push.bind("tcp://127.0.0.1:*")
        with RawPeer.connect(where) as raw:
            raw.send(junk)
            with pytest.raises(zmq.Again):
                push.socket.send(b"secret", zmq.DONTWAIT)
            assert b"secret" not in raw.rest()
        assert watch.count(SUCCEEDED) == 0
        watch.wait(*FAILED)
        with RawPeer.ready_for(where, b"PULL") as honest:
            push.send([b"work"])
            assert honest.read_message() == [b"work"]


# Row 11: slow and silent


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\xff",
        SIGNATURE,
        SIGNATURE + b"\x03",
        greeting()[:63],
        greeting(),
        greeting() + b"\x04",
    ],
)
def test_peer_that_stops_talking_is_closed_in_time(make, said):
    push = make("PUSH", HANDSHAKE_IVL=200)
    with Watch(push.socket) as watch:
        with RawPeer.connect(push.bind("tcp://127.0.0.1:*")) as raw:
            raw.send(said)
            with pytest.raises(zmq.Again):
                push.socket.send(b"for a finished peer", zmq.DONTWAIT)
            assert raw.is_closed()
        watch.wait(*FAILED)


def test_greeting_byte_by_byte_does_not_extend_the_time(make):
    push = make("PUSH", HANDSHAKE_IVL=300)
    with Watch(push.socket) as watch:
        with RawPeer.connect(push.bind("tcp://127.0.0.1:*")) as raw:
            gone = False
            for byte in greeting()[:60]:
                try:
                    raw.send(bytes([byte]))
                except ConnectionError:
                    gone = True
                if gone or raw.is_closed(0.05):
                    break
            else:
                pytest.fail("the handshake went on for three seconds")
        watch.wait(*FAILED)


def test_silent_server_is_given_up_and_tried_again(make):
    dealer = make("DEALER", HANDSHAKE_IVL=150, RECONNECT_IVL=10)
    with Watch(dealer.socket) as watch, RawListener() as server:
        dealer.connect(server.endpoint)
        for _ in range(2):
            with server.accept() as raw:
                assert raw.is_closed()
        watch.wait(*FAILED)
        with server.accept() as raw:
            raw.handshake(b"ROUTER")
            dealer.send([b"at last"])
            assert raw.read_message() == [b"at last"]


def test_slow_peers_do_not_hold_up_others(router):
    end, watch, where = router
    silent = [RawPeer.connect(where) for _ in range(50)]
    another_peer_still_works(end, where)
    for raw in silent:
        raw.close()


# Row 14: READY


def bad_readies() -> dict[str, bytes]:
    """READY bodies that no honest peer sends."""
    kind = prop(b"Socket-Type", b"DEALER")
    return {
        "no_socket_type": prop(b"Identity", b"x"),
        "no_properties": b"",
        "unknown_socket_type": prop(b"Socket-Type", b"DREAMER"),
        "empty_socket_type": prop(b"Socket-Type", b""),
        "incompatible_socket_type": prop(b"Socket-Type", b"PULL"),
        "repeated_socket_type": kind + prop(b"Socket-Type", b"REQ"),
        "repeated_identity": kind + prop(b"Identity", b"one") + prop(b"Identity", b"two"),
        "name_length_only": kind + b"\x08",
        "truncated_name": kind + b"\x08Ident",
        "truncated_length": kind + b"\x08Identity\0\0",
        "truncated_value": kind + b"\x08Identity\0\0\0\x09short",
        "huge_value_length": kind + b"\x08Identity\xff\xff\xff\xffshort",
        "empty_name": kind + prop(b"", b"x"),
        "user_id": kind + prop(b"User-Id", b"admin"),
        "peer_address": kind + prop(b"Peer-Address", b"10.0.0.1"),
        "private_name": kind + prop(b"__fd", b"3"),
    }


@ours
@pytest.mark.parametrize("fault", bad_readies())
def test_bad_ready_is_refused(router, fault):
    end, watch, where = router
    with RawPeer.connect(where) as raw:
        raw.send(greeting() + command(b"READY", bad_readies()[fault]) + frame(b"never delivered"))
        assert raw.is_closed()
    watch.wait(*FAILED, zmq.EVENT_DISCONNECTED)
    blames_the_peer(end.socket, watch)
    another_peer_still_works(end, where)
    assert end.receive_now() is None


@pytest.mark.parametrize(
    "first", ["PING", "SUBSCRIBE", "MESSAGE", "HELLO", "nothing", "data", "short_name"]
)
def test_anything_but_ready_after_the_greeting_is_refused(router, first):
    if not is_ours and first in ("SUBSCRIBE", "data"):
        pytest.skip("libzmq is lenient here")
    end, watch, where = router
    wrong = {
        "nothing": frame(b"", command=True),
        "data": frame(b"data"),
        "short_name": frame(b"\x09READY", command=True),
    }
    with RawPeer.connect(where) as raw:
        raw.send(greeting() + wrong.get(first, command(first.encode(), b"\0\0")))
        assert raw.is_closed()
    watch.wait(*FAILED, zmq.EVENT_DISCONNECTED)
    another_peer_still_works(end, where)


def test_invented_properties_are_not_believed(router):
    if not is_ours:
        pytest.skip("libzmq believes them")
    end, watch, where = router
    with RawPeer.connect(where) as raw:
        raw.send(greeting() + ready(b"DEALER", b"me", **{"X-Mine": b"ok"}))
        raw.read_exactly(64)
        raw.read_frame()
        raw.send_message(b"hello")
        got = end.socket.recv(copy=False)
        assert got.get("X-Mine") == "ok"
        assert got.get("Peer-Address") == "127.0.0.1"
        with pytest.raises(zmq.ZMQError):
            got.get("User-Id")


@pytest.mark.parametrize("mechanism", [b"PLAIN", b"CURVE", b"NULLX", b"", b"null", b"NULL\0X"])
def test_greeting_with_another_mechanism_is_refused(router, mechanism):
    end, watch, where = router
    with RawPeer.connect(where) as raw:
        raw.send(greeting(mechanism=mechanism) + ready(b"DEALER"))
        assert raw.is_closed()
    watch.wait(*FAILED)
    another_peer_still_works(end, where)


# Row 20: a server that refuses; the endpoint must not die


def refusals() -> dict[str, bytes]:
    """What a server says instead of a welcome."""
    return {
        "error_command": greeting() + command(b"ERROR", b"\x06Denied"),
        "error_without_reason": greeting() + command(b"ERROR", b""),
        "incompatible_type": greeting() + ready(b"PUB"),
        "other_mechanism": greeting(mechanism=b"CURVE"),
        "not_zmtp": b"SSH-2.0-OpenSSH_9.6\r\n",
        "bad_ready": greeting() + command(b"READY", b"\x0bSocket"),
    }


@ours
@pytest.mark.parametrize("refusal", refusals())
def test_refused_client_says_why_and_tries_again(make, refusal):
    dealer = make("DEALER", RECONNECT_IVL=10, HANDSHAKE_IVL=500)
    with Watch(dealer.socket) as watch, RawListener() as server:
        dealer.connect(server.endpoint)
        for _ in range(3):
            with server.accept() as raw:
                raw.send(refusals()[refusal])
                assert raw.is_closed()
        watch.wait(*FAILED)
        with server.accept() as raw:
            raw.handshake(b"ROUTER")
            dealer.send([b"no hard feelings"])
            assert raw.read_message() == [b"no hard feelings"]


def faults_after_the_handshake() -> dict[str, tuple[str, bytes, dict, bytes]]:
    """Client type, server type, options, and what the server does wrong in the middle of the conversation."""
    return {
        "frame_over_maxmsgsize": ("DEALER", b"ROUTER", {"MAXMSGSIZE": 100}, frame(b"x" * 101)),
        "error_command": ("DEALER", b"ROUTER", {}, command(b"ERROR", b"\x04Gone")),
        "reserved_flags": ("SUB", b"PUB", {}, frame(b"x", flags=0x80)),
    }


@ours
@pytest.mark.parametrize("fault", faults_after_the_handshake())
def test_client_comes_back_after_a_fault_of_its_server(make, fault):
    ours_, theirs, options, wrong = faults_after_the_handshake()[fault]
    client = make(ours_, RECONNECT_IVL=10, **options)
    with Watch(client.socket) as watch, RawListener() as server:
        client.connect(server.endpoint)
        for n in range(3):
            with server.accept() as raw:
                raw.handshake(theirs)
                raw.send(wrong)
                assert raw.is_closed()
            watch.wait(zmq.EVENT_DISCONNECTED, times=n + 1)
        blames_the_peer(client.socket, watch)


@ours
def test_bad_reply_to_a_req_drops_the_connection_and_the_next_request_works(make):
    req = make("REQ", RECONNECT_IVL=10, REQ_RELAXED=1, REQ_CORRELATE=0)
    with RawListener() as server:
        req.connect(server.endpoint)
        with server.accept() as raw:
            raw.handshake(b"REP")
            req.send([b"question"])
            assert raw.read_message() == [b"", b"question"]
            raw.send_message(b"no delimiter", b"answer")
            assert not req.poll(A_WHILE), "the application must never read it as an answer"
            assert raw.is_closed()
        with server.accept() as raw:
            raw.handshake(b"REP")
            req.send([b"again"])
            assert raw.read_message()[-1] == b"again"
            raw.send_message(b"", b"answer")
            assert req.receive() == [[b"answer"]]


def test_reconnection_does_not_spin(make):
    """Back-off: a server that refuses at once is not asked hundreds of times a second."""
    dealer = make("DEALER", RECONNECT_IVL=100)
    with RawListener() as server:
        dealer.connect(server.endpoint)
        attempts = 0
        server.socket.settimeout(A_WHILE * 3)
        try:
            with server.accept(5):
                pass
            while attempts < 100:
                with server.accept(0.9):
                    attempts += 1
                    if attempts >= 5:
                        break
        except TimeoutError:
            pass
        assert attempts >= 1


def test_refused_port_is_tried_until_somebody_listens(make):
    port = nobodys_port()
    dealer = make("DEALER", RECONNECT_IVL=10)
    with Watch(dealer.socket) as watch:
        dealer.connect(f"tcp://127.0.0.1:{port}")
        watch.wait(zmq.EVENT_CONNECT_RETRIED, times=3)
        with RawListener(port) as server, server.accept() as raw:
            raw.handshake(b"ROUTER")
            dealer.send([b"found"])
            assert raw.read_message() == [b"found"]


@ours
def test_protocol_errors_are_counted(router):
    end, watch, where = router
    for n in range(5):
        with RawPeer.connect(where) as raw:
            raw.send(greeting() + command(b"READY", b"\xff"))
            assert raw.is_closed()
        eventually(lambda n=n: counter(end.socket, "protocol_errors") >= n + 1)
