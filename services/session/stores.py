"""All stores of the session service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from services.session.decisions import Decisions
from services.session.guest_store import GuestStore
from services.session.store import SessionStore
from services.session.waiting_list_store import WaitingListStore

if TYPE_CHECKING:
    from mesh.data.database import Database
    from services.session.follow_ups import FollowUps


@dataclass(frozen=True, slots=True)
class Stores:
    """Stores of sessions, guests and waiting lists in one database."""

    sessions: SessionStore
    decisions: Decisions
    guests: GuestStore
    waiting_list: WaitingListStore

    @classmethod
    def on(cls, database: Database, follow_ups: FollowUps) -> Self:
        """Create the stores of a database. `follow_ups` writes follow-up calls in the transaction of each change."""
        return cls(
            SessionStore(database, follow_ups),
            Decisions(database, follow_ups),
            GuestStore(database, follow_ups),
            WaitingListStore(database),
        )
