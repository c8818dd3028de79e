"""Comparison of clients' outcomes with the final state: one payment and one mail per booking, and nothing pending."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.journeys import Answer, is_noisy
from tests.chaos.town import CREDITS_GRANTED, CREDITS_PER_HOUR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.chaos.evidence import Booking, Evidence
    from tests.chaos.journeys import Journey, Story

# Permitted reasons of a refusal, by means of payment. A rival can cause SLOT_TAKEN.
REFUSALS = {
    "credits": {"SLOT_TAKEN"},
    "card": {"SLOT_TAKEN"},
    "declined card": {"SLOT_TAKEN", "CARD_DECLINED"},
    "no credits": {"SLOT_TAKEN", "INSUFFICIENT_CREDITS"},
}


def faults(stories: Sequence[Story], evidence: Evidence) -> list[str]:
    """Return all faults as sentences with the journey's number of the affected member."""
    found = [f"{what}: {number}" for what, number in evidence.troubles.items()]
    for story in stories:
        found += [f"member {story.journey.number}: {fault} ({story})" for fault in _faults_of(story, evidence)]
    known = {story.journey.email for story in stories}
    strange = {recipient for recipient, _ in evidence.mails} - known
    members = {story.user_id for story in stories}
    found += [f"mail to an unknown recipient {recipient}" for recipient in sorted(strange)]
    found += [f"bookings of an unknown user {user_id}" for user_id in evidence.bookings.keys() - members]
    return found


def _faults_of(story: Story, evidence: Evidence) -> Iterator[str]:
    bookings = [] if story.user_id is None else evidence.bookings.get(story.user_id, [])
    confirmed = [booking for booking in bookings if booking.was_confirmed]
    yield from _faults_of_answers(story, confirmed)
    for booking in bookings:
        yield from _faults_of_payment(story.journey, booking, evidence)
    yield from _faults_of_credits(story, confirmed, evidence)
    yield from _faults_of_mails(story.journey, confirmed, evidence)


def _faults_of_answers(story: Story, confirmed: Sequence[Booking]) -> Iterator[str]:
    """Yield contradictions between the client's outcome and the confirmed bookings."""
    ids = [booking.session_id for booking in confirmed]
    if story.booked is Answer.ACKNOWLEDGED and ids != [story.session_id]:
        yield f"got a confirmation of one booking, but has {ids}"
    if story.booked in (Answer.REFUSED, Answer.NOT_ASKED) and ids:
        yield f"got no confirmation, but has {ids}"
    if len(ids) > 1:
        yield f"has {len(ids)} bookings"
    if story.booked is Answer.REFUSED and story.refusal not in REFUSALS[story.journey.means]:
        yield f"was refused for {story.refusal}"
    if story.cancelled is Answer.REFUSED:
        yield f"could not cancel: {story.refusal}"
    if story.cancelled is not Answer.UNKNOWN:
        is_cancelled = story.cancelled is Answer.ACKNOWLEDGED
        if any(booking.is_kept == is_cancelled for booking in confirmed):
            yield f"cancelling was {story.cancelled}, but the bookings are {[booking.status for booking in confirmed]}"


def _faults_of_payment(journey: Journey, booking: Booking, evidence: Evidence) -> Iterator[str]:
    """Yield kept bookings not charged exactly once, and other bookings with a charge not returned."""
    payment = evidence.payments.get(booking.session_id)
    standing = (payment.status, payment.charges, payment.returns) if payment else ("none", 0, 0)
    if booking.is_kept:
        right = {("captured", 1, 0)}
    elif booking.was_confirmed:
        right = {("refunded", 1, 1)}
    else:
        right = {("none", 0, 0), ("declined", 0, 0), ("voided", 0, 0), ("refunded", 1, 1)}
    if standing not in right:
        yield f"session {booking.session_id} is {booking.status}, but its payment is {standing}"
    is_taken = evidence.cards_taken.get(str(booking.session_id), False)
    if is_taken != (booking.is_kept and journey.means == "card"):
        yield f"session {booking.session_id} is {booking.status}, but the card is charged: {is_taken}"


def _faults_of_credits(story: Story, confirmed: Sequence[Booking], evidence: Evidence) -> Iterator[str]:
    """Yield a missing or repeated grant of credits, and a balance that does not match the bookings."""
    if story.user_id is None:
        return
    held = evidence.credits.get(story.user_id)
    grants, balance = (held.grants, held.balance) if held else (0, 0)
    if (grants != 1 and story.granted is Answer.ACKNOWLEDGED) or grants > 1:
        yield f"has {grants} grants of credits"
    kept = sum(booking.is_kept for booking in confirmed) if story.journey.means == "credits" else 0
    if balance != grants * CREDITS_GRANTED - kept * CREDITS_PER_HOUR:
        yield f"has {balance} credits after {grants} grants and {kept} bookings"


def _faults_of_mails(journey: Journey, confirmed: Sequence[Booking], evidence: Evidence) -> Iterator[str]:
    """Yield wrong numbers of mails. Each confirmed booking causes one mail per applicable kind, others cause none."""
    expected = {
        "Booked": len(confirmed),
        "Please mind the noise": len(confirmed) * is_noisy(journey.gym),
        "Cancelled": sum(not booking.is_kept for booking in confirmed),
    }
    for kind, number in expected.items():
        got = evidence.mails[journey.email, kind]
        if got != number:
            yield f"got {got} mails {kind!r} instead of {number}"
