"""Mails about sessions, sent through the communication service."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from contracts.errors import IdempotencyKeyReused, InvalidRequest, UserNotFound
from interceptors.idempotency import IDEMPOTENCY_KEY
from mesh.formatting import format_money, format_time
from mesh.serving.request_rules import as_own_error
from services.session.sessions.domain import PaymentMethod
from solo60.communication.v1.communication_pb2 import (
    Audience,
    Recipient,
    SendEmailAsyncRequest,
    SendSystemNotificationRequest,
)
from solo60.gym.v1.gym_pb2 import GetGymRequest
from solo60.user.v1.user_pb2 import GetUserRequest

if TYPE_CHECKING:
    from uuid import UUID

    from services.session.mails.domain import SessionMail
    from services.session.offers.domain import Offer
    from services.session.sessions.domain import Session
    from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceAsyncStub
    from solo60.gym.v1.gym_pb2 import Gym
    from solo60.gym.v1.gym_pb2_grpc import GymServiceAsyncStub
    from solo60.user.v1.user_pb2 import User
    from solo60.user.v1.user_pb2_grpc import UserServiceAsyncStub

# Shown in mails instead of an erased name.
FORMER_MEMBER = "a former member"

_log = structlog.stdlib.get_logger("solo60.session.mails")


class Mailer:
    """Sender of mails to members, guests, admins and members on a waiting list."""

    def __init__(
        self, users: UserServiceAsyncStub, gyms: GymServiceAsyncStub, communication: CommunicationServiceAsyncStub
    ) -> None:
        self._users = users
        self._gyms = gyms
        self._communication = communication

    async def send(self, mail: SessionMail) -> None:
        """Queue a mail at the communication service; repeating the call queues nothing more.

        Skips the mail if the user service does not know the member.

        Raises InvalidRequest if a called service rejects its request, for example because of an undeliverable address.
        The outbox then stores a dead letter. Raises another ServiceError if a called service fails.
        """
        facts = {"mail": mail.kind, "session_id": str(mail.session.session_id)}
        try:
            user, gym = await asyncio.gather(self._user(mail.member_id), self._gym(mail.session.order.gym_id))
            await self._queue(mail, user, gym)
        except InvalidRequest as error:
            raise as_own_error(error) from error
        except UserNotFound:
            _log.warning("mail skipped: member not found", **facts)
        except IdempotencyKeyReused:
            # The mail was queued before with other content, for example before the member or the gym was renamed.
            _log.info("mail already queued", **facts)

    async def _queue(self, mail: SessionMail, user: User, gym: Gym) -> None:
        variables, metadata = variables_of(mail, user, gym), ((IDEMPOTENCY_KEY, mail.key),)
        if mail.is_to_admins:
            notification = SendSystemNotificationRequest(
                audience=Audience.AUDIENCE_ADMINS,
                template_key=mail.kind,
                variables=variables,
                subject_user_id=user.user_id,
            )
            await self._communication.SendSystemNotification(notification, metadata=metadata)
            return
        recipient = recipient_of(mail, user)
        if not recipient.email:
            _log.info("mail skipped: the recipient is erased", mail=mail.kind, session_id=str(mail.session.session_id))
            return
        request = SendEmailAsyncRequest(
            recipient=recipient, template_key=mail.kind, variables=variables, subject_user_id=user.user_id
        )
        await self._communication.SendEmailAsync(request, metadata=metadata)

    async def _user(self, user_id: UUID) -> User:
        response = await self._users.GetUser(GetUserRequest(user_id=str(user_id)))
        return response.user

    async def _gym(self, gym_id: UUID) -> Gym:
        response = await self._gyms.GetGym(GetGymRequest(gym_id=str(gym_id)))
        return response.gym


def recipient_of(mail: SessionMail, user: User) -> Recipient:
    """Return the recipient of a mail that is not to the admins: the guest, or else the member with the user id."""
    if mail.guest:
        return Recipient(email=mail.guest.email, display_name=mail.guest.name)
    return Recipient(email=user.email, display_name=user.display_name, user_id=user.user_id)


def variables_of(mail: SessionMail, user: User, gym: Gym) -> dict[str, str]:
    """Return the template variables of a mail: the same set for every template, and more for an offer.

    Times are in the member's time zone, or in the gym's time zone for guests and admins.
    """
    session = mail.session
    zone = (gym.time_zone if mail.guest or mail.is_to_admins else user.time_zone) or "UTC"
    return {
        "session_id": str(session.session_id),
        "member_name": user.display_name or FORMER_MEMBER,
        "guest_name": mail.guest.name if mail.guest else "",
        "gym_name": gym.name,
        "start_time": format_time(mail.period.start, zone),
        "end_time": format_time(mail.period.end, zone),
        "price": format_price(session),
        "refund": format_refund(session),
        "reason": session.cancel_reason,
        "noise_policy": session.quote.noise_policy,
        **_variables_of_offer(mail.offer, zone),
    }


def _variables_of_offer(offer: Offer | None, zone: str) -> dict[str, str]:
    if offer is None:
        return {}
    return {
        "offer_id": str(offer.offer_id),
        "expire_time": format_time(offer.expire_time, zone),
        "card_price": format_money(offer.quote.currency, offer.quote.minor_units),
        "credits_price": _format_credits(offer.quote.credits),
    }


def format_price(session: Session) -> str:
    """Return the price of a session in its payment method: "12.50 GBP" or "3 credits"."""
    if session.order.payment_method is PaymentMethod.CREDITS:
        return _format_credits(session.quote.credits)
    return format_money(session.quote.currency, session.quote.minor_units)


def format_refund(session: Session) -> str:
    """Return the refund of a rejected or cancelled session: "12.50 GBP" or "3 credits"."""
    return _format_credits(session.quote.credits) if session.refunded_in_credits else format_price(session)


def _format_credits(count: int) -> str:
    return f"{count} credit{'' if count == 1 else 's'}"
