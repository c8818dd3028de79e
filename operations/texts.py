"""Texts of times, durations, counts and errors, in the same form for the console and the command line."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from grpc import StatusCode

from contracts.errors import CircuitOpen

if TYPE_CHECKING:
    from datetime import datetime

    from google.protobuf.message import Message

    from contracts.errors import ServiceError

NO_ANSWER = (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED)


def moment(time: datetime | None, *, milliseconds: bool = False) -> str:
    """Return a time with its zone: "2026-11-29 08:15:00 UTC"; "" for None."""
    if time is None:
        return ""
    time = time.astimezone(UTC)
    fraction = f".{time.microsecond // 1000:03}" if milliseconds else ""
    return f"{time:%Y-%m-%d %H:%M:%S}{fraction} UTC"


def moment_in(message: Message, field: str) -> str:
    """Return the time in a field of a message, as `moment` does; "" if the field is not set."""
    return moment(getattr(message, field).ToDatetime(UTC)) if message.HasField(field) else ""


def rough_duration(seconds: float) -> str:
    """Return a duration in the largest unit of which it has at least two.

    >>> rough_duration(75), rough_duration(720), rough_duration(18_000), rough_duration(259_200)
    ('75 s', '12 min', '5 h', '3 days')
    """
    for unit_s, name in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {name}"
    return f"{seconds:.0f} s"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> counted(1, "dead letter"), counted(1200, "message")
    ('1 dead letter', '1,200 messages')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def as_sentence(text: str) -> str:
    """Return a text with an upper-case first letter and a full stop."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def error_text(error: ServiceError) -> str:
    """Return the code and the message of an error: "NOT_FOUND: There is no such session."."""
    return f"{error.code.name}: {error.message}"


def failure_text(error: ServiceError) -> str:
    """Return why a read failed, without gRPC's own text about a service that is down or frozen."""
    if isinstance(error, CircuitOpen):
        return f"{error.code.name}: earlier calls failed, and the next one follows within seconds"
    return error.code.name if error.code in NO_ANSWER else error_text(error)
