"""The rules of access: what an authenticator answers to requests of ZAP.

Requests are sent by hand, from a DEALER, as the engine's sockets send them.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peers.subject import name, zmq

auth = importlib.import_module(f"{name}.auth")
z85 = importlib.import_module(f"{name}.utils.z85")
base = importlib.import_module(f"{name}.auth.base")

KEY = bytes(range(32))
OTHER_KEY = bytes(32)
KEY_TEXT = z85.encode(KEY)


@pytest.fixture
def rules(context: Any) -> Any:
    rules = auth.Authenticator(context)
    rules.start()
    yield rules
    rules.stop()


@pytest.fixture
def ask(rules: Any, sockets: Any) -> Callable[..., Any]:
    """`ask(mechanism, *credentials)` gives status, text and user id of the answer."""
    asker = sockets(zmq.DEALER)
    asker.connect("inproc://zeromq.zap.01")

    def ask(
        mechanism: bytes,
        *credentials: bytes,
        domain: bytes = b"home",
        address: bytes = b"127.0.0.1",
    ) -> Any:
        request = [b"1.0", b"id", domain, address, b"peer", mechanism, *credentials]
        version, request_id, status, text, user, metadata = raw(request)
        assert (version, request_id, metadata) == (b"1.0", b"id", b"")
        return status, text, user

    def raw(request: list[bytes]) -> list[bytes]:
        asker.send_multipart([b"", *request])
        asyncio.run(rules.handle_zap_message(rules.zap_socket.recv_multipart()))
        empty, *answer = asker.recv_multipart()
        assert empty == b""
        return answer  # type: ignore[no-any-return]

    ask.raw = raw  # type: ignore[attr-defined]
    return ask


def denied(text: bytes) -> Any:
    return b"400", text, b""


ANONYMOUS = b"200", b"OK", b"anonymous"


# Its life.


def test_names_of_the_package() -> None:
    assert auth.CURVE_ALLOW_ANY == "*" and base.VERSION == b"1.0"
    assert auth.Authenticator is base.Authenticator
    for each in ("create_certificates", "load_certificate", "load_certificates"):
        assert callable(getattr(auth, each))


def test_new_authenticator_has_no_rules(context: Any) -> None:
    rules = auth.Authenticator(context)
    assert rules.context is context and rules.encoding == "utf-8" and rules.log.name == "zmq.auth"
    assert rules.allow_any is False and rules.zap_socket is None
    assert rules.credentials_providers == rules.passwords == rules.certs == {}
    rules.stop()
    log = logging.getLogger("other")
    assert auth.Authenticator(context, "latin1", log).log is log


def test_started_authenticator_has_the_zap_address(rules: Any) -> None:
    socket = rules.zap_socket
    assert (socket.type, socket.linger) == (zmq.REP, 1)
    assert socket.last_endpoint == b"inproc://zeromq.zap.01"
    rules.stop()
    assert socket.closed and rules.zap_socket is None


@pytest.mark.deviation
def test_second_start_is_refused_and_leaves_the_first_alone(rules: Any, context: Any) -> None:
    socket = rules.zap_socket
    for each in (rules, auth.Authenticator(context)):
        with pytest.raises(zmq.ZMQError) as caught:
            each.start()
        assert caught.value.errno == zmq.EADDRINUSE
    assert rules.zap_socket is socket and not socket.closed
    rules.stop()
    rules.start()


# NULL, and addresses.


def test_null_is_accepted_without_rules(ask: Any) -> None:
    assert ask(b"NULL") == ANONYMOUS
    assert ask(b"NULL", domain=b"", address=b"") == ANONYMOUS


def test_only_allowed_addresses_pass(rules: Any, ask: Any) -> None:
    rules.allow("127.0.0.1", "10.0.0.1")
    assert ask(b"NULL") == ANONYMOUS
    assert ask(b"NULL", address=b"10.0.0.2") == denied(b"Address not allowed")
    assert ask(b"PLAIN", b"u", b"p", address=b"10.0.0.2") == denied(b"Address not allowed")
    rules.allow("10.0.0.2")
    assert ask(b"NULL", address=b"10.0.0.2") == ANONYMOUS


def test_denied_addresses_do_not_pass(rules: Any, ask: Any) -> None:
    rules.deny("10.0.0.1")
    assert ask(b"NULL") == ANONYMOUS
    assert ask(b"NULL", address=b"10.0.0.1") == denied(b"Address denied")


def test_allow_and_deny_exclude_each_other(context: Any) -> None:
    for first, second in (("allow", "deny"), ("deny", "allow")):
        rules = auth.Authenticator(context)
        getattr(rules, first)("10.0.0.1")
        with pytest.raises(ValueError, match="not both"):
            getattr(rules, second)("10.0.0.2")


def test_allowed_address_is_not_enough_for_plain(rules: Any, ask: Any) -> None:
    rules.allow("127.0.0.1")
    assert ask(b"PLAIN", b"u", b"p") == denied(b"No passwords defined")


# PLAIN.


def test_plain_needs_name_and_password_of_the_domain(rules: Any, ask: Any) -> None:
    rules.configure_plain("home", {"admin": "secret"})
    assert ask(b"PLAIN", b"admin", b"secret") == (b"200", b"OK", b"admin")
    assert ask(b"PLAIN", b"admin", b"wrong") == denied(b"Invalid password")
    assert ask(b"PLAIN", b"other", b"secret") == denied(b"Invalid username")
    assert ask(b"PLAIN", b"admin", b"secret", domain=b"away") == denied(b"Invalid domain")
    assert ask(b"PLAIN", b"\xff", b"secret") == denied(b"Invalid username")


def test_sockets_without_a_domain_are_in_the_domain_of_all(rules: Any, ask: Any) -> None:
    rules.configure_plain(passwords={"admin": "secret"})
    assert ask(b"PLAIN", b"admin", b"secret", domain=b"")[0] == b"200"
    assert ask(b"PLAIN", b"admin", b"secret", domain=b"home") == denied(b"Invalid domain")


def test_passwords_of_a_domain_are_replaced_as_a_whole(rules: Any, ask: Any) -> None:
    rules.configure_plain("home", {"a": "1"})
    rules.configure_plain("home", None)
    assert ask(b"PLAIN", b"a", b"1")[0] == b"200"
    rules.configure_plain("home", {"b": "2"})
    assert ask(b"PLAIN", b"a", b"1") == denied(b"Invalid username")


def test_names_and_passwords_may_be_of_any_script(rules: Any, ask: Any) -> None:
    rules.configure_plain("home", {"jürgen": "größe"})
    assert ask(b"PLAIN", "jürgen".encode(), "größe".encode()) == (b"200", b"OK", "jürgen".encode())


@pytest.mark.parametrize("credentials", [(), (b"u",), (b"u", b"p", b"q")])
def test_plain_has_two_credentials(rules: Any, ask: Any, credentials: Any) -> None:
    rules.configure_plain("home", {"u": "p"})
    assert ask(b"PLAIN", *credentials) == denied(b"Invalid credentials")


@pytest.mark.deviation
def test_passwords_are_not_logged(rules: Any, ask: Any, caplog: Any) -> None:
    rules.configure_plain("home", {"admin": "opensesame"})
    with caplog.at_level(logging.DEBUG, "zmq.auth"):
        ask(b"PLAIN", b"admin", b"opensesame")
        ask(b"PLAIN", b"admin", b"wrongsesame")
    assert "PLAIN" in caplog.text and "sesame" not in caplog.text


# CURVE.


def test_no_key_is_known_without_rules(ask: Any) -> None:
    assert ask(b"CURVE", KEY) == denied(b"Unknown domain")


def test_every_key_may_be_accepted(rules: Any, ask: Any) -> None:
    rules.configure_curve("*", auth.CURVE_ALLOW_ANY)
    assert rules.allow_any is True
    assert ask(b"CURVE", KEY) == (b"200", b"OK", KEY_TEXT)
    assert ask(b"CURVE") == denied(b"Invalid credentials")


@pytest.mark.deviation
@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), bytes(40)])
def test_key_of_another_length_is_no_credential(rules: Any, ask: Any, key: bytes) -> None:
    rules.configure_curve("*", auth.CURVE_ALLOW_ANY)
    assert ask(b"CURVE", key) == denied(b"Invalid credentials")


def test_keys_of_a_directory_are_accepted_in_their_domain(
    rules: Any, ask: Any, tmp_path: Path
) -> None:
    (tmp_path / "a.key").write_text(f'curve\n    public-key = "{KEY_TEXT.decode()}"\n')
    rules.configure_curve("home", auth.CURVE_ALLOW_ANY)
    rules.configure_curve("home", tmp_path)
    assert rules.allow_any is False and rules.certs == {"home": {KEY_TEXT: True}}
    assert ask(b"CURVE", KEY) == (b"200", b"OK", KEY_TEXT)
    assert ask(b"CURVE", OTHER_KEY) == denied(b"Unknown key")
    assert ask(b"CURVE", KEY, domain=b"away") == denied(b"Unknown domain")
    assert ask(b"CURVE", KEY, domain=b"") == denied(b"Unknown domain")
    rules.configure_curve(location=str(tmp_path))
    assert ask(b"CURVE", KEY, domain=b"")[0] == b"200"


def test_directory_that_is_none_is_logged_and_opens_nothing(
    rules: Any, ask: Any, tmp_path: Path, caplog: Any
) -> None:
    rules.configure_curve("home", auth.CURVE_ALLOW_ANY)
    with caplog.at_level(logging.ERROR, "zmq.auth"):
        rules.configure_curve("home", tmp_path / "none")
    assert "none" in caplog.text
    assert ask(b"CURVE", KEY) == denied(b"Unknown domain")


class Provider:
    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[Any] = []

    def callback(self, domain: str, key: bytes) -> Any:
        self.asked.append((domain, key))
        return self.answer() if callable(self.answer) else self.answer


async def yes() -> bool:
    await asyncio.sleep(0)
    return True


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (True, (b"200", b"OK", KEY_TEXT)),
        (yes, (b"200", b"OK", KEY_TEXT)),
        (False, denied(b"Unknown key")),
        (None, denied(b"Unknown key")),
    ],
)
def test_callback_judges_the_keys_of_its_domain(
    rules: Any, ask: Any, answer: Any, expected: Any
) -> None:
    provider = Provider(answer)
    rules.configure_curve("*", auth.CURVE_ALLOW_ANY)
    rules.configure_curve_callback("home", provider)
    assert rules.allow_any is False
    assert ask(b"CURVE", KEY) == expected
    assert ask(b"CURVE", KEY, domain=b"away") == denied(b"Unknown domain")
    assert provider.asked == [("home", KEY_TEXT)]


def test_callbacks_count_instead_of_certificates(rules: Any, ask: Any) -> None:
    rules.certs["home"] = {KEY_TEXT: True}
    rules.configure_curve_callback("away", Provider(True))
    assert ask(b"CURVE", KEY) == denied(b"Unknown domain")
    rules.configure_curve("*", auth.CURVE_ALLOW_ANY)
    assert ask(b"CURVE", KEY)[0] == b"200"


def test_callback_of_nothing_is_logged(rules: Any, caplog: Any) -> None:
    rules.configure_curve("*", auth.CURVE_ALLOW_ANY)
    with caplog.at_level(logging.ERROR, "zmq.auth"):
        rules.configure_curve_callback("home", None)
    assert "home" in caplog.text
    assert rules.credentials_providers == {} and rules.allow_any is False


@pytest.mark.deviation
def test_object_without_a_callback_is_refused_at_once(rules: Any) -> None:
    with pytest.raises(TypeError, match="callback"):
        rules.configure_curve_callback("home", object())


@pytest.mark.parametrize(("given", "user"), [("me", b"me"), (b"me", b"me")])
def test_user_id_may_be_chosen(rules: Any, ask: Any, given: Any, user: bytes) -> None:
    rules.configure_curve("*", auth.CURVE_ALLOW_ANY)
    assert rules.curve_user_id(KEY) == KEY_TEXT.decode()
    rules.curve_user_id = lambda key: given
    assert ask(b"CURVE", KEY) == (b"200", b"OK", user)


@pytest.mark.deviation
def test_no_user_id_is_an_empty_one(rules: Any, ask: Any) -> None:
    rules.configure_curve("*", auth.CURVE_ALLOW_ANY)
    rules.curve_user_id = lambda key: None
    assert ask(b"CURVE", KEY) == (b"200", b"OK", b"")


# GSSAPI, and what is no request.


def test_every_principal_is_accepted(rules: Any, ask: Any) -> None:
    rules.configure_gssapi("home", "somewhere")
    assert ask(b"GSSAPI", b"principal") == (b"200", b"OK", b"principal")
    assert ask(b"GSSAPI") == denied(b"Invalid credentials")


@pytest.mark.deviation
def test_principal_of_any_bytes_is_the_user_id(ask: Any) -> None:
    assert ask(b"GSSAPI", b"\xff") == (b"200", b"OK", b"\xff")


def test_unknown_mechanism_is_refused(ask: Any) -> None:
    assert ask(b"NONSENSE")[0] == b"400"


@pytest.mark.parametrize("length", [2, 3, 5])
def test_request_that_is_too_short_is_refused(ask: Any, length: int) -> None:
    request = [b"1.0", b"id", b"home", b"127.0.0.1", b"peer"][:length]
    assert ask.raw(request) == [b"1.0", b"id", b"400", b"Not enough frames", b"", b""]


@pytest.mark.deviation
def test_request_without_an_id_does_not_stop_the_authenticator(ask: Any) -> None:
    assert ask.raw([b"1.0"]) == [b"1.0", b"", b"400", b"Not enough frames", b"", b""]
    assert ask(b"NULL") == ANONYMOUS


def test_request_of_another_version_is_refused(ask: Any) -> None:
    answer = ask.raw([b"1.1", b"id", b"home", b"127.0.0.1", b"peer", b"NULL"])
    assert answer == [b"1.0", b"id", b"400", b"Invalid version", b"", b""]


def test_mistake_of_a_callback_is_raised_to_who_handles_the_request(rules: Any) -> None:
    def fail() -> None:
        raise LookupError("mistake")

    rules.configure_curve_callback("home", Provider(fail))
    request = [b"1.0", b"id", b"home", b"", b"", b"CURVE", KEY]
    with pytest.raises(LookupError):
        asyncio.run(rules.handle_zap_message(request))
