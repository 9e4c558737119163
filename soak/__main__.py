"""`python -m soak [--seconds 600] [--seed N]`: plays every workload at once; exits with 0 if every
promise was kept.

Ctrl-C ends the run early, in good order.
"""

from __future__ import annotations

import argparse
import faulthandler
import secrets
import sys
import threading
import time

from soak.run import PATIENCE, Holdings, Run
from soak.workload import TERM, Row, Workload
from soak.workloads import all_workloads

EVERY = 10.0
"""Seconds between two lines of progress."""

MEMORY = 128 * 1024 * 1024
"""Bytes of memory that may be more at the end: what Python and the allocators keep after a hundred
threads with queues of several megabytes (20 to 60 MiB, after 20 seconds as after minutes). Ten
minutes are some 15 million messages, so that a leak of 10 bytes a message shows.
"""

ENDING = PATIENCE + 4 * TERM
"""Seconds within which the run must have ended once its time is up; then every stack is printed."""


def main() -> int:
    """Runs the soak. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m soak", description="See soak/__init__.py.")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (600)")
    parser.add_argument("--seed", type=int, help="of all chance (another one each time)")
    arguments = parser.parse_args()
    seed = secrets.randbelow(10**6) if arguments.seed is None else arguments.seed
    print(f"soak for {arguments.seconds:g} s with seed {seed}; Ctrl-C ends it early", flush=True)
    sys.setswitchinterval(0.001)  # many threads, and each of them has a peer that waits
    before = Holdings.now()
    rows, words = soak(Run(seed), arguments.seconds)
    words += compare(before)
    print_table(rows)
    if not words:
        print(f"\nEvery promise was kept (seed {seed}).")
        return 0
    print(f"\nThe soak FAILED with seed {seed}: {words[0]}")
    for word in words[1:]:
        print(f"  also: {word}")
    return 1


def soak(run: Run, seconds: float) -> tuple[list[Row], list[str]]:
    """Plays the workloads for so long. Returns the table, and what was broken as sentences."""
    workloads = all_workloads(run)
    started: list[Workload] = []
    try:
        for workload in workloads:
            workload.start()
            started.append(workload)
        print(f"{len(started)} workloads are at work", flush=True)
        watch(workloads, seconds)
    except KeyboardInterrupt:
        print("interrupted: coming to an end", flush=True)
    faulthandler.dump_traceback_later(ENDING, exit=True)
    try:
        run.end()
        for workload in workloads:
            workload.join()
        for workload in started:
            workload.judge()
        for workload in workloads:
            workload.close()
        run.close()
    finally:
        faulthandler.cancel_dump_traceback_later()
    words = [f"{each.title}: {text}" for each in workloads for text in each.broken.texts]
    return [workload.row() for workload in workloads], words


def watch(workloads: list[Workload], seconds: float) -> None:
    """Waits until the time is up and tells of the progress; earlier if a promise was broken."""
    began, silence = time.monotonic(), threading.Event()
    next_line = EVERY
    while (passed := time.monotonic() - began) < seconds:
        silence.wait(min(1.0, seconds - passed))
        rows = [workload.row() for workload in workloads]
        broken = sum(row.broken for row in rows)
        if broken or passed >= next_line:
            next_line += EVERY
            print(
                f"{passed:6.0f} s  {sum(row.messages for row in rows):,} messages, "
                f"{sum(row.faults for row in rows):,} faults, {broken} broken promises, "
                f"{Holdings.now().memory / 2**20:.0f} MiB",
                flush=True,
            )
        if broken:
            return


def compare(before: Holdings, patience: float = 10.0) -> list[str]:
    """What is held more than before, as sentences; given `patience` seconds to go away."""
    end, silence = time.monotonic() + patience, threading.Event()
    while True:
        now = Holdings.now()
        words = []
        if now.descriptors > before.descriptors:
            words.append(f"{now.descriptors} descriptors are open, {before.descriptors} at first")
        if now.threads > before.threads:
            words.append(f"{now.threads} threads are running, {before.threads} at first")
        if now.memory > before.memory + MEMORY:
            words.append(f"{now.memory} bytes of memory are held, {before.memory} at first")
        if not words or time.monotonic() > end:
            break
        silence.wait(0.1)
    print(
        f"at the start {before.descriptors} descriptors, {before.threads} threads, "
        f"{before.memory / 2**20:.1f} MiB; now {now.descriptors}, {now.threads}, "
        f"{now.memory / 2**20:.1f} MiB"
    )
    return words


def print_table(rows: list[Row]) -> None:
    """The table; the largest gap is in KiB."""
    print(
        f"\n{'workload':20} {'messages':>10} {'faults':>7} {'lost':>8} {'at once':>9} {'broken':>7}"
    )
    for row in rows:
        print(
            f"{row.title:20} {row.messages:10,} {row.faults:7,} {row.lost:8,} "
            f"{row.largest / 1024:5.0f} KiB {row.broken:7,}"
        )


if __name__ == "__main__":
    sys.exit(main())
