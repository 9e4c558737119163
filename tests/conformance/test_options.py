"""Section 6.2 of the check list: what socket options do, seen in the kernel, in the queues and by
the peers. `checklist_a.md` says which test stands for which line.
"""

import errno
import grp
import os
import pwd
import socket as plain_socket
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peers.filler import filler
from peers.raw import RawPeer
from peers.subject import drafts, errno_of, needs_ipv6, ours, zmq
from peers.waiting import eventually
from peers.watch import Watch

KINDS = "PAIR PUB SUB REQ REP DEALER ROUTER PULL PUSH XPUB XSUB STREAM".split()


# What the kernel has been told.


def descriptor_of(end) -> plain_socket.socket:
    """A second descriptor of the connection that the next message comes from."""
    return plain_socket.socket(fileno=os.dup(end.socket.recv(copy=False).get(zmq.SRCFD)))


@contextmanager
def kernel_sockets(make, where="tcp://127.0.0.1:*", both=(), bound=(), connected=()):
    """The accepted and the connected end of a connection between sockets with these options, as the
    kernel knows them.
    """
    server = make("PAIR", **dict(both), **dict(bound))
    client = make("PAIR", **dict(both), **dict(connected))
    client.connect(server.bind(where))
    client.send([b"to the server"])
    with descriptor_of(server) as accepted:
        server.send([b"to the client"])
        with descriptor_of(client) as connecting:
            yield accepted, connecting


def as_the_kernel_has_it(option: int, value: int) -> int:
    """What a plain socket answers after the same setting (the kernel doubles sizes of buffers)."""
    with plain_socket.socket() as probe:
        probe.setsockopt(plain_socket.SOL_SOCKET, option, value)
        return probe.getsockopt(plain_socket.SOL_SOCKET, option)


@pytest.mark.parametrize("option", ["SNDBUF", "RCVBUF"])
def test_size_of_a_kernel_buffer_is_read_back_and_used(make, option):
    number, size = getattr(zmq, option), 11_920
    kernel = getattr(plain_socket, f"SO_{option}")
    fresh = make("PUSH").socket
    assert fresh.get(number) == -1
    fresh.set(number, size)
    assert fresh.get(number) == size
    with kernel_sockets(make, both={option: size}) as pair:
        for end in pair:
            got = end.getsockopt(plain_socket.SOL_SOCKET, kernel)
            assert got == as_the_kernel_has_it(kernel, size)


def test_descriptor_to_listen_on_is_none_until_one_is_given(make):
    socket = make("PULL").socket
    assert socket.get(zmq.USE_FD) == -1
    socket.set(zmq.USE_FD, 77)
    assert socket.get(zmq.USE_FD) == 77
    socket.set(zmq.USE_FD, -1)
    assert socket.get(zmq.USE_FD) == -1
    assert errno_of(lambda: socket.set(zmq.USE_FD, -2)) == errno.EINVAL


@pytest.mark.parametrize("value", [0, 0x28, 0xB8])
def test_type_of_service_is_set_on_both_ends(make, value):
    fresh = make("PAIR").socket
    assert fresh.get(zmq.TOS) == 0
    with kernel_sockets(make, both={"TOS": value}) as pair:
        for end in pair:
            assert end.getsockopt(plain_socket.IPPROTO_IP, plain_socket.IP_TOS) == value


def test_each_end_has_its_own_type_of_service(make):
    with kernel_sockets(make, bound={"TOS": 0x28}, connected={"TOS": 0x58}) as pair:
        found = [end.getsockopt(plain_socket.IPPROTO_IP, plain_socket.IP_TOS) for end in pair]
    assert found == [0x28, 0x58]


@needs_ipv6
def test_type_of_service_is_the_traffic_class_of_ipv6(make):
    with kernel_sockets(make, "tcp://[::1]:*", both={"IPV6": 1, "TOS": 0x28}) as pair:
        for end in pair:
            assert end.getsockopt(plain_socket.IPPROTO_IPV6, plain_socket.IPV6_TCLASS) == 0x28


@drafts
def test_priority_is_set_on_both_ends(make):
    fresh = make("PAIR").socket
    assert fresh.get(zmq.PRIORITY) == 0
    assert errno_of(lambda: fresh.set(zmq.PRIORITY, -1)) == errno.EINVAL
    fresh.set(zmq.PRIORITY, 3)
    assert fresh.get(zmq.PRIORITY) == 3
    with kernel_sockets(make, both={"PRIORITY": 3}) as pair:
        for end in pair:
            got = end.getsockopt(plain_socket.SOL_SOCKET, plain_socket.SO_PRIORITY)
            assert got == 3


@drafts
def test_connection_works_with_busy_polling(make):
    try:
        with kernel_sockets(make, both={"BUSY_POLL": 1}) as pair:
            assert len(pair) == 2
    except zmq.ZMQError as refused:
        assert refused.errno == errno.EPERM
        pytest.skip("this process may not ask for busy polling")


def test_name_of_a_device_is_read_back_until_it_is_too_long(make):
    socket = make("PULL").socket
    assert socket.get(zmq.BINDTODEVICE) == b""
    socket.set(zmq.BINDTODEVICE, b"wlan0")
    assert socket.get(zmq.BINDTODEVICE).rstrip(b"\0") == b"wlan0"
    assert errno_of(lambda: socket.set(zmq.BINDTODEVICE, b"d" * 17)) == errno.EINVAL
    assert socket.get(zmq.BINDTODEVICE).rstrip(b"\0") == b"wlan0"


def test_device_that_does_not_exist_is_refused_at_the_bind(make):
    end = make("PULL", BINDTODEVICE=b"nosuchdevice0")
    assert errno_of(lambda: end.bind("tcp://127.0.0.1:*")) in (errno.ENODEV, errno.EPERM)


def may_choose_a_device() -> bool:
    try:
        with plain_socket.socket() as probe:
            probe.setsockopt(plain_socket.SOL_SOCKET, plain_socket.SO_BINDTODEVICE, b"lo")
            return True
    except OSError:
        return False


@pytest.mark.skipif(not may_choose_a_device(), reason="this process may not choose a device")
def test_connection_goes_over_the_chosen_device(make):
    with kernel_sockets(make, both={"BINDTODEVICE": b"lo"}) as (_, connecting):
        got = connecting.getsockopt(plain_socket.SOL_SOCKET, plain_socket.SO_BINDTODEVICE, 16)
        assert got.rstrip(b"\0") == b"lo"


# The descriptor of a connection.


def test_descriptor_on_a_message_is_that_of_its_connection(make):
    push, pull = make("PUSH"), make("PULL")
    where = pull.bind("tcp://127.0.0.1:*")
    push.connect(where)
    push.send([b"two", b"parts"])
    frames = pull.socket.recv_multipart(copy=False)
    numbers = {frame.get(zmq.SRCFD) for frame in frames}
    assert len(numbers) == 1
    (number,) = numbers
    with plain_socket.socket(fileno=os.dup(number)) as connection:
        assert connection.getpeername()[0] == "127.0.0.1"
        assert connection.getsockname()[1] == int(where.rsplit(":", 1)[1])
    before = os.readlink(f"/proc/self/fd/{number}")

    def is_gone() -> bool:
        try:
            return os.readlink(f"/proc/self/fd/{number}") != before
        except FileNotFoundError:
            return True

    assert not is_gone()
    pull.close()
    push.close()
    eventually(is_gone, what="the descriptor is invalid after the end")


# High-water marks that change.


def fill(socket, limit: int = 5_000) -> int:
    """Sends numbers until EAGAIN; how many went in."""
    for n in range(limit):
        try:
            socket.send(b"%d" % n, zmq.DONTWAIT)
        except zmq.Again:
            return n
    return limit


def drain(socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(socket.recv(zmq.DONTWAIT))
        except zmq.Again:
            return found


def test_mark_raised_after_the_connect_holds_for_the_live_pipe(make, endpoint):
    push, pull = make("PUSH", SNDHWM=1), make("PULL", RCVHWM=1)
    push.connect(pull.bind(endpoint("inproc")))
    push.set("SNDHWM", 5)
    assert fill(push.socket) == 6
    assert drain(pull.socket) == [b"%d" % n for n in range(6)]


def test_mark_lowered_under_a_full_pipe_drops_nothing_and_holds_afterwards(make, endpoint):
    push, pull = make("PUSH", SNDHWM=100), make("PULL", RCVHWM=1)
    pull.connect(push.bind(endpoint("inproc")))
    assert fill(push.socket) == 101
    push.set("SNDHWM", 70)
    assert fill(push.socket) == 0
    assert drain(pull.socket) == [b"%d" % n for n in range(101)]
    eventually(lambda: push.socket.poll(0, zmq.POLLOUT), what="there is room again")
    again = fill(push.socket)
    assert 7 < again <= 71
    assert drain(pull.socket) == [b"%d" % n for n in range(again)]


# Who may come in over tcp.


BAD_NETWORKS = [
    b"",
    b"foo",
    b"localhost",
    b"/0",
    b"127.0.0.1/",
    b"256.0.0.0",
    b"256.0.0.0/8",
    b"0.0.0.0/-1",
    b"0.0.0.0/33",
    b"0.0.0.0/a",
    b"::/-1",
    b"::/129",
    b"::g/64",
    b"1" * 256,
]


@pytest.mark.parametrize("network", BAD_NETWORKS)
def test_what_is_no_network_is_refused_as_a_filter(make, network):
    pull = make("PULL")
    assert errno_of(lambda: pull.socket.set(zmq.TCP_ACCEPT_FILTER, network)) == errno.EINVAL
    push = make("PUSH")
    push.connect(pull.bind("tcp://127.0.0.1:*"))
    push.send([b"nothing was filtered"])
    assert pull.receive() == [[b"nothing was filtered"]]


def test_list_of_filters_cannot_be_read(make):
    socket = make("PULL", TCP_ACCEPT_FILTER=b"127.0.0.1").socket
    assert errno_of(lambda: socket.get(zmq.TCP_ACCEPT_FILTER)) == errno.EINVAL


FITTING = [
    [b"127.0.0.1"],
    [b"127.0.0.1/32"],
    [b"127.0.0.0/8"],
    [b"127.255.255.255/8"],
    [b"0.0.0.0/0"],
    [b"192.0.2.0/24", b"127.0.0.0/8"],
    [b"127.0.0.1", b"127.0.0.2", b"192.0.2.1"],
]


@pytest.mark.parametrize("networks", FITTING, ids=lambda networks: b" ".join(networks).decode())
def test_peer_of_a_listed_network_is_let_in(make, networks):
    pull, push = make("PULL"), make("PUSH")
    for network in networks:
        pull.set("TCP_ACCEPT_FILTER", network)
    push.connect(pull.bind("tcp://127.0.0.1:*"))
    push.send([b"x"])
    assert pull.receive() == [[b"x"]]


UNFITTING = [
    [b"192.0.2.0/24"],
    [b"127.0.0.2"],
    [b"127.0.0.2/31"],
    [b"126.0.0.0/8"],
    [b"192.0.2.0/24", b"127.0.0.2", b"10.0.0.0/8"],
]


@pytest.mark.parametrize("networks", UNFITTING, ids=lambda networks: b" ".join(networks).decode())
def test_peer_of_no_listed_network_is_turned_away(make, networks):
    pull = make("PULL")
    for network in networks:
        pull.set("TCP_ACCEPT_FILTER", network)
    with Watch(pull.socket) as watch:
        with RawPeer.connect(pull.bind("tcp://127.0.0.1:*")) as raw:
            assert raw.rest() == b"", "not even a greeting"
        watch.wait(zmq.EVENT_ACCEPT_FAILED)
        assert watch.count(zmq.EVENT_ACCEPTED) == 0


def test_filter_tells_addresses_of_one_host_apart(make):
    pull = make("PULL", TCP_ACCEPT_FILTER=b"127.0.0.2")
    where = pull.bind("tcp://127.0.0.1:*")
    refused, let_in = make("PUSH"), make("PUSH")
    with Watch(pull.socket) as watch:
        refused.connect(where)
        refused.send([b"of the wrong address"])
        watch.wait(zmq.EVENT_ACCEPT_FAILED, times=2)
        let_in.connect(where.replace("tcp://", "tcp://127.0.0.2:0;"))
        let_in.send([b"of the right address"])
        assert pull.receive() == [[b"of the right address"]]
    assert pull.receive_now() is None


@needs_ipv6
@pytest.mark.parametrize(
    "network, fits",
    [(b"::1", True), (b"::1/128", True), (b"::/0", True), (b"fe80::/10", False), (b"::2", False)],
)
def test_filter_may_be_a_network_of_ipv6(make, network, fits):
    pull, push = make("PULL", IPV6=1, TCP_ACCEPT_FILTER=network), make("PUSH", IPV6=1)
    with Watch(pull.socket) as watch:
        push.connect(pull.bind("tcp://[::1]:*"))
        push.send([b"x"])
        if fits:
            assert pull.receive() == [[b"x"]]
        else:
            watch.wait(zmq.EVENT_ACCEPT_FAILED)
            assert pull.receive_now() is None


def test_filter_set_after_the_bind_is_for_the_next_one(make):
    pull = make("PULL")
    where = pull.bind("tcp://127.0.0.1:*")
    pull.set("TCP_ACCEPT_FILTER", b"192.0.2.0/24")
    filtered = pull.bind("tcp://127.0.0.1:*")
    push = make("PUSH")
    push.connect(where)
    push.send([b"x"])
    assert pull.receive() == [[b"x"]]
    with RawPeer.connect(filtered) as raw:
        assert raw.rest() == b""


# Who may come in over ipc.


ME = {"PID": os.getpid(), "UID": os.getuid(), "GID": os.getgid()}


@pytest.mark.parametrize("transport", ["ipc", "abstract"])
@pytest.mark.parametrize("who", ME)
def test_process_with_the_listed_credentials_is_let_in(make, endpoint, transport, who):
    pull, push = make("PULL", **{f"IPC_FILTER_{who}": ME[who]}), make("PUSH")
    push.connect(pull.bind(endpoint(transport)))
    push.send([b"x"])
    assert pull.receive() == [[b"x"]]


@pytest.mark.parametrize("transport", ["ipc", "abstract"])
@pytest.mark.parametrize("who", ME)
def test_process_with_other_credentials_is_turned_away(make, endpoint, transport, who):
    pull = make("PULL", **{f"IPC_FILTER_{who}": ME[who] + 1})
    with Watch(pull.socket) as watch:
        with RawPeer.connect(pull.bind(endpoint(transport))) as raw:
            assert raw.rest() == b"", "not even a greeting"
        watch.wait(zmq.EVENT_ACCEPT_FAILED)
        assert watch.count(zmq.EVENT_ACCEPTED) == 0


@pytest.mark.parametrize("who", ME)
def test_one_fitting_filter_of_several_is_enough(make, endpoint, who):
    pull, push = make("PULL"), make("PUSH")
    for other in ME:
        pull.set(f"IPC_FILTER_{other}", ME[other] + 1)
    pull.set(f"IPC_FILTER_{who}", ME[who])
    push.connect(pull.bind(endpoint("ipc")))
    push.send([b"x"])
    assert pull.receive() == [[b"x"]]


def member_of_a_group() -> tuple[pwd.struct_passwd, int] | None:
    """A user whom the system lists in a second group, and that group; we ourselves if not root."""
    for group in grp.getgrall():
        for member in group.gr_mem:
            try:
                user = pwd.getpwnam(member)
            except KeyError:
                continue
            if user.pw_gid != group.gr_gid and user.pw_uid != 0:
                if os.getuid() in (0, user.pw_uid):
                    return user, group.gr_gid
    return None


def test_member_of_a_listed_group_is_let_in_by_its_other_groups(make, endpoint):
    found = member_of_a_group()
    if found is None:
        pytest.skip("no user here is listed in another group")
    user, group = found
    pull = make("PULL", IPC_FILTER_GID=group)
    where = pull.bind(endpoint("abstract"))
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(user.pw_gid)
                os.setuid(user.pw_uid)
            with RawPeer.connect(where) as raw:
                raw.send(b"\xff" + bytes(8) + b"\x7f")
                raw.read_exactly(10)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("who", ME)
@pytest.mark.parametrize("value", [b"", b"abcd", b"longer than a number", None, "1"])
def test_credentials_are_numbers(make, who, value):
    socket = make("PULL").socket
    with pytest.raises(TypeError):
        socket.set(getattr(zmq, f"IPC_FILTER_{who}"), value)
    assert errno_of(lambda: socket.get(getattr(zmq, f"IPC_FILTER_{who}"))) == errno.EINVAL


# Properties that an application gives to its connections.


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_properties_of_the_application_travel_both_ways(make, endpoint, transport):
    client = make("DEALER", METADATA=b"X-from:the client")
    server = make("DEALER", METADATA=b"X-from:the server")
    server.set("METADATA", b"X-second:one more: with a colon")
    client.connect(server.bind(endpoint(transport)))
    client.send([b"a", b"b"])
    for frame in server.socket.recv_multipart(copy=False):
        assert frame.get("X-from") == "the client"
        assert frame.get("Socket-Type") == "DEALER"
        assert errno_of(lambda frame=frame: frame.get("X-second")) == errno.EINVAL
    server.send([b"c"])
    answer = client.socket.recv(copy=False)
    assert answer.get("X-from") == "the server"
    assert answer.get("X-second") == "one more: with a colon"
    assert errno_of(lambda: answer.get("X-unknown")) == errno.EINVAL


def test_all_frames_that_a_router_gives_have_the_properties(make):
    """Also the routing id, which is taken in already when the router is polled."""
    router, dealer = make("ROUTER"), make("DEALER", METADATA=b"X-from:dealer", ROUTING_ID=b"me")
    dealer.connect(router.bind("tcp://127.0.0.1:*"))
    dealer.send([b"body"])
    assert router.poll(10)
    identity, body = router.socket.recv_multipart(copy=False)
    assert (identity.bytes, body.bytes) == (b"me", b"body")
    for frame in (identity, body):
        assert frame.get("X-from") == "dealer"
        assert frame.get("Socket-Type") == "DEALER"
        assert frame.get("Identity") == "me"
        assert frame.get("Peer-Address") == "127.0.0.1"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"from:no X",
        b"x-from:small x",
        b"X-from",
        b"X-from:",
        b":value",
        b"X-" + b"k" * 254 + b":too long",
    ],
)
def test_property_that_is_no_x_name_and_value_is_refused(make, text):
    socket = make("DEALER").socket
    assert errno_of(lambda: socket.set(zmq.METADATA, text)) == errno.EINVAL


# Anything at all.


numbers = st.integers(0, 130) | st.integers(-(2**31), 2**31 - 1)
values = (
    st.binary(max_size=300)
    | st.integers(-1, 3)
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(max_size=20)
    | st.none()
)
quick = settings(max_examples=200, deadline=None)


@pytest.fixture(scope="module")
def long_lived():
    """A context for many examples of one test."""
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


@quick
@given(kind=st.sampled_from(KINDS), number=numbers, value=values)
def test_any_value_of_any_option_is_taken_or_refused(long_lived, kind, number, value):
    with long_lived.socket(getattr(zmq, kind)) as socket:
        socket.linger = 0
        for call in (lambda: socket.set(number, value), lambda: socket.get(number)):
            try:
                call()
            except (zmq.ZMQError, TypeError, ValueError, OverflowError):
                pass
        assert socket.type == getattr(zmq, kind)


@quick
@given(number=numbers, value=st.integers(-(2**31), 2**31 - 1))
def test_any_value_of_any_option_of_a_context_is_taken_or_refused(number, value):
    with zmq.Context() as context:
        for call in (lambda: context.set(number, value), lambda: context.get(number)):
            try:
                call()
            except zmq.ZMQError:
                pass
        assert not context.closed


@ours  # what the reference leaves between its queue and the kernel is little by default
@pytest.mark.parametrize("batch", [1, 1000])
def test_batch_of_sending_bounds_what_is_encoded_ahead(make, batch):
    """A peer that does not read: what is taken beyond SNDHWM is in the kernel, or encoded."""

    def taken(**options: int) -> int:
        push = make("PUSH", SNDHWM=10, SNDBUF=4096, SNDTIMEO=0, **options)
        address = push.bind("tcp://127.0.0.1:*")
        with RawPeer.connect(address, receive_buffer=4096) as peer:
            peer.handshake(b"PULL")
            count, refused = 0, 0
            while refused < 20:
                try:
                    push.socket.send(b"0123456789")
                    count, refused = count + 1, 0
                except zmq.Again:
                    refused += not push.socket.poll(50, zmq.POLLOUT)
            return count

    assert taken() - taken(OUT_BATCH_SIZE=batch) > 5_000


@pytest.mark.parametrize("batch", [1, 100, 1 << 20])
@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_messages_of_any_size_pass_with_batches_of_any_size(make, endpoint, transport, batch):
    pull = make("PULL", IN_BATCH_SIZE=batch, OUT_BATCH_SIZE=batch)
    push = make("PUSH", IN_BATCH_SIZE=batch, OUT_BATCH_SIZE=batch)
    push.connect(pull.bind(endpoint(transport)))
    assert push.socket.get(zmq.OUT_BATCH_SIZE) == batch
    messages = [[filler(size, seed=size)] for size in (0, 1, 9, 255, 256, 8192, 70_000, 300_000)]
    for _ in range(3):
        push.send(*messages)
        assert pull.receive(len(messages)) == messages
