from __future__ import annotations

import asyncio
from email import message_from_bytes
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from contracts.errors import (
    IdempotencyKeyReused,
    InvalidRequest,
    MessageNotFound,
    MessageNotRetryable,
    MessageRefused,
    ScopeMissing,
    ServiceError,
    TemplateNotFound,
    TemplateVariableMissing,
    Unavailable,
)
from interceptors.idempotency import IDEMPOTENCY_KEY
from mesh.config import SettingsError, load_settings
from mesh.inbox import read_inbox
from services.communication.app import SERVICE
from solo60.communication.v1 import communication_pb2 as pb
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from tests.services.communication.moody_mail_server import BUSY, HANG_UP, UNKNOWN
from tests.services.communication.patience import PATIENCE_S, until
from tests.support.ports import free_ports

if TYPE_CHECKING:
    from pathlib import Path

    from mesh.inbox import Inbox
    from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceAsyncStub
    from tests.services.communication.moody_mail_server import MoodyMailServer
    from tests.support.postgres import DatabaseFactory
    from tests.support.serving import MeshForTests, Serve

Post: TypeAlias = "CommunicationServiceAsyncStub"

ADA = pb.Recipient(email="ada@example.org", display_name="Ada Lovelace")
VARIABLES = {
    "member_name": "Ada Lovelace",
    "gym_name": "Field Street Gym",
    "start_time": "Tuesday 3 March 2026, 18:00",
    "end_time": "19:00",
    "price": "12.50 GBP",
}
SENDINGS = ["SendEmail", "SendEmailAsync", "SendSystemNotification"]


@pytest.fixture
def post(mesh: MeshForTests) -> Post:
    """Call the service as an operator, who may do everything."""
    return mesh.stub(CommunicationServiceStub)


@pytest.fixture
def moody_post(moody_mesh: MeshForTests) -> Post:
    """Call the service that sends to the moody mail server."""
    return moody_mesh.stub(CommunicationServiceStub)


def email(**changes: Any) -> pb.SendEmailRequest:  # noqa: ANN401 - any field
    """Ask for the mail about a booking, to Ada."""
    return pb.SendEmailRequest(
        **{"recipient": ADA, "template_key": "SESSION_BOOKED", "variables": VARIABLES, **changes}
    )


def in_background(**changes: Any) -> pb.SendEmailAsyncRequest:  # noqa: ANN401 - any field
    """Ask for the same mail in the background."""
    return pb.SendEmailAsyncRequest.FromString(email(**changes).SerializeToString())


def notification(**changes: Any) -> pb.SendSystemNotificationRequest:  # noqa: ANN401 - any field
    """Ask for a notification of the admins."""
    wanted = {"audience": pb.AUDIENCE_ADMINS, "template_key": "SESSION_BOOKED", "variables": VARIABLES, **changes}
    return pb.SendSystemNotificationRequest(**wanted)


async def send(post: Post, method: str, **changes: Any) -> str:  # noqa: ANN401 - any field
    """Send with one of the three methods and return the message id."""
    make = {"SendEmail": email, "SendEmailAsync": in_background, "SendSystemNotification": notification}[method]
    response = await getattr(post, method)(make(**changes))
    return str(response.message_id)


def with_key(key: str) -> tuple[tuple[str, str], ...]:
    """Choose the idempotency key of a call."""
    return ((IDEMPOTENCY_KEY, key),)


async def reached(post: Post, message_id: str, *statuses: pb.MessageStatus.ValueType) -> pb.Message:
    """Return the message once it has one of these statuses."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            message = (await post.GetMessage(pb.GetMessageRequest(message_id=message_id))).message
            if message.status in statuses:
                return message
            await asyncio.sleep(0.01)


def fields(error: ServiceError) -> list[str]:
    """Return the fields that a bad request is refused for."""
    return [violation.field for violation in error.violations]


async def test_send_email_answers_when_the_mail_is_there(post: Post, mail_folder: Path) -> None:
    """SendEmail: its answer means that the mail server has accepted the mail."""
    response = await post.SendEmail(email())

    (mail,) = read_inbox(mail_folder)
    assert (mail.sender, mail.recipient) == ("no-reply@solo60.example", "ada@example.org")
    assert mail.subject == "Booked: Field Street Gym, Tuesday 3 March 2026, 18:00"
    assert mail.body.startswith("Hello Ada Lovelace,\n\nyour session is booked:")
    assert mail.message_id == response.email_message_id
    message = (await post.GetMessage(pb.GetMessageRequest(message_id=response.message_id))).message
    assert message.status == pb.MESSAGE_STATUS_SENT
    assert message.email_message_id == response.email_message_id
    assert message.create_time.ToDatetime() <= message.send_time.ToDatetime()


async def test_send_email_async_answers_at_once_and_sends_later(post: Post, mail_folder: Path) -> None:
    """SendEmailAsync, A2: the message is stored when it is answered, sent in the background, and can be followed."""
    message_id = await send(post, "SendEmailAsync")

    message = await reached(post, message_id, pb.MESSAGE_STATUS_SENT)
    assert (message.template_key, message.attempts, message.last_error) == ("SESSION_BOOKED", 1, "")
    assert [mail.message_id for mail in read_inbox(mail_folder)] == [message.email_message_id]


async def test_a_notification_goes_to_everyone_of_its_audience(post: Post, mail_folder: Path) -> None:
    """SendSystemNotification: one message to all addresses that are configured, and to nobody else."""
    first = await send(post, "SendSystemNotification")
    await reached(post, first, pb.MESSAGE_STATUS_SENT)
    second = await send(post, "SendSystemNotification", audience=pb.AUDIENCE_OPERATORS)
    await reached(post, second, pb.MESSAGE_STATUS_SENT)

    assert [mail.recipient for mail in read_inbox(mail_folder)] == [
        "ann@solo60.example, bob@solo60.example",
        "operators@solo60.example",
    ]


@pytest.mark.parametrize("method", SENDINGS)
async def test_an_unknown_template_is_refused_and_nothing_stored(mesh: MeshForTests, post: Post, method: str) -> None:
    """TEMPLATE_NOT_FOUND comes with the call, not later."""
    with pytest.raises(TemplateNotFound):
        await send(post, method, template_key="SESSION_BOKED")

    async with mesh.database("communication").connection() as connection:
        assert await connection.fetchval("select count(*) from messages") == 0


@pytest.mark.parametrize("method", SENDINGS)
async def test_a_missing_variable_is_named(post: Post, method: str) -> None:
    """TEMPLATE_VARIABLE_MISSING names what is missing, in the call."""
    with pytest.raises(TemplateVariableMissing) as caught:
        await send(post, method, variables={"member_name": "Ada Lovelace", "price": "1", "end_time": "19:00"})

    assert caught.value.metadata["variables"] == "gym_name, start_time"


@pytest.mark.parametrize(
    ("method", "changes", "field"),
    [
        *((method, {"template_key": "session"}, "template_key") for method in SENDINGS),
        *((method, {"variables": {"x": "y" * 2001}}, "variables[]") for method in SENDINGS),
        *((method, {"variables": {"X": "y"}}, "variables[]") for method in SENDINGS),
        *((method, {"variables": {**VARIABLES, "gym_name": "Field\x00Street"}}, "variables[]") for method in SENDINGS),
        *((method, {"recipient": None}, "recipient") for method in SENDINGS[:2]),
        *((method, {"recipient": pb.Recipient(email="ada")}, "recipient.email") for method in SENDINGS[:2]),
        *((method, {"recipient": pb.Recipient(email="ada@localhost")}, "recipient.email") for method in SENDINGS[:2]),
        *((method, {"variables": {**VARIABLES, "gym_name": "A\u202eB"}}, "variables[]") for method in SENDINGS),
        *(
            (method, {"recipient": pb.Recipient(email="a@x.org", display_name="A\r\nBcc: b")}, "recipient.display_name")
            for method in SENDINGS[:2]
        ),
        ("SendSystemNotification", {"audience": pb.AUDIENCE_UNSPECIFIED}, "audience"),
    ],
)
async def test_a_bad_request_to_send_names_its_field(
    post: Post, method: str, changes: dict[str, Any], field: str
) -> None:
    """C3: each rule of the contract is held, and an address that mail cannot be sent to is found out at once."""
    with pytest.raises(InvalidRequest) as caught:
        await send(post, method, **changes)

    assert fields(caught.value) == [field]


@pytest.mark.parametrize("method", ["GetMessage", "RetryMessage"])
async def test_a_message_that_is_not_there_is_not_found(post: Post, method: str) -> None:
    """MESSAGE_NOT_FOUND, and INVALID_REQUEST for what cannot be an id."""
    request = {"GetMessage": pb.GetMessageRequest, "RetryMessage": pb.RetryMessageRequest}[method]
    with pytest.raises(MessageNotFound):
        await getattr(post, method)(request(message_id=str(uuid4())))
    with pytest.raises(InvalidRequest) as caught:
        await getattr(post, method)(request(message_id="1"))

    assert fields(caught.value) == ["message_id"]


async def test_fifty_calls_with_one_key_make_one_mail(post: Post, mail_folder: Path) -> None:
    """S6: however often a call is repeated, and at the same time, there is one message, one mail and one answer."""
    answers = await asyncio.gather(*(post.SendEmail(email(), metadata=with_key("one")) for _ in range(50)))

    assert len({answer.message_id for answer in answers}) == 1
    assert [mail.message_id for mail in read_inbox(mail_folder)] == [answers[0].email_message_id]


@pytest.mark.parametrize("method", SENDINGS)
async def test_a_key_belongs_to_its_request(mesh: MeshForTests, post: Post, method: str) -> None:
    """S6: the same key with another text is a mistake that is told, and another caller's key is another key."""
    make = {"SendEmail": email, "SendEmailAsync": in_background, "SendSystemNotification": notification}[method]
    first = await getattr(post, method)(make(), metadata=with_key("one"))
    assert await getattr(post, method)(make(), metadata=with_key("one")) == first
    with pytest.raises(IdempotencyKeyReused):
        await getattr(post, method)(make(template_key="SESSION_APPROVED"), metadata=with_key("one"))

    session = mesh.stub(CommunicationServiceStub, caller="session")
    assert (await getattr(session, method)(make(), metadata=with_key("one"))).message_id != first.message_id


async def test_a_refused_mail_is_told_and_listed(moody_post: Post, moody: MoodyMailServer) -> None:
    """SendEmail, MESSAGE_REFUSED: a final refusal is answered as such, also when the call is repeated."""
    moody.answers.append(UNKNOWN)
    for _ in range(2):
        with pytest.raises(MessageRefused) as caught:
            await moody_post.SendEmail(email(), metadata=with_key("one"))

    assert len(moody.received) == 1
    (message,) = (await moody_post.ListFailedMessages(pb.ListFailedMessagesRequest())).messages
    assert message.message_id == caught.value.metadata["message_id"]
    assert message.status == pb.MESSAGE_STATUS_DEAD


async def test_a_busy_mail_server_is_unavailable_and_the_mail_is_sent_once(
    moody_post: Post, moody: MoodyMailServer
) -> None:
    """SendEmail, L1: three attempts, then UNAVAILABLE; repeating the call with its key sends the mail, once."""
    # More than three: the sender goes on by itself, and a slow caller may miss one of its attempts.
    moody.answers.extend([BUSY] * 99)
    with capture_logs() as logs, pytest.raises(Unavailable):
        await moody_post.SendEmail(email(), metadata=with_key("one"))
    assert [entry["code"] for entry in logs if entry["event"] == "call"] == ["UNAVAILABLE"] * 3
    assert len(moody.received) >= 3
    moody.answers.clear()

    answer = await moody_post.SendEmail(email(), metadata=with_key("one"))
    assert await moody_post.SendEmail(email(), metadata=with_key("one")) == answer
    assert len(moody.accepted) == 1


@pytest.mark.parametrize(("template_key", "copies"), [("SESSION_BOOKED", 2), ("SPOT_AVAILABLE", 1)])
async def test_an_answer_that_is_lost_repeats_only_what_may_come_twice(
    moody_post: Post, moody: MoodyMailServer, template_key: str, copies: int
) -> None:
    """RFC 1047: the template decides; the caller that waits is told what is known, also when it asks again."""
    moody.answers.append(HANG_UP)
    message_id = await send(moody_post, "SendEmailAsync", template_key=template_key)

    ended = await reached(moody_post, message_id, pb.MESSAGE_STATUS_SENT, pb.MESSAGE_STATUS_DEAD)
    assert ended.may_have_been_sent == (ended.status == pb.MESSAGE_STATUS_DEAD) == (copies == 1)
    assert [message_from_bytes(mail.content)["Message-ID"] for mail in moody.received] == (
        [ended.email_message_id] * copies
    )


async def test_who_waits_for_a_mail_in_doubt_is_told_that_it_may_be_sent(
    moody_post: Post, moody: MoodyMailServer
) -> None:
    """SendEmail: UNAVAILABLE, also when the call is repeated, and nothing is sent a second time."""
    moody.answers.append(HANG_UP)
    for _ in range(2):
        with pytest.raises(Unavailable, match="may have been sent, and was not repeated"):
            await moody_post.SendEmail(email(template_key="SPOT_AVAILABLE"), metadata=with_key("one"))

    assert len(moody.received) == 1


async def test_a_message_that_failed_is_retried_by_hand(moody_post: Post, moody: MoodyMailServer) -> None:
    """RetryMessage, A2: a dead message is queued again with its history, once for each key, and then sent."""
    moody.answers.append(UNKNOWN)
    message_id = await send(moody_post, "SendEmailAsync")
    dead = await reached(moody_post, message_id, pb.MESSAGE_STATUS_DEAD)
    request = pb.RetryMessageRequest(message_id=message_id)

    queued = (await moody_post.RetryMessage(request, metadata=with_key("again"))).message

    assert queued.status == pb.MESSAGE_STATUS_QUEUED
    assert (queued.attempts, queued.last_error) == (dead.attempts, dead.last_error)
    sent = await reached(moody_post, message_id, pb.MESSAGE_STATUS_SENT)
    assert (sent.attempts, sent.email_message_id) == (2, dead.email_message_id)
    assert (await moody_post.RetryMessage(request, metadata=with_key("again"))).message == queued
    assert len(moody.accepted) == 1


async def test_a_message_that_has_not_failed_is_not_retried(post: Post) -> None:
    """RetryMessage, MESSAGE_NOT_RETRYABLE: what has arrived is not sent again."""
    response = await post.SendEmail(email())

    with pytest.raises(MessageNotRetryable):
        await post.RetryMessage(pb.RetryMessageRequest(message_id=response.message_id))


async def test_failed_messages_come_in_pages_the_newest_first(moody_post: Post, moody: MoodyMailServer) -> None:
    """ListFailedMessages: every failed message is on one page, and one that was sent on none."""
    moody.answers.extend([UNKNOWN] * 5)
    message_ids = []
    for _ in range(6):
        message_ids.append(await send(moody_post, "SendEmailAsync"))
        await reached(moody_post, message_ids[-1], pb.MESSAGE_STATUS_DEAD, pb.MESSAGE_STATUS_SENT)

    pages: list[list[str]] = []
    token = ""
    while token or not pages:
        request = pb.ListFailedMessagesRequest(page_size=2, page_token=token)
        page = await moody_post.ListFailedMessages(request)
        pages.append([message.message_id for message in page.messages])
        token = page.next_page_token

    assert [len(page) for page in pages] == [2, 2, 1]
    assert [each for page in pages for each in page] == message_ids[4::-1]
    whole = await moody_post.ListFailedMessages(pb.ListFailedMessagesRequest())
    assert [message.message_id for message in whole.messages] == message_ids[4::-1]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"page_size": -1}, "page_size"),
        ({"page_token": "1"}, "page_token"),
    ],
)
async def test_a_bad_page_is_named(post: Post, changes: dict[str, Any], field: str) -> None:
    """ListFailedMessages, C3: a page size out of bounds or a token that is none of ours is the caller's mistake."""
    with pytest.raises(InvalidRequest) as caught:
        await post.ListFailedMessages(pb.ListFailedMessagesRequest(**changes))

    assert fields(caught.value) == [field]


async def test_a_service_that_sends_may_not_operate(mesh: MeshForTests) -> None:
    """S1: the session service may send, and neither read the list of failures nor retry."""
    session = mesh.stub(CommunicationServiceStub, caller="session")

    assert await send(session, "SendEmailAsync")
    with pytest.raises(ScopeMissing):
        await session.ListFailedMessages(pb.ListFailedMessagesRequest())
    with pytest.raises(ScopeMissing):
        await session.RetryMessage(pb.RetryMessageRequest(message_id=str(uuid4())))


async def test_what_is_stored_is_sent_after_a_restart(
    serve: Serve, inbox: Inbox, mail_folder: Path, database_url: DatabaseFactory
) -> None:
    """J6: mail that could not be sent before the service went down is sent when it is up again."""
    url = await database_url(SERVICE.name)
    (port,) = free_ports(1)
    before = await serve(smtp_url=f"smtp://127.0.0.1:{port}")
    await before.start(SERVICE, url)
    post = before.stub(CommunicationServiceStub)
    await reached(post, await send(post, "SendEmailAsync"), pb.MESSAGE_STATUS_FAILED)
    await before.stop(SERVICE.name)

    after = await serve(smtp_url=inbox.url)
    await after.start(SERVICE, url)

    await until(lambda: len(read_inbox(mail_folder)) == 1)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("smtp_url", "http://127.0.0.1:50025"),
        ("smtp_url", "smtp://127.0.0.1:secret"),
        ("mail_from", "Solo60"),
        ("admins_email", ""),
        ("operators_email", "x@"),
    ],
)
def test_a_wrong_mail_setting_stops_the_start_with_its_name(setting: str, value: str) -> None:
    """One sentence names the setting, and never shows its value, which may hold a password."""
    with pytest.raises(SettingsError, match=f"^{setting.upper()}: must be") as caught:
        load_settings(**{setting: value})

    assert "secret" not in str(caught.value)
