"""Tunnels by the command `ssh`, steered by pexpect where it asks for a password.

pexpect is imported when a tunnel is wanted. Nothing is asked of a shell.
"""

from __future__ import annotations

import atexit
import os
import re
import subprocess
import sys
from getpass import getpass

from mqcore.ssh.server import _import, parse_server

_password_pat = re.compile(rb"pass(?:word|phrase)[^\r\n]*:\s*$", re.IGNORECASE)
_host_key_pat = re.compile(rb"continue connecting \(yes/no[^\r\n]*$", re.IGNORECASE)


def _ssh_command(server: str, keyfile: str | None = None) -> tuple[list[str], str]:
    """The command `ssh` with what says where to, and the name of the server for its end."""
    user, host, port = parse_server(server)
    command = ["ssh"]
    if keyfile:
        command += ["-i", keyfile]
    if port is not None:
        command += ["-p", str(port)]
    return command, host if user is None else f"{user}@{host}"


def _ssh_environment() -> dict[str, str]:
    """The environment in which ssh asks at its terminal, which pexpect reads, and not by a window."""
    return {name: value for name, value in os.environ.items() if name != "SSH_ASKPASS"}


def _try_passwordless_openssh(server: str, keyfile: str | None) -> bool:
    _import(
        "pexpect", "a tunnel by the command ssh"
    )  # rather now than when there shall be a tunnel
    command, target = _ssh_command(server, keyfile)
    done = subprocess.run(
        [*command, "-o", "BatchMode=yes", target, "exit"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode == 0


def openssh_tunnel(
    lport: int,
    rport: int,
    server: str,
    remoteip: str = "127.0.0.1",
    keyfile: str | None = None,
    password: str | None = None,
    timeout: int = 60,
) -> int:
    """Has `ssh` forward 127.0.0.1:`lport` here to `remoteip`:`rport` as `server` sees it.

    `server` is [user@]host[:port]; `keyfile` a private key; `password` what is said if ssh asks for a password or the
    phrase of a key, and without it (or if it is rejected) the user is asked. The tunnel waits `timeout` seconds for its
    first connection, and then ends with its last one. Where a master connection to the server is open (ssh's
    ControlMaster), that one forwards, until this program ends.

    Returns the number of the process that was started, or of the master. Raises ImportError without pexpect, and
    RuntimeError if ssh fails, with what it said.
    """
    pexpect = _import("pexpect", "a tunnel by the command ssh")
    command, target = _ssh_command(server, keyfile)
    ends = f"127.0.0.1:{lport}:{remoteip}:{rport}"
    master = _forward_by_master(command, target, ends)
    if master is not None:
        return master
    # "-f": in the background when the password is accepted. "-S none": on no master, which might end before us.
    command += ["-f", "-S", "none", "-o", "ExitOnForwardFailure=yes", "-L", ends, target]
    command += ["sleep", str(timeout)]
    child = pexpect.spawn(command[0], command[1:], env=_ssh_environment())
    said = b""
    rejected = False
    try:
        while True:
            which = child.expect(
                [_password_pat, _host_key_pat, pexpect.EOF, pexpect.TIMEOUT], timeout=0.1
            )
            if which != 3:
                said += child.before + (b"" if which == 2 else child.after)
            if which == 0:
                if rejected:
                    print(f"{target} does not take this password", file=sys.stderr)
                    password = None
                child.sendline(password or getpass(f"{server}'s password: "))
                rejected = True
            elif which == 1:
                raise RuntimeError(
                    f"the tunnel {' '.join(command)!r} was not opened: ssh does not know the key of this host "
                    "yet; connect to it once by hand, or add it to known_hosts"
                )
            elif which == 2 or not child.isalive():
                break
    finally:
        child.close(force=True)
    if child.exitstatus:
        told = said.decode(errors="replace").strip()
        raise RuntimeError(f"the tunnel {' '.join(command)!r} was not opened: {told}")
    return int(child.pid)


ssh_tunnel = openssh_tunnel


def _forward_by_master(command: list[str], target: str, ends: str) -> int | None:
    """The number of the master that forwards, or None if there is none. Raises RuntimeError if it refuses."""

    def ask(*request: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *request, target],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    there = ask("-O", "check")
    if there.returncode:
        return None
    done = ask("-O", "forward", "-L", ends)
    if done.returncode:
        raise RuntimeError(
            f"the master connection to {target} does not forward {ends}: {done.stderr.strip()}"
        )
    atexit.register(_stop_tunnel, [*command, "-O", "cancel", "-L", ends, target])
    number = re.search(r"pid=(\d+)", there.stderr + there.stdout)
    return int(number[1]) if number else 0


def _stop_tunnel(cmd: list[str]) -> None:
    """Has a master forward no longer; nobody is there to be told if it is gone."""
    subprocess.run(
        cmd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )


__all__ = ["openssh_tunnel"]
