"""Where replacements for pyzmq go wrong: what is shared within a process, monitors, descriptors in foreign loops, and the
end. `TRAPS.md` says which test stands for which trap.
"""

import gc
import os
import selectors
import struct

import pytest
from peers.subject import errno_of, zmq
from peers.waiting import PATIENCE_MS, eventually

from .fresh import in_a_fresh_process


@pytest.fixture(scope="module", autouse=True)
def collected(nothing_left_behind):
    """The descriptor that FD names goes with its socket, and contexts of the tests keep their sockets in a cycle."""
    yield
    gc.collect()


# In the process.


def test_names_of_inproc_are_those_of_their_context():
    with zmq.Context() as one, zmq.Context() as two:
        with one.socket(zmq.PAIR) as first, two.socket(zmq.PAIR) as second:
            first.bind("inproc://name")
            second.bind("inproc://name")  # free here
            assert errno_of(lambda: one.socket(zmq.PAIR).bind("inproc://name")) == zmq.EADDRINUSE
            second.rcvtimeo = 50
            with one.socket(zmq.PAIR) as third:
                third.connect("inproc://name")
                third.send(b"within one")
                first.rcvtimeo = PATIENCE_MS
                assert first.recv() == b"within one"
            with pytest.raises(zmq.Again):
                second.recv()
            one.destroy(linger=0)


def test_five_and_five_hold_ten_within_the_process(context):
    push, pull = context.socket(zmq.PUSH), context.socket(zmq.PULL)
    push.sndhwm = pull.rcvhwm = 5
    pull.bind("inproc://ten")
    push.connect("inproc://ten")
    taken = 0
    while errno_of(push.send, b"x", zmq.DONTWAIT) is None:
        taken += 1
    assert taken == 10


# Monitors.


def test_monitor_message_is_two_frames_of_native_numbers_and_an_endpoint(context):
    bound = context.socket(zmq.PULL)
    monitor = bound.get_monitor_socket()
    monitor.rcvtimeo = PATIENCE_MS
    assert bound.get_monitor_socket() is monitor and monitor.type is zmq.PAIR
    bound.bind("tcp://127.0.0.1:*")
    head, endpoint = monitor.recv_multipart()
    event, value = struct.unpack("=hi", head)
    assert event == zmq.EVENT_LISTENING and value > 0 and endpoint == bound.last_endpoint
    bound.disable_monitor()
    head, endpoint = monitor.recv_multipart()
    assert struct.unpack("=hi", head) == (zmq.EVENT_MONITOR_STOPPED, 0)
    assert endpoint == b"" and not monitor.closed
    monitor.close()
    again = bound.get_monitor_socket(addr="inproc://another")
    assert again is not monitor and not again.closed
    again.close()


# The descriptor, in somebody else's loop.


def test_descriptor_serves_a_loop_that_reads_until_there_is_nothing(context):
    """As aiozmq, and any loop does that knows of the edge: EVENTS is asked after each wake-up, and read until EAGAIN."""
    push, pull = context.socket(zmq.PUSH), context.socket(zmq.PULL)
    pull.bind("tcp://127.0.0.1:*")
    push.connect(pull.last_endpoint)
    heard = []
    with selectors.DefaultSelector() as selector:
        selector.register(pull.FD, selectors.EVENT_READ)

        def drain():
            while pull.EVENTS & zmq.POLLIN:
                heard.append(pull.recv(zmq.DONTWAIT))

        for number in range(200):
            push.send(b"%d" % number)
            drain()
            if number % 50 == 49:
                while len(heard) <= number:
                    assert selector.select(PATIENCE_MS / 1000), f"woken for {len(heard)}"
                    drain()
    assert heard == [b"%d" % number for number in range(200)]


# The end.


def test_end_of_the_interpreter_is_silent():
    """With a context, sockets, a monitor, a poller and a frame in the globals, and messages that nobody wants."""
    assert (
        in_a_fresh_process("""
        context = zmq.Context()
        shared = zmq.Context.instance()
        push = context.socket(zmq.PUSH)
        push.connect("tcp://127.0.0.1:9")
        push.send(b"x" * 100_000, copy=False)
        monitor = push.get_monitor_socket()
        poller = zmq.Poller()
        poller.register(push, zmq.POLLOUT)
        pair = shared.socket(zmq.PAIR)
        pair.bind("inproc://pair")
        frame = zmq.Frame(b"x" * 100_000, track=True)
        print("end")
        """)
        == "end"
    )


def test_context_of_a_child_is_its_own():
    assert (
        in_a_fresh_process("""
        import os
        shared = zmq.Context.instance()
        with shared.socket(zmq.PAIR) as pair:
            pair.bind("inproc://pair")
        child = os.fork()
        if child == 0:
            own = zmq.Context.instance()
            with own.socket(zmq.PAIR) as a, own.socket(zmq.PAIR) as b:
                a.bind("inproc://pair")
                b.connect("inproc://pair")
                b.send(b"child")
                assert a.recv() == b"child"
            os._exit(7 if own is not shared else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert zmq.Context.instance() is shared
        print("parent")
        """)
        == "parent"
    )


def test_context_without_sockets_has_no_threads():
    before = threads_of_contexts()
    context = zmq.Context()
    assert threads_of_contexts() == before
    context.term()
    eventually(lambda: threads_of_contexts() == before, what="the threads end")


def threads_of_contexts() -> int:
    return len(os.listdir("/proc/self/task"))
