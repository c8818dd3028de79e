"""Domain of waiting lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from services.session.sessions.domain import Period, Quote


@dataclass(frozen=True, slots=True)
class WaitRequest:
    """Period in a gym that a member would book if it were free."""

    user_id: UUID
    gym_id: UUID
    period: Period


@dataclass(frozen=True, slots=True)
class WaitingListEntry:
    """Current or former place of a member on a waiting list."""

    entry_id: UUID
    request: WaitRequest
    create_time: datetime
    is_over: bool
    # Price and rules at the time of joining. None in entries from before the service stored them.
    quote: Quote | None = None
