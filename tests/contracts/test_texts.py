from __future__ import annotations

import sys
import unicodedata
from typing import TYPE_CHECKING

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from buf.validate import validate_pb2
from contracts.texts import problems_of_texts
from contracts.violations import violations_of
from solo60.common.v1.money_pb2 import Money
from solo60.gym.v1.gym_pb2 import Quote
from solo60.session.v1.session_pb2 import CancelSessionRequest
from solo60.user.v1.user_pb2 import CreateUserRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor

TURNING = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]
SEPARATORS = [0x2028, 0x2029]
CONTROLS = [*range(0x20), *range(0x7F, 0xA0)]
PERSIAN, FAMILY, FLAG = (
    "نامه\u200cنگار",  # noqa: RUF001 - Persian
    "👨\u200d👩\u200d👧",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
)
SESSION_ID = "01980000-0000-7000-8000-000000000004"


def name_problems(name: str) -> list[str]:
    """Return the violations of the contract's rules for a user's name."""
    request = CreateUserRequest(email="ada@solo60.example", display_name=name)
    return [violation.description for violation in violations_of(request)]


@pytest.mark.parametrize("code", [*CONTROLS, *SEPARATORS, *TURNING], ids=hex)
def test_a_line_rejects_controls_separators_and_direction_marks(code: int) -> None:
    """Single-line texts are rejected if a control, line separator or direction control is at any position."""
    for text in (f"Dana{chr(code)}Demo", f"{chr(code)}Dana", f"Dana{chr(code)}"):
        assert name_problems(text) == ["must be a single line without control characters"]
        assert violations_of(CancelSessionRequest(session_id=SESSION_ID, reason=text))


@pytest.mark.parametrize(
    "name", ["Dana", PERSIAN, FAMILY, FLAG, "O'Brien-Ó Súilleabháin", "J.R.R.", "שׁרה\u200f", "東京"]
)
def test_names_of_people_are_accepted(name: str) -> None:
    """Names are accepted with the joiners and marks that their scripts need."""
    assert name_problems(name) == []


def _invisible() -> Iterator[str]:
    yield from ("\u2800", "\u3164", "\u115f", "\u1160", "\uffa0", "\u034f", "\u17b4", "\ufe0f", "\U000e0100")
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        if unicodedata.category(char) == "Zs" or (unicodedata.category(char) == "Cf" and code not in TURNING):
            yield char


def test_a_blank_name_is_rejected() -> None:
    """A name that consists of spaces and invisible characters is rejected as blank."""
    shaped = {0x600, 0x601, 0x602, 0x603, 0x604, 0x605, 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
    invisible = [char for char in _invisible() if ord(char) not in shaped and not 0x13430 <= ord(char) <= 0x1BCA3]

    visible = [hex(ord(char)) for char in invisible if name_problems(char * 3) != ["must not be blank"]]

    assert visible == []
    assert name_problems("".join(invisible[:90])) == ["must not be blank"]
    assert name_problems("") == ["must not be blank"]


def test_multi_line_text_allows_only_tabs_and_line_breaks() -> None:
    """Multi-line texts may contain tabs and line breaks, but no other control and no direction control."""
    quote = Quote(credits=1, price=Money(currency_code="GBP"), noise_policy="No weights\n\tafter 20:00\r\n")
    assert violations_of(quote) == []

    for code in {*CONTROLS, *TURNING} - {0x9, 0xA, 0xD}:
        quote.noise_policy = f"No{chr(code)}weights"
        assert [violation.field for violation in violations_of(quote)] == ["noise_policy"]


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
]
OPEN_PROBLEM = (
    "does not limit its characters; add line, name, multi_line or mail_address of solo60/common/v1/text.proto, "
    "a format such as uuid, or a pattern of listed characters."
)


def declared(rules: str, *, is_repeated: bool = False, is_map: bool = False) -> Descriptor:
    """Declare a message with one text field that carries `rules`."""
    file = descriptor_pb2.FileDescriptorProto(name="text.proto", package="solo60.test.v1", syntax="proto3")
    message = file.message_type.add(name="Said")
    label = FieldDescriptorProto.LABEL_REPEATED if is_repeated or is_map else FieldDescriptorProto.LABEL_OPTIONAL
    text = message.field.add(name="text", number=1, type=FieldDescriptorProto.TYPE_STRING, label=label)
    text_format.Parse(rules, text.options.Extensions[validate_pb2.field])
    if is_map:
        entry = message.nested_type.add(name="TextEntry")
        entry.options.map_entry = True
        for number, side in enumerate(("key", "value"), 1):
            entry.field.add(
                name=side,
                number=number,
                type=FieldDescriptorProto.TYPE_STRING,
                label=FieldDescriptorProto.LABEL_OPTIONAL,
            )
        text.type, text.type_name = FieldDescriptorProto.TYPE_MESSAGE, ".solo60.test.v1.Said.TextEntry"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool.FindMessageTypeByName("solo60.test.v1.Said")


@pytest.mark.parametrize("rules", CLOSED)
def test_a_text_with_a_character_rule_passes(rules: str) -> None:
    """The linter accepts texts and lists of texts with one of our rules, a format or a pattern of listed characters."""
    assert list(problems_of_texts([declared(rules)])) == []
    items = f"repeated {{items {{{rules}}}}}"
    assert list(problems_of_texts([declared(items, is_repeated=True)])) == []


@pytest.mark.parametrize("rules", OPEN)
def test_a_text_without_a_character_rule_is_reported(rules: str) -> None:
    """The linter reports a text field, a map key or a map value that has no rule for its characters."""
    assert list(problems_of_texts([declared(rules)])) == [f"solo60.test.v1.Said.text: {OPEN_PROBLEM}"]
    sides = f"map {{keys {{{rules}}}}}"
    assert list(problems_of_texts([declared(sides, is_map=True)])) == [
        f"solo60.test.v1.Said.text (keys): {OPEN_PROBLEM}",
        f"solo60.test.v1.Said.text (values): {OPEN_PROBLEM}",
    ]


def test_mail_address_is_the_only_rule_for_addresses() -> None:
    """The linter rejects the `email` format, and `mail_address` in maps, because servers do not check maps."""
    assert list(problems_of_texts([declared("string {email: true}")])) == [
        "solo60.test.v1.Said.text: do not use the rule email, use solo60.common.v1.mail_address."
    ]
    address = "string {[solo60.common.v1.mail_address]: true}"
    sides = f"map {{keys {{{address}}} values {{string {{uuid: true}}}}}}"
    assert list(problems_of_texts([declared(sides, is_map=True)])) == [
        "solo60.test.v1.Said.text (keys): mail_address is not supported in maps."
    ]
