"""In an event loop: many coroutines, one thread, and a receive that is given up takes no message (asyncio)

The clients are coroutines of this process; the service is an ordinary blocking program in another one, which is
pyzmq. The last step runs a program that says `import zmq`, unmodified.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from importlib import import_module
from typing import Any

from demo.story import LIBRARY, PATIENCE, PYZMQ, Place, Story

CLIENTS = 50
QUESTIONS = 10
READY = 3_000


def serve(place: Place) -> int:
    """The service: turns every text round; returns how many."""
    with place.socket(place.zmq.REP) as service:
        service.bind("tcp://127.0.0.1:*")
        place.tell(service.get_string(place.zmq.LAST_ENDPOINT))
        served = 0
        while served < CLIENTS * QUESTIONS:
            service.send_string(service.recv_string()[::-1])
            served += 1
        return served


async def ask(context: Any, zmq: Any, service: str, client: int) -> int:
    """A client: asks, waits for the answer, asks again; returns how many answers were right."""
    right = 0
    with context.socket(zmq.REQ) as socket:
        socket.connect(service)
        for number in range(QUESTIONS):
            question = f"{client}/{number}"
            await socket.send_string(question)
            right += await socket.recv_string() == question[::-1]
    return right


async def give_up(context: Any, zmq: Any) -> list[str]:
    """A receive that is given up before the message is sent; then one that is not."""
    seen = []
    with context.socket(zmq.PULL) as pull, context.socket(zmq.PUSH) as push:
        pull.bind("inproc://given up")
        push.connect("inproc://given up")
        try:
            await asyncio.wait_for(pull.recv_string(), 0.01)
        except TimeoutError:
            seen.append("gave up")
        await push.send_string("still here")
        seen.append(await pull.recv_string())
    return seen


async def keep_busy(context: Any, zmq: Any) -> int:
    """Receives what is there already, without a pause; returns how often another task ran meanwhile."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    with context.socket(zmq.PULL) as pull, context.socket(zmq.PUSH) as push:
        pull.rcvhwm = push.sndhwm = 0
        pull.bind("inproc://busy")
        push.connect("inproc://busy")
        for _ in range(READY):
            await push.send(b"ready")
        task = asyncio.ensure_future(other())
        await asyncio.sleep(0)
        before = turns
        for _ in range(READY):
            await pull.recv()
        task.cancel()
        return turns - before


async def play(story: Story, service: str) -> None:
    """Everything that happens in this loop."""
    zmq = import_module(LIBRARY)
    context = import_module(f"{LIBRARY}.asyncio").Context()
    clients = [ask(context, zmq, service, client) for client in range(CLIENTS)]
    right = await asyncio.wait_for(asyncio.gather(*clients), PATIENCE)
    story.equal(
        sum(right),
        CLIENTS * QUESTIONS,
        f"{CLIENTS} clients as coroutines of one thread: all {CLIENTS * QUESTIONS} answers of a blocking "
        "pyzmq service are right",
    )
    story.equal(
        await give_up(context, zmq),
        ["gave up", "still here"],
        "a receive that was given up took no message: the next one got it",
    )
    turns = await keep_busy(context, zmq)
    story.check(
        turns > 0 or LIBRARY == PYZMQ,
        f"{READY} messages that were there already, received without a pause: another task ran {turns} times "
        "in between",
    )
    context.term()


def tell(story: Story) -> None:
    service = story.process(PYZMQ, serve)
    asyncio.run(play(story, service.told()))
    story.equal(service.result(), CLIENTS * QUESTIONS, "the service answered as often")
    if LIBRARY == PYZMQ:
        return
    program = "import zmq; print(zmq.__name__, zmq.pyzmq_version())"
    said = subprocess.run(
        [sys.executable, "-m", "mqcore.as_zmq", "-c", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    story.equal(
        said.stdout.split(),
        ["mqcore", "27.3.0"],
        "python -m mqcore.as_zmq: in a program that says `import zmq`, zmq is mqcore",
    )
