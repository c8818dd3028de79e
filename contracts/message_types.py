"""Message types: the types that one contains, maps, and the wrappers of scalars."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

# Messages such as google.protobuf.Int32Value, which have one field `value`.
WRAPPERS = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)


def is_map(field: FieldDescriptor) -> bool:
    """Return whether a field is a map."""
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def types_within(message: Descriptor) -> dict[str, Descriptor]:
    """Return a message type and the types of all messages that its fields contain, at any depth, by full name."""
    found, pending = {message.full_name: message}, [message]
    while pending:
        for field in pending.pop().fields:
            inner = field.message_type
            if inner is not None and inner.full_name not in found:
                found[inner.full_name] = inner
                pending.append(inner)
    return found
