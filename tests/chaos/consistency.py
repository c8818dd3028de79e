"""Comparison of clients' outcomes with the final state: one payment and one mail per booking, and nothing pending."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.clients import CREDITS_GRANTED, CREDITS_PER_HOUR
from tests.chaos.journeys import Answer, is_noisy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.chaos.final_state import Booking, FinalState
    from tests.chaos.journeys import Journey, Outcome

# Permitted reasons of a refusal, by payment method. A rival can cause SLOT_TAKEN, and an offer to a rival SLOT_OFFERED.
REFUSALS = {
    "credits": {"SLOT_TAKEN", "SLOT_OFFERED"},
    "card": {"SLOT_TAKEN", "SLOT_OFFERED"},
    "declined card": {"SLOT_TAKEN", "SLOT_OFFERED", "CARD_DECLINED"},
    "no credits": {"SLOT_TAKEN", "SLOT_OFFERED", "INSUFFICIENT_CREDITS"},
}


def inconsistencies(outcomes: Sequence[Outcome], state: FinalState) -> list[str]:
    """Return all inconsistencies as sentences, each with the number of the affected journey."""
    found = [f"{what}: {number}" for what, number in state.problems.items()]
    for outcome in outcomes:
        found += [
            f"member {outcome.journey.number}: {inconsistency} ({outcome})"
            for inconsistency in _inconsistencies_of(outcome, state)
        ]
    known = {outcome.journey.email for outcome in outcomes}
    unknown = {recipient for recipient, _ in state.mails} - known
    members = {outcome.user_id for outcome in outcomes}
    found += [f"mail to an unknown recipient {recipient}" for recipient in sorted(unknown)]
    found += [f"bookings of an unknown user {user_id}" for user_id in state.bookings.keys() - members]
    return found


def _inconsistencies_of(outcome: Outcome, state: FinalState) -> Iterator[str]:
    bookings = [] if outcome.user_id is None else state.bookings.get(outcome.user_id, [])
    confirmed = [booking for booking in bookings if booking.was_confirmed]
    yield from _answer_inconsistencies(outcome, confirmed)
    for booking in bookings:
        yield from _payment_inconsistencies(outcome.journey, booking, state)
    yield from _credit_inconsistencies(outcome, confirmed, state)
    yield from _mail_inconsistencies(outcome.journey, confirmed, state)


def _answer_inconsistencies(outcome: Outcome, confirmed: Sequence[Booking]) -> Iterator[str]:
    """Yield contradictions between the client's outcome and the confirmed bookings."""
    ids = [booking.session_id for booking in confirmed]
    if outcome.booked is Answer.ACKNOWLEDGED and ids != [outcome.session_id]:
        yield f"got a confirmation of one booking, but has {ids}"
    if outcome.booked in (Answer.REFUSED, Answer.NOT_ASKED) and ids:
        yield f"got no confirmation, but has {ids}"
    if len(ids) > 1:
        yield f"has {len(ids)} bookings"
    if outcome.booked is Answer.REFUSED and outcome.refusal not in REFUSALS[outcome.journey.payment_method]:
        yield f"was refused for {outcome.refusal}"
    if outcome.cancelled is Answer.REFUSED:
        yield f"could not cancel: {outcome.refusal}"
    if outcome.cancelled is not Answer.UNKNOWN:
        is_cancelled = outcome.cancelled is Answer.ACKNOWLEDGED
        if any(booking.is_active == is_cancelled for booking in confirmed):
            statuses = [booking.status for booking in confirmed]
            yield f"cancelling was {outcome.cancelled}, but the bookings are {statuses}"


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
    grants, balance = (held.grants, held.balance) if held else (0, 0)
    if (grants != 1 and outcome.granted is Answer.ACKNOWLEDGED) or grants > 1:
        yield f"has {grants} grants of credits"
    active = sum(booking.is_active for booking in confirmed) if outcome.journey.payment_method == "credits" else 0
    if balance != grants * CREDITS_GRANTED - active * CREDITS_PER_HOUR:
        yield f"has {balance} credits after {grants} grants and {active} bookings"


def _mail_inconsistencies(journey: Journey, confirmed: Sequence[Booking], state: FinalState) -> Iterator[str]:
    """Yield wrong numbers of mails. Each confirmed booking causes one mail per applicable kind, others cause none."""
    expected = {
        "Booked": len(confirmed),
        "Please mind the noise": len(confirmed) * is_noisy(journey.gym),
        "Cancelled": sum(not booking.is_active for booking in confirmed),
    }
    for kind, number in expected.items():
        actual = state.mails[journey.email, kind]
        if actual != number:
            yield f"got {actual} mails {kind!r} instead of {number}"
