"""Domain of credits: lots, the order in which charges take from them, and their return."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from contracts.errors import InsufficientCredits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

# Lifetime of credits that come back, or are granted, after their expiry.
GRACE_PERIOD = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Lot:
    """Credits of a member with one expiry; `expire_time` is None if they never expire.

    `credits` are the credits that remain in the lot, or those that a charge took from it.
    """

    lot_id: int
    credits: int
    expire_time: datetime | None

    def is_expired(self, now: datetime) -> bool:
        """Return whether the lot no longer counts at `now`."""
        return self.expire_time is not None and self.expire_time <= now


@dataclass(frozen=True, slots=True)
class NewLot:
    """Lot to create. `replaces` is the expired lot whose credits come back in the new one."""

    credits: int
    expire_time: datetime | None
    replaces: int | None = None


@dataclass(frozen=True, slots=True)
class LotChanges:
    """Changes of a member's lots in one ledger transaction: amounts by id of an existing lot, and new lots."""

    amounts: dict[int, int] = field(default_factory=dict)
    new_lots: tuple[NewLot, ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """Grant of credits to a user. `expire_time` is None if they never expire."""

    user_id: UUID
    credits: int
    reason: str
    expire_time: datetime | None = None
    subscription_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Balance:
    """Available credits of a member, and the next expiry among them."""

    credits: int
    next_expire_time: datetime | None
    next_expire_credits: int


class CreditEntryKind(StrEnum):
    """Kind of a change of a balance. The values are the ledger's kinds of transactions."""

    GRANT = "grant"
    CHARGE = "charge"
    EXPIRY = "expiry"
    REFUND = "refund"
    PARTIAL_REFUND = "partial_refund"
    CREDIT_BACK = "credit_back"


@dataclass(frozen=True, slots=True)
class CreditEntry:
    """Change of a member's balance."""

    entry_id: UUID
    kind: CreditEntryKind
    credits: int
    balance_after: int
    create_time: datetime
    expire_time: datetime | None
    session_id: UUID | None
    subscription_id: UUID | None
    reason: str


def balance_of(lots: Iterable[Lot], now: datetime) -> Balance:
    """Return the balance in `lots` at `now`, without the lots that have expired."""
    valid = [lot for lot in lots if not lot.is_expired(now)]
    next_expire_time = min((lot.expire_time for lot in valid if lot.expire_time is not None), default=None)
    expiring = [lot for lot in valid if next_expire_time is not None and lot.expire_time == next_expire_time]
    return Balance(sum(lot.credits for lot in valid), next_expire_time, sum(lot.credits for lot in expiring))


def spending(lots: Sequence[Lot], price: int) -> LotChanges:
    """Return the changes that take `price` credits from lots, in their order.

    The caller passes lots that have not expired, in order of expiry. Raises InsufficientCredits.
    """
    amounts: dict[int, int] = {}
    for lot in lots:
        if taken := min(lot.credits, price):
            amounts[lot.lot_id] = -taken
            price -= taken
    if price:
        raise InsufficientCredits
    return LotChanges(amounts)


def granting(expire_time: datetime | None, credits_granted: int, now: datetime) -> LotChanges:
    """Return the new lot of a grant. After its expiry, the credits live for the grace period from `now`."""
    if expire_time is not None and expire_time <= now:
        expire_time = now + GRACE_PERIOD
    return LotChanges(new_lots=(NewLot(credits_granted, expire_time),))


def expiring(lot: Lot) -> LotChanges:
    """Return the change that empties an expired lot."""
    return LotChanges({lot.lot_id: -lot.credits})


def returning(taken: Sequence[Lot], credits_returned: int, now: datetime) -> LotChanges:
    """Return the changes that give `credits_returned` back to the lots that a charge took them from.

    `taken` are the credits of the charge that have not returned yet, in the order in which it took them. The credits
    that were taken last return first, so a partial return leaves the lots as if the price had been lower. Credits of an
    expired lot return in a new one, for the grace period. Credits without a known lot never expire: they were spent
    before there were lots, or paid by card.
    """
    amounts: dict[int, int] = {}
    new_lots = []
    for lot in reversed(taken):
        returned = replace(lot, credits=min(lot.credits, credits_returned))
        credits_returned -= returned.credits
        if returned.credits and lot.is_expired(now):
            new_lots.append(NewLot(returned.credits, now + GRACE_PERIOD, replaces=lot.lot_id))
        elif returned.credits:
            amounts[lot.lot_id] = returned.credits
    if credits_returned:
        new_lots.append(NewLot(credits_returned, None))
    return LotChanges(amounts, tuple(new_lots))
