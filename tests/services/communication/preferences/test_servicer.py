from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from contracts.errors import EtagMismatch, InvalidRequest, ScopeMissing, UnsubscribeTokenInvalid
from local.mail_sink import read_mails
from solo60.communication.v1 import communication_pb2 as pb
from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceStub
from tests.services.communication.preferences.requests import REMINDER, USER, preferences_of, update
from tests.services.communication.requests import wait_for_status, with_key
from tests.support.violations import fields_of

if TYPE_CHECKING:
    from pathlib import Path

    from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceAsyncStub
    from tests.support.serving import MeshForTests


async def test_a_user_gets_all_mail_at_first(stub: CommunicationServiceAsyncStub) -> None:
    """A user who has changed nothing, or who does not exist, gets all mail."""
    preferences = await preferences_of(stub, str(uuid4()))

    assert (preferences.reminders, preferences.waiting_list) == (True, True)
    assert preferences.etag
    assert not preferences.HasField("update_time")


async def test_an_update_changes_the_named_preferences(stub: CommunicationServiceAsyncStub) -> None:
    """An update changes the fields in the mask, and returns the stored preferences with their time and a new etag."""
    before = await preferences_of(stub)

    changed = (await stub.UpdateNotificationPreferences(update(reminders=False))).preferences

    assert (changed.user_id, changed.reminders, changed.waiting_list) == (USER, False, True)
    assert changed.etag != before.etag
    assert abs(changed.update_time.ToDatetime(UTC) - datetime.now(UTC)) < timedelta(minutes=1)
    assert await preferences_of(stub) == changed
    back = (await stub.UpdateNotificationPreferences(update(reminders=True, waiting_list=False))).preferences
    assert (back.reminders, back.waiting_list) == (True, False)


async def test_an_update_with_an_outdated_etag_is_rejected(stub: CommunicationServiceAsyncStub) -> None:
    """An update with the etag of earlier preferences fails with ETAG_MISMATCH and changes nothing (AIP-154)."""
    before = await preferences_of(stub)
    changed = (await stub.UpdateNotificationPreferences(update(before.etag, reminders=False))).preferences

    with pytest.raises(EtagMismatch):
        await stub.UpdateNotificationPreferences(update(before.etag, waiting_list=False))

    assert await preferences_of(stub) == changed


async def test_a_repeated_update_has_its_first_response(stub: CommunicationServiceAsyncStub) -> None:
    """An update that is repeated with its idempotency key is answered as before, although its etag is outdated now."""
    request = update((await preferences_of(stub)).etag, reminders=False)

    first, second = [
        await stub.UpdateNotificationPreferences(request, metadata=with_key("once-and-again")) for _ in range(2)
    ]

    assert first == second


async def test_simultaneous_updates_are_all_kept(stub: CommunicationServiceAsyncStub) -> None:
    """Simultaneous updates of different preferences do not overwrite each other, be they the first ones or not."""
    for _ in range(10):
        user_id = str(uuid4())
        for value in (False, True):
            changes = (update(user_id=user_id, reminders=value), update(user_id=user_id, waiting_list=value))
            await asyncio.gather(*map(stub.UpdateNotificationPreferences, changes))

            preferences = await preferences_of(stub, user_id)
            assert (preferences.reminders, preferences.waiting_list) == (value, value)


async def test_an_invalid_update_names_its_field(stub: CommunicationServiceAsyncStub) -> None:
    """An update that breaks a rule of the contract is rejected with a violation that names the field."""
    valid = {"preferences": pb.NotificationPreferences(user_id=USER), "update_mask": FieldMask(paths=["reminders"])}
    bad: list[tuple[str, dict[str, Any]]] = [
        ("preferences", {"preferences": None}),
        ("preferences.user_id", {"preferences": pb.NotificationPreferences(user_id="ada")}),
        ("preferences.etag", {"preferences": pb.NotificationPreferences(user_id=USER, etag="a\nb")}),
        ("preferences.etag", {"preferences": pb.NotificationPreferences(user_id=USER, etag="a" * 65)}),
        ("update_mask", {"update_mask": None}),
        ("update_mask", {"update_mask": FieldMask()}),
        ("update_mask", {"update_mask": FieldMask(paths=["bookings"])}),
        ("update_mask", {"update_mask": FieldMask(paths=["reminders.x"])}),
    ]
    for field, changes in bad:
        with pytest.raises(InvalidRequest) as caught:
            await stub.UpdateNotificationPreferences(pb.UpdateNotificationPreferencesRequest(**{**valid, **changes}))
        assert set(fields_of(caught.value)) == {field}, changes


async def test_an_invalid_user_id_or_token_is_named(stub: CommunicationServiceAsyncStub) -> None:
    """A malformed user id or token is rejected with a violation that names the field."""
    with pytest.raises(InvalidRequest) as user_id:
        await preferences_of(stub, "ada")
    with pytest.raises(InvalidRequest) as token:
        await stub.Unsubscribe(pb.UnsubscribeRequest(token="a token with blanks"))  # noqa: S106 - no token

    assert (fields_of(user_id.value), fields_of(token.value)) == (["user_id"], ["token"])


async def test_unsubscribe_rejects_a_made_up_token(stub: CommunicationServiceAsyncStub) -> None:
    """A well-formed token that this service has not issued fails with UNSUBSCRIBE_TOKEN_INVALID."""
    with pytest.raises(UnsubscribeTokenInvalid):
        await stub.Unsubscribe(pb.UnsubscribeRequest(token="A" * 60))


@pytest.mark.requirement("S2")
async def test_other_services_cannot_read_or_change_preferences(mesh: MeshForTests) -> None:
    """The service's own key may unsubscribe. The keys of other services may neither read nor change preferences."""
    own = mesh.stub(CommunicationServiceStub, "communication")
    with pytest.raises(UnsubscribeTokenInvalid):
        await own.Unsubscribe(pb.UnsubscribeRequest(token="A" * 60))

    session = mesh.stub(CommunicationServiceStub, "session")
    with pytest.raises(ScopeMissing):
        await session.Unsubscribe(pb.UnsubscribeRequest(token="A" * 60))
    with pytest.raises(ScopeMissing):
        await session.UpdateNotificationPreferences(update(reminders=False))
    with pytest.raises(ScopeMissing):
        await preferences_of(session)


async def test_a_mail_that_is_switched_off_is_accepted_and_not_sent(
    stub: CommunicationServiceAsyncStub, mail_folder: Path
) -> None:
    """SendEmail and SendEmailAsync accept a mail that is switched off. It becomes SUPPRESSED and is not sent."""
    await stub.UpdateNotificationPreferences(update(reminders=False))

    waited = await stub.SendEmail(REMINDER)
    queued = await stub.SendEmailAsync(pb.SendEmailAsyncRequest.FromString(REMINDER.SerializeToString()))

    for message_id in (waited.message_id, queued.message_id):
        message = await wait_for_status(stub, message_id, pb.MESSAGE_STATUS_SUPPRESSED)
        assert message.last_error == "The user has switched off mail of this category."
    assert read_mails(mail_folder) == []
    await stub.UpdateNotificationPreferences(update(reminders=True))
    await stub.SendEmail(REMINDER)
    assert len(read_mails(mail_folder)) == 1
