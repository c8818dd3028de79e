"""Reports from the card processor about a subscription, independent of the webhook's format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """Half-open period [start, end) in UTC. Raises ValueError unless `start` is before `end`."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise ValueError("a period must end after its start")


@dataclass(frozen=True, slots=True)
class Renewed:
    """Report of a successful charge for `period`."""

    period: Period


@dataclass(frozen=True, slots=True)
class PaymentFailed:
    """Report of a failed charge at `occur_time` for the period that begins at `period_start`.

    `retry_time` is the card processor's next attempt; None if this was the last one.
    """

    period_start: datetime
    occur_time: datetime
    retry_time: datetime | None

    @property
    def rank(self) -> tuple[datetime, datetime, datetime, bool]:
        """Sort key, unique to each report: start of the period, then time of the failure, then of the next attempt."""
        has_retry = self.retry_time is not None
        return (self.period_start, self.occur_time, self.retry_time or self.occur_time, has_retry)


@dataclass(frozen=True, slots=True)
class TrialEnding:
    """Report that the trial ends soon. Changes no fact, because the end of the trial is stored from the beginning."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Report of an end: the card processor charges nothing from `end_time` on."""

    end_time: datetime


Report: TypeAlias = Renewed | PaymentFailed | TrialEnding | Ended
