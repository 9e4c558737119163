"""Runs one measurement: starts the processes, hands the endpoints over, waits with a deadline, collects."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from benches.job import Figures, Task
from benches.workloads import WORKLOADS


@dataclass(frozen=True)
class Outcome:
    """What came of one measurement: figures, or the reason why there are none."""

    figures: Figures | None
    reason: str = ""
    supported: bool = True
    hung: bool = False


def run(module: str, task: Task, deadline: float) -> Outcome:
    """One measurement, in fresh processes that are gone afterwards, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="mqcore-bench-") as directory:
        order = {"module": module, "task": asdict(task), "path": f"{directory}/bench"}
        roles = WORKLOADS[task.pattern, task.mode].roles(task.transport)
        lines: SimpleQueue[tuple[int, str]] = SimpleQueue()
        peers = [_start(index, {**order, "role": role}, lines) for index, role in enumerate(roles)]
        try:
            return _conduct(peers, lines, time.monotonic() + deadline)
        except Empty:
            return Outcome(None, f"hangs (no result in {deadline:.0f} s)", hung=True)
        finally:
            for peer in peers:
                peer.kill()
                peer.communicate()


def _start(
    index: int, order: dict[str, Any], lines: SimpleQueue[tuple[int, str]]
) -> subprocess.Popen[str]:
    peer = subprocess.Popen(
        [sys.executable, "-m", "benches.peer"],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    _write(peer, order)
    assert peer.stdout is not None, "its output is a pipe"
    output = peer.stdout

    def read() -> None:
        for line in output:
            lines.put((index, line))
        lines.put((index, ""))

    threading.Thread(target=read, daemon=True).start()
    return peer


def _write(peer: subprocess.Popen[str], line: dict[str, Any]) -> None:
    assert peer.stdin is not None, "its input is a pipe"
    try:
        peer.stdin.write(json.dumps(line) + "\n")
        peer.stdin.flush()
    except BrokenPipeError:
        pass  # it has ended; its output says why


def _conduct(
    peers: list[subprocess.Popen[str]], lines: SimpleQueue[tuple[int, str]], end: float
) -> Outcome:
    """Passes the lines on between the peers until all have given their result."""
    results: dict[int, Figures] = {}
    while len(results) < len(peers):
        index, text = lines.get(timeout=max(0.0, end - time.monotonic()))
        if not text:
            if index in results:
                continue
            return Outcome(None, f"a process died with code {peers[index].wait()}")
        line = json.loads(text)
        if "failure" in line:
            return Outcome(None, line["failure"])
        if "unsupported" in line:
            return Outcome(None, line["unsupported"], supported=False)
        if "result" in line:
            results[index] = line["result"]
        for other, peer in enumerate(peers):
            if other != index:
                _write(peer, line if "endpoints" in line else {"told": True})

    figures: Figures = {}
    for result in results.values():
        figures |= result
    figures["cpu"] = sum(result["cpu"] for result in results.values())
    figures["peak"] = sum(result["peak"] for result in results.values())
    return Outcome(figures)
