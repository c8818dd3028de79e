"""Domain of guests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


@dataclass(frozen=True, slots=True)
class Guest:
    """Guest with a current or cancelled invitation to a session."""

    invitation_id: UUID
    session_id: UUID
    email: str
    name: str
    create_time: datetime
    is_cancelled: bool
