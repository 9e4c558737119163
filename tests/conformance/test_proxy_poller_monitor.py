"""Section 6.9 of the check list: what a proxy counts and answers, what a monitor tells, and sockets
that get any bytes at all from the other side. `checklist_a.md` says which test stands for which
line.
"""

import errno
import struct
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peers.raw import SIGNATURE, Closed, RawListener, RawPeer, greeting, ready
from peers.subject import errno_of, zmq
from peers.waiting import bind_when_free, eventually
from peers.watch import Watch

# Proxies.


class Steered:
    """A proxy in a thread, and a socket that gives it orders."""

    def __init__(self, make, background, frontend, backend) -> None:
        control = make("REP")
        self.steering = make("REQ")
        self.steering.connect(control.bind("inproc://steering"))
        self.join = background(
            lambda: zmq.proxy_steerable(frontend.socket, backend.socket, None, control.socket)
        )

    def order(self, text: bytes) -> list[bytes]:
        self.steering.send([text])
        return self.steering.receive()[0]

    def statistics(self) -> list[tuple[int, int]]:
        """Frames and bytes: in and out at the front, in and out at the back."""
        numbers = [struct.unpack("=Q", frame)[0] for frame in self.order(b"STATISTICS")]
        return list(zip(numbers[::2], numbers[1::2], strict=True))


@pytest.mark.deviation  # the released reference moves nothing any more after such a pause
def test_statistics_go_on_where_they_were_after_a_pause(make, background):
    frontend, backend = make("ROUTER"), make("DEALER")
    client, worker = make("DEALER", ROUTING_ID=b"me"), make("DEALER")
    client.connect(frontend.bind("tcp://127.0.0.1:*"))
    worker.connect(backend.bind("tcp://127.0.0.1:*"))
    steered = Steered(make, background, frontend, backend)

    def round_trips(count: int) -> None:
        for _ in range(count):
            client.send([b"question"])
            assert worker.receive() == [[b"me", b"question"]]
            worker.send([b"me", b"long answer"])
            assert client.receive() == [[b"long answer"]]

    def expected(count: int) -> list[tuple[int, int]]:
        asked, answered = (2 * count, 10 * count), (2 * count, 13 * count)
        return [asked, answered, answered, asked]

    assert steered.statistics() == expected(0)
    round_trips(5)
    assert steered.statistics() == expected(5)
    assert steered.order(b"PAUSE") == [b""]
    assert steered.statistics() == expected(5)
    assert steered.order(b"RESUME") == [b""]
    assert steered.statistics() == expected(5)
    round_trips(3)
    assert steered.statistics() == expected(8)
    assert steered.order(b"TERMINATE") == [b""]
    assert steered.join() == 0


@pytest.mark.deviation  # the released reference waits in the send
def test_statistics_are_answered_while_a_slow_subscriber_holds_everything_up(make, background):
    frontend, backend = make("XSUB", RCVHWM=5), make("XPUB", SNDHWM=5, XPUB_NODROP=1)
    publisher, slow = make("PUB", SNDHWM=5, XPUB_NODROP=1), make("SUB", RCVHWM=5, SUBSCRIBE=b"")
    publisher.connect(frontend.bind("inproc://front"))
    slow.connect(backend.bind("inproc://back"))
    steered = Steered(make, background, frontend, backend)
    publisher.socket.set(zmq.SNDTIMEO, 10_000)

    def publish() -> None:
        for n in range(200):
            publisher.socket.send(b"%d" % n)

    # The subscription has come through when the first message has.
    def arrived() -> bool:
        publisher.socket.send(b"first")
        return slow.poll(0.01)

    eventually(arrived, what="the publisher knows of the subscription")
    firsts = steered.statistics()[3][0]
    publishing = background(publish)

    def is_held_up() -> bool:
        one = steered.statistics()
        return one[3][0] > firsts and one == steered.statistics()

    eventually(is_held_up)
    got = []
    while got[-1:] != [b"199"]:
        got += slow.receive()[0]
    publishing()
    numbers = got[got.index(b"0") :]
    assert numbers == [b"%d" % n for n in range(200)]
    assert set(got[: got.index(b"0")]) == {b"first"}
    count, size = len(got), sum(map(len, got))
    assert steered.statistics()[0] == (count, size), "in at the front"
    assert steered.statistics()[3] == (count, size), "out at the back"
    steered.order(b"TERMINATE")
    assert steered.join() == 0


# Monitors.


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_life_of_a_listener_and_of_its_connections_is_told_in_order(make, endpoint, transport):
    server, client = make("PAIR"), make("PAIR", RECONNECT_IVL=60_000)
    with Watch(server.socket) as seen, Watch(client.socket) as watch:
        where = server.bind(endpoint(transport))
        client.connect(where)
        client.send([b"x"])
        assert server.receive() == [[b"x"]]
        client.close()
        seen.wait(zmq.EVENT_DISCONNECTED)
        server.unbind(where)
        seen.wait(zmq.EVENT_CLOSED)
        assert seen.events() == [
            zmq.EVENT_LISTENING,
            zmq.EVENT_ACCEPTED,
            zmq.EVENT_HANDSHAKE_SUCCEEDED,
            zmq.EVENT_DISCONNECTED,
            zmq.EVENT_CLOSED,
        ]
        values = [value for _, value, _ in seen.seen]
        assert values[0] == values[4], "the descriptor of the listener"
        assert values[1] == values[3], "the descriptor of the connection"
        assert values[2] == 0
        assert {address for _, _, address in seen.seen} == {where.encode()}
        connected = [zmq.EVENT_CONNECTED, zmq.EVENT_HANDSHAKE_SUCCEEDED]
        if transport == "tcp":
            connected.insert(0, zmq.EVENT_CONNECT_DELAYED)
        assert watch.events()[: len(connected)] == connected


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_loss_and_return_of_a_server_are_told_to_its_client(make, endpoint, transport):
    client = make("PAIR", RECONNECT_IVL=10)
    with Watch(client.socket) as watch:
        server = make("PAIR")
        where = server.bind(endpoint(transport))
        client.connect(where)
        watch.wait(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        before = len(watch.seen)
        server.close()
        watch.wait(zmq.EVENT_CONNECT_RETRIED)
        assert watch.events()[before : before + 2] == [
            zmq.EVENT_DISCONNECTED,
            zmq.EVENT_CONNECT_RETRIED,
        ]
        bind_when_free(make("PAIR").socket, where)
        watch.wait(zmq.EVENT_HANDSHAKE_SUCCEEDED, times=2)
        assert watch.events()[-2:] == [zmq.EVENT_CONNECTED, zmq.EVENT_HANDSHAKE_SUCCEEDED]


def test_bind_that_fails_is_told_with_its_errno(make):
    taken = make("PULL").bind("tcp://127.0.0.1:*")
    other = make("PULL")
    with Watch(other.socket) as watch:
        assert errno_of(lambda: other.bind(taken)) == errno.EADDRINUSE
        _, value, address = watch.wait(zmq.EVENT_BIND_FAILED)
        assert value == errno.EADDRINUSE
        assert taken.encode().endswith(address) and address


def test_end_of_a_socket_is_the_last_event_of_its_monitor(make):
    server = make("PULL")
    monitor = server.socket.get_monitor_socket()
    monitor.rcvtimeo = 10_000
    where = server.bind("tcp://127.0.0.1:*")
    server.socket.close()
    told = []
    while not told or told[-1][0] != zmq.EVENT_MONITOR_STOPPED:
        what, address = monitor.recv_multipart()
        told.append((*struct.unpack("=HI", what), address))
    assert told[0][::2] == (zmq.EVENT_LISTENING, where.encode())
    assert told[-1] == (zmq.EVENT_MONITOR_STOPPED, 0, b"")
    assert not monitor.poll(0)
    monitor.close(linger=0)


def monitor_at(context, name: str):
    """The receiving end of a monitor that has this address."""
    receiver = context.socket(zmq.PAIR)
    receiver.rcvtimeo = 10_000
    receiver.connect(name)
    return receiver


def event_of(receiver) -> int:
    return struct.unpack("=HI", receiver.recv_multipart()[0])[0]


@pytest.mark.parametrize(
    "address, expected",
    [
        ("inproc://taken-for-a-monitor", errno.EADDRINUSE),
        ("ipc://@mqcore-test-monitor", errno.EPROTONOSUPPORT),
        ("no such://monitor", errno.EPROTONOSUPPORT),
        ("monitor", errno.EINVAL),
        ("inproc://", errno.EINVAL),
    ],
)
def test_monitor_needs_a_free_inproc_name(context, make, address, expected):
    make("PULL").bind("inproc://taken-for-a-monitor")
    socket = make("PULL").socket
    assert errno_of(lambda: socket.monitor(address, zmq.EVENT_ALL)) == expected
    socket.monitor("inproc://another-monitor", zmq.EVENT_ALL)
    receiver = monitor_at(context, "inproc://another-monitor")
    socket.monitor(None, 0)
    assert event_of(receiver) == zmq.EVENT_MONITOR_STOPPED


# Any bytes at all.


attack = settings(max_examples=40, deadline=None)
anything = st.binary(max_size=400)
BEGINNINGS = {
    "at_once": b"",
    "after_signature": SIGNATURE,
    "after_greeting": greeting(),
    "after_handshake": greeting() + ready(b"PUSH"),
}


def honest_work_arrives(end, raw) -> None:
    """The connection is one of a good peer, whatever came before it."""
    raw.handshake(b"PUSH")
    raw.send_message(b"honest", b"work")
    while end.receive() != [[b"honest", b"work"]]:
        pass


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_listener_survives_any_bytes(make, beginning):
    pull = make("PULL")
    where = pull.bind("tcp://127.0.0.1:*")

    @attack
    @given(anything)
    def send(data: bytes) -> None:
        with RawPeer.connect(where) as raw:
            try:
                raw.send(BEGINNINGS[beginning] + data)
                raw.read_exactly(10)
            except (Closed, ConnectionError):
                pass

    send()
    with RawPeer.connect(where) as raw:
        honest_work_arrives(pull, raw)


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_connecting_socket_survives_any_bytes(context, make, beginning):
    with RawListener() as server:

        @attack
        @given(anything)
        def answer(data: bytes) -> None:
            with context.socket(zmq.PULL) as client:
                client.linger = 0
                client.connect(server.endpoint)
                with server.accept() as raw:
                    try:
                        raw.send(BEGINNINGS[beginning] + data)
                        raw.read_exactly(10)
                    except (Closed, ConnectionError):
                        pass

        answer()
    pull = make("PULL")
    with RawListener() as server:
        pull.connect(server.endpoint)
        with server.accept() as raw:
            honest_work_arrives(pull, raw)


def test_stream_gives_any_bytes_of_a_client_as_they_are(make):
    stream = make("STREAM")
    where = stream.bind("tcp://127.0.0.1:*")

    @attack
    @given(anything)
    def send(data: bytes) -> None:
        with RawPeer.connect(where) as raw:
            raw.send(data)
        (first,) = stream.receive()
        identity, notice = first
        assert (len(identity), notice) == (5, b"")
        got = b""
        while (message := stream.receive()[0]) != [identity, b""]:
            assert message[0] == identity
            got += message[1]
        assert got == data

    send()


def test_stream_gives_any_bytes_of_a_server_as_they_are(context):
    with RawListener() as server:

        @attack
        @given(anything)
        def answer(data: bytes) -> None:
            with context.socket(zmq.STREAM) as stream:
                stream.linger, stream.rcvtimeo = 0, 10_000
                stream.connect(server.endpoint)
                with server.accept() as raw:
                    raw.send(data)
                identity, notice = stream.recv_multipart()
                assert notice == b""
                got = b""
                while (message := stream.recv_multipart()) != [identity, b""]:
                    got += message[1]
                assert got == data

        answer()


def test_many_attackers_at_once_leave_an_honest_peer_alone(make):
    """Threads that send halves of greetings and of frames while one peer works."""
    pull = make("PULL")
    where = pull.bind("tcp://127.0.0.1:*")
    pieces = [b"\0", SIGNATURE, greeting()[:40], greeting() + b"\4\6", greeting() + ready(b"PUSH")]

    def disturb() -> None:
        for n in range(20):
            with RawPeer.connect(where) as raw:
                raw.send(pieces[n % len(pieces)])

    threads = [threading.Thread(target=disturb) for _ in range(5)]
    for thread in threads:
        thread.start()
    with RawPeer.ready_for(where, b"PUSH") as honest:
        for n in range(200):
            honest.send_message(b"honest", b"%d" % n)
        got = []
        while len(got) < 200:
            got += [message for message in pull.receive() if message[0] == b"honest"]
    assert got == [[b"honest", b"%d" % n] for n in range(200)]
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
