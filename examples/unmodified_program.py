"""Programs that were written for pyzmq run on mqcore as they are.

From a shell: `python -m mqcore.as_zmq program.py`. From Python: `install_as_zmq()` before anything imports zmq.
"""

import mqcore

mqcore.install_as_zmq()

import zmq  # noqa: E402
import zmq.utils.monitor  # noqa: E402


def main():
    print("zmq is mqcore:", zmq is mqcore)
    print("it has the interface of pyzmq", zmq.pyzmq_version().rpartition(".")[0])
    with zmq.Context() as context, context.socket(zmq.PAIR) as a, context.socket(zmq.PAIR) as b:
        a.bind("inproc://pair")
        b.connect("inproc://pair")
        a.send_string("hello")
        print("received:", b.recv_string())


if __name__ == "__main__":
    main()
