from __future__ import annotations

import re
from random import Random
from typing import Any

import pytest

from contracts.plain.patterns import accepts_pattern
from contracts.plain.predicates import doubtful
from contracts.violations import broken_rules
from tests.contracts.plain.declared_types import declare

# Python and RE2 could disagree about these patterns, or Python matches them slowly.
DOUBTFUL = ["a", "^a", "a$", "^a|b$", "^a.$", r"^\d$", r"^a\.b$", "^a{,3}$", "^a++$", "^a*?$", "^a**$", "^(?i)a$",
            "^(?:a)$",
            "^[^a]$", "^[[:alpha:]]$", "^[a&&b]$", "^[a--b]$", "^[a]b]$", "^a\n$", "^é$", "^[à-é]$", "^(a|b)*$",
            "^((a)*)*$",
            "^((a))$", "^(a*)*(b*)*$", "^a{2000}$", "^{3}$", "^*$", "^(*)$", "^(a$", "^a)$", "^[a$", "^$a$", "^^a$",
            "^[z-a]$",
            "^a{3,1}$"]  # fmt: skip
PARTS = [
    "a",
    "b",
    "1",
    "_",
    "-",
    "/",
    "[a-c]",
    "[ab1]",
    "[a-c0-9_-]",
    "[_+-]",
    "(ab)",
    "(a|b)",
    "(ab|a)",
    "(|a)",
    "([ab]1)",
]
TIMES = ["", "", "", "*", "+", "?", "{2}", "{1,}", "{0,2}", "{1,3}"]
CHARACTERS = "aaaaaabbbb111_-/+\n A."


def random_pattern(rng: Random) -> str:
    """Return a pattern of one to four parts with quantifiers."""
    parts = [part + rng.choice(TIMES) for part in rng.choices(PARTS, k=rng.randint(1, 4))]
    return f"^{''.join(parts)}$"


@pytest.mark.parametrize("pattern", DOUBTFUL)
def test_an_unusual_pattern_is_doubtful(pattern: str) -> None:
    """A pattern outside of the known forms is left to protovalidate."""
    assert accepts_pattern(pattern) is doubtful


def test_known_patterns_match_like_re2() -> None:
    """Each text that a known pattern accepts is also accepted by protovalidate, for many random patterns and texts."""
    rng = Random(38)  # noqa: S311 - not a secret
    patterns = sorted({random_pattern(rng) for _ in range(600)})
    known = [each for each in patterns if accepts_pattern(each) is not doubtful]
    fields = " ".join(
        f"""field {{ name: "x{number}" number: {number + 1} type: TYPE_STRING label: LABEL_OPTIONAL options {{
            [buf.validate.field] {{ ignore: IGNORE_IF_ZERO_VALUE string {{ pattern: "{pattern}" }} }} }} }}"""
        for number, pattern in enumerate(known)
    )
    declared: Any = declare(f'message_type {{ name: "Patterns" {fields} }}')
    accepted = matched = 0

    for _ in range(150):
        texts = ["".join(rng.choices(CHARACTERS, k=rng.randint(1, 5))) for _ in known]
        message = declared(**{f"x{number}": text for number, text in enumerate(texts)})
        broken = {each.field for each in broken_rules(message)}
        for number, (pattern, text) in enumerate(zip(known, texts, strict=True)):
            is_accepted = accepts_pattern(pattern)(text)
            assert not (is_accepted and f"x{number}" in broken), (pattern, text)
            accepted += is_accepted
            matched += f"x{number}" not in broken
    assert len(known) > 200
    assert accepted > matched * 0.8 > 1000


def test_a_long_text_is_left_to_re2() -> None:
    """A text of more than 256 characters is doubtful, so that no pattern takes long."""
    accepts = accepts_pattern("^a*(ba*)*$")

    assert accepts("a" * 256)
    assert not accepts("a" * 257)


def test_a_pattern_never_backtracks_into_characters() -> None:
    """A pattern that needs backtracking rejects texts that it should accept: the safe side, in linear time."""
    accepts = accepts_pattern("^a*ab$")

    assert re.fullmatch("a*ab", "aab")
    assert not accepts("aab")
