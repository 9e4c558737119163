"""`python -m mqcore.log URL` shows the log messages of a PUBHandler, one line each, until Ctrl-C.

It subscribes; it never publishes.
"""

from __future__ import annotations

import argparse
import os
import sys
from datetime import datetime

from mqcore.constants import SUB
from mqcore.context import Context

_COLORS = {"DEBUG": 34, "INFO": 32, "WARNING": 33, "ERROR": 31, "CRITICAL": 35}
"""The terminal's colours: blue, green, yellow, red, magenta."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mqcore.log", description="Shows log messages that a PUBHandler publishes."
    )
    add = parser.add_argument
    add("zmq_pub_url", help="endpoint of the PUB socket, such as tcp://127.0.0.1:5555")
    add("-t", "--topic", default="", help="only messages whose topic begins with this text")
    add("--timestamp", action="store_true", help="print the local time before each message")
    add("--separator", default=" | ", help="text between topic and message (default: ' | ')")
    add("--dateformat", default="%Y-%m-%d %H:%M", help="strftime format for --timestamp")
    add("--align", action="store_true", help="keep the parts of the topics in columns")
    add("--color", action="store_true", help="colour the topic by its level")
    return parser


class _Printer:
    """Makes lines of messages."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.widths: list[int] = []

    def line(self, topic: str, text: str) -> str:
        shown = self._aligned(topic) if self.options.align else topic
        if self.options.color:
            for level, color in _COLORS.items():
                if level in topic.split("."):
                    shown = f"\x1b[{color}m{shown}\x1b[0m"
                    break
        time = ""
        if self.options.timestamp:
            time = datetime.now().strftime(self.options.dateformat) + " "
        return f"{time}{shown}{self.options.separator}{text}"

    def _aligned(self, topic: str) -> str:
        """The topic with each part as wide as the widest there was."""
        parts = topic.split(".")
        self.widths += [0] * (len(parts) - len(self.widths))
        for index, part in enumerate(parts):
            self.widths[index] = max(self.widths[index], len(part))
        parts += [""] * (len(self.widths) - len(parts))
        dots = [" "] + ["." if part else " " for part in parts[1:]]
        padded = [
            f"{dot}{part:{width}}"
            for dot, part, width in zip(dots, parts, self.widths, strict=True)
        ]
        return "".join(padded)[1:]


def main() -> None:
    """Runs the tool with the arguments of the command line."""
    options = _parser().parse_args()
    printer = _Printer(options)
    with Context() as context, context.socket(SUB) as socket:
        socket.linger = 0
        socket.subscribe(options.topic)
        socket.connect(options.zmq_pub_url)
        try:
            while True:
                # A message of other than two parts is none of a PUBHandler: shown as well as can be.
                parts = [part.decode("utf-8", "replace") for part in socket.recv_multipart()]
                text = " ".join(parts[1:]).strip()
                sys.stdout.write(printer.line(parts[0], text) + "\n")
                sys.stdout.flush()
        except KeyboardInterrupt:
            pass
        except BrokenPipeError:  # `| head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
