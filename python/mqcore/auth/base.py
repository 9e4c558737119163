"""The server side of ZAP 1.0 (RFC 27): who may connect, asked by the context's sockets for each connection.

An `Authenticator` holds the rules and answers one request at a time. It does not run by itself: the thread, asyncio
and ioloop modules have authenticators that do.
"""

from __future__ import annotations

import hmac
import inspect
import logging
import os
from collections.abc import Sequence
from typing import Any

from mqcore.auth.certs import load_certificates
from mqcore.constants import LINGER, REP
from mqcore.context import Context
from mqcore.error import ZMQError
from mqcore.socket import Socket
from mqcore.utils import z85

CURVE_ALLOW_ANY = "*"
"""As the location of `configure_curve`: every client may connect, whatever its key."""
VERSION = b"1.0"
"""The version of ZAP."""

_ADDRESS = "inproc://zeromq.zap.01"
_KEY_BYTES = 32


class Authenticator:
    """The rules of access of a context.

    Authenticator(context=None, encoding='utf-8', log=None): `context` is the one whose sockets ask (None: the
    process's own), `encoding` that of names and passwords, `log` a logger for decisions (None: "zmq.auth").

    First the addresses count: with `allow` only those listed pass, with `deny` all but those. Then the
    mechanism does: NULL connections are accepted, PLAIN and CURVE ones need what was configured for the domain
    of the socket that asks (its ZAP_DOMAIN; "*" if it has none), GSSAPI ones are accepted.

    The rules may be changed at any time, from any thread; they hold for the connections that come after.
    """

    context: Context[Any]
    encoding: str
    allow_any: bool
    """Whether every key of CURVE is accepted."""
    credentials_providers: dict[str, Any]
    """Objects that judge keys of CURVE, by domain. As long as there is one, `certs` do not count."""
    certs: dict[str, dict[bytes, bool]]
    """Accepted public keys of CURVE in Z85, by domain."""
    passwords: dict[str, dict[str, str]]
    """Names and passwords of PLAIN, by domain."""
    zap_socket: Any
    """The REP socket at which requests arrive; None before `start` and after `stop`."""
    log: Any

    def __init__(
        self, context: Context[Any] | None = None, encoding: str = "utf-8", log: Any = None
    ) -> None:
        self.context = Context.instance() if context is None else context
        self.encoding = encoding
        self.allow_any = False
        self.credentials_providers = {}
        self.zap_socket = None
        self._allowed: set[str] = set()
        self._denied: set[str] = set()
        self.passwords = {}
        self.certs = {}
        self.log = logging.getLogger("zmq.auth") if log is None else log

    # Its life.

    def start(self) -> None:
        """Takes the context's ZAP address. Raises ZMQError(EADDRINUSE) if another authenticator has it."""
        socket: Any = self.context.socket(REP, socket_class=Socket)  # also in an asyncio context
        try:
            socket.set(LINGER, 1)
            socket.bind(_ADDRESS)
        except BaseException:
            socket.close(linger=0)
            raise
        self.zap_socket = socket
        self.log.debug("started")

    def stop(self) -> None:
        """Gives the address back. Does nothing if the authenticator is not started."""
        socket, self.zap_socket = self.zap_socket, None
        if socket is not None:
            socket.close()

    # Rules.

    def allow(self, *addresses: str) -> None:
        """Accepts connections from these IP addresses (as text, compared exactly) and from no others.

        Raises ValueError if `deny` was used.
        """
        if self._denied:
            raise ValueError("Only use allow or deny, not both: some addresses are denied")
        self._allowed.update(addresses)
        self.log.debug("allowed: %s", ", ".join(addresses))

    def deny(self, *addresses: str) -> None:
        """Refuses connections from these IP addresses (as text, compared exactly).

        Raises ValueError if `allow` was used.
        """
        if self._allowed:
            raise ValueError("Only use allow or deny, not both: some addresses are allowed")
        self._denied.update(addresses)
        self.log.debug("denied: %s", ", ".join(addresses))

    def configure_plain(self, domain: str = "*", passwords: dict[str, str] | None = None) -> None:
        """Accepts the names in `passwords`, each with its password, in `domain` ("*": sockets without one), instead of
        those set before.

        None and an empty dict change nothing.
        """
        if passwords:
            self.passwords[domain] = passwords
        self.log.debug("PLAIN is configured for domain %r", domain)

    def configure_curve(self, domain: str = "*", location: str | os.PathLike[str] = ".") -> None:
        """Accepts the public keys in the directory `location` in `domain`, or all keys with CURVE_ALLOW_ANY.

        The files are read now: call it again after they have changed. A directory that cannot be read is only
        logged, and leaves the domain's keys as they were. Does not count while there are callbacks.
        """
        self.log.debug("CURVE is configured for domain %r from %s", domain, location)
        if location == CURVE_ALLOW_ANY:
            self.allow_any = True
            return
        self.allow_any = False
        try:
            self.certs[domain] = load_certificates(location)
        except Exception as error:
            self.log.error("CURVE certificates could not be loaded from %s: %s", location, error)

    def configure_curve_callback(self, domain: str = "*", credentials_provider: Any = None) -> None:
        """Accepts the keys in `domain` for which `credentials_provider.callback(domain, key)` is true.

        The key is public, in Z85. The callback may return an awaitable. Raises TypeError for an object
        without such a method; None is only logged, and ends CURVE_ALLOW_ANY like any other.
        """
        self.allow_any = False
        if credentials_provider is None:
            self.log.error("no credentials_provider was given for domain %r", domain)
            return
        if not callable(getattr(credentials_provider, "callback", None)):
            raise TypeError(
                "credentials_provider must have a method callback(domain, key), "
                f"which {credentials_provider!r} has not"
            )
        self.credentials_providers[domain] = credentials_provider

    def configure_gssapi(self, domain: str = "*", location: str | None = None) -> None:
        """Does nothing, whatever `domain` and `location` say: every principal of GSSAPI is accepted, and the library
        judges it by itself.
        """

    def curve_user_id(self, client_public_key: bytes) -> str:
        """Returns the User-Id of messages from a client with the key `client_public_key` (32 bytes): the key in Z85, as
        text.

        May be replaced, in a subclass or on the instance.
        """
        return z85.encode(client_public_key).decode("ascii")

    # Requests.

    async def handle_zap_message(self, msg: list[bytes]) -> None:
        """Answers the request `msg` of ZAP (RFC 27), a list of bytes: version, request id, domain, address, identity,
        mechanism, credentials.

        A request that is not well-formed is answered with 400, and logged. Raises what a callback raises, and then has
        not answered.
        """
        # Without a request id nobody can match the answer, but the socket takes no request without one.
        request_id = msg[1] if len(msg) > 1 else b""
        if len(msg) < 6:
            self.log.error("request of %d frames, but 6 are needed: %r", len(msg), msg)
            self._send_zap_reply(request_id, b"400", b"Not enough frames")
            return
        version, _, raw_domain, raw_address, identity, mechanism, *credentials = msg
        if version != VERSION:
            self.log.error("request of version %r, but %r is needed", version, VERSION)
            self._send_zap_reply(request_id, b"400", b"Invalid version")
            return
        domain, address = self._text(raw_domain) or "*", self._text(raw_address)
        self.log.debug(
            "request %r: domain %r, address %r, identity %r, mechanism %r",
            request_id,
            domain,
            address,
            identity,
            mechanism,
        )
        user_id: Any = "anonymous"
        allowed, reason = self._judge_address(address)
        if allowed:
            allowed, reason, user_id = await self._judge(mechanism, domain, credentials)
        verdict = "allowed" if allowed else "denied"
        self.log.debug(
            "%s: %r in domain %r from %r: %r", verdict, mechanism, domain, address, reason
        )
        if allowed:
            self._send_zap_reply(request_id, b"200", b"OK", user_id)
        else:
            self._send_zap_reply(request_id, b"400", reason)

    def _text(self, raw: bytes) -> str:
        """Text of a request. Bytes that are none become characters that no configured text has."""
        return raw.decode(self.encoding, "surrogateescape")

    def _judge_address(self, address: str) -> tuple[bool, bytes]:
        if self._allowed and address not in self._allowed:
            return False, b"Address not allowed"
        if address in self._denied:
            return False, b"Address denied"
        return True, b"OK"

    async def _judge(
        self, mechanism: bytes, domain: str, credentials: Sequence[bytes]
    ) -> tuple[bool, bytes, Any]:
        """Whether the credentials are accepted, the reason, and the user's id."""
        wrong = False, b"Invalid credentials", ""
        if mechanism == b"NULL":
            return True, b"OK", "anonymous"
        if mechanism == b"PLAIN":
            if len(credentials) != 2:
                return wrong
            username, password = map(self._text, credentials)
            return *self._authenticate_plain(domain, username, password), username
        if mechanism == b"CURVE":
            if len(credentials) != 1 or len(credentials[0]) != _KEY_BYTES:
                return wrong
            allowed, reason = await self._authenticate_curve(domain, credentials[0])
            return allowed, reason, self.curve_user_id(credentials[0]) if allowed else ""
        if mechanism == b"GSSAPI":
            if len(credentials) != 1:
                return wrong
            allowed, reason = self._authenticate_gssapi(domain, credentials[0])
            return allowed, reason, self._text(credentials[0])
        return False, b"NO ACCESS", ""

    def _authenticate_plain(self, domain: str, username: str, password: str) -> tuple[bool, bytes]:
        """Whether a name and a password are accepted in a domain, and the reason."""
        if not self.passwords:
            return False, b"No passwords defined"
        users = self.passwords.get(domain)
        if users is None:
            return False, b"Invalid domain"
        expected = users.get(username)
        if expected is None:
            return False, b"Invalid username"
        # Takes as long for a nearly right one as for a wrong one.
        pair = [text.encode("utf-8", "surrogateescape") for text in (expected, password)]
        return (True, b"OK") if hmac.compare_digest(*pair) else (False, b"Invalid password")

    async def _authenticate_curve(self, domain: str, client_key: bytes) -> tuple[bool, bytes]:
        """Whether a public key (32 bytes) is accepted in a domain, and the reason."""
        if self.allow_any:
            return True, b"OK"
        key = z85.encode(client_key)
        if self.credentials_providers:
            provider = self.credentials_providers.get(domain)
            if provider is None:
                return False, b"Unknown domain"
            accepted = provider.callback(domain, key)
            if inspect.isawaitable(accepted):
                accepted = await accepted
        else:
            if domain not in self.certs:
                return False, b"Unknown domain"
            accepted = self.certs[domain].get(key)
        return (True, b"OK") if accepted else (False, b"Unknown key")

    def _authenticate_gssapi(self, domain: str, principal: bytes) -> tuple[bool, bytes]:
        """Whether a principal is accepted in a domain, and the reason."""
        return True, b"OK"

    def _send_zap_reply(
        self,
        request_id: bytes,
        status_code: bytes,
        status_text: bytes,
        user_id: str | bytes | None = "anonymous",
    ) -> None:
        """Answers a request. Only an accepted one has a user id; there is no metadata."""
        user: bytes = b""
        if status_code == b"200" and user_id:
            user = (
                user_id.encode(self.encoding, "surrogateescape")
                if isinstance(user_id, str)
                else user_id
            )
        self.zap_socket.send_multipart([VERSION, request_id, status_code, status_text, user, b""])

    async def _answer(self, msg: list[bytes]) -> None:
        """Answers a request, whatever happens: a mistake in a rule refuses the connection and is logged."""
        try:
            await self.handle_zap_message(msg)
        except Exception:
            self.log.exception("a request could not be answered: %r", msg[1:6])
            try:
                request_id = msg[1] if len(msg) > 1 else b""
                self._send_zap_reply(request_id, b"500", b"Internal error")
            except (ZMQError, AttributeError):
                pass  # it was answered before the mistake, or the authenticator was stopped meanwhile


__all__ = ["Authenticator", "CURVE_ALLOW_ANY"]
