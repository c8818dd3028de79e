"""Requests about the notification preferences of one user."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from google.protobuf.field_mask_pb2 import FieldMask

from solo60.communication.v1 import communication_pb2 as pb

if TYPE_CHECKING:
    from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceAsyncStub

USER = str(uuid4())
ADA = pb.Recipient(email="ada@example.org", display_name="Ada Lovelace", user_id=USER)
REMINDER = pb.SendEmailRequest(
    recipient=ADA,
    template_key="TRIAL_ENDING",
    variables={"member_name": "Ada", "plan_name": "Solo Monthly", "price": "49.00 GBP", "trial_end_time": "Tuesday"},
)


def update(
    etag: str = "", user_id: str = USER, *, reminders: bool | None = None, waiting_list: bool | None = None
) -> pb.UpdateNotificationPreferencesRequest:
    """Return a request that changes the given preferences."""
    wanted = pb.NotificationPreferences(
        user_id=user_id, etag=etag, reminders=bool(reminders), waiting_list=bool(waiting_list)
    )
    values = {"reminders": reminders, "waiting_list": waiting_list}
    mask = FieldMask(paths=[name for name, value in values.items() if value is not None])
    return pb.UpdateNotificationPreferencesRequest(preferences=wanted, update_mask=mask)


async def preferences_of(stub: CommunicationServiceAsyncStub, user_id: str = USER) -> pb.NotificationPreferences:
    """Return the preferences of a user."""
    response = await stub.GetNotificationPreferences(pb.GetNotificationPreferencesRequest(user_id=user_id))
    return response.preferences
