from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InsufficientCredits
from services.payment.credits.domain import (
    GRACE_PERIOD,
    Balance,
    Lot,
    LotChanges,
    NewLot,
    balance_of,
    granting,
    returning,
    spending,
)

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)
DAY = timedelta(days=1)
LOTS = [Lot(4, 3, NOW + DAY), Lot(2, 5, NOW + 2 * DAY), Lot(9, 2, NOW + 2 * DAY), Lot(1, 7, None)]

AMOUNTS = st.lists(st.integers(1, 9), max_size=5)


def test_a_lot_counts_until_its_expiry() -> None:
    """A lot is part of the balance until the microsecond before its expiry, and no longer at its expiry."""
    lots = [Lot(1, 3, NOW), Lot(2, 4, None)]

    assert balance_of(lots, NOW - TICK) == Balance(7, NOW, 3)
    assert balance_of(lots, NOW) == Balance(4, None, 0)


def test_the_next_expiry_includes_all_lots_of_that_time() -> None:
    """The next expiry is the earliest one, with the credits of every lot that expires then."""
    assert balance_of(LOTS, NOW) == Balance(17, NOW + DAY, 3)
    assert balance_of(LOTS, NOW + DAY) == Balance(14, NOW + 2 * DAY, 7)
    assert balance_of([], NOW) == Balance(0, None, 0)


@pytest.mark.parametrize(
    ("price", "amounts"),
    [
        (2, {4: -2}),
        (3, {4: -3}),
        (9, {4: -3, 2: -5, 9: -1}),
        (17, {4: -3, 2: -5, 9: -2, 1: -7}),
    ],
)
def test_a_charge_takes_from_lots_in_order(price: int, amounts: dict[int, int]) -> None:
    """A charge empties each lot before it takes from the next, and changes no other lots."""
    assert spending(LOTS, price) == LotChanges(amounts)


def test_a_price_above_the_lots_is_rejected() -> None:
    """A price of one credit more than all lots fails with InsufficientCredits."""
    with pytest.raises(InsufficientCredits):
        spending(LOTS, 18)
    with pytest.raises(InsufficientCredits):
        spending([], 1)


def test_a_late_grant_lives_for_the_grace_period() -> None:
    """A grant at or after its expiry gets the grace period. One before it keeps its expiry, however close."""
    assert granting(NOW + TICK, 5, NOW) == LotChanges(new_lots=(NewLot(5, NOW + TICK),))
    assert granting(NOW, 5, NOW) == LotChanges(new_lots=(NewLot(5, NOW + GRACE_PERIOD),))
    assert granting(None, 5, NOW) == LotChanges(new_lots=(NewLot(5, None),))


def test_credits_return_to_their_lots() -> None:
    """A full return undoes the charge, lot by lot."""
    assert returning(LOTS, 17, NOW) == LotChanges({1: 7, 9: 2, 2: 5, 4: 3})


def test_a_part_returns_to_the_lot_that_expires_last() -> None:
    """A partial return goes to the lots that the charge took from last."""
    assert returning(LOTS, 8, NOW) == LotChanges({1: 7, 9: 1})


def test_credits_of_an_expired_lot_return_in_a_new_one() -> None:
    """The credits of each expired lot return in a lot of their own, which lives for the grace period."""
    changes = returning(LOTS, 17, NOW + DAY)

    assert changes == LotChanges({1: 7, 9: 2, 2: 5}, (NewLot(3, NOW + DAY + GRACE_PERIOD, replaces=4),))


def test_credits_without_a_lot_never_expire() -> None:
    """Credits that no lot provided return in a lot that never expires."""
    assert returning([], 3, NOW) == LotChanges(new_lots=(NewLot(3, None),))


@given(amounts=AMOUNTS, price=st.integers(1, 50), part=st.integers(1, 50))
def test_a_partial_return_equals_a_lower_price(amounts: list[int], price: int, part: int) -> None:
    """A charge with a partial return leaves the lots as a charge of the difference does."""
    lots = [Lot(number, amount, NOW + number * DAY) for number, amount in enumerate(amounts, 1)]
    price = min(price, sum(amounts))
    part = min(part, price)
    if not part:
        return
    taken = [Lot(lot.lot_id, -spending(lots, price).amounts.get(lot.lot_id, 0), lot.expire_time) for lot in lots]

    returned = returning([lot for lot in taken if lot.credits], part, NOW)

    remaining = {lot.lot_id: returned.amounts.get(lot.lot_id, 0) - lot.credits for lot in taken}
    expected = spending(lots, price - part).amounts
    assert {number: amount for number, amount in remaining.items() if amount} == expected
    assert returned.new_lots == ()
