"""Requests at the boundaries of every validation rule of a contract, and requests that break one rule each.

    for case in cases_of(GetGymRequest):
        ...  # send case.request; expect INVALID_ARGUMENT that names case.field, unless case.is_valid

All values are derived from the descriptor, and protovalidate decides whether a request is valid. A rule that no derived
value breaks is in `uncovered_rules`. A boundary that no valid request reaches, because of other rules, has no case.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

from google.protobuf.message_factory import GetMessageClass

from buf.validate import validate_pb2
from contracts.example_messages import example_of
from contracts.message_types import is_map
from contracts.testing.list_probes import list_probes, map_probes
from contracts.testing.placement import VALUES, element_of, element_place, type_of, value_in, with_value
from contracts.testing.probes import probes_of
from contracts.testing.rule_requests import RuleRequests, breaks, requests_for
from contracts.testing.rules import Probe, Rule, rules_of_field, rules_of_message
from contracts.testing.variations import other_values, variations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.message import Message

    from contracts.field_value import FieldValue

# Number of messages that are tried in search of a valid one with a certain field.
MAX_CHANGES = 600


@dataclass(frozen=True, slots=True)
class Case:
    """Request at the boundary of a rule if it is valid; otherwise a request that breaks the rule.

    `field` is the path of the field in `contracts.violations`. `rule` is the id of the rule ("string.max_len") and
    `description` its sentence.
    """

    field: str
    rule: str
    description: str
    request: Message
    is_valid: bool

    def __str__(self) -> str:
        return f"{self.field} {self.rule} {'accepted' if self.is_valid else 'rejected'}"


def cases_of(message_type: type[Message]) -> tuple[Case, ...]:
    """Return the cases of a message type: for each rule its boundaries, then one request that breaks it."""
    return tuple(case for found in _requests_of(type_of(message_type()), ()) for case in _cases_in(found))


def uncovered_rules(message_type: type[Message]) -> tuple[Rule, ...]:
    """Return the rules of a message type, and of the messages in it, that no derived request breaks."""
    return tuple(found.rule for found in _requests_of(type_of(message_type()), ()) if found.broken is None)


def _cases_in(found: RuleRequests) -> Iterator[Case]:
    if found.broken is None or found.violation is None:
        return
    case = Case(found.broken.field, found.broken.id, found.broken.description, found.violation, is_valid=False)
    yield from (replace(case, request=boundary, is_valid=True) for boundary in found.boundaries)
    yield case


@cache
def _requests_of(descriptor: Descriptor, containing: tuple[Descriptor, ...]) -> tuple[RuleRequests, ...]:
    """Return the requests for each rule; `containing` are the types of the messages around this one."""
    example = _example(descriptor)
    found = [requests_for(rule, _message_probes(rule, descriptor, example)) for rule in rules_of_message(descriptor)]
    for field in descriptor.fields:
        base = _with_field(example, field)
        found += [requests_for(rule, _field_probes(rule, field, base)) for rule in rules_of_field(field)]
        if _has_nested_rules(field) and element_of(field, element_place(field)).message_type not in (
            descriptor,
            *containing,
        ):
            found += _nested(field, base, (*containing, descriptor))
    return tuple(found)


def _example(descriptor: Descriptor) -> Message:
    """Return a message that breaks as few rules as possible."""
    example = example_of(GetMessageClass(descriptor))
    broken = {each.field for each in breaks(example)}
    for field in descriptor.fields:
        if field.name in broken:
            example = _with_field(example, field)
    return example


def _has_nested_rules(field: FieldDescriptor) -> bool:
    element = element_of(field, element_place(field)).message_type
    rules = field.GetOptions().Extensions[validate_pb2.field]
    return element is not None and element.full_name not in VALUES and rules.ignore != validate_pb2.IGNORE_ALWAYS


def _nested(field: FieldDescriptor, base: Message, containing: tuple[Descriptor, ...]) -> Iterator[RuleRequests]:
    place = element_place(field)
    start = field.name + {"items": "[0]", "values": "[]", "": ""}[place]
    for inner in _requests_of(element_of(field, place).message_type, containing):
        rule = replace(inner.rule, field=f"{start}.{inner.rule.field}".removesuffix("."))
        values = () if inner.violation is None else (inner.violation,)
        yield requests_for(rule, [_placed(base, field, place, Probe(inner.boundaries, values))])


def _message_probes(rule: Rule, descriptor: Descriptor, example: Message) -> Iterator[Probe]:
    if rule.id == "required":
        without = example
        for field in descriptor.oneofs_by_name[rule.field].fields:
            without = with_value(without, field, None)
        yield Probe((), (without,))
    yield from variations(example, rule.value if isinstance(rule.value, str) else "")


def _field_probes(rule: Rule, field: FieldDescriptor, base: Message) -> Iterator[Probe]:
    place = rule.path.split(".")[1] if rule.path.startswith(("repeated.items.", "map.keys.", "map.values.")) else ""
    return (_placed(base, field, place, probe) for probe in _value_probes(rule, field, place, base))


def _value_probes(rule: Rule, field: FieldDescriptor, place: str, base: Message) -> Iterator[Probe]:
    value = value_in(base, field, place)
    element = element_of(field, place)
    if place and value is None:
        return iter(())
    if is_map(field) and not place:
        return map_probes(rule, field, value)
    if field.is_repeated and not place:
        return list_probes(rule, field, value)
    if rule.name.startswith("cel") and element.message_type is not None and value is not None:
        return variations(value, rule.value)
    return probes_of(rule, element, value, lambda each: not breaks(with_value(base, field, each, place)))


def _placed(base: Message, field: FieldDescriptor, place: str, probe: Probe) -> Probe:
    def placed(values: tuple[FieldValue, ...]) -> tuple[Message, ...]:
        return tuple(with_value(base, field, value, place) for value in values)

    return Probe(placed(probe.accepted), placed(probe.rejected))


def _with_field(example: Message, field: FieldDescriptor) -> Message:
    """Return a message like the example that has the field, with another field changed if rules require that."""
    if field in dict(example.ListFields()) and not breaks(example):
        return example
    expressions = " ".join(rule.value for rule in rules_of_message(type_of(example)) if isinstance(rule.value, str))
    with_field = [
        with_value(example, field, value)
        for value in other_values(field, example, expressions)
        if value is not None and value != []
    ]
    for message in with_field:
        if field in dict(message.ListFields()) and not breaks(message):
            return message
    for changed in islice(_changed_elsewhere(with_field, field, expressions), MAX_CHANGES):
        if field in dict(changed.ListFields()) and not breaks(changed):
            return changed
    return min((example, *with_field), key=lambda message: len(breaks(message)))


def _changed_elsewhere(messages: list[Message], field: FieldDescriptor, expressions: str) -> Iterator[Message]:
    """Yield copies of the messages with a change to a field other than `field`."""
    for message in messages:
        for other in type_of(message).fields:
            if other is not field:
                yield from (with_value(message, other, value) for value in other_values(other, message, expressions))
