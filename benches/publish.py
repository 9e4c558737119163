"""`make bench-publish`: writes the latest results into BENCHMARKS.md, and their charts into benches/charts/.

Each part of the text between `<!-- begin NAME -->` and `<!-- end NAME -->` is replaced if there are results for it
and kept otherwise.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from pathlib import Path

from benches import report
from benches.__main__ import RESULTS
from benches.units import quantity

ROOT = Path(__file__).parents[1]
CHARTS = Path("benches/charts")
PARTS = {"cells": "latest", "scale": "scale", "idle": "idle"}  # the part and its file of results


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.publish", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--root", type=Path, default=ROOT, help="where BENCHMARKS.md is")
    arguments = parser.parse_args()
    published = publish(arguments.results, arguments.root)
    print(f"Published: {', '.join(published) or 'nothing; run make bench first'}")
    return 0 if published else 1


def publish(results: Path, root: Path) -> list[str]:
    """Returns the names of the parts that were replaced."""
    file = root / "BENCHMARKS.md"
    text = file.read_text()
    published = []
    for part, name in PARTS.items():
        tables = results / f"{name}.md"
        if tables.exists():
            charts = copy_charts(results, root, name)
            text = replace(text, part, "\n\n".join([tables.read_text().strip(), *charts]))
            published.append(part)
    calls = results / "calls.json"
    if calls.exists():
        text = replace(text, "calls", call_table(calls))
        published.append("calls")
    file.write_text(text)
    return published


def replace(text: str, part: str, content: str) -> str:
    """The text with something else between the two comments of that part."""
    begin, end = f"<!-- begin {part} -->", f"<!-- end {part} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.S)
    if len(pattern.findall(text)) != 1:
        raise ValueError(f"BENCHMARKS.md must have {begin} and {end} once")
    return pattern.sub(lambda _: f"{begin}\n\n{content}\n\n{end}", text)


def copy_charts(results: Path, root: Path, name: str) -> list[str]:
    """Copies the charts that begin with the name; returns the lines that show them."""
    folder = root / CHARTS
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for chart in sorted(results.glob(f"{name}*.svg")):
        shutil.copyfile(chart, folder / chart.name)
        lines.append(f"![{chart.stem}]({CHARTS / chart.name})")
    return lines


def call_table(calls: Path) -> str:
    """The medians of pytest-benchmark's file: a row for each call, a column for each library."""
    rows: dict[str, dict[str, float]] = {}
    content = json.loads(calls.read_text())
    for one in content["benchmarks"]:
        call = one["group"].removeprefix("test_").replace("_", " ")
        rows.setdefault(call, {})[one["param"]] = one["stats"]["median"] * 1e6
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = report.headline("call", *names)
    for call, row in rows.items():
        figures = [quantity("p50", row[name]) if name in row else "–" for name in names]
        lines.append(report.line(call, *figures))
    return "\n".join([*lines, "", f"Medians, {content['datetime'][:16].replace('T', ' ')}."])


if __name__ == "__main__":
    sys.exit(main())
