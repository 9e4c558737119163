"""Fixtures of the suites. Each suite's conftest imports them from here."""

import gc
import os
import uuid

import pytest

from peers import subject
from peers.process import LocalEnd, PeerProcess
from peers.subject import zmq
from peers.waiting import eventually


def open_descriptors() -> list[str]:
    """What this process has open, as /proc names it."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            pass  # the descriptor that listed the directory
    return sorted(found)


def children() -> list[str]:
    """Processes started by this one and not yet gone."""
    found = []
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/children", encoding="ascii") as listing:
                found += listing.read().split()
        except (FileNotFoundError, ProcessLookupError):
            pass  # the thread has just ended
    return found


@pytest.fixture(scope="module", autouse=True)
def nothing_left_behind():
    """A module leaves no process, descriptor or thread behind."""
    descriptors, processes, threads = (
        len(open_descriptors()),
        len(children()),
        len(os.listdir("/proc/self/task")),
    )
    yield
    gc.collect()  # a closed socket has its public descriptor until it is collected
    eventually(lambda: len(children()) <= processes, what=f"child processes end ({children()})")
    eventually(
        lambda: len(open_descriptors()) <= descriptors,
        what=f"descriptors close ({open_descriptors()})",
    )
    eventually(lambda: len(os.listdir("/proc/self/task")) <= threads, what="threads end")


@pytest.fixture
def context():
    """A context; at the end its sockets are closed without linger, and none is collected before."""
    kept = []

    class Keeping(zmq.Context):
        """Holds on to its sockets."""

        def socket(self, *arguments, **options):
            made = super().socket(*arguments, **options)
            kept.append(made)
            return made

    made = Keeping()
    yield made
    made.destroy(linger=0)


@pytest.fixture
def make(context):
    """Makes ends of the module under test: `make("PUSH", SNDHWM=5)`."""
    return lambda kind, **options: LocalEnd(context, kind, **options)


PEER_MODULES = ["zmq"] if not subject.is_ours else ["zmq", subject.name]


@pytest.fixture(scope="module", params=PEER_MODULES, ids=lambda name: f"with_{name}")
def peer(request):
    """A peer process: real pyzmq, and the module under test once more."""
    process = PeerProcess(request.param)
    yield process
    process.stop()


@pytest.fixture
def endpoint(tmp_path):
    """A fresh endpoint to bind, by transport: `endpoint("tcp")`."""

    def make_endpoint(transport: str) -> str:
        name = uuid.uuid4().hex[:12]
        return {
            "tcp": "tcp://127.0.0.1:*",
            "ipc": f"ipc://{tmp_path}/{name}",
            "abstract": f"ipc://@mqcore-test-{name}",
            "inproc": f"inproc://{name}",
        }[transport]

    return make_endpoint


SUITES = {"interop", "hostile", "behaviour", "conformance"}


def pytest_collection_modifyitems(items):
    """A test that hangs is a failure after a minute, unless it says otherwise."""
    for item in items:
        if item.path.parent.name in SUITES and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(60))
