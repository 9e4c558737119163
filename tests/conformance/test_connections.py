"""Section 6.3 of the check list: how endpoints are written, and how connections begin, wait, end
and come again. `checklist_a.md` says which test stands for which line.
"""

import errno
import threading

import pytest
from peers.raw import RawListener, RawPeer, nobodys_port, ping
from peers.subject import errno_of, needs_ipv6, zmq
from peers.waiting import A_WHILE, bind_when_free, eventually
from peers.watch import Watch

FAST = {"RECONNECT_IVL": 10, "RECONNECT_IVL_MAX": 50}
LOST = (
    zmq.EVENT_DISCONNECTED,
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
)


TRANSPORTS = ["tcp", pytest.param("tcp6", marks=needs_ipv6), "ipc"]


def options_of(transport: str) -> dict:
    return {"IPV6": 1} if transport == "tcp6" else {}


def bindable(endpoint, transport: str) -> str:
    return "tcp://[::1]:*" if transport == "tcp6" else endpoint(transport)


def is_refused_now(end, message: bytes = b"x") -> bool:
    """Whether a send finds nobody; a message that is taken is one too many."""
    try:
        end.socket.send(message, zmq.DONTWAIT)
        return False
    except zmq.Again:
        return True


# How an endpoint is written.


@pytest.mark.parametrize("source", ["127.0.0.2:*", "lo:0", "lo:*"])
def test_source_may_be_an_address_or_an_interface_with_any_port(make, source):
    push = make("PUSH")
    with RawListener() as server:
        push.connect(f"tcp://{source};127.0.0.1:{server.port}")
        with server.accept() as raw:
            host = "127.0.0.1" if source.startswith("lo") else "127.0.0.2"
            assert raw.socket.getpeername()[0] == host


def test_source_port_can_be_chosen(make):
    push, port = make("PUSH"), nobodys_port()
    with RawListener() as server:
        push.connect(f"tcp://127.0.0.1:{port};127.0.0.1:{server.port}")
        with server.accept() as raw:
            assert raw.socket.getpeername() == ("127.0.0.1", port)


@needs_ipv6
@pytest.mark.parametrize("host", ["[::1]", "::1"])
def test_host_may_be_an_address_of_ipv6_with_and_without_brackets(make, host):
    pull, push = make("PULL", IPV6=1), make("PUSH", IPV6=1)
    port = pull.bind("tcp://[::1]:*").rsplit(":", 1)[1]
    push.connect(f"tcp://{host}:{port}")
    push.send([b"x"])
    assert pull.receive() == [[b"x"]]


@pytest.mark.parametrize(
    "endpoint, expected",
    [
        ("tcp://local host:5555", errno.EINVAL),
        ("tcp:// localhost:5555", errno.EINVAL),
        ("tcp://localhost :5555", errno.EINVAL),
        ("tcp:///127.0.0.1:5555", errno.EINVAL),
        ("tcp://localhost:service", errno.EINVAL),
        ("tcp://localhost: 5555", errno.EINVAL),
        ("no such://localhost:5555", errno.EPROTONOSUPPORT),
        ("invalid://localhost:5555", errno.EPROTONOSUPPORT),
        ("TCP://localhost:5555", errno.EPROTONOSUPPORT),
        (" tcp://localhost:5555", errno.EPROTONOSUPPORT),
    ],
)
def test_nonsense_is_refused_at_the_connect(make, endpoint, expected):
    end = make("PUSH")
    assert errno_of(lambda: end.connect(endpoint)) == expected
    assert end.socket.get(zmq.LAST_ENDPOINT).rstrip(b"\0") == b""


@pytest.mark.parametrize("endpoint", ["tcp://ho st:5555", "tcp:///127.0.0.1:5555"])
def test_nonsense_in_the_place_of_an_interface_is_no_device(make, endpoint):
    assert errno_of(lambda: make("PULL").bind(endpoint)) == errno.ENODEV


# IMMEDIATE.


@pytest.mark.parametrize("immediate, arriving", [(0, 5), (1, 10)])
def test_share_of_an_absent_peer_waits_for_it_unless_only_living_ones_count(
    make, immediate, arriving
):
    """Ten messages and two endpoints, of which one never answers."""
    pull, push = make("PULL"), make("PUSH", IMMEDIATE=immediate, **FAST)
    with Watch(push.socket) as watch:
        push.connect(f"tcp://127.0.0.1:{nobodys_port()}")
        push.connect(pull.bind("tcp://127.0.0.1:*"))
        watch.wait(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        if immediate:
            eventually(lambda: push.socket.poll(0, zmq.POLLOUT), what="the peer counts")
        push.send(*[[b"%d" % n] for n in range(10)])
        got = [number for (number,) in pull.receive(arriving)]
    assert sorted(got) in (
        [b"%d" % n for n in range(first, 10, 10 // arriving)] for first in (0, 1)
    )
    assert not pull.poll(A_WHILE / 3)


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_only_living_peers_are_sent_to_also_after_a_loss(make, endpoint, transport):
    push = make("PUSH", IMMEDIATE=1, **FAST)
    first = make("PULL")
    where = first.bind(endpoint(transport))
    push.connect(where)
    push.send([b"one"])
    assert first.receive() == [[b"one"]]
    with Watch(push.socket) as watch:
        first.close()
        watch.wait(*LOST)
        eventually(lambda: is_refused_now(push, b"lost"), what="nobody is there")
        assert is_refused_now(push)
        second = make("PULL")
        bind_when_free(second.socket, where)
        push.send([b"two"])
    assert second.receive() == [[b"two"]]


# Connecting again.


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_connection_that_is_not_to_come_again_does_not(make, endpoint, transport):
    options = options_of(transport)
    server = make("PAIR", **options)
    where = server.bind(bindable(endpoint, transport))
    client = make("PAIR", RECONNECT_IVL=-1, **options)
    with Watch(client.socket) as watch:
        client.connect(where)
        client.send([b"one"])
        assert server.receive() == [[b"one"]]
        server.close()
        watch.wait(*LOST)
        eventually(lambda: client.socket.poll(0, zmq.POLLOUT) == 0, what="the old peer is gone")
        again = make("PAIR", **options)
        with Watch(again.socket) as seen:
            bind_when_free(again.socket, where)
            seen.never(zmq.EVENT_ACCEPTED, seconds=A_WHILE)
            assert watch.count(zmq.EVENT_CONNECT_RETRIED) == 0
            client.connect(where)
            seen.wait(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    client.send([b"two"])
    assert again.receive() == [[b"two"]]


@pytest.mark.parametrize("interval", [0, -1])
def test_first_attempt_is_not_repeated_without_an_interval(make, interval):
    client = make("DEALER", RECONNECT_IVL=interval)
    port = nobodys_port()
    with Watch(client.socket) as watch:
        client.connect(f"tcp://127.0.0.1:{port}")
        watch.wait(zmq.EVENT_CLOSED)
        with RawListener(port) as server, pytest.raises(TimeoutError):
            server.accept(A_WHILE)
        assert watch.count(zmq.EVENT_CONNECT_RETRIED) == 0


def test_refused_connect_is_told_step_by_step_and_repeated(make):
    client = make("DEALER", RECONNECT_IVL=20)
    where = f"tcp://127.0.0.1:{nobodys_port()}"
    with Watch(client.socket) as watch:
        client.connect(where)
        watch.wait(zmq.EVENT_CONNECT_RETRIED, times=2)
        step = [zmq.EVENT_CONNECT_DELAYED, zmq.EVENT_CLOSED, zmq.EVENT_CONNECT_RETRIED]
        assert watch.events()[:6] == step * 2
        for event, value, address in watch.seen:
            assert address == where.encode()
            if event == zmq.EVENT_CONNECT_DELAYED:
                assert value == errno.EINPROGRESS
            if event == zmq.EVENT_CONNECT_RETRIED:
                assert 20 <= value <= 40, "the interval, and up to as much again"


def test_refused_connect_ends_with_closed_if_it_is_to_stop(make):
    client = make("DEALER", RECONNECT_IVL=10)
    client.set("RECONNECT_STOP", int(zmq.ReconnectStop.CONN_REFUSED))
    port = nobodys_port()
    with Watch(client.socket) as watch:
        client.connect(f"tcp://127.0.0.1:{port}")
        watch.wait(zmq.EVENT_CLOSED)
        with RawListener(port) as server, pytest.raises(TimeoutError):
            server.accept(A_WHILE)
        assert watch.events() == [zmq.EVENT_CONNECT_DELAYED, zmq.EVENT_CLOSED]


def test_handshake_that_fails_is_told_step_by_step_and_repeated(make):
    client = make("DEALER", RECONNECT_IVL=10)
    with Watch(client.socket) as watch, RawListener() as server:
        client.connect(server.endpoint)
        for _ in range(2):
            with server.accept() as raw:
                raw.read_exactly(10)
        watch.wait(zmq.EVENT_CONNECT_RETRIED, times=2)
        step = [
            zmq.EVENT_CONNECT_DELAYED,
            zmq.EVENT_CONNECTED,
            zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
            zmq.EVENT_DISCONNECTED,
            zmq.EVENT_CONNECT_RETRIED,
        ]
        assert watch.events()[:10] == step * 2


def test_connect_that_succeeds_is_told_step_by_step(make):
    server, client = make("ROUTER"), make("DEALER")
    with Watch(server.socket) as seen, Watch(client.socket) as watch:
        where = server.bind("tcp://127.0.0.1:*")
        client.connect(where)
        watch.wait(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        seen.wait(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        assert watch.events() == [
            zmq.EVENT_CONNECT_DELAYED,
            zmq.EVENT_CONNECTED,
            zmq.EVENT_HANDSHAKE_SUCCEEDED,
        ]
        assert seen.events() == [
            zmq.EVENT_LISTENING,
            zmq.EVENT_ACCEPTED,
            zmq.EVENT_HANDSHAKE_SUCCEEDED,
        ]
        assert {address for _, _, address in watch.seen + seen.seen} == {where.encode()}


@pytest.mark.parametrize(
    "kind, peer", [("DEALER", b"ROUTER"), ("PUSH", b"PULL"), ("PULL", b"PUSH")]
)
@pytest.mark.parametrize("stop", [0, 4])
@pytest.mark.parametrize("hurry", [False, pytest.param(True, marks=pytest.mark.deviation)])
def test_endpoint_that_was_left_is_not_connected_to_again(make, kind, peer, stop, hurry):
    """Also when the server ends the old connection at that very moment."""
    client = make(kind, **FAST)
    client.set("RECONNECT_STOP", stop)
    with Watch(client.socket) as watch, RawListener() as server:
        client.connect(server.endpoint)
        with server.accept() as raw:
            raw.handshake(peer)
            watch.wait(zmq.EVENT_HANDSHAKE_SUCCEEDED)
            client.disconnect(server.endpoint)
            if not hurry:  # the reference ends a connection only while its socket is in use
                eventually(lambda: client.poll(0) < 0 or raw.is_closed(0.02))
        with pytest.raises(TimeoutError):
            server.accept(A_WHILE)
        assert watch.count(zmq.EVENT_CONNECTED) == 1


def test_monitor_tells_of_no_attempt_after_the_application_has_left(make):
    """Many rounds: it went wrong in one of some twenty, and with types that only receive."""
    push, pull = make("PUSH"), make("PULL")
    where = push.bind("tcp://127.0.0.1:*")
    with Watch(pull.socket) as watch:
        for turn in range(400):
            pull.connect(where)
            watch.wait(zmq.EVENT_HANDSHAKE_SUCCEEDED, times=turn + 1)
            pull.disconnect(where)
            eventually(lambda: pull.poll(0) or not push.socket.poll(0, zmq.POLLOUT))
        watch.never(zmq.EVENT_CONNECT_RETRIED, seconds=A_WHILE)


# Leaving endpoints.


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
@pytest.mark.parametrize("call", ["unbind", "disconnect"])
def test_sender_that_left_its_endpoint_finds_nobody(make, endpoint, transport, call):
    push, pull = make("PUSH"), make("PULL")
    if call == "unbind":
        where = push.bind(endpoint(transport))
        pull.connect(where)
    else:
        where = pull.bind(endpoint(transport))
        push.connect(where)
    push.send([b"before"])
    assert pull.receive() == [[b"before"]]
    getattr(push, call)(where)
    eventually(lambda: is_refused_now(push, b"late"), what="there is nobody to send to")
    assert is_refused_now(push)


@pytest.mark.parametrize("given", ["tcp://*:*", "tcp://127.0.0.1:*"])
def test_endpoint_is_not_left_by_its_pattern(make, given):
    pull = make("PULL")
    where = pull.bind(given)
    assert errno_of(lambda: pull.unbind(given)) == errno.ENOENT
    pull.unbind(where)


def test_wildcard_host_does_not_name_an_endpoint_to_leave(make):
    pull = make("PULL")
    where = pull.bind("tcp://*:*")
    with_star = where.replace("0.0.0.0", "*")
    assert errno_of(lambda: pull.unbind(with_star)) == errno.ENOENT
    pull.unbind(where)


def test_endpoint_may_be_left_by_the_name_of_its_host(make):
    pull = make("PULL")
    where = pull.bind("tcp://127.0.0.1:*")
    pull.unbind(where.replace("127.0.0.1", "localhost"))
    assert errno_of(lambda: pull.unbind(where)) == errno.ENOENT


@needs_ipv6
@pytest.mark.parametrize(
    "given, shown",
    [
        ("tcp://*:*", "tcp://[::]:"),
        ("tcp://[::]:*", "tcp://[::]:"),
        ("tcp://[::1]:*", "tcp://[::1]:"),
    ],
)
def test_wildcards_of_ipv6_are_resolved_connected_to_and_left(make, given, shown):
    pull, push = make("PULL", IPV6=1), make("PUSH", IPV6=1)
    where = pull.bind(given)
    assert where.startswith(shown)
    push.connect(where.replace("[::]", "[::1]"))
    push.send([b"x"])
    assert pull.receive() == [[b"x"]]
    pull.unbind(where)
    assert errno_of(lambda: pull.unbind(where)) == errno.ENOENT


# Within a process.


def test_subscriber_may_come_before_its_publisher_binds(make, endpoint):
    where = endpoint("inproc")
    sub, pub = make("SUB", SUBSCRIBE=b"a"), make("PUB")
    sub.connect(where)
    pub.bind(where)
    pub.send([b"b"], [b"a"])
    assert sub.receive() == [[b"a"]]


def test_publisher_may_come_before_its_subscriber_binds(make, endpoint):
    where = endpoint("inproc")
    sub, pub = make("SUB", SUBSCRIBE=b"a"), make("XPUB")
    pub.connect(where)
    sub.bind(where)
    assert pub.receive() == [[b"\1a"]]
    pub.send([b"b"], [b"a"])
    assert sub.receive() == [[b"a"]]


def test_many_wait_for_one_that_binds(make, endpoint):
    where = endpoint("inproc")
    pushes = [make("PUSH") for _ in range(50)]
    for n, push in enumerate(pushes):
        push.connect(where)
        push.send([b"%d" % n])
    pull = make("PULL")
    pull.bind(where)
    assert sorted(pull.receive(50)) == sorted([b"%d" % n] for n in range(50))


def test_one_socket_connects_to_many_that_bind_later(make, endpoint):
    names = [endpoint("inproc") for _ in range(10)]
    push = make("PUSH")
    for name in names:
        push.connect(name)
    push.send(*[[b"%d" % n] for n in range(20)])
    pulls = [make("PULL") for _ in names]
    for n, (pull, name) in enumerate(zip(pulls, names, strict=True)):
        pull.bind(name)
        assert pull.receive(2) == [[b"%d" % n], [b"%d" % (n + 10)]]


def test_same_socket_binds_and_connects_to_the_same_name(make, endpoint):
    where = endpoint("inproc")
    dealer = make("DEALER")
    dealer.connect(where)
    dealer.bind(where)
    dealer.send([b"to myself"], [b"to myself"])
    assert dealer.receive(2) == [[b"to myself"]] * 2


@pytest.mark.parametrize("first", ["bind", "connect"])
def test_routing_id_is_known_whoever_comes_first(make, endpoint, first):
    where = endpoint("inproc")
    router, dealer = make("ROUTER", ROUTER_MANDATORY=1), make("DEALER", ROUTING_ID=b"name")
    if first == "bind":
        router.bind(where)
        dealer.connect(where)
    else:
        dealer.connect(where)
        dealer.send([b"waiting"])
        router.bind(where)
        assert router.receive() == [[b"name", b"waiting"]]
    router.send([b"name", b"answer"])
    assert dealer.receive() == [[b"answer"]]


@pytest.mark.parametrize("sends", [False, True])
@pytest.mark.parametrize("kind", ["PUSH", "SUB", "REQ", "DEALER", "PAIR"])
def test_context_ends_with_a_connect_that_nobody_ever_bound(background, kind, sends):
    context = zmq.Context()
    socket = context.socket(getattr(zmq, kind))
    socket.connect("inproc://nobody")
    if sends and kind != "SUB":
        socket.send(b"for nobody")
    socket.close()
    background(context.term)()
    assert context.closed


def test_context_ends_while_connects_are_still_waiting(background):
    context = zmq.Context()
    sockets = [context.socket(zmq.DEALER) for _ in range(10)]
    for n, socket in enumerate(sockets):
        socket.connect(f"inproc://nobody-{n % 3}")
        socket.send(b"x")
    join = background(context.term)

    def is_ending() -> bool:
        try:
            sockets[0].get(zmq.EVENTS)
        except zmq.ContextTerminated:
            return True
        return False

    eventually(is_ending)
    for socket in sockets:
        with pytest.raises(zmq.ContextTerminated):
            socket.bind("inproc://nobody-0")
        socket.close(linger=0)
    join()
    assert context.closed


def test_threads_connect_before_and_after_the_bind(context, make, endpoint):
    where, count = endpoint("inproc"), 20
    pull, start = make("PULL"), threading.Barrier(count + 1)

    def come(n: int) -> None:
        with context.socket(zmq.PUSH) as push:
            start.wait(10)
            push.connect(where)
            push.send(b"%d" % n)

    threads = [threading.Thread(target=come, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    start.wait(10)
    pull.bind(where)
    assert sorted(pull.receive(count)) == sorted([b"%d" % n] for n in range(count))
    for thread in threads:
        thread.join(10)


@pytest.mark.parametrize("publisher_binds", [True, False])
def test_leaving_an_inproc_name_takes_the_subscriptions_back(make, endpoint, publisher_binds):
    where = endpoint("inproc")
    xpub, xsub = make("XPUB"), make("XSUB")
    first, second = (xpub, xsub) if publisher_binds else (xsub, xpub)
    first.bind(where)
    second.connect(where)
    xsub.send([b"\1a"], [b"\1b"])
    assert xpub.receive(2) == [[b"\1a"], [b"\1b"]]
    second.disconnect(where)

    def taken_back() -> list:
        xsub.poll(0)  # both ends have a part in the end of a pipe
        xpub.poll(0)
        return left if (left := xpub.receive_now()) else []

    assert sorted(eventually(taken_back) + xpub.receive()[0]) == [b"\0a", b"\0b"]


# Time for the handshake.


def test_accepted_peer_that_says_nothing_is_dropped_with_these_events(make):
    pull = make("PULL", HANDSHAKE_IVL=100)
    with Watch(pull.socket) as watch:
        with RawPeer.connect(pull.bind("tcp://127.0.0.1:*")) as raw:
            assert raw.is_closed()
        watch.wait(zmq.EVENT_DISCONNECTED)
        assert [(event, value) for event, value, _ in watch.seen[2:3]] == [
            (zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, errno.EAGAIN)
        ]
        assert watch.events() == [
            zmq.EVENT_LISTENING,
            zmq.EVENT_ACCEPTED,
            zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
            zmq.EVENT_DISCONNECTED,
        ]


def test_server_that_says_nothing_is_dropped_with_these_events(make):
    push = make("PUSH", HANDSHAKE_IVL=100, RECONNECT_IVL=60_000)
    with Watch(push.socket) as watch, RawListener() as server:
        push.connect(server.endpoint)
        with server.accept() as raw:
            assert raw.is_closed()
        watch.wait(zmq.EVENT_CONNECT_RETRIED)
        assert watch.events() == [
            zmq.EVENT_CONNECT_DELAYED,
            zmq.EVENT_CONNECTED,
            zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
            zmq.EVENT_DISCONNECTED,
            zmq.EVENT_CONNECT_RETRIED,
        ]


# Heartbeats.


def test_client_drops_a_server_that_stopped_by_the_time_to_live_it_was_told(make):
    """The client asks for nothing itself; the server's PING says how long its silence may be."""
    client = make("DEALER", **FAST)
    with RawListener() as server:
        client.connect(server.endpoint)
        with server.accept() as raw:
            raw.handshake(b"ROUTER")
            raw.send(ping(2, b"context"))
            assert raw.read_command(b"PONG").data == b"context"
            assert raw.is_closed()
        with server.accept() as raw:
            raw.handshake(b"ROUTER")


@pytest.mark.parametrize(
    "given, kept",
    [(0, 0), (1, 0), (99, 0), (-99, 0), (100, 100), (199, 100), (6_553_599, 6_553_500)],
)
def test_time_to_live_is_kept_in_tenths_of_a_second(make, given, kept):
    socket = make("DEALER").socket
    assert socket.get(zmq.HEARTBEAT_TTL) == 0
    socket.set(zmq.HEARTBEAT_TTL, given)
    assert socket.get(zmq.HEARTBEAT_TTL) == kept


@pytest.mark.parametrize("given", [6_553_600, 2**31 - 1, -100])
def test_time_to_live_that_does_not_fit_the_wire_is_refused(make, given):
    socket = make("DEALER", HEARTBEAT_TTL=500).socket
    assert errno_of(lambda: socket.set(zmq.HEARTBEAT_TTL, given)) == errno.EINVAL
    assert socket.get(zmq.HEARTBEAT_TTL) == 500


@pytest.mark.parametrize("ttl", [100, 6_500])
def test_longest_and_shortest_time_to_live_go_out_as_they_are(make, ttl):
    pull = make("PULL", HEARTBEAT_IVL=20, HEARTBEAT_TIMEOUT=10_000, HEARTBEAT_TTL=ttl)
    with RawPeer.ready_for(pull.bind("tcp://127.0.0.1:*"), b"PUSH") as raw:
        assert raw.read_command(b"PING").data[:2] == (ttl // 100).to_bytes(2, "big")


OTHER_PAIRS = [
    ("ROUTER", "REQ"),
    ("DEALER", "REP"),
    ("ROUTER", "ROUTER"),
    ("DEALER", "DEALER"),
    ("PUB", "XSUB"),
    ("XPUB", "SUB"),
    ("REP", "REQ"),
    ("PULL", "PUSH"),
]
"""What the exchange with real peers leaves out."""


@pytest.mark.parametrize("bound, connected", OTHER_PAIRS)
def test_idle_pair_of_any_types_survives_heartbeats(make, bound, connected):
    beat = {"HEARTBEAT_IVL": 20, "HEARTBEAT_TIMEOUT": 5_000, "HEARTBEAT_TTL": 5_000}
    server, client = make(bound, **beat), make(connected, **beat)
    with Watch(server.socket) as seen, Watch(client.socket) as watch:
        client.connect(server.bind("tcp://127.0.0.1:*"))
        watch.wait(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        seen.wait(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        watch.never(*LOST, seconds=A_WHILE)
        assert seen.count(*LOST) == 0
