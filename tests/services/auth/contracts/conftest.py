"""Fixture: the auth service with fake providers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.auth import app as auth
from services.auth import constant_time
from services.auth.passwords import hasher
from tests.services.auth.contracts.auth_consumer import AuthConsumer

if TYPE_CHECKING:
    from tests.support.consumers import Consume


@pytest.fixture
async def consumer(consume: Consume, monkeypatch: pytest.MonkeyPatch) -> AuthConsumer:
    """Serve the auth service, with small hashes and short slots."""
    monkeypatch.setattr(hasher, "MEMORY_KIB", 64)
    monkeypatch.setattr(constant_time, "SLOT_S", 0.001)
    return AuthConsumer(*await consume(auth.SERVICE))
