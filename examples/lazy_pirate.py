"""A lost server: a client that asks again, and gives up after some attempts.

A REQ that waits for an answer cannot send. The lazy pirate closes it and takes a new one. (The options REQ_RELAXED and
REQ_CORRELATE allow to send again on the same socket.) The server here loses the first two questions.
"""

import threading

import mqcore as zmq

TIMEOUT = 200  # milliseconds
ATTEMPTS = 4


def serve(server):
    lost = 0
    with server:
        while True:
            client, empty, question = server.recv_multipart()
            if lost < 2:
                lost += 1
                continue
            server.send_multipart([client, empty, question.upper()])
            if question == b"stop":
                return


def ask(context, endpoint, question):
    for attempt in range(1, ATTEMPTS + 1):
        with context.socket(zmq.REQ) as client:
            client.linger = 0  # a question that nobody takes shall not hold the program
            client.connect(endpoint)
            client.send_string(question)
            if client.poll(TIMEOUT):
                print(f"attempt {attempt}: answered")
                return client.recv_string()
        print(f"attempt {attempt}: no answer within {TIMEOUT} ms")
    return None


def main():
    with zmq.Context() as context:
        server = context.socket(zmq.ROUTER)
        server.bind("tcp://127.0.0.1:*")
        endpoint = server.get_string(zmq.LAST_ENDPOINT)
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        print("the answer is", ask(context, endpoint, "hello"))
        ask(context, endpoint, "stop")
        thread.join()
        print("after the server has gone:", ask(context, endpoint, "hello again"))


if __name__ == "__main__":
    main()
