from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from contracts.example_messages import example_of
from contracts.plain.messages import PLAIN_CHECKS
from contracts.testing.cases import cases_of
from tests.contracts.plain.message_types import TYPES, is_accepted
from tests.contracts.plain.mutation import change

if TYPE_CHECKING:
    from google.protobuf.message import Message

RANDOM_MESSAGES = 120
by_name = pytest.mark.parametrize("message_type", TYPES, ids=lambda each: each.DESCRIPTOR.full_name)


def random_of(message_type: type[Message]) -> Random:
    """Return the same random numbers for a type each time."""
    return Random(message_type.DESCRIPTOR.full_name)  # noqa: S311 - not a secret


def random_messages(message_type: type[Message], rng: Random) -> list[Message]:
    """Return messages that differ from valid and invalid ones in one to three places."""
    known = [message_type(), example_of(message_type), *(case.request for case in cases_of(message_type))]
    messages = []
    for _ in range(RANDOM_MESSAGES if message_type.DESCRIPTOR.fields else 1):
        message = message_type()
        message.CopyFrom(known[1] if rng.random() < 0.6 else rng.choice(known))
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            change(message, rng)
        messages.append(message)
    return messages


@by_name
def test_a_plain_message_is_accepted_by_protovalidate(message_type: type[Message]) -> None:
    """The fast path accepts no random message that breaks a rule."""
    for message in random_messages(message_type, random_of(message_type)):
        assert not PLAIN_CHECKS[message_type](message) or is_accepted(message), message


@by_name
def test_no_generated_violation_is_plain(message_type: type[Message]) -> None:
    """Each request that breaks one rule goes to protovalidate, and each plain boundary is accepted there too."""
    for case in cases_of(message_type):
        is_plain = PLAIN_CHECKS[message_type](case.request)

        assert not (is_plain and not case.is_valid), case
        assert not is_plain or is_accepted(case.request), case


def test_random_messages_reach_both_sides_of_the_quick_look() -> None:
    """Many random messages are plain, many are doubtful though valid, and many are invalid."""
    messages = [
        (PLAIN_CHECKS[each], message) for each in TYPES[::15] for message in random_messages(each, random_of(each))
    ]
    plain = [check(message) for check, message in messages]
    accepted = [is_accepted(message) for _, message in messages]

    assert sum(plain) > len(messages) / 10
    assert sum(accepted) > sum(plain) + len(messages) / 100
    assert accepted.count(False) > len(messages) / 10
