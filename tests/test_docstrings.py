"""Everything public has a docstring, which names each parameter and gives the unit of each time.

A docstring may leave parameters to another one that it names in backticks: "Other parameters are those of `send`". The
native module counts as it was built: build it again after its comments were changed.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

import mqcore

SKIPPED = {
    "backend": "gives names of other modules under pyzmq's old ones",
    "sugar": "the same",
}
"""Modules, by the last part of their name, that are not looked at. Those with an underscore are private or programs."""

OPTIONAL = {"gevent", "tornado", "pexpect", "paramiko"}
"""Modules of mqcore that need one of these are not looked at where it is not installed."""

TIMES = {"timeout", "linger", "seconds", "milliseconds"}


class Item(NamedTuple):
    """Something public, and where a name in its docstring is to be looked for."""

    place: str
    value: Any
    namespaces: tuple[Any, ...]

    @property
    def text(self) -> str:
        return inspect.cleandoc(self.value.__doc__ or "")  # its own: not one inherited


def modules() -> Iterator[ModuleType]:
    yield mqcore
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield from submodules(mqcore)


def submodules(package: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.iter_modules(package.__path__):
        if found.name in SKIPPED or found.name.startswith("_"):
            continue
        try:
            module = importlib.import_module(f"{package.__name__}.{found.name}")
        except ImportError as error:
            if error.name is None or error.name.partition(".")[0] not in OPTIONAL:
                raise
            continue
        yield module
        if found.ispkg:
            yield from submodules(module)


def is_ours(value: Any) -> bool:
    return (getattr(value, "__module__", None) or "").partition(".")[0] == "mqcore"


def is_documented_member(value: Any) -> bool:
    if inspect.ismethod(value):
        return False  # of another class: a value that is kept here
    kinds = (classmethod, staticmethod, property)
    return isinstance(value, kinds) or inspect.isroutine(value) or inspect.isgetsetdescriptor(value)


def items() -> Iterator[Item]:
    """Each class, function, method and property once, at the place where it is defined."""
    seen: set[str] = set()
    for module in modules():
        for name, value in list(vars(module).items()):
            if name.startswith("_") or not is_ours(value):
                continue
            if inspect.isclass(value):
                for cls in value.__mro__:
                    place = f"{cls.__module__}.{cls.__qualname__}"
                    if is_ours(cls) and place not in seen:
                        seen.add(place)
                        yield from class_items(place, cls, module, value)
            elif inspect.isroutine(value):
                place = f"{value.__module__}.{value.__qualname__}"
                if place not in seen:
                    seen.add(place)
                    yield Item(place, value, (module, mqcore))


def class_items(place: str, cls: type, module: ModuleType, public: type) -> Iterator[Item]:
    """A class, and what it defines itself. `public` is the class that made it public: itself or one below it."""
    namespaces = (public, inspect.getmodule(cls) or module, module, mqcore)
    if cls is public or not cls.__name__.startswith("_"):
        yield Item(place, cls, namespaces)
    for name, member in vars(cls).items():
        if not hasattr(cls, name):
            continue  # an option: an attribute of instances only, explained by the constant's class
        if not name.startswith("_") and is_documented_member(member):
            yield Item(f"{place}.{name}", getattr(cls, name), namespaces)


def parameters(value: Any) -> list[str]:
    """The parameters that a caller gives; of a class, those of its constructor."""
    if inspect.isclass(value) and not is_ours(inspect.unwrap(value.__init__)):
        return []  # an enum, a tuple, or a native class with a constructor that takes all
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return []
    stars = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        name
        for name, parameter in signature.parameters.items()
        if parameter.kind not in stars and name not in ("self", "cls") and name[0] != "_"
    ]


QUOTED = re.compile(r"`([^`]+)`")


def names_in(item: Item) -> set[str]:
    """The words in backticks. In the docstring of a class all words count, since it may show the whole call."""
    quoted = item.text if inspect.isclass(item.value) else " ".join(QUOTED.findall(item.text))
    return set(re.findall(r"\w+", quoted))


def referred(item: Item) -> Iterator[Item]:
    """What the docstring names in backticks and is ours; of a class without a word of its own, the class above."""
    if inspect.isclass(item.value):
        for base in item.value.__mro__[1:]:
            if is_ours(base):
                yield Item("", base, item.namespaces)
    for name in QUOTED.findall(item.text):
        first, *others = name.removeprefix("mqcore.").split(".")
        for namespace in (mqcore,) if name.startswith("mqcore.") else item.namespaces:
            owner, value = namespace, getattr(namespace, first, None)
            for other in others:
                owner, value = value, getattr(value, other, None)
            if inspect.isclass(value) or inspect.isroutine(value):
                yield Item("", value, (owner, *item.namespaces))
                break


def with_referred(item: Item) -> list[Item]:
    found: list[Item] = []
    todo = [item]
    while todo:
        one = todo.pop()
        if one.value not in [other.value for other in found]:
            found.append(one)
            todo += referred(one)
    return found


def test_what_is_looked_at_has_all_kinds() -> None:
    """So that the others do not pass for want of anything to look at."""
    places = {item.place for item in items()}
    native = {"mqcore._core.Socket.send", "mqcore._core.Socket.closed", "mqcore._core.zmq_poll"}
    ours = {"mqcore.socket.Socket", "mqcore.socket.Socket.shadow", "mqcore.utils.z85.encode"}
    assert native | ours <= places


def test_everything_public_has_a_docstring() -> None:
    without = [item.place for item in items() if not item.text]
    assert not without, "\n".join(without)


def test_docstrings_name_every_parameter() -> None:
    wrong = []
    for item in items():
        named: set[str] = set()
        for source in with_referred(item):
            named |= names_in(source)
        missing = [name for name in parameters(item.value) if name not in named]
        if missing:
            wrong.append(f"{item.place}: {', '.join(missing)}")
    assert not wrong, "\n".join(wrong)


def test_docstrings_give_the_unit_of_times() -> None:
    wrong = []
    for item in items():
        text = " ".join(source.text for source in with_referred(item))
        times = TIMES.intersection(parameters(item.value))
        if times and "seconds" not in text:
            wrong.append(f"{item.place}: {', '.join(times)}")
    assert not wrong, "\n".join(wrong)
