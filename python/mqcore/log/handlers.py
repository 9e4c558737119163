"""A logging handler that publishes records, and a logger that gives each a topic.

A record becomes a message of two parts: the topic `root.LEVEL.subtopic` and the text. The handler only sends;
`python -m mqcore.log` is something that receives.
"""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from mqcore import _core
from mqcore.constants import PUB
from mqcore.context import Context

if TYPE_CHECKING:
    from mqcore.socket import Socket

TOPIC_DELIM = "::"
"""What separates a record's own topic from its text: "topic::text"."""

_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
_PLACE = "%(levelname)s %(filename)s:%(lineno)d - "


def _default_formatter(level: int) -> logging.Formatter | None:
    """The format of a level unless another is set; None for levels that have none."""
    if level == logging.INFO:
        return logging.Formatter("%(message)s\n")
    if level == logging.ERROR:
        return logging.Formatter(_PLACE + "%(message)s - %(exc_info)s\n")
    if level in _LEVELS:
        return logging.Formatter(_PLACE + "%(message)s\n")
    return None


class PUBHandler(logging.Handler):
    """Publishes records over a PUB socket.

    PUBHandler(interface_or_socket, context=None, root_topic=''): a socket, or an endpoint at which a new PUB
    socket of `context` (None: of a new context) is bound. Sockets of asyncio may be given too: records are
    sent at once, from any thread.

    The topic of a record is its level's name, after `root_topic` and a dot if there is one, and before a dot
    and the record's own topic if its message has one: `log.info("cats::meow")` is published as
    `root.INFO.cats`, `meow`. Subscribers choose by the beginning of the topic.

    Closing the handler does not close the socket.
    """

    socket: Socket[Any]
    """Where records are sent."""
    ctx: Context[Any]
    """The socket's context."""
    formatters: dict[int, logging.Formatter]
    """The format of each level, by number."""

    def __init__(
        self,
        interface_or_socket: str | Socket[Any],
        context: Context[Any] | None = None,
        root_topic: str = "",
    ) -> None:
        super().__init__()
        self.root_topic = root_topic
        self.formatters = {}
        for level in _LEVELS:
            self.setFormatter(None, level)
        if isinstance(interface_or_socket, _core.Socket):
            self.socket = interface_or_socket
            self.ctx = self.socket.context
            return
        if not isinstance(interface_or_socket, (str, bytes)):
            raise TypeError(
                f"PUBHandler takes a socket or an endpoint as str, not {interface_or_socket!r}"
            )
        own = context is None
        self.ctx = Context() if context is None else context
        self.socket = self.ctx.socket(PUB)
        try:
            self.socket.bind(interface_or_socket)
        except BaseException:
            self.socket.close(linger=0)
            if own:
                self.ctx.term()
            raise

    @property
    def root_topic(self) -> str:
        """What every topic begins with; empty for nothing. Bytes are taken as UTF-8."""
        return self._root_topic

    @root_topic.setter
    def root_topic(self, value: str | bytes) -> None:
        self._root_topic = value.decode("utf-8") if isinstance(value, bytes) else value

    def setRootTopic(self, root_topic: str | bytes) -> None:
        """Makes `root_topic` (text, or bytes in UTF-8) what every topic begins with."""
        self.root_topic = root_topic

    def setFormatter(self, fmt: logging.Formatter | None, level: int = logging.NOTSET) -> None:
        """Makes `fmt` the format of records of `level`; NOTSET: of the five levels that logging has names for.

        None brings back the handler's own format; a level without one is then left without.
        """
        for each in _LEVELS if level == logging.NOTSET else (level,):
            formatter = _default_formatter(each) if fmt is None else fmt
            if formatter is None:
                self.formatters.pop(each, None)
            else:
                self.formatters[each] = formatter

    def format(self, record: logging.LogRecord) -> str:
        """Returns the text of `record`, in the format of its level. Raises KeyError if the level has none."""
        return self.formatters[record.levelno].format(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Publishes `record`, without waiting. Whatever goes wrong is given to `handleError`, and not raised."""
        try:
            topic, text = self._parts(record)
            message = [topic.encode("utf-8"), text.encode("utf-8")]
            if _is_async(self.socket):
                # The blocking method: a PUB socket never waits, and there may be no loop in this thread.
                _core.Socket.send_multipart(self.socket, message)
            else:
                self.socket.send_multipart(message)
        except Exception:
            self.handleError(record)

    def _parts(self, record: logging.LogRecord) -> tuple[str, str]:
        """The topic and the text of a record, which is left as it is: other handlers get it, too."""
        topics = [self.root_topic, record.levelname]
        record = copy.copy(record)
        if not isinstance(record.msg, str):
            record.msg = str(record.msg)
        if TOPIC_DELIM in record.msg:
            own, record.msg = record.msg.split(TOPIC_DELIM, 1)
            topics.append(own)
        return ".".join(filter(None, topics)), self.format(record)


def _is_async(socket: Any) -> bool:
    """Whether the methods of a socket give futures. The module is not imported for the question."""
    module = sys.modules.get("mqcore._future")
    return module is not None and isinstance(socket, module._AsyncSocket)


class _LogKwargs(TypedDict, total=False):
    exc_info: (
        bool
        | tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None]
        | BaseException
        | None
    )
    stack_info: bool
    stacklevel: int
    extra: Mapping[str, object] | None


class TopicLogger(logging.Logger):
    """A logger whose methods take a topic before the message: `logger.info("cats", "meow %s", 3)`.

    The record's message is "topic::message", from which a PUBHandler makes the two parts. `args` are put into the
    message by `%`; `kwargs` are those of `logging.Logger`: `exc_info`, `stack_info`, `stacklevel`, `extra`.
    """

    def log(  # type: ignore[override]
        self, level: int, topic: str, msg: object, *args: Any, **kwargs: Unpack[_LogKwargs]
    ) -> None:
        """Logs `msg % args` under `topic` at `level`, a number. Raises TypeError if that is none."""
        if not isinstance(level, int):
            raise TypeError(f"level must be an integer, not {level!r}")
        if self.isEnabledFor(level):
            self._log_topic(level, topic, msg, args, kwargs)

    def _log_topic(
        self, level: int, topic: str, msg: object, args: tuple[Any, ...], kwargs: _LogKwargs
    ) -> None:
        # The caller whom the record names is the caller of the method that called this one.
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 2
        self._log(level, f"{topic}{TOPIC_DELIM}{msg}", args, **kwargs)

    def debug(  # type: ignore[override]
        self, topic: str, msg: object, *args: Any, **kwargs: Unpack[_LogKwargs]
    ) -> None:
        """Logs `msg % args` under `topic` at the level DEBUG; see `log`."""
        if self.isEnabledFor(logging.DEBUG):
            self._log_topic(logging.DEBUG, topic, msg, args, kwargs)

    def info(  # type: ignore[override]
        self, topic: str, msg: object, *args: Any, **kwargs: Unpack[_LogKwargs]
    ) -> None:
        """Logs `msg % args` under `topic` at the level INFO; see `log`."""
        if self.isEnabledFor(logging.INFO):
            self._log_topic(logging.INFO, topic, msg, args, kwargs)

    def warning(  # type: ignore[override]
        self, topic: str, msg: object, *args: Any, **kwargs: Unpack[_LogKwargs]
    ) -> None:
        """Logs `msg % args` under `topic` at the level WARNING; see `log`."""
        if self.isEnabledFor(logging.WARNING):
            self._log_topic(logging.WARNING, topic, msg, args, kwargs)

    def error(  # type: ignore[override]
        self, topic: str, msg: object, *args: Any, **kwargs: Unpack[_LogKwargs]
    ) -> None:
        """Logs `msg % args` under `topic` at the level ERROR; see `log`."""
        if self.isEnabledFor(logging.ERROR):
            self._log_topic(logging.ERROR, topic, msg, args, kwargs)

    def exception(  # type: ignore[override]
        self, topic: str, msg: object, *args: Any, **kwargs: Unpack[_LogKwargs]
    ) -> None:
        """Logs `msg % args` under `topic` at the level ERROR, with the exception that is being handled; see `log`."""
        if self.isEnabledFor(logging.ERROR):
            kwargs.setdefault("exc_info", True)
            self._log_topic(logging.ERROR, topic, msg, args, kwargs)

    def critical(  # type: ignore[override]
        self, topic: str, msg: object, *args: Any, **kwargs: Unpack[_LogKwargs]
    ) -> None:
        """Logs `msg % args` under `topic` at the level CRITICAL; see `log`."""
        if self.isEnabledFor(logging.CRITICAL):
            self._log_topic(logging.CRITICAL, topic, msg, args, kwargs)

    warn = warning  # type: ignore[assignment]
    fatal = critical  # type: ignore[assignment]
