"""Every public name of pyzmq is here, with the same parameters: compared with the pyzmq that is installed."""

from __future__ import annotations

import importlib
import inspect
import warnings
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("zmq")

MODULES = [
    "",
    "asyncio",
    "auth",
    "auth.asyncio",
    "auth.base",
    "auth.certs",
    "auth.ioloop",
    "auth.thread",
    "backend",
    "backend.select",
    "constants",
    "curve_keygen",
    "decorators",
    "devices",
    "devices.basedevice",
    "devices.monitoredqueue",
    "devices.monitoredqueuedevice",
    "devices.proxydevice",
    "devices.proxysteerabledevice",
    "error",
    "eventloop",
    "eventloop.future",
    "eventloop.ioloop",
    "eventloop.zmqstream",
    "green",
    "green.core",
    "green.device",
    "green.eventloop",
    "green.eventloop.ioloop",
    "green.eventloop.zmqstream",
    "green.poll",
    "log",
    "log.handlers",
    "ssh",
    "ssh.forward",
    "ssh.tunnel",
    "sugar",
    "sugar.attrsettr",
    "sugar.context",
    "sugar.frame",
    "sugar.poll",
    "sugar.socket",
    "sugar.stopwatch",
    "sugar.tracker",
    "sugar.version",
    "utils",
    "utils.garbage",
    "utils.interop",
    "utils.jsonapi",
    "utils.monitor",
    "utils.strtypes",
    "utils.win32",
    "utils.z85",
]

LEFT_OUT = {
    "asyncio.Socket.get": "its parameter is `option`, as it is for all sockets; theirs is `key` there",
    "eventloop.future.Socket.get": "the same",
    "backend.Socket.join": "of the draft sockets; mqcore.Socket has it, and it raises",
    "backend.Socket.leave": "the same",
    "backend.Socket.context": "mqcore.Socket has it",
    "eventloop.zmqstream.TYPE_CHECKING": "got there by accident",
    "sugar.attrsettr.AttributeSetter.set": "its parameter is `optval`, as it is for contexts and sockets",
}
"""Names and parameters that are left out on purpose, with the reason."""


def imported(package: str, module: str) -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return importlib.import_module(f"{package}.{module}".rstrip("."))


def public(module: ModuleType) -> list[str]:
    """What the module offers: its `__all__`, or what it defines itself."""
    names = getattr(module, "__all__", None)
    if names is not None:
        return sorted(set(names))
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not isinstance(value, ModuleType)
        and getattr(value, "__module__", module.__name__) == module.__name__
    ]


def parameters(function: Any) -> list[inspect.Parameter] | None:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None


def missing_parameters(theirs: Any, ours: Any) -> list[str]:
    """The parameters that a caller can name with theirs, but not with ours."""
    wanted, given = parameters(theirs), parameters(ours)
    if wanted is None or given is None:
        return []
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in given):
        return []
    names = {parameter.name for parameter in given}
    fixed = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [
        parameter.name
        for parameter in wanted
        if parameter.kind in fixed
        and not parameter.name.startswith("_")
        and parameter.name not in (*names, "self", "cls")
    ]


@pytest.mark.parametrize("module", MODULES)
def test_module_has_every_public_name_with_the_same_parameters(module: str) -> None:
    theirs, ours = imported("zmq", module), imported("mqcore", module)
    wrong = []
    for name in public(theirs):
        place = f"{module}.{name}".lstrip(".")
        if place in LEFT_OUT:
            continue
        if not hasattr(ours, name):
            wrong.append(f"{place} is missing")
            continue
        their, our = getattr(theirs, name), getattr(ours, name)
        if inspect.isclass(their):
            if not inspect.isclass(our):
                wrong.append(f"{place} is no class")
                continue
            for member in dir(their):
                spot = f"{place}.{member}"
                if member.startswith("_") or spot in LEFT_OUT:
                    continue
                if not hasattr(our, member):
                    wrong.append(f"{spot} is missing")
                elif callable(getattr(their, member)):
                    lost = missing_parameters(getattr(their, member), getattr(our, member))
                    wrong += [f"{spot} has no parameter {parameter}" for parameter in lost]
        elif callable(their):
            lost = missing_parameters(their, our)
            wrong += [f"{place} has no parameter {parameter}" for parameter in lost]
        elif isinstance(their, int | str | bytes) and name not in ("__version__", "DRAFT_API"):
            if their != our:
                wrong.append(f"{place} is {our!r}, not {their!r}")
    assert not wrong, "\n".join(wrong)
