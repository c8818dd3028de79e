"""Comparison of clients' outcomes with the final state: everything acknowledged once, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.account_consistency import account_inconsistencies
from tests.chaos.journeys import Step
from tests.chaos.mail_consistency import mail_inconsistencies
from tests.chaos.member import CREDITS_GRANTED, CREDITS_OF_PLAN, CREDITS_PER_HOUR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.chaos.final_state import Booking, FinalState
    from tests.chaos.journeys import Journey, Outcome

# Permitted reasons of a refusal, by payment method. A rival can cause SLOT_TAKEN, and an offer to a rival SLOT_OFFERED.
PAYMENT_REFUSALS = {
    "credits": set[str](),
    "card": set[str](),
    "declined card": {"CARD_DECLINED"},
    "no credits": {"INSUFFICIENT_CREDITS"},
}
# Permitted reasons by step; for other steps, each refusal is an inconsistency.
REFUSALS = {
    Step.BOOK: {"SLOT_TAKEN", "SLOT_OFFERED"},
    # The slot has become free in the meantime.
    Step.WAIT: {"SLOT_FREE"},
    Step.CLAIM: set[str](),
    Step.SUBSCRIBE: {"CARD_DECLINED"},
    # A lost answer, repeated after the grace period of a refresh, counts as a theft.
    Step.REFRESH: {"TOKEN_INVALID"},
}
PAID = (Step.BOOK, Step.CLAIM)


def inconsistencies(outcomes: Sequence[Outcome], state: FinalState) -> list[str]:
    """Return all inconsistencies as sentences, each with the number of the affected journey."""
    found = [f"{what}: {number}" for what, number in state.problems.items()]
    for outcome in outcomes:
        found += [
            f"member {outcome.journey.number}: {inconsistency} ({outcome})"
            for inconsistency in _inconsistencies_of(outcome, state)
        ]
    known = {address for each in outcomes for address in (each.journey.email, each.journey.guest_email)}
    unknown = {recipient for recipient, _ in state.mails} - known
    members = {outcome.user_id for outcome in outcomes}
    found += [f"mail to an unknown recipient {recipient}" for recipient in sorted(unknown)]
    found += [f"bookings of an unknown user {user_id}" for user_id in state.bookings.keys() - members]
    return found


def _inconsistencies_of(outcome: Outcome, state: FinalState) -> Iterator[str]:
    bookings = [] if outcome.user_id is None else state.bookings.get(outcome.user_id, [])
    confirmed = [booking for booking in bookings if booking.was_confirmed]
    yield from _refusal_inconsistencies(outcome)
    yield from _booking_inconsistencies(outcome, confirmed)
    yield from _change_inconsistencies(outcome, confirmed)
    for booking in bookings:
        yield from _payment_inconsistencies(outcome.journey, booking, state)
    yield from _credit_inconsistencies(outcome, confirmed, state)
    yield from account_inconsistencies(outcome, state)
    yield from mail_inconsistencies(outcome, confirmed, state)


def _refusal_inconsistencies(outcome: Outcome) -> Iterator[str]:
    """Yield refusals for a reason that the plan does not explain."""
    for step, reason in outcome.refusals.items():
        permitted = REFUSALS.get(step, set()) | (
            PAYMENT_REFUSALS[outcome.journey.payment_method] if step in PAID else set()
        )
        if reason not in permitted:
            yield f"{step} was refused for {reason}"


def _booking_inconsistencies(outcome: Outcome, confirmed: Sequence[Booking]) -> Iterator[str]:
    """Yield contradictions between the acknowledged and the confirmed bookings."""
    ids = [booking.session_id for booking in confirmed]
    if outcome.session_id is not None and ids != [outcome.session_id]:
        yield f"got a confirmation of one booking, but has {ids}"
    if outcome.session_id is None and ids and not outcome.is_unknown(*PAID):
        yield f"got no confirmation, but has {ids}"
    if len(ids) > 1:
        yield f"has {len(ids)} bookings"


def _change_inconsistencies(outcome: Outcome, confirmed: Sequence[Booking]) -> Iterator[str]:
    """Yield bookings that differ from the acknowledged cancellation, move, invitation or departure."""
    if not outcome.is_unknown(Step.CANCEL, Step.LEAVE):
        is_cancelled = outcome.is_acknowledged(Step.CANCEL) or outcome.is_acknowledged(Step.LEAVE)
        if any(booking.is_active == is_cancelled for booking in confirmed):
            yield f"the bookings are {[booking.status for booking in confirmed]}"
    for booking in confirmed:
        for step, number in ((Step.MOVE, booking.moves), (Step.INVITE, booking.guests)):
            if not outcome.is_unknown(step) and number != outcome.is_acknowledged(step):
                yield f"has {number} as the result of {step}"


def _payment_inconsistencies(journey: Journey, booking: Booking, state: FinalState) -> Iterator[str]:
    """Yield active bookings not charged exactly once, and other bookings with a charge not returned."""
    payment = state.payments.get(booking.session_id)
    actual = (payment.status, payment.charges, payment.returns) if payment else ("none", 0, 0)
    if booking.is_active:
        expected = {("captured", 1, 0)}
    elif booking.was_confirmed:
        expected = {("refunded", 1, 1)}
    else:
        expected = {("none", 0, 0), ("declined", 0, 0), ("voided", 0, 0), ("refunded", 1, 1)}
    if actual not in expected:
        yield f"session {booking.session_id} is {booking.status}, but its payment is {actual}"
    is_charged = state.cards_charged.get(str(booking.session_id), False)
    if is_charged != (booking.is_active and journey.payment_method == "card"):
        yield f"session {booking.session_id} is {booking.status}, but the card is charged: {is_charged}"


def _credit_inconsistencies(outcome: Outcome, confirmed: Sequence[Booking], state: FinalState) -> Iterator[str]:
    """Yield a missing or repeated grant of credits, and a balance that does not match the bookings."""
    if outcome.user_id is None:
        return
    held = state.credits.get(outcome.user_id)
    grants, periods, balance = (held.grants, held.periods, held.balance) if held else (0, 0, 0)
    for step, number in ((Step.GRANT, grants), (Step.SUBSCRIBE, periods)):
        if number > 1 or (number != outcome.is_acknowledged(step) and not outcome.is_unknown(step)):
            yield f"has {number} grants of credits, but the answer to {step} is {outcome.answers.get(step)}"
    active = sum(booking.is_active for booking in confirmed) if outcome.journey.payment_method == "credits" else 0
    expected = grants * CREDITS_GRANTED + periods * CREDITS_OF_PLAN - active * CREDITS_PER_HOUR
    if balance != expected:
        yield f"has {balance} credits after {grants} grants, {periods} paid periods and {active} bookings"
