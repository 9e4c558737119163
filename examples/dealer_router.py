"""DEALER and ROUTER: several questions at once, answered in any order.

    DEALER ──▶ ROUTER ◀── DEALER

A ROUTER puts the sender's routing id in front of what it receives, and sends to the peer whose id it is given first. A
DEALER may send as often as it likes before it receives.
"""

import mqcore as zmq


def main():
    with zmq.Context() as context, context.socket(zmq.ROUTER) as service:
        service.bind("tcp://127.0.0.1:*")
        endpoint = service.get_string(zmq.LAST_ENDPOINT)
        with context.socket(zmq.DEALER) as anna, context.socket(zmq.DEALER) as ben:
            anna.routing_id, ben.routing_id = b"anna", b"ben"
            for client, questions in ((anna, (b"a1", b"a2", b"a3")), (ben, (b"b1",))):
                client.connect(endpoint)
                for question in questions:
                    client.send(question)
            print("anna asked 3 questions and ben 1, without waiting for answers")

            asked = [service.recv_multipart() for _ in range(4)]
            for client, question in sorted(asked, reverse=True):  # not the order they were asked in
                print(f"the service answers {question.decode()} of {client.decode()}")
                service.send_multipart([client, b"answer to " + question])

            for name, client, count in (("anna", anna, 3), ("ben", ben, 1)):
                answers = [client.recv_string() for _ in range(count)]
                print(f"{name} got: {', '.join(answers)}")


if __name__ == "__main__":
    main()
