from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from contracts.errors import MessageNotRetryable, MessageRefused
from mesh.serving.health_probe import problems_of
from services.communication.app import DEAD_MAIL_TROUBLE, SERVICE
from services.communication.domain import EXPIRED, LEASE, RETENTION, MessageStatus
from services.communication.mail_template import TEMPLATES, Templates
from solo60.communication.v1 import communication_pb2 as pb
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from tests.services.communication.faulty_mail_server import BUSY, UNKNOWN
from tests.services.communication.mail_fixture import ADA, send_next
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from tests.services.communication.faulty_mail_server import FaultyMailServer
    from tests.services.communication.mail_fixture import MailFixture
    from tests.support.serving import Serve

HOUR = timedelta(hours=1)


async def test_an_expired_message_is_not_sent_and_its_personal_data_is_deleted(
    mails: MailFixture, faulty: FaultyMailServer
) -> None:
    """An expired message is not sent but listed as failed, and its recipients and text are deleted."""
    message_id = await mails.add(lifetime=HOUR)
    mails.clock.advance(HOUR)
    sender = mails.new_sender(faulty.url)

    assert await send_next(sender)
    assert not await send_next(sender)

    message = await mails.store.find(message_id)
    assert (message.status, message.attempts, message.last_error) == (MessageStatus.EXPIRED, 0, EXPIRED)
    assert not message.may_have_been_sent
    assert faulty.received == []
    assert [each.message_id for each in await mails.store.list_failed(9, before=None)] == [message_id]
    async with mails.database.connection() as connection:
        row = await connection.fetchrow("select recipients, mail from messages")
    assert row is not None
    assert tuple(row) == ([], b"")
    assert (await mails.store.backlog(mails.clock.now())).dead == 0
    assert mails.registry.get_sample_value("mail_expired_total") == 1


async def test_a_message_is_sent_until_its_lifetime_ends(mails: MailFixture, faulty: FaultyMailServer) -> None:
    """A message is sent until the last microsecond of its lifetime."""
    message_id = await mails.add(lifetime=HOUR)
    mails.clock.advance(HOUR - timedelta(microseconds=1))

    await send_next(mails.new_sender(faulty.url))

    assert (await mails.store.find(message_id)).status is MessageStatus.SENT


async def test_a_failing_message_expires_on_time(mails: MailFixture, faulty: FaultyMailServer) -> None:
    """A failing message expires exactly at the end of its lifetime, and can then neither be retried nor awaited."""
    faulty.answers.extend([BUSY] * 99)
    message_id = await mails.add(lifetime=timedelta(minutes=30))
    created = mails.clock.now()
    sender = mails.new_sender(faulty.url)

    while (await mails.store.find(message_id)).status is not MessageStatus.EXPIRED:
        await mails.advance_to_due(message_id)
        assert await send_next(sender)

    assert mails.clock.now() == created + timedelta(minutes=30)
    assert all(not mail.is_accepted for mail in faulty.received)
    with pytest.raises(MessageNotRetryable, match="expired"):
        async with mails.store.transaction() as tx:
            await mails.store.requeue(tx, message_id, mails.clock.now())
    with pytest.raises(MessageRefused, match="expired"):
        (await mails.store.find(message_id)).is_sent(known_attempts=0, until=mails.clock.now())


async def test_a_message_that_expires_in_doubt_is_marked(mails: MailFixture, faulty: FaultyMailServer) -> None:
    """A message that expires after an interrupted attempt is marked as possibly sent, and is not sent again."""
    message_id = await mails.add(lifetime=timedelta(seconds=10))
    assert await mails.store.claim(mails.clock.now()) is not None  # then its process is killed
    mails.clock.advance(LEASE)

    assert await send_next(mails.new_sender(faulty.url))

    message = await mails.store.find(message_id)
    assert (message.status, message.attempts, message.may_have_been_sent) == (MessageStatus.EXPIRED, 1, True)
    assert faulty.received == []


async def test_an_expired_message_is_deleted_after_the_retention_time(
    mails: MailFixture, faulty: FaultyMailServer
) -> None:
    """An expired message is deleted after the same time as a sent one; a dead message stays for operators."""
    faulty.refused[ADA] = UNKNOWN
    dead = await mails.add()
    await send_next(mails.new_sender(faulty.url))
    await mails.add(lifetime=HOUR)
    mails.clock.advance(RETENTION + HOUR)
    await send_next(mails.new_sender(faulty.url))

    assert await mails.store.delete_old(mails.clock.now() - RETENTION) == 1
    assert (await mails.store.find(dead)).status is MessageStatus.DEAD


def test_only_time_bound_mails_have_a_lifetime() -> None:
    """Only time-bound mails, such as codes and reminders, have a lifetime. All others never expire."""
    lifetimes = {template.key: template.settings.lifetime for template in Templates(TEMPLATES)}

    assert {key: lifetime for key, lifetime in lifetimes.items() if lifetime is not None} == {
        "APPROVAL_REQUESTED": timedelta(days=7),
        "EMAIL_CONFIRMATION": timedelta(hours=1),
        "PASSWORD_RESET": timedelta(minutes=30),
        "PAYMENT_FAILED": timedelta(days=3),
        "RENEWAL_REMINDER": timedelta(days=7),
        "SLOT_OFFERED": timedelta(minutes=30),
        "SPOT_AVAILABLE": timedelta(days=1),
        "TRIAL_ENDING": timedelta(days=3),
    }


async def test_the_service_shows_expired_messages_and_expiry_times(
    serve: Serve, mails: MailFixture, faulty: FaultyMailServer
) -> None:
    """The service lists an expired message with its status, and returns the template's lifetime as `expire_time`."""
    mails.clock.time = datetime.now(UTC) - timedelta(days=1)
    yesterday = await mails.add(lifetime=timedelta(minutes=30))
    mesh = await serve(smtp_url=faulty.url)
    await mesh.start(SERVICE, mails.url)
    stub = mesh.stub(CommunicationServiceStub)

    async def has_expired() -> bool:
        return (await mails.store.find(yesterday)).status is MessageStatus.EXPIRED

    await eventually(has_expired)
    (listed,) = (await stub.ListFailedMessages(pb.ListFailedMessagesRequest())).messages
    assert (listed.message_id, listed.status) == (str(yesterday), pb.MESSAGE_STATUS_EXPIRED)

    sent = await stub.SendEmail(
        pb.SendEmailRequest(
            recipient=pb.Recipient(email=ADA),
            template_key="PASSWORD_RESET",
            variables={"member_name": "Ada", "code": "123456"},
        )
    )
    message = (await stub.GetMessage(pb.GetMessageRequest(message_id=sent.message_id))).message
    assert message.expire_time.ToDatetime() - message.create_time.ToDatetime() == timedelta(minutes=30)
    assert len(faulty.accepted) == 1


async def test_dead_mail_is_reported_by_health(serve: Serve, faulty: FaultyMailServer) -> None:
    """Health reports dead mail until an operator has retried it successfully."""
    faulty.refused[ADA] = UNKNOWN
    mesh = await serve(SERVICE, smtp_url=faulty.url)
    stub = mesh.stub(CommunicationServiceStub)
    request = pb.SendEmailRequest(
        recipient=pb.Recipient(email=ADA), template_key="PASSWORD_CHANGED", variables={"member_name": "Ada"}
    )
    with pytest.raises(MessageRefused) as refusal:
        await stub.SendEmail(request)

    async def troubles_are(expected: list[str]) -> bool:
        problems = await problems_of(mesh.settings.url_of("communication"), key=mesh.keys["operator"])
        return list(problems.troubles) == expected

    await eventually(lambda: troubles_are([DEAD_MAIL_TROUBLE]))
    await stub.RetryMessage(pb.RetryMessageRequest(message_id=refusal.value.metadata["message_id"]))
    await eventually(lambda: troubles_are([]))
