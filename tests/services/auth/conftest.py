"""Fixtures: a mesh with the auth service and every service that it calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from local.mail_sink import MailSink
from services.auth import constant_time
from services.auth.passwords import hasher
from tests.services.auth.auth_mesh import OTHERS, AuthClock, AuthMesh, auth_with

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.postgres import DatabaseFactory
    from tests.support.serving import Serve


@pytest.fixture
async def mesh(
    serve: Serve, database_url: DatabaseFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AuthMesh]:
    """Serve the auth service and those that it calls, with a mail server that stores its mails."""
    # Full hashes and full slots take most of the time of a test, and few tests are about them.
    monkeypatch.setattr(hasher, "MEMORY_KIB", 64)
    monkeypatch.setattr(constant_time, "SLOT_S", 0.001)
    folder, clock = tmp_path / "inbox", AuthClock()
    served = {service.name: service for service in (*OTHERS, auth_with(clock))}
    urls = {name: await database_url(name) for name in served}
    async with MailSink(folder, port=0) as mail_sink:
        services = await serve(
            smtp_url=SecretStr(mail_sink.url),
            rate_limit_factor=1000.0,
            database_connections=10,
            extra_scopes={"session": ["auth.verify"]},
        )
        for name, service in served.items():
            await services.start(service, urls[name])
        yield AuthMesh(services, folder, clock, served, urls)
        await services.close()
