"""Fixtures: a club that serves every service around subscriptions, and an office that works on a database alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from local.inbox import Inbox
from tests.services.subscription.club import SERVICES, Club
from tests.services.subscription.office import Office
from tests.services.subscription.signing import PROCESSOR_SECRET, STANDARD_SECRET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.postgres import DatabaseOpener
    from tests.support.serving import Serve


@pytest.fixture
async def club(serve: Serve, tmp_path: Path) -> AsyncIterator[Club]:
    """Serve everything that a subscription needs, with a mail server that stores its mails."""
    folder = tmp_path / "inbox"
    async with Inbox(folder, port=0) as inbox:
        mesh = await serve(
            *SERVICES.values(),
            smtp_url=SecretStr(inbox.url),
            webhook_secrets=SecretStr(STANDARD_SECRET),
            card_processor_webhook_secrets=SecretStr(PROCESSOR_SECRET),
        )
        yield Club(mesh, folder)
        await mesh.close()


@pytest.fixture
async def office(open_database: DatabaseOpener) -> Office:
    """Return an office on a database of the subscription service."""
    return Office(await open_database("subscription"))
