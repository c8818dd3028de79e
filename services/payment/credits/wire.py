"""Conversion between protobuf messages and the domain of credits.

`parse_` functions return domain values, `render_` functions return messages.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING
from uuid import UUID

from services.payment.credits.domain import CreditEntryKind, Grant
from solo60.payment.v1 import payment_pb2 as pb

if TYPE_CHECKING:
    from services.payment.credits.domain import Balance, CreditEntry

_KINDS: dict[CreditEntryKind, pb.CreditEntryKind.ValueType] = {
    CreditEntryKind.GRANT: pb.CREDIT_ENTRY_KIND_ISSUE,
    CreditEntryKind.CHARGE: pb.CREDIT_ENTRY_KIND_SPEND,
    CreditEntryKind.EXPIRY: pb.CREDIT_ENTRY_KIND_EXPIRY,
    CreditEntryKind.REFUND: pb.CREDIT_ENTRY_KIND_GIVE_BACK,
    CreditEntryKind.PARTIAL_REFUND: pb.CREDIT_ENTRY_KIND_GIVE_BACK,
    CreditEntryKind.CREDIT_BACK: pb.CREDIT_ENTRY_KIND_GIVE_BACK,
}


def parse_grant(request: pb.GrantCreditsRequest) -> Grant:
    """Return the grant in a valid request."""
    return Grant(
        user_id=UUID(request.user_id),
        credits=request.credits,
        reason=request.reason,
        expire_time=request.expire_time.ToDatetime(UTC) if request.HasField("expire_time") else None,
        subscription_id=UUID(request.subscription_id) if request.subscription_id else None,
    )


def render_balance(balance: Balance) -> pb.GetBalanceResponse:
    """Return the protobuf message of a balance."""
    message = pb.GetBalanceResponse(credits=balance.credits, next_expire_credits=balance.next_expire_credits)
    if balance.next_expire_time is not None:
        message.next_expire_time.FromDatetime(balance.next_expire_time)
    return message


def render_entry(entry: CreditEntry) -> pb.CreditEntry:
    """Return the protobuf message of a change of a balance."""
    message = pb.CreditEntry(
        entry_id=str(entry.entry_id),
        kind=_KINDS[entry.kind],
        credits=entry.credits,
        balance_after=entry.balance_after,
        session_id=str(entry.session_id or ""),
        subscription_id=str(entry.subscription_id or ""),
        reason=entry.reason,
    )
    message.create_time.FromDatetime(entry.create_time)
    if entry.expire_time is not None:
        message.expire_time.FromDatetime(entry.expire_time)
    return message
