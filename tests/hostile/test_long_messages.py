"""Raw peers that send long messages, which the waiting thread reads by itself, and then do something else: flood it,
stop in the middle, go away, or say another length. Its deadline, its signals and the next message are what they were.
"""

import os
import select
import signal
import threading
import time
from contextlib import contextmanager

import pytest
from peers.long_messages import LONG, numbered
from peers.process import PeerProcess
from peers.raw import RawPeer, command, frame, header, ping
from peers.subject import name, ours, zmq
from peers.waiting import A_WHILE, PATIENCE_MS, eventually
from peers.watch import Watch

GIVE_UP = 20.0
"""Seconds after which a flood that nobody stopped ends by itself."""


@pytest.fixture
def pull(make):
    """A PULL and its address."""
    end = make("PULL")
    return end, end.bind("tcp://127.0.0.1:*")


def exchange(raw, end, background, *messages: list[bytes]) -> None:
    """The peer sends while calls that wait receive."""
    join = background(lambda: [raw.send_message(*message) for message in messages])
    for message in messages:
        assert end.receive() == [message]
    join()


def some_long(size: int = LONG) -> list[list[bytes]]:
    """So many that whoever waits reads the next one by itself."""
    return [[numbered(number, size)] for number in range(3)]


def half_of(body: bytes) -> tuple[bytes, bytes]:
    """The frame of `body` up to its middle, and the rest."""
    whole = frame(body)
    return whole[: len(whole) // 2], whole[len(whole) // 2 :]


# Pieces that make no message


@contextmanager
def flooded(raw, background, piece: bytes):
    """The peer sends `piece` again and again, and takes what is answered, for as long as the block runs."""
    enough = threading.Event()

    def flood() -> bool:
        """Whether it was stopped, and did not give up."""
        end = time.monotonic() + GIVE_UP
        left = b""
        while left or not enough.is_set():
            if time.monotonic() > end:
                return False
            left = left or piece
            readable, writable, _ = select.select([raw.socket], [raw.socket], [], A_WHILE)
            if readable:
                assert raw.socket.recv(1 << 16), "the connection was closed"
            if writable:
                left = left[raw.socket.send(left) :]
        return True

    join = background(flood)
    try:
        yield
    finally:
        enough.set()
        still_flooding = join()
    assert still_flooding, "the call ended only after the flood"


FLOODS = {"pings": (b"", ping() * 1000), "body": (header(1 << 30), bytes(LONG))}
"""How a flood begins, and what comes again and again."""


@pytest.mark.parametrize("flood", FLOODS)
def test_timeout_ends_a_wait_while_pieces_keep_coming(pull, background, flood):
    end, where = pull
    beginning, piece = FLOODS[flood]
    with RawPeer.ready_for(where, b"PUSH") as raw:
        exchange(raw, end, background, *some_long())
        end.set("RCVTIMEO", 300)
        raw.send(beginning)
        with flooded(raw, background, piece), pytest.raises(zmq.Again):
            end.receive()


class Interrupt(Exception):
    """What a handler raises."""


@pytest.mark.parametrize("flood", FLOODS)
def test_signal_ends_a_wait_while_pieces_keep_coming(pull, background, alarm, flood):
    end, where = pull
    beginning, piece = FLOODS[flood]

    def handler(*_: object) -> None:
        raise Interrupt

    with RawPeer.ready_for(where, b"PUSH") as raw:
        exchange(raw, end, background, *some_long())
        raw.send(beginning)
        with flooded(raw, background, piece), pytest.raises(Interrupt):
            alarm(A_WHILE, handler)
            end.receive()


def test_message_behind_a_flood_of_pings_comes(pull, background):
    end, where = pull
    with RawPeer.ready_for(where, b"PUSH") as raw:
        exchange(raw, end, background, *some_long())
        end.set("RCVTIMEO", 300)
        with flooded(raw, background, ping() * 1000), pytest.raises(zmq.Again):
            end.receive()
        end.set("RCVTIMEO", PATIENCE_MS)
        exchange(raw, end, background, *some_long(), [b"short"])


# A process that is stopped


@contextmanager
def stopped(process: int):
    """The process does nothing while the block runs."""
    os.kill(process, signal.SIGSTOP)
    try:
        assert os.WIFSTOPPED(os.waitpid(process, os.WUNTRACED)[1])
        yield
    finally:
        os.kill(process, signal.SIGCONT)


@ours
@pytest.mark.parametrize("size", [10, 20_000])
def test_pong_that_came_while_the_process_was_stopped_counts(size):
    """The heartbeat's time is over before anybody can read it."""
    process = PeerProcess(name)
    try:
        there = process.socket("PULL", HEARTBEAT_IVL=500, HEARTBEAT_TIMEOUT=300)
        with RawPeer.ready_for(there.bind("tcp://127.0.0.1:*"), b"PUSH") as raw:
            for number in range(5):
                process.submit("receive", socket=there.number, count=1)
                raw.send_message(numbered(number, size))
                process.result()
            process.submit("receive", socket=there.number, count=1)
            asked = raw.read_command(b"PING")
            with stopped(process.process.pid):
                raw.send(command(b"PONG", asked.data[2:]))
                assert raw.is_silent(0.4)
            asked = raw.read_command(b"PING")  # `Closed` if the connection is lost
            raw.send(command(b"PONG", asked.data[2:]) + frame(b"still here"))
            assert process.result()
    finally:
        process.kill()


# Who finds the next message

LOOKS = {
    "poll": lambda end, background: eventually(lambda: end.poll(0)) and end.receive_now(),
    "NOBLOCK": lambda end, background: eventually(end.receive_now),
    "another thread": lambda end, background: background(end.receive)()[0],
}


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("size", [10, LONG])
@pytest.mark.parametrize("look", LOOKS)
def test_next_message_is_found_however_one_looks_for_it(pull, background, look, size, later):
    end, where = pull
    with RawPeer.ready_for(where, b"PUSH") as raw:
        for number in range(5):
            exchange(raw, end, background, *some_long())
            if later:
                assert raw.is_silent(0.02)
            raw.send_message(numbered(number, size))
            assert LOOKS[look](end, background) == [numbered(number, size)]


def test_thread_that_waits_in_place_of_another_gets_the_next_message(pull, background):
    end, where = pull
    with RawPeer.ready_for(where, b"PUSH") as raw:
        for number in range(5):
            exchange(raw, end, background, *some_long())
            join = background(end.receive)
            assert raw.is_silent(0.02)
            raw.send_message(numbered(number))
            assert join() == [[numbered(number)]]


# Halves, and other lengths


def test_half_a_body_as_long_as_the_one_before_never_comes(pull, background):
    end, where = pull
    with Watch(end.socket) as watch:
        with RawPeer.ready_for(where, b"PUSH") as raw:
            exchange(raw, end, background, *some_long())
            join = background(end.receive)
            raw.send(half_of(numbered(3))[0])
        watch.wait(zmq.EVENT_DISCONNECTED)
        with RawPeer.ready_for(where, b"PUSH") as other:
            other.send_message(numbered(4))
            assert join() == [[numbered(4)]]
            exchange(other, end, background, *some_long(), [b"short"])


def test_body_is_whole_though_the_wait_for_it_timed_out_in_its_middle(pull, background):
    end, where = pull
    with RawPeer.ready_for(where, b"PUSH") as raw:
        for number in range(5):
            exchange(raw, end, background, *some_long())
            first, second = half_of(numbered(number))
            end.set("RCVTIMEO", 20)
            raw.send(first)
            for _ in range(2):
                with pytest.raises(zmq.Again):
                    end.receive()
            end.set("RCVTIMEO", PATIENCE_MS)
            raw.send(second)
            assert end.receive() == [[numbered(number)]]


@pytest.mark.parametrize(
    "sizes",
    [[LONG - 1], [LONG + 1], [LONG] * 3, [LONG, 0, LONG], [LONG - 1, LONG, LONG + 1]],
    ids=["shorter", "longer", "parts", "empty part", "parts of other lengths"],
)
def test_messages_after_some_of_one_length_are_whole(pull, background, sizes):
    end, where = pull
    message = [numbered(number, size) if size else b"" for number, size in enumerate(sizes, 10)]
    with RawPeer.ready_for(where, b"PUSH") as raw:
        for _ in range(3):
            exchange(raw, end, background, *some_long(), message, message)
            for part in [frame(body, more=True) for body in message] + [frame(b"last")]:
                with pytest.raises(zmq.Again):
                    end.socket.recv(zmq.NOBLOCK)
                raw.send(part)
            assert end.receive() == [[*message, b"last"]]


def test_body_one_byte_longer_than_maxmsgsize_and_the_one_before_is_refused(make, background):
    end = make("PULL", MAXMSGSIZE=LONG)
    where = end.bind("tcp://127.0.0.1:*")
    with RawPeer.ready_for(where, b"PUSH") as raw, RawPeer.ready_for(where, b"PUSH") as other:
        exchange(raw, end, background, *some_long())
        join = background(end.receive)
        raw.send(header(LONG + 1))
        assert raw.is_closed()
        other.send_message(numbered(4))
        assert join() == [[numbered(4)]]


def test_body_shorter_than_the_one_before_is_refused_if_its_connection_allows_less(
    pull, background
):
    end, where = pull
    with RawPeer.ready_for(where, b"PUSH") as raw:
        exchange(raw, end, background, *some_long())
        end.set("MAXMSGSIZE", LONG - 2)
        stricter = end.bind("tcp://127.0.0.1:*")
        with RawPeer.ready_for(stricter, b"PUSH") as limited:
            join = background(end.receive)
            limited.send(header(LONG - 1))
            assert limited.is_closed()
        raw.send_message(numbered(4))
        assert join() == [[numbered(4)]]
        exchange(raw, end, background, *some_long())
