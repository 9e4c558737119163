"""The reply envelope: how an answer finds its way back over two hops (REQ → ROUTER → DEALER → REP)

    REQ ──tcp──▶ ROUTER │ DEALER ──ipc──▶ ROUTER │ DEALER ──inproc──▶ REP
                   first hop                 second hop

A REQ puts an empty frame, the delimiter, before the question. Each ROUTER puts the routing id of the connection
that the message came from in front. A REP takes off everything up to the delimiter and keeps it; its answer goes
back under the same envelope, and each ROUTER takes off the first frame and routes by it.
"""

from __future__ import annotations

from demo.story import Story


def show(frame: bytes) -> str:
    """A frame for the eye: its length, hex and printable characters."""
    text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in frame)
    return (
        f"[{len(frame):3}] {frame.hex(' '):<38} {text}" if frame else "[  0] (the empty delimiter)"
    )


def tell(story: Story) -> None:
    place = story.place()
    zmq = place.zmq

    def print_frames(who: str, frames: list[bytes]) -> None:
        story.line(who)
        for frame in frames:
            story.line(f"    {show(frame)}")

    with (
        place.socket(zmq.REQ) as client,
        place.socket(zmq.ROUTER) as first_in,
        place.socket(zmq.DEALER) as first_out,
        place.socket(zmq.ROUTER) as second_in,
        place.socket(zmq.DEALER) as second_out,
        place.socket(zmq.REP) as service,
    ):
        first_out.routing_id = b"hop-1"  # a name of our own; the client has none and is given one
        first_in.bind("tcp://127.0.0.1:*")
        client.connect(first_in.get_string(zmq.LAST_ENDPOINT))
        path = story.path()
        second_in.bind(path)
        first_out.connect(path)
        service.bind("inproc://service")
        second_out.connect("inproc://service")

        client.send(b"what is the time?")
        at_first = first_in.recv_multipart()
        print_frames("the first ROUTER receives:", at_first)
        name = at_first[0]
        story.check(
            at_first[1:] == [b"", b"what is the time?"] and len(name) == 5 and name[0] == 0,
            "one address, made up by the ROUTER (5 bytes, the first is 0), the delimiter, the question",
        )

        first_out.send_multipart(at_first)
        at_second = second_in.recv_multipart()
        print_frames("the second ROUTER receives:", at_second)
        story.equal(
            at_second, [b"hop-1", *at_first], "one more address in front: that of the hop before"
        )

        second_out.send_multipart(at_second)
        question = service.recv_multipart()
        print_frames("the REP gives its application:", question)
        story.equal(
            question, [b"what is the time?"], "the question alone; the REP keeps the envelope"
        )

        service.send(b"tea time")
        answer = second_out.recv_multipart()
        print_frames("the answer, as the second DEALER receives it:", answer)
        story.equal(answer, [b"hop-1", name, b"", b"tea time"], "the whole envelope came back")
        second_in.send_multipart(answer)
        answer = first_out.recv_multipart()
        print_frames("the answer, as the first DEALER receives it:", answer)
        story.equal(
            answer, [name, b"", b"tea time"], "the second ROUTER took off 'hop-1' and used it"
        )
        first_in.send_multipart(answer)
        story.equal(client.recv_multipart(), [b"tea time"], "the client gets the answer alone")

        first_in.router_mandatory = True
        try:
            first_in.send_multipart([b"nobody", b"", b"hello?"])
            refused = None
        except zmq.ZMQError as error:
            refused = error
        story.check(
            refused is not None and refused.errno == zmq.EHOSTUNREACH,
            f"a ROUTER knows who is there: {refused} (EHOSTUNREACH, with ROUTER_MANDATORY)",
        )
    place.context.term()
