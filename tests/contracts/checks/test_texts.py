from __future__ import annotations

import pytest
from google.protobuf import text_format, wrappers_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from buf.validate import validate_pb2
from contracts.checks.run import check
from solo60.common.v1 import text_pb2
from tests.support.images import image_of

CLOSED = [
    "string {[solo60.common.v1.line]: true}",
    "string {[solo60.common.v1.name]: true max_len: 100}",
    "string {[solo60.common.v1.multi_line]: true}",
    "string {[solo60.common.v1.mail_address]: true}",
    "string {uuid: true}",
    'string {in: "a" in: "b"}',
    'string {const: "a"}',
    r'string {pattern: "^[A-Z][A-Z0-9_.]{2,63}$"}',
    r'string {pattern: "^[0-9]{4}-(0[1-9]|1[0-2])$"}',
    r'string {pattern: "^([0-9a-f]{32})?$"}',
    r'string {pattern: "^a\\.b$"}',
]
OPEN = [
    "",
    "string {min_len: 1 max_len: 100}",
    "string {[solo60.common.v1.line]: false}",
    r'string {pattern: "^[^a]*$"}',
    r'string {pattern: "^a.b$"}',
    r'string {pattern: "^(a|.)$"}',
    r'string {pattern: "^a|b$"}',
    r'string {pattern: "[a-z]+"}',
    r'string {pattern: "^a\\s$"}',
    r'string {pattern: "^(?m)[a-z]+$"}',
    r'string {pattern: "^[a-z]+\\$"}',
    r'string {pattern: "^\\C*$"}',
    "string {uuid: false}",
    "ignore: IGNORE_ALWAYS string {uuid: true}",
]
# Patterns with a control character, and the character.
WITH_CONTROL = [
    (r"^[a-z\\n]+$", "U+000A"),
    (r"^[\\s]+$", "U+0009"),
    (r"^[ -\\x7f]+$", "U+007F"),
    (r"^[\\x{0}-\\x{20}]+$", "U+0000"),
    (r"^[[:space:]a-z]+$", "U+000A"),
    (r"^a\\tb$", "U+0009"),
    (r"^[a-z]+\\x00$", "U+0000"),
    (r"^[a-z]+(\\r\\n)?$", "U+000D"),
    (r"^\\p{C}+$", "U+000A"),
    (r"^\\p{Any}+$", "U+000A"),
    (r"^[\\p{^L}]+$", "U+000A"),
    (r"^[[:blank:]a-z]+$", "U+0009"),
    (r"^a\\012$", "U+000A"),
    (r"^a\\0$", "U+0000"),
]
WITHOUT_CONTROL = [r"^[\\]a-z\\-]+$", r"^\\p{L}[\\p{L} ]*$", r"^[[:alpha:]]+$", r"^\\[nt\\]$", r"^[!-~]{1,9}$"]


def findings(rules: str, *, is_repeated: bool = False, is_map: bool = False) -> list[tuple[str, str]]:
    """Declare a message with one text field that carries `rules`, and return the ids and messages of the findings."""
    file = FileDescriptorProto(name="text.proto", package="acme.text.v1", syntax="proto3")
    file.dependency.extend([validate_pb2.DESCRIPTOR.name, text_pb2.DESCRIPTOR.name])
    message = file.message_type.add(name="Said")
    label = FieldDescriptorProto.LABEL_REPEATED if is_repeated or is_map else FieldDescriptorProto.LABEL_OPTIONAL
    text = message.field.add(name="text", number=1, type=FieldDescriptorProto.TYPE_STRING, label=label)
    text_format.Parse(rules, text.options.Extensions[validate_pb2.field])
    if is_map:
        entry = message.nested_type.add(name="TextEntry")
        entry.options.map_entry = True
        one, string = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.TYPE_STRING
        for number, side in enumerate(("key", "value"), 1):
            entry.field.add(name=side, number=number, type=string, label=one)
        text.type, text.type_name = FieldDescriptorProto.TYPE_MESSAGE, ".acme.text.v1.Said.TextEntry"
    return [(finding.id, finding.message.removeprefix("acme.text.v1.Said.text: ")) for finding in check(image_of(file))]


@pytest.mark.parametrize("rules", CLOSED)
def test_a_text_with_a_character_rule_passes(rules: str) -> None:
    """The checks accept texts and lists of texts with one of our rules, a format or a pattern of listed characters."""
    assert findings(rules) == []
    assert findings(f"repeated {{items {{{rules}}}}}", is_repeated=True) == []


@pytest.mark.parametrize("rules", OPEN)
def test_a_text_without_a_character_rule_is_reported(rules: str) -> None:
    """A text field, a map key or a map value that has no rule for its characters is reported."""
    assert [id_ for id_, _ in findings(rules)] == ["TEXT_OPEN"]
    sides = findings(f"map {{keys {{{rules}}} values {{{rules}}}}}", is_map=True)
    assert [(id_, message.partition(" ")[0]) for id_, message in sides] == [
        ("TEXT_OPEN", "(keys)"),
        ("TEXT_OPEN", "(values)"),
    ]


def test_mail_address_is_the_only_rule_for_addresses() -> None:
    """The format `email` is reported, and `mail_address` in maps, because servers do not check maps."""
    assert [id_ for id_, _ in findings("string {email: true}")] == ["TEXT_EMAIL"]
    address = "string {[solo60.common.v1.mail_address]: true}"
    sides = f"map {{keys {{{address}}} values {{string {{uuid: true}}}}}}"
    assert [id_ for id_, _ in findings(sides, is_map=True)] == ["TEXT_MAP_ADDRESS"]


@pytest.mark.parametrize(("pattern", "character"), WITH_CONTROL)
def test_a_pattern_with_a_control_character_is_reported(pattern: str, character: str) -> None:
    """A pattern for one line must not admit a control character, alone or in a class; multi_line allows it."""
    ((id_, message),) = findings(f'string {{pattern: "{pattern}"}}')

    assert id_ == "TEXT_CONTROL"
    assert character in message
    assert findings(f'string {{pattern: "{pattern}" [solo60.common.v1.multi_line]: true}}') == []
    assert findings(f'string {{pattern: "{pattern}" [solo60.common.v1.line]: true}}') == []


@pytest.mark.parametrize("pattern", WITHOUT_CONTROL)
def test_a_pattern_without_a_control_character_passes(pattern: str) -> None:
    """Escaped brackets, backslashes and classes of letters are no control characters."""
    assert "TEXT_CONTROL" not in [id_ for id_, _ in findings(f'string {{pattern: "{pattern}"}}')]


@pytest.mark.parametrize("rules", [r'string {const: "a\n"}', r'string {in: "a" in: "b\000"}'])
def test_a_value_with_a_control_character_is_reported(rules: str) -> None:
    """A listed value of a text of one line must not contain a control character."""
    assert [id_ for id_, _ in findings(rules)] == ["TEXT_CONTROL"]


def test_contracts_without_protovalidate_have_no_text_findings() -> None:
    """Texts are checked only if some file of the set imports protovalidate."""
    file = FileDescriptorProto(name="text.proto", package="acme.text.v1", syntax="proto3")
    label = FieldDescriptorProto.LABEL_OPTIONAL
    file.message_type.add(name="Said").field.add(
        name="text", number=1, label=label, type=FieldDescriptorProto.TYPE_STRING
    )

    assert check(image_of(file)) == []


@pytest.mark.parametrize(
    ("rules", "character"),
    [
        ("well_known_regex: KNOWN_REGEX_HTTP_HEADER_VALUE", "U+0009"),
        ("well_known_regex: KNOWN_REGEX_HTTP_HEADER_NAME strict: false", "U+0001"),
    ],
)
def test_a_header_format_with_control_characters_is_reported(rules: str, character: str) -> None:
    """Values of HTTP headers may contain a tab, and formats that are not strict more control characters."""
    assert findings(f"string {{{rules}}}") == [
        ("TEXT_CONTROL", f"admits the control character {character}; exclude it, or use multi_line.")
    ]
    assert findings("string {well_known_regex: KNOWN_REGEX_HTTP_HEADER_NAME}") == []


@pytest.mark.parametrize(("rules", "ids"), [("string {uuid: true}", []), ("", ["TEXT_OPEN"])])
def test_a_wrapped_text_is_checked(rules: str, ids: list[str]) -> None:
    """A google.protobuf.StringValue needs a rule for its characters, as a string does."""
    file = FileDescriptorProto(name="text.proto", package="acme.text.v1", syntax="proto3")
    file.dependency.extend([validate_pb2.DESCRIPTOR.name, wrappers_pb2.DESCRIPTOR.name])
    text = file.message_type.add(name="Said").field.add(
        name="text",
        number=1,
        type=FieldDescriptorProto.TYPE_MESSAGE,
        type_name=".google.protobuf.StringValue",
        label=FieldDescriptorProto.LABEL_OPTIONAL,
    )
    text_format.Parse(rules, text.options.Extensions[validate_pb2.field])

    assert [finding.id for finding in check(image_of(file))] == ids
