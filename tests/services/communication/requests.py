"""Requests to the communication service with default values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interceptors.idempotency import IDEMPOTENCY_KEY
from solo60.communication.v1 import communication_pb2 as pb
from tests.support.eventually import eventually

if TYPE_CHECKING:
    from solo60.communication.v1.communication_pb2_grpc import CommunicationServiceAsyncStub

ADA = pb.Recipient(email="ada@example.org", display_name="Ada Lovelace")
VARIABLES = {
    "member_name": "Ada Lovelace",
    "gym_name": "Field Street Gym",
    "start_time": "Tuesday 3 March 2026, 18:00",
    "end_time": "19:00",
    "price": "12.50 GBP",
}
METHODS = ["SendEmail", "SendEmailAsync", "SendSystemNotification"]


def email(**changes: Any) -> pb.SendEmailRequest:
    """Return a request for the booking mail to Ada."""
    return pb.SendEmailRequest(
        **{"recipient": ADA, "template_key": "SESSION_BOOKED", "variables": VARIABLES, **changes}
    )


def in_background(**changes: Any) -> pb.SendEmailAsyncRequest:
    """Return a request for the booking mail in the background."""
    return pb.SendEmailAsyncRequest.FromString(email(**changes).SerializeToString())


def notification(**changes: Any) -> pb.SendSystemNotificationRequest:
    """Return a request to notify the admins."""
    wanted = {"audience": pb.AUDIENCE_ADMINS, "template_key": "SESSION_BOOKED", "variables": VARIABLES, **changes}
    return pb.SendSystemNotificationRequest(**wanted)


async def send(stub: CommunicationServiceAsyncStub, method: str, **changes: Any) -> str:
    """Send by one of the three methods and return the message id."""
    make = {"SendEmail": email, "SendEmailAsync": in_background, "SendSystemNotification": notification}[method]
    response = await getattr(stub, method)(make(**changes))
    return str(response.message_id)


def with_key(key: str) -> tuple[tuple[str, str], ...]:
    """Return call metadata with this idempotency key."""
    return ((IDEMPOTENCY_KEY, key),)


async def wait_for_status(
    stub: CommunicationServiceAsyncStub, message_id: str, *statuses: pb.MessageStatus.ValueType
) -> pb.Message:
    """Return the message once it has one of these statuses."""
    message = pb.Message()

    async def has_status() -> bool:
        nonlocal message
        message = (await stub.GetMessage(pb.GetMessageRequest(message_id=message_id))).message
        return message.status in statuses

    await eventually(has_status)
    return message
