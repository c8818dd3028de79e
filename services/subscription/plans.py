"""Subscription plans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class Plan:
    """Subscription plan. `minor_units` is the monthly price in minor units of `currency`."""

    plan_id: UUID
    name: str
    currency: str
    minor_units: int
    credits_per_month: int
    trial_days: int
