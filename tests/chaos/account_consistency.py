"""Comparison of clients' outcomes with users, passwords and subscriptions, and a search for erased addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.journeys import Step
from tests.chaos.subjects import MailKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.final_state import FinalState
    from tests.chaos.journeys import Outcome

# A refresh repeated within this time gets the same tokens again.
REFRESH_GRACE_S = 10.0


def account_inconsistencies(outcome: Outcome, state: FinalState) -> Iterator[str]:
    """Yield differences between the outcomes of a member and the stored user, password and subscription."""
    if outcome.user_id is not None:
        yield from _user_inconsistencies(outcome, state)
        yield from _subscription_inconsistencies(outcome, state)
    yield from _log_in_inconsistencies(outcome, state)


def _user_inconsistencies(outcome: Outcome, state: FinalState) -> Iterator[str]:
    journey, user = outcome.journey, state.users.get(outcome.user_id) if outcome.user_id else None
    if user is None:
        yield "is not stored"
        return
    if outcome.is_unknown(Step.LEAVE):
        return
    if outcome.is_acknowledged(Step.LEAVE):
        left = [each for each in (journey.email, journey.guest_email) if each in state.stored_addresses]
        if user.email or not user.is_deleted or user.passwords or left:
            yield f"is erased, but stored as {user}, with the addresses {left}"
        return
    if (user.email, user.is_deleted, user.passwords) != (journey.email, False, journey.signs_up):
        yield f"is stored as {user}"
    if not outcome.is_unknown(Step.CONFIRM_EMAIL) and user.email_confirmed != outcome.is_acknowledged(
        Step.CONFIRM_EMAIL
    ):
        yield f"has a confirmed address: {user.email_confirmed}"


def _log_in_inconsistencies(outcome: Outcome, state: FinalState) -> Iterator[str]:
    """Yield a refresh that was taken for a theft within its grace period."""
    is_refused = Step.REFRESH in outcome.refusals
    if is_refused and outcome.took_s[Step.REFRESH] < REFRESH_GRACE_S:
        yield f"was logged out after {outcome.took_s[Step.REFRESH]:.1f} s"
    warnings = state.mails[outcome.journey.email, MailKind.TOKEN_REUSED]
    if warnings and not is_refused and not outcome.is_unknown(Step.REFRESH):
        yield f"got {warnings} warnings of a theft"


def _subscription_inconsistencies(outcome: Outcome, state: FinalState) -> Iterator[str]:
    stored = state.subscriptions.get(outcome.user_id, []) if outcome.user_id else []
    steps = (Step.SUBSCRIBE, Step.CANCEL_SUBSCRIPTION, Step.RESUME, Step.LEAVE)
    if len(stored) > 1:
        yield f"has {len(stored)} subscriptions"
    if outcome.is_unknown(*steps):
        return
    if len(stored) != outcome.is_acknowledged(Step.SUBSCRIBE):
        yield f"has {len(stored)} subscriptions"
    has_left = outcome.is_acknowledged(Step.LEAVE)
    is_cancelled = outcome.is_acknowledged(Step.CANCEL_SUBSCRIPTION) and not outcome.is_acknowledged(Step.RESUME)
    is_over = is_cancelled and outcome.journey.subscription == "cancelled at once"
    for each in stored:
        if (each.is_cancelled, each.is_over) != (is_cancelled or has_left, is_over or has_left):
            yield f"has the subscription {each}"
