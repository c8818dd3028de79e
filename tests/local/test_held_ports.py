from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import closing

import pytest

from local.held_ports import CAN_HOLD, HeldPorts, is_free
from mesh.config import SettingsError
from mesh.serving.engine import Engine, new_server
from tests.support.ports import free_ports

HOST = "127.0.0.1"
only_linux = pytest.mark.skipif(not CAN_HOLD, reason="only Linux lets a server listen on a held port")


@only_linux
async def test_a_held_port_cannot_be_bound_by_others() -> None:
    """A held port cannot be bound by another socket until it is released."""
    with closing(HeldPorts()) as ports:
        port = await ports.hold("GYM_SERVICE_URL", HOST, 0)
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind((HOST, port))

    with socket.socket() as stranger:
        stranger.bind((HOST, port))


@only_linux
@pytest.mark.parametrize("engine", ["grpcio", "native"])
async def test_our_servers_can_listen_on_a_held_port(engine: Engine) -> None:
    """Servers of both engines can listen on a held port repeatedly, so that a restarted service finds its port free."""
    with closing(HeldPorts()) as ports:
        port = await ports.hold("GYM_SERVICE_URL", HOST, 0)
        for _ in range(2):
            server = new_server(engine, [])
            assert server.add_insecure_port(f"{HOST}:{port}") == port
            await server.start()
            assert not is_free(HOST, port)
            await server.stop(0)
        assert is_free(HOST, port)


async def test_the_process_that_listens_on_a_port_is_named() -> None:
    """The error for a port in use names the id and the command of the process that listens on it."""
    [port] = free_ports(1)
    program = f"import socket; s = socket.create_server(('{HOST}', {port})); print(flush=True); input()"
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert other.stdout is not None
    await other.stdout.readline()

    with closing(HeldPorts()) as ports, pytest.raises(SettingsError) as refused:
        await ports.hold("GYM_SERVICE_URL", HOST, port)
    other.kill()
    await other.communicate()

    sentence = str(refused.value)
    assert sentence.startswith(f"GYM_SERVICE_URL: {HOST}:{port} is in use by process {other.pid} (")
    assert sentence.endswith("); stop it, or move all ports with PORT_OFFSET.")
    assert "import socket" in sentence


async def test_holding_a_port_waits_for_a_short_connection() -> None:
    """Holding a port waits for an outgoing connection that uses the port for a moment."""
    [port] = free_ports(1)
    with socket.create_server((HOST, 0)) as server, closing(HeldPorts()) as ports:
        connection = socket.create_connection(server.getsockname(), source_address=(HOST, port))
        asyncio.get_running_loop().call_later(0.3, reset_connection, connection)

        assert await ports.hold("GYM_SERVICE_URL", HOST, port) == port


async def test_a_process_with_a_lasting_connection_on_the_port_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """If an outgoing connection does not release the port, the error names its process."""
    monkeypatch.setattr("local.held_ports.RETRY_TIMEOUT_S", 0.1)
    [port] = free_ports(1)
    with (
        closing(HeldPorts()) as ports,
        socket.create_server((HOST, 0)) as server,
        socket.create_connection(server.getsockname(), source_address=(HOST, port)),
        pytest.raises(SettingsError, match=f"is in use by process {os.getpid()} "),
    ):
        await ports.hold("GYM_SERVICE_URL", HOST, port)


def reset_connection(connection: socket.socket) -> None:
    """Reset a connection, which frees its port without the usual TIME_WAIT delay."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    connection.close()
