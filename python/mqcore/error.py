"""Exceptions and warnings.

`ZMQError` is not an `OSError`: it carries the number in `errno` and the text in `strerror`. The text begins
with the number's own text; what mqcore knows besides follows after a colon.
"""

from __future__ import annotations

from errno import EINTR
from typing import Literal

from mqcore import _core
from mqcore.constants import Errno


class ZMQBaseError(Exception):
    """The base of the exceptions of mqcore."""


class ZMQError(ZMQBaseError):
    """A call of ZeroMQ failed: `errno` says why by a number of the system or of `mqcore.Errno`.

    ZMQError(errno=None, msg=None): without arguments it describes the error that the calling thread saw last; with a
    number that one, and `msg` is its text if it is given; `ZMQError(text)` has a text only.
    """

    errno: int | None = None
    """The error number, or None."""
    strerror: str = ""
    """The text."""

    def __init__(self, errno: int | str | None = None, msg: str | None = None) -> None:
        if isinstance(errno, str):
            self.strerror = errno
            return
        self.errno = _core.zmq_errno() if errno is None else errno
        self.strerror = _core.strerror(self.errno) if msg is None else msg

    def __str__(self) -> str:
        return self.strerror

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.strerror!r})"


class Again(ZMQError):
    """The call would have to wait, or waited as long as it was allowed to (EAGAIN).

    Again(errno="ignored", msg="ignored"): the number and the text are always the same.
    """

    # Of the class, so that a polling loop pays for nothing but the instance.
    errno: int | None = Errno.EAGAIN
    strerror: str = _core.strerror(Errno.EAGAIN)

    def __init__(self, errno: int | Literal["ignored"] = "ignored", msg: str = "ignored") -> None:
        pass


class ContextTerminated(ZMQError):
    """The socket's context was terminated (ETERM): nothing but closing the socket works.

    ContextTerminated(errno="ignored", msg="ignored"): the number and the text are always the same.
    """

    errno: int | None = Errno.ETERM
    strerror: str = _core.strerror(Errno.ETERM)

    def __init__(self, errno: int | Literal["ignored"] = "ignored", msg: str = "ignored") -> None:
        pass


class InterruptedSystemCall(ZMQError, InterruptedError):
    """A signal interrupted the call (EINTR). Calls go on by themselves, so this is never raised.

    InterruptedSystemCall(errno="ignored", msg="ignored"): the number and the text are always the same.
    """

    errno: int | None = EINTR
    strerror: str = _core.strerror(EINTR)

    def __init__(self, errno: int | Literal["ignored"] = "ignored", msg: str = "ignored") -> None:
        pass

    def __str__(self) -> str:
        return f"{self.strerror}: This call should have been retried. Please report this."


class ZMQBindError(ZMQBaseError):
    """No free port was found by `Socket.bind_to_random_port`."""


class NotDone(ZMQBaseError):
    """`MessageTracker.wait` ended before the message was released."""


class ZMQVersionError(NotImplementedError):
    """Something needs another version of ZeroMQ than there is: ZMQVersionError(min_version, msg="Feature").

    `min_version` is the version that it needs, `version` the one that there is, `msg` what it is about.
    """

    def __init__(self, min_version: str, msg: str = "Feature") -> None:
        from mqcore import zmq_version

        self.msg = msg
        self.min_version = min_version
        self.version = zmq_version()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __str__(self) -> str:
        return f"{self.msg} requires libzmq >= {self.min_version}, have {self.version}"


class DraftFDWarning(RuntimeWarning):
    """The FD of a thread-safe socket is used, which libzmq does not have. mqcore does: never issued.

    DraftFDWarning(msg=""): the text, if it shall be another one.
    """

    def __init__(self, msg: str = "") -> None:
        super().__init__(msg or "libzmq has no FD for thread-safe sockets; mqcore does")


def _check_rc(rc: int, errno: int | None = None, error_without_errno: bool = True) -> None:
    """Raises the error that the calling thread saw last (or `errno`), if `rc` is -1."""
    if rc != -1:
        return
    if errno is None:
        errno = _core.zmq_errno()
    if errno == 0 and not error_without_errno:
        return
    if errno == EINTR:
        raise InterruptedSystemCall(errno)
    if errno == Errno.EAGAIN:
        raise Again(errno)
    if errno == Errno.ETERM:
        raise ContextTerminated(errno)
    raise ZMQError(errno)


def _check_version(min_version_info: tuple[int, ...], msg: str = "Feature") -> None:
    """Raises ZMQVersionError if this is an older ZeroMQ than `min_version_info`."""
    from mqcore import zmq_version_info

    if zmq_version_info() < min_version_info:
        raise ZMQVersionError(".".join(map(str, min_version_info)), msg)


__all__ = [
    "Again",
    "ContextTerminated",
    "DraftFDWarning",
    "InterruptedSystemCall",
    "NotDone",
    "ZMQBaseError",
    "ZMQBindError",
    "ZMQError",
    "ZMQVersionError",
]
