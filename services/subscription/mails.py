"""Mails: what a member is told about a subscription, in the member's own time zone, once for each kind and time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from contracts.errors import IdempotencyKeyReused, InvalidRequest, UserNotFound
from interceptors.idempotency import IDEMPOTENCY_KEY
from mesh.request_rules import passed_on
from mesh.wording import money_in_words, time_in_words
from services.subscription.domain import Mail
from solo60.communication.v1.communication_pb2 import Recipient, SendEmailAsyncRequest
from solo60.user.v1.user_pb2 import GetUserRequest, UserState

if TYPE_CHECKING:
    from datetime import datetime

    from services.subscription.domain import Subscription
    from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceAsyncStub
    from solo60.user.v1.user_pb2 import User
    from solo60.user.v1.user_pb2_grpc import UserServiceAsyncStub

_log = structlog.stdlib.get_logger("solo60.subscription.mails")


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail and what it speaks of: a time, and credits where it is about them."""

    mail: Mail
    time: datetime
    credits: int = 0


class Mailer:
    """Writes to members through the communication service."""

    def __init__(self, users: UserServiceAsyncStub, communication: CommunicationServiceAsyncStub) -> None:
        self._users = users
        self._communication = communication

    async def send(self, subscription: Subscription, letter: Letter) -> bool:
        """Hand a letter over; repeating it sends nothing more. Return whether the member has an address to write to.

        Raises InvalidRequest if mail cannot be sent to the address, so that the outbox shows a dead letter, and another
        ServiceError when one of the other services does not answer.
        """
        user = await self._user(subscription)
        if user is None or not user.email or user.state == UserState.USER_STATE_DELETED:
            _tell("nobody to write to", subscription, letter)
            return False
        request = SendEmailAsyncRequest(
            recipient=Recipient(email=user.email, display_name=user.display_name),
            template_key=letter.mail,
            variables=variables_of(subscription, letter, user),
        )
        try:
            await self._communication.SendEmailAsync(request, metadata=((IDEMPOTENCY_KEY, _key(subscription, letter)),))
        except InvalidRequest as error:
            raise passed_on(error) from error
        except IdempotencyKeyReused:
            # Handed over before, in other words: the member has since changed the name.
            _tell("mail is on its way already", subscription, letter)
        return True

    async def _user(self, subscription: Subscription) -> User | None:
        try:
            response = await self._users.GetUser(GetUserRequest(user_id=str(subscription.user_id)))
        except UserNotFound:
            return None
        return response.user


def variables_of(subscription: Subscription, letter: Letter, user: User) -> dict[str, str]:
    """Return what the templates of all mails about a subscription are filled with."""
    plan = subscription.plan
    return {
        "member_name": user.display_name,
        "plan_name": plan.name,
        "price": money_in_words(plan.currency, plan.minor_units),
        "credits_per_month": str(plan.credits_per_month),
        "credits": str(letter.credits),
        **_times_of(subscription, letter, user.time_zone or "UTC"),
    }


def _times_of(subscription: Subscription, letter: Letter, time_zone: str) -> dict[str, str]:
    """Return the times that a letter may speak of. A letter about a resumption has the end of the current period."""
    time = subscription.current_period.end if letter.mail is Mail.SUBSCRIPTION_RESUMED else letter.time
    names = ("end_time", "renewal_time", "retry_time", "trial_end_time")
    return dict.fromkeys(names, time_in_words(time, time_zone))


def _key(subscription: Subscription, letter: Letter) -> str:
    kind = letter.mail.lower().replace("_", "-")
    key = f"{kind}/{subscription.subscription_id}/{letter.time.isoformat()}"
    # A cancellation that follows a resumed one may plan the same end, and is told again.
    cancelled = subscription.cancel_time if letter.mail is Mail.SUBSCRIPTION_EXPIRED else None
    return f"{key}/{cancelled.isoformat()}" if cancelled else key


def _tell(what: str, subscription: Subscription, letter: Letter) -> None:
    _log.warning(what, mail=letter.mail, subscription_id=str(subscription.subscription_id))
