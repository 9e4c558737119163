"""The benchmark runner: that every cell can be run, that what cannot says why, and that reports can be read.

No test looks at how long anything takes.
"""

import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benches import idle, measure, publish, report, scale, svg, verdict
from benches.cells import CELLS, LIBRARIES, SCENES, Cell, Library, Settings
from benches.job import Task
from benches.measure import entries, measure_cells
from benches.runner import Outcome, run
from benches.workloads import WORKLOADS

ROOT = Path(__file__).resolve().parents[1]
DEADLINE = 30.0
TINY = Settings(rounds=1, seconds=0.001, deadline=DEADLINE)
MQCORE, PYZMQ = LIBRARIES["mqcore"], LIBRARIES["pyzmq"]


def test_every_cell_has_a_workload_and_a_name_of_its_own():
    curve_cells = [cell for curve in scale.CURVES for cell in curve.cells]
    for cell in (*CELLS, *curve_cells):
        assert (cell.pattern, cell.mode) in WORKLOADS, cell.name
    for scene in SCENES:
        assert (scene.task.pattern, scene.task.mode) in WORKLOADS, scene.name
    names = [row.name for row in (*CELLS, *SCENES)]
    assert Counter(names).most_common(1)[0][1] == 1
    assert all(cell.at_least for cell in CELLS), "a cell of the table has a bar"


def test_quick_run_has_every_kind_of_cell():
    kinds = {(cell.pattern, cell.mode) for cell in CELLS}
    assert kinds == {(cell.pattern, cell.mode) for cell in CELLS if cell.quick}


@pytest.mark.parametrize("pattern, mode", WORKLOADS, ids=lambda word: word)
def test_every_workload_gives_figures_or_says_what_is_missing(pattern, mode):
    workload = WORKLOADS[pattern, mode]
    task = Task(pattern, mode, "tcp", 16, max(20, workload.unit), peers=3, topics=5)
    outcome = run("socket" if mode == "raw" else "mqcore", task, DEADLINE)
    if not outcome.supported:
        assert re.search("CURVE|asyncio", outcome.reason), outcome
        return
    assert outcome.figures, outcome.reason
    assert outcome.figures["peak"] > 0
    if pattern not in ("memory", "idle"):
        assert outcome.figures["messages"] > 0
        assert outcome.figures[workload.measure] > 0


@pytest.mark.parametrize("size", [1, 16, 2048])
@pytest.mark.parametrize("transport", ["inproc", "ipc"])
def test_messages_of_any_size_are_checked_over_any_transport(transport, size):
    outcome = run("mqcore", Task("PUSH/PULL", "one by one", transport, size, 1500), DEADLINE)
    assert outcome.figures and outcome.figures["messages"] == 1499, outcome.reason


def test_only_the_first_library_sends_batches():
    batches = Cell("PUSH/PULL", "tcp", 16, "batches")
    assert [entry.mode for entry in entries(batches, [MQCORE, PYZMQ])] == ["batches", "one by one"]
    outcome = run("zmq", batches.task(1024), DEADLINE)
    assert (outcome.supported, outcome.reason) == (False, "sockets have no recv_many")


def test_plain_socket_is_measured_where_the_cell_asks_for_it():
    with_raw, without = Cell("PUSH/PULL", "tcp", 2**16, raw=True), Cell("PUSH/PULL", "tcp", 16)
    assert [entry.library.name for entry in entries(with_raw, [MQCORE])] == ["mqcore", "raw socket"]
    assert [entry.library.name for entry in entries(without, [MQCORE])] == ["mqcore"]


FAKES = {
    "dies": ("import os; os._exit(3)", "a process died with code 3"),
    "raises": ("raise ValueError('no luck')", "ValueError: no luck"),
    "hangs": ("import threading; threading.Event().wait()", "hangs (no result in 1 s)"),
    "lies": (
        """
from mqcore import *
import mqcore

class Socket(mqcore.Socket):
    def recv(self, *arguments):
        return super().recv(*arguments)[::-1]

class Context(mqcore.Context):
    _socket_class = Socket
""",
        "Wrong: the first message is not the first one sent",
    ),
}


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """Libraries that do what no library should."""
    for name, (source, _) in FAKES.items():
        (tmp_path / f"library_that_{name}.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return {name: Library(f"that {name}", f"library_that_{name}") for name in FAKES}


@pytest.mark.parametrize("name", FAKES)
def test_failure_of_a_library_is_reported_with_its_reason(fakes, name):
    deadline = 1.0 if name == "hangs" else DEADLINE
    task = Task("PUSH/PULL", "one by one", "tcp", 16, 1024)
    outcome = run(fakes[name].module, task, deadline)
    assert outcome.figures is None and outcome.supported
    assert outcome.reason == FAKES[name][1]
    assert outcome.hung == (name == "hangs")


def test_report_shows_figures_and_reasons(fakes, tmp_path):
    cells = [
        Cell("PUSH/PULL", "inproc", 16, at_least=3),
        Cell("REQ/REP", "tcp", 16, at_least=2),
    ]
    libraries = [MQCORE, PYZMQ, fakes["dies"]]
    results = {
        "settings": {**report.describe(TINY, libraries), "took": "no time"},
        "cells": measure_cells(cells, libraries, TINY),
        "memory": [],
    }
    table = report.write(results, [library.name for library in libraries], tmp_path)
    for cell in cells:
        [line] = [line for line in table.splitlines() if line.startswith(f"| {cell.name} |")]
        assert "failed: a process died with code 3" in line
        assert re.search(r"\*\*\d+\.\d\d×\*\*", line), line
    assert (tmp_path / "latest.json").exists()
    chart = ElementTree.parse(tmp_path / "latest.svg").getroot()
    assert cells[0].name in "".join(chart.itertext())


def row(measure, at_least, **libraries):
    """A row of results in which every figure is a median."""
    return {
        "measure": measure,
        "at_least": at_least,
        "libraries": {
            name: {key: {"median": figure} for key, figure in figures.items()}
            for name, figures in libraries.items()
        },
    }


def test_ratio_is_against_the_fastest_of_the_others():
    rates = row("rate", 3, a={"rate": 30}, b={"rate": 10}, c={"rate": 5})
    verdict.judge(rates, ["a", "b", "c"])
    assert (rates["ratio"], rates["met"], rates["of_raw"]) == (3, True, None)


def test_a_round_trip_meets_its_bar_with_p50_and_p99():
    trips = row(
        "p50", 2, a={"p50": 5, "p99": 9}, b={"p50": 20, "p99": 16}, c={"p50": 10, "p99": 30}
    )
    verdict.judge(trips, ["a", "b", "c"])
    assert trips["ratio"] == 2 and trips["ratio_p99"] == pytest.approx(16 / 9)
    assert trips["met"] is False


def test_cpu_time_is_compared_with_the_thriftiest():
    cells = row(
        "rate", None, a={"cpu_per_million": 2}, b={"cpu_per_million": 8}, c={"cpu_per_million": 4}
    )
    verdict.judge(cells, ["a", "b", "c"])
    assert (cells["cpu_ratio"], cells["met_cpu"], cells["met"]) == (0.5, False, None)


def test_plain_socket_has_a_bar_of_its_own_and_is_no_opponent():
    rates = row("rate", 1.5, a={"rate": 80}, b={"rate": 10}, **{"raw socket": {"rate": 100}})
    verdict.judge(rates, ["a", "b"])
    assert (rates["ratio"], rates["of_raw"], rates["met"]) == (8, 0.8, False)


def test_curve_is_a_table_and_a_chart(tmp_path):
    [curve] = [curve for curve in scale.CURVES if curve.name == "polled sockets"]
    rows = scale.measure_curve(list(curve.cells[:2]), [MQCORE], TINY)
    results = {
        "settings": {**report.describe(TINY, [MQCORE]), "took": "no time"},
        "curves": {curve.name: rows},
    }
    table, charts = scale.describe([curve], results, ["mqcore"])
    assert re.search(r"^\| 10 \| [\d.]+ [kM]?/s \|$", table, re.M), table
    ElementTree.fromstring(charts["scale-poller"])


def test_library_that_hangs_is_not_tried_at_larger_points(monkeypatch):
    tried = []

    def pretend(module, task, deadline):
        tried.append((module, task.peers))
        if module == "zmq" and task.peers == 10:
            return Outcome(None, "hangs", hung=True)
        return Outcome({"rate": 1.0, "messages": 1, "seconds": 1.0, "cpu": 1.0, "peak": 1.0})

    monkeypatch.setattr(measure, "run", pretend)
    cells = [Cell("Poller", "inproc", 16, "one ready", peers) for peers in (1, 10, 100)]
    rows = scale.measure_curve(cells, [MQCORE, PYZMQ], TINY)
    assert [row["libraries"]["pyzmq"]["reason"] for row in rows] == [
        "",
        "hangs",
        "not tried, it hung before",
    ]
    assert all("rate" in row["libraries"]["mqcore"] for row in rows)
    assert tried.count(("zmq", 10)) == 1 and ("zmq", 100) not in tried


def test_charts_are_xml_even_with_nothing_in_them():
    for chart in (
        svg.bars("a & b", "<none>", []),
        svg.curves("a & b", "<none>", [svg.Series("nothing")], str, str),
    ):
        ElementTree.fromstring(chart)


def test_import_of_a_library_costs_more_than_none():
    costs = idle.import_time(MQCORE, TINY)
    assert costs["memory"] > 0


def test_publishing_replaces_the_parts_that_have_results(tmp_path):
    text = (ROOT / "BENCHMARKS.md").read_text()
    (tmp_path / "BENCHMARKS.md").write_text(text)
    (tmp_path / "scale.md").write_text("a table\n")
    (tmp_path / "scale-size.svg").write_text(svg.bars("", "", []))
    assert publish.publish(tmp_path, tmp_path) == ["scale"]
    published = (tmp_path / "BENCHMARKS.md").read_text()
    assert "a table\n\n![scale-size](benches/charts/scale-size.svg)" in published
    assert (tmp_path / "benches/charts/scale-size.svg").exists()
    for part in (*publish.PARTS, "calls"):
        assert published.count(f"<!-- begin {part} -->") == 1
        assert published.count(f"<!-- end {part} -->") == 1
    assert publish.replace(published, "scale", "") == publish.replace(text, "scale", "")
