"""A process that plays one role of a measurement, or both in two threads: started by `runner.py` only.

Its first line of input is an order; it answers in lines of JSON: `endpoint`, `done`, and at last one of
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

from benches.memory import SCENES
from benches.workloads import WORKLOADS, Job, Unsupported


def main() -> None:
    order = json.loads(sys.stdin.readline())
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # for a thousand connections
    try:
        zmq = import_module(order["module"])
        roles: Any = SCENES.get(order["pattern"]) or WORKLOADS[order["pattern"], order["mode"]]
        job = Job(zmq, zmq.Context(), order["transport"], order["size"], order["count"])
        job.path = order["path"]
        used = time.process_time()
        if order["role"] == "threads":
            result = in_threads(roles, job)
        else:
            job.announce = lambda endpoint: write(endpoint=endpoint)
            job.finished = lambda: write(done=True)
            job.wait_for_end = lambda: wait_for("end")
            if order["role"] == "connects":
                job.endpoint = wait_for("endpoint")
            result = getattr(roles, order["role"])(job)
        result["cpu"] = time.process_time() - used
        result["peak"] = status("VmHWM")
        write(result=result)
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


def status(key: str) -> float:
    """MiB from the kernel's account of this process: VmRSS, memory now, or VmHWM, at its highest."""
    with open("/proc/self/status") as lines:
        for line in lines:
            if line.startswith(key):
                return int(line.split()[1]) / 1024
    raise KeyError(key)


def in_threads(roles: Any, job: Job) -> dict[str, Any]:
    """Plays both roles in two threads that share the context, as inproc needs it."""
    endpoint: SimpleQueue[str] = SimpleQueue()
    outcomes: SimpleQueue[dict[str, Any] | Exception] = SimpleQueue()
    ended = (threading.Event(), threading.Event())

    def play(index: int) -> None:
        mine = Job(job.zmq, job.context, job.transport, job.size, job.count)
        mine.announce = endpoint.put
        mine.finished = ended[index].set
        mine.wait_for_end = lambda: None if ended[1 - index].wait() else None
        try:
            if index == 1:
                mine.endpoint = endpoint.get()
            outcome = (roles.binds, roles.connects)[index](mine)
            ended[index].set()
            outcomes.put(outcome)
        except Exception as error:
            outcomes.put(error)

    for index in (0, 1):
        threading.Thread(target=play, args=(index,), daemon=True).start()
    merged: dict[str, Any] = {}
    for _ in ended:
        outcome = outcomes.get()
        if isinstance(outcome, Exception):
            raise outcome
        merged |= outcome
    return merged


if __name__ == "__main__":
    main()
