from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import (
    any_pb2,
    descriptor_pool,
    duration_pb2,
    struct_pb2,
    text_format,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.metrics.v1 import metrics_pb2

from buf.validate import validate_pb2
from contracts.testing.cases import Case, cases_of, uncovered_rules
from contracts.violations import violations_of
from solo60.common.v1 import text_pb2
from solo60.communication.v1.communication_pb2 import SendEmailRequest
from solo60.example.v1.echo_pb2 import EchoManyRequest
from solo60.session.v1.session_pb2 import BookSessionRequest

if TYPE_CHECKING:
    from google.protobuf.message import Message

IMPORTS: tuple[Any, ...] = (any_pb2, duration_pb2, timestamp_pb2, wrappers_pb2, validate_pb2, text_pb2)
HEADER = f"""
syntax: "proto3"
dependency: [{", ".join(f'"{module.DESCRIPTOR.name}"' for module in IMPORTS)}]
enum_type {{ name: "Color" value {{ name: "COLOR_UNSPECIFIED" number: 0 }} value {{ name: "COLOR_RED" number: 1 }}
             value {{ name: "COLOR_BLUE" number: 5 }} }}
message_type {{ name: "Span" field {{ name: "from" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL }}
               field {{ name: "to" number: 2 type: TYPE_INT32 label: LABEL_OPTIONAL }}
               options {{ [buf.validate.message] {{ cel {{ id: "span.order" message: "to must be after from"
                          expression: "this.from < this.to" }} }} }} }}
"""


def message_type(name: str, field: str, more: str = "", label: str = "OPTIONAL") -> type[Message]:
    """Return a message type, in a package of its own, whose field `x` has the given declaration and rules."""
    package = f"cases.{name}"
    text = f"""name: "{name}.proto" package: "{package}" {HEADER}
        message_type {{ name: "Request" field {{ name: "x" number: 1 label: LABEL_{label} {field} }} {more} }}"""
    text = text.replace(".COLOR", f".{package}.Color").replace(".SPAN", f".{package}.Span")
    file = text_format.Parse(text, FileDescriptorProto())
    descriptor_pool.Default().Add(file)
    return GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(f"{package}.Request"))


def rules(text: str) -> str:
    """Return the declaration of field rules."""
    return f"options {{ [buf.validate.field] {{ {text} }} }}"


def values(cases: tuple[Case, ...], *, is_valid: bool) -> dict[str, list[Any]]:
    """Return the values of `x` in the accepted or in the rejected requests, by rule."""
    found: dict[str, list[Any]] = {}
    for case in cases:
        if case.is_valid == is_valid:
            request: Any = case.request
            found.setdefault(case.rule, []).append(request.x)
    return found


NUMBERS = {
    "gte": ("type: TYPE_INT32 %s", "int32 { gte: 5 }", "int32.gte", [5], [4]),
    "lt": ("type: TYPE_UINT64 %s", "uint64 { lt: 5 }", "uint64.lt", [4], [5]),
    "range": ("type: TYPE_INT64 %s", "int64 { gt: 1 lte: 9 }", "int64.gt_lte", [9, 2], [10, 1]),
    "const": ("type: TYPE_INT32 %s", "int32 { const: 7 }", "int32.const", [7], [8]),
    "one_of": ("type: TYPE_INT32 %s", "int32 { in: [7, 8] }", "int32.in", [7, 8], [6]),
    "other": ("type: TYPE_INT32 %s", "int32 { not_in: [7] }", "int32.not_in", [1], [7]),
    "enum": ('type: TYPE_ENUM type_name: ".COLOR" %s', "enum { defined_only: true }", "enum.defined_only", [0, 5], [6]),
    "truth": ("type: TYPE_BOOL %s", "bool { const: true }", "bool.const", [True], [False]),
    "positive": (
        "type: TYPE_INT32 %s", 'cel { id: "x.positive" expression: "this > 10" message: "y" }', "x.positive", [11], [10]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_at_and_beside_their_bound(name: str) -> None:
    """The boundary of a rule about numbers is the last accepted one, and the violation is its neighbour."""
    field, rule, rule_id, accepted, rejected = NUMBERS[name]
    cases = cases_of(message_type(f"number_{name}", field % rules(rule)))

    assert values(cases, is_valid=True) == {rule_id: accepted}
    assert values(cases, is_valid=False) == {rule_id: rejected}
    assert {case.field for case in cases} == {"x"}


TEXTS = {
    "length": ("string { min_len: 3 max_len: 5 }", {"string.min_len": {3}, "string.max_len": {5}},
               {"string.min_len": {2}, "string.max_len": {6}}),
    "bytes": ("string { max_bytes: 5 }", {"string.max_bytes": {5}}, {"string.max_bytes": {6}}),
    "pattern": ('string { pattern: "^[a-z]{3,20}$" }', {"string.pattern": {3, 20}}, {"string.pattern": {2}}),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_texts_have_the_first_and_the_last_length(name: str) -> None:
    """The boundaries of a length or a pattern are its shortest and its longest text; one letter more is a violation."""
    rule, accepted, rejected = TEXTS[name]
    cases = cases_of(message_type(f"text_{name}", f"type: TYPE_STRING {rules(rule)}"))

    for is_valid, expected in ((True, accepted), (False, rejected)):
        lengths = {each: set(map(len, texts)) for each, texts in values(cases, is_valid=is_valid).items()}
        assert lengths == expected


ANY_TYPE = {
    "format": ("type: TYPE_STRING", "string { uuid: true }", {"string.uuid", "string.uuid_empty"}),
    "ip": ("type: TYPE_STRING", "string { ip: true }", {"string.ip", "string.ip_empty"}),
    "name": ("type: TYPE_STRING", "string { [solo60.common.v1.name]: true }", {"string.name", "string.name_visible"}),
    "contains": ("type: TYPE_STRING", 'string { contains: "a" }', {"string.contains"}),
    "bytes": ("type: TYPE_BYTES", "bytes { min_len: 1 max_len: 9 }", {"bytes.min_len", "bytes.max_len"}),
    "finite": ("type: TYPE_DOUBLE", "double { finite: true gt: 0 }", {"double.finite", "double.gt"}),
    "float": ("type: TYPE_FLOAT", "float { lte: 2.5 }", {"float.lte"}),
    "wrapper": ('type: TYPE_MESSAGE type_name: ".google.protobuf.Int32Value"', "int32 { lt: 5 }", {"int32.lt"}),
    "duration": ('type: TYPE_MESSAGE type_name: ".google.protobuf.Duration"',
                 "required: true duration { lte { seconds: 5 } }", {"required", "duration.lte"}),
    "timestamp": ('type: TYPE_MESSAGE type_name: ".google.protobuf.Timestamp"', "timestamp { gt_now: true }",
                  {"timestamp.gt_now"}),
    "any": ('type: TYPE_MESSAGE type_name: ".google.protobuf.Any"', 'any { in: "a/b.C" }', {"any.in"}),
    "nested": ('type: TYPE_MESSAGE type_name: ".SPAN"', "required: true", {"required", "span.order"}),
}  # fmt: skip


@pytest.mark.parametrize("name", ANY_TYPE)
def test_every_kind_of_rule_has_a_violation(name: str) -> None:
    """A rule of any type of field, of wrappers and of nested messages is broken by one request, alone."""
    field, rule, expected = ANY_TYPE[name]
    request_type = message_type(f"any_{name}", f"{field} {rules(rule)}")

    assert {case.rule for case in cases_of(request_type) if not case.is_valid} == expected
    assert all(len(violations_of(case.request)) == (not case.is_valid) for case in cases_of(request_type))
    assert uncovered_rules(request_type) == ()


def test_lists_are_broken_by_size_repetition_and_items() -> None:
    """A list has a boundary for its sizes, and a violation for its sizes, a repeated item and a bad first item."""
    rule = "repeated { min_items: 2 max_items: 4 unique: true items { string { uuid: true } } }"
    cases = cases_of(message_type("list", f"type: TYPE_STRING {rules(rule)}", label="REPEATED"))

    accepted, rejected = values(cases, is_valid=True), values(cases, is_valid=False)
    assert {each: len(lists[0]) for each, lists in accepted.items()} == {
        "repeated.min_items": 2,
        "repeated.max_items": 4,
    }
    assert [len(rejected[f"repeated.{each}_items"][0]) for each in ("min", "max")] == [1, 5]
    assert {(case.field, case.rule) for case in cases if not case.is_valid} == {
        ("x", "repeated.min_items"),
        ("x", "repeated.max_items"),
        ("x", "repeated.unique"),
        ("x[0]", "string.uuid"),
        ("x[0]", "string.uuid_empty"),
    }


def test_maps_are_broken_by_size_keys_and_values() -> None:
    """A map is broken by its size, a key or a value; the field of a case does not contain the key."""
    cases = cases_of(SendEmailRequest)

    assert {(case.field, case.rule) for case in cases if not case.is_valid} >= {
        ("variables", "map.max_pairs"),
        ("variables[]", "string.pattern"),
        ("variables[]", "string.max_len"),
        ("variables[]", "string.multi_line"),
    }


def test_rules_about_several_fields_have_both_sides() -> None:
    """A rule about two fields is broken at its literal: the last accepted distance is the boundary."""
    more = """field { name: "y" number: 2 type: TYPE_INT32 label: LABEL_OPTIONAL }
        options { [buf.validate.message] {
          cel { id: "far" message: "at most 40 apart" expression: "this.y - this.x <= 40" } } }"""
    cases = cases_of(message_type("distance", "type: TYPE_INT32", more))

    distances = {case.is_valid: case.request.y - case.request.x for case in cases}  # type: ignore[attr-defined]  # of the type above
    assert distances == {True: 40, False: 41}


def test_a_required_oneof_is_broken_without_its_members() -> None:
    """A required oneof is a rule with the name of the oneof as its field."""
    more = 'oneof_decl { name: "either" options { [buf.validate.oneof] { required: true } } }'
    [case] = cases_of(message_type("oneof", "type: TYPE_INT32 oneof_index: 0", more))

    assert (case.field, case.rule, case.is_valid) == ("either", "required", False)


@pytest.mark.parametrize("request_type", [EchoManyRequest, SendEmailRequest, BookSessionRequest])
def test_a_case_is_what_protovalidate_reports(request_type: type[Message]) -> None:
    """A violation's field and description are those that a server reports; a boundary has no violation."""
    for case in cases_of(request_type):
        found = [(violation.field, violation.description) for violation in violations_of(case.request)]
        assert (case.field, case.description) in found or (case.is_valid and not found)


def test_a_rule_that_no_value_breaks_is_reported() -> None:
    """A rule without a violation is uncovered, so that no rule is skipped silently."""
    request_type = message_type("gap", f"type: TYPE_UINT32 {rules('uint32 { gte: 0 }')}")

    [rule] = uncovered_rules(request_type)

    assert (rule.field, rule.path, rule.id) == ("x", "uint32.gte", "uint32.gte")
    assert cases_of(request_type) == ()


def test_foreign_messages_need_no_rules() -> None:
    """Message types without rules, with recursion and maps, have no cases and no gaps."""
    for file in (struct_pb2.DESCRIPTOR, metrics_pb2.DESCRIPTOR):
        for descriptor in file.message_types_by_name.values():
            assert cases_of(GetMessageClass(descriptor)) == ()
            assert uncovered_rules(GetMessageClass(descriptor)) == ()
