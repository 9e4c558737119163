"""A monitor: what happens to the connections of a socket, as messages.

The monitor is a PAIR socket of the same context; `parse_monitor_message` reads its messages. Interesting are
HANDSHAKE_SUCCEEDED (from now on messages go), DISCONNECTED, and the ones that say why a handshake failed.
"""

import mqcore as zmq
from mqcore.utils.monitor import recv_monitor_message

EVENTS = (
    zmq.Event.ACCEPTED
    | zmq.Event.HANDSHAKE_SUCCEEDED
    | zmq.Event.DISCONNECTED
    | zmq.Event.MONITOR_STOPPED
)


def show_until(monitor, last):
    while True:
        message = recv_monitor_message(monitor)
        event = message["event"]
        print(event.name, message["endpoint"].decode())
        if event == last:
            return


def main():
    with zmq.Context() as context, context.socket(zmq.PULL) as server:
        monitor = server.get_monitor_socket(EVENTS)
        server.bind("tcp://127.0.0.1:*")
        with context.socket(zmq.PUSH) as client:
            client.connect(server.get_string(zmq.LAST_ENDPOINT))
            show_until(monitor, zmq.Event.HANDSHAKE_SUCCEEDED)
            client.send(b"hello")
            print("received:", server.recv().decode())
        show_until(monitor, zmq.Event.DISCONNECTED)  # the client is closed
        server.disable_monitor()
        show_until(monitor, zmq.Event.MONITOR_STOPPED)
        monitor.close()


if __name__ == "__main__":
    main()
