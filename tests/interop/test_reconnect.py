"""Endpoints that come and go: connect before bind, a server restarted on its port, a client that returns."""

import errno

import pytest
from peers.fixtures import PEER_MODULES
from peers.process import PeerProcess
from peers.raw import free_endpoint
from peers.subject import zmq
from peers.waiting import bind_when_free, eventually
from peers.watch import Watch

FAST = {"RECONNECT_IVL": 10, "RECONNECT_IVL_MAX": 100}


@pytest.fixture(params=PEER_MODULES, ids=lambda name: f"with_{name}")
def start_peer(request):
    """Starts peer processes that a test may end or kill."""
    running = []

    def start() -> PeerProcess:
        running.append(PeerProcess(request.param))
        return running[-1]

    yield start
    for process in running:
        if process.process.returncode is None:
            process.stop()


transports = pytest.mark.parametrize("transport", ["tcp", "ipc"])


@transports
def test_client_may_connect_before_the_server_binds(make, start_peer, endpoint, transport):
    where = free_endpoint(endpoint, transport)
    ours = make("PUSH", **FAST)
    ours.connect(where)
    ours.send(*[[b"%d" % n] for n in range(100)])
    theirs = start_peer().socket("PULL")
    theirs.bind(where)
    assert theirs.receive(100) == [[b"%d" % n] for n in range(100)]


@transports
def test_peer_may_connect_before_we_bind(make, start_peer, endpoint, transport):
    where = free_endpoint(endpoint, transport)
    theirs = start_peer().socket("PUSH", **FAST)
    theirs.connect(where)
    theirs.send(*[[b"%d" % n] for n in range(100)])
    ours = make("PULL")
    ours.bind(where)
    assert ours.receive(100) == [[b"%d" % n] for n in range(100)]


@transports
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_client_finds_a_server_that_was_restarted(make, start_peer, endpoint, transport, how):
    where = free_endpoint(endpoint, transport)
    ours = make("DEALER", **FAST)
    ours.connect(where)
    for life in range(3):
        process = start_peer()
        server = process.socket("ROUTER")
        bind_when_free(server, where)
        ours.send([b"life %d" % life])
        ((identity, question),) = server.receive()
        assert question == b"life %d" % life
        server.send([identity, b"answer"])
        assert ours.receive() == [[b"answer"]]
        getattr(process, how)()


@transports
def test_peer_finds_our_server_restarted(start_peer, endpoint, transport):
    where = free_endpoint(endpoint, transport)
    theirs = start_peer().socket("DEALER", **FAST)
    theirs.connect(where)
    for life in range(3):
        context = zmq.Context()
        server = context.socket(zmq.ROUTER)
        server.set(zmq.RCVTIMEO, 10_000)
        with Watch(server) as watch:
            bind_when_free(server, where)
            # What they send before they have noticed the loss goes to the old life, and is lost with it.
            watch.wait(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        theirs.send([b"life %d" % life])
        identity, question = server.recv_multipart()
        assert question == b"life %d" % life
        server.send_multipart([identity, b"answer"])
        assert theirs.receive() == [[b"answer"]]
        context.destroy(linger=0)


@transports
def test_subscriptions_are_made_again_after_a_restart(make, start_peer, endpoint, transport):
    where = free_endpoint(endpoint, transport)
    ours = make("SUB", **FAST)
    ours.set("SUBSCRIBE", b"a")
    ours.set("SUBSCRIBE", b"b")
    ours.set("SUBSCRIBE", b"c")
    ours.set("UNSUBSCRIBE", b"c")
    ours.connect(where)
    for _ in range(3):
        process = start_peer()
        server = process.socket("XPUB")
        bind_when_free(server, where)
        notices: list = []

        def both_known(server=server, notices=notices) -> bool:
            ours.poll(0)
            if (notice := server.receive_now()) is not None:
                notices.append(notice)
            return len(notices) >= 2

        eventually(both_known)
        assert sorted(notices) == [[b"\x01a"], [b"\x01b"]]
        server.send([b"c"], [b"b"])
        assert ours.receive() == [[b"b"]]
        process.stop()


@transports
def test_their_subscriptions_come_back_to_our_restarted_publisher(start_peer, endpoint, transport):
    where = free_endpoint(endpoint, transport)
    theirs = start_peer().socket("SUB", SUBSCRIBE=b"a", **FAST)
    theirs.connect(where)
    for _ in range(3):
        context = zmq.Context()
        server = context.socket(zmq.XPUB)
        server.set(zmq.RCVTIMEO, 10_000)
        bind_when_free(server, where)
        eventually(lambda server=server: theirs.poll(0) or server.poll(10))
        assert server.recv() == b"\x01a"
        server.send(b"a1")
        assert theirs.receive() == [[b"a1"]]
        context.destroy(linger=0)


@transports
def test_messages_queued_while_the_server_is_away_arrive(make, start_peer, endpoint, transport):
    where = free_endpoint(endpoint, transport)
    first = start_peer()
    server = first.socket("PULL")
    server.bind(where)
    ours = make("PUSH", **FAST)
    watch = ours.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    ours.connect(where)
    ours.send([b"one"])
    assert server.receive() == [[b"one"]]
    first.kill()
    assert watch.poll(10_000), "the loss of the connection must be told"
    ours.send(*[[b"%d" % n] for n in range(200)])
    second = start_peer().socket("PULL")
    bind_when_free(second, where)
    assert second.receive(200) == [[b"%d" % n] for n in range(200)]
    ours.socket.disable_monitor()
    watch.close(linger=0)


@transports
def test_immediate_waits_for_a_live_peer(make, start_peer, endpoint, transport):
    where = free_endpoint(endpoint, transport)
    ours = make("PUSH", IMMEDIATE=1, **FAST)
    ours.connect(where)
    with pytest.raises(zmq.Again):
        ours.socket.send(b"nobody there", zmq.DONTWAIT)
    theirs = start_peer().socket("PULL")
    theirs.bind(where)
    ours.send([b"now"])
    assert theirs.receive() == [[b"now"]]


@transports
def test_disconnected_endpoint_stays_disconnected(make, start_peer, endpoint, transport):
    theirs = start_peer().socket("PULL")
    where = theirs.bind(endpoint(transport))
    ours = make("PUSH", **FAST)
    ours.connect(where)
    ours.send([b"one"])
    assert theirs.receive() == [[b"one"]]
    ours.disconnect(where)

    def nobody_left() -> bool:
        try:
            ours.socket.send(b"two", zmq.DONTWAIT)
            return False
        except zmq.Again:
            return True

    eventually(nobody_left)
    with pytest.raises(zmq.ZMQError) as unknown:
        ours.disconnect(where)
    assert unknown.value.errno == errno.ENOENT
