"""Malformed timestamps: field values outside of the range that google.protobuf.Timestamp allows."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from contracts.errors import Violation
from contracts.message_types import is_map, types_within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

# 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z, as google/protobuf/timestamp.proto bounds them.
_FIRST_S, _LAST_S = -62_135_596_800, 253_402_300_799
_SECOND_NS = 1_000_000_000
_NAME = Timestamp.DESCRIPTOR.full_name


def malformed_times(message: Message) -> list[Violation]:
    """Return a violation for each timestamp in `message`, at any depth, outside of the years 1 to 9999.

    A timestamp with `nanos` outside of a second is a violation too. A type without timestamps costs one cache lookup.
    """
    if not _fields_with_times(message.DESCRIPTOR):
        return []
    description = "must be a time in the years 1 to 9999, with 0 to 999999999 nanos"
    return [Violation(path, description) for path, time in _times(message) if not is_well_formed(time)]


def is_well_formed(time: Timestamp) -> bool:
    """Return whether a timestamp is in the years 1 to 9999, and its `nanos` are within a second."""
    return _FIRST_S <= time.seconds <= _LAST_S and 0 <= time.nanos < _SECOND_NS


def _times(message: Message) -> Iterator[tuple[str, Timestamp]]:
    for field in _fields_with_times(message.DESCRIPTOR):
        for path, inner in field.messages_in(message):
            if isinstance(inner, Timestamp):
                yield path, inner
            else:
                yield from ((f"{path}.{rest}", time) for rest, time in _times(inner))


@dataclass(frozen=True, slots=True)
class _Field:
    """Field that leads to a timestamp.

    Fields are cached, because reading the descriptor for each message would cost as much as the rules.
    """

    name: str
    is_repeated: bool
    is_map: bool

    def messages_in(self, message: Message) -> list[tuple[str, Message]]:
        if not self.is_repeated:
            return [(self.name, getattr(message, self.name))] if message.HasField(self.name) else []
        content = getattr(message, self.name)
        if self.is_map:  # map keys may be personal data, so the path omits them
            return [(f"{self.name}[]", each) for each in content.values()]
        return [(f"{self.name}[{index}]", each) for index, each in enumerate(content)]


@functools.cache
def _fields_with_times(descriptor: Descriptor) -> tuple[_Field, ...]:
    return tuple(
        _Field(field.name, field.is_repeated, is_map(field))
        for field in descriptor.fields
        if field.message_type is not None and _NAME in types_within(field.message_type)
    )
