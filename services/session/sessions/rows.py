"""Conversion between database rows and sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from services.session.sessions.domain import Order, PaymentMethod, Period, Quote, Session, SessionStatus

if TYPE_CHECKING:
    from datetime import datetime


def require_row(row: asyncpg.Record | None) -> asyncpg.Record:
    """Return `row`; raise LookupError if it is None. A locked session always has a row: sessions are never deleted."""
    if row is None:
        raise LookupError("the session has no row, but sessions are never deleted")
    return row


def session_of(row: asyncpg.Record) -> Session:
    """Return the session in a row."""
    return Session(
        session_id=row["session_id"],
        order=Order(row["user_id"], row["gym_id"], period_of(row["period"]), PaymentMethod(row["paid_in"])),
        quote=quote_of(row),
        status=SessionStatus(row["status"]),
        cancel_reason=row["cancel_reason"],
        create_time=row["create_time"],
        update_time=row["update_time"],
        correlation_id=row["correlation_id"],
        refunded_in_credits=row["refunded_in_credits"],
        moves=row["moves"],
        offer_id=row["offer_id"],
    )


def quote_of(row: asyncpg.Record) -> Quote:
    """Return the quote in a row."""
    return Quote(
        currency=row["currency"],
        minor_units=row["minor_units"],
        credits=row["credits"],
        noise_policy=row["noise_policy"],
        requires_approval=row["requires_approval"],
    )


def columns_of(quote: Quote) -> tuple[object, ...]:
    """Return the columns currency, minor_units, credits, noise_policy and requires_approval of a quote."""
    return quote.currency, quote.minor_units, quote.credits, quote.noise_policy, quote.requires_approval


def range_of(period: Period) -> asyncpg.Range[datetime]:
    """Return a period as a PostgreSQL range."""
    return asyncpg.Range(period.start, period.end)


def period_of(value: asyncpg.Range[datetime]) -> Period:
    """Return a PostgreSQL range as a period; raise LookupError if it has an open end."""
    if value.lower is None or value.upper is None:
        raise LookupError("the stored period has an open end, which the table's check constraint forbids")
    return Period(value.lower, value.upper)
