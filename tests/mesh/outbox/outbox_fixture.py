"""Outbox fixture: an outbox in its own database, relays on it, and an echo server as the receiver."""

from __future__ import annotations

import random
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from mesh.clock import MovableClock
from mesh.data.database import Database
from mesh.outbox.administration import OutboxAdministration
from mesh.outbox.metrics import OutboxMetrics
from mesh.outbox.relay import Relay
from mesh.outbox.store import OutboxStore
from mesh.outbox.transport import DirectTransport
from mesh.transaction import Transaction
from solo60.example.v1.events_pb2 import Heard
from tests.support.eventually import TIMEOUT_S, eventually
from tests.support.postgres import connection_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from mesh.outbox.message import OutboxMessage, Verdict
    from mesh.outbox.transport import Transport
    from tests.support.echo_server import EchoServer

# For tests of delivery, which must pass with both transports.
both_transports = pytest.mark.parametrize("outbox", ["grpc", "nats"], indirect=True)

MAKE_LEDGER = "create table ledger (number int primary key)"


class OutboxFixture:
    """Outbox with an echo server as its receiver, and a clock that only the test moves."""

    def __init__(self, url: str, database: Database, clock: MovableClock, echo: EchoServer) -> None:
        self.url = url
        self.database = database
        self.clock = clock
        self.store = OutboxStore(database)
        self.administration = OutboxAdministration(database)
        self.echo = echo
        self.registry = CollectorRegistry()
        self.metrics = OutboxMetrics(self.registry)
        channel = echo.channel()
        self.transport: Transport = DirectTransport(lambda _service: channel)

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, echo: EchoServer) -> AsyncIterator[OutboxFixture]:
        """Make the receiver's table in a database of the mesh; yield an outbox on it."""
        async with AsyncExitStack() as stack:
            clock = MovableClock()
            database = await Database.connect(url, clock=clock)
            stack.push_async_callback(database.close)
            async with database.transaction() as connection:
                await connection.execute(MAKE_LEDGER)
            yield cls(url, database, clock, echo)

    def relay(
        self, transport: Transport | None = None, seed: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> Relay:
        """Make a relay without notifications, which polls and can be woken by `make_due`."""
        rng = random.Random(seed)  # noqa: S311 - jitter, not security
        return Relay(self.store, transport or self.transport, self.metrics, rng, clock)

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Begin a transaction, committed at the end of the block."""
        return Transaction.begin(self.database)

    async def publish_event(self, text: str, place: str = "here") -> None:
        """Publish an event in its own transaction."""
        async with self.transaction() as tx:
            await tx.publish(Heard(text=text, place=place))

    @asynccontextmanager
    async def uncommitted(self, text: str, place: str = "here") -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """Publish an event in a transaction that stays open; yield the function that commits it."""
        async with connection_to(self.url) as connection:
            transaction = connection.transaction()
            await transaction.start()
            tx = Transaction(connection)  # type: ignore[arg-type]  # a connection without a pool
            await tx.publish(Heard(text=text, place=place))
            yield transaction.commit

    async def publish_settled(self, verdict: Verdict) -> OutboxMessage:
        """Publish one message, and settle it with `verdict`."""
        await self.publish_event("hi")
        ((message,),) = await self.store.claim(1)
        await self.store.settle([(message, verdict)])
        return message

    async def make_due(self, relay: Relay) -> None:
        """Make all messages that wait for another attempt due now, and wake the relay."""
        async with connection_to(self.url) as connection:
            await connection.execute(
                "update outbox set due_time = now() where status = 'pending' and lease_holder is null"
            )
        relay.wake()

    async def count(self, status: str) -> int:
        """Count the messages with this status."""
        async with connection_to(self.url) as connection:
            return int(await connection.fetchval("select count(*) from outbox where status = $1", status))

    async def lease_end(self) -> datetime | None:
        """Return the end of the only lease, or None if there is none."""
        async with connection_to(self.url) as connection:
            end: datetime | None = await connection.fetchval(
                "select due_time from outbox where lease_holder is not null"
            )
        return end

    async def is_leased(self) -> bool:
        """Return whether a message is leased."""
        return await self.lease_end() is not None

    async def until_settled(self, *, without_pauses: Relay | None = None, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until every message is delivered or dead; `without_pauses` skips the pauses between its attempts."""

        async def is_empty() -> bool:
            if without_pauses is not None:
                await self.make_due(without_pauses)
            return await self.count("pending") == 0

        await eventually(is_empty, timeout_s)

    def heard(self, place: str = "here") -> list[str]:
        """Return the texts heard in a place, without the repetitions that a receiver drops."""
        seen: dict[str, str] = {}
        for at, text, key in self.echo.servicer.heard:
            if at == place:
                seen.setdefault(key, text)
        return list(seen.values())


async def publish_many(outbox: OutboxFixture, count: int, places: int) -> None:
    """Publish numbered events to `places` places in turn."""
    async with outbox.transaction() as tx:
        for number in range(count):
            await tx.publish(Heard(text=str(number), place=f"place {number % places}"))
