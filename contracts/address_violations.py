"""Mail address checks of requests, for the parts of the rule `mail_address` that CEL cannot express."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from contracts.errors import Violation
from contracts.mail_address import MailAddress
from contracts.message_types import is_map, types_within
from contracts.texts import string_rules_of
from solo60.common.v1 import text_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.message import Message

    from contracts.field_value import FieldValue


def address_violations(message: Message) -> list[Violation]:
    """Return a violation for each invalid mail address in `message`, at any depth."""
    if not _holds_addresses(message.DESCRIPTOR):
        return []
    return [Violation(path, problem) for path, text in _addresses(message) if (problem := _problem_of(text))]


def _problem_of(text: str) -> str:
    try:
        MailAddress.parse(text)
    except ValueError as error:
        return str(error)
    return ""


def _addresses(message: Message) -> Iterator[tuple[str, str]]:
    for field, content in message.ListFields():
        if _is_address(field):
            yield from _items(field, content)
        elif field.message_type is not None and _holds_addresses(field.message_type):
            for path, inner in _items(field, content):
                yield from ((f"{path}.{rest}", text) for rest, text in _addresses(inner))


def _items(field: FieldDescriptor, content: FieldValue) -> list[tuple[str, FieldValue]]:
    if not field.is_repeated:
        return [(field.name, content)]
    if is_map(field):
        return [(f"{field.name}[]", each) for each in content.values()]
    return [(f"{field.name}[{index}]", each) for index, each in enumerate(content)]


@functools.cache
def _is_address(field: FieldDescriptor) -> bool:
    return bool(string_rules_of(field).Extensions[text_pb2.mail_address])


@functools.cache
def _holds_addresses(message_type: Descriptor) -> bool:
    """Return whether a message of this type can hold an address, at any depth."""
    return any(_is_address(field) for each in types_within(message_type).values() for field in each.fields)
