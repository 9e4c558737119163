"""Contexts with several I/O threads, with one, and with none."""

import threading
from pathlib import Path

import pytest
from peers import subject
from peers.waiting import eventually

zmq = subject.zmq
ours = subject.ours


def io_threads() -> set[str]:
    names = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            names.add((task / "comm").read_text().strip())
        except OSError:
            continue  # it has just ended
    return {name for name in names if name.startswith("mqcore-")}


@pytest.fixture
def several():
    context = zmq.Context(3)
    yield context
    context.destroy(linger=0)


def pair_over(context, transport, **options):
    pull = context.socket(zmq.PULL)
    pull.bind("tcp://127.0.0.1:*" if transport == "tcp" else "ipc://*")
    push = context.socket(zmq.PUSH)
    for name, value in options.items():
        push.set(getattr(zmq, name), value)
    push.connect(pull.get(zmq.LAST_ENDPOINT).decode())
    pull.set(zmq.RCVTIMEO, 20_000)
    push.set(zmq.SNDTIMEO, 20_000)
    return push, pull


@ours
def test_threads_start_with_the_first_endpoint_that_needs_one_and_end_with_the_context():
    before = io_threads()
    context = zmq.Context(2)
    with context.socket(zmq.PULL) as socket:
        socket.bind("inproc://needs-no-thread")
        assert io_threads() == before
        socket.bind("tcp://127.0.0.1:*")
        eventually(lambda: len(io_threads() - before) == 2, what="two threads have their names")
    context.term()
    # The kernel lists a thread for a moment after it was joined.
    eventually(lambda: io_threads() == before, what="the threads have ended")


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_connections_on_several_threads_deliver_everything_in_order(several, transport):
    pairs = [pair_over(several, transport) for _ in range(6)]
    count = 2_000

    def send(push):
        for number in range(count):
            push.send(b"%d" % number)

    threads = [threading.Thread(target=send, args=(push,)) for push, _ in pairs]
    for thread in threads:
        thread.start()
    for _, pull in pairs:
        assert [int(pull.recv()) for _ in range(count)] == list(range(count))
    for thread in threads:
        thread.join()


def test_one_socket_serves_peers_on_several_threads(several):
    router = several.socket(zmq.ROUTER)
    router.bind("tcp://127.0.0.1:*")
    router.set(zmq.RCVTIMEO, 20_000)
    endpoint = router.get(zmq.LAST_ENDPOINT).decode()
    dealers = []
    for index in range(12):
        dealer = several.socket(zmq.DEALER)
        dealer.set(zmq.ROUTING_ID, b"dealer-%d" % index)
        dealer.set(zmq.RCVTIMEO, 20_000)
        dealer.connect(endpoint)
        dealers.append(dealer)
    for dealer in dealers:
        dealer.send(b"question")
    for _ in dealers:
        who, question = router.recv_multipart()
        assert question == b"question"
        router.send_multipart([who, b"answer to " + who])
    for index, dealer in enumerate(dealers):
        assert dealer.recv() == b"answer to dealer-%d" % index


def test_affinity_is_obeyed_where_it_names_a_thread(several):
    push, pull = pair_over(several, "tcp", AFFINITY=0b100)
    push.send(b"over the third thread")
    assert pull.recv() == b"over the third thread"


@ours
def test_affinity_to_no_thread_is_refused_with_a_sentence(several):
    with several.socket(zmq.PUSH) as push:
        push.set(zmq.AFFINITY, 1 << 40)
        with pytest.raises(zmq.ZMQError, match="AFFINITY") as refused:
            push.connect("tcp://127.0.0.1:1")
        assert refused.value.errno == zmq.EMTHREAD


def test_context_without_threads_does_inproc_only():
    context = zmq.Context(0)
    with context.socket(zmq.PAIR) as one, context.socket(zmq.PAIR) as other:
        one.bind("inproc://alone")
        other.connect("inproc://alone")
        one.send(b"x")
        assert other.recv() == b"x"
        with pytest.raises(zmq.ZMQError) as refused:
            one.bind("tcp://127.0.0.1:*")
        assert refused.value.errno == zmq.EMTHREAD
    context.term()
