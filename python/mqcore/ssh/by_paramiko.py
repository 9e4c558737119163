"""Tunnels by paramiko, each in a process of its own. paramiko is imported when a tunnel is wanted."""

from __future__ import annotations

import os
from getpass import getpass
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from typing import Any

from mqcore.ssh import forward
from mqcore.ssh.server import _import, _split_server


def _host_key_policy(paramiko: Any) -> Any:
    """What to do with the key of an unknown host; what the policy refuses is marked as refused."""
    name = os.environ.get("PYZMQ_PARAMIKO_HOST_KEY_POLICY") or "Reject"
    policy: Any = getattr(paramiko, f"{name}Policy", None)
    if policy is None:
        raise ValueError(
            f"PYZMQ_PARAMIKO_HOST_KEY_POLICY is {name!r}: it may be AutoAdd, Reject or Warning"
        )

    class Marking(policy):  # type: ignore[misc]
        def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
            try:
                super().missing_host_key(client, hostname, key)
            except paramiko.SSHException:
                client.mqcore_refused_host = True
                raise

    return Marking()


def _connect_paramiko(
    server: str, keyfile: str | None, password: str | None, timeout: float | None = None
) -> Any:
    """A connected client. Raises paramiko.AuthenticationException if the server does not let us in, other exceptions
    of paramiko if there is no server, or it is not the one that is known."""
    paramiko = _import("paramiko", "a tunnel by paramiko")
    user, host, port = _split_server(server)
    client = paramiko.SSHClient()
    client.load_system_host_keys()
    known_hosts = os.path.expanduser("~/.ssh/known_hosts")
    if os.path.exists(known_hosts):
        client.load_host_keys(known_hosts)  # then AutoAdd adds to it, and a changed key is noticed
    client.set_missing_host_key_policy(_host_key_policy(paramiko))
    try:
        client.connect(
            host,
            port,
            username=user,
            key_filename=keyfile,
            look_for_keys=True,
            password=password,
            timeout=timeout,
        )
    except paramiko.SSHException as error:
        # Where no key fits, paramiko raises what it found wrong with the last kind of key that it tried.
        transport = client.get_transport()
        authenticating = transport is not None and transport.is_active()
        refused_host = hasattr(client, "mqcore_refused_host")
        client.close()
        if authenticating and not refused_host and type(error) is paramiko.SSHException:
            raise paramiko.AuthenticationException(str(error)) from error
        raise
    except BaseException:
        client.close()
        raise
    return client


def _try_passwordless_paramiko(server: str, keyfile: str | None) -> bool:
    paramiko = _import("paramiko", "a tunnel by paramiko")
    try:
        client = _connect_paramiko(server, keyfile, None)
    except paramiko.AuthenticationException:
        return False
    client.close()
    return True


def paramiko_tunnel(
    lport: int,
    rport: int,
    server: str,
    remoteip: str = "127.0.0.1",
    keyfile: str | None = None,
    password: str | None = None,
    timeout: int = 60,
) -> Process:
    """Has a process with paramiko forward 127.0.0.1:`lport` here to `remoteip`:`rport` as `server` sees it.

    `server`, `keyfile` and `password` are those of `openssh_tunnel`. `timeout` is how many seconds connecting may take.
    PYZMQ_PARAMIKO_HOST_KEY_POLICY in the environment says what to do with the key of an unknown host: AutoAdd, Warning,
    or Reject, which is the default.

    Returns the process, which ends with this program or by `terminate()`. Raises ImportError without paramiko, and
    RuntimeError if the tunnel cannot be opened.
    """
    _import("paramiko", "a tunnel by paramiko")
    if not password and not _try_passwordless_paramiko(server, keyfile):
        password = getpass(f"{server}'s password: ")
    here, there = Pipe(duplex=False)
    process = Process(
        target=_paramiko_tunnel,
        args=(lport, rport, server, remoteip),
        kwargs={"keyfile": keyfile, "password": password or None, "timeout": timeout}
        | {"report": there},
        daemon=True,
    )
    process.start()
    there.close()
    with here:
        try:
            trouble = here.recv() if here.poll(timeout + 10) else "no answer in time"
        except EOFError:
            trouble = "the process of the tunnel ended at once"
    if trouble:
        process.terminate()
        process.join()
        raise RuntimeError(f"the tunnel through {server!r} was not opened: {trouble}")
    return process


def _paramiko_tunnel(
    lport: int,
    rport: int,
    server: str,
    remoteip: str,
    keyfile: str | None = None,
    password: str | None = None,
    *,
    timeout: float | None = None,
    report: Connection | None = None,
) -> None:
    """What the process does. To `report` it sends '' when connections can come, or what went wrong."""
    try:
        client = _connect_paramiko(server, keyfile, password, timeout)
        host = remoteip.strip("[]")  # an IPv6 address as it stands in an endpoint
        listening = forward._open_server(lport, host, rport, client.get_transport())
    except Exception as error:
        if report is None:
            raise
        report.send(f"{type(error).__name__}: {error}")
        raise SystemExit(255) from None
    if report is not None:
        report.send("")
        report.close()
    try:
        forward._serve(listening)
    except KeyboardInterrupt:
        pass  # Ctrl-C goes to all processes of a terminal: this one is no longer needed
    finally:
        client.close()


__all__ = ["paramiko_tunnel"]
