"""`make bench-idle`: what a library costs before and between its work.

Import, a context, a connection that says nothing, a process that waits. The bar for the last is absolute: no
wake-ups at all.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from benches import report
from benches.__main__ import add_common_arguments, chosen_libraries, chosen_settings
from benches.cells import SCENES, Library, Settings
from benches.job import Task
from benches.measure import Row
from benches.runner import run
from benches.units import quantity

SETTINGS = Settings(rounds=9, seconds=3.0)
CONTEXTS = 100
CONNECTIONS = 100
Measure = Callable[[Library, Settings], Row]


def import_time(library: Library, settings: Settings) -> Row:
    """A fresh interpreter that imports the library, minus one that imports nothing, in turn."""
    bare, full = [], []
    run_python(f"import {library.module}")  # the first one reads files into the kernel's cache
    for _ in range(settings.rounds):
        bare.append(run_python("pass"))
        full.append(run_python(f"import {library.module}"))
    wall, cpu, memory = (
        median(one[index] for one in full) - median(one[index] for one in bare)
        for index in range(3)
    )
    return {"wall_ms": wall * 1000, "cpu_ms": cpu * 1000, "memory": memory}


def run_python(code: str) -> tuple[float, float, float]:
    """Seconds, seconds of CPU time, and peak memory in bytes of a process that runs the code."""
    tell_peak = "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}; {tell_peak}"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None, "its output is a pipe"
    kibibytes = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - start
    process.stdout.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{code!r} ended with {process.returncode}")
    return took, usage.ru_utime + usage.ru_stime, int(kibibytes) * 1024


def context_time(library: Library, settings: Settings) -> Row:
    task = Task("idle", "contexts", "inproc", 0, CONTEXTS)
    row = measured(library, task, settings)
    if "rate" in row:
        row["each_us"] = 1e6 / row["rate"]
    return row


def connection_memory(library: Library, settings: Settings) -> Row:
    [scene] = [scene for scene in SCENES if scene.per > 1]
    row = measured(library, scene.task, settings)
    return row | {side: row[side] / scene.per for side in ("sender", "receiver") if side in row}


def idle_process(library: Library, settings: Settings) -> Row:
    milliseconds = round(settings.seconds * 1000)
    task = Task("idle", "waiting", "tcp", 0, milliseconds, CONNECTIONS)
    return measured(library, task, settings)


def measured(library: Library, task: Task, settings: Settings) -> Row:
    outcome = run(library.module, task, settings.deadline)
    return outcome.figures or {"failed": outcome.supported, "reason": outcome.reason}


@dataclasses.dataclass(frozen=True)
class Cost:
    """A row of the table."""

    name: str
    measure: Measure
    show: Callable[[Row], str]


COSTS = (
    Cost(
        "import: time, CPU time, memory",
        import_time,
        lambda row: (
            f"{row['wall_ms']:.1f} ms, {row['cpu_ms']:.1f} ms, {row['memory'] / 2**20:.1f} MiB"
        ),
    ),
    Cost(
        "a context with one socket, made and ended",
        context_time,
        lambda row: quantity("p50", row["each_us"]),
    ),
    Cost(
        "memory of an idle tcp connection, connecting + accepting side",
        connection_memory,
        lambda row: f"{row['sender'] / 1024:.1f} KiB + {row['receiver'] / 1024:.1f} KiB",
    ),
    Cost(
        f"wake-ups per second with {CONNECTIONS} idle tcp connections, connecting + accepting side",
        idle_process,
        lambda row: (
            f"{row['connecting_wake_ups']:.3g} + {row['accepting_wake_ups']:.3g} "
            f"({row['connecting_threads'] + row['accepting_threads']} threads, "
            f"{row['connecting_cpu_ms'] + row['accepting_cpu_ms']:.3g} ms CPU per second)"
        ),
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.idle", description=__doc__)
    add_common_arguments(parser)
    arguments = parser.parse_args()
    libraries = chosen_libraries(parser, arguments)
    settings = chosen_settings(arguments, SETTINGS)
    costs = [cost for cost in COSTS if arguments.only in cost.name]
    if not costs:
        parser.error(f"nothing is called {arguments.only!r}: {[cost.name for cost in COSTS]}")

    began = time.monotonic()
    results: dict[str, Any] = {"settings": report.describe(settings, libraries), "costs": {}}
    lines = report.headline("cost", *(library.name for library in libraries))
    for cost in costs:
        rows = {library.name: cost.measure(library, settings) for library in libraries}
        results["costs"][cost.name] = rows
        lines.append(report.line(cost.name, *(shown(cost, row) for row in rows.values())))
        print(lines[-1], file=sys.stderr, flush=True)
    results["settings"]["took"] = f"{time.monotonic() - began:.0f} s"
    tables = "\n".join([*lines, "", report.settings_line(results["settings"])])
    report.save(arguments.output, "idle", results, tables, {})
    print(f"\n{tables}\nWritten to {arguments.output}: idle.json, idle.md")
    return 0


def shown(cost: Cost, row: Row) -> str:
    return report.missing(row) if "reason" in row else cost.show(row)


if __name__ == "__main__":
    sys.exit(main())
