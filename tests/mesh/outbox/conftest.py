"""Fixtures of the outbox's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.mesh.outbox.post import Post
from tests.support.echo_server import echo, serve_echo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.echo_server import EchoServer

__all__ = ["echo", "serve_echo"]


@pytest.fixture
async def post(empty_database_url: str, echo: EchoServer) -> AsyncIterator[Post]:
    """Make an outbox and who gets what is put into it."""
    async with Post.on(empty_database_url, echo) as post:
        yield post
