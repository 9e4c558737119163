"""STREAM between two of its kind and against a ZeroMQ peer: every byte of the other is data."""

import pytest
from peers.process import read_stream
from peers.raw import RawListener, command, frame, greeting, prop
from peers.subject import zmq
from peers.waiting import PATIENCE, eventually


@pytest.fixture
def streams(make):
    """Two connected STREAMs, each with the id that it has for the other."""
    server, client = make("STREAM"), make("STREAM", RECONNECT_IVL=60_000)
    client.connect(server.bind("tcp://127.0.0.1:*"))
    ((from_client, nothing),) = server.receive()
    assert nothing == b""
    from_server = client.socket.get(zmq.ROUTING_ID)
    assert client.receive() == [[from_server, b""]]
    return server, from_client, client, from_server


def test_dealer_shows_its_signature_greeting_and_ready(make):
    stream, dealer = make("STREAM"), make("DEALER", ROUTING_ID=b"me")
    dealer.connect(stream.bind("tcp://127.0.0.1:*"))
    ((identity, nothing),) = stream.receive()
    assert nothing == b""
    signature = read_stream(stream, identity, 10)
    assert signature[0] == 0xFF and signature[9] == 0x7F
    stream.send([identity, greeting()])
    rest = signature[10:]
    rest += read_stream(stream, identity, 54 - len(rest))
    ready = command(b"READY", prop(b"Socket-Type", b"DEALER") + prop(b"Identity", b"me"))
    assert rest[0] == 3
    assert rest[2:54] == greeting()[12:]
    stream.send([identity, command(b"READY", prop(b"Socket-Type", b"ROUTER"))])
    got = rest[54:]
    if len(got) < len(ready):
        got += read_stream(stream, identity, len(ready) - len(got))
    assert got == ready
    dealer.send([b"question", b""])
    assert read_stream(stream, identity, 12) == frame(b"question", more=True) + frame(b"")
    stream.send([identity, frame(b"answer")])
    assert dealer.receive() == [[b"answer"]]


def test_data_of_one_to_255_bytes_is_echoed(streams):
    server, from_client, client, from_server = streams
    for size in range(1, 256):
        data = bytes(n % 256 for n in range(size))
        client.send([from_server, data])
        assert read_stream(server, from_client, size) == data
        server.send([from_client, data])
        assert read_stream(client, from_server, size) == data


def test_connection_is_announced_used_closed_and_its_end_announced(streams):
    server, from_client, client, from_server = streams
    client.send([from_server, b"hello"])
    assert read_stream(server, from_client, 5) == b"hello"
    server.send([from_client, b"good bye"], [from_client, b""])
    assert read_stream(client, from_server, 8) == b"good bye"
    # The reference ends the connection when the socket's own thread next calls it.
    eventually(lambda: server.poll(0) < 0 or client.poll(0.02))
    assert client.receive() == [[from_server, b""]]

    def is_gone() -> bool:
        try:
            server.socket.send_multipart([from_client, b"too late"])
        except zmq.ZMQError as error:
            assert error.errno == zmq.EHOSTUNREACH
            return True
        return False

    eventually(is_gone, what="the connection that was closed has no name any more")


def test_side_that_closes_is_not_told_of_the_end(streams):
    server, from_client, client, from_server = streams
    server.send([from_client, b""])
    eventually(lambda: server.poll(0) < 0 or client.poll(0.02))
    assert client.receive() == [[from_server, b""]]
    client.connect(server.socket.get(zmq.LAST_ENDPOINT).rstrip(b"\0").decode())
    ((another, nothing),) = server.receive()
    assert another != from_client and nothing == b""


def test_more_after_the_data_means_nothing(streams):
    """The pair ends with its data, and what follows is the id of the next one."""
    server, from_client, client, from_server = streams
    server.set("RCVTIMEO", 2000)
    client.socket.send(from_server, zmq.SNDMORE)
    client.socket.send(b"one,", zmq.SNDMORE)
    client.socket.send(from_server, zmq.SNDMORE)
    client.socket.send(b"two")
    assert read_stream(server, from_client, 7) == b"one,two"


def test_empty_data_to_a_peer_that_speaks_zmtp_ends_its_connection_and_nothing_else(make):
    stream, dealer = make("STREAM"), make("DEALER", RECONNECT_IVL=10)
    dealer.connect(stream.bind("tcp://127.0.0.1:*"))
    ended = set()
    while len(ended) < 3:
        ((identity, data),) = stream.receive()
        if data:
            assert data[0] == 0xFF and identity not in ended
            stream.send([identity, b""])
            ended.add(identity)


def test_data_longer_than_any_buffer_arrives_unchanged_between_two_streams(streams):
    server, from_client, client, from_server = streams
    data = bytes(range(256)) * 1024
    client.send([from_server, data])
    assert read_stream(server, from_client, len(data)) == data


@pytest.mark.deviation  # the reference ends the process
def test_name_of_a_connection_that_is_there_cannot_be_given_again(make):
    stream = make("STREAM")
    with RawListener() as first, RawListener() as second:
        stream.set("CONNECT_ROUTING_ID", b"name")
        stream.connect(first.endpoint)
        with first.accept(PATIENCE):
            assert stream.receive() == [[b"name", b""]]
            stream.set("CONNECT_ROUTING_ID", b"name")
            with pytest.raises(zmq.ZMQError) as refused:
                stream.connect(second.endpoint)
            assert refused.value.errno == zmq.EADDRINUSE
