"""Encoding of single protobuf fields (protobuf.dev, "Encoding").

The concatenation of encoded fields is an encoded message, so fields that many messages share can be encoded once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.message import Message

# Types of fields.
VARINT, EIGHT_BYTES, LENGTH_PREFIXED = 0, 1, 2
_SEVEN_BITS = 0x7F
_MORE = 0x80


def varint(number: int) -> bytes:
    """Return a number of at least 0 with seven bits in each byte, the lowest first."""
    encoded = bytearray()
    while number > _SEVEN_BITS:
        encoded.append(number & _SEVEN_BITS | _MORE)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


_SHORT = tuple(map(varint, range(1024)))


def prefixed(data: bytes) -> bytes:
    """Return `data` after its length, as the value of a text, a byte string or a message."""
    length = len(data)
    return (_SHORT[length] if length < len(_SHORT) else varint(length)) + data


def tag(message: type[Message], field: str, wire_type: int) -> bytes:
    """Return the bytes before the value of a field."""
    return varint(message.DESCRIPTOR.fields_by_name[field].number << 3 | wire_type)
