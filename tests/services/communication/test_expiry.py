from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from contracts.errors import MessageNotRetryable, MessageRefused
from mesh.serving.health_probe import problems_of
from services.communication.app import DEAD_MAIL_TROUBLE, SERVICE, TEMPLATES
from services.communication.domain import EXPIRED, KEPT_FOR, LEASE, Status
from services.communication.mail_template import Templates
from solo60.communication.v1 import communication_pb2 as pb
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from tests.services.communication.moody_mail_server import BUSY, UNKNOWN
from tests.services.communication.post import ADA
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.communication.moody_mail_server import MoodyMailServer
    from tests.services.communication.post import Post
    from tests.support.serving import Serve

HOUR = timedelta(hours=1)


async def test_an_expired_message_is_not_sent_and_its_personal_data_is_deleted(
    post: Post, moody: MoodyMailServer
) -> None:
    """An expired message is not sent but listed as failed, and its recipients and text are deleted."""
    message_id = await post.add(lifetime=HOUR)
    post.clock.advance(HOUR)
    sender = post.sender(moody.url)

    assert await sender.send_next()
    assert not await sender.send_next()

    message = await post.store.find(message_id)
    assert (message.status, message.attempts, message.last_error) == (Status.EXPIRED, 0, EXPIRED)
    assert not message.may_have_been_sent
    assert moody.received == []
    assert [each.message_id for each in await post.store.list_failed(9, before=None)] == [message_id]
    async with post.database.connection() as connection:
        row = await connection.fetchrow("select recipients, mail from messages")
    assert row is not None
    assert tuple(row) == ([], b"")
    assert (await post.store.backlog(post.clock.now())).dead == 0
    assert post.registry.get_sample_value("mail_expired_total") == 1


async def test_a_message_is_sent_until_its_lifetime_ends(post: Post, moody: MoodyMailServer) -> None:
    """A message is sent until the last microsecond of its lifetime."""
    message_id = await post.add(lifetime=HOUR)
    post.clock.advance(HOUR - timedelta(microseconds=1))

    await post.sender(moody.url).send_next()

    assert (await post.store.find(message_id)).status is Status.SENT


async def test_a_failing_message_expires_on_time(post: Post, moody: MoodyMailServer) -> None:
    """A failing message expires exactly at the end of its lifetime, and can then neither be retried nor awaited."""
    moody.answers.extend([BUSY] * 99)
    message_id = await post.add(lifetime=timedelta(minutes=30))
    created = post.clock.now()
    sender = post.sender(moody.url)

    while (await post.store.find(message_id)).status is not Status.EXPIRED:
        await post.due(message_id)
        assert await sender.send_next()

    assert post.clock.now() == created + timedelta(minutes=30)
    assert all(not mail.is_accepted for mail in moody.received)
    with pytest.raises(MessageNotRetryable, match="expired"):
        async with post.store.transaction() as transaction:
            await post.store.requeue(transaction, message_id, post.clock.now())
    with pytest.raises(MessageRefused, match="expired"):
        (await post.store.find(message_id)).is_sent(known_attempts=0, until=post.clock.now())


async def test_a_message_that_expires_in_doubt_is_marked(post: Post, moody: MoodyMailServer) -> None:
    """A message that expires after an interrupted attempt is marked as possibly sent, and is not sent again."""
    message_id = await post.add(lifetime=timedelta(seconds=10))
    assert await post.store.claim(post.clock.now()) is not None  # then its process is killed
    post.clock.advance(LEASE)

    assert await post.sender(moody.url).send_next()

    message = await post.store.find(message_id)
    assert (message.status, message.attempts, message.may_have_been_sent) == (Status.EXPIRED, 1, True)
    assert moody.received == []


async def test_an_expired_message_is_deleted_after_the_retention_time(post: Post, moody: MoodyMailServer) -> None:
    """An expired message is deleted after the same time as a sent one; a dead message stays for operators."""
    moody.refused[ADA] = UNKNOWN
    dead = await post.add()
    await post.sender(moody.url).send_next()
    await post.add(lifetime=HOUR)
    post.clock.advance(KEPT_FOR + HOUR)
    await post.sender(moody.url).send_next()

    assert await post.store.forget_sent(post.clock.now() - KEPT_FOR) == 1
    assert (await post.store.find(dead)).status is Status.DEAD


def test_only_time_bound_mails_have_a_lifetime() -> None:
    """Only seven time-bound mails, such as codes and reminders, have a lifetime. All others never expire."""
    templates = Templates(TEMPLATES)
    lifetimes = {key: templates.find(key).lifetime for key in templates.keys}

    assert {key: lifetime for key, lifetime in lifetimes.items() if lifetime is not None} == {
        "APPROVAL_REQUESTED": timedelta(days=7),
        "EMAIL_CONFIRMATION": timedelta(hours=1),
        "PASSWORD_RESET": timedelta(minutes=30),
        "PAYMENT_FAILED": timedelta(days=3),
        "RENEWAL_REMINDER": timedelta(days=7),
        "SPOT_AVAILABLE": timedelta(days=1),
        "TRIAL_ENDING": timedelta(days=3),
    }


@pytest.mark.parametrize("lifetime", [None, "", "soon", "0 days", "1.5 hours", "-1 days", "2 weeks", "1 day\n1 day"])
def test_a_template_without_a_valid_lifetime_is_rejected(tmp_path: Path, lifetime: str | None) -> None:
    """A missing or invalid `makes_sense_for.txt` is rejected with an error that names the template."""
    folder = tmp_path / "UNDECIDED"
    folder.mkdir()
    for name, text in (("subject.txt", "Hello"), ("body.txt", "Hello"), ("in_doubt.txt", "repeat")):
        (folder / name).write_text(text)
    if lifetime is not None:
        (folder / "makes_sense_for.txt").write_text(lifetime)

    with pytest.raises(ValueError, match=r"^Template UNDECIDED: makes_sense_for\.txt must contain a duration such as "):
        Templates(tmp_path)


async def test_the_service_shows_expired_messages_and_expiry_times(
    serve: Serve, post: Post, moody: MoodyMailServer
) -> None:
    """The service lists an expired message with its status, and returns the template's lifetime as `expire_time`."""
    post.clock.time = datetime.now(UTC) - timedelta(days=1)
    yesterday = await post.add(lifetime=timedelta(minutes=30))
    mesh = await serve(smtp_url=moody.url)
    await mesh.start(SERVICE, post.url)
    stub = mesh.stub(CommunicationServiceStub)

    async def has_expired() -> bool:
        return (await post.store.find(yesterday)).status is Status.EXPIRED

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
    assert len(moody.accepted) == 1


async def test_dead_mail_is_reported_by_health(serve: Serve, moody: MoodyMailServer) -> None:
    """Health reports dead mail until an operator has retried it successfully."""
    moody.refused[ADA] = UNKNOWN
    mesh = await serve(SERVICE, smtp_url=moody.url)
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
