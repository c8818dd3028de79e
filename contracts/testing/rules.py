"""Validation rules as contracts declare them: of fields, of their items, keys and values, of oneofs and of messages."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buf.validate import validate_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, FieldDescriptor

    from contracts.field_value import FieldValue

# protovalidate reports a rule for both ends of a range under the path of one of them.
BOUNDS = frozenset({"lt", "lte", "gt", "gte"})
NESTED = {"items": "[0]", "keys": "[]", "values": "[]"}
# Rules that protovalidate evaluates without an expression.
NATIVE = frozenset({"enum.defined_only", "any.in", "any.not_in"})
HEADER_VALUE = validate_pb2.KNOWN_REGEX_HTTP_HEADER_VALUE


@dataclass(frozen=True, slots=True)
class Rule:
    """Rule of a contract. `field` and `path` are those of its violations; `value` is the argument of the rule."""

    field: str
    path: str
    id: str
    value: FieldValue = dataclasses.field(compare=False, default=None)

    @property
    def name(self) -> str:
        """Last part of the path, such as "max_len"."""
        return self.path.rpartition(".")[2]

    @property
    def is_bound(self) -> bool:
        """Whether the rule is one end of a range."""
        return self.name in BOUNDS


@dataclass(frozen=True, slots=True)
class Probe:
    """Values that a rule should accept, and neighbours that it should reject, the most likely first."""

    accepted: tuple[FieldValue, ...]
    rejected: tuple[FieldValue, ...]


def rules_of_field(descriptor: FieldDescriptor) -> Iterator[Rule]:
    """Yield the rules of a field, and of its items, keys and values, but not those of its message type."""
    rules = descriptor.GetOptions().Extensions[validate_pb2.field]
    if rules.ignore != validate_pb2.IGNORE_ALWAYS:
        yield from _rules_of(rules, descriptor.name, "", is_set=descriptor.has_presence)


def rules_of_message(descriptor: Descriptor) -> Iterator[Rule]:
    """Yield the rules of a whole message and of its oneofs."""
    rules = descriptor.GetOptions().Extensions[validate_pb2.message]
    yield from (Rule("", "", cel.id or cel.expression, cel.expression) for cel in rules.cel)
    yield from (Rule("", "", expression, expression) for expression in rules.cel_expression)
    yield from (Rule("", "", "message.oneof", list(oneof.fields)) for oneof in rules.oneof)
    for oneof in descriptor.oneofs:
        if oneof.GetOptions().Extensions[validate_pb2.oneof].required:
            yield Rule(oneof.name, "", "required")


def _rules_of(rules: validate_pb2.FieldRules, name: str, prefix: str, *, is_set: bool) -> Iterator[Rule]:
    if rules.required and not prefix:
        yield Rule(name, "required", "required")
    for number, cel in enumerate(rules.cel):
        yield Rule(name, f"{prefix}cel[{number}]", cel.id or cel.expression, cel.expression)
    for number, expression in enumerate(rules.cel_expression):
        yield Rule(name, f"{prefix}cel_expression[{number}]", expression, expression)
    kind = rules.WhichOneof("type")
    if kind is None:
        return
    skips_empty = rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE or (rules.required and not is_set)
    for argument, value in getattr(rules, kind).ListFields():
        path = f"{prefix}{kind}.{argument.name}"
        if argument.name in NESTED:
            yield from _rules_of(value, name + NESTED[argument.name], f"{path}.", is_set=False)
            continue
        if argument.is_extension:
            path = f"{prefix}{kind}.[{argument.full_name}]"
        for rule_id in _ids(kind, argument, value):
            # Rules of an empty value, which such a field never checks.
            if not (skips_empty and rule_id.endswith("_empty")):
                yield Rule(name, path, rule_id, value)


def _ids(kind: str, argument: FieldDescriptor, value: FieldValue) -> list[str]:
    """Return the ids of the violations of a rule."""
    plain = f"{kind}.{argument.name}"
    if value is False and plain != "bool.const":
        return []
    if argument.name in BOUNDS or plain in NATIVE:
        return [plain]
    ids = [cel.id for cel in argument.GetOptions().Extensions[validate_pb2.predefined].cel]
    if argument.name == "well_known_regex":
        return [each for each in ids if each.endswith("header_value") == (value == HEADER_VALUE)]
    return ids
