from __future__ import annotations

import pytest

from contracts.documents.rule_words import rules_in_words
from tests.contracts.documents.compiled import catalog_of

STRING = "(buf.validate.field).string"
REQUIRED_DURATION = (
    "google.protobuf.Duration f = 1 [(buf.validate.field) = {required: true duration: {lte: {seconds: 5}}}]"
)
CASES: list[tuple[str, list[str]]] = [
    (f"string f = 1 [{STRING} = {{min_len: 1 max_len: 9}}]", ["1 to 9 characters"]),
    (f"string f = 1 [{STRING}.min_len = 1]", ["at least 1 character"]),
    (f"string f = 1 [{STRING}.uuid = true]", ["UUID"]),
    (f"string f = 1 [{STRING}.pattern = 'a|b']", ["matches `a|b`"]),
    (f"string f = 1 [{STRING} = {{in: ['a', 'b']}}]", ['one of `"a"`, `"b"`']),
    (f"string f = 1 [{STRING}.(solo60.common.v1.line) = true]", ["must be a single line without control characters"]),
    (f"string f = 1 [{STRING}.max_len = 9, (buf.validate.field).ignore = IGNORE_IF_ZERO_VALUE]",
     ["at most 9 characters", "or empty"]),
    ("bytes f = 1 [(buf.validate.field).bytes = {min_len: 1 max_len: 9}]", ["1 to 9 bytes"]),
    ("int32 f = 1 [(buf.validate.field).int32 = {gte: 1 lte: 9}]", ["1 to 9"]),
    ("int32 f = 1 [(buf.validate.field).int32 = {gt: 9 lt: 1}]", ["less than 1", "more than 9"]),
    ("Mode f = 1 [(buf.validate.field).enum = {not_in: [0]}]", ["not `MODE_UNSPECIFIED`"]),
    (REQUIRED_DURATION,
     ["required", "at most 5s"]),
    ("repeated string f = 1 [(buf.validate.field).repeated = {unique: true items: {string: {max_len: 9}}}]",
     ["no item twice", "each item at most 9 characters"]),
    ("string f = 1 [(buf.validate.field).cel = {id: 'a' message: 'must be odd' expression: 'true'}]", ["must be odd"]),
    ("string f = 1", []),
]  # fmt: skip


@pytest.mark.parametrize(("field", "words"), CASES, ids=[case[0] for case in CASES])
def test_a_rule_has_words(field: str, words: list[str]) -> None:
    """Each rule of a field is described in a few words."""
    messages = "".join(f"message M{index} {{ {each}; }}" for index, (each, _) in enumerate(CASES))
    catalog = catalog_of("enum Mode { MODE_UNSPECIFIED = 0; MODE_ON = 1; }" + messages)
    index = [each for each, _ in CASES].index(field)

    assert rules_in_words(catalog, catalog.messages[f"test.v1.M{index}"].fields[0]) == words
