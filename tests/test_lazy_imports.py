"""What an import brings along: nothing that is not needed, and each module comes alone."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
import textwrap
from typing import Any

import pytest

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))
NAME = zmq.__name__

HEAVY = [
    "asyncio",
    "concurrent.futures",
    "gevent",
    "importlib.metadata",
    "logging",
    "multiprocessing",
    "paramiko",
    "pexpect",
    "selectors",
    "subprocess",
    "tornado",
]
"""What costs time to import, or need not be installed."""

LATER = [
    "_future",
    "asyncio",
    "auth",
    "curve_keygen",
    "decorators",
    "devices",
    "eventloop",
    "green",
    "log",
    "ssh",
    "utils.monitor",
    "utils.strtypes",
    "utils.win32",
    "utils.z85",
]
"""The modules of the package that come when they are asked for."""

NEEDS = {
    "eventloop": ["tornado"],
    "eventloop.future": ["tornado"],
    "eventloop.ioloop": ["tornado"],
    "eventloop.zmqstream": ["tornado"],
    "green": ["gevent"],
    "green.core": ["gevent"],
    "green.device": ["gevent"],
    "green.poll": ["gevent"],
    "green.waiting": ["gevent"],
    "green.eventloop": ["gevent", "tornado"],
    "green.eventloop.ioloop": ["gevent", "tornado"],
    "green.eventloop.zmqstream": ["gevent", "tornado"],
    "eventloop.callbacks": ["tornado"],
}
"""The modules that need what need not be installed."""

OPTIONAL = ["gevent", "paramiko", "pexpect", "tornado"]


def python(code: str, *options: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def modules() -> list[str]:
    """Every module of the package, without its name in front."""
    found = [
        info.name.removeprefix("mqcore.")
        for info in pkgutil.walk_packages(
            importlib.import_module("mqcore").__path__, "mqcore.", onerror=lambda name: None
        )
    ]
    return sorted(name for name in found if not name.startswith("_children"))


def refusing(*packages: str) -> str:
    """The beginning of a program for which these packages are not installed."""
    return textwrap.dedent(
        f"""
        import sys

        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {packages!r}:
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

        sys.meta_path.insert(0, Refuse())
        """
    )


def test_package_brings_nothing_heavy_along() -> None:
    loaded = set(python(f"import sys, {NAME}; print(*sys.modules)").split())
    anyway = set(python("import sys; print(*sys.modules)").split())
    assert (loaded - anyway) & set(HEAVY) == set()


def test_package_brings_no_module_along_that_is_seldom_needed() -> None:
    loaded = set(python(f"import sys, {NAME}; print(*sys.modules)").split())
    assert loaded & {f"{NAME}.{name}" for name in LATER} == set()
    assert NAME in loaded


@pytest.mark.deviation
def test_modules_that_are_attributes_are_loaded_when_they_are_asked_for() -> None:
    code = """
        import sys, mqcore
        names = ["mqcore.backend", "mqcore.sugar", "mqcore.sugar.socket", "mqcore.utils.jsonapi"]
        print(*[name in sys.modules for name in names])
        mqcore.backend.select, mqcore.sugar.socket, mqcore.utils.jsonapi
        print(*[name in sys.modules for name in names])
    """
    assert python(code).splitlines() == ["False False False False", "True True True True"]


def test_names_that_are_loaded_later_are_listed() -> None:
    code = """
        import sys, mqcore
        names = {"Stopwatch", "backend", "curve_keypair", "curve_public", "sugar", "utils"}
        before = set(sys.modules)
        print(names - set(dir(mqcore)), set(mqcore.__all__) - set(dir(mqcore)), set(sys.modules) - before)
    """
    assert python(code) == "set() set() set()"


@pytest.mark.deviation
@pytest.mark.parametrize("module", sorted(set(modules()) - set(NEEDS)))
def test_module_comes_alone_and_needs_nothing_that_may_be_missing(module: str) -> None:
    if module.endswith("__main__"):
        code = f"import importlib.util as u; print(u.find_spec('mqcore.{module}') is not None)"
    else:
        code = f"import sys, mqcore.{module}; print('mqcore.{module}' in sys.modules)"
    assert python(refusing(*OPTIONAL) + code, "-W", "ignore") == "True"


@pytest.mark.parametrize("module", sorted(NEEDS))
def test_module_needs_its_package_only_and_names_it(module: str) -> None:
    if NAME == "zmq" and module in ("green.waiting", "eventloop.callbacks"):
        pytest.skip("a module of mqcore")
    for missing in NEEDS[module]:
        code = refusing(missing) + textwrap.dedent(
            f"""
            import {NAME}
            try:
                import {NAME}.{module}
            except ImportError as error:
                print(error)
            """
        )
        assert missing in python(code, "-W", "ignore"), missing
    for package in NEEDS[module]:
        pytest.importorskip(package)
    others = [package for package in OPTIONAL if package not in NEEDS[module]]
    python(refusing(*others) + f"import {NAME}.{module}", "-W", "ignore")


@pytest.mark.parametrize(("missing", "by_paramiko"), [("paramiko", True), ("pexpect", False)])
def test_package_that_a_tunnel_needs_is_named_when_it_is_opened(
    missing: str, by_paramiko: bool
) -> None:
    code = refusing(missing) + textwrap.dedent(
        f"""
        from {NAME}.ssh import tunnel
        try:
            tunnel.open_tunnel("tcp://there:1", "me@there", paramiko={by_paramiko})
        except ImportError as error:
            print(error)
        """
    )
    assert missing in python(code, "-W", "ignore").lower()
