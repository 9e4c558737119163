"""Two kinds of charts as SVG: bars of ratios, and curves over logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape

AHEAD, BEHIND, BAR = "#2a7f62", "#c0563b", "#333"
COLOURS = ("#2a7f62", "#3b6fc0", "#c0863b", "#8a4fa3")


@dataclass(frozen=True)
class Bar:
    name: str
    value: float
    at_least: float | None  # drawn as a mark across the bar


def bars(title: str, subtitle: str, rows: list[Bar]) -> str:
    """Horizontal bars with a line at 1; the axis is logarithmic, so that twice and half are equally long."""
    left, width, line, top = 330, 460, 22, 60
    values = [row.value for row in rows] + [row.at_least or 1 for row in rows]
    least, most = math.log2(min([0.5, *values])), math.log2(max([2.0, *values]))

    def across(value: float) -> float:
        return left + (math.log2(value) - least) / (most - least) * width

    height = top + line * len(rows) + 34
    parts = [*_frame(left + width + 70, height, title, subtitle)]
    for index, row in enumerate(rows):
        y = top + line * index
        start, end = sorted((across(1), across(row.value)))
        middle = y + line / 2 + 4
        colour = AHEAD if row.value >= 1 else BEHIND
        parts += [
            f'<text x="{left - 8}" y="{middle}" text-anchor="end">{escape(row.name)}</text>',
            f'<rect x="{start:.1f}" y="{y + 4}" width="{end - start:.1f}" height="{line - 8}" fill="{colour}"/>',
            f'<text x="{left + width + 8}" y="{middle}">{row.value:.2f}×</text>',
        ]
        if row.at_least:
            x = across(row.at_least)
            parts.append(_line(x, y + 1, x, y + line - 1, BAR, 2))
    for value in _powers_of_two(least, most):
        x = across(value)
        parts += [
            _line(x, top, x, height - 30, "#333" if value == 1 else "#bbb", 1, dashes=value != 1),
            f'<text x="{x:.1f}" y="{height - 14}" text-anchor="middle">{value:g}×</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _powers_of_two(least: float, most: float) -> list[float]:
    return [2.0**power for power in range(math.ceil(least), math.floor(most) + 1)]


@dataclass
class Series:
    name: str
    points: list[tuple[float, float]] = field(default_factory=list)


def curves(
    title: str,
    subtitle: str,
    series: list[Series],
    label_x: Callable[[float], str],
    label_y: Callable[[float], str],
) -> str:
    """Lines with a mark at each point; both axes are logarithmic. A series without points only has its name."""
    left, top, width, height = 90, 64, 560, 300
    points = [point for one in series for point in one.points if min(point) > 0]
    xs = sorted({x for x, _ in points}) or [1.0]
    low = math.floor(math.log10(min((y for _, y in points), default=1.0)))
    high = max(low + 1, math.ceil(math.log10(max((y for _, y in points), default=1.0))))
    first, last = math.log10(xs[0]), math.log10(xs[-1])

    def at(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - first) / ((last - first) or 1)
        up = (math.log10(y) - low) / (high - low)
        return left + across * width, top + (1 - up) * height

    parts = _frame(left + width + 130, top + height + 40, title, subtitle)
    for power in range(low, high + 1):
        x, y = at(xs[0], 10.0**power)
        parts += [
            _line(x, y, left + width, y, "#ddd", 1),
            f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(label_y(10.0**power))}</text>',
        ]
    for value in xs:
        x, y = at(value, 10.0**low)
        parts += [
            _line(x, y, x, y + 5, "#333", 1),
            f'<text x="{x:.1f}" y="{y + 20:.1f}" text-anchor="middle">{escape(label_x(value))}</text>',
        ]
    for index, one in enumerate(series):
        colour = COLOURS[index % len(COLOURS)]
        places = [at(*point) for point in one.points if min(point) > 0]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
        parts.append(
            f'<text x="{left + width + 16}" y="{top + 14 + 20 * index}" fill="{colour}" '
            f'font-weight="bold">{escape(one.name)}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _frame(width: float, height: float, title: str, subtitle: str) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="12" y="24" font-size="16">{escape(title)}</text>',
        f'<text x="12" y="42" fill="#555">{escape(subtitle)}</text>',
    ]


def _line(
    x1: float, y1: float, x2: float, y2: float, colour: str, width: float, dashes: bool = False
) -> str:
    pattern = ' stroke-dasharray="3 3"' if dashes else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{colour}" stroke-width="{width}"{pattern}/>'
    )
