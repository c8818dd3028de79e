"""RPC handlers of the communication service."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from interceptors.deadline.interceptor import remaining_s
from mesh.data.pages import page_of
from services.communication.domain import MessageStatus
from services.communication.erasure import erase_address, erase_if_user_is_erased, erase_user
from services.communication.preferences.servicer import PreferenceServicer
from services.communication.sender import POLL_S
from services.communication.wire import parse_recipient, parse_user_id, render_message
from solo60.communication.v1 import communication_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import grpc.aio
    from google.protobuf.message import Message as ProtoMessage

    from mesh.transaction import Transaction
    from services.communication.domain import NewMessage
    from services.communication.drafts import Drafts
    from services.communication.mail import Mailbox
    from services.communication.preferences.links import UnsubscribeLinks
    from services.communication.preferences.store import PreferenceStore
    from services.communication.sender import Sender
    from services.communication.store import MessageStore

    Audiences: TypeAlias = Mapping[pb.Audience.ValueType, tuple[Mailbox, ...]]
    SendRequest: TypeAlias = pb.SendEmailRequest | pb.SendEmailAsyncRequest | pb.SendSystemNotificationRequest

Response = TypeVar("Response", pb.SendEmailResponse, pb.SendEmailAsyncResponse, pb.SendSystemNotificationResponse)


class CommunicationServicer(PreferenceServicer):
    """RPC handlers that store messages and wake the sender. `now` returns the current time in UTC."""

    def __init__(
        self,
        store: MessageStore,
        preferences: PreferenceStore,
        sender: Sender,
        drafts: Drafts,
        *,
        audiences: Audiences,
        links: UnsubscribeLinks,
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._preferences = preferences
        self._sender = sender
        self._drafts = drafts
        self._audiences = audiences
        self._links = links
        self._now = now

    async def SendEmail(
        self, request: pb.SendEmailRequest, context: grpc.aio.ServicerContext[pb.SendEmailRequest, pb.SendEmailResponse]
    ) -> pb.SendEmailResponse:
        new = self._draft(request, parse_recipient(request.recipient), user_id=parse_user_id(request.recipient.user_id))
        response = pb.SendEmailResponse(message_id=str(new.message_id), email_message_id=new.email_message_id)
        response = await self._store_once(request, new, response)
        await self._wait_until_sent(uuid.UUID(response.message_id))
        return response

    async def SendEmailAsync(
        self,
        request: pb.SendEmailAsyncRequest,
        context: grpc.aio.ServicerContext[pb.SendEmailAsyncRequest, pb.SendEmailAsyncResponse],
    ) -> pb.SendEmailAsyncResponse:
        new = self._draft(request, parse_recipient(request.recipient), user_id=parse_user_id(request.recipient.user_id))
        return await self._store_once(request, new, pb.SendEmailAsyncResponse(message_id=str(new.message_id)))

    async def SendSystemNotification(
        self,
        request: pb.SendSystemNotificationRequest,
        context: grpc.aio.ServicerContext[pb.SendSystemNotificationRequest, pb.SendSystemNotificationResponse],
    ) -> pb.SendSystemNotificationResponse:
        new = self._draft(request, *self._audiences[request.audience])
        return await self._store_once(request, new, pb.SendSystemNotificationResponse(message_id=str(new.message_id)))

    async def GetMessage(
        self,
        request: pb.GetMessageRequest,
        context: grpc.aio.ServicerContext[pb.GetMessageRequest, pb.GetMessageResponse],
    ) -> pb.GetMessageResponse:
        message = await self._store.find(uuid.UUID(request.message_id))
        return pb.GetMessageResponse(message=render_message(message))

    async def ListFailedMessages(
        self,
        request: pb.ListFailedMessagesRequest,
        context: grpc.aio.ServicerContext[pb.ListFailedMessagesRequest, pb.ListFailedMessagesResponse],
    ) -> pb.ListFailedMessagesResponse:
        page = page_of(request)
        found = await self._store.list_failed(page.limit, before=page.after(datetime.fromisoformat, uuid.UUID))
        messages, next_page_token = page.cut(found, lambda last: last.create_time, lambda last: last.message_id)
        return pb.ListFailedMessagesResponse(messages=map(render_message, messages), next_page_token=next_page_token)

    async def RetryMessage(
        self,
        request: pb.RetryMessageRequest,
        context: grpc.aio.ServicerContext[pb.RetryMessageRequest, pb.RetryMessageResponse],
    ) -> pb.RetryMessageResponse:
        async with self._store.transaction() as tx:
            response = await tx.once(request, pb.RetryMessageResponse, partial(self._retry_message, tx, request))
        self._sender.wake()
        return response

    async def OnUserErased(
        self,
        request: pb.OnUserErasedRequest,
        context: grpc.aio.ServicerContext[pb.OnUserErasedRequest, pb.OnUserErasedResponse],
    ) -> pb.OnUserErasedResponse:
        async with self._store.transaction() as tx:
            await erase_user(tx, uuid.UUID(request.event.user_id), self._now())
        return pb.OnUserErasedResponse()

    async def EraseAddress(
        self,
        request: pb.EraseAddressRequest,
        context: grpc.aio.ServicerContext[pb.EraseAddressRequest, pb.EraseAddressResponse],
    ) -> pb.EraseAddressResponse:
        async with self._store.transaction() as tx:
            await erase_address(tx, request.email)
        return pb.EraseAddressResponse()

    async def _retry_message(self, tx: Transaction, request: pb.RetryMessageRequest) -> pb.RetryMessageResponse:
        message = await self._store.requeue(tx, uuid.UUID(request.message_id), self._now())
        return pb.RetryMessageResponse(message=render_message(message))

    def _draft(self, request: SendRequest, *recipients: Mailbox, user_id: uuid.UUID | None = None) -> NewMessage:
        draft = self._drafts.write(
            request.template_key,
            request.variables,
            recipients,
            message_id=_message_id(request),
            user_id=user_id,
            now=self._now(),
        )
        return replace(draft, subject_user_id=parse_user_id(request.subject_user_id))

    async def _store_once(self, request: ProtoMessage, new: NewMessage, response: Response) -> Response:
        async with self._store.transaction() as tx:
            stored_response = await tx.once(request, type(response), partial(self._add, tx, new, response))
        self._sender.wake()
        return stored_response

    async def _add(self, tx: Transaction, new: NewMessage, response: Response) -> Response:
        await self._store.add(tx, new)
        await erase_if_user_is_erased(tx, new)
        return response

    async def _wait_until_sent(self, message_id: uuid.UUID) -> None:
        until = self._now() + timedelta(seconds=remaining_s() or 0.0)
        with self._sender.watching(message_id) as attempted:
            message = await self._store.find(message_id)
            # A repeated call waits for the next attempt, and does not fail because of the previous one.
            known_attempts = message.attempts if message.status is MessageStatus.FAILED else 0
            while not message.is_sent(known_attempts=known_attempts, until=until):
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await attempted.wait()
                attempted.clear()
                message = await self._store.find(message_id)


def _message_id(request: SendRequest) -> uuid.UUID:
    """Return the id that the caller has chosen, or a new one."""
    chosen = request.message_id if isinstance(request, pb.SendEmailAsyncRequest) else ""
    return uuid.UUID(chosen) if chosen else uuid.uuid4()
