from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.subscription.domain import Subscription, SubscriptionStatus
from services.subscription.reports import Ended, PaymentFailed, Period, Renewed, Report, TrialEnding
from tests.services.subscription.examples import ACTIVE_LIFE, DAY, ENDED_LIFE, NOW, TRIAL, merged, month

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from hypothesis.strategies import SearchStrategy


@pytest.mark.parametrize(
    ("events", "status"),
    [(ENDED_LIFE, SubscriptionStatus.EXPIRED), (ACTIVE_LIFE, SubscriptionStatus.ACTIVE)],
    ids=["whole life", "still running"],
)
def test_all_orders_of_eight_events_lead_to_one_state(events: tuple[Report, ...], status: SubscriptionStatus) -> None:
    """Eight events lead to the same subscription, and so to the same status, in all 40,320 orders."""
    end = merged(TRIAL, *events)

    same = [each == end for each in ends_of_all_orders(TRIAL, events)]

    assert len(same) == math.factorial(8) == 40_320
    assert all(same)
    assert end.status(month(2).start + 9 * DAY) is status


def ends_of_all_orders(subscription: Subscription, events: tuple[Report, ...]) -> Iterator[Subscription]:
    """Yield the subscription after each order of the events. Orders with a common beginning share its work."""
    if not events:
        yield subscription
    for number, event in enumerate(events):
        yield from ends_of_all_orders(subscription.merged(event), events[:number] + events[number + 1 :])


def test_two_failures_at_one_moment_lead_to_one_state() -> None:
    """Two reports of one failure lead to the same subscription in both orders, even if only one names a retry."""
    last, retried = (PaymentFailed(NOW, NOW, retry_time) for retry_time in (None, NOW))

    assert merged(TRIAL, last, retried) == merged(TRIAL, retried, last)


def times() -> SearchStrategy[datetime]:
    """Draw one of 13 days, so that periods and failures often meet."""
    return st.integers(0, 12).map(lambda number: NOW + number * DAY)


def periods() -> SearchStrategy[Period]:
    """Draw periods that overlap, touch or contain each other."""
    return st.tuples(times(), st.integers(1, 12)).map(lambda drawn: Period(drawn[0], drawn[0] + drawn[1] * DAY))


def reports() -> SearchStrategy[Report]:
    """Draw any report of the card processor, including implausible ones."""
    return st.one_of(
        st.builds(Renewed, periods()),
        st.builds(PaymentFailed, times(), times(), st.none() | times()),
        st.builds(Ended, times()),
        st.just(TrialEnding()),
    )


@given(st.data(), st.lists(reports(), max_size=8))
def test_repeated_and_reordered_deliveries_change_nothing(data: st.DataObject, events: list[Report]) -> None:
    """Repeating and reordering any reports leads to the same subscription as delivering each once in order."""
    again = data.draw(st.lists(st.sampled_from(events), max_size=8)) if events else []
    disorder = data.draw(st.permutations([*events, *again]))

    assert merged(TRIAL, *disorder) == merged(TRIAL, *events)
