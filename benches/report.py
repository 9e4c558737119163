"""Results for machines (JSON) and people (a Markdown table and a chart of the ratios, as SVG)."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benches.cells import Library, Settings


def describe(settings: Settings, libraries: list[Library]) -> dict[str, Any]:
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
        "options": "defaults of each library; a fresh pair of processes (inproc: threads) for each measurement",
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


def quantity(key: str, value: float) -> str:
    """A figure with its unit, in three digits."""
    if key != "rate":
        return f"{value:.1f} µs"
    for unit, factor in (("M/s", 1e6), ("k/s", 1e3)):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.3g}/s"


def ratio(row: dict[str, Any], names: list[str]) -> float | None:
    """How many times faster the first library is than the fastest of the others, by the medians."""
    key = row["measure"]
    values = {
        name: row["libraries"][name][key]["median"]
        for name in names
        if key in row["libraries"][name]
    }
    subject = values.pop(names[0], None)
    if subject is None or not values:
        return None
    return float(
        subject / max(values.values()) if key == "rate" else min(values.values()) / subject
    )


def write(results: dict[str, Any], names: list[str], directory: Path) -> str:
    """Writes the three files and returns the tables."""
    directory.mkdir(parents=True, exist_ok=True)
    for row in results["cells"]:
        row["ratio"] = ratio(row, names)
    tables = "\n".join(
        [*_speed_table(results, names), *_memory_table(results, names), *_settings(results)]
    )
    (directory / "latest.json").write_text(json.dumps(results, indent=1) + "\n")
    (directory / "latest.md").write_text(tables + "\n")
    (directory / "latest.svg").write_text(_chart(results, names))
    return tables


def _speed_table(results: dict[str, Any], names: list[str]) -> list[str]:
    if not results["cells"]:
        return []
    lines = [
        "Median [least – most] of the rounds; PUSH/PULL in messages per second, REQ/REP as a round trip's time "
        "(p50, and p99 behind the bar).",
        f"The ratio is {names[0]} against the fastest of the others: above 1 is faster.",
        "",
        f"| cell | {' | '.join(names)} | ratio | CPU s per million | peak MiB |",
        f"|---|{'---|' * len(names)}---:|---|---|",
    ]
    for row in results["cells"]:
        figures = [_speed(row["measure"], row["libraries"][name]) for name in names]
        better = "–" if row["ratio"] is None else f"**{row['ratio']:.2f}×**"
        good = [row["libraries"][name] for name in names]
        cpu = " / ".join(f"{one['cpu_per_million']:.2f}" if "cpu" in one else "–" for one in good)
        peak = " / ".join(f"{one['peak']['median']:.0f}" if "peak" in one else "–" for one in good)
        lines.append(f"| {row['name']} | {' | '.join(figures)} | {better} | {cpu} | {peak} |")
    return [*lines, ""]


def _speed(key: str, one: dict[str, Any]) -> str:
    if key not in one:
        return f"{'failed' if one['failed'] else 'not supported'}: {one['reason']}"
    figure = one[key]
    text = f"{quantity(key, figure['median'])} [{quantity(key, figure['least'])} – {quantity(key, figure['most'])}]"
    if key == "p50":
        text += f" ¦ {quantity('p99', one['p99']['median'])}"
    return f"{text} ({one['reason']})" if one["reason"] else text


def _memory_table(results: dict[str, Any], names: list[str]) -> list[str]:
    if not results["memory"]:
        return []
    lines = [
        "Memory: growth of the resident set since before the first socket, sending side + receiving side.",
        "",
        f"| scene | {' | '.join(names)} |",
        f"|---|{'---|' * len(names)}",
    ]
    for row in results["memory"]:
        figures = [_growth(row, row["libraries"][name]) for name in names]
        lines.append(f"| {row['name']} | {' | '.join(figures)} |")
    return [*lines, ""]


def _growth(row: dict[str, Any], one: dict[str, Any]) -> str:
    if "sender" not in one:
        return f"failed: {one['reason']}"
    if row["per"] > 1:
        return " + ".join(
            f"{one[side] / row['per'] / 1024:.1f} KiB" for side in ("sender", "receiver")
        )
    text = " + ".join(f"{one[side] / 2**20:.1f} MiB" for side in ("sender", "receiver"))
    accepted = f"{one['accepted']:,} messages taken"
    if "full" in one:
        accepted += ", then Again" if one["full"] else " and no end"
    return f"{text} ({accepted})"


def _settings(results: dict[str, Any]) -> list[str]:
    settings = results["settings"]
    versions = ", ".join(f"{name} {number}" for name, number in settings["versions"].items())
    return [
        f"{settings['date']}; {versions}; {settings['python']}; {settings['system']}, {settings['processor']}, "
        f"{settings['cores']} cores, load {settings['load']:.1f} at the start; {settings['rounds']} rounds of about "
        f"{settings['seconds']} s for the reference library, interleaved; {settings['options']}. "
        f"Took {settings['took']}."
    ]


def _chart(results: dict[str, Any], names: list[str]) -> str:
    """Horizontal bars of the ratios, with a line at 1."""
    rows = [row for row in results["cells"] if row["ratio"] is not None]
    left, right, line, top = 200, 520, 26, 56
    most = max([2.0, *(row["ratio"] for row in rows)])
    unit = right / most
    height = top + line * len(rows) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right + 80}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="12" y="24" font-size="16">{escape(names[0])} against the fastest of '
        f"{escape(', '.join(names[1:]))}</text>",
        f'<text x="12" y="42" fill="#555">how many times faster, by medians; {escape(results["settings"]["date"])}'
        "</text>",
    ]
    for index, row in enumerate(rows):
        y = top + line * index
        colour = "#2a7f62" if row["ratio"] >= 1 else "#c0563b"
        parts += [
            f'<text x="{left - 8}" y="{y + 17}" text-anchor="end">{escape(row["name"])}</text>',
            f'<rect x="{left}" y="{y + 4}" width="{row["ratio"] * unit:.1f}" height="{line - 8}" fill="{colour}"/>',
            f'<text x="{left + row["ratio"] * unit + 6:.1f}" y="{y + 17}">{row["ratio"]:.2f}×</text>',
        ]
    parts += [
        f'<line x1="{left + unit:.1f}" y1="{top}" x2="{left + unit:.1f}" y2="{height - 26}" stroke="#333" '
        'stroke-dasharray="4 3"/>',
        f'<text x="{left + unit:.1f}" y="{height - 10}" text-anchor="middle">equal</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"
