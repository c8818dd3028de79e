"""Fixture: a member with credits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.services.payment.credits.member import Member

if TYPE_CHECKING:
    from mesh.data.database import Database


@pytest.fixture
def member(database: Database) -> Member:
    """Return a member without credits."""
    return Member(database)
