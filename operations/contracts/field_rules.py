"""Fields of a contract's messages: types, rules and comments in readable form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from buf.validate import validate_pb2
from contracts.stored_texts import stored_texts
from operations.contracts.texts import one_line
from solo60.mesh.v1 import policy_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
    from google.protobuf.message import Message

MAX_DEPTH = 6
WELL_KNOWN = "google.protobuf."
# Rules for every element of a list or map, named as in buf/validate/validate.proto.
EACH = {"items": "each: ", "keys": "each key: ", "values": "each value: "}
_SCALARS = {int(number): name.removeprefix("TYPE_").lower() for name, number in FieldDescriptorProto.Type.items()}


@dataclass(frozen=True, slots=True)
class FieldRules:
    """One field of a message: its path within the message, its type, rules and comment.

    `type_name` is the full name of its message or enum if that is one of our contracts, or "".
    """

    path: str
    type: str
    rules: tuple[str, ...]
    comment: str = ""
    type_name: str = ""
    is_personal: bool = False


def fields_of(descriptor: Descriptor, prefix: str = "", depth: int = MAX_DEPTH) -> Iterator[FieldRules]:
    """Yield every field of a message and, recursively, the fields of its nested messages."""
    for field in descriptor.fields:
        path = f"{prefix}{field.name}"
        yield FieldRules(
            path,
            _type_of(field),
            tuple(_rules_of(field)),
            one_line(stored_texts().comment_of(field)),
            _type_name_of(field),
            field.GetOptions().Extensions[policy_pb2.pii],
        )
        inner = field.message_type
        if inner is not None and depth and not inner.GetOptions().map_entry and not _is_well_known(inner):
            yield from fields_of(inner, f"{path}{'[]' if field.is_repeated else ''}.", depth - 1)


def rules_of_message(descriptor: Descriptor) -> list[str]:
    """Return the rules that apply to several fields of a message together."""
    rules = descriptor.GetOptions().Extensions[validate_pb2.message]
    return [rule.message or rule.expression for rule in rules.cel]


def _is_well_known(descriptor: Descriptor | EnumDescriptor) -> bool:
    return descriptor.full_name.startswith(WELL_KNOWN)


def _type_name_of(field: FieldDescriptor) -> str:
    named = field.message_type or field.enum_type
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        value = field.message_type.fields_by_name["value"]
        named = value.message_type or value.enum_type
    return "" if named is None or _is_well_known(named) else named.full_name


def _type_of(field: FieldDescriptor) -> str:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        return f"map<{_type_of(key)}, {_type_of(value)}>"
    named = field.message_type or field.enum_type
    name = named.name if named is not None else _SCALARS[field.type]
    return f"repeated {name}" if field.is_repeated else name


def _rules_of(field: FieldDescriptor) -> Iterator[str]:
    oneof = field.containing_oneof
    if oneof is not None and len(oneof.fields) > 1:
        yield f"one of {oneof.name}"
    yield from _words(field.GetOptions().Extensions[validate_pb2.field])
    if field.enum_type is not None:
        yield " | ".join(value.name for value in field.enum_type.values if value.number)


def _words(rules: Message, each: str = "") -> Iterator[str]:
    """Yield each rule under its name in the contract: "uuid", "min_len 1", "in email, display_name"."""
    for rule, value in rules.ListFields():
        if rule.name == "cel":
            yield from (f"{each}{cel.message or cel.expression}" for cel in value)
        elif rule.name == "ignore":
            yield "may be empty"
        elif rule.is_repeated:
            yield f"{each}{rule.name} {', '.join(map(str, value))}"
        elif rule.message_type is None:
            yield each + (rule.name if value is True else f"{rule.name} {value}")
        elif _is_well_known(rule.message_type):
            yield f"{each}{rule.name} {value.ToJsonString()}"
        else:
            yield from _words(value, EACH.get(rule.name, each))
