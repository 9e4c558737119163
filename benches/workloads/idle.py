"""What a library costs when nothing is to be done: a context made and ended, and sockets that only wait."""

from __future__ import annotations

import os
import threading
import time

from benches.content import speed
from benches.job import Figures, Job
from benches.workloads.peers import hear_hello, say_hello

SETTLE = 1.0  # seconds after the last message, in which timers of the handshake may still fire


def make_contexts(job: Job) -> Figures:
    """Makes a context, a socket in it (some libraries start their threads only then), and ends both."""
    zmq = job.zmq

    def once() -> None:
        context = zmq.Context()
        context.socket(zmq.PUSH).close(0)
        context.term()

    once()
    job.began()
    start = time.perf_counter()
    for _ in range(job.task.count):
        once()
    return speed(job.task.count, time.perf_counter() - start)


def wait_with_many(job: Job) -> Figures:
    """A PULL with many connections, each of which has said hello."""
    with job.context.socket(job.zmq.PULL) as socket:
        job.bind(socket)
        hear_hello(job, socket)
        figures = watch(job)
        job.wait_for_other()
        return {f"accepting_{key}": figure for key, figure in figures.items()}


def wait_with_one_each(job: Job) -> Figures:
    """Many PUSHes, each of which has said hello."""
    sockets = say_hello(job)
    figures = watch(job)
    job.tell_other()
    job.wait_for_other()
    for socket in sockets:
        socket.close()
    return {f"connecting_{key}": figure for key, figure in figures.items()}


def watch(job: Job) -> Figures:
    """For `count` milliseconds: how often threads of the library woke up, and what CPU time they used."""
    time.sleep(SETTLE)
    seconds = job.task.count / 1000
    before = wake_ups(), cpu_time()
    time.sleep(seconds)
    after = wake_ups(), cpu_time()
    return {
        "threads": len(others()),
        "wake_ups": (after[0] - before[0]) / seconds,
        "cpu_ms": (after[1] - before[1]) / seconds * 1000,
    }


def wake_ups() -> int:
    """How often the threads of this process, without the one that asks, have gone to sleep or been interrupted."""
    switches = 0
    for thread in others():
        with open(f"/proc/self/task/{thread}/status") as lines:
            switches += sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
    return switches


def cpu_time() -> float:
    """Seconds of CPU time of the same threads, from the scheduler's account in nanoseconds."""
    nanoseconds = 0
    for thread in others():
        with open(f"/proc/self/task/{thread}/schedstat") as account:
            nanoseconds += int(account.read().split()[0])
    return nanoseconds / 1e9


def others() -> list[str]:
    return [
        thread
        for thread in os.listdir("/proc/self/task")
        if int(thread) != threading.get_native_id()
    ]
