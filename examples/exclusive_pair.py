"""An exclusive pair: two threads and nobody else, messages both ways, in any order.

PAIR ◀──inproc──▶ PAIR
"""

import threading

import mqcore as zmq


def count(context):
    with context.socket(zmq.PAIR) as main_thread:
        main_thread.connect("inproc://counter")
        limit = int(main_thread.recv())
        for number in range(1, limit + 1):
            main_thread.send_string(f"step {number} of {limit}")
        main_thread.send(b"done")


def main():
    with zmq.Context() as context, context.socket(zmq.PAIR) as counter:
        counter.bind("inproc://counter")
        thread = threading.Thread(target=count, args=(context,))
        thread.start()
        counter.send(b"3")
        print("told the thread to count to 3")
        while (news := counter.recv_string()) != "done":
            print(f"the thread says: {news}")
        thread.join()
        print("the thread is done")


if __name__ == "__main__":
    main()
