"""Pipeline: a ventilator deals out work, workers do it, a sink collects, and a loop leads back (PUSH and PULL)

The work is the Collatz walk: halve an even number, or else triple it and add one, until it is 1. A worker does
one step. The sink sends every number that is not yet 1 back to the ventilator, which deals it out again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from demo.story import LIBRARY, PYZMQ, Part, Place, Story

NUMBERS = range(2, 42)


def work(place: Place, jobs: str, results: str) -> int:
    """A worker: one step of the walk for each job; returns how many it did."""
    with place.socket(place.zmq.PULL) as inbox, place.socket(place.zmq.PUSH) as outbox:
        inbox.connect(jobs)
        outbox.connect(results)
        place.tell("ready")
        done = 0
        while True:
            start, value, steps = inbox.recv_json()
            if value == 0:  # the ventilator's word for: time to go home
                return done
            outbox.send_json([start, value // 2 if value % 2 == 0 else 3 * value + 1, steps + 1])
            done += 1


def collect(place: Place, results: str, again: str) -> dict[int, int]:
    """The sink: the length of each number's walk."""
    with place.socket(place.zmq.PULL) as inbox, place.socket(place.zmq.PUSH) as back:
        inbox.bind(results)
        place.tell(inbox.get_string(place.zmq.LAST_ENDPOINT))
        back.connect(again)
        lengths: dict[int, int] = {}
        while len(lengths) < len(NUMBERS):
            start, value, steps = inbox.recv_json()
            if value == 1:
                lengths[start] = steps
            back.send_json([start, value, steps])
        return lengths


def ventilate(jobs: Any, again: Any) -> int:
    """The ventilator: deals out every number, and again what the sink sends back; returns the deals."""
    deals = 0
    for number in NUMBERS:
        jobs.send_json([number, number, 0])
        deals += 1
    unfinished = len(NUMBERS)
    while unfinished:
        start, value, steps = again.recv_json()
        if value == 1:
            unfinished -= 1
        else:
            jobs.send_json([start, value, steps])
            deals += 1
    return deals


def collatz(number: int) -> int:
    """The length of the walk, computed without any messages."""
    steps = 0
    while number != 1:
        number = number // 2 if number % 2 == 0 else 3 * number + 1
        steps += 1
    return steps


def tell(story: Story) -> None:
    place = story.place()
    expected = {number: collatz(number) for number in NUMBERS}

    def here(part: Callable[..., int], *arguments: Any) -> Part:
        return story.thread(part, place, *arguments)

    def apart(part: Callable[..., int], *arguments: Any) -> Part:
        return story.process(LIBRARY, part, *arguments)

    def pyzmq(part: Callable[..., int], *arguments: Any) -> Part:
        return story.process(PYZMQ, part, *arguments)

    def run(where: str, fresh: Callable[[], str], starts: list[Callable[..., Part]]) -> None:
        """One whole pipeline; `fresh()` gives an endpoint to bind, each of `starts` a worker."""
        with place.socket(place.zmq.PUSH) as jobs, place.socket(place.zmq.PULL) as again:
            jobs.bind(fresh())
            again.bind(fresh())
            jobs_at = jobs.get_string(place.zmq.LAST_ENDPOINT)
            again_at = again.get_string(place.zmq.LAST_ENDPOINT)
            sink = story.thread(collect, place, fresh(), again_at)
            results_at = sink.told()
            workers = [start(work, jobs_at, results_at) for start in starts]
            for worker in workers:
                worker.told()
            # Messages are dealt round the circle of the workers that are connected; begin when all are.
            deals = ventilate(jobs, again)
            lengths = sink.result()
            for _ in workers:
                jobs.send_json([0, 0, 0])
            shares = [worker.result() for worker in workers]
            story.equal(
                (lengths, sum(shares), min(shares) > 0),
                (expected, deals, True),
                f"{where}: {len(NUMBERS)} numbers took {deals} jobs round the loop; "
                f"the workers did {' + '.join(map(str, shares))}",
            )

    names = iter("abc")
    run("inproc, 3 threads", lambda: f"inproc://pipeline-{next(names)}", [here, here, here])
    run("ipc, 2 processes and a thread", story.path, [apart, apart, here])
    run("tcp, a process and real pyzmq", lambda: "tcp://127.0.0.1:*", [apart, pyzmq])
    place.context.term()
