"""Decorators that give a function a context or sockets, and close them when it returns.

    @context()
    @socket(zmq.PUSH)
    def send(context, push): ...

Each call of the function gets new ones. Nothing here keeps anything between calls.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, Protocol, TypeVar

from mqcore.context import Context

_CallableT = TypeVar("_CallableT", bound=Callable[..., Any])


class _DecoratorCallable(Protocol):
    def __call__(self, func: _CallableT) -> _CallableT: ...


def context(*args: Any, **kwargs: Any) -> _DecoratorCallable:
    """Gives a function a new `Context`, which is destroyed when the function is done.

    The context comes as the last positional argument; with a name (as text first, or as `name=...`) as the
    keyword argument of this name. The other arguments are those of `Context`: `@context("ctx", io_threads=2)`.

    A call that gives the function another value under the name raises TypeError. A coroutine function has its
    context until the coroutine is done.
    """
    name, args, kwargs = _take_name("context", args, kwargs)

    def make(_args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Any:
        return Context(*args, **kwargs)

    return _giving(name, make)


def socket(*args: Any, **kwargs: Any) -> _DecoratorCallable:
    """Gives a function a new socket, which is closed when the function is done.

    The socket comes as the last positional argument; with a name (as text first, or as `name=...`) as the
    keyword argument of this name. The other arguments are those of `Context.socket`: `@socket("pub", zmq.PUB)`.

    The socket belongs to the function's keyword argument `context` (or the one that `context_name=...` says), if
    that is a Context; otherwise to its first positional argument that is one; otherwise to `Context.instance()`.

    A call that gives the function another value under the name, or a decorator without a socket type, raises
    TypeError when the function is called. A coroutine function has its socket until the coroutine is done.
    """
    name, args, kwargs = _take_name("socket", args, kwargs)
    context_name = kwargs.pop("context_name", "context")

    def make(called_with: tuple[Any, ...], called_with_names: dict[str, Any]) -> Any:
        owner = _context_of(context_name, called_with, called_with_names)
        return owner.socket(*args, **kwargs)

    return _giving(name, make)


def _take_name(
    decorator: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[str | None, tuple[Any, ...], dict[str, Any]]:
    """Separates the name of the function's argument from what is left for the constructor."""
    if args and isinstance(args[0], FunctionType):
        raise TypeError(f"write @{decorator}(...) with parentheses above {args[0].__qualname__}")
    kwargs = dict(kwargs)
    if "name" in kwargs:
        return kwargs.pop("name"), args, kwargs
    if args and isinstance(args[0], str):
        return args[0], args[1:], kwargs
    return None, args, kwargs


def _context_of(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Context[Any]:
    """The context among the arguments of a call, or the one of the process."""
    named = kwargs.get(name)
    if isinstance(named, Context):
        return named
    for argument in args:
        if isinstance(argument, Context):
            return argument
    return Context.instance()


def _giving(
    name: str | None, make: Callable[[tuple[Any, ...], dict[str, Any]], Any]
) -> _DecoratorCallable:
    """A decorator that adds what `make` returns to the arguments, within a `with` statement."""

    def decorate(func: Any) -> Any:
        def added(
            args: tuple[Any, ...], kwargs: dict[str, Any], made: Any
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            return ((*args, made), kwargs) if name is None else (args, {**kwargs, name: made})

        def check(kwargs: dict[str, Any]) -> None:
            if name is not None and name in kwargs:
                raise TypeError(f"{func.__name__}() got multiple values for argument {name!r}")

        @functools.wraps(func)
        def call(*args: Any, **kwargs: Any) -> Any:
            check(kwargs)
            with make(args, kwargs) as made:
                args, kwargs = added(args, kwargs, made)
                return func(*args, **kwargs)

        @functools.wraps(func)
        async def call_later(*args: Any, **kwargs: Any) -> Any:
            check(kwargs)
            with make(args, kwargs) as made:
                args, kwargs = added(args, kwargs, made)
                return await func(*args, **kwargs)

        return call_later if inspect.iscoroutinefunction(func) else call

    return decorate


__all__ = ["context", "socket"]
