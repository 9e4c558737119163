"""Tunnels of ssh for sockets. Needs the command `ssh` and pexpect, or paramiko; neither is imported before it is used."""

from __future__ import annotations

from mqcore.ssh import forward as forward
from mqcore.ssh import tunnel as tunnel
from mqcore.ssh.tunnel import (
    openssh_tunnel,
    paramiko_tunnel,
    ssh_tunnel,
    try_passwordless_ssh,
    tunnel_connection,
)

__all__ = [
    "openssh_tunnel",
    "paramiko_tunnel",
    "ssh_tunnel",
    "try_passwordless_ssh",
    "tunnel_connection",
]
