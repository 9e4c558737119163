"""The programs in examples/: each runs to its end, says what it promises, and leaves nothing open.

`MQCORE_TEST_MODULE=zmq` runs those that use nothing of mqcore's own with pyzmq.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from peers.subject import is_ours

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

SAYS = {
    "asyncio_service": "the next receive gets what came later: late",
    "batches": "messages of several parts: [[b'header', b'body'], [b'single']]",
    "broker": "6 questions of 3 clients, answered by 2 workers",
    "dealer_router": "anna got: answer to a3, answer to a2, answer to a1",
    "exclusive_pair": "the thread says: step 3 of 3",
    "gevent_greenlets": "asked hello and got HELLO",
    "lazy_pirate": "the answer is HELLO",
    "linger_and_term": "the late reader got: somebody may still come",
    "log_over_pub": "topic shop.WARNING.kitchen, text 'WARNING: the kettle is hot'",
    "monitor_events": "received: hello",
    "pipeline": "worker 2 did 3 of 9 tasks",
    "poller": "descriptor: a line of a pipe",
    "proxy_in_thread": "the device has ended: True",
    "publish_subscribe": "the subscriber to 'weather' got weather.rome: sun",
    "request_reply": "asked 'how are you', got 'HOW ARE YOU'",
    "stream_http": "the browser shows: <h1>Hello from a ZeroMQ socket</h1>",
    "tornado_stream": "the client was called back with [b'THREE']",
    "unmodified_program": "zmq is mqcore: True",
    "with_decorators": "closed afterwards: True True True",
    "zero_copy": "the sender's memory is free again: True",
}
"""A line of the output of each example."""
NEEDS = {"gevent_greenlets": "gevent", "tornado_stream": "tornado"}
OURS = {"batches", "linger_and_term", "unmodified_program"}
"""What pyzmq does not have."""


def test_every_example_is_known_and_every_known_one_exists() -> None:
    assert {file.stem for file in EXAMPLES.glob("*.py")} == set(SAYS)


def test_no_example_is_named_like_a_module_that_it_would_hide() -> None:
    hidden = [name for name in SAYS if name in sys.stdlib_module_names]
    assert not hidden
    assert not {"gevent", "tornado", "mqcore", "zmq"} & set(SAYS)


def with_pyzmq(text: str) -> str:
    return text.replace("import mqcore as zmq", "import zmq").replace("mqcore.", "zmq.")


@pytest.mark.parametrize("name", sorted(SAYS))
def test_example_runs_to_its_end_and_says_what_it_promises(name: str, tmp_path: Path) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    file = EXAMPLES / f"{name}.py"
    if not is_ours:
        if name in OURS:
            pytest.skip("uses what pyzmq does not have")
        text = with_pyzmq(file.read_text())
        assert "mqcore" not in text.replace("mqcore.log", "").split('"""', 2)[2]
        file = tmp_path / file.name
        file.write_text(text)
    package = importlib.util.find_spec("mqcore" if is_ours else "zmq")
    assert package is not None and package.origin is not None
    home = str(Path(package.origin).parents[1])
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", str(file)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": home, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert SAYS[name] in done.stdout.splitlines(), done.stdout
    left = [path.name for path in tmp_path.iterdir() if path != file]
    assert not left
