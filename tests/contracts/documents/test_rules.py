from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass

from contracts.broken_fields import broken_fields
from tests.contracts.documents.compiled import catalog_of
from tests.contracts.documents.schemas import Schemas

if TYPE_CHECKING:
    from contracts.documents.catalog import Catalog

UUID = "0198c1a2-0000-7000-8000-000000000000"
ENUM = "enum Mode { MODE_UNSPECIFIED = 0; MODE_ON = 1; MODE_OFF = 2; }"
INNER = "message Inner { string text = 1 [(buf.validate.field).string.min_len = 2]; }"
STRING = "(buf.validate.field).string"
IGNORED_IF_ZERO = "(buf.validate.field).ignore = IGNORE_IF_ZERO_VALUE"

# A field with rules, values that the rules accept, and values that they reject; None is an absent field.
CASES: list[tuple[str, list[object], list[object]]] = [
    (f"string f = 1 [{STRING}.const = 'a']", ["a"], ["b", None]),
    (f"string f = 1 [{STRING}.len = 2]", ["ab", "😀é"], ["a", "abc", None]),
    (f"string f = 1 [{STRING}.min_len = 2]", ["ab", "😀é"], ["a", "😀", None]),
    (f"string f = 1 [{STRING}.max_len = 2]", ["ab", "😀é", "", None], ["abc"]),
    (f"string f = 1 [{STRING}.len_bytes = 4]", ["abcd", "😀"], ["abcde", None]),
    (f"string f = 1 [{STRING}.min_bytes = 4]", ["abcd", "😀"], [None]),
    (f"string f = 1 [{STRING}.max_bytes = 4]", ["abcd", "😀", None], ["abcde"]),
    (f"string f = 1 [{STRING}.pattern = '^[a-c]+$']", ["abc"], ["abd", None]),
    (f"string f = 1 [{STRING}.pattern = '\\\\A[[:alpha:]]\\\\x{{5f}}\\\\z']", ["a_"], ["1_", "a_b"]),
    (f"string f = 1 [{STRING}.prefix = 'a.']", ["a.b"], ["ab", None]),
    (f"string f = 1 [{STRING}.suffix = '.a']", ["b.a"], ["ba", None]),
    (f"string f = 1 [{STRING}.contains = '[a']", ["x[ab"], ["xa", None]),
    (f"string f = 1 [{STRING}.not_contains = '(a']", ["xa", None], ["x(a"]),
    (f"string f = 1 [{STRING} = {{in: ['a', 'b']}}]", ["a", "b"], ["c", None]),
    (f"string f = 1 [{STRING} = {{not_in: ['a', 'b']}}]", ["c", None], ["a"]),
    (f"string f = 1 [{STRING}.uuid = true]", [UUID, UUID.upper()], ["x", UUID.replace("-", ""), None]),
    (f"string f = 1 [{STRING}.tuuid = true]", [UUID.replace("-", "")], [UUID, None]),
    (f"string f = 1 [{STRING}.email = true]", ["ada@solo60.example", "a..b@x"], ["ada", "ada@", None]),
    (f"string f = 1 [{STRING}.hostname = true]", ["solo60.example", "a"], ["-a", "a_b", "a..b", None]),
    (f"string f = 1 [{STRING}.ip = true]", ["192.0.2.1", "2001:db8::1"], ["192.0.2", "x", None]),
    (f"string f = 1 [{STRING}.ipv4 = true]", ["192.0.2.1"], ["2001:db8::1", "192.0.2.256", None]),
    (f"string f = 1 [{STRING}.ipv6 = true]", ["2001:db8::1", "::"], ["192.0.2.1", "2001:db8", None]),
    (f"string f = 1 [{STRING}.uri = true]", ["https://solo60.example/a?b#c"], ["solo60", "https://a b", None]),
    (f"string f = 1 [{STRING}.(solo60.common.v1.line) = true]", ["a b", "", None], ["a\nb", "a\u2028"]),
    (f"string f = 1 [{STRING}.(solo60.common.v1.name) = true]", ["a b"], ["a\tb", " ", None]),
    (f"string f = 1 [{STRING}.(solo60.common.v1.multi_line) = true]", ["a\nb\t", None], ["a\x1b", "\u202e"]),
    (f"string f = 1 [{STRING}.(solo60.common.v1.mail_address) = true]", ["ada@bücher.example"], ["ada", "a b@c", None]),
    (f"string f = 1 [{STRING}.min_len = 2, {IGNORED_IF_ZERO}]", ["ab", "", None], ["a"]),
    (f"string f = 1 [{STRING}.min_len = 2, (buf.validate.field).ignore = IGNORE_ALWAYS]", ["a", "", None], []),
    (f"optional string f = 1 [{STRING}.min_len = 2]", ["ab", None], ["a", ""]),
    ("string f = 1 [(buf.validate.field).required = true]", ["a"], ["", None]),
    ("string f = 1 [(buf.validate.field).cel = {id: 'x' expression: \"this.matches('^[a-z]$')\" message: 'letter'}]",
     ["a"], ["1", None]),
    ("bytes f = 1 [(buf.validate.field).bytes.min_len = 3]", ["AAAA", "AAAAAA=="], ["AA==", None]),
    ("bytes f = 1 [(buf.validate.field).bytes.max_len = 3]", ["AAAA", None], ["AAAAAA=="]),
    ("bytes f = 1 [(buf.validate.field).bytes.len = 3]", ["AAAA"], ["AA==", "AAAAAA==", None]),
    ("bytes f = 1 [(buf.validate.field).bytes.const = 'abc']", ["YWJj"], ["AAAA", None]),
    ("bytes f = 1 [(buf.validate.field).bytes = {in: ['abc', 'b']}]", ["YWJj", "Yg=="], ["AAAA", None]),
    ("bool f = 1 [(buf.validate.field).bool.const = true]", [True], [False, None]),
    ("bool f = 1 [(buf.validate.field).required = true]", [True], [False, None]),
    ("int32 f = 1 [(buf.validate.field).int32.const = 5]", [5], [4, None]),
    ("int32 f = 1 [(buf.validate.field).int32 = {gt: 0 lt: 5}]", [1, 4], [0, 5, None]),
    ("int32 f = 1 [(buf.validate.field).int32 = {gte: 1 lte: 5}]", [1, 5], [0, 6, None]),
    ("int32 f = 1 [(buf.validate.field).int32 = {gt: 5 lt: 1}]", [0, 6, None], [1, 5]),
    ("int32 f = 1 [(buf.validate.field).int32 = {in: [1, 2]}]", [1, 2], [3, None]),
    ("int32 f = 1 [(buf.validate.field).int32 = {not_in: [0, 1]}]", [2], [1, None]),
    (f"int32 f = 1 [(buf.validate.field).int32.gte = 5, {IGNORED_IF_ZERO}]", [5, 0, None], [4]),
    ("uint32 f = 1 [(buf.validate.field).uint32.lte = 5]", [0, 5, None], [6]),
    ("int64 f = 1 [(buf.validate.field).int64.const = 5]", ["5"], ["4", None]),
    ("int64 f = 1 [(buf.validate.field).int64 = {gt: 0 lt: 50}]", ["1", "49"], ["0", "-1", "50", None]),
    ("int64 f = 1 [(buf.validate.field).int64 = {gte: -20 lte: 5}]", ["-20", "0", "5", None], ["-21", "6"]),
    ("int64 f = 1 [(buf.validate.field).int64 = {gt: 50 lt: 0}]", ["-1", "51"], ["0", "50", None]),
    ("int64 f = 1 [(buf.validate.field).int64 = {in: [1, 2]}]", ["1"], ["3", None]),
    ("int64 f = 1 [(buf.validate.field).int64.not_in = 0]", ["1"], ["0", None]),
    ("uint64 f = 1 [(buf.validate.field).uint64.gte = 10]", ["10", "18446744073709551615"], ["9", None]),
    ("double f = 1 [(buf.validate.field).double = {gt: 0.5 lte: 2}]", [0.6, 2], [0.5, 2.1, "NaN", "Infinity", None]),
    ("double f = 1 [(buf.validate.field).double.gt = 0.5]", [0.6, "Infinity"], [0.5, "NaN", "-Infinity", None]),
    ("double f = 1 [(buf.validate.field).double.finite = true]", [0.6, None], ["NaN", "Infinity"]),
    ("Mode f = 1 [(buf.validate.field).enum.defined_only = true]", ["MODE_ON", None], [7]),
    ("Mode f = 1 [(buf.validate.field).enum = {defined_only: true not_in: [0]}]",
     ["MODE_ON"], ["MODE_UNSPECIFIED", None]),
    ("Mode f = 1 [(buf.validate.field).enum = {in: [1]}]", ["MODE_ON"], ["MODE_OFF", None]),
    ("Mode f = 1 [(buf.validate.field).enum.const = 1]", ["MODE_ON"], ["MODE_OFF", None]),
    ("Mode f = 1", ["MODE_ON", 7, None], []),
    ("repeated string f = 1 [(buf.validate.field).repeated = {min_items: 1 max_items: 2}]",
     [["a"], ["a", "a"]], [[], ["a", "b", "c"], None]),
    ("repeated string f = 1 [(buf.validate.field).repeated.unique = true]", [["a", "b"], None], [["a", "a"]]),
    ("repeated string f = 1 [(buf.validate.field).repeated.items.string.min_len = 2]", [["ab"], [], None], [["a"]]),
    ("repeated string f = 1 [(buf.validate.field).required = true]", [["a"]], [[], None]),
    (f"repeated string f = 1 [(buf.validate.field).repeated.min_items = 2, {IGNORED_IF_ZERO}]",
     [["a", "b"], [], None], [["a"]]),
    ("map<string, int64> f = 1 [(buf.validate.field).map = {min_pairs: 1 max_pairs: 2}]",
     [{"a": "1"}], [{}, {"a": "1", "b": "1", "c": "1"}, None]),
    ("map<string, string> f = 1 [(buf.validate.field).map.keys.string.min_len = 2]", [{"ab": ""}, None], [{"a": ""}]),
    ("map<string, string> f = 1 [(buf.validate.field).map.values.string.min_len = 2]", [{"": "ab"}, None], [{"": "a"}]),
    ("map<int32, string> f = 1 [(buf.validate.field).map.keys.int32.gt = 9]", [{"10": ""}, None], [{"9": ""}]),
    ("google.protobuf.Timestamp f = 1 [(buf.validate.field).required = true]", ["2030-01-01T00:00:00Z"], [None]),
    ("google.protobuf.StringValue f = 1 [(buf.validate.field).string.min_len = 2]", ["ab", None], ["a", ""]),
    ("google.protobuf.FieldMask f = 1 [(buf.validate.field).field_mask = {in: ['time_zone', 'a']}]",
     ["timeZone", "a,timeZone.x", "", None], ["b", "a,b"]),
    ("google.protobuf.FieldMask f = 1 [(buf.validate.field).field_mask = {not_in: ['a']}]",
     ["b", None], ["a", "b,a.x"]),
    ("Inner f = 1", [{"text": "ab"}, None], [{"text": "a"}, {}]),
    ("Inner f = 1 [(buf.validate.field).required = true]", [{"text": "ab"}], [None]),
    ("oneof choice { option (buf.validate.oneof).required = true; string f = 1; string g = 2; }", ["a"], [None]),
]  # fmt: skip


TYPES: list[tuple[str, object, object]] = [
    ("google.protobuf.Timestamp f = 1", "2030-01-01T00:00:00.5Z", "tomorrow"),
    ("google.protobuf.Duration f = 1", "-1.500s", "1"),
    ("google.protobuf.FieldMask f = 1", "a.b,timeZone", ["a"]),
    ("google.protobuf.Any f = 1", {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "1s"}, {}),
    ("google.protobuf.Struct f = 1", {"a": [1, None]}, []),
    ("google.protobuf.ListValue f = 1", [1, "a"], {}),
    ("google.protobuf.Empty f = 1", {}, {"a": 1}),
    ("google.protobuf.Int64Value f = 1", "5", 5),
    ("google.protobuf.BoolValue f = 1", True, "true"),
    ("google.protobuf.BytesValue f = 1", "AAAA", 5),
    ("int64 f = 1", "-9223372036854775808", "x"),
    ("uint64 f = 1", "18446744073709551615", "-1"),
    ("uint32 f = 1", 5, -1),
    ("float f = 1", "-Infinity", "x"),
    ("map<bool, Inner> f = 1", {"true": {"text": "ab"}}, {"yes": {"text": "ab"}}),
    ("repeated Itself f = 1", [{"f": [{}]}], [{"g": 1}]),
]
FIELDS = list(dict.fromkeys([case[0] for case in CASES] + [case[0] for case in TYPES]))


def all_fields() -> Catalog:
    """Return one contract with a message for each field, because each contract is compiled on its own."""
    messages = (
        f"message M{index} {{ {field.replace('Itself', f'M{index}')}{'' if field.endswith('}') else ';'} }}"
        for index, field in enumerate(FIELDS)
    )
    return catalog_of("\n".join([ENUM, INNER, *messages]))


def message_with(field: str) -> str:
    """Return the message that has this field."""
    return f"test.v1.M{FIELDS.index(field)}"


@pytest.fixture(scope="module")
def schemas() -> Schemas:
    """Return the schemas of all messages."""
    return Schemas.of(all_fields())


@pytest.mark.parametrize(("field", "accepted", "rejected"), CASES, ids=[case[0] for case in CASES])
def test_a_rule_is_in_the_schema(schemas: Schemas, field: str, accepted: list[object], rejected: list[object]) -> None:
    """The schema of each rule accepts and rejects the same JSON as protovalidate."""
    name = message_with(field)
    message_type = GetMessageClass(all_fields().messages[name])
    for value, is_accepted in [*((each, True) for each in accepted), *((each, False) for each in rejected)]:
        json = {} if value is None else {"f": value}
        broken = broken_fields(json_format.ParseDict(json, message_type()))
        problems = schemas.problems(name, json)

        assert (broken == []) is is_accepted, f"the case is wrong: {json} {broken}"
        assert (problems == []) is is_accepted, f"{json}: {problems}"


@pytest.mark.parametrize(("field", "value", "wrong"), TYPES, ids=[case[0] for case in TYPES])
def test_each_type_has_the_json_of_protobuf(schemas: Schemas, field: str, value: object, wrong: object) -> None:
    """A schema accepts the JSON of protobuf for each type of field, recursive ones too, and rejects other JSON."""
    name = message_with(field)
    message = json_format.ParseDict({"f": value}, GetMessageClass(all_fields().messages[name])())

    assert schemas.problems(name, json_format.MessageToDict(message)) == []
    assert schemas.problems(name, {"f": wrong})


@pytest.mark.parametrize("is_required", [True, False])
def test_at_most_one_field_of_a_oneof_may_be_set(is_required: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    """A schema rejects two fields of a oneof; it rejects none of them only if the oneof is required."""
    option = "option (buf.validate.oneof).required = true;" if is_required else ""
    fields = f"oneof choice {{ {option} string a = 1; string b = 2; }} int32 c = 3;"
    schemas = Schemas.of(catalog_of(f"message M {{ {fields} }}"))

    assert schemas.problems("test.v1.M", {"a": "", "c": 1}) == []
    assert schemas.problems("test.v1.M", {"a": "", "b": ""})
    assert (schemas.problems("test.v1.M", {"c": 1}) == []) is not is_required


def test_a_rule_without_a_keyword_is_in_the_description() -> None:
    """A CEL rule, a rule on a time and a flag that ECMA-262 lacks are in the description, in words."""
    catalog = catalog_of(
        """
        message M {
          option (buf.validate.message).cel = {id: "m" message: "a before b" expression: "this.a < this.b"};
          // Text.
          string a = 1 [(buf.validate.field).string.pattern = "(?i)^a$", (solo60.mesh.v1.pii) = true];
          string b = 2 [(buf.validate.field).cel = {id: "b" message: "b is odd" expression: "size(this) % 2 == 1"}];
          google.protobuf.Timestamp c = 3 [(buf.validate.field).timestamp.lt_now = true];
          google.protobuf.Duration d = 4 [(buf.validate.field).duration.gte = {seconds: 5}];
          string e = 5 [(buf.validate.field).string.address = true];
        }
        """
    )
    schema = Schemas.of(catalog)._components["test.v1.M"]
    descriptions = {name: value["description"] for name, value in schema["properties"].items()}

    assert schema["description"].endswith("- a before b")
    assert "matches `(?i)^a$`" in descriptions["a"]
    assert descriptions["a"].startswith("Text.")
    assert descriptions["a"].endswith("Personal data: never in logs, errors or recordings.")
    assert "b is odd" in descriptions["b"]
    assert "lt now" in descriptions["c"]
    assert "at least 5s" in descriptions["d"]
    assert "hostname" in descriptions["e"]
