"""RPC handler for mails about sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from services.session.mails.domain import SessionMail
from services.session.wire import parse_mail_kind, parse_period
from solo60.session.v1.session_pb2 import SendSessionMailResponse
from solo60.session.v1.session_pb2_grpc import SessionServiceServicer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from grpc.aio import ServicerContext

    from services.session.mails.mailer import Mailer
    from services.session.stores import Stores
    from solo60.session.v1.session_pb2 import SendSessionMailRequest


class MailServicer(SessionServiceServicer):
    """RPC handler for mails about sessions. `_now` returns the current time in UTC."""

    _stores: Stores
    _mailer: Mailer
    _now: Callable[[], datetime]

    async def SendSessionMail(
        self, request: SendSessionMailRequest, context: ServicerContext[SendSessionMailRequest, SendSessionMailResponse]
    ) -> SendSessionMailResponse:
        kind = parse_mail_kind(request.template_key)
        session = await self._stores.sessions.find(UUID(request.session_id))
        guest = await self._stores.guests.find(UUID(request.invitation_id)) if request.invitation_id else None
        waiting = await self._stores.waiting_list.find(UUID(request.entry_id)) if request.entry_id else None
        offer = await self._stores.offers.find(UUID(request.offer_id)) if request.offer_id else None
        free_period = parse_period(request.free_period) if request.HasField("free_period") else None
        mail = SessionMail(kind, session, guest, waiting, offer, request.move, free_period)
        if not mail.is_outdated(self._now()):
            await self._mailer.send(mail)
        return SendSessionMailResponse()
