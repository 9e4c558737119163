"""gevent: greenlets that wait for sockets let the others run. Needs gevent; no monkey-patching."""

import gevent
import mqcore.green as zmq


def serve(context):
    with context.socket(zmq.REP) as service:
        service.bind("inproc://service")
        while (question := service.recv()) != b"enough":
            service.send(question.upper())
        service.send(b"goodbye")


def ask(context):
    with context.socket(zmq.REQ) as client:
        client.connect("inproc://service")
        for question in (b"hello", b"enough"):
            client.send(question)
            print("asked", question.decode(), "and got", client.recv().decode())


def tick(ticks):
    while True:
        ticks.append(None)
        gevent.sleep(0.001)


def main():
    ticks = []
    ticking = gevent.spawn(tick, ticks)
    with zmq.Context() as context:
        gevent.joinall([gevent.spawn(serve, context), gevent.spawn(ask, context)], raise_error=True)
        with context.socket(zmq.PULL) as pull:
            pull.bind("inproc://nobody")
            print("a poll of 50 ms finds", pull.poll(50))
    ticking.kill()
    print("another greenlet ran meanwhile:", len(ticks) > 3)


if __name__ == "__main__":
    main()
