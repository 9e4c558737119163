"""PUSH to PULL and REQ to REP in coroutines, each side in an event loop of its own."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

from benches.content import body, messages, pool, round_and_round, speed, times
from benches.job import Figures, Job, Unsupported, Wrong
from benches.workloads.round_trip import WARM_UP


def in_a_loop(role: Callable[[Job, Any], Awaitable[Figures]]) -> Callable[[Job], Figures]:
    """The coroutine as a role; its second argument is the library's asyncio context."""

    def run(job: Job) -> Figures:
        name = job.zmq.__name__
        try:
            module = import_module(f"{name}.asyncio")
        except ImportError:
            raise Unsupported(f"{name} has no asyncio yet") from None

        async def play() -> Figures:
            return await role(job, module.Context.shadow(job.context))

        return asyncio.run(play())

    return run


async def other_has_ended(job: Job) -> None:
    """Waits without holding up the loop, which may still have to send."""
    await asyncio.to_thread(job.wait_for_other)


@in_a_loop
async def pull(job: Job, context: Any) -> Figures:
    """Receives everything, one by one."""
    with context.socket(job.zmq.PULL) as socket:
        job.bind(socket)
        receive = socket.recv
        expected = round_and_round(pool(job.task.size), job.task.count)
        if await receive() != next(expected):
            raise Wrong("the first message is not the first one sent")
        job.began()
        start = time.perf_counter()
        for message in expected:
            if await receive() != message:
                raise Wrong("a message was lost, changed or out of order")
        return speed(job.task.count - 1, time.perf_counter() - start)


@in_a_loop
async def push(job: Job, context: Any) -> Figures:
    """Sends everything, one by one."""
    with context.socket(job.zmq.PUSH) as socket:
        socket.connect(job.endpoint)
        send = socket.send
        for message in messages(job.task):
            await send(message)
        await other_has_ended(job)
        return {}


@in_a_loop
async def reply(job: Job, context: Any) -> Figures:
    """Sends back each request."""
    with context.socket(job.zmq.REP) as socket:
        job.bind(socket)
        receive, send = socket.recv, socket.send
        for number in range(job.task.count + WARM_UP):
            await send(await receive())
            if number == WARM_UP:
                job.began()
        await other_has_ended(job)
        return {}


@in_a_loop
async def request(job: Job, context: Any) -> Figures:
    """Asks and waits, again and again; each round trip has its own time."""
    with context.socket(job.zmq.REQ) as socket:
        socket.connect(job.endpoint)
        receive, send, clock = socket.recv, socket.send, time.perf_counter_ns
        question = body(job.task.size)
        for _ in range(WARM_UP):
            await send(question)
            await receive()
        job.began()
        taken = array("q")
        start = time.perf_counter()
        for _ in range(job.task.count):
            asked = clock()
            await send(question)
            answer = await receive()
            taken.append(clock() - asked)
            if answer != question:
                raise Wrong("the answer is not the question")
        return times(taken, time.perf_counter() - start)
