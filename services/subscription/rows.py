"""Conversion of database rows to plans, orders and subscriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from contracts.errors import SubscriptionNotFound
from services.subscription.domain import Subscription
from services.subscription.order import Order
from services.subscription.plans import Plan
from services.subscription.reports import PaymentFailed, Period

if TYPE_CHECKING:
    from datetime import datetime


def range_of(period: Period | None) -> asyncpg.Range[datetime] | None:
    """Return a period as PostgreSQL stores it."""
    return asyncpg.Range(period.start, period.end) if period else None


def plan_of(row: asyncpg.Record) -> Plan:
    """Return the plan in a row of `plans`, or of a join with it."""
    return Plan(
        plan_id=row["plan_id"],
        name=row["name"],
        currency=row["currency"],
        minor_units=row["minor_units"],
        credits_per_month=row["credits_per_month"],
        trial_days=row["trial_days"],
    )


def subscription_of(row: asyncpg.Record | None) -> Subscription:
    """Return the subscription in a joined row of `subscriptions` and `plans`; raise SubscriptionNotFound for no row."""
    if row is None:
        raise SubscriptionNotFound
    paid, failed = row["paid_period"], row["fail_time"]
    return Subscription(
        subscription_id=row["subscription_id"],
        user_id=row["user_id"],
        plan=plan_of(row),
        first_period=Period(row["first_period"].lower, row["first_period"].upper),
        is_trial=row["is_trial"],
        create_time=row["create_time"],
        watch_time=row["watch_time"],
        processed_deadline=row["told_time"],
        paid_period=Period(paid.lower, paid.upper) if paid else None,
        failure=PaymentFailed(row["failed_period_start"], failed, row["retry_time"]) if failed else None,
        cancel_time=row["cancel_time"],
        end_time=row["end_time"],
        processor_end_time=row["processor_end_time"],
    )


def order_of(row: asyncpg.Record | None) -> Order | None:
    """Return the order in a joined row of `subscription_orders` and `plans`, or None for no row."""
    if row is None:
        return None
    ids = (row["subscription_id"], row["user_id"])
    return Order(*ids, plan_of(row), row["trial_days"], row["create_time"], is_repeated=True)
