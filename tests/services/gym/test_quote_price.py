from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from contracts.errors import (
    GymClosed,
    InvalidRequest,
)
from solo60.common.v1.period_pb2 import Period
from solo60.gym.v1.gym_pb2 import (
    OpeningHours,
    Quote,
    QuotePriceRequest,
)
from tests.services.gym.gym_requests import NOON, add_gym, period, pounds
from tests.support.violations import fields_of

if TYPE_CHECKING:
    from solo60.gym.v1.gym_pb2_grpc import GymServiceAsyncStub

FAR_FUTURE = datetime(9999, 12, 31, 12, tzinfo=UTC)


@pytest.mark.requirement("C1")
async def test_a_quote_has_the_price_and_the_rules(gyms: GymServiceAsyncStub) -> None:
    """QuotePrice returns the exact price of the period, the noise policy and whether approval is required."""
    gym = await add_gym(gyms, noise_policy="No dropped weights", requires_approval=True)

    answer = await gyms.QuotePrice(QuotePriceRequest(gym_id=gym.gym_id, period=period(minutes=75)))

    assert answer.quote == Quote(
        price=pounds(1563), credits=4, noise_policy="No dropped weights", requires_approval=True
    )


async def test_a_closed_gym_quotes_no_price(gyms: GymServiceAsyncStub) -> None:
    """QuotePrice fails with GYM_CLOSED outside the opening hours, which are local and so differ in UTC in summer."""
    gym = await add_gym(gyms, opening_hours=OpeningHours(opens_minute=360, closes_minute=1320))
    summer, winter = (period(datetime(2026, month, 14, 5, 30, tzinfo=UTC)) for month in (7, 1))

    assert (await gyms.QuotePrice(QuotePriceRequest(gym_id=gym.gym_id, period=summer))).quote.price == pounds(1250)
    with pytest.raises(GymClosed):
        await gyms.QuotePrice(QuotePriceRequest(gym_id=gym.gym_id, period=winter))


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (Period(), "period.start_time"),
        (period(minutes=0), "period"),
        (period(minutes=-60), "period"),
        (period(minutes=50), "period"),
        (period(NOON + timedelta(microseconds=1)), "period"),
        (period(minutes=12 * 60 + 15), "period"),
        (period(FAR_FUTURE), "period.start_time"),
    ],
)
async def test_an_invalid_period_names_its_field(gyms: GymServiceAsyncStub, asked: Period, field: str) -> None:
    """QuotePrice rejects a period that is incomplete, reversed, too long, off the quarter hours or out of range."""
    gym = await add_gym(gyms)

    with pytest.raises(InvalidRequest) as refusal:
        await gyms.QuotePrice(QuotePriceRequest(gym_id=gym.gym_id, period=asked))

    assert field in fields_of(refusal.value)


@pytest.mark.requirement("C3")
@pytest.mark.parametrize("seconds", [2**62, 253_402_300_800, -(2**62)])
async def test_a_timestamp_out_of_range_is_rejected(gyms: GymServiceAsyncStub, seconds: int) -> None:
    """QuotePrice rejects a timestamp outside protobuf's own range."""
    gym = await add_gym(gyms)
    asked = period()
    asked.end_time.seconds = seconds

    with pytest.raises(InvalidRequest):
        await gyms.QuotePrice(QuotePriceRequest(gym_id=gym.gym_id, period=asked))
