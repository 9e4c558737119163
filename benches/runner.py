"""Runs one measurement: starts the processes, hands the endpoint over, waits with a deadline, collects."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from benches.cells import Library


@dataclass(frozen=True)
class Outcome:
    """What came of one measurement: figures, or the reason why there are none."""

    figures: dict[str, Any] | None
    reason: str = ""
    supported: bool = True


def run(
    library: Library,
    pattern: str,
    mode: str,
    transport: str,
    size: int,
    count: int,
    deadline: float,
) -> Outcome:
    """One measurement, in fresh processes that are gone afterwards, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="mqcore-bench-") as directory:
        order = {
            "module": library.module,
            "pattern": pattern,
            "mode": mode,
            "transport": transport,
            "size": size,
            "count": count,
            "path": f"ipc://{directory}/bench",
        }
        roles = ("threads",) if transport == "inproc" else ("binds", "connects")
        lines: SimpleQueue[tuple[int, str]] = SimpleQueue()
        peers = [_start(index, order | {"role": role}, lines) for index, role in enumerate(roles)]
        try:
            return _conduct(peers, lines, time.monotonic() + deadline)
        except Empty:
            return Outcome(None, f"no answer in {deadline:.0f} s")
        finally:
            for peer in peers:
                peer.kill()
                peer.communicate()


def _start(
    index: int, order: dict[str, Any], lines: SimpleQueue[tuple[int, str]]
) -> subprocess.Popen[str]:
    peer = subprocess.Popen(
        [sys.executable, "-m", "benches.peer"],
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
    """Passes the lines on between the two peers until both have given their result."""
    results: dict[int, dict[str, Any]] = {}
    told: set[int] = set()

    def tell_end(index: int) -> None:
        """One of the two has done its work: let the other one, if there is one, finish."""
        other = 1 - index
        if other < len(peers) and other not in told:
            told.add(other)
            _write(peers[other], {"end": True})

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
        if "endpoint" in line:
            _write(peers[1], line)
        if "result" in line:
            results[index] = line["result"]
        if "result" in line or "done" in line:
            tell_end(index)

    figures: dict[str, Any] = {}
    for result in results.values():
        figures |= result
    figures["cpu"] = sum(result["cpu"] for result in results.values())
    figures["peak"] = sum(result["peak"] for result in results.values())
    return Outcome(figures)
