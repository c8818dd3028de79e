from __future__ import annotations

import sys
import unicodedata
from typing import TYPE_CHECKING

import pytest

from contracts.violations import violations_of
from solo60.common.v1.money_pb2 import Money
from solo60.gym.v1.gym_pb2 import Quote
from solo60.session.v1.session_pb2 import CancelSessionRequest
from solo60.user.v1.user_pb2 import CreateUserRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

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
