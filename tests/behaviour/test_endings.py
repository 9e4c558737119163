"""Connections that end at a bad moment: nothing that was sent before is lost, nothing that ended lives on."""

import socket
import threading
import time

import pytest
from peers import subject
from peers.waiting import bind_when_free, eventually

zmq = subject.zmq
ours = subject.ours


def numbers(end, count):
    return [int(end.receive()[0][-1].rstrip(b".")) for _ in range(count)]


@ours
@pytest.mark.parametrize(("theirs", "mine"), [("PULL", "PUSH"), ("ROUTER", "DEALER")])
def test_sender_that_closes_loses_nothing_to_a_slow_receiver_that_pings(make, theirs, mine):
    """A PING that met the closed connection had the kernel throw away what the receiver had not read."""
    receiver = make(theirs, RCVHWM=1, HEARTBEAT_IVL=20, HEARTBEAT_TIMEOUT=60_000)
    sender = make(mine, LINGER=-1)
    sender.connect(receiver.bind("tcp://127.0.0.1:*"))
    for number in range(100):
        sender.socket.send(b"%d" % number + b"." * 10_000)
    sender.socket.close()
    # Several PINGs long the receiver reads nothing.
    assert not threading.Event().wait(0.3)
    assert numbers(receiver, 100) == list(range(100))


@ours
def test_dealer_that_does_not_receive_keeps_what_it_sends_after_the_loss(make, context):
    dealer = make("DEALER", RCVHWM=2, SNDHWM=10, ROUTING_ID=b"d", RECONNECT_IVL=10)
    first = make("ROUTER", LINGER=0)
    where = first.bind("tcp://127.0.0.1:*")
    dealer.connect(where)
    dealer.socket.send(b"hello")
    first.socket.recv_multipart()
    for _ in range(50):
        first.socket.send_multipart([b"d", b"unread"])
    lost = dealer.socket.statistics
    first.socket.close()
    sent = []

    def refused() -> bool:
        try:
            dealer.socket.send(b"%d" % len(sent), zmq.DONTWAIT)
        except zmq.Again:
            return True
        sent.append(len(sent))
        return False

    eventually(refused, what=f"a sender without a connection comes to its mark ({lost()})")
    second = make("ROUTER")
    second.bind(where)
    while dealer.socket.poll(0):
        dealer.socket.recv()

    def drained() -> bool:
        while dealer.socket.poll(0):
            dealer.socket.recv()
        return bool(second.socket.poll(20))

    eventually(drained, what="the queue goes to the next connection")
    got = [int(second.socket.recv_multipart()[1])]
    while got[-1] != sent[-1]:
        got.append(int(second.socket.recv_multipart()[1]))
    # What went into the broken connection's buffers is gone; what was queued came, in order.
    assert got == sent[-len(got) :]
    assert len(got) >= 10


@ours
def test_end_that_comes_with_the_connection_is_seen(make):
    """Data, end and connection in one event: the end was overlooked, and the connection kept for ever."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)

        def serve(count: int) -> None:
            for _ in range(count):
                connection, _ = listener.accept()
                connection.sendall(b"daytime")
                connection.close()

        count = 100
        server = threading.Thread(target=serve, args=(count,))
        server.start()
        stream = make("STREAM", LINGER=0, RECONNECT_IVL=-1)
        for _ in range(count):
            stream.connect(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
        notices: dict[bytes, int] = {}

        def all_ended() -> bool:
            while stream.socket.poll(20):
                identity, data = stream.socket.recv_multipart()
                if not data:
                    notices[identity] = notices.get(identity, 0) + 1
            return len(notices) == count and set(notices.values()) == {2}

        eventually(all_ended, what="each connection was announced, and its end too")
        server.join()


@ours
def test_disconnect_after_a_reconnect_ends_the_new_connection(make):
    """The pipe of the old connection, not read yet, was ended in the place of the new one."""
    pull = make("PULL", RECONNECT_IVL=10)
    first = make("PUSH", LINGER=-1)  # all five shall arrive
    where = first.bind("tcp://127.0.0.1:*")
    pull.connect(where)
    for number in range(5):
        first.socket.send(b"%d" % number)
    eventually(lambda: pull.socket.poll(0))
    first.socket.close()
    second = make("PUSH")
    bind_when_free(second.socket, where)
    second.socket.send(b"5")
    # Not before: the old connection may still be there when the new socket is bound.
    eventually(lambda: pull.socket.statistics()["handshakes"] == 2)
    eventually(lambda: pull.socket.statistics()["peers"] == 1)
    pull.socket.disconnect(where)
    eventually(lambda: second.socket.statistics()["peers"] == 0, what="the connection ended")
    assert {int(pull.socket.recv()) for _ in range(5)} >= set(range(4))


@ours
def test_connections_that_are_ended_while_they_are_made_leave_nothing(make):
    push = make("PUSH")
    where = push.bind("tcp://127.0.0.1:*")
    pull = make("PULL")
    for cycle in range(1_500):
        pull.connect(where)
        until = time.perf_counter() + (cycle % 400) * 1e-6
        while time.perf_counter() < until:
            pass
        pull.socket.disconnect(where)
    eventually(
        lambda: pull.socket.statistics()["peers"] == 0 and push.socket.statistics()["peers"] == 0,
        what="no connection is left",
    )


@ours
def test_inproc_name_is_free_again_after_disconnect_and_after_an_early_close(make):
    named = make("DEALER", ROUTING_ID=b"r")
    named.bind("inproc://endings-a")
    router = make("ROUTER", ROUTER_MANDATORY=1)
    for number in range(3):
        router.connect("inproc://endings-a")
        router.socket.send_multipart([b"r", b"%d" % number])
        assert named.receive() == [[b"%d" % number]]
        router.socket.disconnect("inproc://endings-a")
    assert router.socket.statistics()["peers"] == 0
    early = make("DEALER", ROUTING_ID=b"d")
    early.connect("inproc://endings-b")
    early.socket.send(b"1")
    early.socket.close()
    other = make("ROUTER")
    other.bind("inproc://endings-b")
    assert other.receive() == [[b"d", b"1"]]
    late = make("DEALER", ROUTING_ID=b"d")
    late.connect("inproc://endings-b")
    late.socket.send(b"2")
    assert other.receive() == [[b"d", b"2"]]


@ours
def test_listener_that_fails_for_good_does_not_spin(make):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        pull = make("PULL", USE_FD=listener.fileno())
        monitor = pull.socket.get_monitor_socket(zmq.EVENT_ACCEPT_FAILED)
        pull.bind(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
        listener.shutdown(socket.SHUT_RDWR)
        assert monitor.poll(10_000), "a failure is told"
        before = time.process_time()
        assert not threading.Event().wait(0.5)
        assert time.process_time() - before < 0.25, "half a second of failures"
        events = 0
        while monitor.poll(0):
            monitor.recv_multipart()
            events += 1
        assert events < 50
        monitor.close(linger=0)
