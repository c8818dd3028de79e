"""Fixtures: a mesh with the auth service and every service that it calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from local.mail_sink import MailSink
from tests.services.auth.auth_mesh import OTHERS, AuthClock, AuthMesh, auth_with

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.serving import Serve


@pytest.fixture
async def mesh(serve: Serve, tmp_path: Path) -> AsyncIterator[AuthMesh]:
    """Serve the auth service and those that it calls, with a mail server that stores its mails."""
    folder, clock = tmp_path / "inbox", AuthClock()
    async with MailSink(folder, port=0) as mail_sink:
        services = await serve(
            *OTHERS, auth_with(clock), smtp_url=SecretStr(mail_sink.url), rate_limit_factor=1000.0
        )
        yield AuthMesh(services, folder, clock)
        await services.close()
