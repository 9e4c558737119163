"""A process that plays one role of a measurement, or both in two threads: started by `runner.py` only.

Its first line of input is an order; it answers in lines of JSON: `endpoints`, `told`, and at last one of
`result`, `unsupported` or `failure`.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from importlib import import_module
from queue import SimpleQueue
from typing import Any

from benches.job import Figures, Job, Task, Unsupported, Workload
from benches.workloads import WORKLOADS


class Processor:
    """The CPU time of this process since the last role was ready."""

    def __init__(self) -> None:
        self.began()

    def began(self) -> None:
        self.start = time.process_time()

    def used(self) -> float:
        return time.process_time() - self.start


def main() -> None:
    order = json.loads(sys.stdin.readline())
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # for thousands of connections
    try:
        zmq = import_module(order["module"])
        task = Task(**order["task"])
        workload = WORKLOADS[task.pattern, task.mode]
        job = Job(zmq, zmq.Context() if hasattr(zmq, "Context") else None, task, order["path"])
        processor = Processor()
        job.began = processor.began
        if order["role"] == "threads":
            result = in_threads(workload, job)
        else:
            job.announce = lambda endpoints: write(endpoints=endpoints)
            job.tell_other = lambda: write(told=True)
            job.wait_for_other = lambda: wait_for("told")
            if order["role"] == "connects":
                job.endpoints = wait_for("endpoints")
            result = getattr(workload, order["role"])(job)
        write(result={**result, "cpu": processor.used(), "peak": peak()})
    except Unsupported as reason:
        write(unsupported=str(reason))
    except Exception as error:
        write(failure=f"{type(error).__name__}: {error}")
    # The messages have arrived; how long a library takes to end its threads is not what is measured here.
    sys.stdout.flush()
    os._exit(0)


def write(**line: Any) -> None:
    print(json.dumps(line), flush=True)


def wait_for(key: str) -> Any:
    """The value of the next line of input, which must have that key."""
    line = sys.stdin.readline()
    if not line:
        raise EOFError("the runner has gone")
    return json.loads(line)[key]


def peak() -> float:
    """MiB that this process held at most, from the kernel's account."""
    with open("/proc/self/status") as lines:
        for line in lines:
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    raise KeyError("VmHWM")


def in_threads(workload: Workload, job: Job) -> Figures:
    """Plays both roles in two threads that share the context, as inproc needs it."""
    endpoints: SimpleQueue[list[str]] = SimpleQueue()
    outcomes: SimpleQueue[Figures | Exception] = SimpleQueue()
    told = (threading.Semaphore(0), threading.Semaphore(0))
    roles = (workload.binds, workload.connects)

    def play(index: int) -> None:
        role = roles[index]
        assert role is not None, "a workload in threads has both roles"
        mine = Job(job.zmq, job.context, job.task, job.path)
        mine.announce = endpoints.put
        mine.began = job.began
        mine.tell_other = told[1 - index].release
        mine.wait_for_other = lambda: None if told[index].acquire() else None
        try:
            if index == 1:
                mine.endpoints = endpoints.get()
            outcome = role(mine)
            mine.tell_other()
            outcomes.put(outcome)
        except Exception as error:
            outcomes.put(error)

    for index in range(len(roles)):
        threading.Thread(target=play, args=(index,), daemon=True).start()
    merged: Figures = {}
    for _ in roles:
        outcome = outcomes.get()
        if isinstance(outcome, Exception):
            raise outcome
        merged |= outcome
    return merged


if __name__ == "__main__":
    main()
