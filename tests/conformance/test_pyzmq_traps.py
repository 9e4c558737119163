"""Where replacements for pyzmq go wrong: errors, attributes, subclasses, shadows, shared and ended things.
`TRAPS.md` says which test stands for which trap.
"""

import copy
import errno
import gc
import inspect
import weakref
from unittest import mock

import pytest
from peers.subject import errno_of, is_ours, long_run, ours, rounds, zmq
from peers.waiting import PATIENCE_MS


@pytest.fixture(scope="module", autouse=True)
def collected(nothing_left_behind):
    """The descriptor that FD names goes with its socket, and contexts of the tests keep their sockets in a cycle."""
    yield
    gc.collect()
    if not is_ours:
        from zmq.utils.garbage import gc as collector_of_pyzmq

        collector_of_pyzmq.stop()  # the thread that its sends without copying need


@pytest.fixture
def pair(context):
    """Two connected sockets of type PAIR, within the process."""
    a, b = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    a.rcvtimeo = b.rcvtimeo = a.sndtimeo = b.sndtimeo = PATIENCE_MS
    a.bind("inproc://pair")
    b.connect("inproc://pair")
    return a, b


# Constants and numbers.


def test_results_of_polls_are_plain_numbers(pair):
    a, b = pair
    b.send(b"x")
    poller = zmq.Poller()
    poller.register(a, zmq.POLLIN)
    ((socket, events),) = poller.poll(PATIENCE_MS)
    assert socket is a and type(events) is int
    assert type(a.poll(PATIENCE_MS)) is int and type(a.poll(0, zmq.POLLOUT)) is int
    assert [type(events) for _, events in zmq.zmq_poll([(a, zmq.POLLIN)], PATIENCE_MS)] == [int]


def test_type_is_an_enum_and_options_are_plain_numbers(pair):
    a, _ = pair
    assert a.type is zmq.SocketType.PAIR
    for name in ("TYPE", "mechanism", "rcvmore", "events", "linger", "fd"):
        assert type(getattr(a, name)) is int, name
    assert type(a.identity) is type(a.last_endpoint) is bytes
    a.type = zmq.PUSH  # an attribute like any other
    assert a.type is zmq.PUSH and a.TYPE == zmq.PAIR


def test_any_constant_is_an_attribute_by_its_number(pair):
    """`EAGAIN` is 11, and so is SNDBUF."""
    a, _ = pair
    a.sndbuf = 12_345
    assert a.EAGAIN == a.sndbuf == 12_345


# Errors.


def test_error_of_a_call_is_no_error_of_the_system(context):
    with pytest.raises(zmq.ZMQError) as caught:
        context.socket(zmq.PULL).recv(zmq.DONTWAIT)
    assert isinstance(caught.value, zmq.Again) and not isinstance(caught.value, OSError)
    assert caught.value.errno == zmq.EAGAIN == errno.EAGAIN


CLOSED_SOCKET = {
    "send": lambda s: s.send(b""),
    "send_multipart": lambda s: s.send_multipart([b"", b""]),
    "recv": lambda s: s.recv(),
    "recv_into": lambda s: s.recv_into(bytearray(1)),
    "recv_multipart": lambda s: s.recv_multipart(),
    "get": lambda s: s.get(zmq.LINGER),
    "set": lambda s: s.set(zmq.LINGER, 0),
    "attribute": lambda s: s.linger,
    "fileno": lambda s: s.fileno(),
    "bind": lambda s: s.bind("inproc://a"),
    "connect": lambda s: s.connect("inproc://a"),
    "unbind": lambda s: s.unbind("inproc://a"),
    "disconnect": lambda s: s.disconnect("inproc://a"),
    "monitor": lambda s: s.monitor("inproc://a"),
    "get_monitor_socket": lambda s: s.get_monitor_socket(),
}


@pytest.mark.parametrize("call", CLOSED_SOCKET)
def test_closed_socket_is_enotsock(context, call):
    socket = context.socket(zmq.PAIR)
    socket.close()
    assert errno_of(CLOSED_SOCKET[call], socket) == zmq.ENOTSOCK
    assert socket.type is zmq.PAIR and socket.context is context and socket.underlying == 0


def test_each_closed_thing_has_its_own_error(context):
    socket = context.socket(zmq.PAIR)
    socket.close()
    assert errno_of(socket.poll, 0) == zmq.ENOTSUP
    ended = zmq.Context()
    ended.term()
    assert errno_of(ended.socket, zmq.PAIR) == zmq.ENOTSUP
    for call in (lambda: ended.get(zmq.IO_THREADS), lambda: ended.set(zmq.IO_THREADS, 1)):
        with pytest.raises(RuntimeError, match="Context has been destroyed"):
            call()
    assert ended.underlying == 0 and ended.term() is None and ended.destroy() is None


def test_address_stands_in_the_error_of_a_bind_and_connect(context):
    socket = context.socket(zmq.PAIR)
    for call in (socket.bind, socket.connect):
        with pytest.raises(zmq.ZMQError, match=r"Invalid argument.* \(addr='nonsense'\)$"):
            call("nonsense")
    socket.close()
    for call in (socket.bind, socket.connect):
        with pytest.raises(zmq.ZMQError, match=r"non-socket \(addr='inproc://a'\)$"):
            call("inproc://a")


# Attributes: what asks for all of them must get values, or AttributeError.


def test_context_can_be_the_model_of_a_mock(context):
    """Options that can only be set once were an error of another kind, which a mock passes on."""
    model = mock.Mock(spec=context)
    model.socket(zmq.PUSH)
    model.socket.assert_called_with(zmq.PUSH)
    with pytest.raises(AttributeError, match="write-only"):
        context.thread_affinity_cpu_add  # noqa: B018


@pytest.mark.filterwarnings("ignore:Socket.socket_type:DeprecationWarning")
def test_inspection_finds_every_member(context):
    for thing in (context, context.socket(zmq.SUB)):
        members = dict(inspect.getmembers(thing))
        assert {"underlying", "closed", "__class__"} <= set(members)


def test_unknown_names_are_attribute_errors_everywhere(context):
    socket, frame = context.socket(zmq.PUSH), zmq.Frame(b"x")
    for thing in (context, socket, frame):
        assert not hasattr(thing, "nothing_like_it") and not hasattr(thing, "__nothing__")
        with pytest.raises(AttributeError):
            thing.nothing_like_it = 1


def test_annotation_of_a_base_class_declares_an_attribute(context):
    class Base(zmq.Socket):
        _note: str

    class Own(Base):
        pass

    with Own(context, zmq.PUSH) as socket:
        socket._note = "mine"
        assert socket._note == "mine" and socket.__dict__["_note"] == "mine"
    with zmq.Socket(context, zmq.PUSH) as plain, pytest.raises(AttributeError):
        plain._note = "not declared"


def test_hwm_of_a_context_is_ignored(context):
    context.hwm = 10
    with context.socket(zmq.PUSH) as socket:
        assert socket.hwm == socket.sndhwm == socket.rcvhwm == 1000


# Subclasses.


SENDERS = {
    "send_string": lambda s: s.send_string("a"),
    "send_json": lambda s: s.send_json(1),
    "send_pyobj": lambda s: s.send_pyobj(1),
    "send_multipart": lambda s: s.send_multipart([b"a"]),
    "send_serialized": lambda s: s.send_serialized("a", lambda text: [text.encode()]),
}
RECEIVERS = {
    "recv_string": (b"a", "a"),
    "recv_json": (b"1", 1),
    "recv_multipart": (b"a", [b"a"]),
    "recv_serialized": (b"a", [b"a"]),
}


@pytest.mark.parametrize("helper", SENDERS)
def test_every_way_to_send_goes_through_the_send_of_a_subclass(context, helper):
    sent = []

    class Own(zmq.Socket):
        def send(self, data, *arguments, **options):
            sent.append(bytes(data))

    with Own(context, zmq.PUSH) as socket:
        SENDERS[helper](socket)
    assert len(sent) == 1


@pytest.mark.parametrize("helper", RECEIVERS)
def test_every_way_to_receive_goes_through_the_recv_of_a_subclass(context, helper):
    body, expected = RECEIVERS[helper]

    class Own(zmq.Socket):
        def recv(self, *arguments, **options):
            return body

    with Own(context, zmq.PULL) as socket:
        arguments = [lambda parts: parts] if helper == "recv_serialized" else []
        assert getattr(socket, helper)(*arguments) == expected


def test_subclasses_may_have_any_constructor(context):
    class Own(zmq.Socket):
        kind = "own"

        def __init__(self, context, kind, label="none", **options):
            super().__init__(context, kind, **options)
            self.kind = label

    with context.socket(zmq.PUSH, Own, label="given", copy_threshold=5) as socket:
        assert (type(socket), socket.kind, socket.copy_threshold) == (Own, "given", 5)
        assert socket in context._sockets


def test_name_in_the_repr_can_be_chosen(context):
    class OwnSocket(zmq.Socket):
        _repr_cls = "mine"

    class OwnContext(zmq.Context):
        _repr_cls = "ours"

    with OwnSocket(context, zmq.PUSH) as socket:
        assert repr(socket).startswith(f"<mine({zmq.__name__}.PUSH) at 0x")
    with OwnContext() as own:
        assert repr(own).startswith("<ours() at 0x")


# Things as keys, and the singleton.


def test_sockets_and_contexts_can_be_keys_and_weakly_referenced(context):
    socket = context.socket(zmq.PUSH)
    names = {socket: "socket", context: "context"}
    assert names[socket] == "socket" and names[context] == "context"
    assert weakref.ref(socket)() is socket and weakref.ref(context)() is context
    assert isinstance(context._sockets, weakref.WeakSet) and socket in context._sockets
    assert socket == socket and socket != zmq.Socket.shadow(socket)


def test_singleton_can_be_reset():
    before, zmq.Context._instance = zmq.Context._instance, None
    try:
        first = zmq.Context.instance()
        assert zmq.Context.instance() is first
        zmq.Context._instance = None
        second = zmq.Context.instance()
        assert second is not first
        first.term()
        second.term()
        third = zmq.Context.instance()
        assert third not in (first, second) and not third.closed
        third.term()
    finally:
        zmq.Context._instance = before


# Shadows.


def test_term_of_a_shadow_ends_the_original():
    context = zmq.Context()
    shadow = zmq.Context.shadow(context)
    shadow.term()
    assert shadow.closed and not context.closed
    with pytest.raises(zmq.ZMQError):  # theirs says EFAULT, ours that it was terminated
        context.socket(zmq.PUSH)
    try:
        context.term()
    except zmq.ZMQError as error:  # theirs, which keeps the address of what is gone
        assert error.errno == zmq.EFAULT


def test_sockets_of_a_shadow_belong_to_it(context):
    shadow = zmq.Context.shadow(context.underlying)
    with shadow.socket(zmq.PUSH) as socket:
        assert socket.context is shadow and socket in shadow._sockets
        assert socket not in context._sockets


def test_closing_any_face_of_a_socket_closes_all(context):
    for face in (copy.copy, copy.deepcopy, zmq.Socket.shadow, zmq.Socket, lambda s: s.underlying):
        socket = context.socket(zmq.PUSH)
        other = face(socket)
        if isinstance(other, int):
            other = zmq.Socket.shadow(other)
            assert other.context is None
        other.close()
        assert socket.closed and other.closed
        assert errno_of(socket.send, b"") == zmq.ENOTSOCK
        socket.close()


# Endpoints.


def test_last_endpoint_is_taken_back_as_bytes_and_as_text(context):
    for name in (lambda s: s.last_endpoint, lambda s: s.last_endpoint.decode()):
        bound, connected = context.socket(zmq.PULL), context.socket(zmq.PUSH)
        bound.bind("tcp://127.0.0.1:*")
        endpoint = name(bound)
        connected.connect(endpoint)
        connected.disconnect(endpoint)
        bound.unbind(endpoint)
        assert errno_of(bound.unbind, endpoint) == errno.ENOENT


def test_bind_and_connect_can_be_undone_by_a_with_statement(context):
    bound, connected = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    with bound.bind("tcp://127.0.0.1:*") as same:
        assert same is bound
        endpoint = bound.last_endpoint
        with connected.connect(endpoint) as other:
            assert other is connected
        assert errno_of(connected.disconnect, endpoint) == errno.ENOENT
    assert errno_of(bound.unbind, endpoint) == errno.ENOENT


# Messages.


@ours
def test_buffer_of_a_message_cannot_be_resized_before_it_is_sent(pair):
    """pyzmq lets go of the buffer's memory while it still reads it."""
    a, b = pair
    buffer = bytearray(b"x" * 100_000)
    a.send(buffer, copy=False)
    with pytest.raises(BufferError):
        buffer.extend(b"y" * 1_000_000)
    assert b.recv() == b"x" * 100_000
    buffer.clear()


def test_empty_frames_arrive(pair):
    a, b = pair
    a.send_multipart([b"", b"middle", b""])
    assert b.recv_multipart() == [b"", b"middle", b""]
    a.send(b"")
    frame = b.recv(copy=False)
    assert len(frame) == 0 and not frame and frame.bytes == b"" and frame.buffer.nbytes == 0


def test_unfinished_message_is_thrown_away_when_its_sender_closes(context):
    pull = context.socket(zmq.PULL)
    pull.rcvtimeo = PATIENCE_MS
    for address in ("inproc://unfinished", "tcp://127.0.0.1:*"):
        pull.bind(address)
        for count in range(rounds(3, 30)):
            half, whole = context.socket(zmq.PUSH), context.socket(zmq.PUSH)
            half.connect(pull.last_endpoint)
            half.send(b"half", zmq.SNDMORE)
            half.close()
            whole.connect(pull.last_endpoint)
            whole.send_multipart([b"whole", b"%d" % count])
            assert pull.recv_multipart() == [b"whole", b"%d" % count]
            whole.close()


HUGE = (1 << 31) + 5


def test_message_of_more_than_two_gibibytes_passes_within_the_process(pair):
    a, b = pair
    data = bytes(HUGE)  # zeros that nobody touches take no memory
    a.send(data, copy=False)
    frame = b.recv(copy=False)
    assert len(frame) == HUGE and frame.buffer.nbytes == HUGE


@pytest.mark.skipif(not long_run, reason="takes several gibibytes; MQCORE_LONG=1 runs it")
@pytest.mark.timeout(300)
def test_message_of_more_than_two_gibibytes_passes_over_tcp(context):
    push, pull = context.socket(zmq.PUSH), context.socket(zmq.PULL)
    pull.bind("tcp://127.0.0.1:*")
    push.connect(pull.last_endpoint)
    pull.rcvtimeo = 200_000
    data = bytearray(HUGE)
    data[-5:] = b"the e"
    push.send(data, copy=False)
    frame = pull.recv(copy=False)
    assert len(frame) == HUGE and bytes(frame.buffer[-5:]) == b"the e"
