from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from contracts.errors import (
    InvalidRequest,
    MessageNotRetryable,
    ScopeMissing,
)
from solo60.communication.v1 import communication_pb2 as pb
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from tests.services.communication.faulty_mail_server import UNKNOWN
from tests.services.communication.requests import (
    email,
    send,
    wait_for_status,
    with_key,
)
from tests.support.violations import fields_of

if TYPE_CHECKING:
    from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceAsyncStub
    from tests.services.communication.faulty_mail_server import FaultyMailServer
    from tests.support.serving import MeshForTests


@pytest.mark.requirement("A2")
async def test_an_operator_can_retry_a_dead_message(
    faulty_stub: CommunicationServiceAsyncStub, faulty: FaultyMailServer
) -> None:
    """RetryMessage queues a dead message with its history, once for each key, and the message is sent."""
    faulty.answers.append(UNKNOWN)
    message_id = await send(faulty_stub, "SendEmailAsync")
    dead = await wait_for_status(faulty_stub, message_id, pb.MESSAGE_STATUS_DEAD)
    request = pb.RetryMessageRequest(message_id=message_id)

    queued = (await faulty_stub.RetryMessage(request, metadata=with_key("again"))).message

    assert queued.status == pb.MESSAGE_STATUS_QUEUED
    assert (queued.attempts, queued.last_error) == (dead.attempts, dead.last_error)
    sent = await wait_for_status(faulty_stub, message_id, pb.MESSAGE_STATUS_SENT)
    assert (sent.attempts, sent.email_message_id) == (2, dead.email_message_id)
    assert (await faulty_stub.RetryMessage(request, metadata=with_key("again"))).message == queued
    assert len(faulty.accepted) == 1


async def test_a_sent_message_cannot_be_retried(stub: CommunicationServiceAsyncStub) -> None:
    """RetryMessage fails with MESSAGE_NOT_RETRYABLE for a message that was sent."""
    response = await stub.SendEmail(email())

    with pytest.raises(MessageNotRetryable):
        await stub.RetryMessage(pb.RetryMessageRequest(message_id=response.message_id))


async def test_failed_messages_are_listed_in_pages_newest_first(
    faulty_stub: CommunicationServiceAsyncStub, faulty: FaultyMailServer
) -> None:
    """ListFailedMessages lists every failed message once, the newest first, and no sent one."""
    faulty.answers.extend([UNKNOWN] * 5)
    message_ids = []
    for _ in range(6):
        message_ids.append(await send(faulty_stub, "SendEmailAsync"))
        await wait_for_status(faulty_stub, message_ids[-1], pb.MESSAGE_STATUS_DEAD, pb.MESSAGE_STATUS_SENT)

    pages: list[list[str]] = []
    token = ""
    while token or not pages:
        request = pb.ListFailedMessagesRequest(page_size=2, page_token=token)
        page = await faulty_stub.ListFailedMessages(request)
        pages.append([message.message_id for message in page.messages])
        token = page.next_page_token

    assert [len(page) for page in pages] == [2, 2, 1]
    assert [each for page in pages for each in page] == message_ids[4::-1]
    whole = await faulty_stub.ListFailedMessages(pb.ListFailedMessagesRequest())
    assert [message.message_id for message in whole.messages] == message_ids[4::-1]


@pytest.mark.requirement("C3")
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"page_size": -1}, "page_size"),
        ({"page_token": "1"}, "page_token"),
    ],
)
async def test_an_invalid_page_request_names_its_field(
    stub: CommunicationServiceAsyncStub, changes: dict[str, Any], field: str
) -> None:
    """ListFailedMessages rejects a negative page size and an unknown page token, and names the field."""
    with pytest.raises(InvalidRequest) as caught:
        await stub.ListFailedMessages(pb.ListFailedMessagesRequest(**changes))

    assert fields_of(caught.value) == [field]


@pytest.mark.requirement("S1")
async def test_a_sending_service_lacks_the_operators_scopes(mesh: MeshForTests) -> None:
    """The session service may send mail, but neither list failed messages nor retry them."""
    session = mesh.stub(CommunicationServiceStub, caller="session")

    assert await send(session, "SendEmailAsync")
    with pytest.raises(ScopeMissing):
        await session.ListFailedMessages(pb.ListFailedMessagesRequest())
    with pytest.raises(ScopeMissing):
        await session.RetryMessage(pb.RetryMessageRequest(message_id=str(uuid4())))
