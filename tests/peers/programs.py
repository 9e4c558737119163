"""Python programs in processes of their own, under `python` and under `python -m mqcore.as_zmq`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any


class Run:
    """Runs Python in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        package = importlib.util.find_spec("mqcore")
        assert package is not None and package.origin is not None
        self.home = str(Path(package.origin).parents[1])

    def write(self, name: str, text: str) -> str:
        file = self.directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
        return name

    def __call__(
        self, *arguments: str, path: str = "", env: dict[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        before = [path] if path else []
        search = os.pathsep.join([*before, self.home])
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.directory,
            env={**os.environ, "PYTHONPATH": search, **(env or {})},
            capture_output=True,
            text=True,
            timeout=50,
            **options,
        )

    def output(self, *arguments: str, **options: Any) -> list[str]:
        """The lines of a program that ends well."""
        done = self(*arguments, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def both(
        self, *arguments: str, **options: Any
    ) -> tuple[subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
        """The same under `python` and under `python -m mqcore.as_zmq`."""
        return self(*arguments, **options), self("-m", "mqcore.as_zmq", *arguments, **options)
