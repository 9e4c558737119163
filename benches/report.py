"""The table of a run for machines (JSON) and people (Markdown, and a chart of the ratios as SVG)."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benches import svg
from benches.cells import CPU_AT_MOST, RAW, RAW_AT_LEAST, Library, Settings
from benches.units import quantity
from benches.verdict import Row, judge


def describe(settings: Settings, libraries: list[Library]) -> Row:
    """Everything that a reader needs to judge the figures."""
    return {
        **dataclasses.asdict(settings),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "versions": {library.name: _version(library.name) for library in libraries},
    }


def _processor() -> str:
    with open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def settings_line(settings: Row) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in settings["versions"].items())
    return (
        f"{settings['date']}; {versions}; {settings['python']}; {settings['system']}, "
        f"{settings['processor']}, {settings['cores']} cores, load {settings['load']:.1f} at the start; "
        f"{settings['rounds']} rounds of about {settings['seconds']} s, interleaved; defaults of each library; "
        f"fresh processes for each measurement. Took {settings['took']}."
    )


def write(results: Row, names: list[str], directory: Path) -> str:
    """Writes the three files and returns the tables."""
    for row in results["cells"]:
        judge(row, names)
    tables = "\n".join(
        [
            *_speed_table(results["cells"], names),
            *_memory_table(results["memory"], names),
            settings_line(results["settings"]),
        ]
    )
    save(directory, "latest", results, tables, {"latest": _chart(results, names)})
    return tables


def save(directory: Path, name: str, results: Row, tables: str, charts: dict[str, str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
    (directory / f"{name}.md").write_text(tables + "\n")
    for chart, text in charts.items():
        (directory / f"{chart}.svg").write_text(text)


def _speed_table(rows: list[Row], names: list[str]) -> list[str]:
    if not rows:
        return []
    lines = [
        "Median [least – most] of the rounds: messages, deliveries, exchanges or polls per second, or the time of a "
        "round trip (p50 ¦ p99).",
        f"The ratio is {names[0]} against the fastest of the others, above 1 is faster; CPU is its use per message "
        "against the thriftiest of the others, below 1 is less.",
        "",
        *headline(
            "cell",
            *names,
            "ratio",
            "at least",
            "met",
            f"of a raw socket (≥ {RAW_AT_LEAST})",
            "CPU s per million",
            f"CPU (≤ {CPU_AT_MOST})",
            "peak MiB",
        ),
    ]
    for row in rows:
        libraries = [row["libraries"][name] for name in names]
        ratio = f"**{times(row['ratio'])}**"
        if row["ratio_p99"] is not None:
            ratio += f" ¦ {times(row['ratio_p99'])}"
        at_least = "–" if row["at_least"] is None else f"{row['at_least']:g}×"
        lines.append(
            line(
                row["name"],
                *(_speed(row, one) for one in libraries),
                ratio,
                at_least,
                {None: "–", True: "yes", False: "**no**"}[row["met"]],
                _of_raw(row),
                per_library(libraries, "cpu_per_million", 2),
                times(row["cpu_ratio"]),
                per_library(libraries, "peak", 0),
            )
        )
    return [*lines, "", _score(rows, names[0]), ""]


def _speed(row: Row, one: Row) -> str:
    key = row["measure"]
    if key not in one:
        return missing(one)
    figure = one[key]
    text = f"{quantity(key, figure['median'])} [{quantity(key, figure['least'])} – {quantity(key, figure['most'])}]"
    if key == "p50":
        text += f" ¦ {quantity('p99', one['p99']['median'])}"
    if one["mode"] != row["mode"]:
        text += f", {one['mode']}"
    return f"{text} ({one['reason']})" if one["reason"] else text


def _of_raw(row: Row) -> str:
    raw = row["libraries"].get(RAW.name)
    if raw is None or row["measure"] not in raw:
        return "–" if raw is None else missing(raw)
    return f"{times(row['of_raw'])} ({quantity(row['measure'], raw[row['measure']]['median'])})"


def _score(rows: list[Row], subject: str) -> str:
    speed = [row["met"] for row in rows if row["met"] is not None]
    thrift = [row["met_cpu"] for row in rows if row["met_cpu"] is not None]
    lost = [row["name"] for row in rows if row["ratio"] is not None and row["ratio"] < 1]
    return (
        f"{subject} meets {sum(speed)} of {len(speed)} bars of speed and {sum(thrift)} of {len(thrift)} of CPU time. "
        f"It is behind in {len(lost)} cells{': ' if lost else ''}{'; '.join(lost)}."
    )


def _memory_table(rows: list[Row], names: list[str]) -> list[str]:
    if not rows:
        return []
    lines = [
        "Memory: growth of the resident set since before the first socket, sending side + receiving side.",
        "",
        *headline("scene", *names),
    ]
    for row in rows:
        lines.append(
            line(row["name"], *(_growth(row["per"], row["libraries"][name]) for name in names))
        )
    return [*lines, ""]


def _growth(per: int, one: Row) -> str:
    if "sender" not in one:
        return missing(one)
    sides = [one["sender"], one["receiver"]]
    if per > 1:
        return " + ".join(f"{side / per / 2**10:.1f} KiB" for side in sides)
    accepted = f"{one['accepted']:,} messages taken"
    if "full" in one:
        accepted += ", then Again" if one["full"] else " and no end"
    return " + ".join(f"{side / 2**20:.1f} MiB" for side in sides) + f" ({accepted})"


def headline(first: str, *others: str) -> list[str]:
    return [line(first, *others), line("---", *("---" for _ in others))]


def line(*fields: str) -> str:
    return f"| {' | '.join(fields)} |"


def missing(one: Row) -> str:
    return f"{'failed' if one['failed'] else 'not supported'}: {one['reason']}".replace("|", "\\|")


def times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f}×"


def per_library(libraries: list[Row], key: str, digits: int) -> str:
    """One figure of each, with bars between them."""
    return " / ".join(
        f"{one[key]['median']:.{digits}f}" if key in one else "–" for one in libraries
    )


def _chart(results: dict[str, Any], names: list[str]) -> str:
    return svg.bars(
        f"{names[0]} against the fastest of {', '.join(names[1:])}",
        f"how many times faster, by medians; the mark is the bar; {results['settings']['date']}",
        [
            svg.Bar(row["name"], row["ratio"], row["at_least"])
            for row in results["cells"]
            if row["ratio"] is not None
        ],
    )
