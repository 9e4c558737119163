"""The soak: its proxy breaks connections exactly as asked, its judge complains about each kind of
broken promise, and a short run of all of it ends well.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from peers.fixtures import open_descriptors
from peers.raw import nobodys_port
from peers.waiting import eventually

from soak.faults import Fault, FaultProxy, Kind, draw
from soak.messages import LARGEST, Damaged, Stamp, make, parse, size_of
from soak.promises import Arrivals, Broken, Connections

ROOT = Path(__file__).resolve().parents[1]


# The proxy.


class Ends:
    """A client and the server's side of its connection through a proxy with one fault."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.proxy = FaultProxy(self.listener.getsockname(), lambda: fault)
        self.client = socket.create_connection(("127.0.0.1", self.proxy.port), timeout=10)
        self.server, _ = self.listener.accept()
        self.server.settimeout(10)

    def close(self) -> None:
        self.client.close()
        self.server.close()
        self.listener.close()
        self.proxy.close()


@pytest.fixture
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    """The two ends; the fault is the parameter. Nothing is left behind."""
    descriptors, threads = len(open_descriptors()), threading.active_count()
    made = Ends(request.param)
    yield made
    made.close()
    assert len(open_descriptors()) <= descriptors
    assert threading.active_count() <= threads


def faults(*several: Fault) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("ends", several, indirect=True, ids=repr)


def read_all(end: socket.socket) -> bytes:
    """Everything until the end."""
    found = bytearray()
    while data := end.recv(65536):
        found += data
    return bytes(found)


def pour(end: socket.socket, data: bytes) -> threading.Thread:
    """Sends in the background, as far as the other side lets it."""

    def send() -> None:
        try:
            end.sendall(data)
            end.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # cut, as it should be

    thread = threading.Thread(target=send)
    thread.start()
    return thread


CONTENT = Random(1).randbytes(1_000_000)
CUTS = [0, 1, 63, 64, 1000, 300_000]


@faults(Fault(Kind.NONE))
def test_without_a_fault_everything_passes_both_ways(ends: Ends) -> None:
    threads = [pour(ends.client, CONTENT), pour(ends.server, CONTENT[::-1])]
    other: list[bytes] = []
    reader = threading.Thread(target=lambda: other.append(read_all(ends.client)))
    reader.start()
    assert read_all(ends.server) == CONTENT
    for thread in [*threads, reader]:
        thread.join(10)
    assert other == [CONTENT[::-1]]
    assert ends.proxy.breaks == 0, "it ended by itself"


@faults(*(Fault(Kind.CUT, after=count) for count in CUTS))
def test_cut_lets_exactly_so_many_bytes_pass_to_the_server(ends: Ends) -> None:
    sender = pour(ends.client, CONTENT)
    assert read_all(ends.server) == CONTENT[: ends.fault.after]
    sender.join(10)
    assert ends.proxy.breaks == 1


@faults(*(Fault(Kind.CUT, after=count, to_server=False) for count in CUTS))
def test_cut_lets_exactly_so_many_bytes_pass_to_the_client(ends: Ends) -> None:
    sender = pour(ends.server, CONTENT)
    assert read_all(ends.client) == CONTENT[: ends.fault.after]
    sender.join(10)
    assert ends.proxy.breaks == 1


@faults(Fault(Kind.RESET, after=100), Fault(Kind.RESET, after=1, to_server=False))
def test_reset_is_seen_by_both_sides(ends: Ends) -> None:
    sender = ends.client if ends.fault.to_server else ends.server
    sender.sendall(CONTENT[: ends.fault.after])
    for end in (ends.client, ends.server):
        with pytest.raises(ConnectionResetError):
            read_all(end)
    assert ends.proxy.breaks == 1


@faults(Fault(Kind.DELAY, seconds=0.1))
def test_delay_keeps_the_order(ends: Ends) -> None:
    began = time.monotonic()
    sender = pour(ends.client, CONTENT[:200_000])
    first = ends.server.recv(1)
    assert time.monotonic() - began >= 0.1
    assert first + read_all(ends.server) == CONTENT[:200_000]
    sender.join(10)


@faults(Fault(Kind.STALL, after=10, seconds=0.3))
def test_stall_stops_after_so_many_bytes_and_goes_on_later(ends: Ends) -> None:
    sender = pour(ends.client, CONTENT[:100_000])
    found = bytearray()
    while len(found) < 10:
        found += ends.server.recv(100)
    began = time.monotonic()
    assert bytes(found) == CONTENT[:10]
    found += ends.server.recv(100)
    assert time.monotonic() - began > 0.2
    assert bytes(found) + read_all(ends.server) == CONTENT[:100_000]
    sender.join(10)


@faults(Fault(Kind.NONE, lasts=0.1), Fault(Kind.STALL, seconds=60, lasts=0.1))
def test_what_does_not_end_by_a_fault_is_cut_in_the_end(ends: Ends) -> None:
    assert read_all(ends.server) == b""
    assert ends.proxy.breaks == 1


@faults(Fault(Kind.CUT, after=10), Fault(Kind.STALL, seconds=60, lasts=60))
def test_calm_takes_the_fault_away(ends: Ends) -> None:
    ends.client.sendall(CONTENT[:5])
    ends.proxy.calm()
    sender = pour(ends.client, CONTENT[5:])
    assert read_all(ends.server) == CONTENT
    sender.join(10)
    assert ends.proxy.breaks == 0


def test_client_of_a_server_that_is_away_is_turned_away() -> None:
    proxy = FaultProxy(("127.0.0.1", nobodys_port()), lambda: Fault(Kind.NONE))
    try:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
            assert client.recv(1) == b""
        assert proxy.breaks == 1
    finally:
        proxy.close()


def test_faults_depend_on_the_seed_only_and_all_kinds_come() -> None:
    one, two, other = Random("7/a"), Random("7/a"), Random("8/a")
    drawn = [draw(one) for _ in range(200)]
    assert drawn == [draw(two) for _ in range(200)]
    assert drawn != [draw(other) for _ in range(200)]
    assert {fault.kind for fault in drawn} == set(Kind)


# Messages.


def test_message_proves_who_made_it() -> None:
    for number in range(200):
        stamp = Stamp(3, number)
        message = make(stamp)
        assert parse(message) == stamp
        assert len(message) == size_of(stamp) <= LARGEST


@pytest.mark.parametrize("at", range(0, 60, 3))
def test_any_changed_byte_is_damage(at: int) -> None:
    message = bytearray(make(Stamp(1, 5)))
    message[at] ^= 1
    with pytest.raises(Damaged):
        parse(bytes(message))


@pytest.mark.parametrize("change", [lambda m: m[:-1], lambda m: m + b"x", lambda m: m[:3]])
def test_message_cut_or_lengthened_is_damage(change: object) -> None:
    assert callable(change)
    with pytest.raises(Damaged):
        parse(change(make(Stamp(1, 5))))


# The judge.


def judged(
    numbers: list[int], sent: int, breaks: int = 0, in_flight: int = 10**6, ordered: bool = False
) -> list[str]:
    """What the judge says of one sender's messages that came in this order."""
    broken = Broken()
    arrivals = Arrivals(broken, ordered)
    for number in numbers:
        arrivals.take(make(Stamp(1, number)))
    arrivals.judge(1, sent, breaks, in_flight)
    assert broken.count == len(broken.texts)
    return broken.texts


def complains(texts: list[str], *words: str) -> bool:
    return all(any(word in text for text in texts) for word in words)


def test_judge_is_content_with_what_was_promised() -> None:
    assert judged([0, 1, 2, 3], 4) == []
    assert judged([0, 1, 5, 6], 7, breaks=1) == [], "a break may lose what was on its way"
    assert judged([0, 5, 1, 6, 2], 7, breaks=1) == [], "two connections may be read in turn"
    assert judged([2, 3], 4, breaks=1) == [], "the first connection may have broken at once"


def test_judge_complains_of_a_duplicate() -> None:
    assert complains(judged([0, 1, 1, 2], 3), "delivered twice")
    assert complains(judged([0, 1, 5, 1], 6, breaks=1), "delivered twice")


def test_judge_complains_of_a_gap_without_a_break() -> None:
    assert complains(judged([0, 1, 3], 4), "are missing")
    assert complains(judged([1, 2, 3], 4), "are missing")
    assert complains(judged([0, 2, 4], 5, breaks=1), "are missing")


def test_judge_complains_of_a_gap_that_is_too_large_for_what_can_be_on_its_way() -> None:
    assert judged([0, 9], 10, breaks=1, in_flight=20_000) == []
    assert complains(judged([0, 500], 501, breaks=1, in_flight=20_000), "what is queued survives")


def test_judge_complains_of_a_wrong_order() -> None:
    assert complains(judged([0, 2, 1], 3), "keeps the order")
    assert complains(judged([0, 2, 1], 3, breaks=1, ordered=True), "came after number 2")


def test_judge_complains_when_the_last_messages_are_missing() -> None:
    assert complains(judged([0, 1], 3, breaks=5), "although nothing was broken any more")
    assert complains(judged([], 1, breaks=5), "although nothing was broken any more")


def test_judge_complains_of_damage() -> None:
    broken = Broken()
    message = bytearray(make(Stamp(1, 0)))
    message[-1] ^= 1
    assert Arrivals(broken).take(bytes(message)) is None
    assert complains(broken.texts, "was changed")


def test_judge_complains_of_a_gap_within_a_connection() -> None:
    broken = Broken()
    connections = Connections(broken)
    for connection, number in ((b"a", 4), (b"b", 9), (b"a", 5), (b"b", 10)):
        connections.take(connection, Stamp(1, number))
    assert broken.texts == []
    connections.take(b"a", Stamp(1, 7))
    assert complains(broken.texts, "number 6 of the same connection")


# All of it.


def soak(*arguments: str) -> subprocess.Popen[str]:
    """The program, as a user starts it."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-m", "soak", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.timeout(180)
def test_short_run_keeps_every_promise() -> None:
    process = soak("--seconds", "5", "--seed", "1")
    told, _ = process.communicate(timeout=170)
    assert process.returncode == 0, told
    assert "Every promise was kept (seed 1)" in told
    for title in ("PUSH → PULL", "REQ ↔ REP", "XPUB → XSUB", "restarts, ipc", "contexts"):
        assert any(line.startswith(title) for line in told.splitlines()), told


@pytest.mark.timeout(180)
def test_interrupted_run_ends_in_good_order_with_its_table() -> None:
    process = soak("--seconds", "600", "--seed", "2")
    assert process.stdout is not None
    assert "seed 2" in process.stdout.readline()
    assert "at work" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=170)
    assert process.returncode == 0, told
    assert "interrupted" in told
    assert "connect, disconnect" in told


def test_broken_promise_is_the_exit_status(tmp_path: Path) -> None:
    """One workload that finds a duplicate is enough; its words and the seed are told."""
    script = tmp_path / "broken.py"
    script.write_text(
        "import sys, soak.__main__ as program\n"
        "from soak.messages import Stamp, make\n"
        "from soak.promises import Arrivals\n"
        "from soak.workload import Workload\n"
        "class Doubling(Workload):\n"
        "    title = 'doubling'\n"
        "    def start(self):\n"
        "        arrivals = Arrivals(self.broken)\n"
        "        for _ in range(2):\n"
        "            arrivals.take(make(Stamp(4, 0)))\n"
        "program.all_workloads = lambda run: [Doubling(run)]\n"
        "sys.exit(program.main())\n"
    )
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, str(script), "--seconds", "60", "--seed", "5"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED with seed 5: doubling: Stamp(sender=4, number=0) was delivered" in done.stdout


def test_nothing_of_the_proxy_stays_open() -> None:
    before = len(open_descriptors())
    for kind in Kind:
        ends = Ends(Fault(kind, after=3, seconds=0.01))
        ends.client.sendall(b"12345")
        ends.close()
    eventually(lambda: len(open_descriptors()) <= before)
