"""Where replacements for pyzmq go wrong with asyncio: futures, their order, cancelling, closing, loops one after another.
`TRAPS.md` says which test stands for which trap.
"""

import asyncio
import importlib
import os

import pytest
from peers.subject import errno_of, ours, zmq
from peers.waiting import PATIENCE, PATIENCE_MS

zmq_asyncio = importlib.import_module(f"{zmq.__name__}.asyncio")


@pytest.fixture
def context():
    made = zmq_asyncio.Context()
    yield made
    made.destroy(linger=0)


def pair(context):
    a, b = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    a.bind("inproc://pair")
    b.connect("inproc://pair")
    return a, b


def run(main):
    """Runs a coroutine function to its end, with a deadline."""
    return asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_calls_return_futures_and_act_at_once(context):
    async def main():
        a, b = pair(context)
        sent = a.send(b"first")
        assert isinstance(sent, asyncio.Future) and sent.done()
        a.send(b"second")  # nobody need wait for it
        assert await b.poll(PATIENCE_MS) == zmq.POLLIN
        got = b.recv()
        assert isinstance(got, asyncio.Future) and got.done() and got.result() == b"first"
        many = b.recv_multipart()
        assert many.done() and many.result() == [b"second"]
        waiting = b.recv()
        assert not waiting.done()
        a.send(b"third")
        assert await waiting == b"third"
        for future in (b.recv_string(), b.recv_json(), b.recv_pyobj(), b.poll()):
            assert isinstance(future, asyncio.Future)
            future.cancel()

    run(main)


def test_receivers_are_served_in_the_order_in_which_they_came(context):
    async def main():
        a, b = pair(context)
        waiting = [b.recv(), b.recv_multipart(), b.recv(), b.recv_multipart()]
        for number in range(4):
            await a.send(b"%d" % number)
        assert await asyncio.gather(*waiting) == [b"0", [b"1"], b"2", [b"3"]]

    run(main)


def test_cancelled_receive_leaves_the_message_for_the_next(context):
    async def main():
        a, b = pair(context)
        first, second = b.recv(), b.recv()
        first.cancel()
        await a.send(b"kept")
        assert await second == b"kept"
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(b.recv_multipart(), 0.01)
        await a.send_multipart([b"kept", b"too"])
        assert await b.recv_multipart() == [b"kept", b"too"]

    run(main)


def test_nothing_remains_of_futures_that_are_done(context):
    async def main():
        a, b = pair(context)
        for _ in range(20):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(b.recv(), 0.001)
            polled = b.poll(PATIENCE_MS)
            polled.cancel()
            await asyncio.sleep(0)
            await a.send(b"x")
            assert await b.recv() == b"x"
        await asyncio.sleep(0)
        for socket in (a, b):
            assert len(socket._recv_futures or ()) == len(socket._send_futures or ()) == 0

    run(main)


@ours
def test_cancelled_receive_of_text_loses_nothing(context):
    """pyzmq drops the message, with a warning."""

    async def main():
        a, b = pair(context)
        await a.send(b"kept")
        await b.poll(PATIENCE_MS)
        got = b.recv_string()
        if not got.cancel():
            assert await got == "kept"
        else:
            assert await b.recv_string() == "kept"

    run(main)


def test_close_cancels_what_waits(context):
    async def main():
        a, b = pair(context)
        received, polled = b.recv(), b.poll()
        b.close()
        for future in (received, polled):
            with pytest.raises(asyncio.CancelledError):
                await future
        a.close()

    run(main)


def test_errors_come_where_pyzmq_has_them(context):
    async def main():
        a, b = pair(context)
        wrong = a.send("text")
        assert isinstance(wrong.exception(), TypeError)
        wrong = a.send_multipart([b"a", 5])
        assert isinstance(wrong.exception(), TypeError)
        with pytest.raises(TypeError):
            a.send_string(b"bytes")
        await a.send(b"\xff")
        with pytest.raises(UnicodeDecodeError):
            await b.recv_string()
        b.close()
        assert errno_of(b.recv) == zmq.ENOTSOCK
        assert errno_of(b.poll) == zmq.ENOTSUP
        assert b.send(b"x").exception().errno == zmq.ENOTSOCK

    run(main)


@ours
def test_what_can_never_be_done_fails_at_once(context):
    """With pyzmq both wait for ever."""

    async def main():
        push, pull = context.socket(zmq.PUSH), context.socket(zmq.PULL)
        pull.bind("inproc://never")
        push.connect("inproc://never")
        with pytest.raises(zmq.ZMQError) as caught:
            await push.recv()
        assert caught.value.errno == zmq.ENOTSUP
        with pytest.raises((BufferError, TypeError)):
            await pull.recv_into(b"read only")

    run(main)


def test_timeouts_of_the_socket_are_kept(context):
    async def main():
        a, b = pair(context)
        b.rcvtimeo = 10
        with pytest.raises(zmq.Again):
            await b.recv()
        lonely = context.socket(zmq.PUSH)
        lonely.sndtimeo = 10
        with pytest.raises(zmq.Again):
            await lonely.send(b"x")
        assert await a.poll(10) == 0
        assert b.recv(zmq.DONTWAIT).exception().errno == zmq.EAGAIN

    run(main)


def test_sockets_outlive_the_loop(context):
    a, b = pair(context)
    for number in range(3):

        async def main(number=number):
            waiting = b.recv()
            await a.send(b"%d" % number)
            assert await waiting == b"%d" % number

        run(main)


def test_poller_takes_plain_sockets_and_descriptors_too(context):
    async def main():
        a, b = pair(context)
        plain = zmq.Context.shadow(context)
        reading, writing = os.pipe()
        with plain.socket(zmq.PAIR) as one, plain.socket(zmq.PAIR) as two:
            one.bind("inproc://plain")
            two.connect("inproc://plain")
            poller = zmq_asyncio.Poller()
            for thing in (b, two, reading):
                poller.register(thing, zmq.POLLIN)
            assert await poller.poll(0) == []
            one.send(b"x")
            assert await poller.poll(PATIENCE_MS) == [(two, zmq.POLLIN)]
            two.recv()
            await a.send(b"y")
            assert await poller.poll(PATIENCE_MS) == [(b, zmq.POLLIN)]
            await b.recv()
            os.write(writing, b"z")
            assert await poller.poll(PATIENCE_MS) == [(reading, zmq.POLLIN)]
        os.close(reading)
        os.close(writing)

    run(main)


def test_plain_socket_becomes_one_that_gives_futures(context):
    async def main():
        with zmq.Context() as plain_context:
            with plain_context.socket(zmq.PAIR) as one, plain_context.socket(zmq.PAIR) as two:
                one.bind("inproc://plain")
                two.connect("inproc://plain")
                wrapped = zmq_asyncio.Socket.from_socket(two)
                waiting = wrapped.recv()
                one.send(b"x")
                assert await waiting == b"x" and wrapped._shadow_sock is two
                del wrapped

    run(main)


def test_singletons_of_plain_and_asyncio_contexts_are_two():
    plain, other = zmq.Context.instance(), zmq_asyncio.Context.instance()
    try:
        assert plain is not other and type(other) is zmq_asyncio.Context
    finally:
        plain.term()
        other.term()


def test_descriptor_serves_a_loop_of_ones_own():
    """As a library that watches FD by itself: EVENTS after each wake-up, and after each call."""

    async def main():
        loop = asyncio.get_running_loop()
        with zmq.Context() as plain_context:
            with (
                plain_context.socket(zmq.DEALER) as client,
                plain_context.socket(zmq.ROUTER) as server,
            ):
                server.bind("tcp://127.0.0.1:*")
                client.connect(server.last_endpoint)
                finished = loop.create_future()
                answers = []

                def serve():
                    while server.EVENTS & zmq.POLLIN:
                        server.send_multipart(server.recv_multipart(zmq.DONTWAIT))

                def hear():
                    while client.EVENTS & zmq.POLLIN:
                        answers.append(client.recv(zmq.DONTWAIT))
                        if len(answers) < 100:
                            client.send(b"%d" % len(answers))
                        elif not finished.done():
                            finished.set_result(None)

                loop.add_reader(server.FD, serve)
                loop.add_reader(client.FD, hear)
                client.send(b"0")
                hear()
                await finished
                loop.remove_reader(server.FD)
                loop.remove_reader(client.FD)
                assert answers == [b"%d" % number for number in range(100)]

    run(main)
