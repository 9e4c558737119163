"""What the figures of a cell say: ratios to the best opponent, and whether the bars are met.

Every ratio of speed says how many times faster: above 1 the first library is ahead. The ratio of CPU time says how
much of the other's it needs: below 1 it is thriftier.
"""

from __future__ import annotations

from typing import Any

from benches.cells import CPU_AT_MOST, RAW, RAW_AT_LEAST

Row = dict[str, Any]


def judge(row: Row, names: list[str]) -> None:
    """Adds `ratio`, `ratio_p99`, `of_raw`, `cpu_ratio`, `met` and `met_cpu` to the row of a cell; None: no figures."""
    key = row["measure"]
    row["ratio"] = faster(row, names, key)
    row["ratio_p99"] = faster(row, names, "p99") if key == "p50" else None
    row["of_raw"] = faster(row, [names[0], RAW.name], key)
    row["cpu_ratio"] = None
    subject, *others = (value(row, name, "cpu_per_million") for name in names)
    thriftiest = min((other for other in others if other), default=None)
    if subject is not None and thriftiest:
        row["cpu_ratio"] = subject / thriftiest
    row["met"] = met(row)
    row["met_cpu"] = None if row["cpu_ratio"] is None else row["cpu_ratio"] <= CPU_AT_MOST


def value(row: Row, name: str, key: str) -> float | None:
    figure = row["libraries"].get(name, {}).get(key)
    return None if figure is None else float(figure["median"])


def faster(row: Row, names: list[str], key: str) -> float | None:
    """How many times faster the first is than the fastest of the others, by the medians."""
    subject, *others = (value(row, name, key) for name in names)
    there = [other for other in others if other is not None]
    if not subject or not there:
        return None
    return subject / max(there) if key == "rate" else min(there) / subject


def met(row: Row) -> bool | None:
    """Whether the first library is over the cell's bars: speed (p50 and p99), and the plain socket's."""
    at_least = row["at_least"]
    if at_least is None or row["ratio"] is None:
        return None
    ratios = [row["ratio"], row["ratio_p99"]]
    fast = all(ratio >= at_least for ratio in ratios if ratio is not None)
    return fast and (row["of_raw"] is None or row["of_raw"] >= RAW_AT_LEAST)
