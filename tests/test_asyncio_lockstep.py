"""Questions and answers in an event loop, which reads the connection itself as long as they go to and fro (mqcore), and
what must go on when the loop does not run.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from peers.forked import in_child
from peers.loops import context_fixture, run, zmq, zmq_asyncio  # noqa: F401
from peers.raw import RawListener, RawPeer, ping
from peers.waiting import A_WHILE, PATIENCE_MS, eventually

EXCHANGES = 100
"""More than a connection needs to be the loop's."""


@pytest.fixture(params=["tcp", "ipc"])
def endpoint(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "tcp://127.0.0.1:*" if request.param == "tcp" else f"ipc://{tmp_path}/lockstep"


@pytest.fixture(params=["asyncio", "uvloop"])
def new_loop(request: pytest.FixtureRequest) -> Any:
    return pytest.importorskip("uvloop").new_event_loop if request.param == "uvloop" else None


@pytest.fixture
def plain(context: Any) -> Any:
    """The same context, with sockets that wait."""
    return zmq.Context.shadow(context.underlying)


def connected(context: Any, kinds: tuple[int, int], endpoint: str) -> tuple[Any, Any]:
    """A client and its server."""
    client, server = (context.socket(kind) for kind in kinds)
    server.bind(endpoint)
    client.connect(server.last_endpoint)
    return client, server


async def echo(server: Any) -> None:
    while True:
        await server.send_multipart(await server.recv_multipart())


async def ask(client: Any, *questions: bytes) -> None:
    """Sends each question, one after the other, to somebody who sends it back."""
    for question in questions:
        await client.send(question)
        assert await client.recv() == question


async def converse(client: Any, server: Any, questions: list[bytes]) -> None:
    """The same with the server in this loop too."""
    serving = asyncio.create_task(echo(server))
    await ask(client, *questions)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


def numbers(count: int = EXCHANGES) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def face(socket: Any) -> Any:
    """The same socket, with calls that wait."""
    waiting = zmq.Socket.shadow(socket.underlying)
    waiting.rcvtimeo = waiting.sndtimeo = PATIENCE_MS
    return waiting


# What is asked is answered.


@pytest.mark.parametrize("kinds", ["REQ-REP", "DEALER-ROUTER", "PAIR-PAIR", "DEALER-DEALER"])
def test_thousands_of_questions_are_answered(
    context: Any, kinds: str, endpoint: str, new_loop: Any
) -> None:
    first, second = (getattr(zmq, kind) for kind in kinds.split("-"))
    client, server = connected(context, (first, second), endpoint)
    run(lambda: converse(client, server, numbers(1500)), new_loop)


def test_answers_of_any_length_come_whole(context: Any, endpoint: str) -> None:
    client, server = connected(context, (zmq.REQ, zmq.REP), endpoint)
    lengths = [0, 1, 63, 64, 65, 255, 256, 4086, 4096, 4097, 8191, 8193, 40_000, 300_000, 1 << 20]
    questions = [os.urandom(length) for length in lengths for _ in range(3)]
    mixed = [*questions, *(question for long in questions for question in (*numbers(8), long))]
    run(lambda: converse(client, server, mixed))


def test_several_answers_to_one_question_all_come(context: Any, endpoint: str) -> None:
    client, server = connected(context, (zmq.DEALER, zmq.DEALER), endpoint)

    async def main() -> None:
        await converse(client, server, numbers())
        for count in [2, 3, 1, 500, 1, 1, 900]:
            await client.send(b"%d" % count)
            for number in range(int(await server.recv())):
                await server.send(b"%d" % number)
            assert [await client.recv() for _ in range(count)] == numbers(count)

    run(main)


def test_cancelled_wait_takes_no_answer(context: Any, endpoint: str) -> None:
    client, server = connected(context, (zmq.DEALER, zmq.DEALER), endpoint)

    async def main() -> None:
        for number in numbers(300):
            await client.send(number)
            waiting = client.recv()
            waiting.cancel()
            await server.send(await server.recv())
            if int(number) % 3:
                await asyncio.sleep(0)
            assert await client.recv() == number

    run(main)


@pytest.mark.parametrize("poll", ["socket", "poller"])
def test_who_polls_hears_of_the_answer(context: Any, endpoint: str, poll: str) -> None:
    client, server = connected(context, (zmq.REQ, zmq.REP), endpoint)
    poller = zmq_asyncio.Poller()
    poller.register(client, zmq.POLLIN)

    async def main() -> None:
        serving = asyncio.create_task(echo(server))
        for number in numbers():
            await client.send(number)
            if poll == "poller":
                assert await poller.poll(PATIENCE_MS) == [(client, zmq.POLLIN)]
            else:
                assert await client.poll(PATIENCE_MS) == zmq.POLLIN
            assert await client.recv() == number
        serving.cancel()

    run(main)


def test_calls_that_wait_and_pollers_are_served_beside(
    context: Any, endpoint: str, background: Any
) -> None:
    client, server = connected(context, (zmq.REQ, zmq.REP), endpoint)
    waiting = face(client)
    poller = zmq.Poller()

    async def main() -> None:
        for number in numbers(30):
            await converse(client, server, numbers(5))
            waiting.send(number)
            await server.send(await server.recv())
            assert waiting.recv() == number  # the loop does not run meanwhile
            waiting.send(number)
            await server.recv()
            poller.register(waiting, zmq.POLLIN)
            polled = background(lambda: poller.poll(PATIENCE_MS))
            await server.send(number)
            assert polled() == [(waiting, zmq.POLLIN)]
            poller.unregister(waiting)
            assert waiting.recv(zmq.DONTWAIT) == number

    run(main)


def test_socket_moves_from_loop_to_loop(context: Any, endpoint: str) -> None:
    client, server = connected(context, (zmq.REQ, zmq.REP), endpoint)

    async def half() -> None:
        await converse(client, server, numbers())
        await client.send(b"next")
        await server.send(await server.recv())

    async def rest() -> None:
        assert await client.recv() == b"next"

    for _ in range(3):
        run(half)
        run(rest)
        run(half)
        assert face(client).recv() == b"next"  # in no loop at all


# The loop does not run.


@pytest.fixture
def raw(context: Any) -> Iterator[tuple[Any, Callable[[], Any]]]:
    """A DEALER, and what connects a peer that speaks by hand to it."""
    client = context.socket(zmq.DEALER)
    client.linger = 0
    peers: list[RawPeer] = []
    with RawListener() as listener:

        def connect() -> RawPeer:
            client.connect(listener.endpoint)
            peers.append(listener.accept())
            peers[0].handshake(b"DEALER")
            return peers[0]

        yield client, connect
        for peer in peers:
            peer.close()


async def in_lockstep(client: Any, peer: RawPeer) -> None:
    for number in numbers():
        await client.send(number)
        assert peer.read_message() == [number]
        peer.send_message(number)
        assert await client.recv() == number
    await client.send(b"last")
    waiting = client.recv()
    assert peer.read_message() == [b"last"]
    waiting.cancel()
    await asyncio.sleep(0)


def test_ping_is_answered_while_the_loop_is_busy(raw: Any) -> None:
    client, connect = raw

    async def main() -> None:
        peer = connect()
        await in_lockstep(client, peer)
        for number in range(3):  # the loop is busy from here on
            peer.send(ping(context=b"%d" % number))
            assert peer.read_command(b"PONG").data == b"%d" % number
            peer.send_message(b"%d" % number)
        assert [await client.recv() for _ in range(3)] == [b"0", b"1", b"2"]
        await in_lockstep(client, peer)

    run(main)


def test_ping_is_answered_after_the_loop_has_stopped(raw: Any) -> None:
    client, connect = raw
    peers = []

    async def main() -> None:
        peers.append(connect())
        await in_lockstep(client, peers[0])

    with asyncio.Runner() as runner:
        runner.run(main())
        peers[0].send(ping())
        peers[0].read_command(b"PONG")


@pytest.mark.parametrize("who", ["client", "server", "both"])
def test_busy_loop_loses_no_connection_with_heartbeats(
    context: Any, plain: Any, background: Any, who: str
) -> None:
    client, server = context.socket(zmq.REQ), plain.socket(zmq.REP)
    for name, socket in (("client", client), ("server", server)):
        if who in (name, "both"):
            socket.heartbeat_ivl, socket.heartbeat_timeout = 50, 400
    server.rcvtimeo = PATIENCE_MS
    server.bind("tcp://127.0.0.1:*")
    monitor = face(client.get_monitor_socket(zmq.EVENT_DISCONNECTED))
    client.connect(server.last_endpoint)

    def serve() -> None:
        while (question := server.recv()) != b"end":
            server.send(question)
        server.send(b"end")

    served = background(serve)

    async def main() -> None:
        for _ in range(2):
            await ask(client, *numbers())
            await client.send(b"held")
            assert not monitor.poll(1000)  # the loop is busy with waiting for nothing
            assert await client.recv() == b"held"
        await ask(client, b"end")
        assert not monitor.poll(0)

    run(main)
    served()
    client.disable_monitor()
    monitor.close()


@pytest.mark.parametrize("runs", [True, False])
def test_death_of_the_peer_is_noticed(raw: Any, runs: bool) -> None:
    client, connect = raw
    monitor = client.get_monitor_socket(zmq.EVENT_DISCONNECTED)

    async def main() -> None:
        peer = connect()
        await in_lockstep(client, peer)
        peer.close()
        assert await monitor.poll(PATIENCE_MS) if runs else face(monitor).poll(PATIENCE_MS)

    run(main)
    client.disable_monitor()
    monitor.close()


def test_forked_child_disturbs_nothing(context: Any, endpoint: str) -> None:
    client, server = connected(context, (zmq.REQ, zmq.REP), endpoint)

    async def main() -> None:
        await converse(client, server, numbers())
        in_child(lambda: None)
        await converse(client, server, numbers())

    run(main)


@pytest.mark.deviation
def test_connection_that_a_forked_child_has_too_does_not_keep_the_loop_awake(raw: Any) -> None:
    client, connect = raw
    reader, writer = os.pipe()

    async def main() -> None:
        peer = connect()
        await in_lockstep(client, peer)
        child = os.fork()
        if child == 0:
            os.close(writer)
            os.read(reader, 1)  # until the parent has seen enough
            os._exit(0)
        watched = client._waiting.watch.set.fileno()
        client.close()
        peer.send_message(b"too late")
        peer.close()
        assert not select.select([watched], [], [], A_WHILE)[0]
        os.write(writer, b"x")
        os.waitpid(child, 0)

    run(main)
    os.close(reader)
    os.close(writer)


# Nothing is left behind.


def test_descriptors_are_closed(endpoint: str) -> None:
    def once() -> int:
        with zmq_asyncio.Context() as context:
            client, server = connected(context, (zmq.REQ, zmq.REP), endpoint)
            run(lambda: converse(client, server, numbers()))
            client.close()
            server.close()
        return len(os.listdir("/proc/self/fd"))

    eventually(lambda: once() == once(), what="as many are open as before")


@pytest.mark.deviation  # there each is awake for a while
def test_idle_threads_sleep_after_the_last_answer(context: Any, endpoint: str) -> None:
    client, server = connected(context, (zmq.REQ, zmq.REP), endpoint)

    def switches() -> dict[str, str]:
        """How often each thread but this one has gone to sleep."""
        found = {}
        for task in set(os.listdir("/proc/self/task")) - {str(os.getpid())}:
            status = Path(f"/proc/self/task/{task}/status").read_text()
            found[task] = status[status.index("voluntary_ctxt_switches") :]
        return found

    def sleep() -> bool:
        before = switches()
        select.select([], [], [], A_WHILE)
        return switches() == before

    async def main() -> None:
        await converse(client, server, numbers())
        eventually(sleep, what="no thread ran for a while")

    run(main)
