"""Section 6.1 of the check list: contexts and their options, limits, flags and owners of messages,
given descriptors, and contexts that end while others work. `CHECKLIST.md` says which test stands
for which line.
"""

import errno
import os
import resource
import socket as plain_socket
import sys
import threading
from contextlib import ExitStack

import pytest
from peers.raw import RawPeer
from peers.subject import errno_of, is_ours, zmq
from peers.waiting import A_WHILE, eventually

from .fresh import in_a_fresh_process, start

KINDS = "PAIR PUB SUB REQ REP DEALER ROUTER PULL PUSH XPUB XSUB STREAM".split()


# What was built.


SCHEMES = {
    "ipc": "ipc://@mqcore-test-capability",
    "pgm": "pgm://lo;239.192.1.1:5555",
    "tipc": "tipc://{5560,0}@0.0.0",
    "norm": "norm://127.0.0.1:5556",
    "vmci": "vmci://1:5555",
    "vsock": "vsock://1:5555",
    "WS": "ws://127.0.0.1:9",
    "WSS": "wss://127.0.0.1:9",
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_has_tells_which_schemes_an_endpoint_may_have(make, scheme):
    socket = make("SUB").socket
    try:
        socket.connect(SCHEMES[scheme])
        known = True
    except zmq.ZMQError as error:
        assert error.errno == zmq.EPROTONOSUPPORT
        known = False
    assert zmq.has(scheme) is known


def test_has_tells_whether_sockets_can_be_encrypted(make):
    socket = make("PULL").socket
    try:
        socket.set(zmq.CURVE_SERVER, 1)
        possible = True
    except zmq.ZMQError:
        possible = False
    assert zmq.has("curve") is possible


def test_has_knows_neither_gssapi_nor_draft():
    assert zmq.has("gssapi") is False
    assert zmq.has("draft") is False


# Options of contexts.


def test_context_begins_with_the_documented_values(context):
    found = {
        option: context.get(getattr(zmq, option))
        for option in ("IO_THREADS", "MAX_SOCKETS", "SOCKET_LIMIT", "MSG_T_SIZE", "BLOCKY", "IPV6")
    }
    assert found == {
        "IO_THREADS": 1,
        "MAX_SOCKETS": 1023,
        "SOCKET_LIMIT": 65535,
        "MSG_T_SIZE": 64,
        "BLOCKY": 1,
        "IPV6": 0,
    }
    assert context.get(zmq.MAX_MSGSZ) == 2**31 - 1


@pytest.mark.parametrize(
    "option, value",
    [("IO_THREADS", 3), ("MAX_SOCKETS", 7), ("IPV6", 1), ("BLOCKY", 0), ("MAX_MSGSZ", 1 << 20)],
)
def test_option_of_a_context_reads_back_what_was_set(context, option, value):
    context.set(getattr(zmq, option), value)
    assert context.get(getattr(zmq, option)) == value


@pytest.mark.parametrize(
    "option, value",
    [
        ("IO_THREADS", -1),
        ("MAX_SOCKETS", 0),
        ("MAX_SOCKETS", -1),
        ("IPV6", -1),
        ("BLOCKY", -1),
        ("MAX_MSGSZ", -1),
    ],
)
def test_value_out_of_range_is_refused_and_changes_nothing_in_the_context(context, option, value):
    number = getattr(zmq, option)
    before = context.get(number)
    assert errno_of(lambda: context.set(number, value)) == zmq.EINVAL
    assert context.get(number) == before


def test_size_of_a_message_and_unknown_numbers_cannot_be_set(context):
    assert errno_of(lambda: context.set(zmq.MSG_T_SIZE, 128)) == zmq.EINVAL
    assert context.get(zmq.MSG_T_SIZE) == 64
    for number in (0, -1, 1000):
        assert errno_of(lambda number=number: context.set(number, 1)) == zmq.EINVAL
        assert errno_of(lambda number=number: context.get(number)) == zmq.EINVAL


def test_ipv6_of_the_context_is_what_new_sockets_begin_with(context):
    before = context.socket(zmq.PULL)
    context.set(zmq.IPV6, 1)
    after = context.socket(zmq.PULL)
    assert (before.get(zmq.IPV6), after.get(zmq.IPV6)) == (0, 1)
    context.set(zmq.IPV6, 0)
    assert context.socket(zmq.PULL).get(zmq.IPV6) == 0
    assert after.get(zmq.IPV6) == 1, "only new sockets are meant"


@pytest.mark.parametrize("kind", ["PUSH", "PUB", "DEALER", "SUB"])
def test_context_that_does_not_block_makes_sockets_that_do_not_linger(context, kind):
    context.set(zmq.BLOCKY, 0)
    assert context.socket(getattr(zmq, kind)).get(zmq.LINGER) == 0
    context.set(zmq.BLOCKY, 1)
    assert context.socket(zmq.PUSH).get(zmq.LINGER) == -1


def test_context_that_does_not_block_ends_with_messages_that_nobody_wants():
    context = zmq.Context()
    context.set(zmq.BLOCKY, 0)
    socket = context.socket(zmq.PUSH)
    socket.connect("tcp://127.0.0.1:1")
    socket.send(b"never arrives")
    socket.close()
    context.term()
    assert context.closed


# How many sockets.


def test_thousand_and_twenty_three_sockets_and_no_more_fit_by_default(context):
    kept = [context.socket(zmq.PUSH) for _ in range(1023)]
    assert errno_of(lambda: context.socket(zmq.PUSH)) == errno.EMFILE
    kept.pop().close()

    def made() -> bool:
        try:
            kept.append(context.socket(zmq.PUSH))
        except zmq.ZMQError as error:
            assert error.errno == errno.EMFILE
            return False
        return True

    eventually(made, what="there is room again for one")
    assert errno_of(lambda: context.socket(zmq.PUSH)) == errno.EMFILE
    for socket in kept:
        socket.close(linger=0)


def test_limit_of_the_system_is_an_error_of_the_call_and_passes():
    """Sockets are made and bound until the process has no descriptor left; then some are closed."""
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= 64
    out = in_a_fresh_process("""
        import errno
        import resource
        from peers.waiting import eventually
        context = zmq.Context()
        first = context.socket(zmq.PULL)
        first.bind("tcp://127.0.0.1:*")  # what the context needs for itself is there
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))
        kept = []

        def one_more():
            kept.append(context.socket(zmq.PULL))
            kept[-1].bind("tcp://127.0.0.1:*")

        def works():
            try:
                one_more()
            except zmq.ZMQError as error:
                assert error.errno == errno.EMFILE, error
                return False
            return True

        while works():
            assert len(kept) < 100
        assert len(kept) > 10
        for socket in kept:
            socket.close()
        eventually(works, what="descriptors are free again")
        pull = kept[-1]
        pull.rcvtimeo = 10_000
        push = context.socket(zmq.PUSH)
        push.connect(pull.get(zmq.LAST_ENDPOINT).rstrip(b"\\0").decode())
        push.send(b"x")
        print(pull.recv().decode())
        context.destroy(linger=0)
    """)
    assert out == "x"


@pytest.mark.parametrize(
    "transport", ["tcp", pytest.param("abstract", marks=pytest.mark.deviation)]
)
def test_listener_without_descriptors_serves_again_when_there_are_some(endpoint, transport):
    """Sixty clients come to a process that may have forty files open; then they leave."""
    code = """
        import resource, sys
        context = zmq.Context()
        pull = context.socket(zmq.PULL)
        pull.bind(sys.argv[1])
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, most))
        print(pull.get(zmq.LAST_ENDPOINT).rstrip(b"\\0").decode(), flush=True)
        print(pull.recv().decode(), flush=True)
        context.destroy(linger=0)
    """
    process = start(code, endpoint(transport))
    with process, ExitStack() as clients:
        where = process.stdout.readline().strip()
        kept = [clients.enter_context(RawPeer.connect(where)) for _ in range(60)]
        kept[0].read_exactly(10)
        assert kept[-1].is_silent(A_WHILE), "there was nothing left for it"
        with RawPeer.connect(where) as late:
            for client in kept:
                client.close()
            late.handshake(b"PUSH")
            late.send_message(b"served")
            assert process.stdout.readline().strip() == "served"
        assert process.wait(10) == 0


# Flags and owners of messages.


@pytest.mark.parametrize("kind", KINDS)
def test_no_stable_type_claims_to_be_thread_safe(context, kind):
    """The option tells of the draft types only, also where threads may share every socket."""
    with context.socket(getattr(zmq, kind)) as socket:
        assert socket.get(zmq.THREAD_SAFE) == 0
        assert errno_of(lambda: socket.set(zmq.THREAD_SAFE, 1)) == zmq.EINVAL


def test_receiver_goes_on_after_a_timeout(make, endpoint):
    push, pull = make("PUSH"), make("PULL", RCVTIMEO=30)
    push.connect(pull.bind(endpoint("tcp")))
    for turn in range(3):
        with pytest.raises(zmq.Again):
            pull.socket.recv()
        push.send([b"%d" % turn])
        assert pull.poll(10)
        assert pull.receive() == [[b"%d" % turn]]


def test_payload_with_two_owners_says_that_it_is_shared():
    import copy

    frame = zmq.Frame(b"x" * 1000)
    other = copy.copy(frame)
    assert (frame.get(zmq.SHARED), other.get(zmq.SHARED)) == (1, 1)


@pytest.mark.parametrize(
    "size",
    [0, 10, 1000],
)
def test_fresh_payload_is_not_shared(make, endpoint, size):
    assert zmq.Frame(b"x" * size).get(zmq.SHARED) == 0
    push, pull = make("PUSH"), make("PULL")
    push.connect(pull.bind(endpoint("tcp")))
    push.send([b"x" * size])
    received = pull.socket.recv(copy=False)
    assert received.bytes == b"x" * size
    assert received.get(zmq.SHARED) == 0


SIZE = 200_000
"""More than is ever copied."""


def payload() -> tuple[bytes, int]:
    """A payload, and how many references there are to it besides the caller's."""
    made = os.urandom(16) * (SIZE // 16)
    return made, sys.getrefcount(made)


def is_released(made: bytes, before: int) -> bool:
    return sys.getrefcount(made) == before


@pytest.mark.parametrize("ending", ["received", "socket_closed", "peer_closed"])
def test_payload_is_given_back_however_its_message_ends(make, endpoint, ending):
    made, before = payload()
    push, pull = make("PUSH"), make("PULL")
    push.connect(pull.bind(endpoint("inproc")))
    tracker = push.socket.send(made, copy=False, track=True)
    assert not tracker.done
    if ending == "received":
        assert pull.socket.recv() == made
    elif ending == "peer_closed":
        pull.close()
        push.close()
    else:
        push.close()
        pull.close()
    tracker.wait(10)
    eventually(lambda: is_released(made, before), what="nobody holds the payload any more")


def test_payload_of_a_message_that_never_found_a_peer_is_given_back():
    made, before = payload()
    context = zmq.Context()
    push = context.socket(zmq.PUSH)
    push.connect("tcp://127.0.0.1:1")
    tracker = push.send(made, copy=False, track=True)
    assert not tracker.done
    push.close(linger=0)
    context.term()
    tracker.wait(10)
    eventually(lambda: is_released(made, before), what="nobody holds the payload any more")


def test_payload_of_a_refused_send_is_given_back_at_once(make):
    made, before = payload()
    push = make("PUSH").socket
    with pytest.raises(zmq.Again):
        push.send(made, zmq.DONTWAIT, copy=False)
    with pytest.raises(zmq.Again):
        push.send_multipart([made, made], zmq.DONTWAIT, copy=False)
    eventually(lambda: is_released(made, before), what="nobody holds the payload any more")


def test_payload_sent_many_times_is_given_back_after_the_last(make, endpoint):
    made, before = payload()
    frame = zmq.Frame(made, track=True, copy=False)
    push, pull = make("PUSH"), make("PULL")
    push.connect(pull.bind(endpoint("inproc")))
    for _ in range(3):
        push.socket.send(frame)
    tracker = frame.tracker
    del frame
    for _ in range(3):
        assert not tracker.done
        assert pull.socket.recv() == made
    tracker.wait(10)
    eventually(lambda: is_released(made, before), what="nobody holds the payload any more")


# A descriptor that the application made.


@pytest.fixture
def listening(tmp_path):
    """Makes a listening descriptor, and the endpoint that clients connect to."""
    made = []

    def listen(transport: str) -> tuple[int, str]:
        if transport == "tcp":
            listener = plain_socket.create_server(("127.0.0.1", 0))
            where = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        else:
            path = str(tmp_path / "given")
            listener = plain_socket.socket(plain_socket.AF_UNIX)
            listener.bind(path)
            listener.listen()
            where = f"ipc://{path}"
        number = listener.detach()
        made.append(number)
        return number, where

    yield listen
    if is_ours:  # a copy is used, and the original is the application's; the reference closes it
        for number in made:
            os.close(number)


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
@pytest.mark.parametrize(
    "serves, asks", [("REP", "REQ"), ("PAIR", "PAIR"), ("DEALER", "DEALER"), ("PULL", "PUSH")]
)
def test_listening_descriptor_of_the_application_is_used(make, listening, transport, serves, asks):
    number, where = listening(transport)
    server = make(serves, USE_FD=number)
    assert server.socket.get(zmq.USE_FD) == number
    assert server.bind(where) == where
    client = make(asks)
    client.connect(where)
    client.send([b"to", b"server"])
    assert server.receive() == [[b"to", b"server"]]
    if asks != "PUSH":
        server.send([b"to", b"client"])
        assert client.receive() == [[b"to", b"client"]]
    server.close()
    client.close()


def test_many_clients_come_in_by_a_given_descriptor(make, listening):
    number, where = listening("tcp")
    server = make("PULL", USE_FD=number)
    server.bind(where)
    clients = [make("PUSH") for _ in range(5)]
    for n, client in enumerate(clients):
        client.connect(where)
        client.send([b"%d" % n])
    assert sorted(server.receive(5)) == [[b"%d" % n] for n in range(5)]


# The end of a context.


REFUSED_CALLS = {
    "send": lambda s: s.send(b"x"),
    "recv": lambda s: s.recv(),
    "bind": lambda s: s.bind("inproc://late"),
    "connect": lambda s: s.connect("inproc://late"),
    "unbind": lambda s: s.unbind("inproc://early"),
    "disconnect": lambda s: s.disconnect("inproc://early"),
    "get": lambda s: s.get(zmq.TYPE),
    "set": lambda s: s.set(zmq.SNDHWM, 5),
    "poll": lambda s: s.poll(10_000),
    "zmq_poll": lambda s: zmq.zmq_poll([(s, zmq.POLLIN)], 10_000),
    "poller": lambda s: poller_of(s).poll(10_000),
    "monitor": lambda s: s.monitor("inproc://monitor-of-a-late-one", zmq.EVENT_ALL),
    "new socket": lambda s: s.context.socket(zmq.PUSH),
}


def poller_of(socket):
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    return poller


def is_ending(socket) -> bool:
    """Whether the end of the context has begun."""
    try:
        socket.get(zmq.EVENTS)
    except zmq.ContextTerminated:
        return True
    return False


@pytest.mark.parametrize("call", REFUSED_CALLS)
def test_every_call_but_close_says_that_the_context_ends(background, call):
    context = zmq.Context()
    socket = context.socket(zmq.PAIR)
    socket.bind("inproc://early")
    join = background(context.term)
    try:
        eventually(lambda: is_ending(socket))
        for _ in range(2):
            assert errno_of(lambda: REFUSED_CALLS[call](socket)) == zmq.ETERM
    finally:
        socket.close()
    join()
    assert context.closed


@pytest.mark.parametrize("transport", ["inproc", "tcp"])
def test_sockets_may_be_closed_in_any_order_while_the_context_ends(background, endpoint, transport):
    """Some before its end, some during it; connected or bound, with messages unread."""
    context = zmq.Context()
    pull = context.socket(zmq.PULL)
    pull.bind(endpoint(transport))
    where = pull.get(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()
    pushes = [context.socket(zmq.PUSH) for _ in range(6)]
    for push in pushes:
        push.linger = 0
        push.connect(where)
        push.send(b"x")
    for push in pushes[:2]:
        push.close()
    join = background(context.term)
    eventually(lambda: is_ending(pull))
    for push in pushes[2:4]:
        push.close()
    pull.close()
    for push in pushes[4:]:
        push.close()
    join()
    assert context.closed


@pytest.mark.parametrize("transport", ["tcp", "ipc", "inproc"])
def test_context_ends_while_a_hundred_threads_connect_and_close(background, endpoint, transport):
    for _ in range(3):
        context = zmq.Context(2)
        server = context.socket(zmq.PUB)
        server.bind(endpoint(transport))
        where = server.get(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()
        complaints = []

        def come_and_go(socket, where=where, complaints=complaints) -> None:
            try:
                socket.connect(where)
            except zmq.ContextTerminated:
                pass
            except BaseException as error:
                complaints.append(error)
            finally:
                socket.close(linger=0)

        threads = [
            threading.Thread(target=come_and_go, args=(context.socket(zmq.SUB),))
            for _ in range(100)
        ]
        for thread in threads:
            thread.start()
        server.close(linger=0)
        background(context.term)()
        for thread in threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in threads)
        assert context.closed
        assert complaints == []
