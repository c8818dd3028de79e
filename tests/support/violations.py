"""Fields that a rejected request violates."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contracts.errors import ServiceError


def fields_of(error: ServiceError) -> list[str]:
    """Return the field of each violation in an error."""
    return [violation.field for violation in error.violations]
