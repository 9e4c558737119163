"""Making CURVE keys: the functions' checks, and the tool."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from typing import Any

import pytest
from peers.subject import is_ours, name, zmq

keygen = importlib.import_module(f"{name}.curve_keygen")
keys = importlib.import_module("mqcore.curve") if is_ours else zmq

# RFC 26's keys of the client.
SECRET = b"JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"
PUBLIC = b"rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"


@pytest.fixture
def working(monkeypatch: pytest.MonkeyPatch) -> None:
    """Key functions that answer."""
    monkeypatch.setattr(keys, "curve_keypair", lambda: (PUBLIC, SECRET))
    monkeypatch.setattr(keys, "curve_public", lambda secret: PUBLIC)


def run(monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    monkeypatch.setattr(sys, "argv", ["curve_keygen", *options])
    keygen._main()


@pytest.mark.usefixtures("working")
@pytest.mark.parametrize("options", [[], ["--secret", SECRET.decode()]])
def test_keys_are_printed_under_their_names(monkeypatch: Any, capsys: Any, options: Any) -> None:
    run(monkeypatch, *options)
    assert capsys.readouterr().out == (
        f"== CURVE PUBLIC KEY ==\n{PUBLIC.decode()}\n\n== CURVE SECRET KEY ==\n{SECRET.decode()}\n"
    )


@pytest.mark.usefixtures("working")
@pytest.mark.parametrize("options", [[], ["--secret", SECRET.decode()]])
def test_keys_are_printed_as_json(monkeypatch: Any, capsys: Any, options: Any) -> None:
    run(monkeypatch, "--json", *options)
    out = capsys.readouterr().out
    assert out == f'{{\n "public": "{PUBLIC.decode()}",\n "secret": "{SECRET.decode()}"\n}}\n'
    assert json.loads(out) == {"public": PUBLIC.decode(), "secret": SECRET.decode()}


@pytest.mark.deviation
@pytest.mark.parametrize(
    ("options", "said"),
    [(["--secret", "short"], "40 byte z85"), (["--secret", " " * 40], "no Z85")],
)
def test_what_is_wrong_is_said_in_a_line(options: list[str], said: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "mqcore.curve_keygen", *options],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert said in result.stderr and len(result.stderr.splitlines()) == 1


@pytest.mark.deviation
def test_tool_says_in_a_line_that_there_is_no_curve_yet() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "mqcore.curve_keygen"], capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        "Operation not supported: curve_keypair needs CURVE, which this mqcore does not have\n"
    )


@pytest.mark.deviation
def test_keys_need_curve() -> None:
    for call in (keys.curve_keypair, lambda: keys.curve_public(SECRET)):
        with pytest.raises(zmq.ZMQError, match="needs CURVE") as caught:
            call()
        assert caught.value.errno == zmq.ENOTSUP


@pytest.mark.parametrize("wrong", [b"", b"a" * 39, "a" * 41, b"a" * 32, "é" + "a" * 39])
def test_secret_key_of_another_length_is_a_value_error(wrong: Any) -> None:
    with pytest.raises(ValueError, match="40 byte z85"):
        keys.curve_public(wrong)


@pytest.mark.parametrize("wrong", [b" " * 40, "~" * 40, "é" * 20, bytearray(40)])
def test_secret_key_of_other_characters_is_invalid(wrong: Any) -> None:
    with pytest.raises(zmq.ZMQError) as caught:
        keys.curve_public(wrong)
    assert caught.value.errno == zmq.EINVAL


@pytest.mark.parametrize("wrong", [5, None])
def test_secret_key_is_text_or_bytes(wrong: Any) -> None:
    with pytest.raises(TypeError):
        keys.curve_public(wrong)
