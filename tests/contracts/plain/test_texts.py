from __future__ import annotations

from typing import Any

import pytest

from contracts.plain.messages import PLAIN_CHECKS
from tests.contracts.plain.declared_types import with_field
from tests.contracts.plain.message_types import is_accepted

TEXT = "type: TYPE_STRING label: LABEL_OPTIONAL"
CHARACTERS = [*map(chr, range(0x180)), *"\u034f\u115f\u1680\u200b\u200d\u2028\u2029\u202e\u2066\u3000\ufeff\U0001f600"]
UUID, ADDRESS = "018f5b6c-7a3e-7c3a-9b1d-0123456789ab", "ada.l-b+c_d@mail-1.solo60.example"
PRINTABLE = {chr(number) for number in range(0x20, 0x7F)}
LETTERS = {character for character in PRINTABLE if character.isalnum()}
# By name: the rules, a valid text, and the characters that may follow its first character in a plain text.
FORMATS: dict[str, tuple[str, str, set[str]]] = {
    "no rule": ("", "ab", {*CHARACTERS} - {"\0"}),
    "length": ("string { min_len: 2 max_len: 3 }", "ab", PRINTABLE),
    "line": ("string { [solo60.common.v1.line]: true }", "ab", PRINTABLE),
    "name": ("string { [solo60.common.v1.name]: true }", "ab", PRINTABLE),
    "multi_line": ("string { [solo60.common.v1.multi_line]: true }", "ab", PRINTABLE | {"\n"}),
    "mail_address": ("string { [solo60.common.v1.mail_address]: true }", ADDRESS, LETTERS | set("_+.-")),
    "pattern": ('string { pattern: "^[a-z][a-z0-9_/]*$" }', "ab", {*"abcdefghijklmnopqrstuvwxyz0123456789_/"}),
    "uuid": ("string { uuid: true }", UUID, set()),
    "ip": ("string { ip: true }", "1.2.3.4", set("0123456789")),
}


@pytest.mark.parametrize("name", FORMATS)
def test_each_character_in_each_place_is_sound(name: str) -> None:
    """No text with any character at the start, inside or at the end is plain and breaks the rule."""
    rules, valid, _ = FORMATS[name]
    message_type = with_field(TEXT, rules)

    assert PLAIN_CHECKS[message_type](message_type(x=valid))
    for character in CHARACTERS:
        inserted = [valid[:place] + character + valid[place:] for place in range(len(valid) + 1)]
        replaced = [valid[:place] + character + valid[place + 1 :] for place in range(len(valid))]
        for text in (character, character * 2, *inserted, *replaced):
            message = message_type(x=text)
            assert not PLAIN_CHECKS[message_type](message) or is_accepted(message), text


@pytest.mark.parametrize("name", FORMATS)
def test_usual_characters_are_plain(name: str) -> None:
    """The fast path accepts all usual characters."""
    rules, valid, characters = FORMATS[name]
    message_type = with_field(TEXT, rules)

    def is_plain(text: str) -> bool:
        return PLAIN_CHECKS[message_type](message_type(x=text))

    found = {each for each in CHARACTERS if is_plain(valid[:1] + each + valid[1:])}
    assert found == characters


UUIDS = {UUID: True, UUID.upper(): True, "": False, UUID[:-1]: False, f"{UUID}0": False, f"{{{UUID}}}": False,
         UUID.replace("-", ""): False, UUID.replace("a", "g"): False, UUID.replace("-", "0"): False,
         UUID[:8] + "0" + UUID[9:]: False, UUID + "\n": False, UUID.replace("a", "-"): False}  # fmt: skip


@pytest.mark.parametrize("text", UUIDS)
def test_uuids_have_one_form(text: str) -> None:
    """A UUID has hexadecimal digits of either case, and four hyphens in their places."""
    message_type: Any = with_field(TEXT, "string { uuid: true }")

    assert PLAIN_CHECKS[message_type](message_type(x=text)) is UUIDS[text]
    assert is_accepted(message_type(x=text)) is UUIDS[text]


ADDRESSES = {"a" * 49 + "@example.test": True, "a" * 64 + "@example.test": False, "a@xn--a.example": False,
             "a@b": False,
             "a@b.c": False, "a..b@example.test": False, '"a b"@example.test': False, "a@bücher.example": False,
             "a@-b.example": False, "a@b-.example": False, "a@b.example.": False, "a@1.2.3.4": False}  # fmt: skip


@pytest.mark.parametrize("text", ADDRESSES)
def test_unusual_addresses_are_doubtful(text: str) -> None:
    """Long, quoted and internationalized addresses are left to the complete check."""
    message_type: Any = with_field(TEXT, "string { [solo60.common.v1.mail_address]: true }")

    assert PLAIN_CHECKS[message_type](message_type(x=text)) is ADDRESSES[text]
    assert is_accepted(message_type(x=text)) or not ADDRESSES[text]
