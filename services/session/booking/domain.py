"""Domain of bookings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.session.sessions.domain import Session


@dataclass(frozen=True, slots=True)
class BookingCall:
    """Identity of a BookSession call. Retries have the same caller, key and request hash."""

    caller: str
    key: str
    request_sha256: bytes
    correlation_id: str


@dataclass(frozen=True, slots=True)
class Booking:
    """Session with the stored response to its BookSession call. `response` is None until the session is confirmed."""

    session: Session
    response: bytes | None
