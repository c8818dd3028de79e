"""Fixture: the user service with fake providers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.user import app as user
from tests.services.user.contracts.user_consumer import UserConsumer

if TYPE_CHECKING:
    from tests.support.consumers import Consume


@pytest.fixture
async def consumer(consume: Consume) -> UserConsumer:
    """Serve the user service."""
    return UserConsumer(*await consume(user.SERVICE))
