"""Changes of members' credits, each in the caller's transaction: grants, charges, returns and expiries.

The lock of a member's account guards its lots. A caller that also locks a session locks the session first. The fixed
order prevents deadlocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.payment.credits.domain import balance_of, expiring, granting, returning, spending
from services.payment.domain import entries_of_charge, entries_of_expiry, entries_of_grant
from solo60.payment.v1.payment_pb2 import ExpireCreditsRequest

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from services.payment.credits.domain import Grant, Lot
    from services.payment.domain import Payment
    from services.payment.store import Ledger
    from solo60.payment.v1.payment_pb2_grpc import PaymentServiceAsyncStub


class CreditAccounts:
    """Members' credit accounts. `payments` is a stub of this service, for the outbox calls that book expiries."""

    def __init__(self, payments: PaymentServiceAsyncStub) -> None:
        self._payments = payments

    async def grant(self, ledger: Ledger, grant: Grant, now: datetime) -> int:
        """Grant credits to a user and return the new balance."""
        lots = await self.lock(ledger, grant.user_id, now)
        transaction_id = await ledger.post(
            "grant",
            entries_of_grant(grant.user_id, grant.credits),
            now,
            reason=grant.reason,
            subscription_id=grant.subscription_id,
        )
        changes = granting(grant.expire_time, grant.credits, now)
        await ledger.lots.change(grant.user_id, transaction_id, changes)
        await self._schedule_expiry(ledger, grant.user_id)
        return balance_of(lots, now).credits + grant.credits

    async def charge(self, ledger: Ledger, payment: Payment, now: datetime) -> None:
        """Take the price of a payment in credits; raise InsufficientCredits."""
        order = payment.order
        changes = spending(await self.lock(ledger, order.user_id, now), order.price.credits)
        transaction_id = await ledger.post("charge", entries_of_charge(order), now, payment_id=payment.payment_id)
        await ledger.lots.change(order.user_id, transaction_id, changes)

    async def give_back(
        self, ledger: Ledger, payment: Payment, transaction_id: UUID, credits_returned: int, now: datetime
    ) -> None:
        """Return credits of a payment to the member's lots, as part of the given ledger transaction.

        The caller has locked the account with `lock`.
        """
        user_id, taken = payment.order.user_id, await ledger.lots.taken_by(payment.payment_id)
        await ledger.lots.change(user_id, transaction_id, returning(taken, credits_returned, now))
        await self._schedule_expiry(ledger, user_id)

    async def expire(self, ledger: Ledger, user_id: UUID, now: datetime) -> None:
        """Book the expired lots of a user, and schedule the next expiry."""
        await self.lock(ledger, user_id, now)
        await self._schedule_expiry(ledger, user_id)

    async def lock(self, ledger: Ledger, user_id: UUID, now: datetime) -> list[Lot]:
        """Lock a user's account, book its expired lots, and return the others in order of expiry."""
        valid = []
        for lot in await ledger.lots.lock(user_id):
            if lot.expire_time is None or not lot.is_expired(now):
                valid.append(lot)
                continue
            # Booked for the time of the expiry, so that a late booking does not change the account's history.
            entries = entries_of_expiry(user_id, lot.credits)
            transaction_id = await ledger.post("expiry", entries, lot.expire_time)
            await ledger.lots.change(user_id, transaction_id, expiring(lot))
        return valid

    async def _schedule_expiry(self, ledger: Ledger, user_id: UUID) -> None:
        """Replace the scheduled call of a user by one at the next expiry, if there is one."""
        expire_time = await ledger.lots.next_expire_time(user_id)
        if expire_time is None:
            return
        key = f"expiry/{user_id}"
        await ledger.cancel_later(key)
        request = ExpireCreditsRequest(user_id=str(user_id))
        await ledger.call_later(self._payments.ExpireCredits, request, at=expire_time, cancel_key=key)
