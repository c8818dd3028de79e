from __future__ import annotations

import asyncio
from email import message_from_bytes
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from contracts.errors import (
    IdempotencyKeyReused,
    InvalidRequest,
    MessageNotFound,
    MessageRefused,
    TemplateNotFound,
    TemplateVariableMissing,
    Unavailable,
)
from local.mail_sink import read_mails
from mesh.config import SettingsError, load_settings
from services.communication.app import SERVICE
from solo60.communication.v1 import communication_pb2 as pb
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from tests.services.communication.faulty_mail_server import BUSY, HANG_UP, UNKNOWN
from tests.services.communication.requests import (
    METHODS,
    VARIABLES,
    email,
    in_background,
    notification,
    send,
    wait_for_status,
    with_key,
)
from tests.support.eventually import eventually
from tests.support.ports import free_ports
from tests.support.violations import fields_of

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from local.mail_sink import MailSink
    from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceAsyncStub
    from tests.services.communication.faulty_mail_server import FaultyMailServer
    from tests.support.postgres import DatabaseFactory
    from tests.support.serving import MeshForTests, Serve


async def test_send_email_answers_once_the_mail_is_accepted(
    stub: CommunicationServiceAsyncStub, mail_folder: Path
) -> None:
    """SendEmail answers once the mail server has accepted the mail."""
    response = await stub.SendEmail(email())

    (mail,) = read_mails(mail_folder)
    assert (mail.sender, mail.recipient) == ("no-reply@solo60.example", "ada@example.org")
    assert mail.subject == "Booked: Field Street Gym, Tuesday 3 March 2026, 18:00"
    assert mail.body.startswith("Hello Ada Lovelace,\n\nYour session is booked:")
    assert mail.message_id == response.email_message_id
    message = (await stub.GetMessage(pb.GetMessageRequest(message_id=response.message_id))).message
    assert message.status == pb.MESSAGE_STATUS_SENT
    assert message.email_message_id == response.email_message_id
    assert message.create_time.ToDatetime() <= message.send_time.ToDatetime()


@pytest.mark.requirement("A2")
async def test_send_email_async_answers_at_once_and_sends_later(
    stub: CommunicationServiceAsyncStub, mail_folder: Path
) -> None:
    """SendEmailAsync stores the message before it answers, and the mail is sent in the background."""
    message_id = await send(stub, "SendEmailAsync")

    message = await wait_for_status(stub, message_id, pb.MESSAGE_STATUS_SENT)
    assert (message.template_key, message.attempts, message.last_error) == ("SESSION_BOOKED", 1, "")
    assert [mail.message_id for mail in read_mails(mail_folder)] == [message.email_message_id]


async def test_a_notification_goes_to_its_whole_audience(
    stub: CommunicationServiceAsyncStub, mail_folder: Path
) -> None:
    """SendSystemNotification sends one message to exactly the configured addresses of its audience."""
    first = await send(stub, "SendSystemNotification")
    await wait_for_status(stub, first, pb.MESSAGE_STATUS_SENT)
    second = await send(stub, "SendSystemNotification", audience=pb.AUDIENCE_OPERATORS)
    await wait_for_status(stub, second, pb.MESSAGE_STATUS_SENT)

    assert [mail.recipient for mail in read_mails(mail_folder)] == [
        "ann@solo60.example, bob@solo60.example",
        "operators@solo60.example",
    ]


@pytest.mark.parametrize("method", METHODS)
async def test_an_unknown_template_is_rejected_and_nothing_is_stored(
    mesh: MeshForTests, stub: CommunicationServiceAsyncStub, method: str
) -> None:
    """A call with an unknown template fails with TEMPLATE_NOT_FOUND and stores no message."""
    with pytest.raises(TemplateNotFound):
        await send(stub, method, template_key="SESSION_BOKED")

    async with mesh.database("communication").connection() as connection:
        assert await connection.fetchval("select count(*) from messages") == 0


@pytest.mark.parametrize("method", METHODS[:2])
@pytest.mark.parametrize("user_id", [None, uuid4()])
async def test_a_message_is_stored_with_the_recipients_user_id(
    mesh: MeshForTests, stub: CommunicationServiceAsyncStub, method: str, user_id: UUID | None
) -> None:
    """A message is stored with the recipient's user id, or with none for a recipient without an account."""
    await send(stub, method, recipient=pb.Recipient(email="ada@example.org", user_id=str(user_id or "")))

    async with mesh.database("communication").connection() as connection:
        assert await connection.fetchval("select user_id from messages") == user_id


@pytest.mark.parametrize("method", METHODS)
async def test_a_missing_variable_is_named(stub: CommunicationServiceAsyncStub, method: str) -> None:
    """A call without required variables fails with TEMPLATE_VARIABLE_MISSING, which names all of them."""
    with pytest.raises(TemplateVariableMissing) as caught:
        await send(stub, method, variables={"member_name": "Ada Lovelace", "price": "1", "end_time": "19:00"})

    assert caught.value.metadata["variables"] == "gym_name, start_time"


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    ("method", "changes", "field"),
    [
        *((method, {"template_key": "session"}, "template_key") for method in METHODS),
        *((method, {"variables": {"x": "y" * 2001}}, "variables[]") for method in METHODS),
        *((method, {"variables": {"X": "y"}}, "variables[]") for method in METHODS),
        *((method, {"variables": {**VARIABLES, "gym_name": "Field\x00Street"}}, "variables[]") for method in METHODS),
        *((method, {"recipient": None}, "recipient") for method in METHODS[:2]),
        *((method, {"recipient": pb.Recipient(email="ada")}, "recipient.email") for method in METHODS[:2]),
        *((method, {"recipient": pb.Recipient(email="ada@localhost")}, "recipient.email") for method in METHODS[:2]),
        *(
            (method, {"recipient": pb.Recipient(email="a@x.org", user_id="ada")}, "recipient.user_id")
            for method in METHODS[:2]
        ),
        *((method, {"variables": {**VARIABLES, "gym_name": "A\u202eB"}}, "variables[]") for method in METHODS),
        *(
            (method, {"recipient": pb.Recipient(email="a@x.org", display_name="A\r\nBcc: b")}, "recipient.display_name")
            for method in METHODS[:2]
        ),
        ("SendSystemNotification", {"audience": pb.AUDIENCE_UNSPECIFIED}, "audience"),
    ],
)
async def test_an_invalid_request_to_send_names_its_field(
    stub: CommunicationServiceAsyncStub, method: str, changes: dict[str, Any], field: str
) -> None:
    """A request that breaks a rule of the contract is rejected with a violation that names the field."""
    with pytest.raises(InvalidRequest) as caught:
        await send(stub, method, **changes)

    assert fields_of(caught.value) == [field]


@pytest.mark.parametrize("method", ["GetMessage", "RetryMessage"])
async def test_an_unknown_message_is_not_found(stub: CommunicationServiceAsyncStub, method: str) -> None:
    """An unknown message id fails with MESSAGE_NOT_FOUND, and an invalid one with INVALID_REQUEST."""
    request = {"GetMessage": pb.GetMessageRequest, "RetryMessage": pb.RetryMessageRequest}[method]
    with pytest.raises(MessageNotFound):
        await getattr(stub, method)(request(message_id=str(uuid4())))
    with pytest.raises(InvalidRequest) as caught:
        await getattr(stub, method)(request(message_id="1"))

    assert fields_of(caught.value) == ["message_id"]


@pytest.mark.requirement("S6")
async def test_fifty_calls_with_one_key_send_one_mail(stub: CommunicationServiceAsyncStub, mail_folder: Path) -> None:
    """Fifty concurrent calls with one key lead to one message, one mail and one answer."""
    answers = await asyncio.gather(*(stub.SendEmail(email(), metadata=with_key("one")) for _ in range(50)))

    assert len({answer.message_id for answer in answers}) == 1
    assert [mail.message_id for mail in read_mails(mail_folder)] == [answers[0].email_message_id]


@pytest.mark.requirement("S6")
@pytest.mark.parametrize("method", METHODS)
async def test_a_key_is_bound_to_its_caller_and_request(
    mesh: MeshForTests, stub: CommunicationServiceAsyncStub, method: str
) -> None:
    """Reusing a key with another request is rejected, while another caller's use of the key is a new message."""
    make = {"SendEmail": email, "SendEmailAsync": in_background, "SendSystemNotification": notification}[method]
    first = await getattr(stub, method)(make(), metadata=with_key("one"))
    assert await getattr(stub, method)(make(), metadata=with_key("one")) == first
    with pytest.raises(IdempotencyKeyReused):
        await getattr(stub, method)(make(template_key="SESSION_APPROVED"), metadata=with_key("one"))

    session = mesh.stub(CommunicationServiceStub, caller="session")
    assert (await getattr(session, method)(make(), metadata=with_key("one"))).message_id != first.message_id


async def test_a_refused_mail_is_reported_and_listed(
    faulty_stub: CommunicationServiceAsyncStub, faulty: FaultyMailServer
) -> None:
    """SendEmail fails with MESSAGE_REFUSED after a final refusal, also when repeated, and the message is listed."""
    faulty.answers.append(UNKNOWN)
    for _ in range(2):
        with pytest.raises(MessageRefused) as caught:
            await faulty_stub.SendEmail(email(), metadata=with_key("one"))

    assert len(faulty.received) == 1
    (message,) = (await faulty_stub.ListFailedMessages(pb.ListFailedMessagesRequest())).messages
    assert message.message_id == caught.value.metadata["message_id"]
    assert message.status == pb.MESSAGE_STATUS_DEAD


@pytest.mark.requirement("L1")
async def test_a_busy_mail_server_is_unavailable_and_the_mail_is_sent_once(
    faulty_stub: CommunicationServiceAsyncStub, faulty: FaultyMailServer
) -> None:
    """SendEmail fails with UNAVAILABLE after three attempts, and repeating it with its key sends the mail once."""
    # The sender's own attempts use up answers too, and a slow caller may miss one of them, so that three are too few.
    faulty.answers.extend([BUSY] * 99)
    with capture_logs() as logs, pytest.raises(Unavailable):
        await faulty_stub.SendEmail(email(), metadata=with_key("one"))
    assert [entry["code"] for entry in logs if entry["event"] == "call"] == ["UNAVAILABLE"] * 3
    assert len(faulty.received) >= 3
    faulty.answers.clear()

    answer = await faulty_stub.SendEmail(email(), metadata=with_key("one"))
    assert await faulty_stub.SendEmail(email(), metadata=with_key("one")) == answer
    assert len(faulty.accepted) == 1


@pytest.mark.parametrize(("template_key", "copies"), [("SESSION_BOOKED", 2), ("SPOT_AVAILABLE", 1)])
async def test_a_lost_answer_repeats_a_mail_only_if_its_template_allows(
    faulty_stub: CommunicationServiceAsyncStub, faulty: FaultyMailServer, template_key: str, copies: int
) -> None:
    """After a lost answer a mail is repeated if its template allows it, and is otherwise DEAD in doubt (RFC 1047)."""
    faulty.answers.append(HANG_UP)
    message_id = await send(faulty_stub, "SendEmailAsync", template_key=template_key)

    ended = await wait_for_status(faulty_stub, message_id, pb.MESSAGE_STATUS_SENT, pb.MESSAGE_STATUS_DEAD)
    assert ended.may_have_been_sent == (ended.status == pb.MESSAGE_STATUS_DEAD) == (copies == 1)
    assert [message_from_bytes(mail.content)["Message-ID"] for mail in faulty.received] == (
        [ended.email_message_id] * copies
    )


async def test_a_waiting_caller_gets_an_error_for_a_mail_in_doubt(
    faulty_stub: CommunicationServiceAsyncStub, faulty: FaultyMailServer
) -> None:
    """SendEmail fails with UNAVAILABLE for a mail in doubt, also when it is repeated, and sends no second mail."""
    faulty.answers.append(HANG_UP)
    for _ in range(2):
        with pytest.raises(Unavailable, match="may have been sent, so it was not sent again"):
            await faulty_stub.SendEmail(email(template_key="SPOT_AVAILABLE"), metadata=with_key("one"))

    assert len(faulty.received) == 1


@pytest.mark.requirement("J6")
async def test_a_stored_message_is_sent_after_a_restart(
    serve: Serve, mail_sink: MailSink, mail_folder: Path, database_url: DatabaseFactory
) -> None:
    """Mail that could not be sent before the service stopped is sent after the service has started again."""
    url = await database_url(SERVICE.name)
    (port,) = free_ports(1)
    before = await serve(smtp_url=f"smtp://127.0.0.1:{port}")
    await before.start(SERVICE, url)
    stub = before.stub(CommunicationServiceStub)
    await wait_for_status(stub, await send(stub, "SendEmailAsync"), pb.MESSAGE_STATUS_FAILED)
    await before.stop(SERVICE.name)

    after = await serve(smtp_url=mail_sink.url)
    await after.start(SERVICE, url)

    await eventually(lambda: len(read_mails(mail_folder)) == 1)


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
def test_an_invalid_mail_setting_stops_the_start(setting: str, value: str) -> None:
    """An invalid setting stops the start with an error that names it, without its value, which may be secret."""
    with pytest.raises(SettingsError, match=f"^{setting.upper()}: must be") as caught:
        load_settings(**{setting: value})

    assert "secret" not in str(caught.value)
