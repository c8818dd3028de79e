from __future__ import annotations

from random import Random
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from buf.validate import validate_pb2
from contracts.example_messages import example_of
from contracts.plain.expressions import _KNOWN
from contracts.plain.messages import PLAIN_CHECKS
from contracts.services import our_files
from tests.contracts.plain.declared_types import with_field
from tests.contracts.plain.message_types import TYPES, is_accepted
from tests.contracts.plain.mutation import change

BY_NAME = {each.DESCRIPTOR.full_name: each for each in TYPES}
START = Timestamp(seconds=1_767_268_800)
HOUR_S = 3600


def expressions_in_use() -> set[tuple[str, str]]:
    """Return the expressions in all contracts, each with the type of its message."""
    found = set()
    for file in our_files():
        for descriptor in file.message_types_by_name.values():
            rules = descriptor.GetOptions().Extensions[validate_pb2.message].cel
            found |= {(descriptor.full_name, rule.expression) for rule in rules}
            for field in descriptor.fields:
                rules = field.GetOptions().Extensions[validate_pb2.field].cel
                found |= {(getattr(field.message_type, "full_name", ""), rule.expression) for rule in rules}
    return found


def test_all_known_expressions_are_in_use() -> None:
    """Each expression that the fast path knows is in a contract, or it would be dead code."""
    assert set(_KNOWN) - expressions_in_use() == set()


@pytest.mark.parametrize(("name", "expression"), _KNOWN)
def test_a_known_expression_accepts_no_invalid_message(name: str, expression: str) -> None:
    """On its own, the equivalent of each expression accepts many messages, and none that the expression rejects."""
    outer = with_field(
        f'type: TYPE_MESSAGE type_name: ".{name}" label: LABEL_OPTIONAL',
        f'cel {{ id: "x" message: "y" expression: "{expression}" }}',
    )
    rng = Random(expression)  # noqa: S311 - not a secret
    outcomes = []

    for _ in range(800):
        inner = BY_NAME[name]()
        inner.CopyFrom(example_of(BY_NAME[name]))
        for _ in range(rng.randint(0, 2)):
            change(inner, rng)
        message = outer(x=inner)
        is_plain = PLAIN_CHECKS[outer](message)
        outcomes.append(is_plain)
        assert not is_plain or is_accepted(message), message

    assert outcomes.count(True) > 50
    assert outcomes.count(False) > 50


QUARTERS = "[this.start_time, this.end_time].all(t, int(t) % 900 == 0 && !string(t).contains('.'))"
TWELVE = "this.end_time - this.start_time <= duration('12h')"
# Expression, seconds and nanos from the start to the end, and whether the period is plain.
PERIODS = [
    (QUARTERS, 900, 0, True),
    (QUARTERS, 901, 0, False),
    (QUARTERS, 900, 1, False),
    (TWELVE, 12 * HOUR_S, 0, True),
    (TWELVE, 12 * HOUR_S + 1, 0, False),
    (TWELVE, 12 * HOUR_S, 1, False),
    (TWELVE, 1, 0, True),
    (TWELVE, 0, 0, False),
    (TWELVE, -1, 0, False),
]


@pytest.mark.parametrize(("expression", "seconds", "nanos", "expected"), PERIODS)
def test_periods_are_plain_up_to_their_limit(expression: str, seconds: int, nanos: int, *, expected: bool) -> None:
    """A period on quarter hours or of twelve hours is plain, and a longer or broken one is not."""
    outer: Any = with_field(
        'type: TYPE_MESSAGE type_name: ".solo60.common.v1.Period" label: LABEL_OPTIONAL',
        f'cel {{ id: "x" message: "y" expression: "{expression}" }}',
    )
    end = Timestamp(seconds=START.seconds + seconds, nanos=nanos)
    message = outer(x={"start_time": START, "end_time": end})

    assert PLAIN_CHECKS[outer](message) is expected
    assert is_accepted(message) is expected
