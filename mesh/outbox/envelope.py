"""Envelope of an outbox message that travels through a broker."""

from __future__ import annotations

from uuid import UUID

from google.protobuf.message import DecodeError

from mesh.outbox.message import OutboxMessage
from solo60.mesh.v1.outbox_pb2 import OutboxEnvelope


def encode_envelope(message: OutboxMessage, now_s: float) -> bytes:
    """Return a message as a serialized envelope; `now_s` is the time in seconds since 1970."""
    envelope = OutboxEnvelope(
        message_id=str(message.message_id),
        destination=message.destination,
        payload=message.payload,
        event=message.event,
        aggregate_key=message.aggregate_key,
        correlation_id=message.correlation_id,
        traceparent=message.traceparent,
    )
    envelope.deliver_time.FromMilliseconds(int((now_s - message.age_s) * 1_000))
    return envelope.SerializeToString()


def decode_envelope(content: bytes, now_s: float) -> OutboxMessage:
    """Return the message in an envelope, with its age at `now_s`; raise ValueError if `content` is invalid."""
    try:
        envelope = OutboxEnvelope.FromString(content)
    except DecodeError:
        raise ValueError("This is not an OutboxEnvelope.") from None
    message = OutboxMessage(
        message_id=UUID(envelope.message_id),
        destination=envelope.destination,
        payload=envelope.payload,
        event=envelope.event,
        aggregate_key=envelope.aggregate_key if envelope.HasField("aggregate_key") else None,
        correlation_id=envelope.correlation_id,
        traceparent=envelope.traceparent,
        age_s=max(0.0, now_s - envelope.deliver_time.ToMilliseconds() / 1_000),
    )
    texts = (message.destination, message.event, message.aggregate_key, message.correlation_id, message.traceparent)
    if any("\0" in (text or "") for text in texts):
        raise ValueError("A text contains U+0000, which PostgreSQL cannot store.")
    return message
