"""Fixtures of the outbox tests."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.mesh.outbox.brokered_post import BrokeredPost
from tests.mesh.outbox.post import Post
from tests.support.echo_server import echo, serve_echo
from tests.support.nats import nats, nats_served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.echo_server import EchoServer
    from tests.support.nats import NatsServer
    from tests.support.postgres import PostgresForTests

__all__ = ["echo", "nats", "serve_echo"]


@pytest.fixture
async def post(
    request: pytest.FixtureRequest,
    postgres: PostgresForTests,
    empty_database_url: str,
    echo: EchoServer,
    tmp_path: Path,
) -> AsyncIterator[Post]:
    """Make an outbox and its receiver. Tests marked `over_both` also run with a broker between them."""
    if getattr(request, "param", "grpc") == "grpc":
        async with Post.on(empty_database_url, echo) as post:
            yield post
    else:
        async with (
            nats_served(tmp_path / "nats") as nats,
            brokered(postgres, empty_database_url, echo, nats) as brokered_post,
        ):
            yield brokered_post


@pytest.fixture
async def brokered_post(
    postgres: PostgresForTests, empty_database_url: str, echo: EchoServer, nats: NatsServer
) -> AsyncIterator[BrokeredPost]:
    """Make an outbox that sends everything through `nats`."""
    async with brokered(postgres, empty_database_url, echo, nats) as post:
        yield post


@asynccontextmanager
async def brokered(
    postgres: PostgresForTests, url: str, echo: EchoServer, nats: NatsServer
) -> AsyncIterator[BrokeredPost]:
    """Make a post through a broker, with a separate database for the receiver."""
    receiver_url = await postgres.create()
    try:
        async with BrokeredPost.between(url, receiver_url, echo, nats.url) as post:
            yield post
    finally:
        await postgres.drop(receiver_url)
