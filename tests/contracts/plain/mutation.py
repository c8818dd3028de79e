"""Random changes of messages, near the limits that the rules of their fields set."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

from buf.validate import validate_pb2
from contracts.message_types import is_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from google.protobuf.descriptor import FieldDescriptor

LONGEST = 1_000
CHARACTERS = (
    "\0\t\n\r\x1b\x1f  !\"'()*+,-./:;<=>?@[\\]^_`{|}~09azAZgG"
    "\x7f\x80\x85\xa0\xad\xe9\u200b\u200d\u2028\u202e\u2066\ufeff\U0001d173\U0001f600"
)
TEXTS = ("", " ", "a", "0", "a\n", "\n", "\0", "é", "ada@solo60.example", "a@b.cd",
         '"a b"@example.com', "a@xn--a.example",
         "a..b@example.com", "a@b", "a@bücher.example", "192.0.2.1", "256.0.0.1", "01.2.3.4", "::1", "Europe/London",
         "018f5b6c-7a3e-7c3a-9b1d-0123456789ab", "018F5B6C-7A3E-7C3A-9B1D-0123456789AB",
         "2026-11", "0" * 32)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63), 2**64 - 1)
SECONDS = (0, 1, -1, 899, 900, 1_767_268_800, 1_767_269_700, 1_767_268_800 + 43_200, 1_767_268_800 + 744 * 3600,
           -62_135_596_800, -62_135_596_801, 253_402_300_799, 253_402_300_800, 2**62, 315_576_000_001)  # fmt: skip
NANOS = (0, 0, 0, 1, -1, 999_999_999, 1_000_000_000)


def change(message: Message, rng: Random) -> None:
    """Change one random field of a message, at any depth."""
    fields: Any = message.DESCRIPTOR.fields
    if not fields:
        return
    field = rng.choice(fields)
    try:
        _change_field(message, field, rng)
    except (ValueError, OverflowError):  # a value that the type of the field cannot hold
        message.ClearField(field.name)


def _change_field(message: Any, field: FieldDescriptor, rng: Random) -> None:
    content = getattr(message, field.name)
    if is_map(field):
        _change_map(content, field, rng)
    elif field.is_repeated:
        _change_list(content, field, rng)
    elif rng.random() < 0.15:
        message.ClearField(field.name)
    elif isinstance(content, Message):
        content.SetInParent()
        _change_message(content, rng)
    else:
        setattr(message, field.name, _changed(content, field, rng))


def _change_message(message: Any, rng: Random) -> None:
    if message.DESCRIPTOR.full_name in ("google.protobuf.Timestamp", "google.protobuf.Duration"):
        message.seconds = rng.choice((*SECONDS, message.seconds + rng.choice((-1, 1, 900))))
        message.nanos = rng.choice(NANOS)
    elif rng.random() < 0.9:
        change(message, rng)


def _change_list(items: Any, field: FieldDescriptor, rng: Random) -> None:
    length = rng.choice((0, len(items) - 1, len(items) + 1, len(items), len(items), *_limits(field)))
    del items[max(length, 0) :]
    while len(items) < min(length, LONGEST):
        _append(items, field, rng)
    if len(items) and rng.random() < 0.7:
        number = rng.randrange(len(items))
        if field.message_type is not None:
            _change_message(items[number], rng)
        else:
            items[number] = _changed(items[number], field, rng)


def _append(items: Any, field: FieldDescriptor, rng: Random) -> None:
    if field.message_type is not None:
        items.add()
        items[-1].CopyFrom(items[0])
    else:
        items.append(items[-1] if len(items) and rng.random() < 0.5 else _changed(_empty(field), field, rng))


def _change_map(pairs: Any, field: FieldDescriptor, rng: Random) -> None:
    assert field.message_type is not None
    key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
    for _ in range(min(rng.choice((1, 1, 2, *_limits(field))), LONGEST)):
        chosen = rng.choice([*sorted(pairs), f"k{len(pairs)}" if key.type == key.TYPE_STRING else len(pairs)])
        if rng.random() < 0.2:
            chosen = _changed(chosen, key, rng)
        if value.message_type is not None:
            _change_message(pairs[chosen], rng)
        else:
            pairs[chosen] = _changed(pairs[chosen] if chosen in pairs else _empty(value), value, rng)


def _empty(field: FieldDescriptor) -> Any:
    empty = {field.TYPE_STRING: "", field.TYPE_BYTES: b"", field.TYPE_FLOAT: 0.0, field.TYPE_DOUBLE: 0.0}
    return empty.get(field.type, field.type != field.TYPE_BOOL and 0)


def _changed(value: Any, field: FieldDescriptor, rng: Random) -> Any:
    """Return another value for one element of a field."""
    if isinstance(value, str):
        return _changed_text(value, field, rng)
    if isinstance(value, bytes):
        return rng.choice((b"", value + b"\0", *(b"x" * length for length in _limits(field))))
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return rng.choice((0.0, -0.0, 1.5, -1.5, math.nan, math.inf, -math.inf))
    if field.enum_type is not None:
        return rng.choice((*field.enum_type.values_by_number, -1, 1 + max(field.enum_type.values_by_number)))
    return rng.choice((*NUMBERS, value + 1, value - 1, *_limits(field)))


def _changed_text(text: str, field: FieldDescriptor, rng: Random) -> str:
    place, character = rng.randrange(len(text) + 1), rng.choice(CHARACTERS)
    changes: tuple[Callable[[], str], ...] = (
        lambda: text[:place] + character + text[place:],
        lambda: text[:place] + character + text[place + 1 :],
        lambda: text[:place] + text[place + 1 :],
        lambda: text + character,
        text.swapcase,
        lambda: text * 2,
        lambda: rng.choice(TEXTS),
        lambda: (text or rng.choice("aé0 ")) * rng.choice(_limits(field)) if len(text) < 2 else text[:place],
        lambda: rng.choice("aé0") * rng.choice(_limits(field)),
    )
    return rng.choice(changes)()[:LONGEST]


def _limits(field: FieldDescriptor) -> tuple[int, ...]:
    """Return the numbers in the rules of a field, and their neighbours."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    return tuple(sorted({max(number + step, 0) for number in _numbers(rules) for step in (-1, 0, 1)})) or (0, 1, 2)


def _numbers(rules: Message) -> Iterator[int]:
    for field, value in rules.ListFields():
        for each in value if field.is_repeated else (value,):
            if isinstance(each, Message):
                yield from _numbers(each)
            elif isinstance(each, int) and not isinstance(each, bool) and field.name != "ignore":
                yield each
