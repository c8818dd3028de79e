"""Plans of members, drawn from a seed, and the outcomes that their clients saw."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from uuid import UUID

GYMS = 6
MAX_BOOKING_TIMEOUT_S = 0.3


class Step(StrEnum):
    """Calls of a journey, in their order."""

    JOIN = "join"
    CONFIRM_EMAIL = "confirm email"
    LOG_IN = "log in"
    REFRESH = "refresh"
    GRANT = "grant"
    SUBSCRIBE = "subscribe"
    BOOK = "book"
    WAIT = "wait"
    CLAIM = "claim"
    INVITE = "invite"
    MOVE = "move"
    CANCEL = "cancel"
    CANCEL_SUBSCRIPTION = "cancel subscription"
    RESUME = "resume"
    LEAVE = "leave"


class Answer(StrEnum):
    """Outcome of a call as its client knows it."""

    NOT_ASKED = "not asked"
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Change(StrEnum):
    """Change of a booking by its member."""

    NONE = "none"
    MOVE = "move"
    CANCEL = "cancel"


class Subscription(StrEnum):
    """Subscription of a member and its course."""

    NONE = "none"
    KEPT = "kept"
    DECLINED = "card declined"
    CANCELLED = "cancelled at once"
    CANCELLED_LATER = "cancelled at the end of the period"
    RESUMED = "cancelled and resumed"


# Probabilities for the properties of a journey.
PAYMENT_METHOD_SHARES = {"credits": 0.5, "card": 0.35, "declined card": 0.1, "no credits": 0.05}
CHANGE_SHARES = {Change.NONE: 0.5, Change.MOVE: 0.2, Change.CANCEL: 0.3}
SUBSCRIPTION_SHARES = {
    Subscription.NONE: 0.75,
    Subscription.KEPT: 0.05,
    Subscription.DECLINED: 0.03,
    Subscription.CANCELLED: 0.05,
    Subscription.CANCELLED_LATER: 0.05,
    Subscription.RESUMED: 0.07,
}
SHARE_OF_RIVALS = 0.25
SHARE_OF_HOSTS = 0.15
SHARE_OF_SIGN_UPS = 0.2
SHARE_OF_LEAVERS = 0.1
SHARE_OF_IMPATIENT = 0.1


@dataclass(frozen=True, slots=True)
class Journey:
    """Plan of one member. `hour` counts from FIRST_HOUR, and a rival wants the same slot as the previous journey.

    An impatient member tries to book once, gives up after `booking_timeout_s`, and may never learn the outcome.
    A member who expects an offer waits for it if the slot is taken, because another member will free the slot.
    """

    number: int
    payment_method: str
    gym: int
    hour: int
    is_rival: bool
    booking_timeout_s: float | None
    change: Change
    subscription: Subscription
    signs_up: bool
    invites: bool
    leaves: bool
    expects_offer: bool = False

    @property
    def email(self) -> str:
        """Email address of the member."""
        return f"member-{self.number}@solo60.example"

    @property
    def guest_email(self) -> str:
        """Email address of the member's guest."""
        return f"guest-{self.number}@solo60.example"

    @property
    def frees_slot(self) -> bool:
        """Whether the member frees the slot after booking it."""
        return self.change is not Change.NONE or self.leaves


@dataclass(slots=True)
class Outcome:
    """Outcome of a journey as its client saw it. `took_s` has the time from the first attempt of a step to its end."""

    journey: Journey
    user_id: UUID | None = None
    session_id: UUID | None = None
    answers: dict[Step, Answer] = field(default_factory=lambda: defaultdict(lambda: Answer.NOT_ASKED))
    refusals: dict[Step, str] = field(default_factory=dict)
    took_s: dict[Step, float] = field(default_factory=dict)

    def is_acknowledged(self, step: Step) -> bool:
        """Return whether this step was answered with success."""
        return self.answers[step] is Answer.ACKNOWLEDGED

    def is_unknown(self, *steps: Step) -> bool:
        """Return whether the outcome of one of these steps is unknown."""
        return any(self.answers[step] is Answer.UNKNOWN for step in steps)

    def __str__(self) -> str:
        journey = self.journey
        wanted = f"wanted gym {journey.gym} at hour {journey.hour} by {journey.payment_method}"
        answers = ", ".join(
            f"{step} {answer}" + (f" ({self.refusals[step]})" if step in self.refusals else "")
            for step, answer in self.answers.items()
        )
        return f"user {self.user_id}, session {self.session_id}; {wanted}; answers: {answers}"


def draw_journeys(rng: random.Random, count: int) -> list[Journey]:
    """Draw the plans of `count` members."""
    journeys: list[Journey] = []
    for number in range(count):
        is_rival = number > 0 and rng.random() < SHARE_OF_RIVALS
        slot = (journeys[-1].gym, journeys[-1].hour) if is_rival else (number % GYMS, number // GYMS)
        journeys.append(_draw(rng, number, *slot, is_rival=is_rival))
    return [replace(each, expects_offer=_expects_offer(each, journeys)) for each in journeys]


def _draw(rng: random.Random, number: int, gym: int, hour: int, *, is_rival: bool) -> Journey:
    payment_method = _one_of(rng, PAYMENT_METHOD_SHARES)
    is_impatient = rng.random() < SHARE_OF_IMPATIENT
    subscription = Subscription(_one_of(rng, SUBSCRIPTION_SHARES))
    return Journey(
        number,
        payment_method,
        gym,
        hour,
        is_rival=is_rival,
        booking_timeout_s=rng.uniform(0, MAX_BOOKING_TIMEOUT_S) if is_impatient else None,
        change=Change(_one_of(rng, CHANGE_SHARES)),
        # A subscription grants credits.
        subscription=Subscription.NONE if payment_method == "no credits" else subscription,
        signs_up=rng.random() < SHARE_OF_SIGN_UPS,
        invites=rng.random() < SHARE_OF_HOSTS,
        leaves=rng.random() < SHARE_OF_LEAVERS,
    )


def _one_of(rng: random.Random, shares: dict[str, float] | dict[Change, float] | dict[Subscription, float]) -> str:
    (chosen,) = rng.choices(list(shares), list(shares.values()))
    return chosen


def _expects_offer(journey: Journey, journeys: list[Journey]) -> bool:
    """Return whether a journey close to this one frees the same slot, in a gym that offers free slots."""
    near = journeys[max(0, journey.number - GYMS) : journey.number + GYMS]
    slot = (journey.gym, journey.hour)
    return offers_slots(journey.gym) and any(
        each.frees_slot for each in near if each is not journey and (each.gym, each.hour) == slot
    )


def offers_slots(gym: int) -> bool:
    """Return whether this gym offers a free slot to one waiting member at a time."""
    return gym % 3 == 0


def is_noisy(gym: int) -> bool:
    """Return whether bookings of this gym cause a mail about noise."""
    return gym % 2 == 1
