"""Held ports: a mesh owns the ports that it will listen on from its first look at them until it ends.

The default ports are in the range from which Linux takes ports for outgoing connections. Without a hold, any connection
could take one between the check and the moment when a service listens, or while a service restarts.
"""

from __future__ import annotations

import asyncio
import errno
import shlex
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass

import psutil

from mesh.config import SettingsError

# A port that an outgoing connection has is free again soon; one that a server listens on is not.
RETRY_PATIENCE_S = 5.0
RETRY_INTERVAL_S = 0.1
LONGEST_COMMAND = 80
# Linux lets a server listen on a port that is bound but not listened on, where both ask for SO_REUSEADDR. Elsewhere the
# server would be refused, so there a port is only looked at.
CAN_HOLD = sys.platform == "linux"


@dataclass(frozen=True, slots=True)
class PortUser:
    """The process that has a port; `pid` is None where the system does not tell, as of another account's process."""

    pid: int | None
    command: str
    listens: bool

    def __str__(self) -> str:
        return "another process" if self.pid is None else f"process {self.pid} ({self.command})"


class HeldPorts:
    """Ports that no other process gets by chance while they are held; `close` gives them back."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    async def hold(self, setting: str, host: str, port: int) -> int:
        """Hold a port for a server of ours, a free one for port 0, and return it.

        Raises SettingsError with the name of `setting`: when a server listens on the port, when the port is still
        taken after 5 s, or when the address is not of this machine.
        """
        give_up_at = time.monotonic() + RETRY_PATIENCE_S
        while True:
            try:
                return self._bind(host, port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise SettingsError(f"{setting}: {host}:{port} is not an address of this machine.") from None
            user = await asyncio.to_thread(user_of_port, port)
            if user.listens or time.monotonic() > give_up_at:
                raise SettingsError(
                    f"{setting}: {host}:{port} is in use by {user}; stop it, or move all ports with PORT_OFFSET."
                )
            await asyncio.sleep(RETRY_INTERVAL_S)

    def close(self) -> None:
        """Give all ports back."""
        for each in self._sockets:
            each.close()
        self._sockets.clear()

    def _bind(self, host: str, port: int) -> int:
        bound = _bound(host, port)
        if CAN_HOLD:
            self._sockets.append(bound)
            return int(bound.getsockname()[1])
        with bound:
            return int(bound.getsockname()[1])


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen on a port; one that is only held for it is free."""
    try:
        _bound(host, port).close()
    except OSError:
        return False
    return True


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def user_of_port(port: int) -> PortUser:
    """Return the process that has a TCP port of this machine, the one that listens where there are several."""
    found = [each for each in _connections() if each.laddr and each.laddr.port == port]
    found.sort(key=lambda each: each.status != psutil.CONN_LISTEN)
    if not found:
        return PortUser(None, "", listens=False)
    listens = found[0].status == psutil.CONN_LISTEN
    pid = found[0].pid
    return PortUser(pid, _command_of(pid) if pid else "", listens)


def _connections() -> list[psutil._ntuples.sconn]:
    with suppress(psutil.Error, OSError):  # macOS shows connections to root alone
        return psutil.net_connections("tcp")
    return []


def _command_of(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        command = shlex.join(process.cmdline()) or process.name()
    except psutil.Error:
        return "ended just now"
    return command if len(command) <= LONGEST_COMMAND else command[: LONGEST_COMMAND - 3] + "..."
