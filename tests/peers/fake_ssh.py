"""Stands in for the command ssh in tests: asks for a password at its terminal, and forwards by itself.

FAKE_SSH_LOG gets a line of JSON for each call; FAKE_SSH_PASSWORD is what it asks for, FAKE_SSH_HOST_KEY=unknown makes it
ask about the host first, FAKE_SSH_MASTER=1 has a master connection, FAKE_SSH_REFUSE is what it says instead of working.
"""

import json
import os
import select
import socket
import sys

TRIES = 3


def forward(listening: socket.socket, host: str, port: int, seconds: float) -> None:
    """Forwards the first connection that comes, to its end."""
    listening.settimeout(seconds)
    near, _ = listening.accept()
    far = socket.create_connection((host, port))
    ways = {near: far, far: near}
    while ways:
        for source in select.select(list(ways), [], [])[0]:
            data = source.recv(65536)
            if data:
                ways[source].sendall(data)
            else:
                try:
                    ways[source].shutdown(socket.SHUT_WR)
                except OSError:
                    pass
                del ways[source]


def ask(question: str) -> str:
    sys.stdout.write(question)
    sys.stdout.flush()
    return sys.stdin.readline().strip()


def main() -> int:
    arguments = sys.argv[1:]
    with open(os.environ["FAKE_SSH_LOG"], "a") as log:
        log.write(json.dumps([arguments, "SSH_ASKPASS" in os.environ]) + "\n")
    if "-O" in arguments:
        print("Master running (pid=4711)\r", file=sys.stderr)
        return 0 if os.environ.get("FAKE_SSH_MASTER") else 255
    password = os.environ.get("FAKE_SSH_PASSWORD")
    if "BatchMode=yes" in arguments:
        return 255 if password else 0
    if os.environ.get("FAKE_SSH_HOST_KEY") == "unknown":
        answer = ask("Are you sure you want to continue connecting (yes/no/[fingerprint])? ")
        print(f"answered {answer}")
        return 255
    for _ in range(TRIES):
        if not password or ask("me@there's password: ") == password:
            break
        print("Permission denied, please try again.")
    else:
        print("Permission denied (password).")
        return 255
    if refusal := os.environ.get("FAKE_SSH_REFUSE"):
        print(refusal)
        return 255
    near_host, near_port, host, port = arguments[arguments.index("-L") + 1].split(":")
    listening = socket.create_server((near_host, int(near_port)))
    if os.fork() == 0:
        os.setsid()
        forward(listening, host, int(port), float(arguments[-1]))
        os._exit(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
