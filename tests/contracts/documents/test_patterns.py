from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.documents.cel_pattern import CelPattern, pattern_of_rule
from contracts.documents.ecma_pattern import UntranslatableError, ecma_pattern
from contracts.documents.integer_pattern import integer_pattern

BOUND = st.none() | st.integers(-120, 1200) | st.integers(-(2**63), 2**63)


@given(BOUND, BOUND, st.integers(-1300, 1300) | st.integers(-(2**64), 2**64), st.sampled_from((-1, 0, 1)))
def test_the_pattern_of_a_range_matches_its_integers(
    first: int | None, second: int | None, number: int, step: int
) -> None:
    """The pattern of a range of integers matches each decimal in it, and no other; also next to its bounds."""
    minimum, maximum = (first, second) if None in (first, second) else sorted((first, second))  # type: ignore[type-var]
    pattern = re.compile(integer_pattern(minimum, maximum))
    for each in (number, *(bound + step for bound in (minimum, maximum) if bound is not None)):
        is_inside = (minimum is None or minimum <= each) and (maximum is None or each <= maximum)
        assert bool(pattern.fullmatch(str(each))) is is_inside, (each, pattern.pattern)


@pytest.mark.parametrize(
    ("re2", "expected"),
    [
        (r"^[a-z]+$", r"^[a-z]+$"),
        (r"\Aa\z", "^a$"),
        (r"\x{41}\x42\x{2028}", r"AB\u2028"),
        (r"[[:alpha:]_]", "[A-Za-z_]"),
        (r"(?P<name>a)", "(?<name>a)"),
        (r"\pL\PN\p{Greek}", r"\p{L}\P{N}\p{Greek}"),
        (r"\@\_\'", "@_'"),
        (r"a]{x}", r"a\]\{x\}"),
        (r"a{2}b{2,3}", "a{2}b{2,3}"),
        (r"[]a[]", r"[\]a\[]"),
        (r"[\-\]]", r"[\-\]]"),
        ("[\x00-\x1f\u2028]", r"[\u0000-\u001f\u2028]"),
        (r"\s", r"[\t\n\f\r ]"),
    ],
)
def test_syntax_of_re2_becomes_that_of_ecma_262(re2: str, expected: str) -> None:
    """Each form that only RE2 has, or that the flag `u` of ECMA-262 forbids, gets an equal form."""
    assert ecma_pattern(re2) == expected


@pytest.mark.parametrize("re2", ["(?i)a", "(?i:a)", r"\Qa\E", r"\C", "(?U)a*"])
def test_a_flag_has_no_form_in_ecma_262(re2: str) -> None:
    """A pattern with a flag, or with another form that ECMA-262 lacks, is not translated."""
    with pytest.raises(UntranslatableError):
        ecma_pattern(re2)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("this.matches('^a$')", CelPattern("^a$", is_negated=False)),
        ('!this.matches("[\\u2028]")', CelPattern(r"[\u2028]", is_negated=True)),
        ("!rule || this.matches('a')", CelPattern("a", is_negated=False)),
        (r"this.matches(r'\d')", CelPattern(r"\d", is_negated=False)),
        ("this.matches('a') && this != ''", None),
        ("this.size() > 1", None),
        ("this.matches('(?i)a')", None),
    ],
)
def test_only_a_rule_that_matches_a_pattern_is_one(expression: str, expected: CelPattern | None) -> None:
    """A CEL rule becomes a pattern only if it does nothing but match one."""
    assert pattern_of_rule(expression) == expected
