"""Erasure of messages to a user, about a user, or to an address."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from contracts.errors import IdempotencyKeyReused, MessageNotRetryable, MessageRefused
from services.communication.erasure import ERASED
from solo60.communication.v1 import communication_pb2 as pb
from solo60.user.v1.events_pb2 import UserErased
from tests.services.communication.faulty_mail_server import BUSY, UNKNOWN
from tests.services.communication.preferences.requests import preferences_of, update
from tests.services.communication.requests import email, in_background, notification, wait_for_status, with_key
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceAsyncStub
    from tests.services.communication.faulty_mail_server import FaultyMailServer
    from tests.support.serving import MeshForTests

ADA, HOST = str(uuid4()), str(uuid4())
TO_ADA = pb.Recipient(email="ada@example.org", display_name="Ada Lovelace", user_id=ADA)
TO_GUEST = pb.Recipient(email="Grace@guests.example", display_name="Grace")
CONTENT = "select count(*) from messages where recipients <> '{}' or mail <> ''"


async def erase(stub: CommunicationServiceAsyncStub, user_id: str) -> None:
    """Deliver the event that a user is erased."""
    await stub.OnUserErased(pb.OnUserErasedRequest(event=UserErased(user_id=user_id)))


async def count_with_content(mesh: MeshForTests) -> int:
    """Return the number of messages with recipients or text."""
    async with mesh.database("communication").connection() as connection:
        return int(await connection.fetchval(CONTENT))


@pytest.mark.parametrize(("answer", "status"), [(BUSY, pb.MESSAGE_STATUS_FAILED), (UNKNOWN, pb.MESSAGE_STATUS_DEAD)])
async def test_failed_mails_to_and_about_an_erased_user_expire(
    faulty_mesh: MeshForTests,
    faulty_stub: CommunicationServiceAsyncStub,
    faulty: FaultyMailServer,
    answer: str,
    status: pb.MessageStatus.ValueType,
) -> None:
    """Failed and dead mails to or about an erased user lose recipient and text, and can never be sent again."""
    faulty.answers.extend([answer] * 100)  # also for retries that begin before the erasure
    ids = [
        (await faulty_stub.SendEmailAsync(in_background(recipient=TO_ADA))).message_id,
        (await faulty_stub.SendEmailAsync(in_background(recipient=TO_GUEST, subject_user_id=ADA))).message_id,
        (await faulty_stub.SendSystemNotification(notification(subject_user_id=ADA))).message_id,
    ]
    for message_id in ids:
        await wait_for_status(faulty_stub, message_id, status)

    await erase(faulty_stub, ADA)

    assert await count_with_content(faulty_mesh) == 0
    for message_id in ids:
        message = (await faulty_stub.GetMessage(pb.GetMessageRequest(message_id=message_id))).message
        assert (message.status, message.last_error) == (pb.MESSAGE_STATUS_EXPIRED, ERASED)
        with pytest.raises(MessageNotRetryable):
            await faulty_stub.RetryMessage(pb.RetryMessageRequest(message_id=message_id))


async def test_the_preferences_of_an_erased_user_are_deleted(faulty_stub: CommunicationServiceAsyncStub) -> None:
    """OnUserErased deletes the notification preferences of the user, and of no other user."""
    for user_id in (ADA, HOST):
        await faulty_stub.UpdateNotificationPreferences(update(user_id=user_id, reminders=False))

    await erase(faulty_stub, ADA)

    assert [(await preferences_of(faulty_stub, user_id)).reminders for user_id in (ADA, HOST)] == [True, False]


async def test_mail_of_other_users_is_sent(
    faulty_stub: CommunicationServiceAsyncStub, faulty: FaultyMailServer
) -> None:
    """An erasure neither erases nor delays the mail of another user."""
    await erase(faulty_stub, ADA)

    await faulty_stub.SendEmail(email(recipient=TO_GUEST, subject_user_id=HOST))

    assert len(faulty.accepted) == 1


async def test_a_late_mail_to_an_erased_user_is_never_sent(
    faulty_mesh: MeshForTests, faulty_stub: CommunicationServiceAsyncStub, faulty: FaultyMailServer
) -> None:
    """A mail that a caller's outbox delivers after the erasure is stored as expired, without recipient and text."""
    await erase(faulty_stub, ADA)

    late = await faulty_stub.SendEmailAsync(in_background(recipient=TO_ADA))
    with pytest.raises(MessageRefused):
        await faulty_stub.SendEmail(email(recipient=TO_GUEST, subject_user_id=ADA))

    message = (await faulty_stub.GetMessage(pb.GetMessageRequest(message_id=late.message_id))).message
    assert (message.status, message.attempts) == (pb.MESSAGE_STATUS_EXPIRED, 0)
    assert await count_with_content(faulty_mesh) == 0
    assert faulty.received == []


async def test_an_erasure_during_an_attempt_wins(
    faulty_mesh: MeshForTests, faulty_stub: CommunicationServiceAsyncStub, faulty: FaultyMailServer
) -> None:
    """If the mail server rejects a mail while its user is erased, the result of the attempt restores nothing."""
    faulty.answering.clear()
    faulty.answers.append(BUSY)
    message_id = (await faulty_stub.SendEmailAsync(in_background(recipient=TO_ADA))).message_id
    await wait_for_status(faulty_stub, message_id, pb.MESSAGE_STATUS_SENDING)
    await eventually(lambda: bool(faulty.received))

    await erase(faulty_stub, ADA)
    faulty.answering.set()

    second = await faulty_stub.SendEmail(email(recipient=TO_GUEST))
    assert second.message_id
    message = (await faulty_stub.GetMessage(pb.GetMessageRequest(message_id=message_id))).message
    assert message.status == pb.MESSAGE_STATUS_EXPIRED
    assert await count_with_content(faulty_mesh) == 0


async def test_no_mail_slips_past_a_concurrent_erasure(
    faulty_mesh: MeshForTests, faulty_stub: CommunicationServiceAsyncStub, faulty: FaultyMailServer
) -> None:
    """Of mails that arrive during an erasure, each is stored before it and erased, or stored as expired."""
    faulty.answers.extend([BUSY] * 100)
    mails = [faulty_stub.SendEmailAsync(in_background(recipient=TO_ADA)) for _ in range(20)]

    await asyncio.gather(*mails[:10], erase(faulty_stub, ADA), *mails[10:])

    assert await count_with_content(faulty_mesh) == 0


async def test_an_address_is_erased_in_any_spelling(
    faulty_mesh: MeshForTests, faulty_stub: CommunicationServiceAsyncStub, faulty: FaultyMailServer
) -> None:
    """EraseAddress erases failed mail to a person without an account, and no other mail."""
    faulty.answers.extend([UNKNOWN] * 2)
    ids = [
        (await faulty_stub.SendEmailAsync(in_background(recipient=recipient))).message_id
        for recipient in (TO_GUEST, TO_ADA)
    ]
    for message_id in ids:
        await wait_for_status(faulty_stub, message_id, pb.MESSAGE_STATUS_DEAD)

    await faulty_stub.EraseAddress(pb.EraseAddressRequest(email="grace@GUESTS.example"))

    statuses = [
        (await faulty_stub.GetMessage(pb.GetMessageRequest(message_id=message_id))).message.status for message_id in ids
    ]
    assert statuses == [pb.MESSAGE_STATUS_EXPIRED, pb.MESSAGE_STATUS_DEAD]
    assert await count_with_content(faulty_mesh) == 1


async def test_the_hash_of_an_erased_mail_is_erased_too(
    faulty_mesh: MeshForTests, faulty_stub: CommunicationServiceAsyncStub
) -> None:
    """A repeated call after the erasure fails with IDEMPOTENCY_KEY_REUSED, because its hash was personal data."""
    request = in_background(recipient=TO_ADA)
    await faulty_stub.SendEmailAsync(request, metadata=with_key("once"))

    await erase(faulty_stub, ADA)

    with pytest.raises(IdempotencyKeyReused):
        await faulty_stub.SendEmailAsync(request, metadata=with_key("once"))
    async with faulty_mesh.database("communication").connection() as connection:
        assert await connection.fetchval("select count(*) from idempotency_keys where request_sha256 <> ''") == 0
