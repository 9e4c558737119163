"""The monitor of a socket: its events, their two forms, and who may read them."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peers.raw import RawListener, RawPeer, greeting
from peers.subject import zmq
from peers.waiting import PATIENCE_MS, eventually

Event = zmq.Event
EVERYTHING = 0x1FFFF
MECHANISM_MISMATCH = 0x11000002


class Reports:
    """Reads events, one at a time, in the first form."""

    def __init__(self, reader: Any) -> None:
        self.reader = reader
        reader.rcvtimeo = PATIENCE_MS

    def next(self) -> tuple[Any, int, bytes]:
        """Event, value and endpoint of the next event."""
        head, endpoint = self.reader.recv_multipart()
        assert len(head) == 6
        event, value = struct.unpack("=HI", head)
        return Event(event), value, endpoint

    def names(self, count: int) -> list[Any]:
        return [self.next()[0] for _ in range(count)]

    def are_silent(self) -> bool:
        return not self.reader.poll(200)


class Reports2(Reports):
    """The same in the second form."""

    def next(self) -> tuple[Any, list[int], bytes, bytes]:  # type: ignore[override]
        """Event, values, local and remote address of the next event."""
        event, count, *values, local, remote = self.reader.recv_multipart()
        numbers = [int.from_bytes(value, "little") for value in (event, count, *values)]
        assert all(len(frame) == 8 for frame in (event, count, *values))
        assert numbers[1] == len(numbers) - 2
        return Event(numbers[0]), numbers[2:], local, remote


@pytest.fixture
def watch(context: Any) -> Iterator[Any]:
    """`watch(socket)` gives the events of a socket."""
    kept = []

    def watch(socket: Any, events: int = zmq.EVENT_ALL) -> Reports:
        kept.append(socket.get_monitor_socket(events))
        return Reports(kept[-1])

    yield watch
    for reader in kept:
        reader.close(linger=0)


def refused(call: Any) -> int:
    with pytest.raises(zmq.ZMQError) as caught:
        call()
    assert len(str(caught.value)) > 10
    return int(caught.value.errno)


# What happens, and in which order.


def test_bound_socket_reports_listening_accepted_and_handshake(sockets: Any, watch: Any) -> None:
    bound, connected = sockets(zmq.PULL), sockets(zmq.PUSH)
    reports = watch(bound)
    assert reports.reader.type is zmq.PAIR
    assert bound.get_monitor_socket() is reports.reader
    bound.bind("tcp://127.0.0.1:*")
    connected.connect(bound.last_endpoint)
    seen = [reports.next() for _ in range(3)]
    assert [event for event, _, _ in seen] == [
        Event.LISTENING,
        Event.ACCEPTED,
        Event.HANDSHAKE_SUCCEEDED,
    ]
    assert [value > 0 for _, value, _ in seen] == [True, True, False], "descriptors, 0"
    assert {endpoint for _, _, endpoint in seen} == {bound.last_endpoint}
    bound.disable_monitor()
    assert reports.next() == (Event.MONITOR_STOPPED, 0, b"")


def test_connecting_socket_reports_delayed_connected_and_handshake(
    sockets: Any, watch: Any
) -> None:
    connected, bound = sockets(zmq.PUSH), sockets(zmq.PULL)
    bound.bind("tcp://127.0.0.1:*")
    reports = watch(connected)
    connected.connect(bound.last_endpoint)
    seen = [reports.next() for _ in range(3)]
    assert [event for event, _, _ in seen] == [
        Event.CONNECT_DELAYED,
        Event.CONNECTED,
        Event.HANDSHAKE_SUCCEEDED,
    ]
    assert seen[0][1] == errno.EINPROGRESS
    assert {endpoint for _, _, endpoint in seen} == {bound.last_endpoint}


def test_lost_server_is_reported_and_each_attempt_to_reach_it_again(
    sockets: Any, watch: Any
) -> None:
    connected, bound = sockets(zmq.PUSH), sockets(zmq.PULL)
    bound.bind("tcp://127.0.0.1:*")
    connected.reconnect_ivl = 20
    reports = watch(connected)
    connected.connect(bound.last_endpoint)
    assert reports.names(3)[-1] is Event.HANDSHAKE_SUCCEEDED
    bound.close(linger=0)
    assert reports.next()[0] is Event.DISCONNECTED
    retried, interval, _ = reports.next()
    assert (retried, interval >= 20) == (Event.CONNECT_RETRIED, True)
    assert reports.names(3) == [Event.CONNECT_DELAYED, Event.CLOSED, Event.CONNECT_RETRIED]


def test_unbind_reports_closed_and_disconnect_nothing(sockets: Any, watch: Any) -> None:
    connected, bound = sockets(zmq.PUSH), sockets(zmq.PULL)
    address = bound.bind("tcp://127.0.0.1:*").addr
    reports = watch(connected)
    connected.connect(address)
    assert reports.names(3)[-1] is Event.HANDSHAKE_SUCCEEDED
    connected.disconnect(address)
    at_the_bound = watch(bound)
    bound.unbind(address)
    event, _, endpoint = at_the_bound.next()
    while event is not Event.CLOSED:
        event, _, endpoint = at_the_bound.next()
    assert endpoint.decode() == address
    seen = []
    while reports.reader.poll(200):
        seen.append(reports.next()[0])
    assert set(seen) <= {Event.DISCONNECTED}, "at most that the connection has ended"


@pytest.mark.deviation
def test_address_in_use_is_reported(sockets: Any, watch: Any) -> None:
    first, second = sockets(zmq.PULL), sockets(zmq.PULL)
    address = first.bind("tcp://127.0.0.1:*").addr
    reports = watch(second, Event.BIND_FAILED)
    assert refused(lambda: second.bind(address)) == zmq.EADDRINUSE
    event, value, endpoint = reports.next()
    assert (event, value) == (Event.BIND_FAILED, zmq.EADDRINUSE)
    assert address.endswith(endpoint.decode())


def test_peer_that_leaves_during_the_handshake_is_reported(sockets: Any, watch: Any) -> None:
    bound = sockets(zmq.PULL)
    bound.bind("tcp://127.0.0.1:*")
    reports = watch(bound)
    with RawPeer.connect(bound.last_endpoint.decode()) as peer:
        peer.send(greeting()[:20])
        assert reports.next()[0] is Event.ACCEPTED
    event, value, _ = reports.next()
    assert event is Event.HANDSHAKE_FAILED_NO_DETAIL
    assert value in (errno.ECONNRESET, errno.EPIPE)
    assert reports.next()[0] is Event.DISCONNECTED


def test_another_mechanism_is_reported_as_a_protocol_failure(sockets: Any, watch: Any) -> None:
    bound = sockets(zmq.PULL)
    bound.bind("tcp://127.0.0.1:*")
    reports = watch(bound)
    with RawPeer.connect(bound.last_endpoint.decode()) as peer:
        peer.send(greeting(mechanism=b"PLAIN"))
        assert reports.next()[0] is Event.ACCEPTED
        assert reports.next()[:2] == (Event.HANDSHAKE_FAILED_PROTOCOL, MECHANISM_MISMATCH)
        assert reports.next()[0] is Event.DISCONNECTED


@pytest.mark.deviation
def test_server_that_speaks_something_else_is_reported_and_tried_again(
    sockets: Any, watch: Any
) -> None:
    connected = sockets(zmq.PUSH, reconnect_ivl=10)
    reports = watch(connected, zmq.EVENT_ALL & ~Event.CONNECT_DELAYED)
    with RawListener() as listener:
        connected.connect(listener.endpoint)
        with listener.accept() as server:
            server.send(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(64))
            assert reports.next()[0] is Event.CONNECTED
            assert reports.next()[0] in (
                Event.HANDSHAKE_FAILED_PROTOCOL,
                Event.HANDSHAKE_FAILED_NO_DETAIL,
            )
            assert reports.names(2) == [Event.DISCONNECTED, Event.CONNECT_RETRIED]
        listener.accept().close()


def test_only_the_events_that_were_asked_for_are_reported(sockets: Any) -> None:
    bound, connected = sockets(zmq.PULL), sockets(zmq.PUSH)
    reader = bound.get_monitor_socket(Event.LISTENING, "inproc://own-address")
    reports = Reports(reader)
    bound.bind("tcp://127.0.0.1:*")
    connected.connect(bound.last_endpoint)
    connected.send(b"")
    bound.recv()
    bound.disable_monitor()
    assert reports.names(1) == [Event.LISTENING]
    assert reports.are_silent(), "nor the end, which was not asked for either"
    reader.close()


def test_inproc_has_no_events(sockets: Any, watch: Any) -> None:
    bound, connected = sockets(zmq.PULL), sockets(zmq.PUSH)
    at_both = watch(bound), watch(connected)
    bound.bind("inproc://events")
    connected.connect("inproc://events")
    connected.send(b"")
    bound.recv()
    connected.disconnect("inproc://events")
    bound.unbind("inproc://events")
    connected.close()
    bound.close()
    for reports in at_both:
        assert reports.names(1) == [Event.MONITOR_STOPPED], "nothing before the end"


def test_second_monitor_replaces_the_first(sockets: Any) -> None:
    bound = sockets(zmq.PULL)
    readers = []
    for name in ("inproc://first", "inproc://second"):
        bound.monitor(name)
        readers.append(Reports(sockets(zmq.PAIR)))
        readers[-1].reader.connect(name)
    bound.bind("tcp://127.0.0.1:*")
    first, second = readers
    assert first.next()[0] is Event.MONITOR_STOPPED
    assert second.next()[0] is Event.LISTENING
    assert not first.reader.poll(0)
    bound.monitor(None)
    assert second.next()[0] is Event.MONITOR_STOPPED
    assert second.are_silent()


def test_close_of_the_socket_stops_its_monitor(sockets: Any, watch: Any) -> None:
    bound = sockets(zmq.PULL)
    reports = watch(bound)
    bound.close()
    assert reports.next() == (Event.MONITOR_STOPPED, 0, b"")


def test_monitor_reports_over_inproc_only(sockets: Any) -> None:
    assert refused(lambda: sockets(zmq.PULL).monitor("tcp://127.0.0.1:*")) == zmq.EPROTONOSUPPORT


@pytest.mark.deviation
def test_address_of_a_monitor_is_its_own(sockets: Any) -> None:
    first, second = sockets(zmq.PULL), sockets(zmq.PULL)
    first.monitor("inproc://taken")
    assert refused(lambda: second.monitor("inproc://taken")) == zmq.EADDRINUSE
    first.monitor(None)


# The second form.


def watched(sockets: Any, socket: Any, name: str = "inproc://form-2", **how: Any) -> Reports2:
    socket.monitor(name, EVERYTHING, version=2, **how)
    reports = Reports2(sockets(zmq.PAIR))
    reports.reader.connect(name)
    return reports


@pytest.mark.deviation
@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_second_form_tells_both_addresses(sockets: Any, tmp_path: Path, transport: str) -> None:
    bound, connected = sockets(zmq.PULL), sockets(zmq.PUSH)
    at_bound = watched(sockets, bound, "inproc://bound")
    at_connected = watched(sockets, connected, "inproc://connected")
    bound.bind("tcp://127.0.0.1:*" if transport == "tcp" else f"ipc://{tmp_path}/form-2")
    address = bound.last_endpoint
    connected.connect(address)
    event, (descriptor,), local, remote = at_bound.next()
    assert (event, local, remote) == (Event.LISTENING, address, b"")
    assert descriptor > 0
    event, (descriptor,), local, remote = at_bound.next()
    assert (event, local) == (Event.ACCEPTED, address)
    assert remote.startswith(f"{transport}://".encode()) and remote != address
    assert at_bound.next() == (Event.HANDSHAKE_SUCCEEDED, [0], local, remote)
    seen = at_connected.next()
    if transport == "tcp":
        assert seen == (Event.CONNECT_DELAYED, [errno.EINPROGRESS], b"", address)
        seen = at_connected.next()
    assert (seen[0], *seen[2:]) == (Event.CONNECTED, remote, local)
    assert at_connected.next() == (Event.HANDSHAKE_SUCCEEDED, [0], remote, local)
    connected.close()
    assert at_connected.reader.recv_multipart()[-2:] in ([b"", b""], [remote, local])
    event, _, *ends = at_bound.next()
    assert (event, ends) == (Event.DISCONNECTED, [local, remote]), "also of a peer that has gone"
    bound.monitor(None)
    assert at_bound.next() == (Event.MONITOR_STOPPED, [0], b"", b"")


@pytest.mark.deviation
def test_queues_of_each_peer_are_reported_when_asked_for(sockets: Any) -> None:
    push, pull = sockets(zmq.PUSH), sockets(zmq.PULL)
    address = pull.bind("tcp://127.0.0.1:*").addr
    pull.unbind(address)
    reports = watched(sockets, push)
    assert refused(push.monitor_pipes_stats) == zmq.EAGAIN, "there is no peer"
    push.connect(address)
    for _ in range(5):
        push.send(b"waits")
    push.monitor_pipes_stats()
    seen = reports.next()
    while seen[0] is not Event.PIPES_STATS:
        seen = reports.next()
    assert seen[1:] == ([5, 0], b"", address.encode())


@pytest.mark.deviation
def test_queue_of_a_receiver_is_reported(sockets: Any) -> None:
    push, pull = sockets.pair(zmq.PUSH, zmq.PULL, "tcp")
    pull.monitor("inproc://queues", Event.PIPES_STATS, version=2)
    reports = Reports2(sockets(zmq.PAIR))
    reports.reader.connect("inproc://queues")
    for _ in range(7):
        push.send(b"unread")
    eventually(lambda: pull.statistics()["peers"] == 1, what="the peer is there")

    def unread() -> int:
        pull.monitor_pipes_stats()
        event, (outbound, inbound), local, _ = reports.next()
        assert (event, outbound, local) == (Event.PIPES_STATS, 0, pull.last_endpoint)
        return int(inbound)

    eventually(lambda: unread() == 7, what="seven messages wait")
    for _ in range(7):
        pull.recv()
    with pytest.raises(zmq.Again):
        pull.recv(zmq.DONTWAIT)
    assert unread() == 0


@pytest.mark.deviation
def test_queues_are_not_reported_to_who_did_not_ask(sockets: Any) -> None:
    push, pull = sockets.pair(zmq.PUSH, zmq.PULL, "tcp")
    assert refused(push.monitor_pipes_stats) == zmq.EINVAL
    push.monitor("inproc://form-1")
    assert refused(push.monitor_pipes_stats) == zmq.EINVAL


# Who sends them.


@pytest.mark.deviation
def test_pub_monitor_has_any_number_of_readers(sockets: Any) -> None:
    bound = sockets(zmq.PULL)
    bound.monitor("inproc://published", type=zmq.PUB)
    readers = [Reports(sockets(zmq.SUB, subscribe=b"")) for _ in range(3)]
    for reports in readers:
        reports.reader.connect("inproc://published")
    bound.bind("tcp://127.0.0.1:*")
    for reports in readers:
        assert reports.next()[::2] == (Event.LISTENING, bound.last_endpoint)


@pytest.mark.deviation
def test_pub_monitor_with_the_second_form_is_subscribed_to_by_event(sockets: Any) -> None:
    bound, connected = sockets(zmq.PULL), sockets(zmq.PUSH)
    bound.monitor("inproc://published-2", EVERYTHING, version=2, type=zmq.PUB)
    accepted = struct.pack("=Q", Event.ACCEPTED)
    reports = Reports2(sockets(zmq.SUB, subscribe=accepted))
    reports.reader.connect("inproc://published-2")
    bound.bind("tcp://127.0.0.1:*")
    connected.connect(bound.last_endpoint)
    assert reports.next()[0] is Event.ACCEPTED


@pytest.mark.deviation
def test_push_monitor_shares_its_events_out(sockets: Any) -> None:
    bound = sockets(zmq.PULL)
    bound.monitor("inproc://pushed", Event.LISTENING, type=zmq.PUSH)
    readers = [Reports(sockets(zmq.PULL)) for _ in range(2)]
    for reports in readers:
        reports.reader.connect("inproc://pushed")
    bound.bind("tcp://127.0.0.1:*")
    bound.bind("tcp://127.0.0.1:*")
    assert {reports.next()[0] for reports in readers} == {Event.LISTENING}


@pytest.mark.deviation
@pytest.mark.parametrize(
    "how",
    [
        {"version": 0},
        {"version": 3},
        {"events": EVERYTHING},
        {"events": -1},
        {"type": zmq.SUB},
        {"type": 99},
    ],
    ids=str,
)
def test_monitor_that_cannot_be_is_refused_and_the_one_before_goes_on(
    sockets: Any, watch: Any, how: dict[str, int]
) -> None:
    bound = sockets(zmq.PULL)
    reports = watch(bound)
    assert refused(lambda: bound.monitor("inproc://never", **how)) == zmq.EINVAL
    bound.bind("tcp://127.0.0.1:*")
    assert reports.next()[0] is Event.LISTENING


# Nobody reads.


@pytest.mark.deviation
@pytest.mark.parametrize("kind", [zmq.PAIR, zmq.PUSH, zmq.PUB], ids=["PAIR", "PUSH", "PUB"])
def test_events_that_nobody_reads_are_dropped_and_counted(sockets: Any, kind: int) -> None:
    bound = sockets(zmq.PULL)
    bound.monitor("inproc://unread", type=kind)
    reader = sockets({zmq.PAIR: zmq.PAIR, zmq.PUSH: zmq.PULL, zmq.PUB: zmq.SUB}[kind], rcvhwm=10)
    if kind == zmq.PUB:
        reader.subscribe(b"")
    reader.connect("inproc://unread")
    dropped = bound.statistics()["monitor_dropped"]
    assert dropped == 0
    room = 1000 + 10
    binds = room // 2 + 20
    for _ in range(binds):
        bound.unbind(bound.bind("tcp://127.0.0.1:*").addr)
    assert bound.statistics()["monitor_dropped"] == 2 * binds - room
    bound.monitor(None)  # which nobody has room to hear of either
    assert bound.statistics()["monitor_dropped"] == 2 * binds - room + 1
    assert len([reader.recv_multipart() for _ in range(room)]) == room
    assert not reader.poll(0)
