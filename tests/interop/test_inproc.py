"""inproc between threads: every pair of types, both orders of bind and connect, and nothing but memory in between."""

import threading

import pytest
from peers.filler import filler
from peers.fixtures import open_descriptors
from peers.subject import is_ours, zmq
from peers.waiting import eventually

PAIRS = [
    ("PAIR", "PAIR"), ("PUSH", "PULL"), ("PULL", "PUSH"), ("REQ", "REP"), ("REP", "REQ"), ("DEALER", "REP"),
    ("DEALER", "ROUTER"), ("ROUTER", "DEALER"), ("REQ", "ROUTER"), ("PUB", "SUB"), ("SUB", "PUB"), ("XPUB", "SUB"),
]  # fmt: skip
MESSAGES = [[filler(size, 1)] for size in (0, 1, 33, 64, 65, 255, 256, 65_536, 1 << 20)]
MESSAGES += [[filler(50, i) for i in range(n)] for n in range(1, 21)]


def run(*functions) -> None:
    """Runs each in its own thread to the end; the first error is raised."""
    errors: list[BaseException] = []

    def guarded(function) -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(f,)) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.parametrize("first", ["bind", "connect"])
@pytest.mark.parametrize("ours, theirs", [("PUSH", "PULL"), ("PAIR", "PAIR"), ("DEALER", "DEALER")])
def test_stream_between_two_threads(make, endpoint, first, ours, theirs):
    sender, receiver = make(ours), make(theirs)
    where = endpoint("inproc")
    if first == "bind":
        receiver.bind(where)
        sender.connect(where)
    else:
        sender.connect(where)
        receiver.bind(where)
    got = []
    run(
        lambda: sender.send(*MESSAGES * 50),
        lambda: got.extend(receiver.receive(len(MESSAGES) * 50)),
    )
    assert got == MESSAGES * 50


@pytest.mark.parametrize("asks, answers", [("REQ", "REP"), ("REQ", "ROUTER"), ("DEALER", "REP")])
def test_questions_and_answers_between_threads(make, endpoint, asks, answers):
    client, server = make(asks), make(answers)
    where = endpoint("inproc")
    server.bind(where)
    client.connect(where)

    def serve() -> None:
        for _ in MESSAGES:
            server.send(*server.receive())

    def ask() -> None:
        for message in MESSAGES:
            body = message if asks == "REQ" else [b"", *message]
            client.send(body)
            assert client.receive() == [body]

    run(serve, ask)


def test_subscriber_gets_what_it_asked_for(make, endpoint):
    pub, sub = make("XPUB"), make("SUB")
    where = endpoint("inproc")
    pub.bind(where)
    sub.connect(where)
    sub.set("SUBSCRIBE", b"a")
    assert pub.receive() == [[b"\x01a"]]
    pub.send([b"b"], [b"a", b"1"])
    assert sub.receive() == [[b"a", b"1"]]
    sub.disconnect(where)
    eventually(lambda: sub.poll(0) or pub.receive_now() == [b"\x00a"])


def test_router_reads_the_given_and_the_automatic_id(make, endpoint):
    router, named, nameless = make("ROUTER"), make("DEALER", ROUTING_ID=b"name"), make("DEALER")
    where = endpoint("inproc")
    router.bind(where)
    named.connect(where)
    named.send([b"x"])
    assert router.receive() == [[b"name", b"x"]]
    nameless.connect(where)
    nameless.send([b"y"])
    ((identity, body),) = router.receive()
    assert len(identity) == 5 and identity[0] == 0 and body == b"y"
    router.send([b"name", b"1"], [identity, b"2"])
    assert named.receive() + nameless.receive() == [[b"1"], [b"2"]]


def test_many_threads_ask_one_server(make, context, endpoint):
    server = make("ROUTER")
    where = endpoint("inproc")
    server.bind(where)
    clients, each = 8, 200

    def client(number: int):
        def ask() -> None:
            socket = context.socket(zmq.REQ)
            socket.set(zmq.RCVTIMEO, 10_000)
            socket.connect(where)
            for n in range(each):
                socket.send_multipart([b"%d" % number, b"%d" % n])
                assert socket.recv_multipart() == [b"%d" % number, b"%d" % n]
            socket.close()

        return ask

    def serve() -> None:
        for _ in range(clients * each):
            server.send(*server.receive())

    run(serve, *[client(n) for n in range(clients)])


def test_name_is_free_again_after_unbind(make, endpoint):
    where = endpoint("inproc")
    first, second = make("PULL"), make("PULL")
    first.bind(where)
    with pytest.raises(zmq.ZMQError) as taken:
        second.bind(where)
    assert taken.value.errno == zmq.EADDRINUSE
    first.unbind(where)
    second.bind(where)
    push = make("PUSH")
    push.connect(where)
    push.send([b"x"])
    assert second.receive() == [[b"x"]]


def test_existing_connection_outlives_unbind(make, endpoint):
    where = endpoint("inproc")
    pull, push = make("PULL"), make("PUSH")
    pull.bind(where)
    push.connect(where)
    pull.unbind(where)
    push.send([b"still here"])
    assert pull.receive() == [[b"still here"]]


def test_message_of_one_thread_cannot_be_changed_by_another(make, endpoint):
    """The sender may reuse its buffer as soon as send returns."""
    where = endpoint("inproc")
    pull, push = make("PULL"), make("PUSH")
    pull.bind(where)
    push.connect(where)
    for size in (8, 64, 65, 1000, 100_000):
        buffer = bytearray(b"a" * size)
        push.socket.send(buffer)
        buffer[:] = b"b" * size
        assert pull.receive() == [[b"a" * size]]


@pytest.mark.skipif(not is_ours, reason="libzmq makes an eventfd for every socket")
def test_inproc_sockets_cost_no_descriptor(make, endpoint):
    where = endpoint("inproc")
    pull, push = make("PULL"), make("PUSH")
    before = len(open_descriptors())
    more = [make("PUSH") for _ in range(20)]
    pull.bind(where)
    for end in [push, *more]:
        end.connect(where)
        end.send([b"x"])
    pull.receive(21)
    assert len(open_descriptors()) - before <= 4, (
        "descriptors are made only when somebody asks for them"
    )
