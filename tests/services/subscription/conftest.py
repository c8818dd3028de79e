"""Fixtures: a mesh with every service around subscriptions, and the commands alone on a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from local.mail_sink import MailSink
from tests.services.subscription.stripe_mesh import proxy, stripe_mesh
from tests.services.subscription.subscription_fixture import SubscriptionFixture
from tests.services.subscription.subscription_mesh import SERVICES, SubscriptionMesh
from tests.support.ports import free_ports
from tests.support.webhook_signing import PROCESSOR_SECRET, STANDARD_SECRET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.postgres import DatabaseOpener
    from tests.support.serving import Serve

__all__ = ["proxy", "stripe_mesh"]


@pytest.fixture
async def mesh(serve: Serve, tmp_path: Path) -> AsyncIterator[SubscriptionMesh]:
    """Serve everything that a subscription needs, with a mail server that stores its mails."""
    folder = tmp_path / "inbox"
    async with MailSink(folder, port=0) as mail_sink:
        services = await serve(
            *SERVICES.values(),
            smtp_url=SecretStr(mail_sink.url),
            http_service="subscription",
            http_address=f"127.0.0.1:{free_ports(1)[0]}",
            webhook_secrets=SecretStr(STANDARD_SECRET),
            card_processor_webhook_secrets=SecretStr(PROCESSOR_SECRET),
        )
        yield SubscriptionMesh(services, folder)
        await services.close()


@pytest.fixture
async def fixture(open_database: DatabaseOpener) -> SubscriptionFixture:
    """Return commands and webhook handler on a new database, without a running service."""
    return SubscriptionFixture(await open_database("subscription"))
