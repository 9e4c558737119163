"""Heartbeats: between living peers nothing happens; a peer that falls silent is dropped."""

import os
import signal

import pytest
from peers.filler import filler
from peers.fixtures import PEER_MODULES
from peers.process import PeerProcess
from peers.raw import Closed, RawListener, RawPeer, ping
from peers.subject import zmq
from peers.watch import Watch

BEAT = {"HEARTBEAT_IVL": 100, "HEARTBEAT_TIMEOUT": 2000, "HEARTBEAT_TTL": 3000}
LOSS = (
    zmq.EVENT_DISCONNECTED,
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
)


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
@pytest.mark.parametrize(
    "ours, theirs",
    [
        ("DEALER", "ROUTER"),
        ("PUSH", "PULL"),
        ("SUB", "PUB"),
        ("REQ", "REP"),
        ("PAIR", "PAIR"),
        ("XPUB", "XSUB"),
    ],
)
@pytest.mark.parametrize("who", ["we", "they", "both"])
def test_idle_connection_survives_heartbeats(make, peer, endpoint, transport, ours, theirs, who):
    here = make(ours, **(BEAT if who != "they" else {}))
    there = peer.socket(theirs, **(BEAT if who != "we" else {}))
    with Watch(here.socket) as watch:
        here.connect(there.bind(endpoint(transport)))
        watch.wait(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        watch.never(*LOSS, seconds=0.5)
    there.close()


def test_large_message_with_heartbeats_on_arrives(make, peer, endpoint):
    here, there = make("PUSH", **BEAT), peer.socket("PULL", **BEAT)
    here.connect(there.bind(endpoint("tcp")))
    for seed in range(3):
        here.send([filler(10 << 20, seed)])
    for seed in range(3):
        assert there.receive() == [[filler(10 << 20, seed)]]
    there.close()


def test_ping_is_answered_with_its_context(make):
    pull = make("PULL")
    with RawPeer.ready_for(pull.bind("tcp://127.0.0.1:*"), b"PUSH") as raw:
        for context in (b"", b"x", b"0123456789abcdef"):
            raw.send(ping(0, context))
            assert raw.read_command(b"PONG").data == context


def test_we_ping_in_the_interval_and_say_our_ttl(make):
    pull = make("PULL", HEARTBEAT_IVL=50, HEARTBEAT_TTL=1500)
    with RawPeer.ready_for(pull.bind("tcp://127.0.0.1:*"), b"PUSH") as raw:
        for _ in range(3):
            got = raw.read_command(b"PING")
            assert got.data[:2] == (15).to_bytes(2, "big")
            raw.send(b"\x04\x05\x04PONG" + got.data[2:])


def test_peer_that_does_not_answer_pings_is_dropped(make):
    pull = make("PULL", HEARTBEAT_IVL=50, HEARTBEAT_TIMEOUT=100)
    with Watch(pull.socket) as watch:
        with RawPeer.ready_for(pull.bind("tcp://127.0.0.1:*"), b"PUSH") as raw:
            raw.read_command(b"PING")
            assert raw.is_closed()
        watch.wait(zmq.EVENT_DISCONNECTED)


def test_client_reconnects_after_a_missing_pong(make):
    push = make("PUSH", HEARTBEAT_IVL=50, HEARTBEAT_TIMEOUT=100, RECONNECT_IVL=10)
    with RawListener() as server:
        push.connect(server.endpoint)
        for _ in range(2):
            with server.accept() as raw:
                raw.handshake(b"PULL")
                assert raw.is_closed()


def test_peer_that_announced_a_ttl_and_falls_silent_is_dropped(make):
    pull = make("PULL")
    with RawPeer.ready_for(pull.bind("tcp://127.0.0.1:*"), b"PUSH") as raw:
        raw.send(ping(2))
        raw.read_command(b"PONG")
        assert raw.is_closed()


def test_data_counts_as_a_sign_of_life(make):
    pull = make("PULL", HEARTBEAT_IVL=100, HEARTBEAT_TIMEOUT=400)
    with (
        Watch(pull.socket) as watch,
        RawPeer.ready_for(pull.bind("tcp://127.0.0.1:*"), b"PUSH") as raw,
    ):
        for n in range(10):
            raw.read_command(b"PING")
            raw.send_message(b"%d" % n)
        assert pull.receive(10) == [[b"%d" % n] for n in range(10)]
        assert watch.count(*LOSS) == 0


@pytest.mark.parametrize("module", PEER_MODULES)
def test_stopped_process_is_noticed_and_found_again(make, module):
    """A process that is halted keeps its connections open; only the heartbeat can tell."""
    process = PeerProcess(module)
    server = process.socket("PULL")
    push = make(
        "PUSH", HEARTBEAT_IVL=50, HEARTBEAT_TIMEOUT=150, RECONNECT_IVL=10, HANDSHAKE_IVL=200
    )
    try:
        with Watch(push.socket) as watch:
            push.connect(server.bind("tcp://127.0.0.1:*"))
            watch.wait(zmq.EVENT_HANDSHAKE_SUCCEEDED)
            os.kill(process.process.pid, signal.SIGSTOP)
            watch.wait(zmq.EVENT_DISCONNECTED)
            os.kill(process.process.pid, signal.SIGCONT)
            watch.wait(zmq.EVENT_HANDSHAKE_SUCCEEDED, times=2)
            push.send([b"again"])
            assert server.receive() == [[b"again"]]
    finally:
        os.kill(process.process.pid, signal.SIGCONT)
        process.stop()


def test_raw_peer_sees_the_connection_end(make):
    pull = make("PULL", HEARTBEAT_IVL=30, HEARTBEAT_TIMEOUT=60)
    with RawPeer.ready_for(pull.bind("tcp://127.0.0.1:*"), b"PUSH") as raw, pytest.raises(Closed):
        while True:
            assert raw.read_frame().command == b"PING"
