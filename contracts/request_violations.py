"""Violations of a request: its contract's rules, and the three rules that hold for every request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import protovalidate
from google.protobuf.message import Message

from contracts.address_violations import address_violations
from contracts.errors import InvalidRequest, Violation
from contracts.malformed_times import malformed_times
from contracts.message_types import is_map
from contracts.plain.messages import PLAIN_CHECKS
from contracts.violations import violations_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import FieldDescriptor

    from contracts.field_value import FieldValue

# Violations are sent in metadata. gRPC drops a response with more than 8 KiB of metadata, and the caller would get no
# violation at all.
MAX_VIOLATIONS = 15
MAX_NAMED_FIELDS = 5


def check_request(message: Message, raw: bytes) -> None:
    """Raise InvalidRequest if a request breaks a rule, with one violation per field, at most 15 of them.

    Three rules hold for every request. No text contains U+0000, because PostgreSQL cannot store it. Each timestamp is
    in the years 1 to 9999. Each mail address is valid. `raw` is the serialized request.
    """
    if not PLAIN_CHECKS[type(message)](message):
        check_doubtful_request(message, raw)


def check_doubtful_request(message: Message, raw: bytes) -> None:
    """Check a request as `check_request` does, but without the fast path of `contracts.plain`."""
    try:
        # Check timestamps first: the rules would fail on a malformed one, or misread it as another time.
        violations = malformed_times(message) or violations_of(message)
        # Searching the bytes costs next to nothing compared to visiting each field, and U+0000 is rare.
        if not violations and b"\x00" in raw:
            violations = unstorable_texts(message)
        # The rules have already rejected addresses of the wrong form.
        violations = violations or address_violations(message)
    except protovalidate.EvaluationError:  # such as a duration out of range
        raise InvalidRequest("The request contains values that the validation rules cannot evaluate.") from None
    if violations:
        raise InvalidRequest(
            f"The request violates the contract: {_names(violations)}.", violations=violations[:MAX_VIOLATIONS]
        )


def _names(violations: list[Violation]) -> str:
    names = [violation.field or "the request" for violation in violations[:MAX_NAMED_FIELDS]]
    omitted = len(violations) - len(names)
    return ", ".join(names) + (f" and {omitted} more" if omitted else "")


def unstorable_texts(message: Message) -> list[Violation]:
    """Return a violation for each text in `message`, at any depth, that PostgreSQL cannot store."""
    texts = ((path, value) for path, value in _values(message) if isinstance(value, str))
    return [Violation(path, "must not contain the character U+0000") for path, text in texts if "\x00" in text]


def _values(message: Message) -> Iterator[tuple[str, object]]:
    for field, content in message.ListFields():
        for path, value in _values_of_field(field, content):
            if isinstance(value, Message):
                yield from ((f"{path}.{rest}", inner) for rest, inner in _values(value))
            else:
                yield path, value


def _values_of_field(field: FieldDescriptor, content: FieldValue) -> list[tuple[str, object]]:
    if not field.is_repeated:
        return [(field.name, content)]
    if is_map(field):
        return [(f"{field.name}[]", each) for pair in content.items() for each in pair]
    return [(f"{field.name}[{index}]", each) for index, each in enumerate(content)]
