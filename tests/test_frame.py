"""Frames and the trackers of their payloads."""

from __future__ import annotations

import copy
import gc
import importlib
import os
import pickle
import threading
from typing import Any

import pytest

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))

PACKAGE = zmq.__name__


@pytest.mark.parametrize("size", [0, 3, 64, 65, 8192, 100_000])
@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_frame_has_the_bytes_of_what_it_is_made_of(make: Any, size: int) -> None:
    payload = os.urandom(size)
    for arguments in ({}, {"copy": True}, {"copy": False}, {"track": True}):
        frame = zmq.Frame(make(payload), **arguments)
        assert frame.bytes == bytes(frame) == bytes(memoryview(frame)) == payload
        assert len(frame) == size and bool(frame) is (size > 0)


def test_frame_of_nothing_is_empty() -> None:
    assert zmq.Frame().bytes == b"" and zmq.Frame(None).bytes == b""


def test_message_is_the_old_name() -> None:
    assert zmq.Message is zmq.Frame


@pytest.mark.parametrize("data", ["text", 1, ["x"]])
def test_frame_of_what_has_no_bytes_is_a_type_error(data: Any) -> None:
    with pytest.raises(TypeError):
        zmq.Frame(data)


def test_frame_of_scattered_memory_is_a_buffer_error() -> None:
    with pytest.raises(BufferError):
        zmq.Frame(memoryview(bytes(6))[::2])


def test_bytes_and_buffer_are_the_same_objects_every_time() -> None:
    frame = zmq.Frame(b"x" * 100)
    assert frame.bytes is frame.bytes
    view = frame.buffer
    assert frame.buffer is view
    assert (view.format, view.ndim, view.nbytes) == ("B", 1, 100)


def test_view_keeps_the_payload_alive() -> None:
    view = zmq.Frame(b"abc").buffer
    long = memoryview(zmq.Frame(b"x" * 10_000))
    gc.collect()
    assert bytes(view) == b"abc" and bytes(long) == b"x" * 10_000


@pytest.mark.deviation
def test_payload_cannot_be_written(sockets: Any) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL)
    sender.send(b"abc")
    for frame in (zmq.Frame(b"abc"), receiver.recv(copy=False)):
        assert frame.buffer.readonly
        with pytest.raises(TypeError):
            frame.buffer[0] = 1
        with pytest.raises(BufferError):
            receiver.recv_into(frame)
        with open(os.devnull, "rb") as file, pytest.raises((BufferError, TypeError)):
            file.readinto(frame)


def test_more_is_false_until_it_is_set_or_received(sockets: Any) -> None:
    frame = zmq.Frame(b"x")
    assert frame.more is False and frame.MORE == 0
    frame.more = True
    assert frame.more is True
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL)
    sender.send_multipart([b"a", b"b"])
    first, second = receiver.recv(copy=False), receiver.recv(copy=False)
    assert (first.more, first.get(zmq.MORE), first[zmq.MORE], first.MORE) == (True, 1, 1, 1)
    assert (second.more, second.get(zmq.MORE)) == (False, 0)


def test_options_and_properties_that_a_frame_does_not_have_are_einval(sockets: Any) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL)
    sender.send(b"x")
    for frame in (zmq.Frame(b"x"), receiver.recv(copy=False)):
        for name in ("Peer-Address", b"User-Id", 5, 2):
            with pytest.raises(zmq.ZMQError) as caught:
                frame.get(name)
            assert caught.value.errno == zmq.EINVAL
        with pytest.raises(zmq.ZMQError):
            frame.set(zmq.MORE, 1)
        with pytest.raises(TypeError, match="expected str, got: 1.5"):
            frame.get(1.5)


def test_properties_of_a_tcp_connection_are_on_every_frame(sockets: Any) -> None:
    dealer, receiver = sockets.pair(zmq.PUSH, zmq.PULL, "tcp")
    dealer.send_multipart([b"a", b"b"])
    frames = receiver.recv_multipart(copy=False)
    dealer.send(b"c")
    frames.append(receiver.recv(copy=False))
    for frame in frames:
        assert frame["Socket-Type"] == "PUSH"
        assert frame.get("Peer-Address") == "127.0.0.1"
        with pytest.raises(zmq.ZMQError):
            frame.get("peer-address")


def test_unknown_attributes_are_refused() -> None:
    frame = zmq.Frame(b"x")
    with pytest.raises(AttributeError, match="Frame has no such option: FOO"):
        assert frame.foo
    with pytest.raises(AttributeError):
        frame.foo = 1


@pytest.mark.parametrize("name", ["routing_id", "group"])
def test_draft_properties_are_refused(name: str) -> None:
    frame = zmq.Frame(b"x")
    with pytest.raises(RuntimeError):
        getattr(frame, name)
    with pytest.raises(RuntimeError):
        setattr(frame, name, 1 if name == "routing_id" else "g")


@pytest.mark.deviation
def test_draft_properties_are_refused_by_get_and_set_too() -> None:
    for name in ("routing_id", "group"):
        with pytest.raises(RuntimeError):
            zmq.Frame(b"x").get(name)
        with pytest.raises(RuntimeError):
            zmq.Frame(b"x").set(name, 1)


def test_frames_are_equal_only_to_themselves() -> None:
    a, b = zmq.Frame(b"x"), zmq.Frame(b"x")
    assert a == a and a != b and len({a, b}) == 2


def test_copy_shares_payload_and_tracker() -> None:
    frame = zmq.Frame(b"x" * 100_000, track=True)
    other = copy.copy(frame)
    assert other is not frame and other.bytes == frame.bytes and other.tracker is frame.tracker


@pytest.mark.deviation
def test_copy_is_of_the_same_class() -> None:
    assert type(copy.copy(zmq.Frame(b"x"))) is zmq.Frame


def test_frame_cannot_be_pickled_or_copied_deeply() -> None:
    for call in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            call(zmq.Frame(b"x"))


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "b''"),
        (16, f"b'{'x' * 16}'"),
        (17, f"b'{'x' * 12}'...17B"),
        (999, f"b'{'x' * 12}'...999B"),
        (1000, f"b'{'x' * 12}'...1kB"),
        (1048575, f"b'{'x' * 12}'...1048kB"),
        (1048576, f"b'{'x' * 12}'...1MB"),
    ],
)
def test_repr_shows_the_beginning_and_the_size(size: int, shown: str) -> None:
    assert repr(zmq.Frame(b"x" * size)) == f"<{PACKAGE}.Frame({shown})>"
    assert str(zmq.Frame(b"a'")) == f'<{PACKAGE}.Frame(b"a\'")>'


def test_subclass_may_have_other_parameters(sockets: Any) -> None:
    class Own(zmq.Frame):
        def __init__(self, data: bytes, name: str = "") -> None:
            super().__init__(data)

    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL)
    sender.send(Own(b"x"))
    assert receiver.recv() == b"x"


# Trackers.


def test_frame_is_tracked_on_request_only() -> None:
    assert zmq.Frame(b"x" * 100_000).tracker is None
    assert zmq.Frame(b"x", track=True).tracker is zmq._FINISHED_TRACKER
    assert zmq.Frame(b"x" * 100_000, track=True, copy=True).tracker is zmq._FINISHED_TRACKER
    assert not zmq.Frame(b"x", track=True, copy=False).tracker.done
    assert not zmq.Frame(b"x" * 10, track=True, copy_threshold=10).tracker.done


@pytest.mark.parametrize("make", [bytes, bytearray])
def test_tracker_is_done_when_the_last_reference_is_gone(sockets: Any, make: Any) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL)
    frame = zmq.Frame(make(b"x" * 100_000), track=True)
    tracker = frame.tracker
    sender.send(frame)
    del frame
    received = receiver.recv(copy=False)
    assert not tracker.done
    view = memoryview(received)
    del received
    assert not tracker.done
    del view
    gc.collect()
    tracker.wait(timeout=10)
    assert tracker.done


def test_tracker_over_tcp_is_done_when_the_message_is_out(sockets: Any) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL, "tcp")
    tracker = sender.send(b"x" * 1_000_000, copy=False, track=True)
    assert receiver.recv() == b"x" * 1_000_000
    tracker.wait(timeout=10)
    assert tracker.done


def test_thread_that_waits_for_a_tracker_is_woken(background: Any) -> None:
    frame = zmq.Frame(b"x" * 100_000, track=True)
    tracker = frame.tracker
    joins = [background(lambda: tracker.wait(timeout=10)) for _ in range(3)]
    with pytest.raises(zmq.NotDone):
        tracker.wait(timeout=0.05)
    del frame
    for join in joins:
        join()
    assert tracker.done


def test_received_frame_has_a_finished_tracker_on_request(sockets: Any) -> None:
    sender, receiver = sockets.pair(zmq.PUSH, zmq.PULL)
    sender.send(b"x")
    sender.send(b"x")
    assert receiver.recv(copy=False, track=True).tracker is zmq._FINISHED_TRACKER
    assert receiver.recv(copy=False).tracker is None


def test_tracker_watches_events_trackers_and_frames() -> None:
    event = threading.Event()
    frame = zmq.Frame(b"x" * 100_000, track=True)
    tracker = zmq.MessageTracker(event, zmq.MessageTracker(), frame)
    assert not tracker.done
    assert tracker.events == {event}
    event.set()
    assert not tracker.done
    del frame
    gc.collect()
    tracker.wait(10)
    assert tracker.done


def test_tracker_of_nothing_is_done() -> None:
    tracker = zmq.MessageTracker()
    assert tracker.done
    assert tracker.wait() is None


def test_tracker_refuses_what_cannot_be_watched() -> None:
    with pytest.raises(ValueError):
        zmq.MessageTracker(zmq.Frame(b"x"))
    with pytest.raises(TypeError):
        zmq.MessageTracker(5)
