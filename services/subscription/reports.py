"""Reports: the news that the card processor sends about a subscription, in our own terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """A half-open stretch of time in UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise ValueError("a period ends after its start")


@dataclass(frozen=True, slots=True)
class Renewed:
    """The card was charged for a period."""

    period: Period


@dataclass(frozen=True, slots=True)
class PaymentFailed:
    """The card could not be charged at `occur_time` for the period that begins at `period_start`."""

    period_start: datetime
    occur_time: datetime
    retry_time: datetime | None

    @property
    def rank(self) -> tuple[datetime, datetime, datetime]:
        """Sort key: the later of two failures has the higher rank, and only equal ones share a rank."""
        return (self.period_start, self.occur_time, self.retry_time or self.occur_time)


@dataclass(frozen=True, slots=True)
class TrialEnding:
    """The trial is about to end, as the subscription knows already."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The card processor charges nothing more from `end_time` on."""

    end_time: datetime


Report: TypeAlias = Renewed | PaymentFailed | TrialEnding | Ended
