from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pydantic import SecretStr

from services.communication.app import SERVICE
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from local.mail_sink import MailSink
    from tests.support.serving import MeshForTests, Serve

SECRET = "test-secret-of-unsubscribe-links"  # noqa: S105 - a test secret


@pytest.fixture
async def mesh(serve: Serve, mail_sink: MailSink) -> MeshForTests:
    """Run the communication service with its HTTP endpoint and unsubscribe links that lead there."""
    return await serve_with_links(serve, mail_sink)


async def serve_with_links(serve: Serve, mail_sink: MailSink, **settings: Any) -> MeshForTests:
    """Run the communication service as `mesh` does, with more settings."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    return await serve(
        SERVICE,
        smtp_url=mail_sink.url,
        http_address=address,
        unsubscribe_url=f"http://{address}/unsubscribe",
        unsubscribe_secrets=SecretStr(SECRET),
        **settings,
    )


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Return an HTTP client that ignores the proxy of the environment."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        yield client
