"""Devices in threads and processes."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

zmq: Any = importlib.import_module(os.environ.get("MQCORE_TEST_MODULE", "mqcore"))
devices: Any = importlib.import_module(f"{zmq.__name__}.devices")
LOCAL = "tcp://127.0.0.1"


@pytest.fixture
def own(context: Any) -> Iterator[Callable[[Any], Any]]:
    """Gives a device a context of its own, and ends it with the test."""
    contexts: list[Any] = []

    def give(device: Any) -> Any:
        contexts.append(zmq.Context())
        device.context_factory = lambda: contexts[-1]
        return device

    yield give
    for made in contexts:
        made.term()


def echo(sockets: Any, front: int, back: int) -> None:
    """A client and a worker meet through a device."""
    client, worker = sockets(zmq.REQ), sockets(zmq.REP)
    client.connect(f"{LOCAL}:{front}")
    worker.connect(f"{LOCAL}:{back}")
    client.send_multipart([b"question", b"2"])
    assert worker.recv_multipart() == [b"question", b"2"]
    worker.send(b"answer")
    assert client.recv() == b"answer"


def test_all_names_are_there_with_their_lines_of_descent() -> None:
    d, module = devices, importlib.import_module
    assert set(d.__all__) <= set(dir(d)) and len(d.__all__) == 13
    base = module(f"{zmq.__name__}.devices.basedevice")
    proxies = module(f"{zmq.__name__}.devices.proxydevice")
    steerable = module(f"{zmq.__name__}.devices.proxysteerabledevice")
    queues = module(f"{zmq.__name__}.devices.monitoredqueuedevice")
    assert d.ThreadDevice.__mro__[1:3] == (base.BackgroundDevice, d.Device)
    assert d.Proxy.__mro__[1:3] == (proxies.ProxyBase, d.Device)
    assert d.ThreadProxy.__mro__[1:3] == (proxies.ProxyBase, d.ThreadDevice)
    assert d.ProcessProxy.__mro__[1:3] == (proxies.ProxyBase, d.ProcessDevice)
    assert d.ProxySteerable.__mro__[1:3] == (steerable.ProxySteerableBase, d.Proxy)
    assert d.ThreadProxySteerable.__mro__[1:3] == (steerable.ProxySteerableBase, d.ThreadProxy)
    assert d.MonitoredQueue.__mro__[1:3] == (queues.MonitoredQueueBase, d.Proxy)
    assert d.ThreadMonitoredQueue.__mro__[1:3] == (queues.MonitoredQueueBase, d.ThreadProxy)
    assert d.ProcessMonitoredQueue.__mro__[1:3] == (queues.MonitoredQueueBase, d.ProcessProxy)
    assert proxies.ProxyBase.__mro__[1:] == (object,)
    assert d.proxy is zmq.proxy and d.DeviceType is zmq.DeviceType
    assert d.ThreadDevice._launch_class is threading.Thread
    assert d.ProcessDevice._launch_class is multiprocessing.Process
    assert d.ProcessDevice.context_factory is zmq.Context
    assert d.ThreadDevice.context_factory == zmq.Context.instance


def test_types_of_the_sockets_must_be_given() -> None:
    with pytest.raises(TypeError, match="in_type must be specified"):
        devices.Device()
    with pytest.raises(TypeError, match="out_type must be specified"):
        devices.Device(zmq.QUEUE, zmq.PULL)
    device = devices.Device(zmq.QUEUE, zmq.PULL, zmq.PUSH)
    assert (device.device_type, device.in_type, device.out_type) == (3, zmq.PULL, zmq.PUSH)
    assert device.daemon is True and device.done is False


def test_thread_device_forwards_both_ways_and_ends_with_its_context(sockets: Any, own: Any) -> None:
    device = own(devices.ThreadDevice(zmq.QUEUE, zmq.ROUTER, zmq.DEALER))
    front = device.bind_in_to_random_port(LOCAL)
    back = device.bind_out_to_random_port(LOCAL)
    device.start()
    echo(sockets, front, back)
    assert device.launcher.daemon and not device.done
    device._context.term()
    device.join(10)
    assert device.done and not device.launcher.is_alive()
    assert all(socket.closed for socket in device._sockets) and len(device._sockets) == 2


def test_device_in_the_calling_thread_can_be_joined_by_another(
    sockets: Any, own: Any, background: Any
) -> None:
    device = own(devices.Device(zmq.QUEUE, zmq.ROUTER, zmq.DEALER))
    front = device.bind_in_to_random_port(LOCAL)
    back = device.bind_out_to_random_port(LOCAL)
    join = background(device.start)
    echo(sockets, front, back)
    device.join(0.01)
    assert not device.done
    device._context.term()
    device.join(10)
    assert device.done and join() is None


def test_options_binds_and_connects_are_done_in_this_order(sockets: Any, own: Any) -> None:
    sink = sockets(zmq.DEALER)
    port = sink.bind_to_random_port(LOCAL)
    device = own(devices.ThreadDevice(zmq.QUEUE, zmq.DEALER, zmq.DEALER))
    device.connect_out(f"{LOCAL}:{port}")
    source = device.bind_in_to_random_port(LOCAL)
    device.setsockopt_in(zmq.ROUTING_ID, b"front")
    device.setsockopt_out(zmq.SNDHWM, 7)
    device.start()
    client = sockets(zmq.ROUTER, router_mandatory=1, probe_router=1)
    client.connect(f"{LOCAL}:{source}")
    assert sink.recv_multipart() == [b""]
    client.send_multipart([b"front", b"x"])
    assert sink.recv_multipart() == [b"x"]
    assert device._sockets[1].sndhwm == 7
    device._context.term()
    device.join(10)


def test_negative_type_uses_one_socket_for_both_sides(sockets: Any, own: Any) -> None:
    device = own(devices.ThreadDevice(zmq.FORWARDER, zmq.DEALER, -1))
    port = device.bind_in_to_random_port(LOCAL)
    device.setsockopt_out(zmq.SNDHWM, 3)
    device.start()
    client = sockets(zmq.DEALER)
    client.connect(f"{LOCAL}:{port}")
    client.send_multipart([b"back", b"again"])
    assert client.recv_multipart() == [b"back", b"again"]
    assert len(device._sockets) == 1 and device._sockets[0].sndhwm == 3
    device._context.term()
    device.join(10)


def test_reserved_ports_are_distinct_and_arguments_are_passed_on() -> None:
    device = devices.Device(zmq.QUEUE, zmq.PULL, zmq.PUSH)
    ports = [device.bind_in_to_random_port(LOCAL) for _ in range(10)]
    ports += [device.bind_out_to_random_port(LOCAL) for _ in range(10)]
    assert len(set(ports)) == 20
    assert device._random_addrs == [f"{LOCAL}:{port}" for port in ports]
    only = ports[-1]
    with pytest.raises(zmq.ZMQBindError):
        device.bind_in_to_random_port(LOCAL, only, max_port=only + 1, max_tries=3)
    proxy = devices.Proxy(zmq.PULL, zmq.PUSH)
    assert proxy.bind_mon_to_random_port(LOCAL) > 0


def test_what_fails_when_the_device_runs_is_raised_there(own: Any) -> None:
    device = own(devices.Device(zmq.QUEUE, zmq.PULL, zmq.PUSH))
    device.bind_in("nonsense")
    with pytest.raises(zmq.ZMQError):
        device.start()
    assert device.done and all(socket.closed for socket in device._sockets)


@pytest.mark.deviation
def test_joining_before_the_start_says_so() -> None:
    device = devices.ThreadDevice(zmq.QUEUE, zmq.PULL, zmq.PUSH)
    with pytest.raises(RuntimeError, match="before it is started"):
        device.join()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_process_device_forwards(
    sockets: Any, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = multiprocessing.get_context(method).Process
    monkeypatch.setattr(devices.ProcessDevice, "_launch_class", process)
    device = devices.ProcessDevice(zmq.QUEUE, zmq.ROUTER, zmq.DEALER)
    front = device.bind_in_to_random_port(LOCAL)
    back = device.bind_out_to_random_port(LOCAL)
    device.start()
    try:
        echo(sockets, front, back)
        assert device.launcher.daemon and device.launcher.is_alive()
    finally:
        device.launcher.terminate()
        device.join(10)
    assert not device.launcher.is_alive()


def test_program_may_end_while_a_device_runs() -> None:
    code = f"""if True:
    import {zmq.__name__} as zmq, {zmq.__name__}.devices as devices
    device = devices.ThreadProxy(zmq.PULL, zmq.PUSH)
    port = device.bind_in_to_random_port("tcp://127.0.0.1")
    out = device.bind_out_to_random_port("tcp://127.0.0.1")
    device.start()
    context = zmq.Context.instance()
    push, pull = context.socket(zmq.PUSH), context.socket(zmq.PULL)
    push.connect(f"tcp://127.0.0.1:{{port}}")
    pull.connect(f"tcp://127.0.0.1:{{out}}")
    push.send(b"x")
    print(pull.recv())
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "b'x'\n", "")


# Proxies.


def test_thread_proxy_sends_copies(sockets: Any, own: Any) -> None:
    device = own(devices.ThreadProxy(zmq.PULL, zmq.PUSH, zmq.PUSH))
    source = device.bind_in_to_random_port(LOCAL)
    sink = device.bind_out_to_random_port(LOCAL)
    copies = device.bind_mon_to_random_port(LOCAL)
    device.setsockopt_mon(zmq.SNDHWM, 9)
    device.start()
    a, b, c = sockets(zmq.PUSH), sockets(zmq.PULL), sockets(zmq.PULL)
    for socket, port in ((a, source), (b, sink), (c, copies)):
        socket.connect(f"{LOCAL}:{port}")
    a.send_multipart([b"1", b"2"])
    assert b.recv_multipart() == c.recv_multipart() == [b"1", b"2"]
    assert [socket.type for socket in device._sockets] == [zmq.PULL, zmq.PUSH, zmq.PUSH]
    assert device._sockets[2].sndhwm == 9
    device._context.term()
    device.join(10)
    assert device.done


def test_connect_mon_connects_the_socket_of_the_copies(sockets: Any, own: Any) -> None:
    copies = sockets(zmq.SUB)
    copies.subscribe(b"")
    port = copies.bind_to_random_port(LOCAL)
    device = own(devices.ThreadProxy(zmq.PULL, zmq.PUSH))
    source = device.bind_in_to_random_port(LOCAL)
    sink = device.bind_out_to_random_port(LOCAL)
    device.connect_mon(f"{LOCAL}:{port}")
    device.start()
    a, b = sockets(zmq.PUSH), sockets(zmq.PULL)
    a.connect(f"{LOCAL}:{source}")
    b.connect(f"{LOCAL}:{sink}")
    while not copies.poll(20):  # until the subscription has arrived
        a.send(b"x")
        assert b.recv() == b"x"
    assert copies.recv() == b"x"
    device._context.term()
    device.join(10)


def test_steerable_proxy_obeys(sockets: Any, own: Any) -> None:
    device = own(devices.ThreadProxySteerable(zmq.PULL, zmq.PUSH, zmq.PUB, zmq.REP))
    source = device.bind_in_to_random_port(LOCAL)
    sink = device.bind_out_to_random_port(LOCAL)
    device.bind_mon_to_random_port(LOCAL)
    port = device.bind_ctrl_to_random_port(LOCAL)
    device.setsockopt_ctrl(zmq.LINGER, 5000)
    device.start()
    a, b, control = sockets(zmq.PUSH), sockets(zmq.PULL), sockets(zmq.REQ)
    for socket, number in ((a, source), (b, sink), (control, port)):
        socket.connect(f"{LOCAL}:{number}")
    a.send(b"x")
    assert b.recv() == b"x"
    control.send(b"STATISTICS")
    assert len(control.recv_multipart()) == 8
    control.send(b"TERMINATE")
    device.join(10)
    assert device.done and not device.launcher.is_alive()
    assert len(device._sockets) == 4 and device._sockets[3].closed


@pytest.mark.deviation
def test_steerable_proxy_without_a_control_type_is_a_proxy(sockets: Any, own: Any) -> None:
    device = own(devices.ThreadProxySteerable(zmq.PULL, zmq.PUSH))
    source = device.bind_in_to_random_port(LOCAL)
    sink = device.bind_out_to_random_port(LOCAL)
    device.start()
    a, b = sockets(zmq.PUSH), sockets(zmq.PULL)
    a.connect(f"{LOCAL}:{source}")
    b.connect(f"{LOCAL}:{sink}")
    a.send(b"x")
    assert b.recv() == b"x"
    device._context.term()
    device.join(10)
    assert device.done
    steered = own(devices.ProxySteerable(zmq.PULL, zmq.PUSH))
    steered.connect_ctrl("inproc://nobody")
    with pytest.raises(TypeError, match="ctrl_type must be specified"):
        steered.start()


def test_device_is_joined_by_its_monitored_queue(sockets: Any, own: Any) -> None:
    device = own(
        devices.ThreadMonitoredQueue(
            zmq.ROUTER, zmq.DEALER, zmq.PUSH, in_prefix=b"question", out_prefix=b"answer"
        )
    )
    front = device.bind_in_to_random_port(LOCAL)
    back = device.bind_out_to_random_port(LOCAL)
    watching = sockets(zmq.PULL)
    device.connect_mon(f"{LOCAL}:{watching.bind_to_random_port(LOCAL)}")
    device.start()
    echo(sockets, front, back)
    assert watching.recv_multipart()[::2] == [b"question", b"", b"2"]
    assert watching.recv_multipart()[::3] == [b"answer", b"answer"]
    device._context.term()
    device.join(10)
    assert device.done
