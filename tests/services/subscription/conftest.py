"""Fixtures: a mesh that serves every service around subscriptions, and a harness that works on a database alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from local.mail_sink import Inbox
from tests.services.subscription.harness import SubscriptionHarness
from tests.services.subscription.signing import PROCESSOR_SECRET, STANDARD_SECRET
from tests.services.subscription.subscription_mesh import SERVICES, SubscriptionMesh

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.postgres import DatabaseOpener
    from tests.support.serving import Serve


@pytest.fixture
async def mesh(serve: Serve, tmp_path: Path) -> AsyncIterator[SubscriptionMesh]:
    """Serve everything that a subscription needs, with a mail server that stores its mails."""
    folder = tmp_path / "inbox"
    async with Inbox(folder, port=0) as inbox:
        services = await serve(
            *SERVICES.values(),
            smtp_url=SecretStr(inbox.url),
            webhook_secrets=SecretStr(STANDARD_SECRET),
            card_processor_webhook_secrets=SecretStr(PROCESSOR_SECRET),
        )
        yield SubscriptionMesh(services, folder)
        await services.close()


@pytest.fixture
async def harness(open_database: DatabaseOpener) -> SubscriptionHarness:
    """Return a harness on a database of the subscription service."""
    return SubscriptionHarness(await open_database("subscription"))
