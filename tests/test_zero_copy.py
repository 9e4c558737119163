"""`copy=False`: long payloads are sent from where they lie, and what they lie in is held until the engine is done with it."""

from __future__ import annotations

import array
import asyncio
import gc
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
from peers.subject import zmq

LARGE = 1_000_000


@pytest.fixture(params=["inproc", "ipc", "tcp"])
def pipe(request: pytest.FixtureRequest, sockets: Any) -> Any:
    """A sender and a receiver."""
    return sockets.pair(zmq.PUSH, zmq.PULL, request.param)


@pytest.fixture
def pair(sockets: Any) -> Any:
    return sockets.pair(zmq.PUSH, zmq.PULL)


def cannot_be_resized(buffer: bytearray) -> bool:
    try:
        buffer.append(1)
    except BufferError:
        return True
    buffer.pop()
    return False


def test_what_is_sent_is_held_until_its_tracker_is_done(pipe: Any) -> None:
    sender, receiver = pipe
    for number in range(3):
        buffer = bytearray(b"%d" % number) * LARGE
        expected = bytes(buffer)
        tracker = sender.send(buffer, copy=False, track=True)
        assert receiver.recv() == expected
        tracker.wait(10)
        assert tracker.done and not cannot_be_resized(buffer)
        buffer.clear()


@pytest.mark.deviation  # there it can be, and libzmq reads on where it was
def test_what_is_on_its_way_cannot_be_resized(pair: Any) -> None:
    sender, receiver = pair
    buffer = bytearray(b"x" * LARGE)
    sender.send(buffer, copy=False)
    sender.send_multipart([b"head", buffer], copy=False)
    for _ in range(2):
        assert cannot_be_resized(buffer)
        with pytest.raises(BufferError):
            buffer.clear()
        assert receiver.recv_multipart()[-1] == b"x" * LARGE
    assert not cannot_be_resized(buffer)


def test_nothing_is_copied_on_the_way_to_another_thread_s_socket(pair: Any) -> None:
    sender, receiver = pair
    buffer = bytearray(b"x" * LARGE)
    sender.send(buffer, copy=False)
    frame = receiver.recv(copy=False)
    buffer[:3] = b"new"  # not allowed, but it shows where the frame lies
    assert frame.buffer[:4] == b"newx"


@pytest.mark.parametrize(
    "send",
    [
        lambda sender, buffer: sender.send(buffer),
        lambda sender, buffer: sender.send(buffer[:1000], copy=False),
        lambda sender, buffer: sender.send(zmq.Frame(buffer, copy=True)),
        lambda sender, buffer: sender.send_multipart([buffer, buffer]),
    ],
)
def test_what_is_short_or_shall_be_copied_is_copied(
    pair: Any, send: Callable[[Any, Any], Any]
) -> None:
    sender, receiver = pair
    buffer = bytearray(b"x" * LARGE)
    send(sender, buffer)
    buffer[:] = b"y" * LARGE
    assert not cannot_be_resized(buffer)
    assert set(receiver.recv()) == {ord("x")}


def test_threshold_says_what_is_long(pair: Any) -> None:
    sender, receiver = pair
    for threshold, held in ((101, False), (100, True), (0, True)):
        sender.copy_threshold = threshold
        buffer = bytearray(b"x" * 100)
        sender.send(buffer, copy=False)
        buffer[:1] = b"y"
        assert receiver.recv()[:1] == (b"y" if held else b"x")
    sender.send(bytearray(), copy=False)
    assert receiver.recv() == b""


def test_every_contiguous_buffer_is_sent_as_it_lies(pipe: Any) -> None:
    sender, receiver = pipe
    sender.copy_threshold = 0
    numbers = array.array("d", range(50_000))
    matrix = memoryview(bytes(range(250)) * 400).cast("B", (100, 1000))
    for data in (numbers, matrix, memoryview(numbers)[100:], memoryview(b"abc" * 30_000)):
        sender.send(data, copy=False)
        assert receiver.recv() == data.tobytes()


@pytest.mark.deviation  # there one of them is sent
@pytest.mark.parametrize("wrong", [memoryview(array.array("d", range(9)))[::2], "text", 5, None])
def test_what_cannot_be_sent_is_refused_without_a_copy_too(pair: Any, wrong: Any) -> None:
    sender, _ = pair
    sender.copy_threshold = 0
    with pytest.raises((TypeError, BufferError)):
        sender.send(wrong, copy=False)


def test_arrays_of_numpy_are_sent_as_they_lie(pipe: Any) -> None:
    numpy = pytest.importorskip("numpy")
    sender, receiver = pipe
    image = numpy.arange(300_000, dtype="i4").reshape(300, 1000)
    for data in (image, image.T, image[10:20]):
        sender.send(data, copy=False)
        assert receiver.recv() == data.tobytes("A")


@pytest.mark.deviation
def test_frame_holds_what_it_was_made_of(pair: Any) -> None:
    sender, receiver = pair
    buffer = bytearray(b"x" * LARGE)
    for arguments in ({}, {"copy": False}, {"copy": False, "track": True}):
        frame = zmq.Frame(buffer, **arguments)
        sender.send(frame)
        assert cannot_be_resized(buffer)
        del frame
        assert cannot_be_resized(buffer), "the message is still there"
        assert receiver.recv() == buffer
        gc.collect()
        assert not cannot_be_resized(buffer)


def test_message_that_nobody_gets_is_let_go_of(context: Any) -> None:
    sender = context.socket(zmq.PUSH)
    sender.connect("tcp://127.0.0.1:9")  # nobody
    buffer = bytearray(b"x" * LARGE)
    tracker = sender.send(buffer, copy=False, track=True)
    assert not tracker.done
    sender.close(linger=0)
    tracker.wait(10)
    assert not cannot_be_resized(buffer)


def test_thread_that_keeps_the_interpreter_to_itself_holds_nothing_up(pipe: Any) -> None:
    """The last use of a buffer ends on an I/O thread, which must not wait for the interpreter."""
    sender, receiver = pipe
    trackers = [sender.send(bytearray(b"x" * LARGE), copy=False, track=True) for _ in range(20)]
    received = 0
    while received < 20:  # each attempt holds the interpreter
        try:
            receiver.recv(zmq.DONTWAIT)
            received += 1
        except zmq.Again:
            pass
    for tracker in trackers:
        tracker.wait(10)


def test_futures_send_without_a_copy_too() -> None:
    module = import_module(f"{zmq.__name__}.asyncio")

    async def main() -> None:
        context = module.Context()
        sender, receiver = context.socket(zmq.PUSH), context.socket(zmq.PULL)
        sender.sndhwm = 1
        receiver.rcvhwm = 1
        receiver.bind("inproc://zero-copy")
        sender.connect("inproc://zero-copy")
        buffer = bytearray(b"x" * LARGE)
        sending = [
            asyncio.ensure_future(sender.send(buffer, copy=False, track=True)) for _ in range(5)
        ]
        for _ in sending:
            assert await receiver.recv() == buffer
        for tracker in await asyncio.gather(*sending):
            tracker.wait(10)
        assert not cannot_be_resized(buffer)
        context.destroy(linger=0)

    asyncio.run(main())
