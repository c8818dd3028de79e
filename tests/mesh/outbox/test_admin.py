"""Admin RPC of the outbox, tested on the user service with mails to the communication service."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from prometheus_client import REGISTRY

from contracts.errors import InvalidRequest, OutboxMessageNotFound, OutboxMessageSettled, ScopeMissing
from mesh.outbox import call_later
from services.communication import app as communication
from services.user import app as user
from solo60.communication.v1.communication_pb2 import Recipient, SendEmailAsyncRequest
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from solo60.mesh.v1 import outbox_pb2 as pb
from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceStub
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from solo60.mesh.v1.outbox_pb2_grpc import OutboxServiceAsyncStub
    from tests.support.serving import MeshForTests, Serve

SEND = "solo60.communication.v1.CommunicationService/SendEmailAsync"
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"


class Office:
    """User service with an outbox of mails to the communication service."""

    def __init__(self, mesh: MeshForTests) -> None:
        self.mesh = mesh

    @property
    def outbox(self) -> OutboxServiceAsyncStub:
        """Stub for the outbox of the user service."""
        return self.mesh.stub(OutboxServiceStub, at="user")

    async def write(self, template_key: str = "PASSWORD_CHANGED") -> str:
        """Add a mail to the outbox of the user service; return the id of its outbox message."""
        request = SendEmailAsyncRequest(
            recipient=Recipient(email="ada@members.example"),
            template_key=template_key,
            variables={"member_name": "Ada Byron"},
        )
        send = self.mesh.stub(CommunicationServiceStub).SendEmailAsync
        async with self.mesh.database("user").transaction() as connection:
            await call_later(connection, send, request)
            return str(await connection.fetchval("select message_id from outbox order by sequence desc limit 1"))

    async def list(self, **wanted: object) -> list[pb.OutboxMessage]:
        """Return the messages that the outbox lists."""
        return list((await self.outbox.ListMessages(pb.ListMessagesRequest(**wanted))).messages)  # type: ignore[arg-type]

    async def settled(self, status: pb.OutboxStatus.ValueType) -> pb.OutboxMessage:
        """Wait until the newest message has this status, and return the message."""

        async def has_come_so_far() -> bool:
            return (await self.list())[0].status == status

        await eventually(has_come_so_far)
        return (await self.list())[0]

    async def mails(self) -> int:
        """Count the mails that the communication service has accepted."""
        async with self.mesh.database("communication").connection() as connection:
            return int(await connection.fetchval("select count(*) from messages"))


@pytest.fixture
async def office(serve: Serve) -> Office:
    """Start both services; permit the user service's own key to send mail."""
    return Office(await serve(communication.SERVICE, user.SERVICE, extra_scopes={"user": ["communication.send"]}))


@pytest.mark.requirement("S4")
async def test_a_message_is_shown_without_personal_data(office: Office) -> None:
    """An operator sees the destination and the template of a message, with its recipient masked."""
    await office.write()
    message = await office.settled(pb.OUTBOX_STATUS_DELIVERED)

    answer = await office.outbox.GetMessage(pb.GetMessageRequest(message_id=message.message_id))

    assert answer.message.destination == SEND
    assert json.loads(answer.payload_json)["recipient"] == {"email": "***"}
    assert json.loads(answer.payload_json)["template_key"] == "PASSWORD_CHANGED"
    assert "ada@" not in str(answer)


async def test_a_dead_letter_is_listed_counted_and_retried(office: Office) -> None:
    """A dead letter is listed, counted in the metrics, and can be retried."""
    await office.write(template_key="NO_SUCH_TEMPLATE")
    message = await office.settled(pb.OUTBOX_STATUS_DEAD)
    assert message.last_error.startswith("NOT_FOUND TEMPLATE_NOT_FOUND")
    assert [each.message_id for each in await office.list(status=pb.OUTBOX_STATUS_DEAD)] == [message.message_id]
    assert await office.list(status=pb.OUTBOX_STATUS_DEAD, destination="solo60.gym.v1.GymService/GetGym") == []

    async def is_in_metrics() -> bool:
        return REGISTRY.get_sample_value("outbox_dead_letters", {"destination": SEND}) == 1

    await eventually(is_in_metrics)
    retried = await office.outbox.RetryMessage(pb.RetryMessageRequest(message_id=message.message_id))
    assert (retried.message.status, retried.message.attempts) == (pb.OUTBOX_STATUS_PENDING, 0)
    await office.settled(pb.OUTBOX_STATUS_DEAD)


async def test_a_replayed_message_acts_once_more_for_each_call(office: Office) -> None:
    """A replay has a new message id, so that its receiver acts again. Repeating the replay call adds no message."""
    await office.write()
    message = await office.settled(pb.OUTBOX_STATUS_DELIVERED)

    request = pb.ReplayMessageRequest(message_id=message.message_id)
    first, again = [
        await office.outbox.ReplayMessage(request, metadata=(("idempotency-key", "replay-1"),)) for _ in range(2)
    ]

    assert first.message.message_id == again.message.message_id != message.message_id

    async def has_come() -> bool:
        return await office.mails() == 2

    await eventually(has_come)


async def test_a_delivered_message_cannot_be_dropped(office: Office) -> None:
    """Dropping a delivered message raises OutboxMessageSettled, and an unknown one OutboxMessageNotFound."""
    await office.write()
    message = await office.settled(pb.OUTBOX_STATUS_DELIVERED)

    with pytest.raises(OutboxMessageSettled):
        await office.outbox.DropMessage(pb.DropMessageRequest(message_id=message.message_id))
    with pytest.raises(OutboxMessageNotFound):
        await office.outbox.DropMessage(pb.DropMessageRequest(message_id=UNKNOWN_ID))


async def test_a_list_has_pages(office: Office) -> None:
    """A list has the newest messages first, and each message on one page.

    An invalid page token is rejected (AIP-158).
    """
    written = [await office.write(template_key="NO_SUCH_TEMPLATE") for _ in range(3)]
    first = await office.outbox.ListMessages(pb.ListMessagesRequest(page_size=2))
    second = await office.outbox.ListMessages(pb.ListMessagesRequest(page_size=2, page_token=first.next_page_token))

    assert (len(first.messages), len(second.messages), second.next_page_token) == (2, 1, "")
    assert [each.message_id for each in (*first.messages, *second.messages)] == written[::-1]
    with pytest.raises(InvalidRequest):
        await office.outbox.ListMessages(pb.ListMessagesRequest(page_token="newest"))  # noqa: S106 - no secret


async def test_listing_an_outbox_requires_its_own_scope(office: Office) -> None:
    """Listing an outbox requires its own scope, which a service's key lacks."""
    with pytest.raises(ScopeMissing):
        await office.mesh.stub(OutboxServiceStub, caller="session", at="user").ListMessages(pb.ListMessagesRequest())
