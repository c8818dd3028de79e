"""Fixture: every service, with mail that always fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from tests.services.erasure.person import SERVICES
from tests.support.ports import free_ports
from tests.support.webhook_signing import PROCESSOR_SECRET, STANDARD_SECRET

if TYPE_CHECKING:
    from tests.support.serving import MeshForTests, Serve


@pytest.fixture
async def mesh(serve: Serve) -> MeshForTests:
    """Serve everything. Nothing listens at the mail server's address, so that every mail fails and is stored."""
    (port,) = free_ports(1)
    return await serve(
        *SERVICES.values(),
        smtp_url=SecretStr(f"smtp://127.0.0.1:{port}"),
        webhook_secrets=SecretStr(STANDARD_SECRET),
        card_processor_webhook_secrets=SecretStr(PROCESSOR_SECRET),
    )
