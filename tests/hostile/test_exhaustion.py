"""Row 12: more connections than descriptors. Row 21: a monitor that nobody reads."""

import errno
import resource
import socket as plain_socket
import sys
import threading
import time

import pytest
from peers.raw import RawPeer
from peers.subject import ours, rounds, zmq
from peers.waiting import A_WHILE, eventually


@pytest.fixture
def few_descriptors():
    """`few_descriptors(n)` leaves this process room for about `n` more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def leave(count: int) -> None:
        highest = plain_socket.socket()
        limit = highest.fileno() + count
        highest.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))

    yield leave
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Crowd:
    """Connections that this process' own limit does not count: they come from a process of their own."""

    def __init__(self, peer, address: str, count: int) -> None:
        self.ends = []
        for _ in range(count):
            end = peer.socket("PUSH")
            end.connect(address)
            self.ends.append(end)

    def go(self, count: int) -> None:
        """So many leave, each when what it sent is out."""
        for end in self.ends[:count]:
            end.close(linger=-1)
        del self.ends[:count]


@ours
def test_accepting_pauses_without_descriptors_and_goes_on_when_there_are_some(
    make, peer, few_descriptors
):
    pull = make("PULL", BACKLOG=100)
    address = pull.bind("tcp://127.0.0.1:*")
    monitor = pull.socket.get_monitor_socket(zmq.EVENT_ACCEPT_FAILED)
    first = peer.socket("PUSH")
    first.connect(address)
    first.send([b"before"])
    assert pull.receive() == [[b"before"]]
    few_descriptors(12)
    crowd = Crowd(peer, address, 40)
    assert monitor.poll(10_000), "the failure is told"
    head, endpoint = monitor.recv_multipart()
    assert int.from_bytes(head[2:], sys.byteorder) == errno.EMFILE
    assert endpoint.decode() == address
    first.send([b"meanwhile"])
    assert pull.receive() == [[b"meanwhile"]], "connections that there are go on"
    for end in crowd.ends:
        end.send([b"crowd"])
    crowd.go(30)
    assert pull.receive(40) == [[b"crowd"]] * 40, "each of them gets in, as others leave"
    pull.socket.disable_monitor()
    monitor.close(linger=0)
    crowd.go(10)
    first.close()


@ours
def test_full_table_of_descriptors_costs_no_processor_time(make, peer, few_descriptors):
    pull = make("PULL", BACKLOG=100)
    address = pull.bind("tcp://127.0.0.1:*")
    monitor = pull.socket.get_monitor_socket(zmq.EVENT_ACCEPT_FAILED)
    few_descriptors(8)
    crowd = Crowd(peer, address, 30)
    assert monitor.poll(10_000)
    before = time.process_time()
    assert not threading.Event().wait(2 * A_WHILE)
    assert time.process_time() - before < A_WHILE, "it pauses between two attempts"
    told = 0
    while monitor.poll(0):
        monitor.recv_multipart()
        told += 1
    assert told < 60, "a failure each pause, not each instant"
    monitor.close(linger=0)
    crowd.go(30)


@ours
def test_socket_without_a_descriptor_is_refused_at_the_call(context, few_descriptors):
    socket = context.socket(zmq.PULL)
    bound = socket.bind("tcp://127.0.0.1:*").addr
    few_descriptors(0)
    with pytest.raises(zmq.ZMQError) as caught:
        socket.bind("tcp://127.0.0.1:*")
    assert caught.value.errno == errno.EMFILE
    other = context.socket(zmq.PUSH)
    other.connect(bound)  # it is made in the background, when there is room
    other.send(b"late")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    socket.rcvtimeo = 10_000
    assert socket.recv() == b"late"


def test_thousands_of_connections_at_once(make):
    pull = make("PULL", BACKLOG=4096)
    address = pull.bind("tcp://127.0.0.1:*")
    crowd = [RawPeer.connect(address) for _ in range(rounds(1_000, 9_000))]
    push = make("PUSH")
    push.connect(address)
    push.send([b"one of many"])
    assert pull.receive() == [[b"one of many"]]
    for peer in crowd:
        peer.close()


@ours
def test_unread_monitor_stops_nothing_and_its_lost_events_are_counted(make):
    pull = make("PULL")
    monitor = pull.socket.get_monitor_socket()
    address = pull.bind("tcp://127.0.0.1:*")
    push = make("PUSH")
    push.connect(address)
    count = 1_000
    for _ in range(count):
        RawPeer.connect(address).close()
    push.send([b"still there"])
    assert pull.receive() == [[b"still there"]]
    eventually(lambda: pull.socket.statistics()["disconnected"] == count)
    told = 1 + 2 + 3 * count  # listening; accepted, handshake; accepted, failed, disconnected
    dropped = pull.socket.statistics()["monitor_dropped"]
    waiting = 0
    while monitor.poll(0):
        monitor.recv_multipart()
        waiting += 1
    assert waiting + dropped == told
    assert dropped > 0
    monitor.close(linger=0)
