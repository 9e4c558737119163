"""The decorators that give contexts and sockets to functions."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterator
from typing import Any

import pytest
from peers.subject import name, zmq

decorators = importlib.import_module(f"{name}.decorators")
context_for, socket_for = decorators.context, decorators.socket


@pytest.fixture(autouse=True)
def instance() -> Iterator[None]:
    """What the decorators do to the shared context ends with the test."""
    before, zmq.Context._instance = zmq.Context._instance, None
    yield
    if zmq.Context._instance is not None:
        zmq.Context._instance.term()
    zmq.Context._instance = before


def echo(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


# Contexts.


def test_context_comes_as_the_last_positional_argument() -> None:
    args, kwargs = context_for()(echo)(1, x=2)
    assert args[0] == 1 and isinstance(args[1], zmq.Context) and kwargs == {"x": 2}


@pytest.mark.parametrize(
    ("args", "kwargs"), [(("ctx",), {}), ((), {"name": "ctx"}), (("ctx", 3), {})]
)
def test_context_comes_under_its_name(args: Any, kwargs: Any) -> None:
    found_args, found = context_for(*args, **kwargs)(echo)(1)
    assert found_args == (1,) and isinstance(found.pop("ctx"), zmq.Context) and found == {}


def test_arguments_are_those_of_a_context() -> None:
    def io_threads(ctx: Any) -> int:
        return ctx.io_threads  # type: ignore[no-any-return]

    assert context_for(3)(io_threads)() == 3
    assert context_for("ctx", 3)(io_threads)() == 3
    assert context_for(name="ctx", io_threads=3)(io_threads)() == 3
    with pytest.raises(TypeError):
        context_for(unknown=1)(echo)()


def test_context_is_new_at_each_call_and_closed_afterwards() -> None:
    @context_for()
    def use(ctx: Any) -> Any:
        assert not ctx.closed
        return ctx

    first, second = use(), use()
    assert first is not second and first.closed and second.closed


def test_context_is_closed_when_the_function_raises() -> None:
    @context_for()
    def fail(ctx: Any) -> None:
        raise LookupError(ctx)

    with pytest.raises(LookupError) as caught:
        fail()
    assert caught.value.args[0].closed


def test_name_that_is_given_already_is_a_type_error() -> None:
    @context_for("ctx")
    def use(ctx: Any) -> None: ...

    with pytest.raises(TypeError, match=r"use\(\) got multiple values for argument 'ctx'"):
        use(ctx=5)
    with pytest.raises(TypeError, match="multiple values for argument 'ctx'"):
        use(5)


def test_function_without_such_an_argument_is_a_type_error() -> None:
    @context_for("ctx")
    def use() -> None: ...

    with pytest.raises(TypeError, match="unexpected keyword argument 'ctx'"):
        use()


@pytest.mark.deviation
@pytest.mark.parametrize("decorator", [context_for, socket_for])
def test_forgotten_parentheses_are_an_error_at_once(decorator: Any) -> None:
    with pytest.raises(TypeError, match="parentheses above .*use"):

        @decorator
        def use() -> None: ...


def test_function_keeps_its_name_and_text() -> None:
    @context_for()
    def use(ctx: Any) -> None:
        """Says something."""

    assert (use.__name__, use.__doc__) == ("use", "Says something.")
    assert use.__wrapped__ is not use  # type: ignore[attr-defined]


# Sockets.


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((zmq.PUB,), {}),
        (("s", zmq.PUB), {}),
        ((zmq.PUB,), {"name": "s"}),
        ((), {"name": "s", "socket_type": zmq.PUB}),
    ],
)
def test_socket_without_a_context_belongs_to_the_instance(args: Any, kwargs: Any) -> None:
    @socket_for(*args, **kwargs)
    def use(s: Any) -> Any:
        assert not s.closed and s.type == zmq.PUB and s.context is zmq.Context.instance()
        return s

    assert use().closed


def test_socket_belongs_to_the_context_among_the_positional_arguments() -> None:
    @context_for()
    @socket_for(zmq.PUB)
    @socket_for(zmq.SUB)
    def use(ctx: Any, pub: Any, sub: Any) -> Any:
        assert pub.context is sub.context is ctx
        return pub.type, sub.type

    assert use() == (zmq.PUB, zmq.SUB)


@pytest.mark.parametrize(("keyword", "options"), [("context", {}), ("c", {"context_name": "c"})])
def test_socket_belongs_to_the_context_of_this_name(keyword: str, options: Any) -> None:
    @context_for(keyword)
    @socket_for("s", zmq.PUB, **options)
    def use(**kwargs: Any) -> Any:
        return kwargs["s"].context is kwargs[keyword]

    assert use()


def test_context_of_another_name_is_not_taken() -> None:
    @context_for("other")
    @socket_for("s", zmq.PUB)
    def use(other: Any, s: Any) -> Any:
        return s.context is zmq.Context.instance()

    assert use()


@pytest.mark.parametrize("wrong", [None, 5])
def test_keyword_that_is_no_context_is_passed_by(context: Any, wrong: Any) -> None:
    @socket_for("s", zmq.PUB)
    def use(positional: Any, context: Any, s: Any) -> Any:
        return s.context is positional and context is wrong

    assert use(context, context=wrong)


def test_methods_are_given_contexts_and_sockets_too() -> None:
    class Service:
        @context_for()
        @socket_for(zmq.PUB)
        def positional(self, ctx: Any, s: Any) -> Any:
            return self, s.context is ctx

        @context_for("context")
        @socket_for("s", zmq.PUB)
        def named(self, context: Any, s: Any) -> Any:
            return self, s.context is context

    service = Service()
    assert service.positional() == service.named() == (service, True)


def test_arguments_are_those_of_context_socket(context: Any) -> None:
    class Own(zmq.Socket):  # type: ignore[misc]
        pass

    @socket_for(zmq.PUB, socket_class=Own)
    def use(ctx: Any, s: Any) -> Any:
        return type(s)

    assert use(context) is Own


@pytest.mark.parametrize("args", [(), ("s",)])
def test_missing_socket_type_is_a_type_error(args: Any) -> None:
    with pytest.raises(TypeError, match="socket_type"):
        socket_for(*args)(echo)()


def test_error_of_the_socket_is_passed_on(context: Any) -> None:
    with pytest.raises(zmq.ZMQError) as caught:
        socket_for(99)(echo)(context)
    assert caught.value.errno == zmq.EINVAL


def test_one_decorator_serves_several_functions() -> None:
    decorator = socket_for("s", zmq.PUB, context_name="c")
    for _ in range(2):
        assert decorator(echo)()[1]["s"].closed


@pytest.mark.deviation
def test_coroutine_has_its_socket_until_it_is_done() -> None:
    @context_for()
    @socket_for("s", zmq.PUB)
    async def use(ctx: Any, s: Any) -> Any:
        await asyncio.sleep(0)
        assert not s.closed and not ctx.closed
        return ctx, s

    ctx, s = asyncio.run(use())  # type: ignore[call-arg]
    assert ctx.closed and s.closed
