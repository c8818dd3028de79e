"""Requests to the gym service with default values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from solo60.common.v1.money_pb2 import Money
from solo60.common.v1.period_pb2 import Period
from solo60.gym.v1.gym_pb2 import (
    CreateGymRequest,
    Gym,
)

if TYPE_CHECKING:
    from solo60.gym.v1.gym_pb2_grpc import GymServiceAsyncStub

NOON = datetime(2026, 1, 14, 12, tzinfo=UTC)


def create_request(name: str = "Field Street Gym", **fields: Any) -> CreateGymRequest:
    """Return a request to create a gym in London at £12.50 or 3 credits an hour."""
    given = {"time_zone": "Europe/London", "credits_per_hour": 3, "price_per_hour": pounds(1250), **fields}
    return CreateGymRequest(name=name, **given)


def pounds(pence: int) -> Money:
    """Return an amount of money."""
    return Money(currency_code="GBP", minor_units=pence)


def period(start: datetime = NOON, minutes: int = 60) -> Period:
    """Return a period with this start and length."""
    message = Period()
    message.start_time.FromDatetime(start)
    message.end_time.FromDatetime(start + timedelta(minutes=minutes))
    return message


async def add_gym(gyms: GymServiceAsyncStub, name: str = "Field Street Gym", **fields: Any) -> Gym:
    """Add a gym and return it."""
    return (await gyms.CreateGym(create_request(name, **fields))).gym
