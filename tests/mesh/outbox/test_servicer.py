"""Admin RPC of the outbox, tested on the user service with mails to the communication service."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from prometheus_client import REGISTRY

from contracts.errors import InvalidRequest, OutboxMessageNotFound, OutboxMessageSettled, ScopeMissing
from mesh.transaction import Transaction
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
FILL = """
    insert into outbox (message_id, destination, payload, correlation_id, traceparent, deliver_time, due_time)
    values (gen_random_uuid(), $1, '', '', '', now() + $2::interval, now() + $3::interval)
"""
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"


class UserOutbox:
    """User service with an outbox of mails to the communication service."""

    def __init__(self, mesh: MeshForTests) -> None:
        self.mesh = mesh

    @property
    def stub(self) -> OutboxServiceAsyncStub:
        """Stub for the outbox of the user service."""
        return self.mesh.stub(OutboxServiceStub, at="user")

    async def add_mail(self, template_key: str = "PASSWORD_CHANGED") -> str:
        """Add a mail to the outbox of the user service; return the id of its outbox message."""
        request = SendEmailAsyncRequest(
            recipient=Recipient(email="ada@members.example"),
            template_key=template_key,
            variables={"member_name": "Ada Byron"},
        )
        send = self.mesh.stub(CommunicationServiceStub).SendEmailAsync
        async with Transaction.begin(self.mesh.database("user")) as tx:
            await tx.call_later(send, request)
            return str(await tx.connection.fetchval("select message_id from outbox order by sequence desc limit 1"))

    async def list(
        self, status: pb.OutboxStatus.ValueType = pb.OUTBOX_STATUS_UNSPECIFIED, destination: str = ""
    ) -> list[pb.OutboxMessage]:
        """Return the messages that the outbox lists, by default all."""
        request = pb.ListMessagesRequest(status=status, destination=destination)
        return list((await self.stub.ListMessages(request)).messages)

    async def newest_with_status(self, status: pb.OutboxStatus.ValueType) -> pb.OutboxMessage:
        """Wait until the newest message has this status, and return the message."""

        async def has_status() -> bool:
            return (await self.list())[0].status == status

        await eventually(has_status)
        return (await self.list())[0]

    async def count_mails(self) -> int:
        """Count the mails that the communication service has accepted."""
        async with self.mesh.database("communication").connection() as connection:
            return int(await connection.fetchval("select count(*) from messages"))


@pytest.fixture
async def user_outbox(serve: Serve) -> UserOutbox:
    """Start both services; permit the user service's own key to send mail."""
    return UserOutbox(await serve(communication.SERVICE, user.SERVICE, extra_scopes={"user": ["communication.send"]}))


@pytest.mark.requirement("S4")
async def test_a_message_is_shown_without_personal_data(user_outbox: UserOutbox) -> None:
    """An operator sees the destination and the template of a message, with its recipient masked."""
    await user_outbox.add_mail()
    message = await user_outbox.newest_with_status(pb.OUTBOX_STATUS_DELIVERED)

    answer = await user_outbox.stub.GetMessage(pb.GetMessageRequest(message_id=message.message_id))

    assert answer.message.destination == SEND
    assert json.loads(answer.payload_json)["recipient"] == {"email": "***"}
    assert json.loads(answer.payload_json)["template_key"] == "PASSWORD_CHANGED"
    assert "ada@" not in str(answer)


async def test_a_dead_letter_is_listed_counted_and_retried(user_outbox: UserOutbox) -> None:
    """A dead letter is listed, counted in the metrics, and can be retried."""
    await user_outbox.add_mail(template_key="NO_SUCH_TEMPLATE")
    message = await user_outbox.newest_with_status(pb.OUTBOX_STATUS_DEAD)
    assert message.last_error.startswith("NOT_FOUND TEMPLATE_NOT_FOUND")
    assert [each.message_id for each in await user_outbox.list(status=pb.OUTBOX_STATUS_DEAD)] == [message.message_id]
    assert await user_outbox.list(status=pb.OUTBOX_STATUS_DEAD, destination="solo60.gym.v1.GymService/GetGym") == []

    async def is_in_metrics() -> bool:
        return REGISTRY.get_sample_value("outbox_dead_letters", {"destination": SEND}) == 1

    await eventually(is_in_metrics)
    retried = await user_outbox.stub.RetryMessage(pb.RetryMessageRequest(message_id=message.message_id))
    assert (retried.message.status, retried.message.attempts) == (pb.OUTBOX_STATUS_PENDING, 0)
    await user_outbox.newest_with_status(pb.OUTBOX_STATUS_DEAD)


async def test_the_backlog_counts_pending_messages_and_dead_letters(user_outbox: UserOutbox) -> None:
    """The backlog counts pending messages by destination, with the oldest due time, and dead letters by error.

    A message for a later time is pending and not due. Delivered messages are not counted.
    """
    await user_outbox.add_mail()
    await user_outbox.newest_with_status(pb.OUTBOX_STATUS_DELIVERED)
    for _ in range(2):
        await user_outbox.add_mail(template_key="NO_SUCH_TEMPLATE")
        await user_outbox.newest_with_status(pb.OUTBOX_STATUS_DEAD)
    async with user_outbox.mesh.database("user").connection() as connection:
        await connection.execute(FILL, "later.Service/Method", timedelta(days=30), timedelta(days=30))
        # It waits for another attempt, because its first one has failed.
        await connection.execute(FILL, "late.Service/Method", timedelta(minutes=-1), timedelta(hours=1))

    found = await user_outbox.stub.GetBacklog(pb.GetBacklogRequest())

    late, later = found.pending
    assert (late.destination, late.count, late.due_count) == ("late.Service/Method", 1, 1)
    assert 60 <= found.now.seconds - late.oldest_due_time.seconds < 120
    assert (later.destination, later.count, later.due_count) == ("later.Service/Method", 1, 0)
    assert not later.HasField("oldest_due_time")
    (dead,) = found.dead_letters
    assert (dead.destination, dead.count) == (SEND, 2)
    assert dead.last_error.startswith("NOT_FOUND TEMPLATE_NOT_FOUND")
    assert dead.latest_settle_time.seconds <= found.now.seconds


async def test_a_replayed_message_acts_once_more_for_each_call(user_outbox: UserOutbox) -> None:
    """A replay has a new message id, so that its receiver acts again. Repeating the replay call adds no message."""
    await user_outbox.add_mail()
    message = await user_outbox.newest_with_status(pb.OUTBOX_STATUS_DELIVERED)

    request = pb.ReplayMessageRequest(message_id=message.message_id)
    first, again = [
        await user_outbox.stub.ReplayMessage(request, metadata=(("idempotency-key", "replay-1"),)) for _ in range(2)
    ]

    assert first.message.message_id == again.message.message_id != message.message_id

    async def has_arrived() -> bool:
        return await user_outbox.count_mails() == 2

    await eventually(has_arrived)


async def test_a_delivered_message_cannot_be_dropped(user_outbox: UserOutbox) -> None:
    """Dropping a delivered message raises OutboxMessageSettled, and an unknown one OutboxMessageNotFound."""
    await user_outbox.add_mail()
    message = await user_outbox.newest_with_status(pb.OUTBOX_STATUS_DELIVERED)

    with pytest.raises(OutboxMessageSettled):
        await user_outbox.stub.DropMessage(pb.DropMessageRequest(message_id=message.message_id))
    with pytest.raises(OutboxMessageNotFound):
        await user_outbox.stub.DropMessage(pb.DropMessageRequest(message_id=UNKNOWN_ID))


async def test_a_list_has_pages(user_outbox: UserOutbox) -> None:
    """A list has the newest messages first, and each message on one page.

    An invalid page token is rejected (AIP-158).
    """
    written = [await user_outbox.add_mail(template_key="NO_SUCH_TEMPLATE") for _ in range(3)]
    first = await user_outbox.stub.ListMessages(pb.ListMessagesRequest(page_size=2))
    second = await user_outbox.stub.ListMessages(pb.ListMessagesRequest(page_size=2, page_token=first.next_page_token))

    assert (len(first.messages), len(second.messages), second.next_page_token) == (2, 1, "")
    assert [each.message_id for each in (*first.messages, *second.messages)] == written[::-1]
    with pytest.raises(InvalidRequest):
        await user_outbox.stub.ListMessages(pb.ListMessagesRequest(page_token="newest"))  # noqa: S106 - no secret


async def test_listing_an_outbox_requires_its_own_scope(user_outbox: UserOutbox) -> None:
    """Listing an outbox requires its own scope, which a service's key lacks."""
    with pytest.raises(ScopeMissing):
        await user_outbox.mesh.stub(OutboxServiceStub, caller="session", at="user").ListMessages(
            pb.ListMessagesRequest()
        )
