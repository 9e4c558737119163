"""Request-reply: a client asks, a service answers, strictly in turn (REQ and REP)

The same service runs as a thread (inproc), as a process (ipc) and as a process with real pyzmq (tcp).
"""

from __future__ import annotations

from demo.story import LIBRARY, PYZMQ, Part, Place, Story

QUESTIONS = 200


def answer(place: Place, endpoint: str) -> int:
    """The service: binds, then answers each question with its text in capitals, until the empty one."""
    with place.socket(place.zmq.REP) as service:
        service.bind(endpoint)
        place.tell(service.get_string(place.zmq.LAST_ENDPOINT))
        answered = 0
        while question := service.recv_string():
            service.send_string(question.upper())
            answered += 1
        service.send_string("good bye")
        return answered


def ask(place: Place, endpoint: str) -> int:
    """The client: counts the right answers."""
    with place.socket(place.zmq.REQ) as client:
        client.connect(endpoint)
        right = 0
        for number in range(QUESTIONS):
            client.send_string(f"question {number}")
            right += client.recv_string() == f"QUESTION {number}"
        client.send_string("")
        client.recv_string()
        return right


def tell(story: Story) -> None:
    place = story.place()

    def converse(where: str, service: Part) -> None:
        endpoint = service.told()
        right = ask(place, endpoint)
        story.equal(
            (right, service.result()),
            (QUESTIONS, QUESTIONS),
            f"{where}: {right} questions, {right} right answers",
        )

    converse("inproc, two threads", story.thread(answer, place, "inproc://capitals"))
    converse("ipc, two processes", story.process(LIBRARY, answer, story.path()))
    converse("tcp, the service is real pyzmq", story.process(PYZMQ, answer, "tcp://127.0.0.1:*"))
    with place.socket(place.zmq.REP) as service, place.socket(place.zmq.REQ) as client:
        service.bind("inproc://in-turn")
        client.connect("inproc://in-turn")
        client.send(b"first question")
        try:
            client.send(b"second question before the answer")
            refused = None
        except place.zmq.ZMQError as error:
            refused = error
        story.check(
            refused is not None and refused.errno == place.zmq.EFSM,
            f"asking twice in a row is refused: {refused} (EFSM)",
        )
        client.linger = 0
    place.context.term()
