"""Conversion between protobuf messages and the domain of the communication service.

`parse_` functions return domain values, `render_` functions return messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from services.communication.mail import Mailbox
from solo60.communication.v1 import communication_pb2 as pb

if TYPE_CHECKING:
    from services.communication.domain import Message


def render_message(message: Message) -> pb.Message:
    """Convert a stored message to its protobuf message."""
    rendered = pb.Message(
        message_id=str(message.message_id),
        template_key=message.template_key,
        status=pb.MessageStatus.Value(f"MESSAGE_STATUS_{message.status}"),
        attempts=message.attempts,
        last_error=message.last_error,
        email_message_id=message.email_message_id,
        may_have_been_sent=message.may_have_been_sent,
    )
    rendered.create_time.FromDatetime(message.create_time)
    if message.send_time is not None:
        rendered.send_time.FromDatetime(message.send_time)
    if message.expire_time is not None:
        rendered.expire_time.FromDatetime(message.expire_time)
    return rendered


def parse_recipient(recipient: pb.Recipient) -> Mailbox:
    """Convert a recipient to a mailbox. Validation of the request has already checked the address."""
    return Mailbox.of(recipient.email, recipient.display_name)


def parse_user_id(user_id: str) -> UUID | None:
    """Return an optional user id of a request, or None if it is empty."""
    return UUID(user_id) if user_id else None
