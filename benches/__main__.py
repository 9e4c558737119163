"""`make bench` and `make bench-quick`: measures every cell with every library and writes the results."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from benches import report
from benches.cells import CELLS, FULL, LIBRARIES, QUICK, Cell, Library, Settings
from benches.memory import SCENES
from benches.runner import Outcome, run
from benches.workloads import POOL, WORKLOADS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument(
        "--libraries",
        default=",".join(LIBRARIES),
        help="comma-separated; the first is compared with the others (default: %(default)s)",
    )
    parser.add_argument("--only", default="", help="only cells and scenes whose name contains this")
    parser.add_argument("--rounds", type=int, help="instead of the usual number")
    parser.add_argument(
        "--seconds", type=float, help="instead of the usual length of a measurement"
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()

    unknown = set(arguments.libraries.split(",")) - set(LIBRARIES)
    if unknown:
        parser.error(f"unknown libraries {sorted(unknown)}; known are {sorted(LIBRARIES)}")
    libraries = [LIBRARIES[name] for name in arguments.libraries.split(",")]
    settings = QUICK if arguments.quick else FULL
    if arguments.rounds:
        settings = dataclasses.replace(settings, rounds=arguments.rounds)
    if arguments.seconds:
        settings = dataclasses.replace(settings, seconds=arguments.seconds)
    cells = [cell for cell in CELLS if arguments.only in cell.name]
    scenes = [scene for scene in SCENES.values() if arguments.only in scene.title]
    if not cells and not scenes:
        parser.error(f"no cell is called {arguments.only!r}: {[cell.name for cell in CELLS]}")

    began = time.monotonic()
    results: dict[str, Any] = {
        "settings": report.describe(settings, libraries),
        "cells": measure_cells(cells, libraries, settings),
        "memory": measure_memory([scene.title for scene in scenes], libraries, settings),
    }
    results["settings"]["took"] = f"{time.monotonic() - began:.0f} s"
    table = report.write(results, [library.name for library in libraries], arguments.output)
    print(f"\n{table}\nWritten to {arguments.output}: latest.json, latest.md, latest.svg")

    subject = libraries[0].name
    broken = [
        f"{row['name']}: {row['libraries'][subject]['reason']}"
        for row in (*results["cells"], *results["memory"])
        if row["libraries"][subject].get("failed")
    ]
    if broken:
        print(f"\n{subject} FAILED in:", *broken, sep="\n  ")
    return 1 if broken else 0


def measure_cells(
    cells: list[Cell], libraries: list[Library], settings: Settings
) -> list[dict[str, Any]]:
    """All rounds of all cells. Libraries take turns inside a round, so that a noisy minute hits all of them."""
    counts = {cell: find_count(cell, libraries, settings) for cell in cells}
    outcomes: dict[tuple[Cell, str], list[Outcome]] = {
        (cell, library.name): [] for cell in cells for library in libraries
    }
    for number in range(settings.rounds):
        for cell in cells:
            turn = number % len(libraries)
            for library in libraries[turn:] + libraries[:turn]:
                earlier = outcomes[cell, library.name]
                if earlier and earlier[-1].figures is None and number > 1:
                    continue  # it has had its second chance
                outcome = measure(cell, library, counts[cell], settings)
                earlier.append(outcome)
            progress(f"round {number + 1}/{settings.rounds}", cell, libraries, outcomes)
    return [
        {
            "name": cell.name,
            **dataclasses.asdict(cell),
            "count": counts[cell],
            "measure": WORKLOADS[cell.pattern, cell.mode].measure,
            "libraries": {
                library.name: summary(outcomes[cell, library.name], counts[cell])
                for library in libraries
            },
        }
        for cell in cells
    ]


def measure(cell: Cell, library: Library, count: int, settings: Settings) -> Outcome:
    return run(
        library, cell.pattern, cell.mode, cell.transport, cell.size, count, settings.deadline
    )


def find_count(cell: Cell, libraries: list[Library], settings: Settings) -> int:
    """The message count of a cell, the same for all: what the last library, an opponent, does in the time."""
    pilot = WORKLOADS[cell.pattern, cell.mode].pilot
    for library in reversed(libraries):
        outcome = measure(cell, library, pilot, settings)
        if outcome.figures:
            wanted: float = outcome.figures["rate"] * settings.seconds
            return max(1, round(wanted / POOL)) * POOL
    return pilot


def summary(outcomes: list[Outcome], count: int) -> dict[str, Any]:
    """Medians and spread of the rounds that went well, or why there are none."""
    good = [outcome.figures for outcome in outcomes if outcome.figures]
    if len(good) < len(outcomes):
        last = next(outcome for outcome in reversed(outcomes) if outcome.figures is None)
        note = f"{len(outcomes) - len(good)} of {len(outcomes)} rounds failed: {last.reason}"
        if not good:
            return {"failed": last.supported, "reason": last.reason}
    else:
        note = ""
    figures: dict[str, Any] = {"failed": bool(note), "reason": note}
    for key in good[0]:
        values = [one[key] for one in good]
        figures[key] = {"median": median(values), "least": min(values), "most": max(values)}
    figures["cpu_per_million"] = figures["cpu"]["median"] / count * 1e6
    return figures


def measure_memory(
    titles: list[str], libraries: list[Library], settings: Settings
) -> list[dict[str, Any]]:
    """Each scene once with each library: memory is not noisy."""
    rows = []
    for title in titles:
        scene = SCENES[title]
        row: dict[str, Any] = {
            "name": title,
            "per": scene.per,
            "count": scene.count,
            "libraries": {},
        }
        for library in libraries:
            outcome = run(library, title, "", "tcp", 1024, scene.count, settings.deadline / 2)
            row["libraries"][library.name] = (
                {**outcome.figures, "failed": False}
                if outcome.figures
                else {"failed": outcome.supported, "reason": outcome.reason}
            )
        print(f"memory: {title}", file=sys.stderr, flush=True)
        rows.append(row)
    return rows


def progress(
    stage: str,
    cell: Cell,
    libraries: list[Library],
    outcomes: dict[tuple[Cell, str], list[Outcome]],
) -> None:
    key = WORKLOADS[cell.pattern, cell.mode].measure
    figures = []
    for library in libraries:
        last = outcomes[cell, library.name][-1]
        value = report.quantity(key, last.figures[key]) if last.figures else last.reason
        figures.append(f"{library.name} {value}")
    print(f"{stage}  {cell.name:24} {', '.join(figures)}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
