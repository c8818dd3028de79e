"""The two stacks under load: the mesh on either engine, and the plain FastAPI version, on the same PostgreSQL."""

from __future__ import annotations

import asyncio
import sys
import uuid
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import asyncpg
import psutil
from pydantic import SecretStr

from bench.booking.load import MeshBooker, PlainBooker
from contracts.services import SERVICE_NAMES
from local.keys import OPERATOR
from local.mail_sink import MailSink
from local.postgres.server import EmbeddedPostgres
from local.service_databases import database_url_of, migrate_all
from local.supervisor import Mesh
from mesh.config import Settings, child_environment
from mesh.data.database import Database
from mesh.serving.channel import Channels
from mesh.serving.keyring_file import own_key
from services.payment.credits.accounts import CreditAccounts
from services.payment.credits.domain import Grant
from services.payment.store import PaymentStore
from solo60.session.v1.session_pb2_grpc import SessionServiceStub
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from bench.booking.load import Booker
    from mesh.setting_types import EngineName
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub

SERVICES = ("user", "gym", "payment", "communication", "session")
GYMS = 40
USERS = 200
CREDITS = 1_000_000
START_TIMEOUT_S = 30.0
# The benchmark's credits never expire, so no expiry is scheduled by a call of this stub.
ACCOUNTS = CreditAccounts(cast("PaymentServiceAsyncStub", None))

_ADD_USERS = """
    insert into users (email, display_name, roles, state, email_confirmed, time_zone, create_time, update_time)
    select 'member-' || n || '@solo60.example', 'Member ' || n, '{ROLE_MEMBER}', 'USER_STATE_ACTIVE', true,
        'Europe/London', now(), now()
    from generate_series(1, $1) as n returning user_id
"""
_ADD_GYMS = """
    insert into gyms (name, time_zone, currency_code, minor_units_per_hour, credits_per_hour, noise_policy,
                      opens_minute, closes_minute, requires_approval, create_time, update_time)
    select 'Gym ' || n, 'Europe/London', 'GBP', 1250, 10, '', 0, 1440, false, now(), now()
    from generate_series(1, $1) as n returning gym_id
"""


@dataclass(frozen=True, slots=True)
class Stack:
    """Running stack: its client, its members and gyms, and the processes that serve it."""

    booker: Booker
    user_ids: Sequence[uuid.UUID]
    gym_ids: Sequence[uuid.UUID]
    server_url: str
    processes: dict[str, psutil.Process]

    async def mails(self) -> int:
        """Return the number of mails that the communication service has stored."""
        connection = await asyncpg.connect(database_url_of(self.server_url, "communication"))
        try:
            return int(await connection.fetchval("select count(*) from messages"))
        finally:
            await connection.close()

    def cpu_s(self) -> dict[str, float]:
        """Return the processor time of each part so far, in seconds."""
        return {name: _cpu_s(process) for name, process in self.processes.items()}


@asynccontextmanager
async def mesh_stack(folder: Path, engine: EngineName, sampled: float) -> AsyncIterator[Stack]:
    """Start the whole mesh with its settings for production: `sampled` is the share of recorded traces."""
    smtp_port, *ports = free_ports(1 + len(SERVICE_NAMES))
    urls = {f"{name}_service_url": f"127.0.0.1:{port}" for name, port in zip(SERVICE_NAMES, ports, strict=True)}
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]  # pydantic-settings accepts it
        data_dir=folder,
        smtp_url=SecretStr(f"smtp://127.0.0.1:{smtp_port}"),
        engine=engine,
        trace_sample_ratio=sampled,
        log_requests=False,
        reflection_open=False,
        strict_contracts=False,
        **urls,  # type: ignore[arg-type]  # fields of the settings
    )
    async with Mesh(settings) as mesh:
        own = settings.model_copy(update={"service_api_key_file": settings.key_path_of(OPERATOR)})
        channels = Channels(own, own_key(own))
        try:
            users, gyms = await fill(mesh.server_url)
            booker = MeshBooker(channels.stub(SessionServiceStub))
            yield Stack(booker, users, gyms, mesh.server_url, processes_of_parts())
        finally:
            await channels.close()


@asynccontextmanager
async def plain_stack(folder: Path) -> AsyncIterator[Stack]:
    """Start the plain version: five uvicorn processes, PostgreSQL and a mail sink."""
    key = uuid.uuid4().hex
    async with AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(EmbeddedPostgres(folder / "postgres"))
        sink = await stack.enter_async_context(MailSink(folder / "inbox", port=0))
        await migrate_all(Settings(_env_file=None), postgres.url)  # type: ignore[call-arg]  # as above
        urls = {name: f"http://127.0.0.1:{port}" for name, port in zip(SERVICES, free_ports(5), strict=True)}
        for name in SERVICES:
            settings = {
                "database_url": database_url_of(postgres.url, name),
                "api_key": key,
                "smtp_url": sink.url,
                **{f"{other}_url": url for other, url in urls.items()},
            }
            await stack.enter_async_context(_plain_service(name, urls[name], settings))
        users, gyms = await fill(postgres.url)
        yield Stack(PlainBooker(urls["session"], key), users, gyms, postgres.url, processes_of_parts())


def processes_of_parts() -> dict[str, psutil.Process]:
    """Return the child processes of this process that serve a part, by the part's name."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a process that has just ended
            if part := _part_of(process):
                found[part] = process
    return found


def _part_of(process: psutil.Process) -> str | None:
    command = process.cmdline()
    if command and command[0].endswith("postgres"):
        return "postgresql"
    words = " ".join(command[:6])
    return next((name for name in SERVICES if f"services.{name}" in words or f"plain.{name}:make" in words), None)


async def fill(server_url: str) -> tuple[list[uuid.UUID], list[uuid.UUID]]:
    """Add members with credits, and gyms; return their ids."""
    users = await _fetch_ids(database_url_of(server_url, "user"), _ADD_USERS, USERS)
    gyms = await _fetch_ids(database_url_of(server_url, "gym"), _ADD_GYMS, GYMS)
    database = await Database.connect(
        database_url_of(server_url, "payment"), max_connections=1, remaining_s=lambda: None
    )
    store = PaymentStore(database)
    for user_id in users:
        async with store.transaction() as ledger:
            await ACCOUNTS.grant(ledger, Grant(user_id, CREDITS, "benchmark"), datetime.now(UTC))
    await database.close()
    return users, gyms


async def _fetch_ids(url: str, statement: str, count: int) -> list[uuid.UUID]:
    connection = await asyncpg.connect(url)
    try:
        return [uuid.UUID(str(row[0])) for row in await connection.fetch(statement, count)]
    finally:
        await connection.close()


@asynccontextmanager
async def _plain_service(name: str, url: str, settings: Mapping[str, object]) -> AsyncIterator[None]:
    """Run one plain service with uvicorn until the context ends."""
    port = url.rpartition(":")[2]
    command = ["uvicorn", "--factory", f"bench.booking.plain.{name}:make", "--port", port, "--log-level", "warning"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *command, "--no-access-log", env=child_environment(**settings)
    )
    try:
        await _wait_until_listening(int(port))
        yield
    finally:
        process.terminate()
        await process.wait()


async def _wait_until_listening(port: int) -> None:
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


def _cpu_s(process: psutil.Process) -> float:
    """Return the processor time of a process and its children, in seconds, including children that have ended."""
    own = process.cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a process that has just ended
            times = child.cpu_times()
            total += times.user + times.system
    return total
