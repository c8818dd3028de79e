"""Domain of the subscription service: the state of a subscription, independent of the order of reports.

Reports of the card processor are merged by the periods and times in them, never by their arrival. Merging is
commutative, associative and idempotent. So every order of deliveries, with or without repetitions, leads to the same
state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from contracts.errors import SubscriptionNotActive, SubscriptionNotCancelled
from services.subscription.deadlines import deadlines_after
from services.subscription.months import add_months
from services.subscription.reports import Ended, PaymentFailed, Period, Renewed, Report, TrialEnding

if TYPE_CHECKING:
    from uuid import UUID

    from services.subscription.deadlines import Deadlines
    from services.subscription.plans import Plan

# Days between a reminder and its time.
RENEWAL_NOTICES = (7, 3)
TRIAL_NOTICES = (3,)


class SubscriptionStatus(StrEnum):
    """Status of a subscription. The names match the contract's SubscriptionStatus."""

    TRIALING = "TRIALING"
    ACTIVE = "ACTIVE"
    PAST_DUE = "PAST_DUE"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"


class MailKind(StrEnum):
    """Kind of mail about a subscription. The value is the key of its template."""

    SUBSCRIPTION_ACTIVATED = "SUBSCRIPTION_ACTIVATED"
    SUBSCRIPTION_EXPIRED = "SUBSCRIPTION_EXPIRED"
    PAYMENT_SUCCESS = "PAYMENT_SUCCESS"
    PAYMENT_FAILED = "PAYMENT_FAILED"
    RENEWAL_REMINDER = "RENEWAL_REMINDER"
    TRIAL_ENDING = "TRIAL_ENDING"
    SUBSCRIPTION_RESUMED = "SUBSCRIPTION_RESUMED"


@dataclass(frozen=True, slots=True)
class Reminder:
    """Mail about `time`, scheduled for `notice_days` earlier."""

    kind: MailKind
    time: datetime
    notice_days: int

    @property
    def send_time(self) -> datetime:
        """Time at which the mail is sent."""
        return self.time - timedelta(days=self.notice_days)


@dataclass(frozen=True, slots=True)
class Subscription:
    """Stored facts about one user's subscription. The status is computed from these facts and the current time.

    `first_period` is the trial, or the first month if there is no trial. `paid_period` is the latest paid period.

    `processor_end_time`, the end reported by the card processor, is final: only an earlier end replaces it. A planned
    cancellation can be undone until its `end_time`.

    Deadlines count from the end of the current period, or from `watch_time` if that is later. `processed_deadline` is
    the latest deadline that was processed. It is None if an older version stored the subscription and the deadlines are
    not scheduled yet.
    """

    subscription_id: UUID
    user_id: UUID
    plan: Plan
    first_period: Period
    is_trial: bool
    create_time: datetime
    watch_time: datetime
    processed_deadline: datetime | None
    paid_period: Period | None = None
    failure: PaymentFailed | None = None
    cancel_time: datetime | None = None
    end_time: datetime | None = None
    processor_end_time: datetime | None = None

    @property
    def current_period(self) -> Period:
        """The latest paid period, or the first period if none is paid."""
        return self.paid_period or self.first_period

    def grant_start_of(self, period: Period) -> datetime:
        """Return the start of the billing period that grants the credits of a paid period.

        The card processor's clock may differ from ours by some seconds. So a paid period that begins in the first half
        of a paid first month is that first month.
        """
        first = self.first_period
        is_first = not self.is_trial and period.start < first.start + (first.end - first.start) / 2
        return first.start if is_first else period.start

    @property
    def grant_starts(self) -> tuple[datetime, ...]:
        """Starts of the known billing periods that grant credits: the first one, and the latest paid one."""
        paid = () if self.paid_period is None else (self.grant_start_of(self.paid_period),)
        return tuple(sorted({self.first_period.start, *paid}))

    def status(self, now: datetime) -> SubscriptionStatus:
        """Return the status at `now`."""
        if self.end_time is not None and self.end_time <= now:
            return SubscriptionStatus.CANCELLED if self.cancel_time else SubscriptionStatus.EXPIRED
        if self.deadlines.expired <= now:
            return SubscriptionStatus.EXPIRED
        if self.open_failure or self.deadlines.past_due <= now:
            return SubscriptionStatus.PAST_DUE
        return SubscriptionStatus.TRIALING if self.is_trial and self.paid_period is None else SubscriptionStatus.ACTIVE

    @property
    def open_failure(self) -> PaymentFailed | None:
        """The last failed charge for a period after the current one, or None."""
        failure = self.failure
        return failure if failure is not None and failure.period_start > self.current_period.start else None

    @property
    def deadlines(self) -> Deadlines:
        """Times at which the subscription becomes past due and expires if no payment is reported."""
        return deadlines_after(max(self.current_period.end, self.watch_time), self.open_failure)

    @property
    def review_time(self) -> datetime | None:
        """The next deadline to process; None if all are processed or the subscription has an end."""
        processed = self.processed_deadline or self.create_time
        remaining = (time for time in (self.deadlines.past_due, self.deadlines.expired) if time > processed)
        return next(remaining, None) if self.end_time is None else None

    @property
    def is_end_processed(self) -> bool:
        """Whether the subscription expired at its deadline and this deadline is processed."""
        return (
            self.end_time is None
            and self.processed_deadline is not None
            and self.processed_deadline >= self.deadlines.expired
        )

    def is_over(self, now: datetime) -> bool:
        """Return whether the subscription is over, by its end or by its deadline."""
        return self.status(now) in (SubscriptionStatus.CANCELLED, SubscriptionStatus.EXPIRED)

    def effective_end_time(self, now: datetime) -> datetime | None:
        """Return the past or planned end; None if the subscription has none."""
        if self.end_time is None:
            return self.deadlines.expired if self.deadlines.expired <= now else None
        return min(self.end_time, self.deadlines.expired)

    def has_planned_end(self, now: datetime) -> bool:
        """Return whether the subscription still runs and has a planned end."""
        return self.end_time is not None and not self.is_over(now)

    def merged(self, report: Report) -> Subscription:
        """Return the subscription with `report` merged into its facts."""
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
        """Return the subscription cancelled, at the end of its current period or at `now`.

        Raises SubscriptionNotActive if the subscription is over, or already ends at that time or earlier.
        """
        end_time = max(now, self.current_period.end) if at_period_end else now
        if self.is_over(now) or (self.end_time is not None and self.end_time <= end_time):
            raise SubscriptionNotActive
        return replace(self, end_time=end_time, cancel_time=self.cancel_time or now)

    def resumed(self, now: datetime) -> Subscription:
        """Return the subscription without its planned cancellation.

        Raises SubscriptionNotActive if the subscription is over or the card processor has reported its end, and
        SubscriptionNotCancelled if no cancellation is planned.
        """
        if self.is_over(now) or self.processor_end_time is not None:
            raise SubscriptionNotActive
        if self.cancel_time is None:
            raise SubscriptionNotCancelled
        return replace(self, end_time=None, cancel_time=None)

    def closed(self, now: datetime) -> Subscription:
        """Return the subscription with a final end: its past end, or a cancellation at `now` if it still runs."""
        if self.is_over(now):
            return replace(self, end_time=self.effective_end_time(now))
        return replace(self, end_time=now, cancel_time=self.cancel_time or now)

    def reminders(self, now: datetime) -> tuple[Reminder, ...]:
        """Return the reminders to schedule, without those whose send time has passed."""
        status, end = self.status(now), self.current_period.end
        if self.end_time is not None or status not in (SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING):
            return ()
        is_trial = status is SubscriptionStatus.TRIALING
        kind, notices = (
            (MailKind.TRIAL_ENDING, TRIAL_NOTICES) if is_trial else (MailKind.RENEWAL_REMINDER, RENEWAL_NOTICES)
        )
        found = (Reminder(kind, end, notice_days) for notice_days in notices)
        return tuple(each for each in found if each.send_time > now)

    def is_still_true(self, kind: MailKind, time: datetime, now: datetime) -> bool:
        """Return whether a mail about `time` is still true at `now`."""
        status = self.status(now)
        match kind:
            case MailKind.RENEWAL_REMINDER:
                return status is SubscriptionStatus.ACTIVE and self.end_time is None and self.current_period.end == time
            case MailKind.TRIAL_ENDING:
                return (
                    status is SubscriptionStatus.TRIALING and self.end_time is None and self.current_period.end == time
                )
            case MailKind.PAYMENT_FAILED:
                return (
                    status is SubscriptionStatus.PAST_DUE
                    and self.failure is not None
                    and self.failure.retry_time == time
                )
            case MailKind.SUBSCRIPTION_EXPIRED:
                return self.effective_end_time(now) == time
            case MailKind.SUBSCRIPTION_RESUMED:
                return self.effective_end_time(now) is None
            case _:
                return True

    def require_receives_credits(self, now: datetime) -> None:
        """Raise SubscriptionNotActive unless the status at `now` is ACTIVE or TRIALING."""
        if self.status(now) not in (SubscriptionStatus.ACTIVE, SubscriptionStatus.TRIALING):
            raise SubscriptionNotActive


def new_subscription(
    subscription_id: UUID, user_id: UUID, plan: Plan, now: datetime, *, trial_days: int | None = None
) -> Subscription:
    """Return a new subscription that begins at `now`.

    The first period is a trial of `trial_days`, by default those of the plan, or a paid month if the trial has 0 days.
    """
    days = plan.trial_days if trial_days is None else trial_days
    first = Period(now, now + timedelta(days=days) if days else add_months(now, 1))
    paid = None if days else first
    return Subscription(
        subscription_id,
        user_id,
        plan,
        first,
        bool(days),
        create_time=now,
        watch_time=now,
        processed_deadline=now,
        paid_period=paid,
    )
