"""The verdict: members have what they were told, paid for it once, and were written to once; nothing is stuck."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.journeys import Answer, is_noisy
from tests.chaos.town import CREDITS_GRANTED, CREDITS_PER_HOUR

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.chaos.evidence import Booking, Evidence
    from tests.chaos.journeys import Journey, Story

# What a member may be refused for, by the means of paying; a slot may be taken where there is a rival.
REFUSALS = {
    "credits": {"SLOT_TAKEN"},
    "card": {"SLOT_TAKEN"},
    "declined card": {"SLOT_TAKEN", "CARD_DECLINED"},
    "no credits": {"SLOT_TAKEN", "INSUFFICIENT_CREDITS"},
}


def faults(stories: Sequence[Story], evidence: Evidence) -> list[str]:
    """Return what is wrong, each as a sentence that names the member by the number of the journey."""
    found = [f"{what}: {number}" for what, number in evidence.troubles.items()]
    for story in stories:
        found += [f"member {story.journey.number}: {fault} ({story})" for fault in _faults_of(story, evidence)]
    known = {story.journey.email for story in stories}
    strange = {recipient for recipient, _ in evidence.mails} - known
    members = {story.user_id for story in stories}
    found += [f"mail to {recipient}, who is nobody" for recipient in sorted(strange)]
    found += [f"bookings of {user_id}, who is nobody" for user_id in evidence.bookings.keys() - members]
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
    """Find where what the member was told is not so."""
    ids = [booking.session_id for booking in confirmed]
    if story.booked is Answer.ACKNOWLEDGED and ids != [story.session_id]:
        yield f"was told of one booking, and has {ids}"
    if story.booked in (Answer.REFUSED, Answer.NOT_ASKED) and ids:
        yield f"was told of none, and has {ids}"
    if len(ids) > 1:
        yield f"has {len(ids)} bookings"
    if story.booked is Answer.REFUSED and story.refusal not in REFUSALS[story.journey.means]:
        yield f"was refused for {story.refusal}"
    if story.cancelled is Answer.REFUSED:
        yield f"could not cancel: {story.refusal}"
    if story.cancelled is not Answer.UNKNOWN:
        is_cancelled = story.cancelled is Answer.ACKNOWLEDGED
        if any(booking.is_kept == is_cancelled for booking in confirmed):
            yield f"cancelled: {story.cancelled}, and has {[booking.status for booking in confirmed]}"


def _faults_of_payment(journey: Journey, booking: Booking, evidence: Evidence) -> Iterator[str]:
    """Find a kept booking that was not charged once, and another for which something was taken that is not back."""
    payment = evidence.payments.get(booking.session_id)
    standing = (payment.status, payment.charges, payment.returns) if payment else ("none", 0, 0)
    if booking.is_kept:
        right = {("captured", 1, 0)}
    elif booking.was_confirmed:
        right = {("refunded", 1, 1)}
    else:
        right = {("none", 0, 0), ("declined", 0, 0), ("voided", 0, 0), ("refunded", 1, 1)}
    if standing not in right:
        yield f"session {booking.session_id} is {booking.status}, its payment {standing}"
    is_taken = evidence.cards_taken.get(str(booking.session_id), False)
    if is_taken != (booking.is_kept and journey.means == "card"):
        yield f"session {booking.session_id} is {booking.status}, the card company has money for it: {is_taken}"


def _faults_of_credits(story: Story, confirmed: Sequence[Booking], evidence: Evidence) -> Iterator[str]:
    """Find credits that were granted twice, or went where no booking is."""
    if story.user_id is None:
        return
    held = evidence.credits.get(story.user_id)
    grants, balance = (held.grants, held.balance) if held else (0, 0)
    if (grants != 1 and story.granted is Answer.ACKNOWLEDGED) or grants > 1:
        yield f"was granted credits {grants} times"
    kept = sum(booking.is_kept for booking in confirmed) if story.journey.means == "credits" else 0
    if balance != grants * CREDITS_GRANTED - kept * CREDITS_PER_HOUR:
        yield f"has {balance} credits left of {grants} grants after {kept} bookings"


def _faults_of_mails(journey: Journey, confirmed: Sequence[Booking], evidence: Evidence) -> Iterator[str]:
    """Find a booking without its one mail of each kind, and a mail about one that came to nothing."""
    expected = {
        "Booked": len(confirmed),
        "Please mind the noise": len(confirmed) * is_noisy(journey.gym),
        "Cancelled": sum(not booking.is_kept for booking in confirmed),
    }
    for kind, number in expected.items():
        got = evidence.mails[journey.email, kind]
        if got != number:
            yield f"got {got} mails {kind!r} instead of {number}"
