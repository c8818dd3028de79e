"""Mails to members about subscriptions, in the member's time zone, sent once per kind and time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from contracts.errors import IdempotencyKeyReused, InvalidRequest, UserNotFound
from interceptors.idempotency import IDEMPOTENCY_KEY
from mesh.formatting import format_money, format_time
from mesh.serving.request_rules import as_own_error
from services.subscription.domain import RENEWAL_NOTICES, MailKind
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
class MemberMail:
    """Kind of a mail, the time that it mentions, the granted credits, and the days of notice; 0 if there are none."""

    kind: MailKind
    time: datetime
    credits: int = 0
    notice_days: int = 0


class Mailer:
    """Sender of mails to members, through the communication service."""

    def __init__(self, users: UserServiceAsyncStub, communication: CommunicationServiceAsyncStub) -> None:
        self._users = users
        self._communication = communication

    async def send(self, subscription: Subscription, mail: MemberMail) -> bool:
        """Queue a mail; return False if the member has no address. A repeated call sends no second mail.

        Raises InvalidRequest if the address cannot receive mail, so that the outbox shows a dead letter. Raises another
        ServiceError if the user or communication service does not answer.
        """
        user = await self._user(subscription)
        if user is None or not user.email or user.state == UserState.USER_STATE_DELETED:
            _warn("mail skipped: member not found", subscription, mail)
            return False
        request = SendEmailAsyncRequest(
            recipient=Recipient(email=user.email, display_name=user.display_name, user_id=user.user_id),
            template_key=mail.kind,
            variables=variables_of(subscription, mail, user),
        )
        try:
            await self._communication.SendEmailAsync(request, metadata=((IDEMPOTENCY_KEY, _key(subscription, mail)),))
        except InvalidRequest as error:
            raise as_own_error(error) from error
        except IdempotencyKeyReused:
            # The mail was queued before with other variables, because the member's name has changed since.
            _warn("mail already queued", subscription, mail)
        return True

    async def _user(self, subscription: Subscription) -> User | None:
        try:
            response = await self._users.GetUser(GetUserRequest(user_id=str(subscription.user_id)))
        except UserNotFound:
            return None
        return response.user


def variables_of(subscription: Subscription, mail: MemberMail, user: User) -> dict[str, str]:
    """Return the template variables for any mail about a subscription."""
    plan = subscription.plan
    return {
        "member_name": user.display_name,
        "plan_name": plan.name,
        "price": format_money(plan.currency, plan.minor_units),
        "credits_per_month": str(plan.credits_per_month),
        "credits": str(mail.credits),
        **_times_of(subscription, mail, user.time_zone or "UTC"),
    }


def _times_of(subscription: Subscription, mail: MemberMail, time_zone: str) -> dict[str, str]:
    """Return the times for a mail. A mail about a resumption shows the end of the current period."""
    time = subscription.current_period.end if mail.kind is MailKind.SUBSCRIPTION_RESUMED else mail.time
    names = ("end_time", "renewal_time", "retry_time", "trial_end_time")
    return dict.fromkeys(names, format_time(time, time_zone))


def _key(subscription: Subscription, mail: MemberMail) -> str:
    kind = mail.kind.lower().replace("_", "-")
    key = f"{kind}/{subscription.subscription_id}/{mail.time.isoformat()}"
    if mail.kind is MailKind.RENEWAL_REMINDER and mail.notice_days not in (0, RENEWAL_NOTICES[0]):
        return f"{key}/{mail.notice_days}-days"
    # After a resumption, a new cancellation may plan the same end. The time of the cancellation makes the key unique.
    cancelled = subscription.cancel_time if mail.kind is MailKind.SUBSCRIPTION_EXPIRED else None
    return f"{key}/{cancelled.isoformat()}" if cancelled else key


def _warn(what: str, subscription: Subscription, mail: MemberMail) -> None:
    _log.warning(what, mail=mail.kind, subscription_id=str(subscription.subscription_id))
