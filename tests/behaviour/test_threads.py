"""Threads: sockets shared, closed and terminated from another thread; calls that wait and hold nobody up."""

import os
import signal
import threading
import time

import pytest
from peers.process import PeerProcess
from peers.subject import is_ours, name, ours, zmq
from peers.waiting import PATIENCE, eventually


class Waiting:
    """A thread in a call that should wait; `outcome` is its value or its error."""

    def __init__(self, call) -> None:
        self.outcome: object = None
        self.started = threading.Event()
        self.call = call
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        self.started.wait()
        self.sleeps()

    def run(self) -> None:
        self.tid = threading.get_native_id()
        self.started.set()
        try:
            self.outcome = self.call()
        except BaseException as error:
            self.outcome = error

    def sleeps(self) -> None:
        """Waits until the kernel says that the thread sleeps, several times in a row."""
        run = 0

        def asleep() -> bool:
            nonlocal run
            with open(f"/proc/self/task/{self.tid}/stat", encoding="ascii") as stat:
                run = run + 1 if stat.read().rsplit(")", 1)[1].split()[0] == "S" else 0
            return run >= 5 or self.outcome is not None

        eventually(asleep)

    def result(self) -> object:
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), "the call never came back"
        return self.outcome


WAITING_CALLS = {
    "recv": lambda s: s.recv(),
    "recv_multipart": lambda s: s.recv_multipart(),
    "send": lambda s: s.send(b"x"),
    "send_multipart": lambda s: s.send_multipart([b"x", b"y"]),
}
TRANSPORTS = pytest.mark.parametrize("transport", ["none", "inproc", "tcp", "ipc"])


@ours
@pytest.mark.parametrize("call", WAITING_CALLS)
def test_closing_from_another_thread_wakes_a_waiting_call(context, call):
    socket = context.socket(zmq.DEALER)
    waiting = Waiting(lambda: WAITING_CALLS[call](socket))
    socket.close()
    error = waiting.result()
    assert isinstance(error, zmq.ZMQError) and error.errno == zmq.ENOTSOCK


@ours
@TRANSPORTS
def test_closing_wakes_a_receiver_that_has_peers(make, endpoint, transport):
    pull, push = make("PULL", RCVTIMEO=-1), make("PUSH")
    if transport != "none":
        push.connect(pull.bind(endpoint(transport)))
        push.send([b"x"])
        assert pull.receive() == [[b"x"]]
    waiting = Waiting(pull.socket.recv)
    pull.close()
    assert waiting.result().errno == zmq.ENOTSOCK


@ours
def test_closing_wakes_every_waiting_thread(context):
    socket = context.socket(zmq.DEALER)
    waiting = [Waiting(socket.recv) for _ in range(5)] + [
        Waiting(lambda: socket.send(b"x")) for _ in range(5)
    ]
    socket.close()
    for one in waiting:
        assert one.result().errno == zmq.ENOTSOCK


@pytest.mark.parametrize("call", WAITING_CALLS)
def test_term_from_another_thread_ends_a_waiting_call(call):
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.linger = 0
    waiting = Waiting(lambda: WAITING_CALLS[call](socket))
    term = threading.Thread(target=context.term, daemon=True)
    term.start()
    assert isinstance(waiting.result(), zmq.ContextTerminated)
    with pytest.raises(zmq.ContextTerminated):
        socket.recv(zmq.DONTWAIT)
    socket.close()
    term.join(PATIENCE)
    assert not term.is_alive()


def test_term_waits_for_sockets_to_be_closed():
    context = zmq.Context()
    sockets = [context.socket(zmq.PUSH) for _ in range(3)]
    term = threading.Thread(target=context.term, daemon=True)
    term.start()
    for socket in sockets:
        assert term.is_alive()
        socket.close(linger=0)
    term.join(PATIENCE)
    assert not term.is_alive()


@ours
def test_term_with_a_timeout_names_what_holds_it():
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    with pytest.raises(zmq.ZMQError) as waited:
        context.term(timeout=0.05)
    assert "PUSH" in str(waited.value)
    socket.close(linger=0)
    context.term()


@ours
@pytest.mark.parametrize("transport", ["inproc", "tcp", "ipc"])
def test_threads_share_one_sender_and_one_receiver(make, endpoint, transport):
    pull, push = make("PULL"), make("PUSH")
    push.connect(pull.bind(endpoint(transport)))
    each, writers, readers = 2000, 4, 4
    got: list[list[bytes]] = [[] for _ in range(readers)]

    def write(which: int) -> None:
        for n in range(each):
            push.socket.send_multipart([b"%d" % which, b"%d" % n])

    def read(which: int) -> None:
        for _ in range(each * writers // readers):
            got[which].append(pull.socket.recv_multipart())

    threads = [threading.Thread(target=write, args=(n,)) for n in range(writers)]
    threads += [threading.Thread(target=read, args=(n,)) for n in range(readers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = sorted((int(a), int(b)) for part in got for a, b in part)
    assert everything == [(w, n) for w in range(writers) for n in range(each)]
    for part in got:
        for w in range(writers):
            numbers = [int(b) for a, b in part if int(a) == w]
            assert numbers == sorted(numbers), "each reader sees each writer's messages in order"


@ours
def test_one_thread_sends_while_another_receives_on_the_same_socket(make, endpoint):
    a, b = make("DEALER"), make("DEALER")
    b.connect(a.bind(endpoint("tcp")))
    count = 5000

    def send(end) -> None:
        for n in range(count):
            end.socket.send(b"%d" % n)

    threads = [threading.Thread(target=send, args=(end,)) for end in (a, b)]
    received = {}

    def receive(key: str, end) -> None:
        received[key] = [int(end.socket.recv()) for _ in range(count)]

    threads += [
        threading.Thread(target=receive, args=("a", a)),
        threading.Thread(target=receive, args=("b", b)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert received == {"a": list(range(count)), "b": list(range(count))}


def test_waiting_call_lets_other_python_threads_run(make):
    pull = make("PULL", RCVTIMEO=-1)
    push = make("PUSH")
    push.connect(pull.bind("inproc://gil"))
    waiting = Waiting(pull.socket.recv)
    assert sum(range(100_000)) > 0
    push.send([b"wake"])
    assert waiting.result() == b"wake"


@pytest.mark.parametrize("call", WAITING_CALLS)
def test_signal_interrupts_a_waiting_call_at_once(context, call):
    socket = context.socket(zmq.DEALER)

    class Interrupted(Exception):
        pass

    def handler(signum, frame) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, handler)
    main = threading.get_native_id()
    at = []

    def interrupt() -> None:
        def asleep() -> bool:
            with open(f"/proc/self/task/{main}/stat", encoding="ascii") as stat:
                return stat.read().rsplit(")", 1)[1].split()[0] == "S"

        eventually(asleep)
        at.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGUSR1)

    thread = threading.Thread(target=interrupt)
    try:
        thread.start()
        with pytest.raises(Interrupted):
            WAITING_CALLS[call](socket)
        assert time.monotonic() - at[0] < 1
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)


def test_signal_whose_handler_returns_does_not_end_the_wait(make):
    pull, push = make("PULL"), make("PUSH")
    push.connect(pull.bind("inproc://eintr"))
    handled = []

    def handler(signum, frame) -> None:
        handled.append(signum)
        push.socket.send(b"sent by the handler")

    before = signal.signal(signal.SIGUSR1, handler)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    try:
        timer.start()
        assert pull.receive() == [[b"sent by the handler"]]
        assert handled
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)


@ours
def test_timeout_is_one_deadline_in_spite_of_signals(context):
    """Signals every 20 ms must not start the 300 ms anew."""
    socket = context.socket(zmq.DEALER)
    socket.rcvtimeo = 300
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    begin = time.monotonic()
    try:
        with pytest.raises(zmq.Again):
            socket.recv()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert 0.29 <= time.monotonic() - begin < 2


def test_waiting_call_uses_no_cpu_and_makes_no_ticks(make):
    pull = make("PULL", RCVTIMEO=1000)
    pull.bind("tcp://127.0.0.1:*")
    begin = time.process_time()
    if is_ours:
        tid = threading.get_native_id()
        before = voluntary_switches(tid)
    with pytest.raises(zmq.Again):
        pull.socket.recv()
    assert time.process_time() - begin < 0.1
    if is_ours:
        assert voluntary_switches(tid) - before < 20, "a wait of a second is one sleep, not many"


def voluntary_switches(tid: int) -> int:
    """How often that thread went to sleep."""
    with open(f"/proc/self/task/{tid}/status", encoding="ascii") as status:
        return next(
            int(line.split()[1]) for line in status if line.startswith("voluntary_ctxt_switches")
        )


# The I/O thread works while the application does not.


@pytest.mark.parametrize("how", ["sleeps", "computes"])
def test_messages_arrive_while_the_application_does_something_else(how):
    """32 MiB are more than the kernel holds: the sender's term ends only because the other side's I/O thread reads."""
    peer = PeerProcess(name)
    context = zmq.Context()
    try:
        pull = peer.socket("PULL")
        where = pull.bind(f"ipc://@mqcore-test-busy-{os.getpid()}")
        if how == "computes":
            peer.submit("spin", seconds=1.0)
        push = context.socket(zmq.PUSH)
        push.connect(where)
        for n in range(32):
            push.send(b"%02d" % n + b"x" * (1 << 20))
        push.close()
        term = threading.Thread(target=context.term, daemon=True)
        term.start()
        term.join(PATIENCE)
        assert not term.is_alive(), "nobody read at the other side"
        if how == "computes":
            peer.result()
        for _ in range(32):
            assert pull.receive_now() is not None, "everything is there already"
    finally:
        context.destroy(linger=0)
        peer.stop()


def test_messages_leave_while_the_application_does_something_else(make):
    peer = PeerProcess(name)
    try:
        push = peer.socket("PUSH")
        pull = make("PULL")
        pull.connect(push.bind("tcp://127.0.0.1:*"))
        push.send(*[[b"%d" % n] for n in range(900)])
        peer.submit("spin", seconds=1.0)
        assert pull.receive(900) == [[b"%d" % n] for n in range(900)]
        peer.result()
    finally:
        peer.stop()


def test_idle_sockets_cost_no_cpu(make, endpoint):
    ends = [make("DEALER") for _ in range(20)]
    hub = make("ROUTER")
    where = hub.bind(endpoint("tcp"))
    for end in ends:
        end.connect(where)
        end.send([b"hello"])
    hub.receive(20)
    begin = time.process_time()
    assert not hub.poll(1)
    assert time.process_time() - begin < 0.1
