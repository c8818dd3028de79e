"""Order of a subscription: the checked request, before the card processor has started it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from services.subscription.domain import new_subscription

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from services.subscription.domain import Subscription
    from services.subscription.plans import Plan


@dataclass(frozen=True, slots=True)
class Order:
    """Subscription to start. `is_repeated` means that the processor may have started it for an earlier request."""

    subscription_id: UUID
    user_id: UUID
    plan: Plan
    trial_days: int
    create_time: datetime
    is_repeated: bool = False

    @property
    def trial_end(self) -> datetime | None:
        """End of the trial; None without a trial."""
        return self.create_time + timedelta(days=self.trial_days) if self.trial_days else None

    def subscription(self) -> Subscription:
        """Return the new subscription, which begins at the time of the order."""
        return new_subscription(
            self.subscription_id, self.user_id, self.plan, self.create_time, trial_days=self.trial_days
        )
