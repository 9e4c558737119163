"""STREAM against a raw TCP program: connection ids, notices, bytes in both directions."""

import socket

import pytest
from peers.process import read_stream
from peers.raw import RawListener, RawPeer
from peers.subject import zmq
from peers.waiting import eventually


def test_program_that_connects_is_announced_talks_and_leaves(make):
    stream = make("STREAM")
    with RawPeer.connect(stream.bind("tcp://127.0.0.1:*")) as program:
        ((identity, empty),) = stream.receive()
        assert len(identity) == 5 and identity[0] == 0 and empty == b""
        program.send(b"hello")
        assert read_stream(stream, identity, 5) == b"hello"
        stream.send([identity, b"HTTP/1.0 200 OK\r\n\r\n"])
        assert program.read_exactly(19) == b"HTTP/1.0 200 OK\r\n\r\n"
    assert stream.receive() == [[identity, b""]]


def test_nothing_of_zmtp_is_on_the_wire(make):
    stream = make("STREAM")
    with RawPeer.connect(stream.bind("tcp://127.0.0.1:*")) as program:
        ((identity, _),) = stream.receive()
        stream.send([identity, b"first bytes"])
        assert program.read_exactly(11) == b"first bytes"
        assert not program.buffer


def test_large_data_passes_in_order_both_ways(make):
    stream = make("STREAM")
    data = bytes(range(256)) * 4096
    with RawPeer.connect(stream.bind("tcp://127.0.0.1:*")) as program:
        ((identity, _),) = stream.receive()
        program.send(data)
        assert read_stream(stream, identity, len(data)) == data
        for begin in range(0, len(data), 65_536):
            stream.send([identity, data[begin : begin + 65_536]])
        assert program.read_exactly(len(data)) == data


def test_empty_message_closes_the_connection(make):
    stream = make("STREAM")
    with RawPeer.connect(stream.bind("tcp://127.0.0.1:*")) as program:
        ((identity, _),) = stream.receive()
        stream.send([identity, b"bye"])
        stream.send([identity, b""])
        assert program.read_exactly(3) == b"bye"
        # The reference ends the connection when the socket's own thread next calls it.
        eventually(lambda: stream.poll(0) < 0 or program.is_closed(0.02))


def test_stream_connects_to_a_server(make):
    stream = make("STREAM")
    with RawListener() as server:
        stream.connect(server.endpoint)
        identity = stream.socket.get(zmq.ROUTING_ID)
        with server.accept() as program:
            assert stream.receive() == [[identity, b""]]
            stream.send([identity, b"GET / HTTP/1.0\r\n\r\n"])
            assert program.read_exactly(18) == b"GET / HTTP/1.0\r\n\r\n"
            program.send(b"answer")
            assert read_stream(stream, identity, 6) == b"answer"


def test_connect_routing_id_names_the_connection(make):
    stream = make("STREAM")
    with RawListener() as server:
        stream.set("CONNECT_ROUTING_ID", b"server")
        stream.connect(server.endpoint)
        with server.accept() as program:
            assert stream.receive() == [[b"server", b""]]
            stream.send([b"server", b"x"])
            assert program.read_exactly(1) == b"x"


def test_unknown_connection_is_refused(make):
    stream = make("STREAM")
    stream.bind("tcp://127.0.0.1:*")
    with pytest.raises(zmq.ZMQError) as refused:
        stream.socket.send_multipart([b"nobody", b"x"])
    assert refused.value.errno == zmq.EHOSTUNREACH


def test_without_notify_only_data_comes(make):
    stream = make("STREAM", STREAM_NOTIFY=0)
    with RawPeer.connect(stream.bind("tcp://127.0.0.1:*")) as program:
        program.send(b"data")
        ((identity, piece),) = stream.receive()
        assert len(identity) == 5 and piece


def test_several_connections_are_told_apart(make):
    stream = make("STREAM")
    where = stream.bind("tcp://127.0.0.1:*")
    programs = [RawPeer.connect(where) for _ in range(5)]
    ids = [message[0] for message in stream.receive(5)]
    assert len(set(ids)) == 5
    for n, identity in enumerate(ids):
        stream.send([identity, b"%d" % n])
    answers = [program.read_exactly(1) for program in programs]
    assert sorted(answers) == [b"0", b"1", b"2", b"3", b"4"]
    for program in programs:
        program.close()
    gone = stream.receive(5)
    assert sorted(gone) == sorted([identity, b""] for identity in ids)


def test_half_closed_program_still_gets_what_was_sent(make):
    stream = make("STREAM")
    with RawPeer.connect(stream.bind("tcp://127.0.0.1:*")) as program:
        ((identity, _),) = stream.receive()
        stream.send([identity, b"z" * 1_000_000])
        assert program.read_exactly(1_000_000) == b"z" * 1_000_000
        program.socket.shutdown(socket.SHUT_WR)
        assert stream.receive() == [[identity, b""]]
