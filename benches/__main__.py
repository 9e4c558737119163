"""`make bench` and `make bench-quick`: measures the cells of the table with every library and writes the results."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

from benches import report
from benches.cells import CELLS, FULL, LIBRARIES, QUICK, SCENES, Library, Settings
from benches.measure import measure_cells, measure_scenes

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the main cells, few short rounds")
    add_common_arguments(parser)
    arguments = parser.parse_args()
    libraries = chosen_libraries(parser, arguments)
    settings = chosen_settings(arguments, QUICK if arguments.quick else FULL)
    cells = [
        cell
        for cell in CELLS
        if arguments.only in cell.name and (cell.quick or not arguments.quick)
    ]
    scenes = [scene for scene in SCENES if arguments.only in scene.name]
    if not cells and not scenes:
        parser.error(f"no cell is called {arguments.only!r}: {[cell.name for cell in CELLS]}")

    began = time.monotonic()
    results: dict[str, Any] = {
        "settings": report.describe(settings, libraries),
        "cells": measure_cells(cells, libraries, settings),
        "memory": measure_scenes(scenes, libraries, settings),
    }
    results["settings"]["took"] = f"{time.monotonic() - began:.0f} s"
    tables = report.write(results, [library.name for library in libraries], arguments.output)
    print(f"\n{tables}\nWritten to {arguments.output}: latest.json, latest.md, latest.svg")

    subject = libraries[0].name
    broken = [
        f"{row['name']}: {row['libraries'][subject]['reason']}"
        for row in (*results["cells"], *results["memory"])
        if row["libraries"][subject]["failed"]
    ]
    if broken:
        print(f"\n{subject} FAILED in:", *broken, sep="\n  ")
    return 1 if broken else 0


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--libraries",
        default=",".join(LIBRARIES),
        help="comma-separated; the first is compared with the others (default: %(default)s)",
    )
    parser.add_argument("--only", default="", help="only what has this in its name")
    parser.add_argument("--rounds", type=int, help="instead of the usual number")
    parser.add_argument(
        "--seconds", type=float, help="instead of the usual length of a measurement"
    )
    parser.add_argument("--deadline", type=float, help="seconds until a measurement is given up")
    parser.add_argument("--output", type=Path, default=RESULTS)


def chosen_libraries(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace
) -> list[Library]:
    names = arguments.libraries.split(",")
    if unknown := set(names) - set(LIBRARIES):
        parser.error(f"unknown libraries {sorted(unknown)}; known are {sorted(LIBRARIES)}")
    return [LIBRARIES[name] for name in names]


def chosen_settings(arguments: argparse.Namespace, usual: Settings) -> Settings:
    given = {
        name: value
        for name in ("rounds", "seconds", "deadline")
        if (value := getattr(arguments, name)) is not None
    }
    return dataclasses.replace(usual, **given)


if __name__ == "__main__":
    sys.exit(main())
