"""Personal data in messages, according to the `pii` fields of the contracts."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING
from uuid import UUID

from google.protobuf.descriptor import FieldDescriptor

from contracts.redaction import is_personal

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

_ID_SUFFIX = "_id"


@cache
def may_hold_personal_data(message: Descriptor) -> bool:
    """Return whether a message of this type has a personal field, itself or in a message inside it."""
    seen: set[str] = set()
    waiting = [message]
    while waiting:
        current = waiting.pop()
        if current.full_name in seen:
            continue
        seen.add(current.full_name)
        if any(map(is_personal, current.fields)):
            return True
        waiting += [field.message_type for field in current.fields if field.message_type is not None]
    return False


def ids_in(message: Message) -> set[UUID]:
    """Return the UUIDs in the set fields of a message whose names end with "_id", at any depth outside of maps."""
    found: set[UUID] = set()
    for field, value in message.ListFields():
        values = value if field.is_repeated else [value]
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            found.update(*map(ids_in, values))
        elif field.type == FieldDescriptor.TYPE_STRING and field.name.endswith(_ID_SUFFIX):
            found.update(UUID(text) for text in values if _is_uuid(text))
    return found


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
