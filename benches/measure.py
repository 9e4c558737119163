"""Rounds of measurements: how many messages, in which order, and what came of it in medians."""

from __future__ import annotations

import dataclasses
import math
import sys
from statistics import median
from typing import Any

from benches.cells import RAW, Cell, Library, Scene, Settings
from benches.runner import Outcome, run
from benches.units import quantity
from benches.workloads import WORKLOADS

Row = dict[str, Any]
PILOT_BYTES = 2**25  # a first run carries no more than that


@dataclasses.dataclass
class Entry:
    """One library in one cell."""

    library: Library
    mode: str
    count: int = 0
    outcomes: list[Outcome] = dataclasses.field(default_factory=list)

    @property
    def given_up(self) -> bool:
        """Whether there is no point in another round: it lacks something, hangs, or has failed twice."""
        bad = [outcome for outcome in self.outcomes if outcome.figures is None]
        return len(bad) > 1 or any(outcome.hung or not outcome.supported for outcome in bad)


def entries(cell: Cell, libraries: list[Library]) -> list[Entry]:
    """Who runs what. Where only the first library has a call of its own, the others do it their way."""
    others = WORKLOADS[cell.pattern, cell.mode].others or cell.mode
    found = [Entry(library, others) for library in libraries]
    found[0].mode = cell.mode
    return [*found, Entry(RAW, "raw")] if cell.raw else found


def measure_cells(cells: list[Cell], libraries: list[Library], settings: Settings) -> list[Row]:
    """All rounds of all cells. Libraries take turns inside a round, so that a noisy minute hits all of them."""
    table = {cell: entries(cell, libraries) for cell in cells}
    for cell, row in table.items():
        for entry in row:
            find_count(cell, entry, settings)
        progress("counting", cell, row)
    for number in range(settings.rounds):
        for cell, row in table.items():
            turn = number % len(row)
            for entry in row[turn:] + row[:turn]:
                if not entry.given_up:
                    task = cell.task(entry.count, entry.mode)
                    entry.outcomes.append(run(entry.library.module, task, settings.deadline))
            progress(f"round {number + 1}/{settings.rounds}", cell, row)
    return [
        {
            "name": cell.name,
            **dataclasses.asdict(cell),
            "measure": WORKLOADS[cell.pattern, cell.mode].measure,
            "libraries": {entry.library.name: summary(entry) for entry in row},
        }
        for cell, row in table.items()
    ]


def find_count(cell: Cell, entry: Entry, settings: Settings) -> None:
    """A short first run tells how many messages fill the time. Its failure counts like that of a round."""
    workload = WORKLOADS[cell.pattern, entry.mode]
    pilot = max(2, min(workload.pilot, PILOT_BYTES // max(1, cell.size)))
    pilot = math.ceil(pilot / workload.unit) * workload.unit
    while not entry.count and not entry.given_up:
        outcome = run(entry.library.module, cell.task(pilot, entry.mode), settings.deadline)
        if outcome.figures is None:
            entry.outcomes.append(outcome)
            continue
        wanted = pilot * settings.seconds / max(outcome.figures["seconds"], 1e-6)
        entry.count = max(2, math.ceil(wanted / workload.unit) * workload.unit)


def summary(entry: Entry) -> Row:
    """Medians and spread of the rounds that went well, or why there are none."""
    good = [outcome.figures for outcome in entry.outcomes if outcome.figures]
    bad = [outcome for outcome in entry.outcomes if outcome.figures is None]
    if not good:
        return {"failed": bad[-1].supported, "reason": bad[-1].reason}
    row: Row = {"failed": bool(bad), "reason": "", "mode": entry.mode, "count": entry.count}
    if bad:
        row["reason"] = f"{len(bad)} of {len(entry.outcomes)} runs failed: {bad[-1].reason}"
    for key in good[0]:
        row[key] = spread([one[key] for one in good])
    row["cpu_per_million"] = spread([one["cpu"] / one["messages"] * 1e6 for one in good])
    return row


def spread(values: list[float]) -> dict[str, float]:
    return {"median": median(values), "least": min(values), "most": max(values)}


def measure_scenes(scenes: list[Scene], libraries: list[Library], settings: Settings) -> list[Row]:
    """Each scene once with each library."""
    rows = []
    for scene in scenes:
        row: Row = {"name": scene.name, "per": scene.per, "libraries": {}}
        for library in libraries:
            outcome = run(library.module, scene.task, settings.deadline)
            row["libraries"][library.name] = {
                **(outcome.figures or {}),
                "failed": outcome.figures is None and outcome.supported,
                "reason": outcome.reason,
            }
        print(f"memory: {scene.name}", file=sys.stderr, flush=True)
        rows.append(row)
    return rows


def progress(stage: str, cell: Cell, row: list[Entry]) -> None:
    key = WORKLOADS[cell.pattern, cell.mode].measure
    words = []
    for entry in row:
        last = entry.outcomes[-1] if entry.outcomes else None
        if last is None:
            words.append(f"{entry.library.name} {entry.count:,}")
        else:
            value = quantity(key, last.figures[key]) if last.figures else last.reason
            words.append(f"{entry.library.name} {value}")
    print(f"{stage}  {cell.name:36} {', '.join(words)}", file=sys.stderr, flush=True)
