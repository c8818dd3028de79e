"""Plans of members, drawn from a seed, and the outcomes that their clients saw."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from uuid import UUID

GYMS = 6
# Probabilities for the properties of a journey.
PAYMENT_METHOD_SHARES = {"credits": 0.5, "card": 0.35, "declined card": 0.1, "no credits": 0.05}
SHARE_OF_RIVALS = 0.15
SHARE_OF_CANCELLATIONS = 0.25
SHARE_OF_IMPATIENT = 0.1
MAX_BOOKING_TIMEOUT_S = 0.3


class Answer(StrEnum):
    """Outcome of a call as its client knows it."""

    NOT_ASKED = "not asked"
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Journey:
    """Plan of one member. `hour` counts from FIRST_HOUR, and a rival wants the same slot as the previous journey.

    An impatient member tries to book once, gives up after `booking_timeout_s`, and may never learn the outcome.
    """

    number: int
    payment_method: str
    gym: int
    hour: int
    is_rival: bool
    cancels: bool
    booking_timeout_s: float | None

    @property
    def email(self) -> str:
        """Email address of the member."""
        return f"member-{self.number}@solo60.example"


@dataclass(slots=True)
class Outcome:
    """Outcome of a journey as its client saw it."""

    journey: Journey
    user_id: UUID | None = None
    granted: Answer = Answer.NOT_ASKED
    booked: Answer = Answer.NOT_ASKED
    session_id: UUID | None = None
    refusal: str = ""
    cancelled: Answer = Answer.NOT_ASKED

    def __str__(self) -> str:
        journey = self.journey
        wanted = f"wanted gym {journey.gym} at hour {journey.hour} by {journey.payment_method}"
        answers = f"booking {self.booked} {self.session_id or self.refusal}, cancelling {self.cancelled}"
        return f"{self.user_id} {wanted}; answers: {answers}"


def draw_journeys(rng: random.Random, count: int) -> list[Journey]:
    """Draw the plans of `count` members."""
    journeys: list[Journey] = []
    for number in range(count):
        is_rival = number > 0 and rng.random() < SHARE_OF_RIVALS
        slot = (journeys[-1].gym, journeys[-1].hour) if is_rival else (number % GYMS, number // GYMS)
        (payment_method,) = rng.choices(list(PAYMENT_METHOD_SHARES), list(PAYMENT_METHOD_SHARES.values()))
        is_impatient = rng.random() < SHARE_OF_IMPATIENT
        journeys.append(
            Journey(
                number,
                payment_method,
                *slot,
                is_rival=is_rival,
                cancels=rng.random() < SHARE_OF_CANCELLATIONS,
                booking_timeout_s=rng.uniform(0, MAX_BOOKING_TIMEOUT_S) if is_impatient else None,
            )
        )
    return journeys


def offers_slots(gym: int) -> bool:
    """Return whether this gym offers a free slot to one waiting member at a time."""
    return gym % 3 == 0


def is_noisy(gym: int) -> bool:
    """Return whether bookings of this gym cause a mail about noise."""
    return gym % 2 == 1
