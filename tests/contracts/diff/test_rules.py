from __future__ import annotations

import pytest
from google.protobuf import text_format

from buf.validate import validate_pb2
from contracts.diff.rules import Verdict, rule_differences

TIGHTENED, LOOSENED, CHANGED = Verdict.TIGHTENED, Verdict.LOOSENED, Verdict.CHANGED


@pytest.mark.parametrize(
    ("old", "new", "verdicts"),
    [
        ("int32 {lt: 10}", "int32 {lte: 9}", []),
        ("int32 {lt: 10}", "int32 {lte: 10}", [LOOSENED]),
        ("double {lt: 10}", "double {lte: 9}", [TIGHTENED]),
        ("double {gt: 1}", "double {gte: 1}", [LOOSENED]),
        ("int32 {gt: 5 lt: 1}", "int32 {gt: 5 lt: 2}", [CHANGED]),
        ("int32 {gte: 1}", "int32 {gte: 1 lte: 5}", [TIGHTENED]),
        ("duration {lte: {seconds: 2}}", "duration {lte: {seconds: 1 nanos: 5}}", [TIGHTENED]),
        ('string {in: ["a", "b"]}', 'string {in: ["b", "c"]}', [TIGHTENED, LOOSENED]),
        ('string {in: ["a", "b"]}', 'string {in: ["b", "a"]}', []),
        ('string {not_in: ["a"]}', 'string {not_in: ["a", "b"]}', [TIGHTENED]),
        ('string {not_in: ["a"]}', "", [LOOSENED]),
        ("string {len: 3}", "string {len: 4}", [TIGHTENED, LOOSENED]),
        ('string {pattern: "a"}', 'string {pattern: "b"}', [CHANGED]),
        ("", "string {uuid: true}", [TIGHTENED]),
        ("string {uuid: true}", "string {uuid: false}", [LOOSENED]),
        ("string {well_known_regex: 1}", "string {well_known_regex: 1 strict: false}", [LOOSENED]),
        ("string {[solo60.common.v1.line]: true}", "string {[solo60.common.v1.name]: true}", [TIGHTENED]),
        ("string {[solo60.common.v1.line]: true}", "string {[solo60.common.v1.multi_line]: true}", [LOOSENED]),
        ("string {min_len: 0}", "", []),
        ("repeated {items {string {max_len: 5}}}", "repeated {items {string {max_len: 4}}}", [TIGHTENED]),
        ("required: true", "", [LOOSENED]),
        ("required: true", "required: true ignore: IGNORE_ALWAYS", [LOOSENED]),
        ("string {uuid: true}", "string {uuid: true} ignore: IGNORE_IF_ZERO_VALUE", [LOOSENED]),
        ("", "string {uuid: true} ignore: IGNORE_IF_ZERO_VALUE", [TIGHTENED]),
        ('cel {id: "a" expression: "x"}', 'cel {id: "a" expression: "y"}', [CHANGED]),
        ('cel {id: "a" expression: "x" message: "m"}', 'cel {id: "a" expression: "x" message: "n"}', []),
        ('cel {id: "a" expression: "x"}', 'cel {id: "b" expression: "x"}', [LOOSENED, TIGHTENED]),
    ],
)
def test_rules_are_compared_by_the_values_that_they_accept(old: str, new: str, verdicts: list[Verdict]) -> None:
    """A rule that accepts fewer values is tightened, one that accepts more is loosened, and expressions are changed."""
    rules = [text_format.Parse(text, validate_pb2.FieldRules()) for text in (old, new)]

    assert [found.verdict for found in rule_differences(*rules)] == verdicts


def test_a_rule_of_another_project_is_compared() -> None:
    """A predefined rule that the generated code of protovalidate does not know is a changed rule."""
    before, after = validate_pb2.FieldRules(), validate_pb2.FieldRules()
    before.string.MergeFromString(b"\xf0\xac\x22\x01")  # field 70000: 1
    after.string.MergeFromString(b"\xf0\xac\x22\x02")  # field 70000: 2

    [found] = rule_differences(before, after)

    assert found.verdict is CHANGED
