"""Envelope: a message of an outbox as it travels by way of a broker."""

from __future__ import annotations

from uuid import UUID

from google.protobuf.message import DecodeError

from mesh.outbox.message import Message
from solo60.mesh.v1.outbox_pb2 import OutboxEnvelope


def seal(message: Message) -> bytes:
    """Return the envelope of a message, serialized."""
    return OutboxEnvelope(
        message_id=str(message.message_id),
        destination=message.destination,
        payload=message.payload,
        event=message.event,
        aggregate_key=message.aggregate_key,
        correlation_id=message.correlation_id,
        traceparent=message.traceparent,
    ).SerializeToString()


def unseal(content: bytes) -> Message:
    """Return the message in an envelope, as new as when it was written; raise ValueError where there is none."""
    try:
        envelope = OutboxEnvelope.FromString(content)
    except DecodeError:
        raise ValueError("this is no envelope") from None
    return Message(
        message_id=UUID(envelope.message_id),
        destination=envelope.destination,
        payload=envelope.payload,
        event=envelope.event,
        aggregate_key=envelope.aggregate_key if envelope.HasField("aggregate_key") else None,
        correlation_id=envelope.correlation_id,
        traceparent=envelope.traceparent,
    )
