"""Embedded PostgreSQL: the server stops with its owner, and its data persists."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import psutil
import pytest

from local.postgres import installation as postgres_installation
from local.postgres.role import SERVICE_ROLE
from local.postgres.server import EmbeddedPostgres, PostgresError, remove_data
from tests.support.folders import folder_for_all
from tests.support.ports import free_ports
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

OWNER = """
import asyncio, pathlib, sys
from local.postgres.server import EmbeddedPostgres

async def own():
    async with EmbeddedPostgres(pathlib.Path(sys.argv[1])) as server:
        print(server.url, flush=True)
        await asyncio.Event().wait()

asyncio.run(own())
"""


@pytest.fixture(scope="module")
def stopped_data() -> Iterator[Path]:
    """Make a database without a running server."""

    async def make(folder: Path) -> None:
        async with EmbeddedPostgres(folder, durable=False):
            pass

    with folder_for_all() as folder:
        asyncio.run(make(folder / "data"))
        yield folder / "data"


@pytest.fixture
def data_dir(reachable_folder: Path, stopped_data: Path) -> Path:
    """Copy the stopped database for one test, because making a database takes ten times as long."""
    copy = reachable_folder / "data"
    subprocess.run(["cp", "-a", stopped_data, copy], check=True)
    return copy


async def query(url: str, statement: str) -> object:
    """Run one statement on a new connection."""
    async with connection_to(url) as connection:
        return await connection.fetchval(statement)


def postmaster(data_dir: Path) -> psutil.Process:
    """Return the server process of a folder."""
    record = data_dir / "cluster" / "postmaster.pid"
    return psutil.Process(int(record.read_text().splitlines()[0]))


async def wait_until_ended(process: psutil.Process) -> None:
    """Wait for the end of a process that is not our child."""
    await asyncio.to_thread(psutil.wait_procs, [process], timeout=20)
    assert not process.is_running()


def _run_as(account: postgres_installation.Account | None) -> dict[str, Any]:
    """Return the arguments that start a process under the server's account."""
    return {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}


@asynccontextmanager
async def another_owner(data_dir: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the server under another owner process with its own process group; yield the owner."""
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(data_dir), stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert owner.stdout is not None
    assert (await owner.stdout.readline()).startswith(b"postgresql://")
    yield owner
    if owner.returncode is None:
        owner.kill()
    await owner.wait()


async def test_data_persists_across_a_restart(reachable_folder: Path) -> None:
    """Committed data is available to the next server on the same folder."""
    data_dir = reachable_folder / "data"
    async with EmbeddedPostgres(data_dir) as server:
        await query(server.url, "create table kept as select 60 as number")

    async with EmbeddedPostgres(data_dir) as server:
        assert await query(server.url, "select number from kept") == 60


async def test_the_server_is_tuned_for_many_small_services(data_dir: Path) -> None:
    """The server listens only on loopback, in UTC, for 200 connections, and is durable by default."""
    async with EmbeddedPostgres(data_dir) as server:
        settings = await query(
            server.superuser_url,
            "select array_agg(setting order by lower(name)) from pg_settings where name = any"
            "('{fsync,jit,listen_addresses,max_connections,TimeZone,unix_socket_directories}')",
        )
    assert settings == ["on", "off", "127.0.0.1", "200", "UTC", ""]


async def test_the_log_of_the_server_contains_no_row(data_dir: Path) -> None:
    """The server's log names a violated constraint without the values that violate it."""
    async with EmbeddedPostgres(data_dir, durable=False) as server:
        await query(server.url, "create table users (email text constraint one_user unique)")
        async with connection_to(server.url) as connection:
            with pytest.raises(asyncpg.UniqueViolationError, match=r"dana@example\.com"):
                await connection.executemany("insert into users values ($1)", [("dana@example.com",)] * 2)

    log = (data_dir / "server.log").read_text()

    assert "one_user" in log
    assert "dana" not in log


async def test_stopping_ends_the_server_process(data_dir: Path) -> None:
    """Stopping ends the server process, and its URL is no longer available."""
    server = EmbeddedPostgres(data_dir, durable=False)
    await server.start()
    process = postmaster(data_dir)

    await server.stop()

    assert not process.is_running()
    with pytest.raises(PostgresError, match="not started"):
        _ = server.url


async def test_killing_the_owner_stops_the_server(data_dir: Path) -> None:
    """If the owner is killed, the guardian stops PostgreSQL and then ends."""
    async with another_owner(data_dir) as owner:
        process = postmaster(data_dir)
        guardian = process.parent()
        assert guardian is not None
        owner.kill()
        await wait_until_ended(process)
        await wait_until_ended(guardian)


@pytest.mark.skipif(sys.platform != "linux", reason="only the Linux kernel does this")
async def test_killing_the_guardian_stops_the_server(data_dir: Path) -> None:
    """If only the guardian is killed, the kernel stops PostgreSQL, and the owner reports the cause and can restart."""
    async with EmbeddedPostgres(data_dir, durable=False) as server:
        process = postmaster(data_dir)
        guardian = process.parent()
        assert guardian is not None
        assert server.exit_reason() is None
        guardian.kill()
        await wait_until_ended(process)
        assert server.exit_reason() == "lost its guardian process, which was killed"

        await server.restart()

        assert server.exit_reason() is None
        assert await query(server.url, "select 1") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only the Linux kernel does this")
async def test_killing_owner_and_guardian_stops_the_server(data_dir: Path) -> None:
    """If owner and guardian are killed, the kernel stops PostgreSQL and the next start succeeds."""
    async with another_owner(data_dir) as owner:
        process = postmaster(data_dir)
        guardian = process.parent()
        assert guardian is not None
        owner.kill()
        guardian.kill()
        await wait_until_ended(process)
    async with EmbeddedPostgres(data_dir, durable=False) as server:
        assert await query(server.url, "select 1") == 1


async def test_committed_data_survives_when_all_processes_are_killed(data_dir: Path) -> None:
    """After owner, guardian and server are killed, the next start recovers the data despite the stale pid file."""
    async with another_owner(data_dir) as owner:
        process = postmaster(data_dir)
        guardian = process.parent()
        assert guardian is not None
        assert owner.stdout is not None
        port = next(c.laddr.port for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN)
        await query(
            f"postgresql://{SERVICE_ROLE}@127.0.0.1:{port}/postgres", "create table kept as select 60 as number"
        )
        for victim in (guardian, process):
            victim.suspend()
        for victim in (process, guardian):
            victim.kill()
        owner.kill()
    assert (data_dir / "cluster" / "postmaster.pid").exists()

    async with EmbeddedPostgres(data_dir, durable=False) as server:
        assert await query(server.url, "select number from kept") == 60


async def test_an_orphaned_server_is_stopped_before_a_new_one_starts(data_dir: Path) -> None:
    """An orphaned server on the same folder is stopped before a new server starts."""
    installation = postgres_installation.prepare_installation(data_dir)
    orphan = await asyncio.create_subprocess_exec(
        installation.binaries / "postgres", "-D", installation.folder / "cluster", "-p", str(free_ports(1)[0]),
        "-h", "127.0.0.1", "-k", "", cwd="/", stderr=asyncio.subprocess.PIPE, **_run_as(installation.account),
    )  # fmt: skip
    assert orphan.stderr is not None
    await orphan.stderr.readuntil(b"ready to accept connections")

    async with EmbeddedPostgres(data_dir, durable=False) as server:
        assert await query(server.url, "select 1") == 1
        assert await orphan.wait() == 0


async def test_a_stale_pid_file_does_not_harm_another_process(data_dir: Path) -> None:
    """If the pid in a stale pid file belongs to another process, that process lives on and the server starts."""
    account = postgres_installation.prepare_installation(data_dir).account
    bystander = await asyncio.create_subprocess_exec("sleep", "60", **_run_as(account))
    (data_dir / "cluster" / "postmaster.pid").write_text(f"{bystander.pid}\n{data_dir / 'cluster'}\n0\n1\n\n\n  0 0\n")

    async with EmbeddedPostgres(data_dir, durable=False) as server:
        assert await query(server.url, "select 1") == 1
    assert bystander.returncode is None
    bystander.kill()
    await bystander.wait()


async def test_ctrl_c_does_not_stop_the_server(data_dir: Path) -> None:
    """SIGINT does not stop the server, because its owner may still need it to drain. SIGTERM does."""
    async with EmbeddedPostgres(data_dir, durable=False) as server:
        guardian = postmaster(data_dir).parent()
        assert guardian is not None
        assert os.getpgid(guardian.pid) != os.getpgid(0)
        guardian.send_signal(signal.SIGINT)
        assert await query(server.url, "select 1") == 1
        guardian.send_signal(signal.SIGTERM)
        await asyncio.to_thread(guardian.wait, 20)


async def test_a_second_owner_is_rejected_in_one_sentence(data_dir: Path) -> None:
    """A second owner of a folder is rejected with the process id of the first, and the server is still running."""
    async with EmbeddedPostgres(data_dir, durable=False) as server:
        with pytest.raises(PostgresError, match=rf"process {os.getpid()} already runs PostgreSQL in") as refused:
            await EmbeddedPostgres(data_dir, durable=False).start()
        with pytest.raises(PostgresError, match="is running: stop it first"):
            remove_data(data_dir)
        assert await query(server.url, "select 1") == 1
    assert "\n" not in str(refused.value)


async def test_a_taken_port_is_named(data_dir: Path) -> None:
    """The error for a port in use names the port."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PostgresError, match=rf"port {port} on 127.0.0.1 cannot be used: Address already in use"):
            await EmbeddedPostgres(data_dir, port=port, durable=False).start()


async def test_the_error_for_a_broken_database_names_the_cause(data_dir: Path) -> None:
    """The error for a server that cannot start contains the server's last message."""
    (data_dir / "cluster" / "global" / "pg_control").unlink()

    with pytest.raises(PostgresError, match="pg_control"):
        await EmbeddedPostgres(data_dir, durable=False).start()


async def test_a_folder_with_other_content_is_left_unchanged(reachable_folder: Path) -> None:
    """A folder with other content is neither used as a database nor erased."""
    reachable_folder.joinpath("thesis.txt").write_text("42")
    with pytest.raises(PostgresError, match="choose another folder"):
        await EmbeddedPostgres(reachable_folder).start()
    with pytest.raises(PostgresError, match="choose another folder"):
        remove_data(reachable_folder)
    assert reachable_folder.joinpath("thesis.txt").read_text() == "42"
