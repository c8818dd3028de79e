"""Fixtures of the outbox tests."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from mesh.data.migrations import MESH_MIGRATIONS
from tests.mesh.outbox.brokered_outbox_fixture import BrokeredOutboxFixture
from tests.mesh.outbox.outbox_fixture import OutboxFixture
from tests.support.echo_server import echo, serve_echo
from tests.support.nats import nats, run_nats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.echo_server import EchoServer
    from tests.support.nats import NatsServer
    from tests.support.postgres import PostgresForTests

__all__ = ["echo", "nats", "serve_echo"]


@pytest.fixture
async def outbox(
    request: pytest.FixtureRequest,
    postgres: PostgresForTests,
    mesh_database_url: str,
    echo: EchoServer,
    tmp_path: Path,
) -> AsyncIterator[OutboxFixture]:
    """Make an outbox and its receiver. Tests marked `both_transports` also run with a broker between them."""
    if getattr(request, "param", "grpc") == "grpc":
        async with OutboxFixture.open(mesh_database_url, echo) as outbox:
            yield outbox
    else:
        async with (
            run_nats(tmp_path / "nats") as nats,
            open_brokered_outbox(postgres, mesh_database_url, echo, nats) as brokered_outbox,
        ):
            yield brokered_outbox


@pytest.fixture
async def brokered_outbox(
    postgres: PostgresForTests, mesh_database_url: str, echo: EchoServer, nats: NatsServer
) -> AsyncIterator[BrokeredOutboxFixture]:
    """Make an outbox that sends everything through `nats`."""
    async with open_brokered_outbox(postgres, mesh_database_url, echo, nats) as outbox:
        yield outbox


@asynccontextmanager
async def open_brokered_outbox(
    postgres: PostgresForTests, url: str, echo: EchoServer, nats: NatsServer
) -> AsyncIterator[BrokeredOutboxFixture]:
    """Make an outbox with a broker, with a separate database for the receiver."""
    receiver_url = await postgres.create_migrated(MESH_MIGRATIONS)
    try:
        async with BrokeredOutboxFixture.open_brokered(url, receiver_url, echo, nats.url) as outbox:
            yield outbox
    finally:
        await postgres.drop(receiver_url)
