"""Messages through sockets: what can be sent, what comes out, and what is refused."""

from __future__ import annotations

import array
import importlib
import mmap
import os
import time
from typing import Any

import pytest

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))

FINISHED = zmq._FINISHED_TRACKER
LARGE = 100_000


@pytest.fixture(params=["inproc", "tcp"])
def pipe(request: pytest.FixtureRequest, sockets: Any) -> Any:
    """A sender and a receiver."""
    return sockets.pair(zmq.PUSH, zmq.PULL, request.param)


@pytest.fixture
def inproc(sockets: Any) -> Any:
    return sockets.pair(zmq.PUSH, zmq.PULL)


# What can be sent.


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("size", [0, 1, 64, 65, 255, 256, 8191, 8192, 65536, 1_000_000])
def test_bytes_of_every_size_arrive(pipe: Any, size: int, copy: bool) -> None:
    sender, receiver = pipe
    payload = os.urandom(size)
    sender.send(payload, copy=copy)
    assert receiver.recv() == payload
    sender.send(payload)
    frame = receiver.recv(copy=False)
    assert frame.bytes == payload and len(frame) == size


@pytest.mark.parametrize("size", [3, 10_000])
@pytest.mark.parametrize(
    "make",
    [
        bytearray,
        memoryview,
        lambda payload: memoryview(bytearray(payload)),
        lambda payload: array.array("B", payload),
        zmq.Frame,
    ],
)
def test_any_buffer_can_be_sent(inproc: Any, make: Any, size: int) -> None:
    sender, receiver = inproc
    payload = os.urandom(size)
    for copy in (True, False):
        sender.send(make(payload), copy=copy)
        assert receiver.recv() == payload
    sender.send_multipart([make(payload), make(payload)])
    assert receiver.recv_multipart() == [payload, payload]


def test_buffers_of_numbers_send_their_raw_bytes(inproc: Any) -> None:
    sender, receiver = inproc
    numbers = array.array("d", [1.0, 2.0])
    sender.send(numbers)
    assert receiver.recv() == numbers.tobytes()
    matrix = memoryview(bytes(12)).cast("B", (3, 4))
    sender.send(matrix)
    assert receiver.recv() == bytes(12)
    with mmap.mmap(-1, 4096) as mapped:
        mapped[:3] = b"abc"
        sender.send(mapped)
        assert receiver.recv()[:4] == b"abc\0"


def test_subclass_of_bytes_can_be_sent(inproc: Any) -> None:
    class Own(bytes):
        pass

    sender, receiver = inproc
    sender.send(Own(b"x" * 9000))
    assert receiver.recv() == b"x" * 9000


def test_buffer_changed_after_a_copying_send_does_not_change_the_message(inproc: Any) -> None:
    sender, receiver = inproc
    buffer = bytearray(b"a" * 9000)
    sender.send(buffer)
    buffer[:] = b"b" * 9000
    assert receiver.recv() == b"a" * 9000


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        ("x", TypeError, "unicode not allowed, use send_string"),
        (None, TypeError, "a bytes-like object is required, not 'NoneType'"),
        (5, TypeError, "a bytes-like object is required, not 'int'"),
        ([b"x"], TypeError, "a bytes-like object is required, not 'list'"),
        (memoryview(bytes(6))[::2], BufferError, "contiguous"),
    ],
)
@pytest.mark.parametrize("copy", [True, False])
def test_what_has_no_bytes_is_refused(
    inproc: Any, data: Any, error: Any, text: str, copy: bool
) -> None:
    sender, receiver = inproc
    with pytest.raises(error, match=text):
        sender.send(data, copy=copy)
    with pytest.raises(zmq.Again):
        receiver.recv(zmq.DONTWAIT)


@pytest.mark.parametrize("flags", [None, "x"])
def test_flags_of_a_wrong_type_are_a_type_error(inproc: Any, flags: Any) -> None:
    sender, receiver = inproc
    with pytest.raises(TypeError):
        sender.send(b"x", flags=flags)
    with pytest.raises(TypeError):
        receiver.recv(flags)


def test_unknown_bits_of_flags_are_ignored(inproc: Any) -> None:
    sender, receiver = inproc
    sender.send(b"x", flags=128)
    assert receiver.recv(128) == b"x"


# What send returns.


def test_copying_send_returns_nothing(inproc: Any) -> None:
    sender, receiver = inproc
    assert sender.send(b"x") is None
    assert sender.send(b"x" * LARGE, track=True) is None
    assert sender.send_multipart([b"x", b"y"], track=True) is None


def test_send_without_copy_returns_a_finished_tracker_for_what_is_short(inproc: Any) -> None:
    sender, receiver = inproc
    assert sender.send(b"x", copy=False) is FINISHED
    assert sender.send(b"x", copy=False, track=True) is FINISHED
    assert sender.send_multipart([b"x" * LARGE, b"x"], copy=False) is FINISHED
    assert FINISHED.done


def test_send_without_copy_tracks_what_is_long(inproc: Any) -> None:
    sender, receiver = inproc
    assert sender.send(b"x" * LARGE, copy=False) is None
    assert receiver.recv() == b"x" * LARGE
    tracker = sender.send(b"x" * LARGE, copy=False, track=True)
    assert isinstance(tracker, zmq.MessageTracker)
    assert not tracker.done
    with pytest.raises(zmq.NotDone):
        tracker.wait(timeout=0.01)
    assert receiver.recv() == b"x" * LARGE
    tracker.wait(timeout=10)
    assert tracker.done


def test_copy_threshold_of_the_socket_decides_what_is_long(inproc: Any) -> None:
    sender, receiver = inproc
    sender.copy_threshold = 0
    tracker = sender.send(b"x", copy=False, track=True)
    assert tracker is not FINISHED and not tracker.done
    assert receiver.recv() == b"x"
    tracker.wait(10)


def test_frame_can_be_sent_many_times_and_gives_its_own_tracker(inproc: Any) -> None:
    sender, receiver = inproc
    frame = zmq.Frame(b"x" * LARGE, track=True)
    for _ in range(3):
        assert sender.send(frame) is frame.tracker
        assert receiver.recv() == frame.bytes
    tracker = frame.tracker
    assert not tracker.done
    del frame
    tracker.wait(10)
    assert sender.send(zmq.Frame(b"x")) is None
    with pytest.raises(ValueError, match="Not a tracked message"):
        sender.send(zmq.Frame(b"x"), track=True)


# Several parts.


@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_parts_arrive_together_and_in_order(pipe: Any, count: int) -> None:
    sender, receiver = pipe
    parts = [str(index).encode() * index for index in range(count)]
    sender.send_multipart(parts)
    sender.send_multipart(tuple(parts))
    assert receiver.recv_multipart() == parts
    frames = receiver.recv_multipart(copy=False)
    assert [frame.bytes for frame in frames] == parts
    assert [frame.more for frame in frames] == [True] * (count - 1) + [False]


def test_parts_can_be_sent_and_received_one_by_one(pipe: Any) -> None:
    sender, receiver = pipe
    sender.send(b"a", zmq.SNDMORE)
    with pytest.raises(zmq.Again):
        receiver.recv(zmq.DONTWAIT)
    sender.send(b"b", zmq.SNDMORE)
    sender.send(b"c")
    assert (receiver.recv(), receiver.rcvmore) == (b"a", 1)
    frame = receiver.recv(copy=False)
    assert (frame.bytes, frame.more, receiver.rcvmore) == (b"b", True, 1)
    assert (receiver.recv(), receiver.rcvmore) == (b"c", 0)


def test_multipart_goes_on_with_an_open_message(inproc: Any) -> None:
    sender, receiver = inproc
    sender.send(b"a", zmq.SNDMORE)
    sender.send_multipart([b"b", b"c"])
    assert receiver.recv_multipart() == [b"a", b"b", b"c"]
    sender.send_multipart([b"a", b"b"], flags=zmq.SNDMORE)
    sender.send(b"c")
    assert receiver.recv_multipart() == [b"a", b"b", b"c"]


def test_rest_of_a_message_is_received_as_several_parts(inproc: Any) -> None:
    sender, receiver = inproc
    sender.send_multipart([b"a", b"b", b"c"])
    sender.send(b"next")
    assert receiver.recv() == b"a"
    assert receiver.recv_multipart() == [b"b", b"c"]
    assert receiver.recv_multipart() == [b"next"]


@pytest.mark.parametrize(
    ("parts", "error", "text"),
    [
        ([], IndexError, None),
        ([b"a", "b"], TypeError, r"Frame 1 \('b'\) does not support the buffer interface."),
        (b"abc", TypeError, r"Frame 0 \(97\) does not support the buffer interface."),
        ([["x" * 50]], TypeError, r"Frame 0 \(\['x{30}\.\.\.\) does not support"),
        ({b"a"}, TypeError, "'set' object is not subscriptable"),
        ((part for part in [b"a"]), TypeError, "'generator' object is not subscriptable"),
        (None, TypeError, "'NoneType' object is not iterable"),
    ],
)
def test_bad_parts_are_refused_before_anything_is_sent(
    inproc: Any, parts: Any, error: Any, text: Any
) -> None:
    sender, receiver = inproc
    with pytest.raises(error, match=text):
        sender.send_multipart(parts)
    sender.send(b"whole")
    assert receiver.recv_multipart() == [b"whole"]


# Receiving into a buffer.


def test_part_is_received_into_a_buffer(inproc: Any) -> None:
    sender, receiver = inproc
    for buffer in (bytearray(8), memoryview(bytearray(8)), array.array("B", bytes(8))):
        sender.send(b"hello")
        assert receiver.recv_into(buffer) == 5
        assert bytes(buffer) == b"hello\0\0\0"
    numbers = array.array("d", [0.0, 0.0])
    sender.send(array.array("d", [1.0, 2.0]))
    assert receiver.recv_into(numbers) == 16
    assert list(numbers) == [1.0, 2.0]


def test_what_is_longer_than_the_buffer_is_cut_and_its_whole_length_returned(inproc: Any) -> None:
    sender, receiver = inproc
    buffer = bytearray(4)
    sender.send(b"hello")
    assert receiver.recv_into(buffer, nbytes=2) == 5
    assert buffer == b"he\0\0"
    sender.send(b"hello")
    assert receiver.recv_into(bytearray()) == 5
    with pytest.raises(zmq.Again):
        receiver.recv_into(buffer, flags=zmq.DONTWAIT)


@pytest.mark.parametrize(
    ("buffer", "nbytes", "error"),
    [
        (bytearray(4), 9, ValueError),
        (bytearray(4), -1, ValueError),
        (b"abc", 0, BufferError),
        (memoryview(bytearray(6))[::2], 0, BufferError),
        (5, 0, TypeError),
    ],
)
def test_buffer_that_does_not_do_is_refused_and_the_message_stays(
    inproc: Any, buffer: Any, nbytes: int, error: Any
) -> None:
    sender, receiver = inproc
    receiver.poll(0)
    with pytest.raises(error):
        receiver.recv_into(buffer, nbytes=nbytes, flags=zmq.DONTWAIT)
    sender.send(b"hello")
    assert receiver.recv() == b"hello"


# Text, JSON, pickles and own formats.


def test_text(inproc: Any) -> None:
    sender, receiver = inproc
    sender.send_string("grüße")
    assert receiver.recv_string() == "grüße"
    sender.send_unicode("grüße", encoding="latin-1")
    assert receiver.recv_unicode(encoding="latin-1") == "grüße"
    with pytest.raises(TypeError, match="str objects only"):
        sender.send_string(b"x")
    sender.send(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        receiver.recv_string()


def test_json(inproc: Any) -> None:
    sender, receiver = inproc
    sender.send_json({"b": [1, "ä", None], "a": 1.5}, sort_keys=True)
    assert receiver.recv() == b'{"a": 1.5, "b": [1, "\\u00e4", null]}'
    sender.send_json([1, 2.5])
    assert receiver.recv_json(parse_float=str) == [1, "2.5"]


def test_pickles(inproc: Any) -> None:
    sender, receiver = inproc
    sender.send_pyobj({1: {2, 3}}, protocol=2)
    assert receiver.recv_pyobj() == {1: {2, 3}}


def test_own_formats(inproc: Any) -> None:
    sender, receiver = inproc
    sender.send_serialized("a b c", lambda text: [word.encode() for word in text.split()])
    assert receiver.recv_serialized(lambda parts: b"-".join(parts)) == b"a-b-c"
    sender.send_multipart([b"a", b"b"])
    assert receiver.recv_serialized(len, copy=False) == 2


# Overrides.


def test_helpers_call_the_overrides_of_a_subclass(context: Any) -> None:
    calls: list[str] = []

    class Own(zmq.Socket):
        def send(self, data: Any, *args: Any, **kwargs: Any) -> Any:
            calls.append("send")
            return super().send(data, *args, **kwargs)

        def recv(self, *args: Any, **kwargs: Any) -> Any:
            calls.append("recv")
            return super().recv(*args, **kwargs)

        def _deserialize(self, recvd: Any, load: Any) -> Any:
            calls.append("deserialize")
            return super()._deserialize(recvd, load)

    with Own(context, zmq.PAIR) as a, Own(context, zmq.PAIR) as b:
        a.bind("inproc://own")
        b.connect("inproc://own")
        a.send_multipart([b"a", bytearray(b"b")])
        assert b.recv_multipart() == [b"a", b"b"]
        assert calls == ["send", "send", "recv", "recv"]
        calls.clear()
        a.send_json(1)
        assert b.recv_json() == 1
        assert calls == ["send", "recv", "deserialize"]
        with pytest.raises(TypeError, match=r"Frame 1 \(5\) does not support"):
            a.send_multipart([b"a", 5])


def test_poll_uses_the_poller_class_of_a_subclass(context: Any) -> None:
    polled: list[Any] = []

    class OwnPoller(zmq.Poller):
        def poll(self, timeout: Any = None) -> Any:
            polled.append(timeout)
            return super().poll(timeout)

    class Own(zmq.Socket):
        _poller_class = OwnPoller

    with Own(context, zmq.PULL) as socket:
        assert socket.poll(5) == 0
    assert polled == [5]


# Timeouts and states.


def test_timeouts_raise_again(sockets: Any) -> None:
    sender, receiver = sockets(zmq.PUSH), sockets(zmq.PULL)
    sender.sndtimeo = receiver.rcvtimeo = 20
    for call in (lambda: sender.send(b"x"), receiver.recv, receiver.recv_multipart):
        begin = time.monotonic()
        with pytest.raises(zmq.Again):
            call()
        assert 0.019 <= time.monotonic() - begin < 5
    receiver.rcvtimeo = 0
    with pytest.raises(zmq.Again):
        receiver.recv()


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        ("PULL", lambda s: s.send(b"x")),
        ("SUB", lambda s: s.send_multipart([b"x", b"y"])),
        ("PUSH", lambda s: s.recv()),
        ("PUB", lambda s: s.recv_multipart()),
    ],
)
def test_wrong_direction_is_enotsup(sockets: Any, kind: str, call: Any) -> None:
    with pytest.raises(zmq.ZMQError) as caught:
        call(sockets(getattr(zmq, kind)))
    assert caught.value.errno == zmq.ENOTSUP


def test_request_and_reply_take_turns(sockets: Any) -> None:
    client, server = sockets.pair(zmq.REQ, zmq.REP)
    client.send(b"question")
    with pytest.raises(zmq.ZMQError) as caught:
        client.send(b"again")
    assert caught.value.errno == zmq.EFSM
    assert server.recv() == b"question"
    with pytest.raises(zmq.ZMQError) as caught:
        server.recv()
    assert caught.value.errno == zmq.EFSM
    server.send_multipart([b"the", b"answer"])
    assert client.recv_multipart() == [b"the", b"answer"]


def test_router_addresses_its_peers_and_can_refuse_unknown_ones(sockets: Any) -> None:
    dealer, router = sockets.pair(zmq.DEALER, zmq.ROUTER)
    dealer.send(b"hello")
    identity, text = router.recv_multipart()
    assert text == b"hello"
    router.send_multipart([identity, b"world"])
    assert dealer.recv() == b"world"
    router.send_multipart([b"nobody", b"dropped"])
    router.router_mandatory = 1
    with pytest.raises(zmq.ZMQError) as caught:
        router.send_multipart([b"nobody", b"refused"])
    assert caught.value.errno == zmq.EHOSTUNREACH


def test_subscriptions_choose_messages(sockets: Any) -> None:
    subscriber, publisher = sockets.pair(zmq.SUB, zmq.XPUB)
    subscriber.subscribe("a")
    subscriber.subscribe = b"b"
    subscriber.SUBSCRIBE = "c"
    assert [publisher.recv() for _ in range(3)] == [b"\1a", b"\1b", b"\1c"]
    for topic in (b"a1", b"x", b"b1", b"c1"):
        publisher.send(topic)
    assert [subscriber.recv() for _ in range(3)] == [b"a1", b"b1", b"c1"]
    subscriber.unsubscribe(b"a")
    assert publisher.recv() == b"\0a"
    assert callable(subscriber.subscribe)


def test_full_pipe_refuses_at_the_sum_of_both_marks(sockets: Any) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, hwm=5)
    for _ in range(10):
        sender.send(b"x", zmq.DONTWAIT)
    with pytest.raises(zmq.Again):
        sender.send(b"x", zmq.DONTWAIT)
    assert receiver.recv() == b"x"


def test_draft_arguments_are_refused(inproc: Any) -> None:
    sender, _ = inproc
    with pytest.raises((RuntimeError, TypeError)):
        sender.send(b"x", routing_id=1)
    with pytest.raises((RuntimeError, TypeError)):
        sender.send(b"x", group="g")
