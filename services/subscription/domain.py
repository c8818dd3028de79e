"""Domain: what becomes of a subscription, whatever the order in which it is told.

What the card processor reports is kept as the latest of its kind, by the periods and times that the reports themselves
speak of, never by their arrival. So merging is commutative, associative and idempotent, and all orders of all
deliveries, repeated or not, lead to one state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from contracts.errors import SubscriptionNotActive, SubscriptionNotCancelled
from services.subscription.deadlines import deadlines_after
from services.subscription.plans import a_month_after
from services.subscription.reports import Ended, PaymentFailed, Period, Renewed, Report, TrialEnding

if TYPE_CHECKING:
    from uuid import UUID

    from services.subscription.deadlines import Deadlines
    from services.subscription.plans import Plan

RENEWAL_NOTICE = timedelta(days=7)
TRIAL_NOTICE = timedelta(days=3)


class Status(StrEnum):
    """Where a subscription stands; the names are those of the contract's SubscriptionStatus."""

    TRIALING = "TRIALING"
    ACTIVE = "ACTIVE"
    PAST_DUE = "PAST_DUE"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


class Mail(StrEnum):
    """What a mail about a subscription says: the template's key."""

    SUBSCRIPTION_ACTIVATED = "SUBSCRIPTION_ACTIVATED"
    SUBSCRIPTION_EXPIRED = "SUBSCRIPTION_EXPIRED"
    PAYMENT_SUCCESS = "PAYMENT_SUCCESS"
    PAYMENT_FAILED = "PAYMENT_FAILED"
    RENEWAL_REMINDER = "RENEWAL_REMINDER"
    TRIAL_ENDING = "TRIAL_ENDING"
    SUBSCRIPTION_RESUMED = "SUBSCRIPTION_RESUMED"


@dataclass(frozen=True, slots=True)
class Reminder:
    """A mail for a day to come, about `time`."""

    mail: Mail
    time: datetime
    send_time: datetime


@dataclass(frozen=True, slots=True)
class Subscription:
    """One user's subscription: the facts that are known. Its status follows from them and from the present time.

    `first_period` is the trial, or the month that was paid at once; `paid_period` is the latest that is paid. An end
    that the card processor has reported, `processor_end_time`, is final: only an earlier one replaces it. A planned
    cancellation can be taken back until its `end_time`.

    Deadlines count from `watch_time` at the earliest. Those up to `told_time` have been acted upon; None: an older
    version stored the subscription, and nobody watches its deadlines yet.
    """

    subscription_id: UUID
    user_id: UUID
    plan: Plan
    first_period: Period
    is_trial: bool
    create_time: datetime
    watch_time: datetime
    told_time: datetime | None
    paid_period: Period | None = None
    failure: PaymentFailed | None = None
    cancel_time: datetime | None = None
    end_time: datetime | None = None
    processor_end_time: datetime | None = None

    @property
    def current_period(self) -> Period:
        """The trial or month that runs now; of an ended subscription, its last."""
        return self.paid_period or self.first_period

    def allocation_of(self, period: Period) -> datetime:
        """Return the start of the billing period under which the credits of a paid period are granted, each once.

        The card processor's clock lets a month that is paid at the start begin some seconds earlier or later than ours
        does. So a paid period that begins in its first half is the first period itself.
        """
        first = self.first_period
        is_first = not self.is_trial and period.start < first.start + (first.end - first.start) / 2
        return first.start if is_first else period.start

    @property
    def allocations(self) -> tuple[datetime, ...]:
        """The starts of the billing periods that are known to bring credits: the first, and the latest that is paid."""
        paid = () if self.paid_period is None else (self.allocation_of(self.paid_period),)
        return tuple(sorted({self.first_period.start, *paid}))

    def status(self, now: datetime) -> Status:
        """Return where it stands at `now`."""
        if self.end_time is not None and self.end_time <= now:
            return Status.CANCELLED if self.cancel_time else Status.EXPIRED
        if self.deadlines.expired <= now:
            return Status.EXPIRED
        if self.open_failure or self.deadlines.past_due <= now:
            return Status.PAST_DUE
        return Status.TRIALING if self.is_trial and self.paid_period is None else Status.ACTIVE

    @property
    def open_failure(self) -> PaymentFailed | None:
        """The last attempt to charge for the next period, unless that is paid."""
        failure = self.failure
        return failure if failure is not None and failure.period_start > self.current_period.start else None

    @property
    def deadlines(self) -> Deadlines:
        """The times at which it is past due and expired unless a payment is reported."""
        return deadlines_after(max(self.current_period.end, self.watch_time), self.open_failure)

    @property
    def review_time(self) -> datetime | None:
        """The next deadline that has to be acted upon; None if there is none, or the subscription has its end."""
        told = self.told_time or self.create_time
        ahead = (time for time in (self.deadlines.past_due, self.deadlines.expired) if time > told)
        return next(ahead, None) if self.end_time is None else None

    @property
    def is_end_told(self) -> bool:
        """Whether the clock ended it, and the end has been acted upon."""
        return self.end_time is None and self.told_time is not None and self.told_time >= self.deadlines.expired

    def is_over(self, now: datetime) -> bool:
        """Whether it has ended, also by the clock alone."""
        return self.status(now) in (Status.CANCELLED, Status.EXPIRED)

    def over_time(self, now: datetime) -> datetime | None:
        """Return when it ended or is going to end; None if nothing ends it yet."""
        if self.end_time is None:
            return self.deadlines.expired if self.deadlines.expired <= now else None
        return min(self.end_time, self.deadlines.expired)

    def ends_later(self, now: datetime) -> bool:
        """Whether it is going to end."""
        return self.end_time is not None and not self.is_over(now)

    def merged(self, report: Report) -> Subscription:
        """Return the subscription as it is once `report` is known too."""
        match report:
            case Renewed(period):
                return replace(self, paid_period=max(self.paid_period or period, period))
            case PaymentFailed():
                return replace(self, failure=max(self.failure or report, report, key=lambda each: each.rank))
            case Ended(end_time):
                reported = min(self.processor_end_time or end_time, end_time)
                return replace(self, processor_end_time=reported, end_time=min(self.end_time or reported, reported))
            case TrialEnding():
                return self

    def cancelled(self, now: datetime, *, at_period_end: bool) -> Subscription:
        """Return the subscription with an end; raise SubscriptionNotActive where it has that end, or an earlier one."""
        end_time = max(now, self.current_period.end) if at_period_end else now
        if self.is_over(now) or (self.end_time is not None and self.end_time <= end_time):
            raise SubscriptionNotActive
        return replace(self, end_time=end_time, cancel_time=self.cancel_time or now)

    def resumed(self, now: datetime) -> Subscription:
        """Return the subscription without its planned cancellation.

        Raises SubscriptionNotActive if it is over or the card processor has ended it, and SubscriptionNotCancelled if
        no cancellation is planned.
        """
        if self.is_over(now) or self.processor_end_time is not None:
            raise SubscriptionNotActive
        if self.cancel_time is None:
            raise SubscriptionNotCancelled
        return replace(self, end_time=None, cancel_time=None)

    def closed(self, now: datetime) -> Subscription:
        """Return the subscription with a final end: when the clock ended it, else now, as if it was cancelled."""
        if self.is_over(now):
            return replace(self, end_time=self.over_time(now))
        return replace(self, end_time=now, cancel_time=self.cancel_time or now)

    def reminder(self, now: datetime) -> Reminder | None:
        """Return the mail that is to come unless something changes; None where there is none, or its day is past."""
        status, end = self.status(now), self.current_period.end
        if self.end_time is not None or status not in (Status.ACTIVE, Status.TRIALING):
            return None
        is_trial = status is Status.TRIALING
        send_time = end - (TRIAL_NOTICE if is_trial else RENEWAL_NOTICE)
        mail = Mail.TRIAL_ENDING if is_trial else Mail.RENEWAL_REMINDER
        return Reminder(mail, end, send_time) if send_time > now else None

    def is_worth_saying(self, mail: Mail, time: datetime, now: datetime) -> bool:
        """Whether a mail about `time` is still true."""
        status = self.status(now)
        match mail:
            case Mail.RENEWAL_REMINDER:
                return status is Status.ACTIVE and self.end_time is None and self.current_period.end == time
            case Mail.TRIAL_ENDING:
                return status is Status.TRIALING and self.end_time is None and self.current_period.end == time
            case Mail.PAYMENT_FAILED:
                return status is Status.PAST_DUE and self.failure is not None and self.failure.retry_time == time
            case Mail.SUBSCRIPTION_EXPIRED:
                return self.over_time(now) == time
            case Mail.SUBSCRIPTION_RESUMED:
                return self.over_time(now) is None
            case _:
                return True

    def ensure_takes_credits(self, now: datetime) -> None:
        """Raise SubscriptionNotActive unless it is paid for now, or in its trial."""
        if self.status(now) not in (Status.ACTIVE, Status.TRIALING):
            raise SubscriptionNotActive


def begun(
    subscription_id: UUID, user_id: UUID, plan: Plan, now: datetime, *, trial_days: int | None = None
) -> Subscription:
    """Return a new subscription: with a trial of so many days, those of the plan unless told, or paid for a month."""
    days = plan.trial_days if trial_days is None else trial_days
    first = Period(now, now + timedelta(days=days) if days else a_month_after(now))
    paid = None if days else first
    return Subscription(
        subscription_id,
        user_id,
        plan,
        first,
        bool(days),
        create_time=now,
        watch_time=now,
        told_time=now,
        paid_period=paid,
    )
