"""The documentation in docs/: its programs run, its links lead somewhere, what it names exists, its tables are whole."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from peers.subject import is_ours

pytestmark = pytest.mark.skipif(not is_ours, reason="the documentation of mqcore")

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
NOT_RUN = re.compile(r"<!-- not run: \S.* -->\s*$")
# That a process with threads forks is what Python 3.12 and newer warn of, and what is shown.
WARNINGS = (
    "-Werror::ResourceWarning",
    "-Wignore:This process (pid=:DeprecationWarning",
)
OPTIONAL = ("gevent", "tornado")


def name_of(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


def blocks_of(page: Path) -> list[tuple[int, str]]:
    """Line and text of each Python block that shall run; what examples.md shows runs elsewhere."""
    text = page.read_text()
    found = []
    for match in re.finditer(r"^```python[^\n]*\n(.*?)^```$", text, re.M | re.S):
        if not NOT_RUN.search(text[: match.start()]) and "--8<--" not in match[1]:
            found.append((text.count("\n", 0, match.start()) + 1, match[1]))
    return found


PROGRAMS = [
    pytest.param(program, id=f"{name_of(page)}:{line}")
    for page in PAGES
    if page.parent.name != "reference"
    for line, program in blocks_of(page)
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_program_of_the_documentation_runs(program: str, tmp_path: Path) -> None:
    for name in OPTIONAL:
        if re.search(rf"^import {name}$|eventloop", program, re.M):
            pytest.importorskip(name if name in program else "tornado")
    package = importlib.util.find_spec("mqcore")
    assert package is not None and package.origin is not None
    file = tmp_path / "program.py"
    file.write_text(program)
    done = subprocess.run(
        [sys.executable, "-X", "dev", *WARNINGS, str(file)],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(package.origin).parents[1]),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["program.py"]


def test_programs_are_found() -> None:
    assert len(PROGRAMS) > 20


# Links.


def slug(heading: str) -> str:
    """The anchor of a heading, as Markdown's own extension makes it."""
    plain = re.sub(r"[`*]", "", heading)
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def anchors_of(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.M)}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        assert "://" not in target, f"{target}: the documentation is complete by itself"
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.is_file(), target
        if anchor.startswith("mqcore."):
            resolve(anchor)
        elif anchor:
            assert anchor in anchors_of(other), target


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"^ +- .+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    assert sorted(listed) == [name_of(page) for page in PAGES]


# Names.


def resolve(name: str) -> Any:
    """What a dotted name stands for."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name in OPTIONAL:
                pytest.skip(f"needs {error.name}")
            if not module.startswith(str(error.name)):
                raise
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise AssertionError(f"there is no {name}")


def named() -> list[str]:
    """What the tables of migration.md name, in mqcore's names."""
    rows = re.findall(r"^\|.*$", (DOCS / "migration.md").read_text(), re.M)
    dotted = re.findall(r"`((?:zmq|mqcore)(?:\.\w+)*)", "\n".join(rows))
    return sorted({re.sub(r"^zmq\b", "mqcore", name) for name in dotted})


@pytest.mark.parametrize("name", named())
def test_name_in_the_tables_of_the_migration_page_exists(name: str) -> None:
    resolve(name)


def documented() -> list[str]:
    pages = (DOCS / "reference").glob("*.md")
    return sorted(
        {name for page in pages for name in re.findall(r"^::: (\S+)$", page.read_text(), re.M)}
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", documented())
def test_what_the_reference_shows_exists(name: str) -> None:
    assert resolve(name).__doc__


def test_every_example_is_shown() -> None:
    shown = re.findall(r'^--8<-- "(\S+)"$', (DOCS / "examples.md").read_text(), re.M)
    assert sorted(shown) == sorted(file.name for file in (ROOT / "examples").glob("*.py"))


# Form.


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_rows_of_a_table_have_the_same_number_of_cells(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    for table in re.findall(r"(?:^\|.*\n?)+", text, re.M):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table


def test_it_builds_without_a_warning(tmp_path: Path) -> None:
    for module in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(module)
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=55,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "reference" / "socket.html").read_text()
    assert "Receives the next part of a message" in page, "docstrings of the native module"
