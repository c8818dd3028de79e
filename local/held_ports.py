"""Reservation of all ports that a mesh uses, from the first check until the mesh ends.

The default ports are in the range that Linux uses for outgoing connections. Without a hold, such a connection could
take a port between the check and the start of a service, or while a service restarts.
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

# A port of an outgoing connection is free again soon; a port of a listening server is not.
RETRY_TIMEOUT_S = 5.0
RETRY_INTERVAL_S = 0.1
MAX_COMMAND_LENGTH = 80
# On Linux, a server can listen on a port that another socket only binds, if both set SO_REUSEADDR. Other systems would
# reject the server, so there a port is only checked.
CAN_HOLD = sys.platform == "linux"


@dataclass(frozen=True, slots=True)
class PortUser:
    """Process that uses a port; `pid` is None if unknown, for example for a process of another account."""

    pid: int | None
    command: str
    listens: bool

    def __str__(self) -> str:
        return "another process" if self.pid is None else f"process {self.pid} ({self.command})"


class HeldPorts:
    """Set of ports that other processes cannot take by chance, until `close`."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        # The setting of each held address.
        self._settings: dict[tuple[str, int], str] = {}

    async def hold(self, setting: str, host: str, port: int) -> int:
        """Hold a port for a server of the mesh and return it; port 0 selects a free one.

        Raises SettingsError, which names `setting`, if a server listens on the port or the port is still taken after
        5 s. Raises it also if the port is held for another setting, or if the address does not belong to this machine.
        """
        give_up_at = time.monotonic() + RETRY_TIMEOUT_S
        while True:
            try:
                address = self._bind(host, port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise SettingsError(
                        f"{setting}: {host}:{port} is not an address of this machine. Use one, such as 127.0.0.1."
                    ) from None
            else:
                other = self._settings.setdefault(address, setting)
                if other != setting:
                    raise SettingsError(f"{setting}: {host}:{port} is also set in {other}; each needs its own port.")
                return address[1]
            user = await asyncio.to_thread(user_of_port, port)
            if user.listens or time.monotonic() > give_up_at:
                raise SettingsError(
                    f"{setting}: {host}:{port} is in use by {user}; stop it, or move all ports with PORT_OFFSET."
                )
            await asyncio.sleep(RETRY_INTERVAL_S)

    def close(self) -> None:
        """Release all ports."""
        for each in self._sockets:
            each.close()
        self._sockets.clear()
        self._settings.clear()

    def _bind(self, host: str, port: int) -> tuple[str, int]:
        """Bind an address, hold it if possible, and return it with the numbers of host and port."""
        bound = _bound(host, port)
        address = bound.getsockname()
        if CAN_HOLD:
            self._sockets.append(bound)
        else:
            bound.close()
        return str(address[0]), int(address[1])


def is_free(host: str, port: int) -> bool:
    """Return whether a server can listen on a port; a port that is only held is free."""
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
    """Return the process that uses a TCP port of this machine, preferably one that listens on it."""
    found = [each for each in _connections() if each.laddr and each.laddr.port == port]
    found.sort(key=lambda each: each.status != psutil.CONN_LISTEN)
    if not found:
        return PortUser(None, "", listens=False)
    listens = found[0].status == psutil.CONN_LISTEN
    pid = found[0].pid
    return PortUser(pid, _command_of(pid) if pid else "", listens)


def _connections() -> list[psutil._ntuples.sconn]:
    with suppress(psutil.Error, OSError):  # macOS shows connections only to root
        return psutil.net_connections("tcp")
    return []


def _command_of(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        command = shlex.join(process.cmdline()) or process.name()
    except psutil.Error:
        return "ended just now"
    return command if len(command) <= MAX_COMMAND_LENGTH else command[: MAX_COMMAND_LENGTH - 3] + "..."
