from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from mesh.data.database import Database
from mesh.data.erasure import erase_keys, erase_keys_of_request, erase_user_data, personal_destinations
from mesh.data.idempotency import fingerprint_of
from mesh.data.personal_data import ids_in, may_hold_personal_data
from solo60.communication.v1.communication_pb2 import Recipient, SendEmailAsyncRequest
from solo60.payment.v1.payment_pb2 import GetBalanceRequest
from solo60.session.v1.session_pb2 import Guest, InviteGuestResponse, OnUserLeftRequest
from solo60.user.v1.events_pb2 import UserLeft
from solo60.user.v1.user_pb2 import BatchGetUsersRequest, CreateUserRequest, GetUserResponse, ValidateUserResponse

if TYPE_CHECKING:
    from google.protobuf.message import Message

ADD_KEY = """
    insert into idempotency_keys (caller, request_type, key, request_sha256, response, subject_ids)
    values ('operator', $1, $2, $3, 'answer', $4)
"""
ADD_MESSAGE = """
    insert into outbox (message_id, destination, payload, correlation_id, traceparent, status, due_time, settle_time)
    values (gen_random_uuid(), $1, $2, '', '', $3::text, case when $3 = 'pending' then now() end,
        case when $3 <> 'pending' then now() end)
"""
SEND = "solo60.communication.v1.CommunicationService/SendEmailAsync"
ADA, GRACE = uuid4(), uuid4()


def test_personal_fields_are_found_at_any_depth() -> None:
    """A message may hold personal data if it, or a message inside it, has a field marked as personal."""
    assert all(map(may_hold_personal_data, (CreateUserRequest.DESCRIPTOR, GetUserResponse.DESCRIPTOR)))
    assert not any(map(may_hold_personal_data, (GetBalanceRequest.DESCRIPTOR, ValidateUserResponse.DESCRIPTOR)))


def test_ids_are_found_at_any_depth() -> None:
    """Every UUID in a field for an id is found, in messages inside, and in no other field."""
    guest = Guest(invitation_id=str(ADA), session_id=str(GRACE), name=str(uuid4()))

    assert ids_in(InviteGuestResponse(guest=guest)) == {ADA, GRACE}
    assert ids_in(Guest(invitation_id="not an id")) == set()
    assert ids_in(BatchGetUsersRequest(user_ids=[str(ADA)])) == set()


async def test_keys_are_erased_by_an_id_or_by_their_request(mesh_database_url: str) -> None:
    """Keys whose request or response contains an erased id lose hash and response. Other keys stay."""
    database = await Database.connect(mesh_database_url)
    request = CreateUserRequest(email="ada@example.org")
    async with database.transaction() as connection:
        for key, ids in (("of Ada", [ADA, GRACE]), ("of Grace", [GRACE]), ("impersonal", None)):
            await connection.execute(ADD_KEY, "a.Request", key, b"hash", ids)
        await connection.execute(ADD_KEY, request.DESCRIPTOR.full_name, "by request", fingerprint_of(request), None)

        await erase_keys(connection, [ADA])
        await erase_keys_of_request(connection, request)

        rows = await connection.fetch("select key, request_sha256, response from idempotency_keys order by key")
    assert [tuple(row) for row in rows] == [
        ("by request", b"", b""),
        ("impersonal", b"hash", b"answer"),
        ("of Ada", b"", b""),
        ("of Grace", b"hash", b"answer"),
    ]
    await database.close()


async def test_messages_with_personal_data_are_deleted(mesh_database_url: str) -> None:
    """Pending, delivered and dead messages about a user are deleted. Events and messages about others stay."""
    database = await Database.connect(mesh_database_url)
    event = OnUserLeftRequest(event=UserLeft(user_id=str(ADA)))
    async with database.transaction() as connection:
        for status in ("pending", "delivered", "dead"):
            await connection.execute(ADD_MESSAGE, SEND, mail_to(ADA), status)
        await connection.execute(ADD_MESSAGE, SEND, mail_to(GRACE), "dead")
        left = "solo60.session.v1.SessionService/OnUserLeft"
        await connection.execute(ADD_MESSAGE, left, event.SerializeToString(), "pending")

        await erase_user_data(connection, ADA)

        rows = await connection.fetch("select destination, payload from outbox")
    assert {tuple(row) for row in rows} == {(SEND, mail_to(GRACE)), (left, event.SerializeToString())}
    await database.close()


def test_events_are_not_personal() -> None:
    """No subscriber of an event and no mail that is filled in later counts as a call with personal data."""
    names = {name.rpartition("/")[2] for name in personal_destinations()}
    assert {"SendEmailAsync", "CreateUser", "InviteGuest"} <= names
    assert not names & {"OnUserLeft", "OnUserErased", "SendSessionMail", "SendSubscriptionMail", "CompleteErasure"}


def mail_to(user_id: UUID) -> bytes:
    """Return a serialized mail to a user."""
    message: Message = SendEmailAsyncRequest(recipient=Recipient(email="a@b.example", user_id=str(user_id)))
    return message.SerializeToString()
