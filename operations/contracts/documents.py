"""Documents about one method or one type of the contracts, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import EnumDescriptor

from contracts.events import subscribers_of
from contracts.policy import is_event
from contracts.stored_texts import stored_texts
from operations.contracts.catalog import services, types
from operations.contracts.error_reasons import reasons_of
from operations.contracts.field_rules import fields_of, rules_of_message
from operations.contracts.texts import one_line
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor

    from contracts.method import Method
    from operations.contracts.error_reasons import Reason
    from operations.contracts.field_rules import FieldRules


@dataclass(frozen=True, slots=True)
class MethodDocument:
    """A method with its comment, fields, rules and errors.

    `request` and `response` have the fields of nested messages too. `example` is a valid request.
    """

    method: Method
    comment: str
    request: tuple[FieldRules, ...]
    request_rules: tuple[str, ...]
    response: tuple[FieldRules, ...]
    errors: tuple[Reason, ...]
    example: dict[str, Any]
    is_read_only: bool


@dataclass(frozen=True, slots=True)
class EnumValue:
    """Value of an enum with its number and comment."""

    name: str
    number: int
    comment: str


@dataclass(frozen=True, slots=True)
class TypeDocument:
    """A message, an event or an enum. `used_by` are full names of methods and messages.

    An event has the name of its publisher's package and the full names of its subscribers. Events with the same value
    of `aggregate_key` arrive in order.
    """

    name: str
    kind: str
    comment: str
    fields: tuple[FieldRules, ...] = ()
    rules: tuple[str, ...] = ()
    values: tuple[EnumValue, ...] = ()
    used_by: tuple[str, ...] = ()
    publisher: str = ""
    subscribers: tuple[str, ...] = ()
    aggregate_key: str = ""


def document_of_method(method: Method) -> MethodDocument:
    """Return the document about a method."""
    descriptor = descriptor_pool.Default().FindServiceByName(method.service).methods_by_name[method.name]
    texts = stored_texts()
    return MethodDocument(
        method,
        texts.comment_of(descriptor),
        tuple(fields_of(descriptor.input_type)),
        tuple(rules_of_message(descriptor.input_type)),
        tuple(fields_of(descriptor.output_type)),
        tuple(reasons_of(method)),
        dict(texts.examples.get(descriptor.input_type.full_name, {})),
        method.is_read_only,
    )


def document_of_type(described: Descriptor | EnumDescriptor) -> TypeDocument:
    """Return the document about a message, an event or an enum."""
    comment, used_by = stored_texts().comment_of(described), tuple(_users_of(described.full_name))
    if isinstance(described, EnumDescriptor):
        values = tuple(
            EnumValue(each.name, each.number, one_line(stored_texts().comment_of(each))) for each in described.values
        )
        return TypeDocument(described.full_name, "enum", comment, values=values, used_by=used_by)
    is_published = is_event(described)
    return TypeDocument(
        described.full_name,
        "event" if is_published else "message",
        comment,
        tuple(fields_of(described, depth=0)),
        tuple(rules_of_message(described)),
        used_by=used_by,
        publisher=described.file.package if is_published else "",
        subscribers=tuple(each.full_name for each in subscribers_of(described.full_name)) if is_published else (),
        aggregate_key=described.GetOptions().Extensions[policy_pb2.event].aggregate_key if is_published else "",
    )


def _users_of(name: str) -> Iterator[str]:
    """Yield the methods with this request or response, then the messages with a field of this type."""
    for service in services():
        for method in service.methods:
            if name in (method.input_type.full_name, method.output_type.full_name):
                yield f"{service.full_name}/{method.name}"
    for each in types():
        if not isinstance(each, EnumDescriptor) and any(field.type_name == name for field in fields_of(each, depth=0)):
            yield each.full_name
