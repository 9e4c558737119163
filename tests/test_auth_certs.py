"""Files with CURVE keys, exchanged with pyzmq."""

from __future__ import annotations

import importlib
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import zmq as reference
import zmq.auth
from peers.subject import is_ours, name

certs = importlib.import_module(f"{name}.auth.certs")
PUBLIC, SECRET = (
    b"rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7",
    b"JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6",
)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Key functions that answer, where there are none yet."""
    if is_ours:
        curve = importlib.import_module("mqcore.curve")
        monkeypatch.setattr(curve, "curve_keypair", reference.curve_keypair)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("as_path", [str, Path])
def test_files_are_written_and_read_back(tmp_path: Path, as_path: Any) -> None:
    public_file, secret_file = certs.create_certificates(as_path(tmp_path), "me")
    assert (public_file, secret_file) == (f"{tmp_path}/me.key", f"{tmp_path}/me.key_secret")
    public, secret = certs.load_certificate(as_path(secret_file))
    assert len(public) == len(secret) == 40 and type(public) is type(secret) is bytes
    assert certs.load_certificate(public_file) == (public, None)
    assert certs.load_certificates(as_path(tmp_path)) == {public: True}


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("writer", ["ours", "pyzmq"])
def test_pyzmq_and_mqcore_read_each_others_files(tmp_path: Path, writer: str) -> None:
    writes, reads = (certs, zmq.auth) if writer == "ours" else (zmq.auth, certs)
    files = writes.create_certificates(tmp_path, "me", {"name": "Jürgen", "note": "a = b"})
    for file in files:
        assert reads.load_certificate(file) == writes.load_certificate(file)
    assert reads.load_certificates(tmp_path) == writes.load_certificates(tmp_path)
    public, secret = reads.load_certificate(files[1])
    assert reference.curve_public(secret) == public


@pytest.mark.usefixtures("keys")
def test_metadata_stands_in_the_secret_file_only(tmp_path: Path) -> None:
    public_file, secret_file = certs.create_certificates(tmp_path, "me", {"name": "x", "to": "y"})
    lines = Path(secret_file).read_text().splitlines()
    body = "\n".join(line for line in lines if line and not line.startswith("#"))
    assert body.startswith("metadata\n    name = x\n    to = y\ncurve\n    public-key = ")
    assert "name" not in Path(public_file).read_text().split("metadata")[1]


@pytest.mark.deviation
@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("there_before", [False, True])
def test_secret_file_can_be_read_by_its_owner_only(tmp_path: Path, there_before: bool) -> None:
    if there_before:
        write(tmp_path / "me.key_secret", "old").chmod(0o644)
    before = os.umask(0)
    try:
        _, secret_file = certs.create_certificates(tmp_path, "me")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(secret_file).st_mode) == 0o600
    assert "old" not in Path(secret_file).read_text()


@pytest.mark.deviation
@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("value", ['x\ncurve\n    public-key = "evil"', "x\ry"])
def test_metadata_cannot_smuggle_in_a_key(tmp_path: Path, value: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        certs.create_certificates(tmp_path, "me", {"name": value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("keys")
def test_directory_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        certs.create_certificates(tmp_path / "none", "me")


@pytest.mark.deviation
def test_making_files_needs_curve(tmp_path: Path) -> None:
    error = importlib.import_module("mqcore").ZMQError
    with pytest.raises(error, match="needs CURVE"):
        certs.create_certificates(tmp_path, "me")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        'metadata\ncurve\n    public-key = "{p}"\n    secret-key = "{s}"\n',
        "curve\n  public-key = '{p}'\n  secret-key = '{s}'\n",
        "curve\n\tpublic-key={p}\n\tsecret-key={s}\n",
        '# czmq\n\ncurve\n    public-key = "{p}"\n    secret-key = "{s}"\nmetadata\n    name = "x"\n',
        'public-key = "{p}"\nsecret-key = "{s}"\n',
    ],
)
def test_files_of_other_hands_are_read(tmp_path: Path, text: str) -> None:
    file = write(
        tmp_path / "x.key", text.replace("{p}", PUBLIC.decode()).replace("{s}", SECRET.decode())
    )
    assert certs.load_certificate(file) == (PUBLIC, SECRET)


def test_key_may_have_the_characters_of_the_format(tmp_path: Path) -> None:
    file = write(tmp_path / "x.key", f'curve\n    public-key = "{"#=" * 20}"\n')
    assert certs.load_certificate(file) == (b"#=" * 20, None)


def test_key_in_the_metadata_is_none(tmp_path: Path) -> None:
    text = f'metadata\n    public-key = "x"\ncurve\n    public-key = "{PUBLIC.decode()}"\n'
    assert certs.load_certificate(write(tmp_path / "x.key", text)) == (PUBLIC, None)


@pytest.mark.parametrize(
    "text", ["", "metadata\n", 'curve\n    secret-key = "x"\n', '# public-key = "x"\n']
)
def test_file_without_a_public_key_is_a_value_error(tmp_path: Path, text: str) -> None:
    file = write(tmp_path / "x.key", text)
    for load, where in ((certs.load_certificate, file), (certs.load_certificates, tmp_path)):
        with pytest.raises(ValueError, match="No public key found"):
            load(where)


def test_what_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Invalid certificate file"):
        certs.load_certificate(tmp_path / "none.key")
    with pytest.raises(OSError, match="Invalid certificate directory"):
        certs.load_certificates(tmp_path / "none")


def test_only_public_files_of_the_directory_are_loaded(tmp_path: Path) -> None:
    assert certs.load_certificates(tmp_path) == {}
    write(tmp_path / "x.key_secret", "nonsense")
    write(tmp_path / "x.txt", "nonsense")
    write(tmp_path / "x.key", f'curve\n    public-key = "{PUBLIC.decode()}"\n')
    assert certs.load_certificates(tmp_path) == {PUBLIC: True}
