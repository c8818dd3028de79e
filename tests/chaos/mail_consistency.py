"""Comparison of clients' outcomes with the mails: each is sent once, and none is sent without a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.journeys import Step, is_noisy
from tests.chaos.subjects import MailKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.chaos.final_state import Booking, FinalState
    from tests.chaos.journeys import Outcome

# A theft is checked with the log-ins. A slot can become free many times.
UNCHECKED = {MailKind.TOKEN_REUSED, MailKind.FREE_AGAIN}


def mail_inconsistencies(outcome: Outcome, confirmed: Sequence[Booking], state: FinalState) -> Iterator[str]:
    """Yield wrong numbers of mails to a member and the guest. An erased member may have missed some."""
    journey, may_miss = outcome.journey, outcome.answers.get(Step.LEAVE) is not None
    expected = {
        journey.email: _to_member(outcome, confirmed, state),
        journey.guest_email: _to_guest(confirmed),
    }
    for (recipient, kind), number in state.mails.items():
        if recipient in expected and kind not in expected[recipient] and kind not in UNCHECKED and number:
            yield f"{recipient} got {number} unexpected mails {kind!r}"
    for recipient, kinds in expected.items():
        for kind, (least, most) in kinds.items():
            if not (0 if may_miss else least) <= state.mails[recipient, kind] <= most:
                yield f"{recipient} got {state.mails[recipient, kind]} mails {kind.name} instead of {most}"


def _to_member(outcome: Outcome, confirmed: Sequence[Booking], state: FinalState) -> dict[MailKind, tuple[int, int]]:
    """Return the least and the greatest number of mails to the member, by kind."""
    exactly = {
        MailKind.BOOKED: len(confirmed),
        MailKind.NOISE_WARNING: len(confirmed) * is_noisy(outcome.journey.gym),
        MailKind.CANCELLED: sum(not booking.is_active for booking in confirmed),
        MailKind.MOVED: sum(booking.moves for booking in confirmed),
    }
    user_id = outcome.user_id
    offers = state.offers.get(user_id, 0) if user_id else 0
    at_least_if = {
        MailKind.CONFIRM_EMAIL: outcome.journey.signs_up and outcome.is_acknowledged(Step.JOIN),
        MailKind.SUBSCRIBED: outcome.is_acknowledged(Step.SUBSCRIBE),
        # If the subscription is resumed before the mail about its end is sent, that mail is dropped.
        MailKind.SUBSCRIPTION_ENDS: outcome.is_acknowledged(Step.CANCEL_SUBSCRIPTION)
        and Step.RESUME not in outcome.answers,
        MailKind.SUBSCRIPTION_CONTINUES: outcome.is_acknowledged(Step.RESUME),
    }
    at_most_if = {
        MailKind.CONFIRM_EMAIL: outcome.journey.signs_up,
        MailKind.SUBSCRIBED: Step.SUBSCRIBE in outcome.answers and Step.SUBSCRIBE not in outcome.refusals,
        MailKind.SUBSCRIPTION_ENDS: Step.CANCEL_SUBSCRIPTION in outcome.answers,
        MailKind.SUBSCRIPTION_CONTINUES: Step.RESUME in outcome.answers,
    }
    return (
        {kind: (number, number) for kind, number in exactly.items()}
        | {kind: (int(at_least_if[kind]), int(at_most_if[kind])) for kind in at_least_if}
        # An offer that ends before its mail is sent has none.
        | {MailKind.OFFERED: (0, offers)}
    )


def _to_guest(confirmed: Sequence[Booking]) -> dict[MailKind, tuple[int, int]]:
    """Return the least and the greatest number of mails to the guest, by kind."""
    exactly = {
        MailKind.INVITED: sum(booking.guests for booking in confirmed),
        MailKind.INVITATION_CANCELLED: sum(booking.guests for booking in confirmed if not booking.is_active),
        MailKind.MOVED: sum(booking.guests * booking.moves for booking in confirmed),
    }
    return {kind: (number, number) for kind, number in exactly.items()}
