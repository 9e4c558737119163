"""`make bench-scale`: curves instead of points. What does a message cost with 1,000 peers, 1,000,000 prefixes, 64 MiB?

A curve is a row of cells that differ in one number. Points are measured as the cells of the table are; a library
that hangs at a point is not tried at the larger ones.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benches import report, svg, units
from benches.__main__ import add_common_arguments, chosen_libraries, chosen_settings
from benches.cells import RAW, Cell, Library, Settings, size_name
from benches.measure import Row, measure_cells
from benches.verdict import value

SETTINGS = Settings(rounds=3, seconds=0.4, deadline=60.0)


@dataclass(frozen=True)
class View:
    """One figure of the points as a table and a chart."""

    name: str  # of the chart's file
    title: str
    figure: Callable[[Row, str], float | None]  # of a point's row and a library's name
    label: Callable[[float], str]


@dataclass(frozen=True)
class Curve:
    name: str
    variable: str  # the field of the cells in which they differ
    cells: tuple[Cell, ...]
    views: tuple[View, ...]
    rounds: int | None = None  # instead of the usual number, where a point takes long

    def label(self, x: float) -> str:
        return size_name(int(x)) if self.variable == "size" else f"{x:,.0f}"


def rate(row: Row, name: str) -> float | None:
    return value(row, name, "rate")


def bytes_per_second(row: Row, name: str) -> float | None:
    messages = rate(row, name)
    size: int = row["size"]
    return None if messages is None else messages * size


def subscribe_time(row: Row, name: str) -> float | None:
    return value(row, name, "subscribe")


def memory_per_prefix(row: Row, name: str) -> float | None:
    """Both sides together; below 10,000 prefixes a process's own growth hides them."""
    sides = [value(row, name, "sender"), value(row, name, "receiver")]
    topics: int = row["topics"]
    if topics < 10_000 or None in sides:
        return None
    return sum(side for side in sides if side is not None) / topics


def per_second(value: float) -> str:
    return units.quantity("rate", value)


def microseconds(value: float) -> str:
    return units.quantity("p50", value)


PEERS = (1, 10, 100, 1000)
TOPICS = (1, 10, 100, 1000, 10_000, 100_000, 1_000_000)
SIZES = tuple(8**power for power in range(9)) + (2**26,)
POLLED = (1, 10, 100, 1000, 10_000)

CURVES = (
    Curve(
        "idle peers, PULL",
        "peers",
        tuple(Cell("PUSH/PULL", "tcp", 16, "one active", peers) for peers in PEERS),
        (
            View(
                "scale-idle-pull",
                "PULL with so many connections, one of which sends: messages per second",
                rate,
                per_second,
            ),
        ),
    ),
    Curve(
        "busy peers, PULL",
        "peers",
        tuple(Cell("PUSH/PULL", "tcp", 16, "all active", peers) for peers in PEERS),
        (
            View(
                "scale-busy-pull",
                "PULL with so many connections, all of which send: messages per second",
                rate,
                per_second,
            ),
        ),
    ),
    Curve(
        "idle peers, ROUTER",
        "peers",
        tuple(Cell("ROUTER/DEALER", "tcp", 64, "one active", peers) for peers in PEERS),
        (
            View(
                "scale-idle-router",
                "ROUTER with so many DEALERs, one of which talks: round trips per second",
                rate,
                per_second,
            ),
        ),
    ),
    Curve(
        "subscriptions",
        "topics",
        tuple(Cell("PUB/SUB", "tcp", 64, topics=topics) for topics in TOPICS),
        (
            View(
                "scale-publish",
                "PUB to one SUB with so many prefixes: messages per second",
                rate,
                per_second,
            ),
            View(
                "scale-subscribe",
                "Time for each prefix until all are in force",
                subscribe_time,
                microseconds,
            ),
            View(
                "scale-prefix-memory",
                "Memory for each prefix, both sides together",
                memory_per_prefix,
                units.size,
            ),
        ),
        rounds=1,
    ),
    Curve(
        "message size",
        "size",
        tuple(Cell("PUSH/PULL", "tcp", size, raw=True) for size in SIZES),
        (
            View(
                "scale-size",
                "PUSH to PULL over tcp by size of a message: bytes per second",
                bytes_per_second,
                units.throughput,
            ),
        ),
    ),
    Curve(
        "polled sockets",
        "peers",
        tuple(Cell("Poller", "inproc", 16, "one ready", peers) for peers in POLLED),
        (
            View(
                "scale-poller",
                "Poller over so many sockets, one of them ready: polls per second",
                rate,
                per_second,
            ),
        ),
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.scale", description=__doc__)
    add_common_arguments(parser)
    parser.add_argument("--most", type=int, help="leave out the points beyond this")
    arguments = parser.parse_args()
    libraries = chosen_libraries(parser, arguments)
    settings = chosen_settings(arguments, SETTINGS)
    curves = [curve for curve in CURVES if arguments.only in curve.name]
    if not curves:
        parser.error(f"no curve is called {arguments.only!r}: {[curve.name for curve in CURVES]}")

    began = time.monotonic()
    results: dict[str, Any] = {"settings": report.describe(settings, libraries), "curves": {}}
    for curve in curves:
        cells = [
            cell
            for cell in curve.cells
            if arguments.most is None or getattr(cell, curve.variable) <= arguments.most
        ]
        usual = arguments.rounds is None and curve.rounds is not None
        mine = Settings(
            curve.rounds if usual and curve.rounds else settings.rounds,
            settings.seconds,
            settings.deadline,
        )
        results["curves"][curve.name] = measure_curve(cells, libraries, mine)
    results["settings"]["took"] = f"{time.monotonic() - began:.0f} s"

    names = [library.name for library in libraries]
    tables, charts = describe(curves, results, names)
    report.save(arguments.output, "scale", results, tables, charts)
    print(
        f"\n{tables}\nWritten to {arguments.output}: scale.json, scale.md and {len(charts)} charts"
    )
    return 0


def measure_curve(cells: list[Cell], libraries: list[Library], settings: Settings) -> list[Row]:
    """The points from small to large, without the libraries that have hung before."""
    rows, given_up = [], dict[str, Row]()
    for cell in cells:
        left = [library for library in libraries if library.name not in given_up]
        if not left:
            break
        [row] = measure_cells([cell], left, settings)
        for library in left:
            one = row["libraries"][library.name]
            if "hangs" in one["reason"] and "rate" not in one:
                given_up[library.name] = {"failed": True, "reason": "not tried, it hung before"}
        row["libraries"] = {**given_up, **row["libraries"]}
        rows.append(row)
    return rows


def describe(curves: list[Curve], results: Row, names: list[str]) -> tuple[str, dict[str, str]]:
    """The tables as one text, and the charts by name."""
    lines, charts = [], {}
    for curve in curves:
        rows = results["curves"][curve.name]
        shown = [*names, RAW.name] if any(row["raw"] for row in rows) else names
        for view in curve.views:
            lines += [f"{view.title}:", "", *report.headline(curve.name, *shown)]
            for row in rows:
                x = curve.label(row[curve.variable])
                lines.append(report.line(x, *(point(view, row, name) for name in shown)))
            lines.append("")
            charts[view.name] = svg.curves(
                view.title,
                results["settings"]["date"],
                [series(curve, view, rows, name) for name in shown],
                curve.label,
                view.label,
            )
    return "\n".join([*lines, report.settings_line(results["settings"])]), charts


def point(view: View, row: Row, name: str) -> str:
    figure = view.figure(row, name)
    if figure is not None:
        return view.label(figure)
    one = row["libraries"].get(name)
    return report.missing(one) if one and one["reason"] and "rate" not in one else "–"


def series(curve: Curve, view: View, rows: list[Row], name: str) -> svg.Series:
    points = [(row[curve.variable], view.figure(row, name)) for row in rows]
    return svg.Series(name, [(x, y) for x, y in points if y is not None])


if __name__ == "__main__":
    sys.exit(main())
