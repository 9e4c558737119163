"""Rows 29 and 30 of the hostile list: callers that ask for the impossible, on the wrong thread, too late, or after a
fork. Each gets an exception at the call, and nothing has changed.
"""

import errno
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import pytest
from peers.subject import name, ours, zmq
from peers.waiting import PATIENCE

OUT_OF_RANGE = [
    ("SNDHWM", -1), ("RCVHWM", -1), ("LINGER", -2), ("RECONNECT_IVL", -2), ("RECONNECT_IVL_MAX", -1), ("BACKLOG", -1),
    ("RCVTIMEO", -2), ("SNDTIMEO", -2), ("SNDBUF", -2), ("RCVBUF", -2), ("IMMEDIATE", 2), ("IMMEDIATE", -1),
    ("IPV6", 2), ("CONFLATE", 2), ("HANDSHAKE_IVL", -1), ("HEARTBEAT_IVL", -1), ("HEARTBEAT_TTL", 6_553_600),
    ("HEARTBEAT_TIMEOUT", -2), ("TCP_KEEPALIVE", 2), ("TCP_KEEPALIVE", -2), ("TCP_KEEPALIVE_CNT", -2),
    ("TOS", -1), ("CONNECT_TIMEOUT", -1), ("TCP_MAXRT", -1), ("RATE", 0), ("MULTICAST_HOPS", 0),
]  # fmt: skip


@pytest.fixture
def socket(context):
    """A DEALER: it takes every generic option."""
    return context.socket(zmq.DEALER)


# Row 29


@pytest.mark.parametrize("option, value", OUT_OF_RANGE)
def test_option_out_of_range_is_refused_and_unchanged(socket, option, value):
    before = socket.get(getattr(zmq, option))
    with pytest.raises(zmq.ZMQError) as refused:
        socket.set(getattr(zmq, option), value)
    assert refused.value.errno == errno.EINVAL
    assert socket.get(getattr(zmq, option)) == before


@pytest.mark.parametrize("value", [1 << 31, 1 << 40, -(1 << 33)])
def test_option_that_does_not_fit_its_type_is_refused(socket, value):
    before = socket.get(zmq.SNDHWM)
    with pytest.raises((zmq.ZMQError, OverflowError, ValueError)):
        socket.set(zmq.SNDHWM, value)
    assert socket.get(zmq.SNDHWM) == before


@pytest.mark.parametrize(
    "option, value",
    [
        ("SNDHWM", "ten"),
        ("SNDHWM", b"10"),
        ("SNDHWM", None),
        ("ROUTING_ID", 5),
        ("ROUTING_ID", None),
        ("LINGER", 1.5),
    ],
)
def test_option_of_the_wrong_type_is_refused(socket, option, value):
    before = socket.get(getattr(zmq, option))
    with pytest.raises((TypeError, zmq.ZMQError)):
        socket.set(getattr(zmq, option), value)
    assert socket.get(getattr(zmq, option)) == before


@pytest.mark.parametrize("identity", [b"", b"x" * 256])
def test_identity_of_impossible_length_is_refused(socket, identity):
    with pytest.raises(zmq.ZMQError) as refused:
        socket.set(zmq.ROUTING_ID, identity)
    assert refused.value.errno == errno.EINVAL


@pytest.mark.parametrize("option", [0, 10, 20, 26, 67, 83, 9999, -1])
def test_unknown_option_is_refused(socket, option):
    with pytest.raises((zmq.ZMQError, ValueError)):
        socket.set(option, 1)
    with pytest.raises((zmq.ZMQError, ValueError)):
        socket.get(option)


@pytest.mark.parametrize(
    "option", ["TYPE", "RCVMORE", "EVENTS", "FD", "LAST_ENDPOINT", "MECHANISM"]
)
def test_read_only_option_cannot_be_set(socket, option):
    with pytest.raises((zmq.ZMQError, TypeError)):
        socket.set(getattr(zmq, option), 1)


@pytest.mark.parametrize(
    "kind, option, value",
    [
        ("DEALER", "SUBSCRIBE", b""), ("PUB", "SUBSCRIBE", b""), ("XPUB", "SUBSCRIBE", b"not manual"),
        ("PULL", "ROUTER_MANDATORY", 1), ("PUSH", "REQ_RELAXED", 1), ("SUB", "XPUB_VERBOSE", 1),
        ("REQ", "STREAM_NOTIFY", 1),
    ],
)  # fmt: skip
def test_option_of_another_socket_type_is_refused(context, kind, option, value):
    made = context.socket(getattr(zmq, kind))
    with pytest.raises(zmq.ZMQError) as refused:
        made.set(getattr(zmq, option), value)
    assert refused.value.errno == errno.EINVAL


@ours
@pytest.mark.parametrize("option", ["ROUTER_MANDATORY", "ROUTER_HANDOVER"])
def test_router_options_are_refused_on_rep(context, option):
    with pytest.raises(zmq.ZMQError) as refused:
        context.socket(zmq.REP).set(getattr(zmq, option), 1)
    assert refused.value.errno == errno.EINVAL


@ours
@pytest.mark.parametrize(
    "port",
    ["70000", "65536", "-1", "55x", " 5555", "5555 ", "+5555", "0x10", "", "99999999999999999999"],
)
def test_impossible_port_is_refused(socket, port):
    for call in (socket.bind, socket.connect):
        with pytest.raises(zmq.ZMQError) as refused:
            call(f"tcp://127.0.0.1:{port}")
        assert refused.value.errno == errno.EINVAL
    assert socket.get(zmq.LAST_ENDPOINT).rstrip(b"\0") == b""


def test_path_of_107_bytes_is_the_longest(socket):
    base = tempfile.gettempdir() + "/"
    for length in (108, 200, 5000):
        with pytest.raises(zmq.ZMQError) as refused:
            socket.bind("ipc://" + base + "x" * (length - len(base)))
        assert refused.value.errno == errno.ENAMETOOLONG
    longest = Path(base + "m" * (107 - len(base)))
    socket.bind(f"ipc://{longest}")
    socket.unbind(f"ipc://{longest}")
    longest.unlink(missing_ok=True)


def test_refused_bind_leaves_the_socket_usable(context):
    pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    pull.set(zmq.RCVTIMEO, 10_000)
    for wrong in (
        "tcp://127.0.0.1:abc",
        "foo://bar",
        "",
        "tcp://",
        "ipc:///nonexistent/directory/x",
    ):
        with pytest.raises(zmq.ZMQError):
            pull.bind(wrong)
    pull.bind("tcp://127.0.0.1:*")
    push.connect(pull.get(zmq.LAST_ENDPOINT).rstrip(b"\0").decode())
    push.send(b"works")
    assert pull.recv() == b"works"


@pytest.mark.parametrize("value", ["text", 5, None, 1.5, object(), [b"list"]])
def test_only_bytes_can_be_sent(socket, value):
    with pytest.raises(TypeError):
        socket.send(value)


@pytest.mark.parametrize("parts", [b"bytes", "text", [b"ok", "text"], [b"ok", 3], None])
def test_multipart_wants_a_sequence_of_bytes_and_sends_nothing_else(context, parts):
    push, pull = context.socket(zmq.PUSH), context.socket(zmq.PULL)
    pull.bind("inproc://parts")
    push.connect("inproc://parts")
    with pytest.raises((TypeError, ValueError)):
        push.send_multipart(parts)
    push.send(b"whole")
    assert pull.recv() == b"whole"
    assert not pull.poll(0)


@pytest.mark.parametrize("kind", [-1, 12345, "PUSH", None])
def test_unknown_socket_type_is_refused(context, kind):
    with pytest.raises((zmq.ZMQError, TypeError, ValueError)):
        context.socket(kind)


# Row 30


CALLS = {
    "send": lambda s: s.send(b"x", zmq.DONTWAIT),
    "recv": lambda s: s.recv(zmq.DONTWAIT),
    "send_multipart": lambda s: s.send_multipart([b"x"], zmq.DONTWAIT),
    "recv_multipart": lambda s: s.recv_multipart(zmq.DONTWAIT),
    "bind": lambda s: s.bind("inproc://late"),
    "connect": lambda s: s.connect("inproc://late"),
    "unbind": lambda s: s.unbind("inproc://late"),
    "disconnect": lambda s: s.disconnect("inproc://late"),
    "get": lambda s: s.get(zmq.TYPE),
    "set": lambda s: s.set(zmq.LINGER, 0),
}


@pytest.mark.parametrize("call", CALLS)
def test_closed_socket_says_so(socket, call):
    socket.close()
    socket.close()
    with pytest.raises(zmq.ZMQError) as refused:
        CALLS[call](socket)
    assert refused.value.errno == zmq.ENOTSOCK


@pytest.mark.parametrize("call", ["send", "recv", "send_multipart", "recv_multipart"])
def test_socket_of_a_terminated_context_says_so(call):
    context = zmq.Context()
    made = context.socket(zmq.DEALER)
    ended = threading.Thread(target=context.term)
    ended.start()
    try:
        for _ in range(2000):
            try:
                CALLS[call](made)
            except zmq.ContextTerminated:
                break
            except zmq.Again:
                wait_a_little(made)
        else:
            pytest.fail("the socket never noticed")
    finally:
        made.close(linger=0)
        ended.join(PATIENCE)
    assert not ended.is_alive()


def wait_a_little(made) -> None:
    """Lets a little time pass in the socket itself."""
    try:
        made.poll(5)
    except zmq.ContextTerminated:
        pass


def test_terminated_context_makes_no_socket(context):
    other = zmq.Context()
    other.term()
    other.term()
    assert other.closed
    with pytest.raises(zmq.ZMQError):
        other.socket(zmq.PUSH)


def in_a_fresh_process(code: str, seconds: float = 30) -> str:
    """Runs a script with the module under test; its output. A crash or a hang is a failure."""
    done = subprocess.run(
        [
            sys.executable,
            "-X",
            "faulthandler",
            "-c",
            f"import {name} as zmq\n" + textwrap.dedent(code),
        ],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@ours
def test_forked_child_is_told_and_the_parent_goes_on():
    out = in_a_fresh_process("""
        import os
        context = zmq.Context()
        pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
        pull.set(zmq.RCVTIMEO, 10_000)
        pull.bind("tcp://127.0.0.1:*")
        push.connect(pull.get(zmq.LAST_ENDPOINT).rstrip(b"\\0").decode())
        push.send(b"before")
        assert pull.recv() == b"before"
        child = os.fork()
        if child == 0:
            refused = 0
            for call in (lambda: push.send(b"x"), lambda: pull.recv(), lambda: context.socket(zmq.PUSH)):
                try:
                    call()
                except zmq.ZMQError:
                    refused += 1
            os._exit(refused)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status))
        push.send(b"after")
        assert pull.recv() == b"after"
        assert not pull.poll(0)
        context.destroy(linger=0)
    """)
    assert out.strip() == "3", "each of three calls on inherited things must raise in the child"


def test_new_context_in_a_forked_child_works():
    out = in_a_fresh_process("""
        import os
        context = zmq.Context()
        push = context.socket(zmq.PUSH)
        push.bind("tcp://127.0.0.1:*")
        child = os.fork()
        if child == 0:
            mine = zmq.Context()
            a, b = mine.socket(zmq.PUSH), mine.socket(zmq.PULL)
            b.set(zmq.RCVTIMEO, 10_000)
            b.bind("tcp://127.0.0.1:*")
            a.connect(b.get(zmq.LAST_ENDPOINT).rstrip(b"\\0").decode())
            a.send(b"x")
            ok = b.recv() == b"x"
            mine.destroy(linger=0)
            os._exit(0 if ok else 1)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status))
        context.destroy(linger=0)
    """)
    assert out.strip() == "0"


def test_forked_child_may_exit_normally():
    in_a_fresh_process("""
        import os, sys
        context = zmq.Context()
        push = context.socket(zmq.PUSH)
        push.connect("tcp://127.0.0.1:9")
        push.set(zmq.LINGER, 0)
        child = os.fork()
        if child == 0:
            sys.exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        context.destroy(linger=0)
    """)


def test_process_may_end_with_everything_open():
    in_a_fresh_process("""
        context = zmq.Context()
        context.linger = 0
        push = context.socket(zmq.PUSH)
        push.bind("tcp://127.0.0.1:*")
        other = context.socket(zmq.SUB)
        other.connect("tcp://127.0.0.1:9")
    """)


def test_process_may_end_while_a_thread_receives():
    in_a_fresh_process("""
        import threading
        context = zmq.Context()
        pull = context.socket(zmq.PULL)
        pull.linger = 0
        pull.bind("inproc://x")
        threading.Thread(target=pull.recv, daemon=True).start()
        import os, sys
        sys.stdout.flush()
        os._exit(0)
    """)


@ours
def test_socket_made_in_one_thread_works_in_another(context):
    pull, push = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    pull.set(zmq.RCVTIMEO, 10_000)
    pull.bind("tcp://127.0.0.1:*")
    push.connect(pull.get(zmq.LAST_ENDPOINT).rstrip(b"\0").decode())
    for n in range(20):
        sender = threading.Thread(target=push.send, args=(b"%d" % n,))
        sender.start()
        assert pull.recv() == b"%d" % n
        sender.join()


@ours
def test_sockets_closed_and_used_by_many_threads_at_once_never_crash():
    in_a_fresh_process(
        """
        import threading
        for turn in range(50):
            context = zmq.Context()
            push, pull = context.socket(zmq.PUSH), context.socket(zmq.PULL)
            push.linger = 0
            where = "tcp://127.0.0.1:*" if turn % 2 else "inproc://x"
            pull.bind(where)
            push.connect(pull.get(zmq.LAST_ENDPOINT).rstrip(b"\\0").decode())
            start = threading.Barrier(7)
            def run(call):
                start.wait()
                try:
                    for _ in range(200):
                        call()
                except zmq.ZMQError as error:
                    assert error.errno in (zmq.ENOTSOCK, zmq.ETERM), error
            calls = [lambda: push.send(b"x"), lambda: push.send(b"y"), pull.recv, pull.recv]
            threads = [threading.Thread(target=run, args=(c,)) for c in calls]
            threads += [threading.Thread(target=lambda s=s: (start.wait(), s.close())) for s in (push, pull)]
            for t in threads:
                t.start()
            start.wait()
            for t in threads:
                t.join()
            context.term()
    """,
        seconds=60,
    )
