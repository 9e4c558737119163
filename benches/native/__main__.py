"""Compares mqcore's engine with libzmq, both without Python: `python -m benches.native`.

Builds mqcore's examples `throughput` and `round_trip` with Cargo and `libzmq.c` with the C compiler, runs them in
turn with the same sizes and counts, several rounds, and prints a table of medians and ratios. libzmq and its header
must be installed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

ENDPOINTS = {"inproc": "inproc://native", "ipc": "ipc://*", "tcp": "tcp://127.0.0.1:*"}

DEADLINE = 120
"""Seconds after which a run counts as stuck."""

Command = list[str]
"""How to run a program; a mode's name, an endpoint, a size and a count follow."""


@dataclass(frozen=True)
class Cell:
    """What is measured: by which mode of the programs, over what, and with how much."""

    mode: str
    transport: str
    size: int
    count: int

    @property
    def name(self) -> str:
        pattern = "PUSH/PULL" if self.mode == "throughput" else "REQ/REP"
        size = f"{self.size} B" if self.size < 1024 else f"{self.size // 1024} KiB"
        return f"{pattern} {self.transport} {size}"

    def ratio(self, ours: float, theirs: float) -> float:
        """Above 1, mqcore is faster."""
        return ours / theirs if self.mode == "throughput" else theirs / ours

    def show(self, figure: float) -> str:
        if self.mode == "round_trip":
            return f"{figure:.1f} µs"
        return f"{figure / 1e6:.2f} M/s" if figure >= 1e6 else f"{figure / 1e3:.0f} k/s"


CELLS = [
    *(
        Cell("throughput", transport, size, count)
        for size, count in ((16, 2_000_000), (1024, 400_000), (64 * 1024, 20_000))
        for transport in ENDPOINTS
    ),
    *(Cell("round_trip", transport, 16, 20_000) for transport in ENDPOINTS),
]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.native", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--only", default="", help="only cells whose name contains this")
    parser.add_argument(
        "--scale", type=float, default=1, help="times as many messages (default: %(default)s)"
    )
    arguments = parser.parse_args()
    cells = [cell for cell in CELLS if arguments.only in cell.name]
    if not cells:
        parser.error(f"no cell is called {arguments.only!r}: {[cell.name for cell in CELLS]}")

    with tempfile.TemporaryDirectory() as directory:
        theirs = build_libzmq(Path(directory) / "libzmq")
        ours = build_mqcore()
        figures: dict[Cell, tuple[list[float], list[float]]] = {cell: ([], []) for cell in cells}
        for number in range(arguments.rounds):
            for cell in cells:
                count = max(1, round(cell.count * arguments.scale))
                runs = [(ours[cell.mode], figures[cell][0]), (theirs[cell.mode], figures[cell][1])]
                # Whoever runs second finds a warmer machine: they take turns.
                for command, found in runs if number % 2 == 0 else reversed(runs):
                    found.append(run(command, cell, count))
            print(f"round {number + 1}/{arguments.rounds}", file=sys.stderr, flush=True)

    print(
        "Median [least – most] of the rounds; the ratio is mqcore against libzmq: above 1 is faster.\n"
    )
    print("| cell | mqcore | libzmq | ratio |\n|---|---|---|---:|")
    for cell, (mine, other) in figures.items():
        ratio = cell.ratio(median(mine), median(other))
        print(f"| {cell.name} | {spread(cell, mine)} | {spread(cell, other)} | **{ratio:.2f}×** |")
    return 0


def spread(cell: Cell, values: list[float]) -> str:
    least, most = cell.show(min(values)), cell.show(max(values))
    return f"{cell.show(median(values))} [{least} – {most}]"


def run(command: Command, cell: Cell, count: int) -> float:
    """The one figure that a program prints."""
    full = [*command, ENDPOINTS[cell.transport], str(cell.size), str(count)]
    done = subprocess.run(full, stdout=subprocess.PIPE, text=True, timeout=DEADLINE, check=True)
    return float(done.stdout.split()[0])


def build_libzmq(program: Path) -> dict[str, Command]:
    compiler = os.environ.get("CC", "cc")
    try:
        look = [compiler, "-E", "-include", "zmq.h", "-x", "c", "/dev/null"]
        found = subprocess.run(look, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        sys.exit(f"There is no C compiler called {compiler}: install one, or name one in CC.")
    if found.returncode != 0:
        sys.exit(
            "The C compiler finds no zmq.h: install libzmq with its header, "
            "on Debian and Ubuntu with `apt-get install libzmq3-dev`."
        )
    options = ["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O2", "-Wall", "-Wextra", "-pthread"]
    source = str(HERE / "libzmq.c")
    subprocess.run([compiler, *options, "-o", str(program), source, "-lzmq"], check=True)
    return {mode: [str(program), mode] for mode in ("throughput", "round_trip")}


def build_mqcore() -> dict[str, Command]:
    cargo = ["cargo", "build", "--locked", "--release", "--package", "mqcore", "--examples"]
    done = subprocess.run(
        [*cargo, "--message-format=json-render-diagnostics"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    artifacts = [json.loads(line) for line in done.stdout.splitlines()]
    return {
        one["target"]["name"]: [one["executable"]]
        for one in artifacts
        if one["reason"] == "compiler-artifact" and one["target"]["kind"] == ["example"]
    }


if __name__ == "__main__":
    sys.exit(main())
